/* admin_import.c - many accounts at once: musterctl sends their keys in portions, which wait in table `import`.
 * Then one row decides that all of them become accounts, and they do, portion after portion; whatever
 * comes between, the next start goes on with them. Without that row none of them does.
 *
 *   import exists   which of these names and e-mail addresses are taken
 *   import begin    a number for this import
 *   import rows     a portion
 *   import commit   all of it becomes accounts
 *   import drop     none of it does
 *
 * No statement and no transaction is larger than a portion: everybody's messages wait for it, and what takes
 * longer than store.timeout counts as a database that is away.
 *
 * What musterctl has checked is checked here only as far as the tables need it. */
#include "admin.h"

#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "directory.h"
#include "home.h"
#include "sasl.h"

#define LINES_AT_ONCE 500
#define DEAD_AFTER_US (INT64_C(24) * 3600 * 1000000) /* an import that has not ended by then has died */

/* ---- statements, each safe to repeat */

static const struct sql sql_exists = {
	.name = "import_exists",
	.text = "select name, null from account where host = $1 and name in"
		" (select value from json_array_elements_text($2::json) as taken(value)) union all"
		" select name, lower(email) from account where host = $1 and email is not null"
		" and lower(email) in"
		" (select value from json_array_elements_text($3::json) as taken(value))",
	.sqlite = "select name, null from account where host = $1 and name in"
		  " (select value from json_each($2)) union all"
		  " select name, lower(email) from account where host = $1 and email is not null"
		  " and lower(email) in"
		  " (select value from json_each($3))",
};

/* Of those that have not been decided on: line 0 says that one has. */
static const struct sql sql_sweep = {
	.name = "import_sweep",
	.text = "delete from import where batch < $1 and batch not in"
		" (select batch from import where line = 0)",
};

static const struct sql sql_row = {
	.name = "import_row",
	.text = "insert into import (batch, line, host, name, disabled, iterations, salt, stored_sha1,"
		" server_sha1, stored_sha256, server_sha256, display, email, groups, words)"
		" values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
		" on conflict (batch, line) do nothing",
};

static const struct sql sql_drop = {
	.name = "import_drop",
	.text = "delete from import where batch = $1",
};

/* The decision; `name` says what becomes of accounts that are there. An import of which nothing is left, as
 * it has been carried out, is not begun again. */
static const struct sql sql_decide = {
	.name = "import_decide",
	.text = "insert into import (batch, line, name) select batch, 0, $1 from import where batch = $2"
		" limit 1"
		" on conflict (batch, line) do nothing",
};
static const struct sql sql_decided = {
	.name = "import_decided",
	.text = "select d.batch, d.name,"
		" coalesce((select max(i.line) from import i where i.batch = d.batch), 0)"
		" from import d where d.line = 0",
};

#define PORTION " i.batch = $1 and i.line between $2 and $3"
/* Ours are those with our salt: a name may have been taken by somebody else meanwhile. */
#define OURS(a) " " a ".host = i.host and " a ".name = i.name and (i.salt is null or " a ".salt = i.salt)"
#define ID_WHERE(what) "(select a.id from import i join account a on" OURS("a") " where" PORTION what ")"
#define KEY(name) " " name " = case when i.salt is null then account." name " else i." name " end,"

/* Mode "update" only. Keys go together: those of one hash with another salt are of no use. */
static const struct sql sql_change = {
	.name = "import_change",
	.text = "update account set" KEY("iterations") KEY("stored_sha1") KEY("server_sha1")
	    KEY("stored_sha256") KEY("server_sha256")
		KEY("salt") " disabled = coalesce(i.disabled, account.disabled),"
			    " display = coalesce(i.display, account.display)"
			    " from import i where" PORTION
			    " and i.host = account.host and i.name = account.name",
};
static const struct sql sql_make = {
	.name = "import_make",
	.text = "insert into account (host, name, disabled, iterations, salt, stored_sha1, server_sha1,"
		" stored_sha256, server_sha256, display) select i.host, i.name, coalesce(i.disabled, 0),"
		" i.iterations, i.salt, i.stored_sha1, i.server_sha1, i.stored_sha256, i.server_sha256,"
		" i.display from import i where" PORTION " on conflict (host, name) do nothing",
};
/* That the other address is not null is said for SQLite, which else does not see that account_email fits. */
static const struct sql sql_email = {
	.name = "import_email",
	.text = "update account set email = i.email from import i where" PORTION " and i.email is not null"
		" and not exists (select 1 from account b where b.host = i.host and b.id <> account.id"
		" and b.email is not null and lower(b.email) = lower(i.email)) and" OURS("account"),
};
static const struct sql sql_clear_names = {
	.name = "import_clear_names",
	.text = "delete from directory where by_admin = 1 and field <> 'email' and owner in " ID_WHERE(
	    " and i.display is not null"),
};
static const struct sql sql_clear_emails = {
	.name = "import_clear_emails",
	.text = "delete from directory where by_admin = 1 and field = 'email' and owner in " ID_WHERE(
	    " and i.email is not null"),
};
#define WORDS(field, word, each)                                                                           \
	"insert into directory (host, field, word, owner, by_admin) select a.host, " field ", " word       \
	", a.id, 1 from import i join account a on" OURS(                                                  \
	    "a") " cross join " each " where" PORTION                                                      \
		 " on conflict (host, field, word, owner, by_admin) do nothing"
