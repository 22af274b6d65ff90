/* import.c - "user import": a file of accounts is checked as a whole, then sent in portions that the
 * server keeps aside, then all of it is made: everything or nothing. Keys are derived here,
 * so that no password leaves this process. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base64.h"
#include "import.h"

#define NAMES_AT_ONCE 1000
#define ROWS_AT_ONCE 200 /* a portion takes seconds at most, also where keys must be derived first */
#define WAIT_MS 200
#define TRIES 10
#define TRY_SECONDS 2

/* Asks again while the database is busy: what an import asks is safe to repeat. Takes the reference of args. */
static json_t *ask(struct import *x, const char *command, json_t *args)
{
	struct call *c = x->call;
	json_t *result = NULL;

	for (unsigned tries = 1; !result && tries <= TRIES; tries++) {
		c->is_quiet = tries < TRIES;
		c->status = CONTROL_OK;
		result = talk(c, command, json_incref(args), NULL, NULL);
		if (!result && c->status != CONTROL_AWAY && tries < TRIES)
			tries = TRIES - 1; /* once more, for its complaint */
		else if (!result && tries < TRIES)
			sleep(TRY_SECONDS);
	}
	c->is_quiet = false;
	json_decref(args);
	return result;
}

/* ---- what the server has */

static bool take_hosts(struct import *x)
{
	const char *only = call_flag(x->call, "--host");
	json_t *result = talk(x->call, "host list", json_object(), NULL, NULL), *host;
	size_t i;

	x->hosts = json_object();
	json_array_foreach(json_object_get(result, "hosts"), i, host)
	{
		const char *name = json_string_value(json_object_get(host, "name"));

		if (!only || strcmp(only, name) == 0)
			json_object_set_new(x->hosts, name, json_true());
	}
	json_decref(result);
	if (result && only && json_object_size(x->hosts) == 0)
		return complain(x->call, CONTROL_REFUSED,
		                "\"musterctl host list\" shows the served domains.",
		                "The domain %s is not served here.", only);
	return result != NULL;
}

static json_t *name_of(const struct import_user *u)
{
	return json_stringn(u->jid->text, u->jid->local_len);
}

static void note_existing(struct import *x, struct import_user *u)
{
	u->exists = true;
	x->existing++;
	if (x->updates || x->skips) {
		if (x->skips)
			x->passwords[u - x->users] = NULL;
		return;
	}
	import_complain(x, u->line, "there is an account %s already", u->jid->text);
}

static bool is_of(const struct import_user *u, const char *host)
{
	return strcmp(jid_domain(u->jid), host) == 0;
}

/* Behind "HOST ". */
static const char *email_of(const struct import_user *u)
{
	return u->email_key ? u->email_key + strlen(jid_domain(u->jid)) + 1 : "";
}

static json_t *ask_existing(struct import *x, const char *host, size_t from, size_t to)
{
	json_t *names = json_array(), *emails = json_array();

	for (size_t i = from; i < to; i++) {
		if (!is_of(&x->users[i], host))
			continue;
		json_array_append_new(names, name_of(&x->users[i]));
		if (x->users[i].email_key)
			json_array_append_new(emails, json_string(email_of(&x->users[i])));
	}
	if (json_array_size(names) > 0)
		return ask(x, "import exists",
		           json_pack("{s:s, s:o, s:o}", "host", host, "names", names, "emails", emails));
	json_decref(names);
	json_decref(emails);
	return json_pack("{s:[], s:{}}", "names", "emails");
}

static void note_email(struct import *x, const struct import_user *u, const json_t *emails)
{
	const char *owner = json_string_value(json_object_get(emails, email_of(u)));

	if (owner &&
	    (strlen(owner) != u->jid->local_len || memcmp(owner, u->jid->text, strlen(owner)) != 0))
		import_complain(x, u->line, "%s@%s has the e-mail address %s already", owner,
		                jid_domain(u->jid), u->email);
}

/* Looks up the accounts of `host` among users[from .. to). */
static bool check_portion(struct import *x, const char *host, size_t from, size_t to)
{
	json_t *found = ask_existing(x, host, from, to), *taken = json_object(), *name;
	const json_t *emails = json_object_get(found, "emails");
	size_t k;

	json_array_foreach(json_object_get(found, "names"), k, name)
	    json_object_set_new(taken, json_string_value(name), json_true());
	for (size_t i = from; found && i < to; i++) {
		struct import_user *u = &x->users[i];

		if (!is_of(u, host))
			continue;
		if (json_object_getn(taken, u->jid->text, u->jid->local_len))
			note_existing(x, u);
		if (!u->exists || !x->skips)
			note_email(x, u, emails);
	}
	json_decref(taken);
	json_decref(found);
	return found != NULL;
}

