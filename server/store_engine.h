/* store_engine.h - between store.c and the two engines, store_pg.c and store_sqlite.c. Nobody else
 * includes it but migrate.c.
 *
 * store.c owns groups, writes and reads, and decides what happens to them. An engine carries them to
 * the database and says what became of them:
 *
 *   store.c                      engine
 *   send_group(s, g)      ->     one transaction
 *                         <-     store_group_committed | store_group_refused (a statement is bad:
 *                                store.c sends it again in units) | store_writer_down (nobody knows:
 *                                store.c sends it again after store_writer_up)
 *   send_read(s, r)       ->
 *                         <-     store_read_done | store_read_failed | store_reader_down */
#ifndef MUSTER_STORE_ENGINE_H
#define MUSTER_STORE_ENGINE_H

#include "hash.h"
#include "list.h"
#include "spool.h"
#include "store.h"

#define LONG_READ_MS 5000 /* that a long read may take */
#define LONG_READS_MAX 20 /* of one reactor, that wait */
#define PARAMS_MAX 32     /* per statement */
#define PAUSE_MIN_MS 100  /* between attempts to reach the database; doubles up to: */
#define PAUSE_MAX_MS 2000

struct cell {
	const char *data; /* of text and bytes; NULL for NULL and for numbers */
	size_t len;
	int64_t number;
	bool is_number;
};

struct rows {
	enum store_status status;
	unsigned count, columns;
	struct cell *cells; /* row after row */
};

struct statement {
	struct statement *next;
	const struct sql *sql;
	bool is_taken_back;
	unsigned count;
	struct param params[];
};

struct write {
	struct store *store;
	struct write *next;      /* in the group: the order of the callbacks */
	struct write *next_sent; /* in the group: the order of sending, units of one key together */
	bool ends_unit;  /* the last of those that stand or fall together, in the order of sending */
	bool is_settled; /* its callback has run, it is on disk in the spool; or it never had one */
	enum away away;
	uint64_t key;
	store_rows_fn *fn;
	void *arg;
	struct statement *first, *last;
	struct tag *tags;
	struct rows rows;      /* filled in by the engine, in `arena` */
	struct hash_node node; /* by key, while units are made */
	struct arena arena;    /* everything of this write, itself included */
};

struct group {
	uint64_t ticket;
	struct write *first, *last; /* by `next` */
	struct write *first_sent;   /* by `next_sent` */
	unsigned writes;
	bool is_split;    /* each unit is its own transaction, or savepoint */
	bool is_replay;   /* read from the spool: counts nowhere, its writes have no callbacks */
	bool is_spooled;  /* what may be spooled has been; or it has been read from there */
	uint64_t sent_at; /* uv_hrtime */
};

struct read {
	struct list node;  /* store.c: waiting, or failed; the engine: in flight */
	struct read *next; /* the engine's */
	uint64_t after;
	uint64_t sent_at; /* uv_now; the engine's */
	const struct sql *sql;
	const struct param *params;
	unsigned count;
	store_rows_fn *fn; /* NULL when it has run already */
	void *arg;
	struct rows rows;
	struct arena arena; /* everything of this read, itself included */
};

struct engine {
	const char *name; /* also the folder of its migrations */
	/* The node's part. */
	bool (*open)(struct database *db, char **error);
	bool (*claim)(struct database *db, char **error); /* there are tables now; NULL: nothing to do */
	void (*close)(struct database *db);
	char *(*durability)(struct database *db);
	/* A blocking session, for start-up. */
	void *(*session_open)(struct database *db, char **error);
	bool (*session_run)(void *session, const struct sql *sql, const struct param *params,
	                    unsigned count, store_rows_fn *fn, void *arg, char **error);
	bool (*session_script)(void *session, const char *text, char **error); /* several statements */
	void (*session_close)(void *session);
	const char *lock;  /* keeps other processes from migrating until session_close; or NULL */
	const char *begin; /* of a migration */
	/* A reactor's part. */
	void (*store_open)(struct store *s);
	void (*store_close)(struct store *s); /* then store_engine_closed */
	void (*send_group)(struct store *s, struct group *g);
	void (*send_read)(struct store *s, struct read *r);
	void (*flush_reads)(struct store *s); /* where send_read only gathers them; or NULL */
};
extern const struct engine engine_postgresql, engine_sqlite;

struct database {
	struct database_options options;
	const struct engine *engine;
	void *part;              /* the engine's */
	struct spool_dir *spool; /* or NULL */
};

