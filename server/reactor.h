/* reactor.h - one thread, one loop, one inbox, its homes, its streams, its store. Shares nothing mutable.
 *
 * A turn: libuv polls; sockets are read and make envelopes in the reactor's queue; the queue is emptied
 * (each envelope goes to a home, a stream or the reactor itself, and may make more); the store sends its
 * open group; streams that have something to write are flushed, each with one write; what is for other
 * reactors is handed over, a batch and one wake-up per target. */
#ifndef MUSTER_REACTOR_H
#define MUSTER_REACTOR_H

#include <stdatomic.h>
#include <uv.h>

#include "conf.h"
#include "count.h"
#include "envelope.h"
#include "group.h"
#include "hash.h"
#include "hook.h"
#include "host.h"
#include "store.h"
#include "tls.h"
#include "wheel.h"
#include "xml.h"

struct relay;
struct server;

/* What other reactors post: a lock-free list, newest first, emptied whole. Its length is never above INBOX_BOUND:
 * a sender reserves room in `waiting` before he pushes, and keeps what has none (reactor.c tells the whole of
 * it). */
struct inbox {
	_Atomic(struct envelope *) newest;
	_Atomic unsigned waiting;
	_Atomic uint64_t blocked[REACTORS_MAX / 64]; /* a bit for each reactor that waits for room */
	uv_async_t wake;
};
#define INBOX_BOUND 65536
#define OVERFLOW_BOUND INBOX_BOUND /* of what one sender keeps: beyond it no reactor reads from sockets */

struct reactor {
	unsigned index;
	struct server *server;
	uv_loop_t loop;
	uv_thread_t thread;
	uv_check_t after_poll;
	uv_prepare_t before_poll;
	uv_idle_t busy; /* active while something can be done at once: poll must not block */

	struct inbox inbox;
	struct envelope_queue queue; /* envelopes for here */
	/* By target reactor; what its inbox cannot take stays here: the overflow. */
	struct envelope_queue *outbound;
	unsigned overflow; /* how much that was at the last flush */
	bool has_posted;   /* something in them may find room */
	struct envelope *free_envelopes;
	unsigned free_count;

	/* snapshots: replaced whole, on this thread */
	struct conf *conf;
	struct hosts *hosts;
	struct groups *groups;
	const struct hooks *hooks;

	struct wheel wheel;
	struct store *store;
	struct store *searches; /* for reads that may take long; NULL until somebody asks for one */
	uint64_t trace;         /* newest trace id: never used again, not even by the next start */
	uint64_t next_id;       /* stream and session ids: never used again */
	int64_t newest_record;  /* record ids only grow */
	int64_t now;            /* Unix time in microseconds, of this turn */

	struct hash homes;         /* home.c */
	struct list waiting_homes; /* homes whose outbox waits for a commit */
	struct list sleepers;      /* homes without session, the one that is idle longest first */
	struct timer sleep_timer;
	struct list owing;   /* sessions with stream management that wait for a commit: session_sm.c */
	struct list absents; /* homes without account, remembered briefly; the oldest first */
	unsigned absent_homes, waking_homes;
	struct hash accounts;       /* homes with an account, by its id: home_reload.c */
	struct list reloads;        /* homes that are to read themselves again */
	unsigned reloading;         /* and how many have begun */
	struct timer reload_timer;  /* the database does not answer: then they wait */
	int64_t failed_records[64]; /* the last ones that the database refused: pass.c */
	unsigned failed_count;
	struct pass *free_passes; /* pass.c */
	unsigned free_pass_count;

	struct hash streams;   /* stream.c, by id */
	struct list dirty;     /* streams with something to write */
	struct list paused;    /* streams that stopped reading because the reactor is blocked */
	struct list graveyard; /* streams to free at the end of the turn */
	struct list logins;    /* clients between a name and a session: c2s.c */
	struct tls_io tls;
	struct xml_pool *xml;
	struct xml_limits xml_limits[2]; /* before and after login */
	unsigned hashing;                /* passwords in the worker pool: c2s_login.c, account.c */
	struct buffer plain;             /* what one stream is about to write */
	char *read_buffer;               /* bytes from the socket; READ_BUFFER */
	char *plain_buffer;              /* bytes out of TLS; PLAIN_BUFFER */
	struct list listeners;           /* listener.c */
	struct relay *relay;             /* relay.c; reactor 0 only */

	unsigned char random[512];
	unsigned random_left;
	/* Streams are not to be read from: there is an overflow, here or far too much of it elsewhere, or the
	 * queue here is too long. */
	bool is_blocked;
	bool is_flooding; /* counted in server->flooding */
	bool is_stopping;
	struct reactor_counts counts;
	struct hash host_counts; /* of struct host_counts, by domain: metrics.c */
};
#define READ_BUFFER 65536
#define PLAIN_BUFFER 16384

/* Takes what it copies out of a configuration snapshot: limits of the parsers. */
void reactor_configure(struct reactor *r);

struct reactor *reactor_new(struct server *srv, unsigned index);
/* Runs the loop until reactor_close has emptied it. */
void reactor_run(struct reactor *r);

/* The steps of the end, each taken by all reactors before any takes the next (server_stop.c): else a stream
 * of one would return its messages to a home of another that is gone. First: closes listeners
 * and streams. */
void reactor_stop(struct reactor *r);
/* Whether nothing is under way here: no stream, nothing queued, nothing owed by or to the database. */
bool reactor_is_quiet(const struct reactor *r);
/* Last: closes the store; the loop then ends. */
void reactor_close(struct reactor *r);
void reactor_free(struct reactor *r);

/* Unpredictable bytes, drawn from the system's generator in larger pieces. */
void reactor_random(struct reactor *r, void *out, size_t n);

/* A zeroed envelope of that kind. */
struct envelope *envelope_new(struct reactor *r, enum envelope_kind kind);
/* Drops it and its references. */
void envelope_free(struct reactor *r, struct envelope *e);

/* Posts an envelope from this reactor (whose thread calls) to reactor `target`, which may be itself. */
void reactor_post(struct reactor *from, unsigned target, struct envelope *e);
/* The same from a thread that is no reactor, or before they run. */
void reactor_post_outside(struct reactor *to, struct envelope *e);
/* Posts ENV_RUN. */
void reactor_post_run(struct reactor *from, unsigned target, void (*run)(struct reactor *r, void *arg),
                      void *arg);

/* Some reactor does not keep up: streams stop reading until it does. */
static inline bool reactor_is_blocked(const struct reactor *r)
{
	return r->is_blocked;
}

#endif