static const struct sql sql_words = {
	.name = "import_words",
	.text = WORDS("w.value ->> 0", "w.value ->> 1",
	              "lateral json_array_elements(i.words::json) as w(value)"),
	.sqlite =
	    WORDS("json_extract(w.value, '$[0]')", "json_extract(w.value, '$[1]')", "json_each(i.words) w"),
};
static const struct sql sql_leave = {
	.name = "import_leave",
	.text = "delete from contact_group_member where account in " ID_WHERE(" and i.groups is not null"),
};
#define JOIN(each)                                                                                         \
	"insert into contact_group_member (contact_group, account) select g.id, a.id from import i"        \
	" join account a on" OURS(                                                                         \
	    "a") " cross join " each                                                                       \
		 " join contact_group g on g.host = i.host and g.name = n.value where" PORTION             \
		 " on conflict (contact_group, account) do nothing"
static const struct sql sql_join = {
	.name = "import_join",
	.text = JOIN("lateral json_array_elements_text(i.groups::json) as n(value)"),
	.sqlite = JOIN("json_each(i.groups) n"),
};
/* The last. Lines whose names somebody else has taken stay. */
static const struct sql sql_taken = {
	.name = "import_taken",
	.text = "delete from import where batch = $1 and line between $2 and $3"
		" and exists (select 1 from account a where a.host = import.host and a.name = import.name"
		" and (import.salt is null or a.salt = import.salt))",
};
static const struct sql sql_end = {
	.name = "import_end",
	.text = "delete from import where batch = $1 returning line",
};

static const struct sql *const steps[] = { &sql_change,      &sql_make,         &sql_email,
	                                   &sql_clear_names, &sql_clear_emails, &sql_words,
	                                   &sql_leave,       &sql_join,         &sql_taken };

/* ---- shared */

struct import_job {
	struct request *request;
	int64_t batch;
	/* commit: */
	bool updates;
	int64_t line, lines; /* the first of the next portion, and the last of all */
	int64_t lost;        /* accounts that somebody else has made meanwhile */
};

static struct import_job *job_new(struct request *r)
{
	struct import_job *job = arena_zalloc(request_arena(r), sizeof(*job));
	const char *batch = request_arg(r, "batch");

	job->request = r;
	job->batch = strtoll(batch, NULL, 10);
	if (job->batch > 0)
		return job;
	request_fail(r, CONTROL_USAGE, "\"batch\" is the number that \"import begin\" gave.", NULL);
	return NULL;
}

static void on_done(void *arg, const struct rows *rows)
{
	struct import_job *job = arg;

	if (admin_store_ok(job->request, rows))
		request_done(job->request, NULL);
}

/* ---- exists, begin, drop */

static void on_exists(void *arg, const struct rows *rows)
{
	struct request *r = arg;

	if (!admin_store_ok(r, rows))
		return;
	json_t *names = json_array(), *emails = json_object();
	for (unsigned i = 0; i < rows_count(rows); i++) {
		if (rows_is_null(rows, i, 1))
			json_array_append_new(names, json_string(rows_text(rows, i, 0)));
		else
			json_object_set_new(emails, rows_text(rows, i, 1),
			                    json_string(rows_text(rows, i, 0)));
	}
	request_done(r, json_pack("{s:o, s:o}", "names", names, "emails", emails));
}

static const char *json_text(struct arena *a, const json_t *value)
{
	size_t n = json_dumpb(value, NULL, 0, JSON_COMPACT);
	char *text = arena_alloc(a, n + 1);

	json_dumpb(value, text, n, JSON_COMPACT);
	text[n] = '\0';
	return text;
}

void admin_import_exists(struct request *r)
{
	const struct host *h = admin_host(r, request_arg(r, "host"));

	if (!h)
		return;
	const char *names = json_text(request_arena(r), request_list(r, "names"));
	const char *emails = json_text(request_arena(r), request_list(r, "emails"));
	store_read(admin_reactor(r)->store, 0, &sql_exists,
	           PARAMS(P_INT(h->id), P_TEXT(names), P_TEXT(emails)), on_exists, r);
}

