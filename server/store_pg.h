/* store_pg.h - between store_pg.c (the connections of a store) and store_pg_start.c (values on the wire,
 * how a connection is made, and what the node does at start). */
#ifndef MUSTER_STORE_PG_H
#define MUSTER_STORE_PG_H

#include <libpq-fe.h>

#include "store_engine.h"

/* Parameters as libpq wants them. */
struct wire {
	const char *values[PARAMS_MAX];
	int lengths[PARAMS_MAX], formats[PARAMS_MAX];
	uint64_t numbers[PARAMS_MAX];
};

Oid pg_param_oid(const struct param *p);
/* Returns about how many bytes they are. */
size_t pg_params_encode(struct wire *w, const struct param *params, unsigned count);
/* The cells point into the result, or have copies in the arena (`is_kept`). */
void pg_rows_fill(struct rows *rows, const PGresult *result, struct arena *a, bool is_kept);

/* Says nothing against the statement: connection, resources, shutdown, deadlock, a server that only
 * reads, a lock that was not free, a privilege that was taken away, damaged data. */
bool pg_is_transient(const PGresult *result);
const char *pg_error_text(const PGresult *result);
void pg_log_refused(const struct sql *sql, const PGresult *result);

#define PG_WRITING "musterd writing" /* how a store's writing connection is called in pg_stat_activity */

/* Makes a connection, and waits for it at most `timeout_s`; NULL: only begins to make it. The password file is
 * read each time, so that it can change while the server runs. NULL: that is no good, with a sentence in
 * *error (the caller frees it). */
PGconn *pg_connect(const struct database *db, const char *name, const char *timeout_s,
                   char **error) MUST_CHECK;
void pg_on_notice(void *arg, const char *message);

/* ---- store_pg_claim.c: one musterd on one database */

/* The node's part. */
struct pg_node {
	char *claim; /* who has the database: what this process has written down; NULL: it claims nothing */
	void *session; /* holds the lock between pg_claim_open and pg_claim */
};

/* In this order, by each writing connection: have the lock; no row: the database is still ours, else who has
 * it now. And before that, what need not succeed: PostgreSQL is to notice soon when we have gone. */
extern const struct sql sql_pg_hold, sql_pg_still, sql_pg_watch;

/* Waits until nobody else writes there, and takes over `session`. False, with a sentence, when somebody does. */
bool pg_claim_open(struct database *db, void *session, char **error) MUST_CHECK;
/* When there are tables. */
bool pg_claim(struct database *db, char **error) MUST_CHECK;

/* Of the engine's table. */
bool pg_open(struct database *db, char **error);
void pg_close(struct database *db);
char *pg_durability(struct database *db);
void *pg_session_open(struct database *db, char **error);
bool pg_session_run(void *session, const struct sql *sql, const struct param *params, unsigned count,
                    store_rows_fn *fn, void *arg, char **error);
bool pg_session_script(void *session, const char *text, char **error);
void pg_session_close(void *session);

#endif
