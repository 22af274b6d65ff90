/* envelope.h - how homes, streams and reactors talk: never by a call into each other's data, always by an
 * envelope that names its target. An envelope belongs to whoever holds it; posting it gives it away. */
#ifndef MUSTER_ENVELOPE_H
#define MUSTER_ENVELOPE_H

#include "jid.h"
#include "stanza.h"

struct reactor;
struct stream;

enum envelope_kind {
	/* to the home of `to` */
	ENV_STANZA,  /* a stanza in direction `dir`; OUT: of session `session` */
	ENV_BIND,    /* a stream that has authenticated wants a session; `from` full: wants that resource */
	ENV_RESUME,  /* one wants a session whose stream has ended: `stanza` says which, `count` is its h */
	ENV_RESTORE, /* a session that has outlived a stop of the server: `arg` is its struct restored */
	ENV_DETACH,  /* a session's stream has ended */
	ENV_MANAGE,  /* <enable/>, <r/>, <a/>; <active/>, <inactive/> of the client: session_manage */
	ENV_REFUSED, /* a stanza was refused by the stream itself; `stanza` answers it, or NULL */
	ENV_RETURNED, /* a message that a dead stream never wrote: COPY and ACT again */
	ENV_SETTLED,  /* ENV_SETTLE's answer, `count` times; or the client has acknowledged more */
	ENV_KICK,     /* end the session with `session`'s id (0: all) with stream error `condition` */
	ENV_RELOAD,   /* somebody else has changed its rows: home_reload.c */
	ENV_REMOVE,   /* remove the account, then tell the struct account_job `arg` */
	ENV_REGROUP,  /* administrators' groups that it sees have changed: home_groups.c */
	ENV_FORGET,   /* the account was added, changed or removed: forget what was loaded */
	/* to the stream `stream` */
	ENV_WRITE,   /* write the stanza; from the home of `session`, by session_write */
	ENV_BOUND,   /* the session is there: `to` is its full address, `session` its id */
	ENV_RESUMED, /* the same for ENV_RESUME */
	ENV_UNBOUND, /* no session: `condition` says why, or `stanza` */
	ENV_ASK,     /* ask the client to acknowledge, and mind whether it answers */
	ENV_SETTLE,  /* answer with ENV_SETTLED when all that was queued before is written */
	ENV_CREDIT,  /* the home has taken stanzas of the stream, `count` in the unit of stanza_cost */
	ENV_CLOSE,   /* close with stream error `condition`, and `stanza` beside it or NULL */
	/* to the reactor itself */
	ENV_MOVED, /* a stream comes to live here: stream_move.c */
	ENV_RUN    /* call run(reactor, arg) */
};

#define ENVELOPE_IS_HOME(e) ((e)->kind <= ENV_FORGET)

struct envelope {
	struct envelope *next;
	uint8_t kind;       /* enum envelope_kind */
	uint8_t dir;        /* enum direction */
	uint8_t home_kind;  /* what `to` is; decided once, by the router on the sending reactor */
	bool is_replayed;   /* was in transit when the server ended: is never refused for lack of room */
	bool is_unrecorded; /* it has that id for its record, and no row yet */
	bool is_spooled;    /* its rows may still be in the spool of the reactor that it comes from, which
	                       is stream_reactor then */
	bool wants_credit;  /* OUT: answer with ENV_CREDIT when taken */
	bool is_managed;  /* ENV_WRITE: its session counts it, and has it until it is acknowledged (sm.h) */
	bool is_farewell; /* ENV_DETACH: the client has closed the stream */
	uint16_t condition; /* enum stream_condition */
	uint32_t count;     /* credit, copies (deliver), h or stanzas that were written, by its kind */
	uint32_t stream_reactor;
	uint64_t stream, session;
	struct jid *from, *to; /* references */
	struct stanza *stanza; /* reference */
	uint64_t trace;
	uint64_t ticket; /* nothing that follows from it may leave this reactor before that group commits */
	int64_t record;  /* id of its record, 0: not on record */
	int64_t entry;   /* id in the recipient's index, 0: it has none */
	int64_t transit; /* id of its transit row, 0: none */
	uint64_t number; /* of its client's stanzas, as stream management counts them; 0: not counted */
	const char *text; /* static: ENV_CLOSE's explanation */
	union {
		struct { /* ENV_BIND, ENV_RESUME: the network address, and how the client logged in */
			char peer[48];
			const char *mechanism, *tls; /* as in struct session */
		};
		struct
		{ /* ENV_MOVED: who, its connection, and what was left of its patience, ms; 0: no end */
			struct stream *moved;
			int socket;
			uint64_t patience;
		};
		struct { /* ENV_RUN */
			void (*run)(struct reactor *r, void *arg);
			void *arg;
		};
	};
};

/* A list of envelopes, in the order of their coming. */
struct envelope_queue {
	struct envelope *head, **tail;
	unsigned count;
};

static inline void queue_init(struct envelope_queue *q)
{
	*q = (struct envelope_queue){ .tail = &q->head };
}

static inline void queue_append(struct envelope_queue *q, struct envelope *e)
{
	e->next = NULL;
	*q->tail = e;
	q->tail = &e->next;
	q->count++;
}

static inline struct envelope *queue_take(struct envelope_queue *q) /* NULL when it is empty */
{
	struct envelope *e = q->head;

	if (!e)
		return NULL;
	q->head = e->next;
	if (!q->head)
		q->tail = &q->head;
	q->count--;
	return e;
}

#endif
