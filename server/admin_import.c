/* admin_import.c - many accounts at once: musterctl sends their keys in portions, which wait in table `import`;
 * one transaction then makes accounts of all of them, or of none.
 *
 *   import exists   which of these names are taken
 *   import begin    a number for this import
 *   import rows     a portion
 *   import commit   all of it becomes accounts, and then their cards are written, in portions
 *   import drop     none of it does
 *
 * What musterctl has checked is checked here only as far as the tables need it. */
#include "admin.h"

#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "home.h"
#include "sasl.h"

#define CARDS_AT_ONCE 1000
#define DEAD_AFTER_US (INT64_C(24) * 3600 * 1000000) /* an import that has not ended by then has died */

/* ---- statements. All are safe to repeat: line 0 says that the accounts have been made. */

static const struct sql sql_exists = {
	.name = "import_exists",
	.text = "select name from account where host = $1 and name in"
		" (select value from json_array_elements_text($2::json) as taken(value))",
	.sqlite = "select name from account where host = $1 and name in (select value from json_each($2))",
};

static const struct sql sql_sweep = {
	.name = "import_sweep",
	.text = "delete from import where batch < $1",
};

static const struct sql sql_row = {
	.name = "import_row",
	.text = "insert into import (batch, line, host, name, disabled, iterations, salt, stored_sha1,"
		" server_sha1, stored_sha256, server_sha256, full_name, email, vcard)"
		" values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
		" on conflict (batch, line) do nothing",
};

#define NEW_ACCOUNTS                                                                                       \
	"insert into account (host, name, disabled, iterations, salt, stored_sha1, server_sha1,"           \
	" stored_sha256, server_sha256, display) select host, name, coalesce(disabled, 0), iterations,"    \
	" salt, stored_sha1, server_sha1, stored_sha256, server_sha256, full_name from import"             \
	" where batch = $1 and line > 0"                                                                   \
	" and not exists (select 1 from import m where m.batch = $1 and m.line = 0)"

/* An account that appeared meanwhile is a mistake: then nothing is made. */
static const struct sql sql_make = {
	.name = "import_make",
	.text = NEW_ACCOUNTS,
};
static const struct sql sql_make_missing = {
	.name = "import_make_missing",
	.text = NEW_ACCOUNTS " on conflict (host, name) do nothing",
};
static const struct sql sql_change = {
	.name = "import_change",
	.text = "update account set disabled = coalesce(i.disabled, account.disabled),"
		" iterations = coalesce(i.iterations, account.iterations),"
		" salt = coalesce(i.salt, account.salt),"
		" stored_sha1 = coalesce(i.stored_sha1, account.stored_sha1),"
		" server_sha1 = coalesce(i.server_sha1, account.server_sha1),"
		" stored_sha256 = coalesce(i.stored_sha256, account.stored_sha256),"
		" server_sha256 = coalesce(i.server_sha256, account.server_sha256)"
		" from import i where i.batch = $1 and i.host = account.host and i.name = account.name",
};

static const struct sql sql_made = {
	.name = "import_made",
	.text = "insert into import (batch, line, host, name) select batch, 0, host, '' from import"
		" where batch = $1 limit 1 on conflict (batch, line) do nothing",
};

/* What people have written about themselves stays. */
static const struct sql sql_vcards = {
	.name = "import_vcards",
	.text = "insert into vcard (owner, content, full_name, email)"
		" select a.id, i.vcard, i.full_name, i.email from import i"
		" join account a on a.host = i.host and a.name = i.name"
		" where i.batch = $1 and i.line between $2 and $3 and i.vcard is not null"
		" on conflict (owner) do nothing",
};
static const struct sql sql_taken = {
	.name = "import_taken",
	.text = "delete from import where batch = $1 and line between $2 and $3",
};

static const struct sql sql_drop = {
	.name = "import_drop",
	.text = "delete from import where batch = $1",
};

/* ---- shared */

struct import_job {
	struct request *request;
	int64_t batch;
	int64_t line, lines; /* commit: up to which the cards are written, and the last */
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
	json_t *names = json_array();
	for (unsigned i = 0; i < rows_count(rows); i++)
		json_array_append_new(names, json_string(rows_text(rows, i, 0)));
	request_done(r, json_pack("{s:o}", "names", names));
}

