/* message.h - between the files of this module: message.c says who gets a message, carbons.c who gets a copy,
 * offline.c what nobody has got yet (between its own files: offline.h). */
#ifndef MUSTER_MODULE_MESSAGE_H
#define MUSTER_MODULE_MESSAGE_H

#include "module.h"

/* A user's incoming entries that no session has taken. Those above `taken` are not taken, but for
 * `skipped`; those up to it are, but for `returned`. */
struct offline {
	/* mark.c */
	int64_t taken;   /* the mark */
	int64_t stored;  /* the mark as it is in the database */
	int64_t newest;  /* incoming entry */
	int64_t passing; /* the newest that is in no archive; may be 0 when that is below `stored` */
	struct ids {
		int64_t *list;
		unsigned count;
	} returned, skipped, owed; /* owed: of them there are no copies yet (XEP-0280) */
	struct partial *partial;   /* entries of which some copies have come back */
	bool has_older;            /* something above the mark waits */
	bool is_settling;          /* who acknowledges nothing has been asked whether it is written */
	int64_t settling;          /* ... up to this mark */
	int64_t written;           /* and it is, up to this one */
	/* replay.c */
	bool is_replaying;
	bool is_stalled;  /* the database did not answer, or the session went: the timer begins again */
	bool must_repeat; /* something came back meanwhile */
	bool has_passed;  /* it has passed one that nobody could take */
	int64_t replayed; /* the last one that has been read */
	int64_t known;    /* the newest when it was read */
	uint64_t getter;  /* id of the session to which it goes, or to which the last one went */
	uint64_t reader;  /* that must have written a page before the next one is read; or 0 */
	unsigned waited;  /* for it: ticks */
	uint64_t stuck;   /* id of a session that has not, so that another one goes on; or 0 */
	/* offline.c */
	bool is_timing; /* the timer is set */
	/* carbons.c */
	struct copied *copied; /* NULL as long as there was none */
};

#define COPIED_MAX 64

/* The messages that were copied last. */
struct copied {
	uint32_t keys[COPIED_MAX];
	unsigned at;
};

/* Which sessions get a message itself: one, or all that can be reached and have at least a priority. */
struct takers {
	const struct session *one;
	int priority;
};
#define TAKERS_NONE                                                                                        \
	{                                                                                                  \
		.priority = 128                                                                            \
	}

static inline bool takes(const struct takers *t, const struct session *s)
{
	return t->one ? s == t->one : session_is_reachable(s) && s->priority >= t->priority;
}

/* An incoming message that passes ACT, for session `s` alone or (NULL) for the account. False: it is left to
 * the replay that is under way, or that has read it already. What is for a session alone that cannot be reached
 * waits for none, unless an older one for it does. */
bool offline_may_deliver(struct ctx *c, struct session *s);
/* It was delivered to `copies` sessions (0: to none, it stays for later). Only for c->entry != 0. */
void offline_note(struct ctx *c, unsigned copies);
/* It was left to the replay: whether that makes the copies of it, too. */
bool offline_owes_copies(struct ctx *c);
/* A copy has come back: true when it was the last of them, so that nobody has the message. */
bool offline_all_returned(struct ctx *c);
/* The session that gets the message in hand by a replay, or has got it so; or NULL. */
struct session *replay_session(struct ctx *c);
/* It was a carbon copy that has come back last: the message is left to a replay. */
enum verdict offline_again(struct ctx *c);

handler carbons_enable, carbons_disable;
/* COPY, OUT: to the sender's other clients. */
handler carbons_on_out;
/* Its home has no other session: mostly so, and then there is nobody to copy to. */
static inline bool is_alone(const struct session *s)
{
	return s && s->node.next == s->node.prev;
}
/* To how many sessions the message in hand is to be copied, beside its takers; `is_taken`: there are some. Where
 * nobody takes it, who is not available yet gets it when it is. */
unsigned carbons_due(struct ctx *c, const struct takers *takers, bool is_taken);
/* Does so. `copies` as in deliver. */
void carbons_received(struct ctx *c, const struct takers *takers, bool is_taken, unsigned copies);
/* The same for a message that was left to a replay, when that gives it to `taker`: its copies are made only then, so
 * that they are in order, and whoever gets the message itself in the end gets no copy of it. 0: none are to be made. */
unsigned carbons_owed(struct ctx *c, const struct session *taker, const struct jid *from, int64_t entry);
void carbons_replayed(struct ctx *c, const struct session *taker, const struct jid *from,
                      const struct jid *to, const struct stanza *st, int64_t entry, unsigned copies);
/* Whether it is such a copy: only this server makes one. */
bool is_copy(const struct stanza *st);

void offline_free(void *data);
rows_handler mark_loaded;
handler offline_on_reachable, offline_on_restored, offline_on_settled, offline_on_gone, offline_on_sleep;
extern const struct sql mark_sql_load;

/* The reachable session with the highest priority, but not the one with id `but`; or NULL. */
struct session *message_best(struct home *h, uint64_t but);

#endif
