/* store.h - the database: PostgreSQL or SQLite behind one interface, never blocking.
 *
 * `struct database` belongs to the node (engine, place, SQLite's writer thread); `struct store` to one
 * reactor (its connections, its open group). All calls on a store come from its own loop's thread.
 *
 * Reads go over one connection (PostgreSQL) or a reader thread (SQLite). Writes are gathered: write_submit
 * puts them into the open group; at most one group is in flight; when it has been
 * committed the next one, with all that arrived meanwhile, is sent. A group is one transaction. Its
 * ticket is a number that only grows, and groups commit in the order of their tickets, so "has this
 * been committed?" is one comparison.
 *
 * Every callback runs exactly once, on the store's loop, and never before the call that asked for it
 * has returned; also on failure and timeout. */
#ifndef MUSTER_STORE_H
#define MUSTER_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "histogram.h"
#include "mem.h"

/* ---- statements: const data beside the code that uses them */

/* One statement with $1, $2 ... (each number first used in ascending order). The same text serves both
 * engines wherever the dialects agree; `sqlite` is the other text where they do not, else NULL. That may hold a
 * second statement behind ";", run right after the first: it has no rows, and names the parameters ?1, ?2 ...
 * Statements are prepared once per connection, recognised by the struct's address. */
struct sql {
	const char *name; /* for logs and errors: "roster_load" */
	const char *text;
	const char *sqlite;
};

enum param_type { PARAM_NULL, PARAM_INT, PARAM_TEXT, PARAM_BYTES };
struct param {
	enum param_type type;
	int64_t number;   /* PARAM_INT: bigint (also booleans, as 0 and 1, in integer columns) */
	const char *data; /* PARAM_TEXT, PARAM_BYTES; copied by the call it is given to */
	size_t len;
};
#define P_INT(v) ((struct param){ .type = PARAM_INT, .number = (int64_t)(v) })
#define P_TEXT(s) param_text(s) /* NULL becomes SQL's NULL */
#define P_TEXTN(s, n) ((struct param){ .type = PARAM_TEXT, .data = (s), .len = (n) })
#define P_BYTES(s, n) ((struct param){ .type = PARAM_BYTES, .data = (s), .len = (n) })
#define P_NULL ((struct param){ .type = PARAM_NULL })
/* PARAMS(P_INT(1), P_TEXT("x")): the two last arguments of the functions below. */
#define PARAMS(...)                                                                                        \
	((const struct param[]){ __VA_ARGS__ }),                                                           \
	    (unsigned)(sizeof((const struct param[]){ __VA_ARGS__ }) / sizeof(struct param))
#define NO_PARAMS NULL, 0
struct param param_text(const char *s);

/* ---- results */

enum store_status {
	STORE_OK,
	STORE_AWAY,  /* no connection, or no answer in time: try again later; a write may have happened */
	STORE_FAILED /* the database refused this statement: our bug; logged with its text */
};

struct rows; /* alive only inside the callback */
enum store_status rows_status(const struct rows *r);
unsigned rows_count(const struct rows *r); /* 0 unless STORE_OK; for a write without RETURNING too */
int64_t rows_int(const struct rows *r, unsigned row, unsigned column);      /* NULL reads as 0 */
const char *rows_text(const struct rows *r, unsigned row, unsigned column); /* NULL when NULL */
const char *rows_bytes(const struct rows *r, unsigned row, unsigned column, size_t *len);
bool rows_is_null(const struct rows *r, unsigned row, unsigned column);

/* ---- the database of the node */

struct database_options {
	bool is_postgresql;
	const char *path;          /* SQLite: the file, made when missing (mode 0600) */
	const char *conninfo;      /* PostgreSQL: libpq's, without password or with */
	const char *password_file; /* or NULL */
	const char *schema_dir;    /* holds postgresql/ and sqlite/ */
	unsigned timeout_ms;       /* a group or read without answer for so long counts as away (2000) */
	unsigned waiting_writes;   /* bound on writes that wait for a commit (100000) */
	unsigned waiting_reads;    /* bound on reads that wait (10000) */
	const char *spool;         /* directory of the spool, or NULL: writes wait in memory */
	uint64_t spool_bytes;      /* its bound */
	bool keeps_schema;         /* runs no migrations: only to look at it */
	unsigned claim_wait_ms;    /* PostgreSQL: waits so long until no other process writes there, and is
				      refused then; nobody else may write there from then on. 0: no claim */
	unsigned test_commit_delay_ms; /* tests only: each group is held for so long before its commit */
};

struct database;

/* Connects once (blocking: only for start), refuses a schema newer than this binary, and runs the
 * numbered migrations of schema_dir, each in a transaction, under an advisory lock (PostgreSQL) or an
 * exclusive transaction (SQLite). NULL on failure, with a sentence in *error (the caller frees it)
 * that names the place and the mend. The options' strings must outlive it. */
struct database *database_open(const struct database_options *o, char **error) MUST_CHECK;
void database_close(struct database *db); /* after every store of it is closed */
bool database_is_postgresql(const struct database *db);
/* Tells `fn` of every known migration and of those that the database has seen, in their order. Blocking. */
bool database_migrations(struct database *db,
                         void (*fn)(void *arg, unsigned number, const char *name, bool is_applied),
                         void *arg, char **error) MUST_CHECK;
/* How it is really set on a live connection: "synchronous_commit=on" or "synchronous=2 journal_mode=wal".
 * The caller frees it. Blocking; for `musterctl status`'s start value and for tests. */
char *database_durability(struct database *db);
/* A few blocking calls for start-up only: runs one statement, gives its rows to `fn` before returning. */
typedef void store_rows_fn(void *arg, const struct rows *rows);
bool database_run(struct database *db, const struct sql *sql, const struct param *params, unsigned count,
                  store_rows_fn *fn, void *arg, char **error) MUST_CHECK;