void admin_import_exists(struct request *r)
{
	const struct host *h = admin_host(r, request_arg(r, "host"));
	if (!h)
		return;
	const json_t *names = request_list(r, "names");
	size_t n = json_dumpb(names, NULL, 0, JSON_COMPACT);
	char *text = arena_alloc(request_arena(r), n);
	json_dumpb(names, text, n, JSON_COMPACT);
	store_read(admin_reactor(r)->store, 0, &sql_exists, PARAMS(P_INT(h->id), P_TEXTN(text, n)),
	           on_exists, r);
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
	write_commit(w, on_begun, r);
}

void admin_import_drop(struct request *r)
{
	struct import_job *job = job_new(r);
	if (!job)
		return;
	struct write *w = write_new(admin_reactor(r)->store, 0);
	write_add(w, &sql_drop, PARAMS(P_INT(job->batch)));
	write_commit(w, on_done, job);
}

bool admin_import_sweep(struct database *db, char **error)
{
	return database_run(db, &sql_sweep, PARAMS(P_INT(INT64_MAX)), NULL, NULL, error);
}

/* ---- rows: arrays of line, host, name, disabled, iterations, five keys, full name, email, vCard */

enum {
	ROW_LINE,
	ROW_HOST,
	ROW_NAME,
	ROW_DISABLED,
	ROW_ITERATIONS,
	ROW_KEYS,
	ROW_TEXTS = ROW_KEYS + 5,
	ROW_CELLS = ROW_TEXTS + 3
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
	struct param params[ROW_CELLS + 1];
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
	for (unsigned k = 0; k < 3; k++)
		params[11 + k] = P_TEXT(json_string_value(json_array_get(row, ROW_TEXTS + k)));
	write_add(w, &sql_row, params, COUNT_OF(params));
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
	write_commit(w, on_done, job);
}

/* ---- commit, and then whoever was remembered as missing is looked up again */

static void on_told(struct server *srv, void *arg)
{
	struct import_job *job = arg;
	(void)srv;
	request_done(job->request, NULL);
}

static void forget_absents(struct reactor *r, void *arg)
{
	(void)arg;
	homes_forget_absents(r);
}

static void on_cards(void *arg, const struct rows *rows);

/* The cards of a portion of the new accounts, whose lines have done their work then. It is no part of the
 * transaction, which must not take long: everybody's messages wait for it. */
static void cards_write(struct import_job *job)
{
	struct write *w = write_new(admin_reactor(job->request)->store, 0);
	int64_t from = job->line, to = from + CARDS_AT_ONCE - 1;
	write_add(w, &sql_vcards, PARAMS(P_INT(job->batch), P_INT(from), P_INT(to)));
	write_add(w, &sql_taken, PARAMS(P_INT(job->batch), P_INT(from), P_INT(to)));
	job->line = to + 1;
	write_commit(w, on_cards, job);
}

static void on_cards(void *arg, const struct rows *rows)
{
	struct import_job *job = arg;
	if (!admin_store_ok(job->request, rows))
		return;
	if (job->line <= job->lines)
		cards_write(job);
	else
		server_each(request_server(job->request), forget_absents, on_told, job);
}

static void on_committed(void *arg, const struct rows *rows)
{
	struct import_job *job = arg;
	if (rows_status(rows) == STORE_FAILED)
		request_fail(
		    job->request, CONTROL_REFUSED,
		    "Some of the accounts have been made by somebody else meanwhile; nothing was imported.",
		    "Try again; the log has the database's words.");
	else if (admin_store_ok(job->request, rows))
		cards_write(job);
}

void admin_import_commit(struct request *r)
{
	const char *mode = request_arg(r, "mode");
	struct import_job *job = job_new(r);
	if (!job || !admin_may_write(r))
		return;
	job->lines = strtoll(request_arg(r, "lines"), NULL, 10);
	struct write *w = write_new(admin_reactor(r)->store, 0);
	if (strcmp(mode, "update") == 0)
		write_add(w, &sql_change, PARAMS(P_INT(job->batch)));
	write_add(w, strcmp(mode, "new") == 0 ? &sql_make : &sql_make_missing, PARAMS(P_INT(job->batch)));
	write_add(w, &sql_made, PARAMS(P_INT(job->batch)));
	write_commit(w, on_committed, job);
}
