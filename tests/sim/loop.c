/* loop.c - in the place of libuv. The linker gives us (Makefile.am: --wrap) what the server would have its
 * loops do: envelopes between homes and streams, timers, callbacks of the next turn, work for the pool; and
 * the time, which passes only here. All of it waits, and the seed chooses what goes on next.
 *
 * What keeps its order: what one address says to another; what a home says to a stream, and a stream to its
 * home; and between two reactors all that stands on either side of an ENV_RUN. */
#include <sys/time.h>

#include "home.h"
#include "router.h"
#include "sim.h"

#define LANES 1024
#define STEPS_MAX 60000

/* An envelope under way. */
struct hop {
	struct hop *next;
	struct envelope *e;
	unsigned source, target;
	uint64_t number; /* as they were posted */
};

/* Those that keep their order. */
struct lane {
	uint64_t from, to;
	struct hop *head, **tail;
};

struct due {
	struct list node;
	uv_timer_t *handle;
	uv_timer_cb cb;
	int64_t at; /* microseconds */
};

struct idle {
	struct list node;
	uv_idle_t *handle;
	uv_idle_cb cb;
};

struct work {
	struct list node;
	uv_work_t *request;
	uv_work_cb work;
	uv_after_work_cb after;
	bool is_done;
};

static struct loop {
	struct lane lanes[LANES];
	unsigned lane_count;
	uint64_t posted;
	unsigned runs;      /* ENV_RUN under way */
	struct list timers; /* of struct timer */
	struct list dues, idles, works;
} * loop;

/* ---- time */

uint64_t __wrap_uv_hrtime(void);
uint64_t __wrap_uv_now(const uv_loop_t *l);
int __wrap_gettimeofday(struct timeval *tv, void *zone);
int __wrap_uv_random(uv_loop_t *l, uv_random_t *req, void *out, size_t n, unsigned flags, uv_random_cb cb);

uint64_t __wrap_uv_hrtime(void)
{
	return (uint64_t)sim->now * 1000;
}

uint64_t __wrap_uv_now(const uv_loop_t *l)
{
	(void)l;
	return (uint64_t)sim->now / 1000;
}

int __wrap_gettimeofday(struct timeval *tv, void *zone)
{
	(void)zone;
	*tv = (struct timeval){ .tv_sec = sim->now / 1000000, .tv_usec = sim->now % 1000000 };
	return 0;
}

/* The server's random bytes are the seed's too. */
int __wrap_uv_random(uv_loop_t *l, uv_random_t *req, void *out, size_t n, unsigned flags, uv_random_cb cb)
{
	unsigned char *at = out;

	(void)l, (void)req, (void)flags, (void)cb;
	for (size_t i = 0; i < n; i++) {
		sim->server_chance =
		    sim->server_chance * UINT64_C(6364136223846793005) + 1442695040888963407;
		at[i] = (unsigned char)(sim->server_chance >> 56);
	}
	return 0;
}

static void pass_time(int64_t to)
{
	if (sim->now < to)
		sim->now = to;
	for (unsigned i = 0; i < world->reactor_count; i++)
		world->reactors[i]->now = sim->now;
}

/* ---- what the server asks its loops for */

void __wrap_timer_set(struct wheel *w, struct timer *t, uint64_t ms);
int __wrap_uv_timer_start(uv_timer_t *handle, uv_timer_cb cb, uint64_t ms, uint64_t repeat);
int __wrap_uv_timer_stop(uv_timer_t *handle);
int __wrap_uv_idle_start(uv_idle_t *handle, uv_idle_cb cb);
int __wrap_uv_idle_stop(uv_idle_t *handle);
int __real_uv_is_active(const uv_handle_t *handle);
int __wrap_uv_is_active(const uv_handle_t *handle);
void __real_uv_close(uv_handle_t *handle, uv_close_cb cb);
void __wrap_uv_close(uv_handle_t *handle, uv_close_cb cb);
int __wrap_uv_queue_work(uv_loop_t *l, uv_work_t *request, uv_work_cb work, uv_after_work_cb after);

