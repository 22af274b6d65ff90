/* admin_user.c - the administrator's commands about accounts. Most of the work is account.c's. */
#include "admin.h"

#include <stdio.h>
#include <string.h>

#include "account.h"

static const struct sql sql_disable = {
	.name = "user_disable",
	.text = "update account set disabled = $1 where name = $2"
		" and host = (select id from host where name = $3) returning id",
};

/* ---- one account */

struct user_job {
	struct request *request;
	struct account_job account;
};

static void on_done(struct account_job *account)
{
	struct user_job *job = CONTAINER_OF(account, struct user_job, account);
	struct request *r = job->request;
	const struct server *srv = request_server(r);
	enum account_result result = account->result;

	if (srv->is_stopping && result != ACCOUNT_OK)
		request_fail(r, CONTROL_AWAY, "The server is stopping.", NULL);
	else if (result == ACCOUNT_EXISTS)
		request_failf(r, CONTROL_REFUSED, "\"musterctl user passwd\" changes its password.",
		              "There is an account %s already.", account->jid->text);
	else if (result == ACCOUNT_MISSING)
		admin_refuse_unknown(r, account->jid->text);
	else if (result == ACCOUNT_BAD_PASSWORD)
		request_fail(r, CONTROL_REFUSED, "The password is not valid.",
		             "It must have 1 to 1023 bytes of UTF-8, without control characters.");
	else if (result == ACCOUNT_AWAY)
		request_fail(
		    r, CONTROL_AWAY,
		    "The database does not answer; whether it took the change is not known.",
		    "Look with \"musterctl status\" until it is back, then give the command again.");
	else if (result == ACCOUNT_BROKEN)
		request_fail(r, CONTROL_BROKEN, "The database refused the statement.",
		             "This is a bug; the server's log has the database's words.");
	else
		request_done(r, json_pack("{s:s}", "jid", account->jid->text));
}

/* NULL: the request has been refused. */
static struct user_job *job_new(struct request *r)
{
	const struct jid *j = admin_account(r, false);

	if (!j || !admin_may_write(r))
		return NULL;
	struct user_job *job = arena_zalloc(request_arena(r), sizeof(*job));
	job->request = r;
	job->account = (struct account_job){ .reactor = admin_reactor(r), .jid = j, .done = on_done };
	return job;
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

	if (!job)
		return;
	if (is_new && !jid_is_registrable(job->account.jid)) {
		refuse_name(r, job->account.jid);
		return;
	}
	job->account.password = request_arg(r, "password");
	if (!is_new && request_bool(r, "kick", false))
		job->account.farewell = "The password has been changed.";
	if (!(is_new ? account_add(&job->account) : account_set_password(&job->account)))
		request_fail(r, CONTROL_AWAY, "Too many passwords are being hashed.", "Try again.");
}

void admin_user_add(struct request *r)
{
	set_password(r, true);
}

void admin_user_passwd(struct request *r)
{
	set_password(r, false);
}

void admin_user_remove(struct request *r)
{
	struct user_job *job = job_new(r);

	if (job)
		account_remove(&job->account);
}

/* ---- user disable, user enable. A disabled account is to others as if it were not there; it keeps what it
 * has. */

static void on_disabled(void *arg, const struct rows *rows)
{
	struct user_job *job = arg;

	if (!admin_store_ok(job->request, rows))
		return;
	job->account.result = rows_count(rows) ? ACCOUNT_OK : ACCOUNT_MISSING;
	account_forget(&job->account); /* also what was remembered while it was disabled */
}

static void set_disabled(struct request *r, bool is_disabled)
{
	struct user_job *job = job_new(r);

	if (!job)
		return;
	const struct jid *j = job->account.jid;
	job->account.farewell = "The account is disabled.";
	struct write *w = write_new(admin_reactor(r)->store, 0);
	write_add(w, &sql_disable,
	          PARAMS(P_INT(is_disabled), P_TEXTN(j->text, j->local_len),
	                 P_TEXTN(jid_domain(j), jid_domain_len(j))));
	write_submit(w, on_disabled, job);
}

void admin_user_disable(struct request *r)
{
	set_disabled(r, true);
}

void admin_user_enable(struct request *r)
{
	set_disabled(r, false);
}
