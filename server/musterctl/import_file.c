/* import_file.c - the file of an import: each line is checked before anything is done, and each
 * mistake is said with its line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#include "base64.h"
#include "import.h"

#define EMAIL_MAX 254

enum field {
	COLUMN_JID,
	COLUMN_NAME,
	COLUMN_HOST,
	COLUMN_DISPLAY_NAME,
	COLUMN_EMAIL,
	COLUMN_GROUPS,
	COLUMN_DISABLED,
	COLUMN_PASSWORD,
	COLUMN_ITERATIONS,
	COLUMN_SALT,
	COLUMN_STORED_SHA1,
	COLUMN_SERVER_SHA1,
	COLUMN_STORED_SHA256,
	COLUMN_SERVER_SHA256,
	COLUMNS
};

static const char *const column_names[COLUMNS] = {
	[COLUMN_JID] = "jid",
	[COLUMN_NAME] = "name",
	[COLUMN_HOST] = "host",
	[COLUMN_DISPLAY_NAME] = "display_name",
	[COLUMN_EMAIL] = "email",
	[COLUMN_GROUPS] = "groups",
	[COLUMN_DISABLED] = "disabled",
	[COLUMN_PASSWORD] = "password",
	[COLUMN_ITERATIONS] = "iterations",
	[COLUMN_SALT] = "salt",
	[COLUMN_STORED_SHA1] = "stored_sha1",
	[COLUMN_SERVER_SHA1] = "server_sha1",
	[COLUMN_STORED_SHA256] = "stored_sha256",
	[COLUMN_SERVER_SHA256] = "server_sha256",
};

/* Where a column is in this file. */
struct layout {
	int at[COLUMNS]; /* -1: it is not there */
	unsigned count;
};

void import_complain(struct import *x, unsigned line, const char *format, ...)
{
	va_list args;

	x->complaints++;
	if (x->complaints > IMPORT_COMPLAINTS_MAX)
		return;
	va_start(args, format);
	char sentence[512];
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	complain_detail(x->call, "%s:%u: %s", x->path, line, sentence);
}

/* ---- the header */

static int column_find(const char *name)
{
	for (unsigned i = 0; i < COLUMNS; i++) {
		if (strcmp(column_names[i], name) == 0)
			return (int)i;
	}
	return -1;
}

static bool has(const struct layout *l, enum field column)
{
	return l->at[column] >= 0;
}

static void check_layout(struct import *x, struct layout *l, unsigned line)
{
	bool has_jid = has(l, COLUMN_JID);

	if (has_jid && !has(l, COLUMN_HOST) && has(l, COLUMN_NAME) && !has(l, COLUMN_DISPLAY_NAME)) {
		l->at[COLUMN_DISPLAY_NAME] = l->at[COLUMN_NAME]; /* with an address, a name is people's */
		l->at[COLUMN_NAME] = -1;
	}
	if (has_jid ? has(l, COLUMN_NAME) || has(l, COLUMN_HOST)
	            : !has(l, COLUMN_NAME) || !has(l, COLUMN_HOST))
		import_complain(x, line, "the header must name either \"jid\", or \"name\" and \"host\"");
	unsigned keys = 0;
	for (unsigned i = COLUMN_ITERATIONS; i <= COLUMN_SERVER_SHA256; i++)
		keys += has(l, i);
	bool has_sha1 = has(l, COLUMN_STORED_SHA1), has_sha256 = has(l, COLUMN_STORED_SHA256);
	if (keys && (!has(l, COLUMN_ITERATIONS) || !has(l, COLUMN_SALT) || (!has_sha1 && !has_sha256) ||
	             has_sha1 != has(l, COLUMN_SERVER_SHA1) || has_sha256 != has(l, COLUMN_SERVER_SHA256)))
		import_complain(
		    x, line,
		    "keys need iterations, salt, and stored_sha1 with server_sha1, stored_sha256 "
		    "with server_sha256, or all four");
	if (!keys && !has(l, COLUMN_PASSWORD) && !x->updates)
		import_complain(x, line,
		                "there are neither passwords nor keys; only --update goes without");
}

