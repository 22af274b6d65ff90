/* sm.h - stream management of one session (XEP-0198): what its client has sent and the server has taken, what was
 * sent to it and it has not acknowledged. Only a session whose client has asked for it has a struct sm.
 *
 *   sm.c               the two counts by themselves
 *   session_sm.c       <enable/>, <r/> and <a/> in the home; asking for acknowledgements
 *   session_resume.c   a session without a stream, and how it gets another one
 *   resumable.c        what of it is in the database; resumable_restart.c: all of it, where the server stops
 *   c2s_sm.c           the stream's side: it only carries */
#ifndef MUSTER_SM_H
#define MUSTER_SM_H

#include "envelope.h"
#include "list.h"
#include "wheel.h"

#define SM_NS "urn:xmpp:sm:3"
#define SM_ID 25 /* bytes of an id, with its NUL: 128 bits that nobody can guess, in base64 */

/* Stanzas of the client, in the order of their coming. Each is done when its pass has ended, and handled when all
 * before it are and what it has written is committed: that is h. One is kept when its pass waits for a commit and for
 * nothing else: when that commit is there it counts, even if the process has ended meanwhile. */
struct sm_in {
	uint64_t arrived; /* how many have come */
	uint64_t done;    /* so many of them, from the first on, are done */
	uint64_t kept;    /* ... done or kept */
	uint64_t handled; /* ... and committed */
	uint64_t *ring; /* of those behind `handled`: the ticket it waits for + 1; or SM_KEPT; 0: neither */
	uint32_t cap;   /* of the ring: a power of two, or 0 */
};

#define SM_KEPT UINT64_MAX

/* One more; returns its number, from 1 on. */
uint64_t sm_in_arrive(struct sm_in *in);
/* What number n has to write, if anything, is in a group already, and the pass waits for its turn to go on. May be
 * said more than once, until it is done. */
void sm_in_kept(struct sm_in *in, uint64_t n);
/* Number n is done, and what it has written is committed with group `ticket`. */
void sm_in_done(struct sm_in *in, uint64_t n, uint64_t ticket);
/* h, when all groups up to `committed` are. */
uint64_t sm_in_handled(struct sm_in *in, uint64_t committed);
static inline bool sm_in_is_settled(const struct sm_in *in) /* as of the last look at h */
{
	return in->handled == in->arrived;
}

/* What was sent and is not acknowledged. */
struct unacked {
	struct unacked *next;
	struct stanza *stanza;
	struct jid *from, *to;
	int64_t entry; /* as in the envelope */
	int64_t since; /* Unix microseconds: when it was to be written first */
	uint32_t copies;
	uint32_t marks; /* how often session_settle has asked for all up to here */
};

struct sm_out {
	struct unacked *head, *last;
	uint64_t sent, acked;
	size_t bytes;
};
#define UNACKED_OVERHEAD 200 /* what each counts beside its text */

static inline uint64_t sm_out_count(const struct sm_out *out)
{
	return out->sent - out->acked;
}

/* Takes references on the stanza and the addresses of an ENV_WRITE. */
struct unacked *sm_out_add(struct sm_out *out, const struct envelope *e, int64_t now);
/* What the client's h means. It has 32 bits and begins anew behind the last one (section 4). */
enum sm_verdict { SM_ACKS, SM_GOES_BACK, SM_TOO_HIGH };
enum sm_verdict sm_out_judge(const struct sm_out *out, uint32_t h);
/* The oldest one is acknowledged: takes it out; NULL: there is none. */
struct unacked *sm_out_take(struct sm_out *out);
void unacked_free(struct unacked *u);

struct session;

struct sm {
	struct session *session;
	struct sm_in in;
	struct sm_out out;
	char id[SM_ID];         /* "": it cannot be resumed */
	int64_t row;            /* its row in table resumable, or 0 */
	uint64_t recorded;      /* the newest stanza of the client with a record */
	uint64_t stored;        /* h as it is in that row, or on its way there */
	struct list owing_node; /* in reactor->owing, while somebody waits for a commit: see below */
	uint64_t owed; /* <r/> has asked when so many had come; <a/> is owed until h is that; or 0 */
	uint64_t told; /* the last h that was told */
	struct envelope *resume; /* ENV_RESUME that waits until the old stream's stanzas are handled */
	struct timer timer;      /* with a stream: until <r/>; without: until the session ends */
	uint32_t max;            /* for how long it waits without a stream, ms */
	uint32_t unasked, unasked_bytes; /* sent since the last <r/> */
	bool is_asked;                   /* <r/> has been sent, <a/> has not come */
	bool is_final;                   /* it ends with its stream */
	bool is_farewell;                /* because its client has said goodbye */
	uint64_t attached;               /* out.acked when it got its present stream */
};

/* ---- session_sm.c */

/* Tells the session's client; takes the reference. */
void sm_tell(struct session *s, struct stanza *element);
struct stanza *sm_failed(enum stanza_condition condition); /* <failed/>, not sealed */
/* False: none, or no xs:unsignedInt. */
bool sm_read_h(const struct stanza *st, uint32_t *h);
/* An ENV_WRITE leaves for the session: gets its number. Takes the envelope over. */
void sm_write(struct session *s, struct envelope *e);
/* Answers ENV_SETTLE when all that was written before is acknowledged; takes it over. */
void sm_settle(struct session *s, struct envelope *e);
/* The client has got the first h. False: more than was sent. */
bool sm_acknowledge(struct session *s, uint32_t h);
struct stanza *sm_too_high(const struct session *s, uint32_t h); /* for the stream error; sealed */
void sm_ask_soon(struct session *s);
/* Somebody waits until what has come is handled: looks again after each commit. */
void sm_watch(struct session *s);
void sm_advance(struct session *s); /* looks now */
void sm_new(struct session *s);
void sm_free(struct sm *sm);

/* ---- session_resume.c */

/* <enable/> has asked for it: what <enabled/> says. */
void session_may_resume(struct session *s, uint32_t seconds, struct stanza *enabled);
/* ENV_RESUME waits in it, and all that has come is handled: the new stream gets the session. */
void session_attach(struct session *s);
/* Answers ENV_RESUME; takes both over. */
void session_refuse_resume(struct reactor *r, struct envelope *e, struct stanza *failed);
/* It has waited for too long, or for too much: it ends, in its turn. */
void session_give_up(struct session *s);

#endif
