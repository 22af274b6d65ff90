/* admin_user.c - the administrator's commands about accounts: rows of table `account`.
 *
 * Only keys derived from the password are stored; deriving them is slow by purpose and done in the worker
 * pool. What a home remembers of an account is forgotten before the command is answered. */
#include "admin.h"

#include <stdio.h>
#include <string.h>

#include "home.h"
#include "router.h"
#include "sasl.h"
#include "stream.h"

/* ---- statements. Each is safe to repeat: a row of ours has our salt, drawn at random. */

static const struct sql sql_add = {
	.name = "user_add",
	.text =
	    "insert into account (salt, iterations, stored_sha1, server_sha1, stored_sha256, server_sha256,"
	    " name, host) select $1, $2, $3, $4, $5, $6, $7, id from host where name = $8"
	    " on conflict (host, name) do update set name = excluded.name where account.salt = "
	    "excluded.salt"
	    " returning id",
};

static const struct sql sql_passwd = {
	.name = "user_passwd",
	.text = "update account set salt = $1, iterations = $2, stored_sha1 = $3, server_sha1 = $4,"
		" stored_sha256 = $5, server_sha256 = $6"
		" where name = $7 and host = (select id from host where name = $8) returning id",
};

static const struct sql sql_find = {
	.name = "user_find",
	.text = "select a.id from account a join host h on h.id = a.host where h.name = $1 and a.name = $2",
};

static const struct sql sql_remove = {
	.name = "user_remove",
	.text = "delete from account where id = $1",
};

static const struct sql sql_disable = {
	.name = "user_disable",
	.text = "update account set disabled = $1 where name = $2"
		" and host = (select id from host where name = $3) returning id",
};

/* ---- one account */

struct user_job {
	struct request *request;
	const struct jid *jid;
	char *name, *domain;
	const char *password;
	bool is_new;          /* "user add" */
	bool kicks;           /* its sessions end */
	const char *farewell; /* what they are told */
	bool is_valid;        /* the password */
	struct sasl_keys keys;
	uv_work_t work;
};

static struct user_job *job_new(struct request *r)
{
	const struct jid *j = admin_account(r, false);
	if (!j)
		return NULL;
	struct user_job *job = arena_zalloc(request_arena(r), sizeof(*job));
	job->request = r;
	job->jid = j;
	job->name = arena_strndup(request_arena(r), j->text, j->local_len);
	job->domain = arena_strndup(request_arena(r), jid_domain(j), jid_domain_len(j));
	return job;
}

static void job_done(struct user_job *job)
{
	request_done(job->request, json_pack("{s:s}", "jid", job->jid->text));
}

static void job_fail_missing(struct user_job *job)
{
	request_failf(job->request, CONTROL_REFUSED, "\"musterctl user list\" shows the accounts.",
	              "There is no account %s.", job->jid->text);
}

/* ---- the account's home */

static void on_forgotten(struct reactor *r, void *arg)
{
	(void)r;
	job_done(arg);
}

/* Runs in the home's reactor, behind the ENV_FORGET. */
static void on_forget_taken(struct reactor *r, void *arg)
{
	reactor_post_run(r, 0, on_forgotten, arg);
}

/* The home, if there is one, ends its sessions and forgets the account; then the request is answered. */
static void job_forget(struct user_job *job)
{
	struct reactor *r = admin_reactor(job->request);
	enum home_kind kind;
	unsigned target = router_home_of(r, job->jid, &kind);
	struct envelope *e = envelope_new(r, ENV_FORGET);
	e->home_kind = (uint8_t)kind;
	e->to = jid_ref(job->jid);
	e->condition = STREAM_NOT_AUTHORIZED;
	e->text = job->farewell;
	reactor_post(r, target, e);
	reactor_post_run(r, target, on_forget_taken, job);
}

/* ---- user add, user passwd */

static void on_added(void *arg, const struct rows *rows)
{
	struct user_job *job = arg;
	if (!admin_store_ok(job->request, rows))
		return;
	if (rows_count(rows) == 0)
		request_failf(job->request, CONTROL_REFUSED,
		              "\"musterctl user passwd\" changes its password.",
		              "There is an account %s already.", job->jid->text);
	else
		job_forget(job); /* for a while the home remembers that there was none */
}

static void on_changed(void *arg, const struct rows *rows)
{
	struct user_job *job = arg;
	if (!admin_store_ok(job->request, rows))
		return;
	if (rows_count(rows) == 0)
		job_fail_missing(job);
	else if (job->kicks)
		job_forget(job);
	else
		job_done(job);
}

