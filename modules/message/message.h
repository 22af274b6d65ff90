/* message.h - between the files of this module: message.c says who gets a message, offline.c what nobody has
 * got yet, forged.c what only this server may say. */
#ifndef MUSTER_MODULE_MESSAGE_H
#define MUSTER_MODULE_MESSAGE_H

#include "module.h"

/* A user's incoming entries that no session has taken. Those above `taken` are not taken, but for
 * `skipped`; those up to it are, but for `returned`. */
struct offline {
	int64_t taken;    /* the mark */
	int64_t stored;   /* the mark as it is in the database */
	int64_t newest;   /* incoming entry */
	bool has_older;   /* something above the mark waits */
	bool is_timing;   /* the timer is set */
	bool is_settling; /* sessions have been asked whether they have written it all */
	int64_t settling; /* ... up to this mark */
	/* while replaying */
	bool is_replaying;
	bool is_stalled;  /* the database did not answer, or the session went: the timer begins again */
	bool must_repeat; /* something came back meanwhile */
	int64_t replayed; /* the last one that has been read */
	int64_t known;    /* the newest when it was read */
	uint64_t reader;  /* id of the session that is to write a page before the next one is read; or 0 */
	unsigned waited;  /* for it: ticks */
	struct ids {
		int64_t *list;
		unsigned count;
	} returned, skipped;
	struct partial *partial; /* entries of which some copies have come back */
};

/* An incoming message that passes ACT. False: it is left to the replay that is under way, or
 * that has read it already. */
bool offline_may_deliver(struct ctx *c);
/* It was delivered to `copies` sessions (0: to none, it stays for later). Only for c->entry != 0. */
void offline_note(struct ctx *c, unsigned copies);
/* A copy has come back: true when it was the last of them, so that nobody has the message. */
bool offline_all_returned(struct ctx *c);

/* CHANGE, IN: takes forged elements out. */
handler message_strip;
/* The same for a stanza out of the record: takes the reference, returns one. */
struct stanza *strip_forged(const struct ctx *c, struct stanza *st);

void offline_free(void *data);
rows_handler offline_loaded;
handler offline_on_reachable, offline_on_settled, offline_on_gone, offline_on_sleep;
extern const struct sql offline_sql_load;

/* The reachable session with the highest priority, or NULL. */
struct session *message_best(struct home *h);

#endif
