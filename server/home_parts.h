/* home_parts.h - between the files of a home: home.c, home_mailbox.c (what waits) and home_sleep.c (waking
 * and sleeping). Nobody else includes it. */
#ifndef MUSTER_HOME_PARTS_H
#define MUSTER_HOME_PARTS_H

#include "home.h"

/* home.c */
void home_enter(struct home *h, enum home_state state); /* the one writer of the state */
void home_handle(struct home *h, struct envelope *e);   /* takes the envelope over; the home is not held */
void home_free_data(struct home *h);                    /* what the modules keep in it */
void home_drop_timers(struct home *h);
void home_free(struct home *h);

/* home_mailbox.c */
bool home_is_held(const struct home *h);
void home_mailbox_add(struct home *h, struct envelope *e);
struct envelope *home_mailbox_take(struct home *h); /* the first one, or NULL */
bool home_may_refuse(const struct envelope *e);
void home_refuse(struct home *h, struct envelope *e, const char *text); /* with `wait` */
void home_refuse_mailbox(struct home *h); /* the database does not answer: refuses what may be refused */
void home_credit(struct home *h, struct envelope *e);
void home_on_hold_timer(struct timer *t);

/* home_reload.c */
void homes_reload_init(struct reactor *r);
void homes_reload_next(struct reactor *r); /* as far as the bound lets them */
void home_reload(struct home *h, struct envelope *e);
void home_set_account(struct home *h, int64_t account);

/* home_groups.c */
void home_see_groups(struct home *h); /* when it wakes, before its roster is loaded */
void home_take_regroup(struct home *h, struct envelope *e);

/* home_sleep.c */
extern const struct sql home_account_sql; /* its row: id, disabled, newest entry */
void home_wake(struct home *h);
bool home_can_sleep(const struct home *h);
void homes_watch_sleepers(struct reactor *r); /* looks from time to time, while there are any */

#endif