struct store {
	struct database *db;
	uv_loop_t *loop;
	void *part;            /* the engine's */
	bool is_long;          /* only reads, and such as may take long */
	unsigned timeout_ms;   /* a group or read without answer for so long counts as away */
	unsigned reads_max;    /* that wait */
	struct group *open;    /* being gathered, or NULL */
	struct group *sent;    /* in flight, or waiting for a connection; or NULL */
	uint64_t last_ticket;  /* the newest that was given out */
	uint64_t committed;    /* the newest that was committed */
	struct hash tags;      /* of struct tag: statements of the open group */
	struct list waiting;   /* reads that wait for a ticket or for the first connection */
	struct list failed;    /* reads that get STORE_AWAY on the next turn */
	struct write *refused; /* writes that get STORE_AWAY on the next turn, by `next` */
	struct write **refused_end;
	bool can_write, can_read;         /* connected */
	bool is_write_away, is_read_away; /* the last attempt failed */
	bool is_closing, is_past_deadline, is_engine_closing,
	    is_engine_closed;  /* store_close, in this order */
	uv_idle_t next_turn;   /* runs while `failed` or `refused` have any */
	uv_timer_t deadline;   /* of store_close */
	uv_timer_t watch;      /* looks whether the database is away for too long */
	unsigned open_handles; /* of these three */
	/* store_away.c's */
	struct spool *spool;    /* or NULL */
	bool is_spooling;       /* groups go to the spool, until all of it is in the database */
	bool is_full;           /* they cannot: the log knows */
	uint64_t ceiling;       /* unread bytes beyond which new groups wait while it is read back */
	uint64_t replayed;      /* writes read back so far, for the log */
	uint64_t appending;     /* ticket of the group that is being written to the spool, or 0 */
	struct group *spooling; /* taken from `open` for it */
	struct group *held;     /* what may not be spooled and may have happened: sent behind the spool */
	void (*on_replayed)(void *arg);
	void *on_replayed_arg;
	void (*on_taken)(void *arg, const char *who);
	void *on_taken_arg;
	struct store_counts counts;
	void (*on_commit)(void *arg, uint64_t ticket);
	void *on_commit_arg;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* ---- what the engine tells store.c */
void store_writer_up(struct store *s);   /* sends what waits */
void store_writer_down(struct store *s); /* the group in flight is to be sent again when it is up */
void store_reader_up(struct store *s);
void store_reader_down(struct store *s); /* after store_read_failed for each read in flight */
/* The database is another musterd's now: the writer will not come up again. */
void store_taken(struct store *s, const char *who);
/* Slow is away too: no answer in time, but the engine still waits for it. */
void store_late(struct store *s, bool is_late);
void store_group_committed(struct store *s); /* the writes' rows are filled in */
void store_group_refused(struct store *s);
void store_read_done(struct store *s, struct read *r);   /* rows filled in; runs the callback, frees it */
void store_read_failed(struct store *s, struct read *r); /* STORE_AWAY, on the next turn */
/* The engine still needs `r`, but whoever asked has waited long enough. store_read_done frees it. */
void store_read_abandoned(struct store *s, struct read *r);
void store_engine_closed(struct store *s);

/* ---- within the store */
void group_add(struct group *g, struct write *w);
struct write *group_take(struct group *g);         /* the first by `next`, or NULL */
void group_send(struct store *s);                  /* s->sent, if there is a connection */
void group_away(struct store *s, struct group *g); /* STORE_AWAY for all of it */
void reads_fail(struct store *s);
void write_finish(struct store *s, struct write *w);
void close_continue(struct store *s);

/* ---- store_write.c: values and writes */
void params_copy(struct arena *a, struct param *to, const struct param *from, unsigned count);
void write_free(struct write *w);
void tags_add(struct store *s, struct write *w); /* it is in the open group now */
void tags_forget(struct store *s, struct group *g);

/* ---- store_away.c: what happens to groups while the database does not answer */
bool away_open(struct database *db, char **error) MUST_CHECK; /* the node's part */
void away_store_open(struct store *s);
void away_watch(struct store *s);  /* something waits: looks whether it does so for too long */
void away_begin(struct store *s);  /* if there is a spool: from now on groups go there */
void away_flush(struct store *s);  /* while is_spooling, in place of sending the open group */
void away_strip(struct store *s);  /* the engine has given up the group in flight */
void away_replay(struct store *s); /* while is_spooling: the engine may be able to take a group */
void away_replayed(struct store *s, struct group *g); /* it is committed; takes it over */
bool away_is_busy(const struct store *s);             /* the spool is */

/* The first statement of a write that was not taken back, and the next one after `st`. */
const struct statement *statement_skip(const struct statement *st);
#define STATEMENT_EACH(st, write)                                                                          \
	for (const struct statement *st = statement_skip((write)->first); st; st = statement_skip(st->next))
static inline uint32_t pointer_hash(const void *p)
{
	return (uint32_t)(((uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15u) >> 32);
}

static inline uint32_t number_hash(uint64_t n)
{
	return (uint32_t)((n * 0x9e3779b97f4a7c15u) >> 32);
}

/* migrate.c: brings the tables up to date. False with a sentence in *error. */
bool migrate(struct database *db, char **error) MUST_CHECK;

#endif
