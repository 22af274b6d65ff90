/* resumable.h - table resumable: what of a session that its client can resume survives the end of the process. While
 * it lives that is h, which goes with the record of each message that it counts: after kill -9 its client learns
 * from it what has arrived. When the server stops in good order it is the whole session.
 *
 * IQs, presence and messages that are not recorded write no h of their own, so after kill -9 it may be lower than what
 * the client was told, by such stanzas alone: to send one of those again puts nothing on record twice, and is not worth
 * a write for each. Nor does <enabled/> wait for the row: it is in the database before any record that counts on it. So
 * where kill -9 came before that, and <failed/> has no h, it would have been 0. */
#ifndef MUSTER_RESUMABLE_H
#define MUSTER_RESUMABLE_H

#include "home.h"
#include "sm.h"

/* The key of the row: of an id only its hash is stored. */
int64_t resumable_key(const char *id);

/* The session gets its row. */
void resumable_insert(struct session *s);
/* Adds h, as it is when this write is committed, to that which records its client's stanza number n. */
void resumable_count(struct session *s, struct write *w, uint64_t n);
/* The same later, where the record of a later stanza was written before an earlier one was kept. */
void resumable_catch_up(struct session *s);
/* It has ended. `is_lost`: its client does not know that, and may ask for h. */
void resumable_end(struct session *s, bool is_lost);
/* Reads the h of a session that has ended, for ENV_RESUME, and answers that; takes it over. */
void resumable_refuse(struct home *h, struct envelope *e);

/* ---- resumable_restart.c */

/* The server stops: stores the sessions of a home that wait for their clients, whole. Returns how many. */
unsigned resumable_store(struct home *h);
/* And starts: they go back to their homes, before anybody can connect. `done` runs when they are there, or when
 * they take too long; `ok` is false when the database did not answer. */
void resumable_restore(struct reactor *r, void (*done)(struct reactor *r, bool ok));
void resumable_take(struct home *h, struct envelope *e); /* ENV_RESTORE; takes it over */

/* resumable.c: a write of this session that nobody waits for. */
void resumable_write(struct session *s, struct write *w);
#define RESUMABLE_KEEP (INT64_C(24) * 3600 * 1000000) /* microseconds: h can be asked for behind the end */

#endif
