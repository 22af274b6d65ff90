/* offline.h - between the files that know what nobody has got yet: mark.c which entries these are, replay.c who gets
 * them now, offline.c what happens meanwhile. The state of all three is struct offline, of a home (message.h). */
#ifndef MUSTER_MODULE_OFFLINE_H
#define MUSTER_MODULE_OFFLINE_H

#include "message.h"

/* ---- mark.c */

bool mark_is_waiting(const struct offline *o, int64_t entry);
/* A session has taken it. With `is_next` nothing older waits: the mark moves on to it. An entry that `skipped` has no
 * room for comes twice. */
void mark_taken(struct offline *o, int64_t entry, bool is_next);
/* Nobody has it yet, or any more. */
void mark_waiting(struct offline *o, int64_t entry);
/* Everybody has read those behind `since` and up to `read`. */
void mark_read(struct offline *o, int64_t since, int64_t read);
/* Whether nothing waits any more, also where a replay has stopped before it could see that: else what follows would
 * be noted beside the mark, and come twice when the home has slept. */
bool mark_is_all_taken(struct offline *o);
/* A replay has come to the end. */
void mark_all_taken(struct offline *o);
/* A replay is to make copies of an entry; false: no room. And: it makes them now; false: it need not. */
bool mark_owe(struct offline *o, int64_t entry);
bool mark_repay(struct offline *o, int64_t entry);
/* One of that many copies of an entry has come back: whether it was the last one. */
bool mark_is_last_copy(struct offline *o, int64_t entry, unsigned copies);
/* Those of which only some copies have come back wait as well. */
void mark_partials_wait(struct offline *o);

/* The highest mark that leaves nothing out: below every entry that came back. */
int64_t mark_of(const struct offline *o);
/* Writes it, if that is another one. */
void mark_store(struct ctx *c, struct offline *o, int64_t mark);
/* Stores the mark as far as all of it is known to have arrived. */
void mark_move(struct ctx *c, struct offline *o);
/* Does so at the next tick. */
void mark_soon(struct ctx *c, struct offline *o);
/* Asks those who acknowledge nothing whether it is written; looks whether all of them have answered. */
void mark_settle(struct ctx *c, struct offline *o);
void mark_settled(struct ctx *c, struct offline *o);
void mark_free(struct offline *o);

/* ---- replay.c */

/* Begins, if there is something and somebody, and none is under way. */
enum verdict replay_start(struct ctx *c, struct offline *o);
/* Reads the next page. */
enum verdict replay_next(struct ctx *c, struct offline *o);
/* It cannot go on now, and begins again at the next tick. */
void replay_stall(struct ctx *c, struct offline *o);
/* A tick has gone by without the session it goes to having written its page. */
enum verdict replay_watch(struct ctx *c, struct offline *o);
/* Something for this session alone has been left to a replay, which has not come to it. */
bool replay_is_left(const struct offline *o, const struct session *s);

/* ---- offline.c */

/* Looks after all that in half a second. */
void offline_tick_soon(struct ctx *c, struct offline *o);

#endif
