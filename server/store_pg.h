/* store_pg.h - what the PostgreSQL engine's files share: store_pg.c (groups and reads, and their answers),
 * store_pg_conn.c (the connections of a store), store_pg_start.c (values on the wire, how a connection is made,
 * and what the node does at start) and store_pg_claim.c. */
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
/* Watches its socket, for `arg`; it is on the heap, as an old one may be closing while the next is open. NULL: the
 * loop cannot. It is closed before PQfinish, and before libpq may close the socket itself: else the loop goes on
 * watching a file descriptor that is somebody else's. */
uv_poll_t *pg_poll_open(uv_loop_t *loop, const PGconn *pg, int events, uv_poll_cb fn, void *arg) MUST_CHECK;
void pg_poll_close(uv_poll_t **poll); /* of NULL is fine */

/* ---- store_pg_conn.c: the connections of a store */

struct prepared {
	struct hash_node node;
	const struct sql *sql; /* the key is the address, then the types */
	bool is_sent;
	char name[48];
	unsigned count;
	Oid types[PARAMS_MAX]; /* 0: it was NULL when the statement was prepared */
};

enum expect_kind {
	EXPECT_PREPARED,  /* what: struct prepared */
	EXPECT_STATEMENT, /* what: struct write */
	EXPECT_READ,      /* what: struct read */
	EXPECT_FENCE,
	EXPECT_STILL,      /* no row: the database is still this node's */
	EXPECT_WATCH,      /* may fail */
	EXPECT_SYNC,       /* behind a prepared statement or a read */
	EXPECT_SYNC_FENCE, /* then the writer is up */
	EXPECT_SYNC_UNIT   /* what: the first write of the transaction that ends here */
};

struct expect {
	enum expect_kind kind;
	void *what;
	const struct sql *sql; /* for the log */
};

enum conn_state {
	CONN_DOWN,     /* the timer runs: the pause before the next attempt */
	CONN_STARTING, /* the timer runs: the time it may take */
	CONN_UP,       /* the timer runs while an answer is expected */
	CONN_TAKEN,    /* the database is another musterd's; nothing runs */
	CONN_CLOSED
};

struct conn {
	struct pg_store *owner;
	struct store *store;
	bool is_writer;
	bool is_reported; /* the log knows that it is away */
	uint32_t reason;  /* a hash of what it was reported with: another one is reported again */
	enum conn_state state;
	PGconn *pg;
	uv_poll_t *poll;
	int events;
	uv_timer_t timer, delay;
	unsigned pause_ms;    /* the last pause; 0 when something has worked since */
	uint64_t progress_at; /* uv_now of the last answer, or of asking when nothing was expected */
	struct hash prepared; /* of struct prepared */
	unsigned prepared_count;
	struct expect *expects; /* a ring: `cap` is a power of two */
	unsigned head, count, cap;
	/* The writer's. */
	struct write *feed; /* the next to be sent, or NULL */
	struct write *unit; /* the first of the transaction being sent */
	size_t fed;         /* bytes since the last flush */
	bool has_error;     /* the transaction being answered was refused */
};

struct pg_store {
	struct conn writer, reader;
	int64_t fence; /* the number of our advisory lock */
	unsigned open_handles;
};

struct expect expect_take(struct conn *c); /* the oldest */
/* False when the connection was lost over it. */
bool conn_prepare(struct conn *c, const struct sql *sql, const struct param *params, unsigned count);
/* A statement that was prepared. */
bool conn_send(struct conn *c, const struct sql *sql, const struct param *params, unsigned count,
               enum expect_kind kind, void *what);
bool conn_sync(struct conn *c, enum expect_kind kind, void *what);
bool conn_flush(struct conn *c);
void conn_watch(struct conn *c); /* sees that the timer runs while an answer is expected */
/* What an answer says of the connection: it works again; it does not; the database is another musterd's. */
void conn_back(struct conn *c);
void conn_lost(struct conn *c, const char *why);
void conn_taken(struct conn *c, const PGresult *result);
void conn_init(struct conn *c, struct pg_store *p, struct store *s, bool is_writer);
void conn_close(struct conn *c); /* store_engine_closed when all of the store's are */

/* ---- store_pg.c, for it */

void conn_receive(struct conn *c); /* takes all answers that have arrived */
void group_feed(struct conn *c);   /* sends on until libpq's buffer is full; the poll calls again */

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