static void on_derive(uv_work_t *work) /* in the worker pool */
{
	struct user_job *job = work->data;
	job->is_valid = sasl_keys_derive(&job->keys, job->password);
}

static void on_derived(uv_work_t *work, int status)
{
	struct user_job *job = work->data;
	const struct server *srv = request_server(job->request);
	struct sasl_keys *k = &job->keys;
	if (status < 0 || srv->is_stopping) {
		request_fail(job->request, CONTROL_AWAY, "The server is stopping.", NULL);
		return;
	}
	if (!job->is_valid) {
		request_fail(job->request, CONTROL_REFUSED, "The password is not valid.",
		             "It must have 1 to 1023 bytes of UTF-8, without control characters.");
		return;
	}
	struct write *w = write_new(admin_reactor(job->request)->store, 0);
	write_add(w, job->is_new ? &sql_add : &sql_passwd,
	          PARAMS(P_BYTES((char *)k->salt, k->salt_len), P_INT(k->iterations),
	                 P_BYTES((char *)k->stored_sha1, sizeof(k->stored_sha1)),
	                 P_BYTES((char *)k->server_sha1, sizeof(k->server_sha1)),
	                 P_BYTES((char *)k->stored_sha256, sizeof(k->stored_sha256)),
	                 P_BYTES((char *)k->server_sha256, sizeof(k->server_sha256)), P_TEXT(job->name),
	                 P_TEXT(job->domain)));
	write_commit(w, job->is_new ? on_added : on_changed, job);
	explicit_bzero(k, sizeof(*k));
}

static void refuse_name(struct request *r, const struct jid *j)
{
	request_failf(
	    r, CONTROL_REFUSED,
	    "Write it in the form in which letters are compared: \"ss\", for example, instead of a "
	    "sharp s, and no \\20 at either end.",
	    "No account can be made with the name %s: it could be mistaken for another.", j->text);
}

static void set_password(struct request *r, bool is_new)
{
	struct user_job *job = job_new(r);
	if (!job || !admin_may_write(r))
		return;
	if (is_new && !jid_is_registrable(job->jid)) {
		refuse_name(r, job->jid);
		return;
	}
	job->is_new = is_new;
	job->kicks = !is_new && request_bool(r, "kick", false);
	job->farewell = "The password has been changed.";
	job->password = request_arg(r, "password");
	job->work.data = job;
	uv_queue_work(&admin_reactor(r)->loop, &job->work, on_derive, on_derived);
}

void admin_user_add(struct request *r)
{
	set_password(r, true);
}

void admin_user_passwd(struct request *r)
{
	set_password(r, false);
}

/* ---- user remove: looked up, then deleted by id, so that a repeated delete changes nothing. */

static void on_removed(void *arg, const struct rows *rows)
{
	struct user_job *job = arg;
	if (admin_store_ok(job->request, rows))
		job_forget(job);
}

static void on_found(void *arg, const struct rows *rows)
{
	struct user_job *job = arg;
	if (!admin_store_ok(job->request, rows))
		return;
	if (rows_count(rows) == 0) {
		job_fail_missing(job);
		return;
	}
	struct write *w = write_new(admin_reactor(job->request)->store, 0);
	write_add(w, &sql_remove, PARAMS(P_INT(rows_int(rows, 0, 0))));
	write_commit(w, on_removed, job);
}

void admin_user_remove(struct request *r)
{
	struct user_job *job = job_new(r);
	if (!job || !admin_may_write(r))
		return;
	job->farewell = "The account is gone.";
	store_read(admin_reactor(r)->store, 0, &sql_find, PARAMS(P_TEXT(job->domain), P_TEXT(job->name)),
	           on_found, job);
}

/* ---- user disable, user enable. A disabled account is to others as if it were not there; it keeps what it
 * has. */

static void on_disabled(void *arg, const struct rows *rows)
{
	struct user_job *job = arg;
	if (!admin_store_ok(job->request, rows))
		return;
	if (rows_count(rows) == 0)
		job_fail_missing(job);
	else
		job_forget(job); /* also what was remembered while it was disabled */
}

static void set_disabled(struct request *r, bool is_disabled)
{
	struct user_job *job = job_new(r);
	if (!job || !admin_may_write(r))
		return;
	job->farewell = "The account is disabled.";
	struct write *w = write_new(admin_reactor(r)->store, 0);
	write_add(w, &sql_disable, PARAMS(P_INT(is_disabled), P_TEXT(job->name), P_TEXT(job->domain)));
	write_commit(w, on_disabled, job);
}

void admin_user_disable(struct request *r)
{
	set_disabled(r, true);
}

void admin_user_enable(struct request *r)
{
	set_disabled(r, false);
}
