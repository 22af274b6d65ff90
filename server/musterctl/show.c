/* show.c - answers for people: sentences, tables with aligned columns, the status page. */
#include "musterctl.h"

#include <stdio.h>
#include <string.h>
#include <uniwidth.h>

/* ---- values and padding */

static int width_of(const char *text)
{
	return u8_strwidth((const uint8_t *)text, "UTF-8");
}

void show_padded(const char *text, int width)
{
	int missing = width - width_of(text);

	printf("%s%*s", text, missing > 0 ? missing : 0, "");
}

/* "one, two"; the caller frees it. */
static char *list_text(const json_t *list)
{
	struct buffer b = { 0 };
	const json_t *value;
	size_t i;

	json_array_foreach(list, i, value) buffer_addf(&b, "%s%s", i ? ", " : "", json_string_value(value));
	return b.data;
}

/* A value as people read it; the caller frees it. */
static char *value_text(const json_t *value)
{
	if (json_array_size(value) > 0)
		return list_text(value);
	if (json_string_length(value) > 0)
		return mem_strdup(json_string_value(value));
	if (json_is_integer(value))
		return mem_printf("%lld", (long long)json_integer_value(value));
	if (json_is_real(value))
		return mem_printf("%.1f", json_real_value(value));
	if (json_is_boolean(value))
		return mem_strdup(json_is_true(value) ? "yes" : "no");
	return mem_strdup("-");
}

/* ---- tables */

#define WIDTH_MAX 40 /* a longer value stands out of its column, whole, and moves nobody else's */

static void widen(struct call *c, const struct column *columns, const json_t *row)
{
	for (unsigned i = 0; columns[i].key; i++) {
		char *text = value_text(json_object_get(row, columns[i].key));
		int width = width_of(text);

		if (width <= WIDTH_MAX && width > c->widths[i])
			c->widths[i] = width;
		mem_free(text);
	}
}

static void show_cell(const struct column *column, const char *text, int width)
{
	bool is_last = !column[1].key;

	if (column->is_right)
		printf("%*s%s", width > width_of(text) ? width - width_of(text) : 0, "", text);
	else
		show_padded(text, is_last ? 0 : width);
	fputs(is_last ? "\n" : "  ", stdout);
}

static void show_titles(const struct call *c, const struct column *columns)
{
	for (unsigned i = 0; columns[i].key; i++)
		show_cell(&columns[i], columns[i].title, c->widths[i]);
}

static void show_row(const struct call *c, const struct column *columns, const json_t *row)
{
	for (unsigned i = 0; columns[i].key; i++) {
		char *text = value_text(json_object_get(row, columns[i].key));

		show_cell(&columns[i], text, c->widths[i]);
		mem_free(text);
	}
}

/* The columns are as wide as the rows so far want them: a long list is shown page by page. */
void show_rows(struct call *c, const json_t *page)
{
	const struct column *columns = c->verb->table->columns;
	json_t *rows = json_object_get(page, c->verb->table->rows), *row;
	size_t i;

	if (json_array_size(rows) == 0)
		return;
	for (i = 0; columns[i].key; i++) {
		int width = width_of(columns[i].title);

		c->widths[i] = width > c->widths[i] ? width : c->widths[i];
	}
	json_array_foreach(rows, i, row) widen(c, columns, row);
	if (c->rows == 0)
		show_titles(c, columns);
	json_array_foreach(rows, i, row) show_row(c, columns, row);
	c->rows += (unsigned)json_array_size(rows);
}

/* ---- for programs */

void show_json(struct call *c, const json_t *result)
{
	json_dumpf(result, stdout, JSON_INDENT(2));
	putchar('\n');
	c->is_answered = true;
}

/* ---- sentences */

void show_warnings(const json_t *result)
{
	json_t *warning;
	size_t i;

	fflush(stdout);
	json_array_foreach(json_object_get(result, "warnings"), i, warning)
	    fprintf(stderr, "Warning: %s\n", json_string_value(warning));
}

static void show_done(struct call *c, const json_t *result)
{
	const char *what = json_string_value(json_object_get(result, "jid"));

	if (!what)
		what = json_string_value(json_object_get(result, "name"));
	printf("%s%s%s.\n", c->verb->done, what ? " " : "", what ? what : "");
	if (c->is_random_password)
		printf("The password is %s\n", json_string_value(json_object_get(c->args, "password")));
}

void show_stopped(struct call *c, const json_t *result)
{
	(void)result;
	puts(c->is_ending ? "Stopping." : "Stopped.");
}

void show_kicked(struct call *c, const json_t *result)
{
	json_int_t n = json_integer_value(json_object_get(result, "ended"));

	(void)c;
	printf("Ended %lld session%s of %s.\n", (long long)n, n == 1 ? "" : "s",
	       json_string_value(json_object_get(result, "jid")));
}

void show_result(struct call *c, const json_t *result)
{
	if (c->verb->show) {
		c->verb->show(c, result);
	} else if (c->verb->table) {
		show_rows(c, result);
		if (c->rows == 0)
			puts(c->verb->table->none);
	} else {
		show_done(c, result);
	}
}

/* ---- the status page */

enum unit { PLAIN, SECONDS, BYTES };

struct status_row {
	const char *title; /* NULL: the same line, behind a comma */
	const char *path;  /* "store.engine" */
	enum unit unit;
	const char *after; /* what stands behind the value; or NULL */
};