static void read_header(struct import *x, struct csv *csv, struct layout *l)
{
	char *fields[CSV_COLUMNS];

	for (unsigned i = 0; i < COLUMNS; i++)
		l->at[i] = -1;
	l->count = csv_next(csv, fields);
	if (l->count == 0 || csv->problem) {
		import_complain(x, 1, "%s", csv->problem ? csv->problem : "the file is empty");
		return;
	}
	for (unsigned i = 0; i < l->count; i++) {
		int column = column_find(fields[i]);

		if (column < 0)
			import_complain(x, csv->line,
			                "there is no column \"%.60s\"; musterctl(8) lists those there are",
			                fields[i]);
		else if (l->at[column] >= 0)
			import_complain(x, csv->line, "the column \"%s\" is there twice", fields[i]);
		else
			l->at[column] = (int)i;
	}
	if (!x->complaints)
		check_layout(x, l, csv->line);
}

/* ---- one line */

/* NULL: the column is not there, or empty. */
static const char *field_of(const struct layout *l, char *const *fields, enum field column)
{
	const char *text = l->at[column] < 0 ? NULL : fields[l->at[column]];

	return text && *text ? text : NULL;
}

static struct jid *read_jid(struct import *x, const struct layout *l, char *const *fields, unsigned line)
{
	const char *name = field_of(l, fields, has(l, COLUMN_JID) ? COLUMN_JID : COLUMN_NAME);
	const char *host = field_of(l, fields, COLUMN_HOST);
	struct jid *j = NULL;

	if (name)
		j = has(l, COLUMN_JID) ? jid_parse(name, strlen(name))
		    : host             ? jid_make(name, host, NULL)
		                       : NULL;
	if (!j || !jid_has_local(j) || jid_has_resource(j))
		import_complain(x, line, "\"%.200s%s%.200s\" is no address of an account", name ? name : "",
		                host ? "@" : "", host ? host : "");
	else if (!jid_is_registrable(j))
		import_complain(x, line, "the name %s could be mistaken for another; see musterctl(8)",
		                j->text);
	else if (!json_object_get(x->hosts, jid_domain(j)))
		import_complain(x, line, "the domain %s is not served here", jid_domain(j));
	else
		return j;
	jid_unref(j);
	return NULL;
}

static bool has_control(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	}
	return false;
}

static void read_display(struct import *x, struct import_user *u, const char *text)
{
	u->display = text;
	if (text && (strlen(text) > JID_PART_MAX || has_control(text)))
		import_complain(x, u->line, "the name is too long, or has control characters");
}

/* A certificate with the address may log in to the account: no two of a host have the same. */
static void read_email(struct import *x, struct import_user *u, const char *text)
{
	u->email = text;
	if (!text)
		return;
	if (strlen(text) > EMAIL_MAX || !strchr(text, '@') || strpbrk(text, " <>\"'") ||
	    has_control(text)) {
		import_complain(x, u->line, "\"%.60s\" is no e-mail address", text);
		return;
	}
	u->email_key = mem_printf("%s %s", jid_domain(u->jid), text);
	for (char *at = u->email_key; *at; at++)
		if (*at >= 'A' && *at <= 'Z')
			*at = (char)(*at + ('a' - 'A'));
	if (!x->emails)
		x->emails = json_object();
	const json_t *same = json_object_get(x->emails, u->email_key);
	if (same)
		import_complain(x, u->line, "the e-mail address %s stands in line %lld already", text,
		                (long long)json_integer_value(same));
	else
		json_object_set_new(x->emails, u->email_key, json_integer(u->line));
}

static void read_groups(struct import *x, struct import_user *u, const char *text)
{
	if (text && has_control(text))
		import_complain(x, u->line, "the name of a group has control characters");
	while (text && *text) {
		size_t n = strcspn(text, ";");

		if (n && !u->groups)
			u->groups = json_array();
		if (n > JID_PART_MAX)
			import_complain(x, u->line, "the name of a group is too long");
		else if (n)
			json_array_append_new(u->groups, json_stringn(text, n));
		text += n + (text[n] == ';');
	}
}