/* Of a wheel; `due` in microseconds. */
void __wrap_timer_set(struct wheel *w, struct timer *t, uint64_t ms)
{
	timer_stop(w, t);
	w->count++; /* timer_stop takes it back */
	t->due = (uint64_t)sim->now + ms * 1000;
	list_append(&loop->timers, &t->node);
}

static struct due *due_find(const uv_timer_t *handle)
{
	struct due *d;

	LIST_EACH (d, &loop->dues, struct due, node)
		if (d->handle == handle)
			return d;
	return NULL;
}

int __wrap_uv_timer_stop(uv_timer_t *handle)
{
	struct due *d = due_find(handle);

	if (!d)
		return 0;
	list_remove(&d->node);
	mem_free(d);
	return 0;
}

int __wrap_uv_timer_start(uv_timer_t *handle, uv_timer_cb cb, uint64_t ms, uint64_t repeat)
{
	struct due *d = mem_alloc(sizeof *d);

	ASSERT(repeat == 0); /* the wheel's tick is not asked for */
	__wrap_uv_timer_stop(handle);
	*d = (struct due){ .handle = handle, .cb = cb, .at = sim->now + (int64_t)ms * 1000 };
	list_append(&loop->dues, &d->node);
	return 0;
}

int __wrap_uv_idle_stop(uv_idle_t *handle)
{
	struct idle *i;

	LIST_EACH (i, &loop->idles, struct idle, node)
		if (i->handle == handle) {
			list_remove(&i->node);
			mem_free(i);
		}
	return 0;
}

int __wrap_uv_idle_start(uv_idle_t *handle, uv_idle_cb cb)
{
	struct idle *i = mem_alloc(sizeof *i);

	__wrap_uv_idle_stop(handle);
	*i = (struct idle){ .handle = handle, .cb = cb };
	list_append(&loop->idles, &i->node);
	return 0;
}

int __wrap_uv_is_active(const uv_handle_t *handle)
{
	return handle->type == UV_TIMER ? due_find((const uv_timer_t *)handle) != NULL
	                                : __real_uv_is_active(handle);
}

void __wrap_uv_close(uv_handle_t *handle, uv_close_cb cb)
{
	if (handle->type == UV_TIMER)
		__wrap_uv_timer_stop((uv_timer_t *)handle);
	else if (handle->type == UV_IDLE)
		__wrap_uv_idle_stop((uv_idle_t *)handle);
	__real_uv_close(handle, cb);
}

int __wrap_uv_queue_work(uv_loop_t *l, uv_work_t *request, uv_work_cb work, uv_after_work_cb after)
{
	struct work *w = mem_alloc(sizeof *w);

	request->loop = l;
	*w = (struct work){ .request = request, .work = work, .after = after };
	list_append(&loop->works, &w->node);
	return 0;
}

/* ---- lanes */

void __wrap_reactor_post(struct reactor *from, unsigned target, struct envelope *e);
void __wrap_reactor_post_run(struct reactor *from, unsigned target,
                             void (*run)(struct reactor *r, void *arg), void *arg);

static struct lane *lane_find(uint64_t from, uint64_t to)
{
	unsigned i = 0;

	while (i < loop->lane_count && (loop->lanes[i].from != from || loop->lanes[i].to != to))
		i++;
	if (i == loop->lane_count) {
		ASSERT(i < LANES);
		loop->lane_count++;
		loop->lanes[i] = (struct lane){ .from = from, .to = to, .tail = &loop->lanes[i].head };
	}
	return &loop->lanes[i];
}

static void lane_add(uint64_t from, uint64_t to, unsigned source, unsigned target, struct envelope *e)
{
	struct lane *l = lane_find(from, to);
	struct hop *h = mem_alloc(sizeof *h);

	*h = (struct hop){ .e = e, .source = source, .target = target, .number = ++loop->posted };
	*l->tail = h;
	l->tail = &h->next;
	loop->runs += e->kind == ENV_RUN;
}

