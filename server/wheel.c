/* wheel.c - a hashed timer wheel: slot = due tick modulo WHEEL_SLOTS; a timer further away than one
 * round stays in its slot until its round has come. Each reactor has one. */
#include "wheel.h"

static uint64_t ticks_now(const struct wheel *w)
{
	return uv_now(w->loop) / WHEEL_TICK_MS;
}

static void on_tick(uv_timer_t *handle);

static void wheel_start(struct wheel *w)
{
	w->now = ticks_now(w);
	ASSERT(uv_timer_start(&w->tick, on_tick, WHEEL_TICK_MS, WHEEL_TICK_MS) == 0);
}

/* Fires what is due in one slot. A handler may set and stop any timer, so the due ones are moved to a list
 * of their own first and taken from its front. */
static void slot_fire(struct wheel *w, struct list *slot)
{
	struct list due;
	struct timer *t;

	list_init(&due);
	LIST_EACH (t, slot, struct timer, node) {
		if (t->due <= w->now) {
			list_remove(&t->node);
			list_append(&due, &t->node);
		}
	}
	while ((t = LIST_FIRST(&due, struct timer, node))) {
		list_remove(&t->node);
		w->count--;
		if (!uv_is_closing((uv_handle_t *)&w->tick)) /* a handler may have closed the wheel */
			t->fire(t);
	}
}

static void on_tick(uv_timer_t *handle)
{
	struct wheel *w = handle->data;
	uint64_t now = ticks_now(w);

	/* After a long stall one round over all slots finds everything that is due. */
	if (now - w->now > WHEEL_SLOTS)
		w->now = now - WHEEL_SLOTS;
	while (w->now < now) {
		w->now++;
		slot_fire(w, &w->slots[w->now % WHEEL_SLOTS]);
	}
	if (w->count == 0)
		uv_timer_stop(&w->tick);
}

void wheel_init(struct wheel *w, uv_loop_t *loop)
{
	*w = (struct wheel){ .loop = loop };
	for (unsigned i = 0; i < WHEEL_SLOTS; i++)
		list_init(&w->slots[i]);
	ASSERT(uv_timer_init(loop, &w->tick) == 0);
	w->tick.data = w;
	w->now = ticks_now(w);
}

void wheel_close(struct wheel *w)
{
	if (!uv_is_closing((uv_handle_t *)&w->tick))
		uv_close((uv_handle_t *)&w->tick, NULL);
}

void timer_init(struct timer *t, void (*fire)(struct timer *t))
{
	list_init(&t->node);
	t->due = 0;
	t->fire = fire;
}

void timer_set(struct wheel *w, struct timer *t, uint64_t ms)
{
	timer_stop(w, t);
	if (uv_is_closing((uv_handle_t *)&w->tick))
		return;
	if (w->count++ == 0)
		wheel_start(w);
	t->due = ticks_now(w) + 1 + (ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
	if (t->due <= w->now)
		t->due = w->now + 1;
	list_append(&w->slots[t->due % WHEEL_SLOTS], &t->node);
}

void timer_stop(struct wheel *w, struct timer *t)
{
	if (!timer_is_set(t))
		return;
	list_remove(&t->node);
	w->count--;
}

uint64_t timer_left(const struct wheel *w, const struct timer *t)
{
	uint64_t now = ticks_now(w);

	if (!timer_is_set(t))
		return 0;
	return t->due > now ? (t->due - now) * WHEEL_TICK_MS : 1;
}