/* A session of one's own for long work, which blocks: for the worker pool, one thread at a time. With
 * `at_one_moment` it only reads and, on PostgreSQL, sees all the time what there is at its first statement; on
 * SQLite, where that would keep the log from being folded back, each statement sees what there is then. NULL
 * with a sentence in *error (the caller frees it). */
struct database_session;
struct database_session *database_session_open(struct database *db, bool at_one_moment,
                                               char **error) MUST_CHECK;
bool database_session_run(struct database_session *s, const struct sql *sql, const struct param *params,
                          unsigned count, store_rows_fn *fn, void *arg, char **error) MUST_CHECK;
void database_session_close(struct database_session *s); /* NULL is fine */

/* ---- the store of one reactor */

struct store;

struct store *store_open(struct database *db, uv_loop_t *loop);
/* The same for reads that may take long, so that nothing waits for them but their like: it takes no writes and knows
 * nothing of another store's tickets. A few may wait; one that takes too long is ended (STORE_AWAY). */
struct store *store_open_long(struct database *db, uv_loop_t *loop);
/* Closes: every callback that is owed runs with STORE_AWAY, after the groups have been committed as far
 * as `timeout_ms` allowed. `closed` runs when nothing is left on the loop. */
void store_close(struct store *s, void (*closed)(void *arg), void *arg);
/* The last attempt found no database (it keeps trying), or what was spooled meanwhile is not in it yet: then
 * reads fail, as they might not see this store's own writes. */
bool store_is_away(const struct store *s);
/* The spool is not empty: what counts as committed here may not be seen by another store yet. */
bool store_is_spooling(const struct store *s);
/* Called by `fn` whenever the spool has become empty. */
void store_on_replayed(struct store *s, void (*fn)(void *arg), void *arg);
/* Called by `fn` when another process has taken the database: nothing is written any more. `who` says which. */
void store_on_taken(struct store *s, void (*fn)(void *arg, const char *who), void *arg);

/* Runs one statement and gives its rows to `fn`. It starts after group `after` has been committed (0:
 * at once), so that a home reads what it wrote. Fails with STORE_AWAY at once (but not synchronously)
 * while the store is away or waiting_reads is reached. */
void store_read(struct store *s, uint64_t after, const struct sql *sql, const struct param *params,
                unsigned count, store_rows_fn *fn, void *arg);

/* A ticket that is never committed; a read after it fails. */
#define STORE_NO_TICKET UINT64_MAX

/* A write: statements that stand or fall together. Every write is safe to repeat: after a lost
 * connection, when nobody knows whether the group was committed, the whole group is sent again. */
struct write;
/* `key`: writes with the same key in one group also stand or fall together (a record and the entries
 * that name it); 0: none. */
struct write *write_new(struct store *s, uint64_t key);
void write_add(struct write *w, const struct sql *sql, const struct param *params, unsigned count);
/* The same, but it can be taken back as long as its group has not been sent: see store_take_back. */
void write_add_tagged(struct write *w, uint64_t tag, const struct sql *sql, const struct param *params,
                      unsigned count);
/* Joins the open group and returns its ticket. When waiting_writes wait already, or the store is being
 * closed, it joins none: `fn` gets STORE_AWAY and STORE_NO_TICKET is returned. While the store is away
 * writes wait until it is back, or go to the spool (write_set_away). `fn` (may be NULL) gets the rows of
 * the last statement, after the commit, in the order of the writes. STORE_FAILED: this write (or one of the
 * same key) was refused by the database; the others of the group were committed one by one. */
uint64_t write_submit(struct write *w, store_rows_fn *fn, void *arg);
void write_drop(struct write *w); /* instead of write_submit */

/* What becomes of a write while the database is away for longer than timeout_ms and there is a spool. Where
 * there is none every write waits. One that has been sent already may have happened: if it may not be
 * spooled it waits in any case. */
enum away {
	AWAY_REFUSE, /* `fn` gets STORE_AWAY; nothing has happened */
	AWAY_WAIT,   /* until the database is back */
	AWAY_SPOOL   /* goes to the spool, which counts as committed. It only adds rows, or the last such
	                write wins; `fn` gets STORE_OK and no rows. */
};
void write_set_away(struct write *w, enum away away); /* default: AWAY_REFUSE */

/* Takes the statement with that tag out of the open group. False when it has been sent already. A tag
 * is a number that no other statement of the open group has. */
bool store_take_back(struct store *s, uint64_t tag);
/* Whether group `ticket` has been committed (0 always has). */
bool store_is_committed(const struct store *s, uint64_t ticket);
/* The newest ticket that has been committed. */
uint64_t store_committed(const struct store *s);
/* Called once by `fn` after each commit (or failure) of a group, when all callbacks of its writes
 * have run. */
void store_on_commit(struct store *s, void (*fn)(void *arg, uint64_t ticket), void *arg);
/* Sends the reads, and the open group if none is in flight. The reactor calls it at the end of each turn. */
void store_flush(struct store *s);
void store_flush_reads(struct store *s); /* only these */

/* They only grow, except those from waiting_reads on. 64 bits each: count.h says why. */
struct store_counts {
	uint64_t reads, groups, writes, statements, failed, reconnects;
	struct histogram commits; /* of groups: the time between sending and commit */
	uint64_t spooled;         /* writes */
	uint64_t waiting_reads, waiting_writes;
	uint64_t spool_bytes; /* on disk now */
	int64_t spool_since;  /* Unix seconds when the spool began to fill; 0: it is empty */
};
void store_counts(const struct store *s, struct store_counts *out);

#endif