void __wrap_reactor_post(struct reactor *from, unsigned target, struct envelope *e)
{
	client_note_refused(e);
	if (e->kind == ENV_RUN)
		lane_add(from->index, FROM_STREAM | target, from->index, target, e);
	else if (!ENVELOPE_IS_HOME(e))
		lane_add(0, e->stream, from->index, target, e);
	else
		lane_add(e->from ? e->from->hash : 0, e->to->hash, from->index, target, e);
}

void __wrap_reactor_post_run(struct reactor *from, unsigned target,
                             void (*run)(struct reactor *r, void *arg), void *arg)
{
	struct envelope *e = envelope_new(from, ENV_RUN);

	e->run = run;
	e->arg = arg;
	__wrap_reactor_post(from, target, e);
}

void loop_post(unsigned from_reactor, unsigned target, uint64_t lane, struct envelope *e)
{
	lane_add(lane | FROM_STREAM, 0, from_reactor, target, e);
}

bool loop_has_from(uint64_t lane)
{
	for (unsigned i = 0; i < loop->lane_count; i++)
		if (loop->lanes[i].from == (lane | FROM_STREAM))
			return true;
	return false;
}

/* What two reactors have said to each other before an ENV_RUN arrives before it, all else behind it. */
static bool is_held_back(const struct hop *h)
{
	const struct hop *other;

	for (unsigned i = 0; loop->runs && i < loop->lane_count; i++)
		for (other = loop->lanes[i].head; other && other->number < h->number; other = other->next)
			if (other->source == h->source && other->target == h->target &&
			    (h->e->kind == ENV_RUN || other->e->kind == ENV_RUN))
				return true;
	return false;
}

static struct hop *lane_take(struct lane *l)
{
	struct hop *h = l->head;

	l->head = h->next;
	loop->runs -= h->e->kind == ENV_RUN;
	if (l->head)
		return h;
	*l = loop->lanes[--loop->lane_count]; /* the last one takes its place */
	if (!l->head)
		return h;
	for (l->tail = &l->head; *l->tail;)
		l->tail = &(*l->tail)->next;
	return h;
}

static void hop_handle(struct hop *h)
{
	struct reactor *r = world->reactors[h->target];
	struct envelope *e = h->e;

	mem_free(h);
	if (e->kind == ENV_RUN) {
		e->run(r, e->arg);
		envelope_free(r, e);
	} else if (ENVELOPE_IS_HOME(e)) {
		home_take(r, e);
	} else {
		client_take(e);
	}
}

static bool step_lane(void)
{
	unsigned first = draw(loop->lane_count + 1);

	for (unsigned i = 0; i < loop->lane_count; i++) {
		struct lane *l = &loop->lanes[(first + i) % loop->lane_count];
		struct hop *h = l->head;

		if (is_held_back(h))
			continue;
		if (h->e->stanza && h->e->stanza->kind == STANZA_MESSAGE)
			tell("%s arrives: envelope %u, entry %lld",
			     h->e->stanza->id ? h->e->stanza->id : "?", h->e->kind, (long long)h->e->entry);
		hop_handle(lane_take(l));
		return true;
	}
	return false;
}

/* ---- callbacks of the next turn, and the pool */

static bool step_idle(void)
{
	struct idle *i = LIST_FIRST(&loop->idles, struct idle, node);
	uv_idle_cb cb;

	if (!i)
		return false;
	if (draw(2)) { /* another reactor's */
		list_remove(&i->node);
		list_append(&loop->idles, &i->node);
		i = LIST_FIRST(&loop->idles, struct idle, node);
	}
	cb = i->cb;
	list_remove(&i->node); /* as a loop would: it stays active until it stops itself */
	list_append(&loop->idles, &i->node);
	cb(i->handle);
	return true;
}

