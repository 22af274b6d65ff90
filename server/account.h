/* account.h - accounts as rows of table `account`: made, given a password, removed. For the administrator's
 * commands (admin_user.c), registration by clients (c2s_register.c), and modules: change_password and
 * remove_account of module.h.
 *
 * Only keys derived from the password are stored; deriving them is slow on purpose and done in the worker
 * pool. What an account's home remembers is forgotten before a job is done. */
#ifndef MUSTER_ACCOUNT_H
#define MUSTER_ACCOUNT_H

#include "reactor.h"
#include "sasl.h"

enum account_result {
	ACCOUNT_OK,
	ACCOUNT_EXISTS,
	ACCOUNT_MISSING,
	ACCOUNT_BAD_PASSWORD,
	ACCOUNT_AWAY,  /* the database did not answer: whether it took the change is not known */
	ACCOUNT_BROKEN /* the database refused the statement */
};

/* Stays the caller's, with all that it points to, until `done` has been called: once, on `reactor`, never
 * before the function has returned. */
struct account_job {
	struct reactor *reactor; /* the one that asks */
	const struct jid *jid;   /* bare */
	const char *password;
	/* account_set_password: what the sessions that end with it are told; NULL: they stay. */
	const char *farewell;
	void (*done)(struct account_job *job);
	uint8_t result; /* enum account_result */
	/* the rest is account.c's */
	bool is_new, is_valid;
	unsigned reactors; /* account_forget: that may have logins of it; the home's reactor only */
	struct pass *pass; /* change_password: whose continuation waits */
	struct sasl_keys keys;
	uv_work_t work;
};

/* False: the worker pool has too much to do (limits.password_hashes), and `done` will not be called. */
bool account_add(struct account_job *job) MUST_CHECK;
bool account_set_password(struct account_job *job) MUST_CHECK;
/* Removes the account by way of its home: its contacts are told, its sessions end. */
void account_remove(struct account_job *job);

/* Its home, if there is one, ends its sessions with the farewell and reads the account anew. Logins that are
 * under way, with what was right before, end too. */
void account_forget(struct account_job *job);

struct home;
/* ENV_REMOVE has arrived; takes it over. */
void account_remove_home(struct home *h, struct envelope *e);

#endif