static void on_begun(void *arg, const struct rows *rows)
{
	struct request *r = arg;
	char number[24];

	if (!admin_store_ok(r, rows))
		return;
	snprintf(number, sizeof(number), "%lld", (long long)admin_reactor(r)->now);
	request_done(r, json_pack("{s:s}", "batch", number));
}

void admin_import_begin(struct request *r)
{
	struct reactor *reactor = admin_reactor(r);

	if (!admin_may_write(r))
		return;
	struct write *w = write_new(reactor->store, 0);
	write_add(w, &sql_sweep, PARAMS(P_INT(reactor->now - DEAD_AFTER_US)));
	write_submit(w, on_begun, r);
}

void admin_import_drop(struct request *r)
{
	struct import_job *job = job_new(r);

	if (!job)
		return;
	struct write *w = write_new(admin_reactor(r)->store, 0);
	write_add(w, &sql_drop, PARAMS(P_INT(job->batch)));
	write_submit(w, on_done, job);
}

/* ---- rows: arrays of line, host, name, disabled, iterations, five keys, display name, e-mail, groups */

enum {
	ROW_LINE,
	ROW_HOST,
	ROW_NAME,
	ROW_DISABLED,
	ROW_ITERATIONS,
	ROW_KEYS,
	ROW_DISPLAY = ROW_KEYS + 5,
	ROW_EMAIL,
	ROW_GROUPS,
	ROW_CELLS
};

static struct param int_param(const json_t *value)
{
	return json_is_integer(value) ? P_INT(json_integer_value(value)) : P_NULL;
}

/* Into `out`, which the parameter points to; NULL when it is no base64. */
static bool key_param(const json_t *value, unsigned char out[SASL_SALT_MAX], struct param *param)
{
	size_t n = 0;

	*param = P_NULL;
	if (!json_is_string(value))
		return true;
	if (!base64_decode(json_string_value(value), json_string_length(value), out, SASL_SALT_MAX, &n))
		return false;
	*param = P_BYTES((const char *)out, n);
	return true;
}

/* False: it is not as it must be. */
static bool row_add(const struct import_job *job, struct write *w, const json_t *row)
{
	struct param params[ROW_CELLS + 2];
	struct arena a = { 0 };
	unsigned char keys[5][SASL_SALT_MAX];
	const char *host = json_string_value(json_array_get(row, ROW_HOST));
	const char *name = json_string_value(json_array_get(row, ROW_NAME));
	const struct host *h =
	    host ? hosts_find(admin_reactor(job->request)->hosts, host, strlen(host)) : NULL;

	if (!h || !name || json_array_size(row) != ROW_CELLS)
		return false;
	params[0] = P_INT(job->batch);
	params[1] = int_param(json_array_get(row, ROW_LINE));
	params[2] = P_INT(h->id);
	params[3] = P_TEXT(name);
	params[4] = int_param(json_array_get(row, ROW_DISABLED));
	params[5] = int_param(json_array_get(row, ROW_ITERATIONS));
	for (unsigned k = 0; k < 5; k++) {
		if (!key_param(json_array_get(row, ROW_KEYS + k), keys[k], &params[6 + k]))
			return false;
	}
	const char *display = json_string_value(json_array_get(row, ROW_DISPLAY));
	const char *email = json_string_value(json_array_get(row, ROW_EMAIL));
	const json_t *groups = json_array_get(row, ROW_GROUPS);
	params[11] = P_TEXT(display);
	params[12] = P_TEXT(email);
	params[13] = P_TEXT(json_is_array(groups) ? json_text(&a, groups) : NULL);
	params[14] = P_TEXT(directory_words(&a, display, email));
	write_add(w, &sql_row, params, COUNT_OF(params));
	arena_free(&a);
	explicit_bzero(keys, sizeof(keys));
	return true;
}

void admin_import_rows(struct request *r)
{
	const json_t *rows = request_list(r, "rows"), *row;
	struct import_job *job = job_new(r);
	size_t i;

	if (!job || !admin_may_write(r))
		return;
	struct write *w = write_new(admin_reactor(r)->store, 0);
	json_array_foreach(rows, i, row)
	{
		if (row_add(job, w, row))
			continue;
		write_drop(w);
		request_failf(r, CONTROL_USAGE, "Has a domain been removed meanwhile?",
		              "Row %zu of this portion is not as it must be.", i);
		return;
	}
	write_submit(w, on_done, job);
}

/* ---- commit, and then whoever was remembered as missing is looked up again */