static bool step_work(void)
{
	struct work *w = LIST_FIRST(&loop->works, struct work, node);

	if (!w)
		return false;
	if (!w->is_done) {
		tell("the pool works");
		w->work(w->request);
		w->is_done = true;
		list_remove(&w->node);
		list_append(&loop->works, &w->node);
		return true;
	}
	list_remove(&w->node);
	w->after(w->request, 0);
	mem_free(w);
	return true;
}

/* ---- steps */

static bool step_flush(void)
{
	unsigned first = draw(world->reactor_count);

	for (unsigned i = 0; !sim->is_over && i < world->reactor_count; i++) {
		struct store *s = world->reactors[(first + i) % world->reactor_count]->store;
		struct store_counts counts;

		store_counts(s, &counts);
		if (counts.waiting_writes == 0)
			continue;
		store_flush(s);
		if (fault_step())
			return true;
	}
	return false;
}

/* Envelopes take no such time. */
static bool step_time(void)
{
	for (unsigned n = 0; n < 1000 && step_lane(); n++)
		;
	return loop_time(2000);
}

bool loop_step(void)
{
	unsigned what = draw(100);

	sim->steps++;
	pass_time(sim->now + 1 + draw(2000));
	fault_maybe_kill();
	if (what < 4 && step_flush())
		return true;
	if (what < 30 && fault_step())
		return true;
	if (what < 36 && (draw(2) ? step_idle() : step_work()))
		return true;
	if (what < 50 && client_write_some())
		return true;
	if (what < 52 && sim->is_failing_now && step_time())
		return true;
	return step_lane() || fault_step() || step_idle() || step_work() || client_write_some() ||
	       step_flush();
}

static struct timer *next_timer(void)
{
	struct timer *t, *next = NULL;

	LIST_EACH (t, &loop->timers, struct timer, node)
		if (!next || t->due < next->due)
			next = t;
	return next;
}

static struct due *next_due(void)
{
	struct due *d, *next = NULL;

	LIST_EACH (d, &loop->dues, struct due, node)
		if (!next || d->at < next->at)
			next = d;
	return next;
}

static void fire_due(struct due *d)
{
	uv_timer_t *handle = d->handle;
	uv_timer_cb cb = d->cb;

	pass_time(d->at);
	list_remove(&d->node);
	mem_free(d);
	cb(handle);
}

/* Whose wheel it is on matters only for the count. */
static void fire_timer(struct timer *t)
{
	pass_time((int64_t)t->due);
	list_remove(&t->node);
	t->fire(t);
}

bool loop_time(uint64_t ms)
{
	int64_t until = sim->now + (int64_t)ms * 1000;
	struct timer *t = next_timer();
	struct due *d = next_due();

	sim->steps++;
	if (d && d->at <= until && (!t || d->at <= (int64_t)t->due))
		fire_due(d);
	else if (t && (int64_t)t->due <= until)
		fire_timer(t);
	else
		return false;
	return true;
}

void loop_turn(void)
{
	while (loop_step())
		;
}

void loop_rest(void)
{
	unsigned before = sim->steps;

	do {
		while (loop_step() || sim->steps - before > STEPS_MAX)
			if (sim->steps - before > STEPS_MAX) {
				fail("it does not come to rest");
				return;
			}
	} while (loop_time(0) || (world_is_busy() && loop_time(60000)));
}

void loop_rest_for(unsigned ms)
{
	int64_t until;

	loop_rest();
	until = sim->now + (int64_t)ms * 1000;
	while (!*sim->failure && sim->now < until && loop_time((uint64_t)(until - sim->now) / 1000 + 1))
		loop_rest();
	pass_time(until);
}

/* ---- */

void loop_begin(void)
{
	loop = mem_zalloc(sizeof *loop);
	list_init(&loop->timers);
	list_init(&loop->dues);
	list_init(&loop->idles);
	list_init(&loop->works);
}

void loop_end(void)
{
	ASSERT(loop->lane_count == 0 && list_is_empty(&loop->dues) && list_is_empty(&loop->works));
	mem_free(loop);
	loop = NULL;
}
