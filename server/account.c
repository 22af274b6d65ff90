/* account.c - see account.h. */
#include "account.h"

#include <string.h>

#include "c2s.h"
#include "pass_parts.h"
#include "router.h"
#include "server.h"
#include "stream.h"

/* ---- statements. Each is safe to repeat: a row of ours has our salt, drawn at random. */

static const struct sql sql_add = {
	.name = "account_add",
	.text =
	    "insert into account (salt, iterations, stored_sha1, server_sha1, stored_sha256, server_sha256,"
	    " name, host) select $1, $2, $3, $4, $5, $6, $7, id from host where name = $8"
	    " on conflict (host, name) do update set name = excluded.name"
	    " where account.salt = excluded.salt"
	    " returning id",
};

static const struct sql sql_password = {
	.name = "account_password",
	.text = "update account set salt = $1, iterations = $2, stored_sha1 = $3, server_sha1 = $4,"
		" stored_sha256 = $5, server_sha256 = $6"
		" where name = $7 and host = (select id from host where name = $8) returning id",
};

static const struct sql sql_find = {
	.name = "account_find",
	.text = "select a.id from account a join host h on h.id = a.host where h.name = $1 and a.name = $2",
};

static const struct sql sql_remove = {
	.name = "account_remove",
	.text = "delete from account where id = $1",
};

static enum account_result result_of(const struct rows *rows)
{
	return rows_status(rows) == STORE_OK     ? ACCOUNT_OK
	       : rows_status(rows) == STORE_AWAY ? ACCOUNT_AWAY
	                                         : ACCOUNT_BROKEN;
}

/* ---- the account's home forgets */

static void on_done(struct reactor *r, void *arg)
{
	struct account_job *job = arg;

	(void)r;
	job->done(job);
}

/* Runs in the home's reactor, behind the ENV_FORGET. */
static void on_forget_taken(struct reactor *r, void *arg)
{
	struct account_job *job = arg;

	reactor_post_run(r, job->reactor->index, on_done, job);
}

static void post_forget(struct reactor *r, const struct jid *account, const char *farewell)
{
	enum home_kind kind;
	unsigned target = router_home_of(r, account, &kind);

	reactor_post(r, target, home_forget_new(r, account, STREAM_NOT_AUTHORIZED, farewell));
	groups_follow_account(r, account);
}

/* First the logins that are under way, on all reactors: then none of them can become a session behind the
 * home's back. One may be moving meanwhile (stream_move.c), but only to the reactor of this home, and what
 * one reactor posts to another arrives in order: so the home's comes last, when each has told it directly
 * that there is none left. */
static void on_logins_ended(struct reactor *r, void *arg)
{
	struct account_job *job = arg;

	if (--job->reactors > 0)
		return;
	c2s_end_logins(r, job->jid, job->farewell);
	post_forget(r, job->jid, job->farewell);
	reactor_post_run(r, r->index, on_forget_taken, job);
}

static void end_logins(struct reactor *r, void *arg)
{
	struct account_job *job = arg;
	enum home_kind kind;

	c2s_end_logins(r, job->jid, job->farewell);
	reactor_post_run(r, router_home_of(r, job->jid, &kind), on_logins_ended, job);
}

void account_forget(struct account_job *job)
{
	struct reactor *r = job->reactor;

	job->reactors = r->server->reactor_count;
	for (unsigned i = 0; i < r->server->reactor_count; i++)
		reactor_post_run(r, i, end_logins, job);
}

/* ---- a password */

static void on_written(void *arg, const struct rows *rows)
{
	struct account_job *job = arg;

	job->result = (uint8_t)result_of(rows);
	if (job->result == ACCOUNT_OK && rows_count(rows) == 0)
		job->result = job->is_new ? ACCOUNT_EXISTS : ACCOUNT_MISSING;
	if (job->result == ACCOUNT_OK && (job->is_new || job->farewell))
		account_forget(job); /* a new one: for a while its home remembers that there was none */
	else
		job->done(job);
}

/* And wipes them. */
static void keys_write(struct write *w, struct account_job *job)
{
	struct sasl_keys *k = &job->keys;
	const struct jid *j = job->jid;

	write_add(w, job->is_new ? &sql_add : &sql_password,
	          PARAMS(P_BYTES((const char *)k->salt, k->salt_len), P_INT(k->iterations),
	                 P_BYTES((const char *)k->stored_sha1, sizeof k->stored_sha1),
	                 P_BYTES((const char *)k->server_sha1, sizeof k->server_sha1),
	                 P_BYTES((const char *)k->stored_sha256, sizeof k->stored_sha256),
	                 P_BYTES((const char *)k->server_sha256, sizeof k->server_sha256),
	                 P_TEXTN(j->text, j->local_len), P_TEXTN(jid_domain(j), jid_domain_len(j))));
	explicit_bzero(k, sizeof *k);
}

static void derive_in_pool(uv_work_t *work)
{
	struct account_job *job = CONTAINER_OF(work, struct account_job, work);

	job->is_valid = sasl_keys_derive(&job->keys, job->password);
}