static void read_disabled(struct import *x, struct import_user *u, const char *text)
{
	static const char *const no[] = { "0", "no", "false" }, *const yes[] = { "1", "yes", "true" };

	u->disabled = -1;
	for (unsigned i = 0; text && i < COUNT_OF(no); i++) {
		if (strcmp(text, no[i]) == 0)
			u->disabled = 0;
		if (strcmp(text, yes[i]) == 0)
			u->disabled = 1;
	}
	if (text && u->disabled < 0)
		import_complain(x, u->line, "\"disabled\" is yes or no, not \"%.20s\"", text);
}

static bool read_key(const char *text, unsigned char *out, size_t size)
{
	size_t n = 0;

	return text && base64_decode(text, strlen(text), out, size, &n) && n == size;
}

/* The two keys of one hash: both, or none. */
static bool read_pair(const char *stored, const char *server, unsigned char *stored_out,
                      unsigned char *server_out, size_t size, bool *has)
{
	*has = stored || server;
	return !*has || (read_key(stored, stored_out, size) && read_key(server, server_out, size));
}

static bool read_keys(struct sasl_keys *k, struct import_user *u, const struct layout *l,
                      char *const *fields)
{
	const char *salt = field_of(l, fields, COLUMN_SALT);
	const char *iterations = field_of(l, fields, COLUMN_ITERATIONS);
	size_t n = 0;
	char *end = NULL;
	long rounds = iterations ? strtol(iterations, &end, 10) : 0;

	if (!salt || !base64_decode(salt, strlen(salt), k->salt, SASL_SALT_MAX, &n) || n == 0)
		return false;
	k->salt_len = (unsigned)n;
	k->iterations = (unsigned)rounds;
	return rounds > 0 && rounds <= 10000000 && *end == '\0' &&
	       read_pair(field_of(l, fields, COLUMN_STORED_SHA1), field_of(l, fields, COLUMN_SERVER_SHA1),
	                 k->stored_sha1, k->server_sha1, sizeof(k->stored_sha1), &u->has_sha1) &&
	       read_pair(field_of(l, fields, COLUMN_STORED_SHA256),
	                 field_of(l, fields, COLUMN_SERVER_SHA256), k->stored_sha256, k->server_sha256,
	                 sizeof(k->stored_sha256), &u->has_sha256) &&
	       (u->has_sha1 || u->has_sha256);
}

static bool has_any_key(const struct layout *l, char *const *fields)
{
	for (unsigned i = COLUMN_ITERATIONS; i <= COLUMN_SERVER_SHA256; i++) {
		if (field_of(l, fields, i))
			return true;
	}
	return false;
}

static void read_secrets(struct import *x, struct import_user *u, const struct layout *l,
                         char *const *fields)
{
	size_t i = (size_t)(u - x->users);
	const char *password = field_of(l, fields, COLUMN_PASSWORD);
	char prepared[JID_PART_MAX + 1];

	x->passwords[i] = NULL;
	bool has_keys = has_any_key(l, fields);
	u->has_sha1 = u->has_sha256 = password;
	if (password && has_keys)
		import_complain(x, u->line, "there are a password and keys; take one of them");
	else if (password && !jid_prepare_password(password, strlen(password), prepared))
		import_complain(x, u->line, "the password is too long, or has control characters");
	else if (password)
		x->passwords[i] = password;
	else if (has_keys && !read_keys(&x->keys[i], u, l, fields))
		import_complain(
		    x, u->line,
		    "the keys are not whole: iterations, a salt of 1 to 32 bytes, and two keys of 20 "
		    "bytes for SHA-1, two of 32 for SHA-256, or all four, in base64");
	else if (!password && !has_keys && !x->updates)
		import_complain(x, u->line, "there is neither a password nor keys");
	explicit_bzero(prepared, sizeof(prepared));
}

static struct import_user *user_find(const struct import *x, const struct jid *j)
{
	struct hash_node *n = hash_first(&x->by_jid, hash_bytes(j->text, j->len));