static bool check_existing(struct import *x)
{
	for (size_t from = 0; from < x->count; from += NAMES_AT_ONCE) {
		size_t to = from + NAMES_AT_ONCE < x->count ? from + NAMES_AT_ONCE : x->count;
		const char *host;
		json_t *is_served;

		json_object_foreach(x->hosts, host, is_served)
		{
			if (!check_portion(x, host, from, to))
				return false;
		}
	}
	return true;
}

/* ---- groups */

static bool take_groups(struct import *x)
{
	json_t *result = talk(x->call, "group list", json_object(), NULL, NULL), *group;
	size_t i;

	x->groups = json_object();
	json_array_foreach(json_object_get(result, "groups"), i, group)
	{
		char *key = mem_printf("%s %s", json_string_value(json_object_get(group, "host")),
		                       json_string_value(json_object_get(group, "name")));

		json_object_set_new(x->groups, key, json_true());
		mem_free(key);
	}
	json_decref(result);
	return result != NULL;
}

static void check_group(struct import *x, const struct import_user *u, const char *name)
{
	char *key = mem_printf("%s %s", jid_domain(u->jid), name);
	bool is_there = json_object_get(x->groups, key) != NULL;

	if (!is_there && x->missing)
		json_object_set_new(x->missing, key,
		                    json_pack("{s:s, s:s}", "host", jid_domain(u->jid), "name", name));
	else if (!is_there)
		import_complain(x, u->line, "there is no group \"%.100s\" on %s; --make-groups makes it",
		                name, jid_domain(u->jid));
	mem_free(key);
}

static bool check_groups(struct import *x)
{
	const json_t *name;
	size_t k;

	for (size_t i = 0; i < x->count; i++) {
		if (x->users[i].groups && !x->groups && !take_groups(x))
			return false;
		json_array_foreach(x->users[i].groups, k, name)
		    check_group(x, &x->users[i], json_string_value(name));
	}
	return true;
}

static bool make_groups(struct import *x)
{
	const char *key;
	json_t *args;

	json_object_foreach(x->missing, key, args)
	{
		json_t *result = talk(x->call, "group add", json_incref(args), NULL, NULL);

		json_decref(result);
		if (!result)
			return false;
	}
	return true;
}

/* ---- sending */

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static void add_keys(json_t *row, const struct import_user *u, const struct sasl_keys *k)
{
	const struct {
		const unsigned char *data;
		size_t len;
		bool is_there;
	} keys[] = {
		{ k->salt, k->salt_len, u->has_sha1 || u->has_sha256 },
		{ k->stored_sha1, sizeof(k->stored_sha1), u->has_sha1 },
		{ k->server_sha1, sizeof(k->server_sha1), u->has_sha1 },
		{ k->stored_sha256, sizeof(k->stored_sha256), u->has_sha256 },
		{ k->server_sha256, sizeof(k->server_sha256), u->has_sha256 },
	};
	struct arena a = { 0 };
	json_array_append_new(row, keys[0].is_there ? json_integer(k->iterations) : json_null());
	for (unsigned i = 0; i < COUNT_OF(keys); i++)
		json_array_append_new(row, keys[i].is_there
		                               ? json_string(base64_encode(&a, keys[i].data, keys[i].len))
		                               : json_null());
	arena_free(&a);
}

/* As admin_import.c reads it. */
static json_t *row_json(const struct import *x, size_t i)
{
	const struct import_user *u = &x->users[i];
	json_t *row = json_array();

	json_array_append_new(row, json_integer(u->line));
	json_array_append_new(row, json_string(jid_domain(u->jid)));
	json_array_append_new(row, name_of(u));
	json_array_append_new(row, u->disabled < 0 ? json_null() : json_integer(u->disabled));
	add_keys(row, u, &x->keys[i]);
	json_array_append_new(row, text_or_null(u->display));
	json_array_append_new(row, text_or_null(u->email));
	json_array_append_new(row, u->groups ? json_incref(u->groups) : json_null());
	return row;
}

static bool send_portion(struct import *x, const char *batch, size_t from, size_t to)
{
	json_t *rows = json_array();

	for (size_t i = from; i < to; i++) {
		if (!x->skips || !x->users[i].exists)
			json_array_append_new(rows, row_json(x, i));
	}
	json_t *result = ask(x, "import rows", json_pack("{s:s, s:o}", "batch", batch, "rows", rows));
	json_decref(result);
	return result != NULL;
}