static void on_told(struct server *srv, void *arg)
{
	struct import_job *job = arg;

	(void)srv;
	request_done(job->request, json_pack("{s:I}", "lost", (json_int_t)job->lost));
}

static void forget_absents(struct reactor *r, void *arg)
{
	(void)arg;
	homes_forget_absents(r);
}

static void on_groups(void *arg, bool ok)
{
	struct import_job *job = arg;

	if (ok)
		server_each(request_server(job->request), forget_absents, on_told, job);
	else
		request_fail(
		    job->request, CONTROL_AWAY,
		    "The accounts are made, but the database did not answer when the groups were read.",
		    "Give the command \"musterctl group set\" for any group, or start the server again.");
}

static void on_ended(void *arg, const struct rows *rows)
{
	struct import_job *job = arg;

	if (!admin_store_ok(job->request, rows))
		return;
	for (unsigned i = 0; i < rows_count(rows); i++)
		job->lost += rows_int(rows, i, 0) > 0;
	server_reload_group(request_server(job->request), 0, on_groups, job);
}

static void on_portion(void *arg, const struct rows *rows);

static void portion_write(struct import_job *job)
{
	struct write *w = write_new(admin_reactor(job->request)->store, 0);
	int64_t from = job->line, to = from + LINES_AT_ONCE - 1;

	for (unsigned i = job->updates ? 0 : 1; i < COUNT_OF(steps); i++)
		write_add(w, steps[i], PARAMS(P_INT(job->batch), P_INT(from), P_INT(to)));
	job->line = to + 1;
	write_submit(w, on_portion, job);
}

static void go_on(struct import_job *job)
{
	if (job->line <= job->lines) {
		portion_write(job);
		return;
	}
	struct write *w = write_new(admin_reactor(job->request)->store, 0);
	write_add(w, &sql_end, PARAMS(P_INT(job->batch)));
	write_submit(w, on_ended, job);
}

static void on_portion(void *arg, const struct rows *rows)
{
	struct import_job *job = arg;

	if (admin_store_ok(job->request, rows))
		go_on(job);
}

static void on_decided(void *arg, const struct rows *rows)
{
	struct import_job *job = arg;

	if (!admin_store_ok(job->request, rows))
		return;
	job->line = 1;
	go_on(job);
}

void admin_import_commit(struct request *r)
{
	const char *mode = request_arg(r, "mode");
	struct import_job *job = job_new(r);

	if (!job || !admin_may_write(r))
		return;
	job->lines = strtoll(request_arg(r, "lines"), NULL, 10);
	job->updates = strcmp(mode, "update") == 0;
	struct write *w = write_new(admin_reactor(r)->store, 0);
	write_add(w, &sql_decide, PARAMS(P_TEXT(mode), P_INT(job->batch)));
	write_submit(w, on_decided, job);
}

/* ---- at the start */

#define DECIDED_MAX 16 /* more wait for the next start */

struct decided {
	unsigned count;
	struct {
		int64_t batch, lines;
		bool updates;
	} list[DECIDED_MAX];
};

static void on_decided_rows(void *arg, const struct rows *rows)
{
	struct decided *d = arg;

	for (unsigned i = 0; i < rows_count(rows) && d->count < DECIDED_MAX; i++) {
		d->list[d->count].batch = rows_int(rows, i, 0);
		d->list[d->count].updates = strcmp(rows_text(rows, i, 1), "update") == 0;
		d->list[d->count++].lines = rows_int(rows, i, 2);
	}
}

/* The steps are repeatable one by one, too: a line goes when all of them are done. */
static bool portion_run(struct database *db, int64_t batch, int64_t from, bool updates, char **error)
{
	bool ok = true;

	for (unsigned i = updates ? 0 : 1; ok && i < COUNT_OF(steps); i++)
		ok = database_run(db, steps[i],
		                  PARAMS(P_INT(batch), P_INT(from), P_INT(from + LINES_AT_ONCE - 1)), NULL,
		                  NULL, error);
	return ok;
}

bool admin_import_finish(struct database *db, char **error)
{
	struct decided d = { 0 };
	bool ok = database_run(db, &sql_decided, NO_PARAMS, on_decided_rows, &d, error);

	for (unsigned i = 0; ok && i < d.count; i++) {
		log_info("import", NULL, "goes on with an import that was under way when the server ended");
		for (int64_t line = 1; ok && line <= d.list[i].lines; line += LINES_AT_ONCE)
			ok = portion_run(db, d.list[i].batch, line, d.list[i].updates, error);
		ok = ok && database_run(db, &sql_drop, PARAMS(P_INT(d.list[i].batch)), NULL, NULL, error);
	}
	return ok && database_run(db, &sql_sweep, PARAMS(P_INT(INT64_MAX)), NULL, NULL, error);
}