	for (; n; n = hash_next(n)) {
		struct import_user *u = CONTAINER_OF(n, struct import_user, node);

		if (strcmp(u->jid->text, j->text) == 0)
			return u;
	}
	return NULL;
}

static bool fields_are_utf8(char *const *fields, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (u8_check((const uint8_t *)fields[i], strlen(fields[i])))
			return false;
	}
	return true;
}

static void read_user(struct import *x, const struct csv *csv, const struct layout *l, char *const *fields)
{
	struct jid *j = read_jid(x, l, fields, csv->line);
	const struct import_user *same = j ? user_find(x, j) : NULL;
	struct import_user *u = &x->users[x->count];

	if (!j)
		return;
	if (same) {
		import_complain(x, csv->line, "%s stands in line %u already", j->text, same->line);
		jid_unref(j);
		return;
	}
	memset(&x->keys[x->count], 0, sizeof(x->keys[0]));
	*u = (struct import_user){ .line = csv->line, .jid = j };
	hash_add(&x->by_jid, &u->node, hash_bytes(j->text, j->len));
	read_display(x, u, field_of(l, fields, COLUMN_DISPLAY_NAME));
	read_email(x, u, field_of(l, fields, COLUMN_EMAIL));
	read_groups(x, u, field_of(l, fields, COLUMN_GROUPS));
	read_disabled(x, u, field_of(l, fields, COLUMN_DISABLED));
	read_secrets(x, u, l, fields);
	x->count++;
}

static void read_line(struct import *x, const struct csv *csv, const struct layout *l, char *const *fields,
                      unsigned count)
{
	if (csv->problem)
		import_complain(x, csv->line, "%s", csv->problem);
	else if (count != l->count)
		import_complain(x, csv->line, "%u fields, but the header has %u", count, l->count);
	else if (!fields_are_utf8(fields, count))
		import_complain(x, csv->line, "this is no UTF-8 text");
	else
		read_user(x, csv, l, fields);
}

/* ---- the file */

/* As many accounts as there can be: the lines. The arrays never move, as the table points into them. */
static bool make_room(struct import *x)
{
	size_t lines = 1;

	for (const char *at = x->text; (at = memchr(at, '\n', (size_t)(x->text + x->text_len - at))); at++)
		lines++;
	if (lines > IMPORT_USERS_MAX + 2)
		return complain(x->call, CONTROL_USAGE, "Split it.", "%s has more than %d lines.", x->path,
		                IMPORT_USERS_MAX);
	x->users = mem_zalloc(lines * sizeof(*x->users));
	x->passwords = mem_zalloc(lines * sizeof(*x->passwords));
	x->keys = mem_zalloc(lines * sizeof(*x->keys));
	return true;
}

bool import_read(struct import *x)
{
	struct csv csv;
	struct layout layout;
	char *fields[CSV_COLUMNS];
	unsigned count;

	x->text = file_load(x->call, x->path, IMPORT_BYTES_MAX, &x->text_len);
	if (!x->text)
		return false;
	if (memchr(x->text, '\0', x->text_len))
		return complain(x->call, CONTROL_USAGE, "Save it as CSV, in UTF-8.", "%s is no text.",
		                x->path);
	if (!make_room(x))
		return false;
	csv_begin(&csv, x->text, x->text_len);
	read_header(x, &csv, &layout);
	if (x->complaints)
		return true; /* without its header the rest says nothing */
	while ((count = csv_next(&csv, fields)))
		read_line(x, &csv, &layout, fields, count);
	return true;
}

void import_free(struct import *x)
{
	for (size_t i = 0; i < x->count; i++) {
		jid_unref(x->users[i].jid);
		json_decref(x->users[i].groups);
		mem_free(x->users[i].email_key);
	}
	hash_free(&x->by_jid);
	mem_free(x->users);
	mem_free(x->passwords);
	mem_free_secret(x->keys, x->count * sizeof(*x->keys));
	mem_free_secret(x->text, x->text_len);
	json_decref(x->hosts);
	json_decref(x->groups);
	json_decref(x->missing);
	json_decref(x->emails);
}