static void on_derived(uv_work_t *work, int status)
{
	struct account_job *job = CONTAINER_OF(work, struct account_job, work);
	struct pass *p = job->pass;
	struct write *w;

	(void)status;
	job->reactor->hashing--;
	if (!job->is_valid) {
		ASSERT(!p); /* change_password has looked before */
		job->result = ACCOUNT_BAD_PASSWORD;
		job->done(job);
		return;
	}
	w = write_new(job->reactor->store, 0);
	keys_write(w, job);
	if (p)
		home_write(p->ctx.home, w, pass_on_rows, p);
	else
		write_submit(w, on_written, job);
}

static bool job_derive(struct account_job *job)
{
	struct reactor *r = job->reactor;

	if (r->hashing >= (unsigned)r->conf->limits.password_hashes)
		return false;
	memset(&job->keys, 0, sizeof job->keys);
	r->hashing++;
	ASSERT(uv_queue_work(&r->loop, &job->work, derive_in_pool, on_derived) == 0);
	return true;
}

bool account_add(struct account_job *job)
{
	job->is_new = true;
	return job_derive(job);
}

bool account_set_password(struct account_job *job)
{
	job->is_new = false;
	return job_derive(job);
}

enum verdict change_password(struct ctx *c, const char *password, rows_handler *then)
{
	struct pass *p = pass_of(c);
	struct account_job *job = ctx_new(c, sizeof *job);

	ASSERT(!p->then);
	if (c->home->is_guest) /* with a password he would come back, as somebody who is none */
		return refuse(c, NOT_ALLOWED, "A guest has no password.");
	*job = (struct account_job){
		.reactor = c->home->reactor, .jid = c->home->jid, .password = password, .pass = p
	};
	if (!account_set_password(job))
		return refuse(c, RESOURCE_CONSTRAINT, "Too many passwords are being changed.");
	home_hold(c->home, p); /* one of an account at a time: others want to log in meanwhile */
	p->then = then;
	return HELD;
}

/* ---- removal */

enum verdict remove_account(struct ctx *c, rows_handler *then)
{
	struct write *w = begin_write(c);
	const struct roster_item *item = NULL;

	while ((item = roster_walk_own(&c->home->roster, item)))
		roster_cancel(c, w, item, true);
	write_add(w, &sql_remove, PARAMS(P_INT(c->home->account)));
	return change(c, w, then);
}

void account_removed(struct ctx *c)
{
	struct roster *r = &c->home->roster;
	struct roster_item *item;

	while ((item = roster_walk_own(r, NULL))) /* they have been told: the sessions end without a word */
		roster_remove(r, item);
	/* Before what waits in the mailbox: that would be recorded for an account that is no more. */
	home_take_own(c->home, home_forget_new(c->home->reactor, c->home->jid, STREAM_NOT_AUTHORIZED,
	                                       "The account is gone."));
	groups_follow_account(c->home->reactor, c->home->jid);
}

static void on_home_removed_row(void *arg, const struct rows *rows)
{
	struct account_job *job = arg;

	job->result = (uint8_t)result_of(rows);
	job->done(job);
}

static void on_found(void *arg, const struct rows *rows)
{
	struct account_job *job = arg;
	struct write *w;

	job->result = (uint8_t)result_of(rows);
	if (job->result == ACCOUNT_OK && rows_count(rows) == 0)
		job->result = ACCOUNT_MISSING;
	if (job->result != ACCOUNT_OK) {
		job->done(job);
		return;
	}
	w = write_new(job->reactor->store, 0);
	write_add(w, &sql_remove, PARAMS(P_INT(rows_int(rows, 0, 0))));
	write_submit(w, on_home_removed_row, job);
}

/* There is no account that could wake; but there may be one that is disabled. Looked up, then deleted by
 * id, so that a repeated delete changes nothing. */
static void on_absent(struct reactor *r, void *arg)
{
	struct account_job *job = arg;
	const struct jid *j = job->jid;

	store_read(r->store, 0, &sql_find,
	           PARAMS(P_TEXTN(jid_domain(j), jid_domain_len(j)), P_TEXTN(j->text, j->local_len)),
	           on_found, job);
}

static enum verdict on_row_removed(struct ctx *c, const struct rows *rows)
{
	struct account_job *job = c->own;

	job->result = (uint8_t)result_of(rows);
	if (job->result == ACCOUNT_OK)
		account_removed(c);
	reactor_post_run(c->home->reactor, c->home->reactor->index, on_forget_taken, job);
	return DONE;
}

static enum verdict on_remove(struct ctx *c)
{
	struct account_job *job = c->own;

	if (!store_is_away(c->home->reactor->store))
		return remove_account(c, on_row_removed);
	job->result = ACCOUNT_AWAY;
	on_forget_taken(c->home->reactor, job);
	return DONE;
}

void account_remove_home(struct home *h, struct envelope *e)
{
	struct account_job *job = e->arg;

	envelope_free(h->reactor, e);
	if (h->state == HOME_AWAKE)
		pass_run_handler(h, 0, on_remove, job);
	else
		reactor_post_run(h->reactor, job->reactor->index, on_absent, job);
}

void account_remove(struct account_job *job)
{
	struct envelope *e = envelope_new(job->reactor, ENV_REMOVE);
	enum home_kind kind;

	e->home_kind = HOME_USER;
	e->to = jid_ref(job->jid);
	e->arg = job;
	reactor_post(job->reactor, router_home_of(job->reactor, job->jid, &kind), e);
}
