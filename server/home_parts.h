/* home_parts.h - between the files of a home. Nobody else includes it.
 *
 *   home.c           found, made, freed; what an envelope does; the outbox
 *   home_mailbox.c   what waits while it is held; credit
 *   home_sleep.c     waking and sleeping
 *   home_reload.c    reading itself again
 *   home_groups.c    the administrators' groups that it sees */
#ifndef MUSTER_HOME_PARTS_H
#define MUSTER_HOME_PARTS_H

#include "home.h"

/* home.c */
void home_enter(struct home *h, enum home_state state); /* the one writer of the state */
void home_handle(struct home *h, struct envelope *e);   /* takes the envelope over; the home is not held */
void home_free_data(struct home *h);                    /* what the modules keep in it */
void home_drop_timers(struct home *h);                  /* those of the modules */
void home_free(struct home *h);                         /* which can sleep, or at the end of the process */

/* home_mailbox.c */
bool home_is_held(const struct home *h); /* envelopes must wait in the mailbox */
/* Takes the envelope over; refuses it when the mailbox is full. */
void home_mailbox_add(struct home *h, struct envelope *e);
struct envelope *home_mailbox_take(struct home *h); /* the first one, or NULL */
bool home_may_refuse(const struct envelope *e);     /* results and errors, for example, may not be */
void home_refuse(struct home *h, struct envelope *e, const char *text); /* with `wait` */
void home_refuse_mailbox(struct home *h); /* the database does not answer: refuses what may be refused */
void home_credit(struct home *h, struct envelope *e); /* `e` is taken: tells its stream, now or later */
void home_on_hold_timer(struct timer *t);

/* home_reload.c */
void homes_reload_init(struct reactor *r);
void homes_reload_next(struct reactor *r);              /* as far as the bound lets them */
void home_reload(struct home *h, struct envelope *e);   /* ENV_RELOAD; takes it over */
void home_set_account(struct home *h, int64_t account); /* 0: none; keeps reactor->accounts in step */

/* home_groups.c */
void home_see_groups(struct home *h);                       /* when it wakes, before its roster is loaded */
void home_take_regroup(struct home *h, struct envelope *e); /* ENV_REGROUP; takes it over */

/* home_sleep.c */
extern const struct sql home_account_sql;     /* its row: id, disabled, newest entry */
void home_wake(struct home *h);               /* reads the account, then what the modules load */
bool home_can_sleep(const struct home *h);    /* nothing is under way, nothing is owed */
void homes_watch_sleepers(struct reactor *r); /* looks from time to time, while there are any */

#endif
