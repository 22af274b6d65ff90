/* export.c - accounts as CSV (RFC 4180), in the columns that "user import" knows. */
#include <stdio.h>
#include <string.h>

#include "musterctl.h"

#define PLAIN_COLUMNS 5

static const char *const columns[] = { "jid",         "name",          "email",        "groups",
	                               "disabled",    "iterations",    "salt",         "stored_sha1",
	                               "server_sha1", "stored_sha256", "server_sha256" };

struct exporter {
	unsigned columns;
	bool has_titles;
};

/* What would be taken for the end of a column stands in quotes. */
static void print_field(const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		fputs(text, stdout);
		return;
	}
	putchar('"');
	for (; *text; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	putchar('"');
}

/* Names of groups, as "user import" reads them. */
static void print_list(const json_t *list)
{
	struct buffer b = { 0 };
	const json_t *value;
	size_t i;

	json_array_foreach(list, i, value) buffer_addf(&b, "%s%s", i ? ";" : "", json_string_value(value));
	print_field(b.data ? b.data : "");
	buffer_free(&b);
}

static void print_value(const json_t *value)
{
	if (json_is_array(value))
		print_list(value);
	if (json_is_string(value))
		print_field(json_string_value(value));
	else if (json_is_integer(value))
		printf("%lld", (long long)json_integer_value(value));
	else if (json_is_boolean(value))
		putchar(json_is_true(value) ? '1' : '0');
}

static void print_titles(struct exporter *x)
{
	x->has_titles = true;
	for (unsigned k = 0; k < x->columns; k++)
		printf("%s%s", columns[k], k + 1 < x->columns ? "," : "\r\n");
}

static bool on_page(struct call *c, const json_t *page, void *arg)
{
	struct exporter *x = arg;
	const json_t *user;
	size_t i;

	(void)c;
	if (!x->has_titles)
		print_titles(x);
	json_array_foreach(json_object_get(page, "users"), i, user)
	{
		for (unsigned k = 0; k < x->columns; k++) {
			print_value(json_object_get(user, columns[k]));
			fputs(k + 1 < x->columns ? "," : "\r\n", stdout);
		}
	}
	return !ferror(stdout);
}

int export_users(struct call *c)
{
	struct exporter x = { .columns = call_flag(c, "--keys") ? COUNT_OF(columns) : PLAIN_COLUMNS };

	if (c->is_json)
		return ask_server(c);
	json_t *result = talk(c, c->verb->name, json_incref(c->args), on_page, &x);
	if (result && !x.has_titles)
		print_titles(&x);
	json_decref(result);
	return c->status;
}