static const struct status_row status_rows[] = {
	{ "Version", "version", PLAIN, NULL },
	{ "Started", "started", PLAIN, NULL },
	{ NULL, "uptime", SECONDS, " ago" },
	{ NULL, "state", PLAIN, NULL },
	{ "Hosts", "hosts", PLAIN, NULL },
	{ "Sessions", "sessions", PLAIN, NULL },
	{ "Connections", "connections.open", PLAIN, " open" },
	{ NULL, "connections.total", PLAIN, " since the start" },
	{ "Logins", "logins.total", PLAIN, NULL },
	{ NULL, "logins.failed", PLAIN, " failed" },
	{ "Homes awake", "homes", PLAIN, NULL },
	{ "Reactors", "reactors", PLAIN, NULL },
	{ "Messages", "stanzas.in.message", PLAIN, " in" },
	{ NULL, "stanzas.out.message", PLAIN, " out" },
	{ "Presence", "stanzas.in.presence", PLAIN, " in" },
	{ NULL, "stanzas.out.presence", PLAIN, " out" },
	{ "Queries", "stanzas.in.iq", PLAIN, " in" },
	{ NULL, "stanzas.out.iq", PLAIN, " out" },
	{ "Bounced", "bounced", PLAIN, NULL },
	{ "Store", "store.engine", PLAIN, NULL },
	{ NULL, "store.state", PLAIN, NULL },
	{ NULL, "store.durability", PLAIN, NULL },
	{ "Writes", "store.writes", PLAIN, NULL },
	{ NULL, "store.groups", PLAIN, " commits" },
	{ NULL, "store.commit_ms", PLAIN, " ms each" },
	{ "Waiting", "store.waiting_writes", PLAIN, " writes" },
	{ NULL, "store.waiting_reads", PLAIN, " reads" },
	{ NULL, "queued", PLAIN, " in reactors" },
	{ "Spool", "store.spool_bytes", BYTES, NULL },
	{ NULL, "store.spool_age", SECONDS, NULL },
	{ "Memory", "memory", BYTES, NULL },
};

static const json_t *find(const json_t *object, const char *path)
{
	size_t n = strcspn(path, ".");
	char key[32];

	snprintf(key, sizeof(key), "%.*s", (int)n, path);
	const json_t *value = json_object_get(object, key);
	return path[n] ? find(value, path + n + 1) : value;
}

static char *seconds_text(json_int_t s)
{
	if (s < 120)
		return mem_printf("%lld s", (long long)s);
	if (s < 2 * 3600)
		return mem_printf("%lld min", (long long)s / 60);
	if (s < 2 * 86400)
		return mem_printf("%lld h", (long long)s / 3600);
	return mem_printf("%lld days %lld h", (long long)s / 86400, (long long)s % 86400 / 3600);
}

static char *unit_text(const json_t *value, enum unit unit)
{
	if (unit == SECONDS && json_is_integer(value))
		return seconds_text(json_integer_value(value));
	if (unit == BYTES && json_is_integer(value))
		return mem_printf("%.1f MB", (double)json_integer_value(value) / (1024 * 1024));
	return value_text(value);
}

static const struct status_row user_rows[] = {
	{ "Account", "jid", PLAIN, NULL },
	{ "Name", "name", PLAIN, NULL },
	{ "Own card", "card_name", PLAIN, NULL },
	{ "E-mail", "email", PLAIN, NULL },
	{ "Groups", "groups", PLAIN, NULL },
	{ "Created", "created", PLAIN, NULL },
	{ "Disabled", "disabled", PLAIN, NULL },
	{ "Login by", "keys", PLAIN, NULL },
	{ "Last seen", "last_activity", PLAIN, NULL },
	{ "Contacts", "contacts", PLAIN, NULL },
	{ "On record", "entries", PLAIN, NULL },
};

static void show_page(const struct status_row *rows, size_t count, const json_t *result)
{
	bool is_first = true;

	for (size_t i = 0; i < count; i++) {
		const struct status_row *row = &rows[i];
		char *text = unit_text(find(result, row->path), row->unit);

		if (row->title) {
			fputs(is_first ? "" : "\n", stdout);
			show_padded(row->title, 13);
		}
		printf("%s%s%s", row->title ? "" : ", ", text, row->after ? row->after : "");
		mem_free(text);
		is_first = false;
	}
	putchar('\n');
}

void show_status(struct call *c, const json_t *result)
{
	(void)c;
	show_page(status_rows, COUNT_OF(status_rows), result);
}

void show_user(struct call *c, const json_t *result)
{
	const json_t *session;
	size_t i;

	(void)c;
	show_page(user_rows, COUNT_OF(user_rows), result);
	json_array_foreach(json_object_get(result, "sessions"), i, session)
	{
		show_padded(i ? "" : "Connected", 13);
		printf("%s from %s since %s\n", json_string_value(json_object_get(session, "jid")),
		       json_string_value(json_object_get(session, "peer")),
		       json_string_value(json_object_get(session, "since")));
	}
}

static const struct status_row db_rows[] = {
	{ "Engine", "engine", PLAIN, NULL },
	{ "Place", "place", PLAIN, NULL },
	{ "Tables", "schema", PLAIN, "" },
	{ "Durability", "durability", PLAIN, NULL },
};

void show_db(struct call *c, const json_t *result)
{
	const json_t *name, *found;
	size_t i;

	(void)c;
	show_page(db_rows, COUNT_OF(db_rows), result);
	json_array_foreach(json_object_get(result, "pending"), i, name)
	{
		show_padded(i ? "" : "To be done", 13);
		puts(json_string_value(name));
	}
	json_array_foreach(json_object_get(result, "findings"), i, found)
	    printf("\n%s.\n%s\n", json_string_value(json_object_get(found, "finding")),
	           json_string_value(json_object_get(found, "advice")));
}
