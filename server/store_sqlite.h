/* store_sqlite.h - between store_sqlite.c (threads, groups, reads) and store_sqlite_link.c (one
 * connection). */
#ifndef MUSTER_STORE_SQLITE_H
#define MUSTER_STORE_SQLITE_H

#include <sqlite3.h>

#include "store_engine.h"

/* One connection; used by one thread at a time. */
struct link {
	sqlite3 *db;
	struct hash prepared; /* of struct prepared */
};

/* What became of a group or a statement. */
enum outcome {
	OUTCOME_GOOD,
	OUTCOME_REFUSED, /* the statement is at fault */
	OUTCOME_AWAY     /* the database is: busy, full, unreadable */
};

#define PRAGMAS_WRITER "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on"
/* Each reactor has a reader. What its cache does not hold, the kernel does. */
#define PRAGMAS_READER "pragma query_only = on; pragma cache_size = -512" /* KiB */

bool link_open(struct link *l, const struct database_options *o, const char *pragmas, char **error);
void link_close(struct link *l);
enum outcome outcome_of(int rc);
/* Runs one statement: SQLITE_OK or an error. Its rows go to `rows`, with memory from `a`. */
int link_run(struct link *l, const struct sql *sql, const struct param *params, unsigned count,
             struct rows *rows, struct arena *a);
int link_do(struct link *l, const struct sql *sql); /* without parameters and rows */
void link_log_refused(struct link *l, const struct sql *sql);
char *link_durability(struct link *l);

/* Of the engine's table. */
void *sqlite_session_open(struct database *db, char **error);
bool sqlite_session_run(void *session, const struct sql *sql, const struct param *params, unsigned count,
                        store_rows_fn *fn, void *arg, char **error);
bool sqlite_session_script(void *session, const char *text, char **error);
void sqlite_session_close(void *session);

#endif
