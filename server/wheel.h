/* wheel.h - all timeouts of a reactor on one libuv timer. Coarse on purpose: a timer fires at its time or
 * up to WHEEL_TICK_MS later. The libuv timer runs only while something is on the wheel. */
#ifndef MUSTER_WHEEL_H
#define MUSTER_WHEEL_H

#include <uv.h>

#include "list.h"

#define WHEEL_TICK_MS 50
#define WHEEL_SLOTS 1024

struct timer {
	struct list node; /* in a slot; unlinked (empty) when not set */
	uint64_t due;     /* in ticks */
	void (*fire)(struct timer *t);
};

struct wheel {
	uv_timer_t tick;
	uv_loop_t *loop;
	uint64_t now; /* in ticks */
	unsigned count;
	struct list slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uv_loop_t *loop);
void wheel_close(struct wheel *w); /* no timer fires any more; the uv handle closes on the next turn */

void timer_init(struct timer *t, void (*fire)(struct timer *t));
/* (Re)sets it to fire once, `ms` from now. */
void timer_set(struct wheel *w, struct timer *t, uint64_t ms);
void timer_stop(struct wheel *w, struct timer *t); /* also when it is not set */
/* How long until it fires, in ms; 0 when it is not set. */
uint64_t timer_left(const struct wheel *w, const struct timer *t);
static inline bool timer_is_set(const struct timer *t)
{
	return !list_is_empty(&t->node);
}

#endif