static bool send_all(struct import *x, const char *batch)
{
	struct derive *d = derive_start(x->passwords, x->keys, x->count);
	struct progress p;
	bool ok = true;

	progress_begin(&p, x->call, "Importing", x->count);
	for (size_t from = 0; ok && from < x->count; from += ROWS_AT_ONCE) {
		size_t to = from + ROWS_AT_ONCE < x->count ? from + ROWS_AT_ONCE : x->count;

		while (!derive_wait(d, to, WAIT_MS))
			progress_show(&p, derive_done(d));
		ok = send_portion(x, batch, from, to);
		progress_show(&p, to);
	}
	progress_end(&p);
	derive_end(d);
	return ok;
}

/* Whoever is disabled by an update must go. */
static bool end_disabled(struct import *x)
{
	for (size_t i = 0; x->updates && i < x->count; i++) {
		const struct import_user *u = &x->users[i];

		if (!u->exists || u->disabled != 1)
			continue;
		json_t *result =
		    talk(x->call, "user disable", json_pack("{s:s}", "jid", u->jid->text), NULL, NULL);
		json_decref(result);
		if (!result)
			return false;
	}
	return true;
}

static bool commit(struct import *x, const char *batch)
{
	const char *mode = x->updates ? "update" : x->skips ? "skip" : "new";
	char lines[16];

	snprintf(lines, sizeof(lines), "%u", x->count ? x->users[x->count - 1].line : 0);
	json_t *result = ask(x, "import commit",
	                     json_pack("{s:s, s:s, s:s}", "batch", batch, "mode", mode, "lines", lines));
	x->lost = (size_t)json_integer_value(json_object_get(result, "lost"));
	json_decref(result);
	return result != NULL;
}

static bool send_import(struct import *x)
{
	json_t *begun = talk(x->call, "import begin", json_object(), NULL, NULL);
	const char *batch = json_string_value(json_object_get(begun, "batch"));
	bool ok = batch && send_all(x, batch) && make_groups(x) && commit(x, batch) && end_disabled(x);

	json_decref(begun);
	return ok;
}

/* ---- the command */

static int show_done(struct import *x, bool is_dry)
{
	if (x->lost)
		complain(x->call, CONTROL_REFUSED, "\"musterctl user list\" shows them.",
		         "%zu of the accounts were made by somebody else meanwhile, who has them now.",
		         x->lost);
	struct call *c = x->call;
	size_t made = x->count - x->existing - x->lost, changed = x->updates ? x->existing : 0;
	size_t skipped = x->skips ? x->existing : 0;
	if (c->is_json) {
		json_t *result =
		    json_pack("{s:I, s:I, s:I, s:I, s:b}", "made", (json_int_t)made, "changed",
		              (json_int_t)changed, "skipped", (json_int_t)skipped, "groups_made",
		              (json_int_t)json_object_size(x->missing), "dry_run", is_dry);

		show_json(c, result);
		json_decref(result);
		return c->status;
	}
	printf("%s %zu account%s", is_dry ? "No mistakes found. It would make" : "Made", made,
	       made == 1 ? "" : "s");
	if (x->updates)
		printf(", and change %zu", changed);
	if (x->skips)
		printf(", and skip %zu that %s there", skipped, skipped == 1 ? "is" : "are");
	puts(".");
	if (json_object_size(x->missing) > 0)
		printf("%s %zu group%s.\n", is_dry ? "It would make" : "Made", json_object_size(x->missing),
		       json_object_size(x->missing) == 1 ? "" : "s");
	return c->status;
}

static bool is_without_mistakes(struct import *x)
{
	if (!x->complaints)
		return true;
	if (x->complaints > IMPORT_COMPLAINTS_MAX)
		complain_detail(x->call, "... and %u more.", x->complaints - IMPORT_COMPLAINTS_MAX);
	return complain(x->call, CONTROL_REFUSED, "Nothing was imported. Mend the file, then try again.",
	                "%s has %u mistake%s.", x->path, x->complaints, x->complaints == 1 ? "" : "s");
}

int import_users(struct call *c)
{
	struct import x = { .call = c, .path = c->words[0] };
	bool is_dry = call_flag(c, "--dry-run");

	x.skips = call_flag(c, "--skip-existing");
	x.updates = call_flag(c, "--update");
	x.missing = call_flag(c, "--make-groups") ? json_object() : NULL;
	if (strcmp(x.path, "-") == 0)
		x.path = "/dev/stdin";
	if (x.skips && x.updates)
		complain_usage(c, "Take one of them.", "--skip-existing and --update exclude each other.",
		               NULL);
	else if (take_hosts(&x) && import_read(&x) && is_without_mistakes(&x) && check_existing(&x) &&
	         check_groups(&x) && is_without_mistakes(&x) && (is_dry || send_import(&x)))
		show_done(&x, is_dry);
	import_free(&x);
	return c->status;
}
