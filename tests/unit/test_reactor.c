/* test_reactor.c - reactors in one process: what one posts to the other arrives once, in order, in batches and
 * bounded; who finds an inbox full sleeps until it has room; four that flood each other all go on; steps over
 * all of them; and the end with envelopes still between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../lib/small_server.h"

#define GUARD_MS 120000

struct world {
	struct small_server *small;
	struct server *server;
	uv_timer_t guard;
	/* on reactor 1 */
	uint64_t received, turns_before, turns;
	bool in_order;
	/* between the two */
	_Atomic bool is_stuck, may_go_on;
	_Atomic unsigned steps;
	/* on reactor 0 */
	uv_timer_t watch;
	bool was_blocked;
	unsigned most_waiting;
	/* the storm */
	struct lane *lanes;          /* from each to each */
	_Atomic unsigned lanes_over; /* all has arrived */
	/* the sleepers */
	uint64_t turns_asleep[4], cpu_us[4];
	unsigned looks;
};

static void on_guard(uv_timer_t *handle)
{
	(void)handle;
	fail_msg("the reactors have not ended in time");
}

static void reactor_thread(void *arg)
{
	reactor_run(arg);
}

/* Runs `begin` on reactor 0 and all reactors until somebody has called server_stop. */
static void run(struct world *w, void (*begin)(struct reactor *r, void *arg))
{
	struct server *srv = w->server;
	struct reactor *one = srv->reactors[0];

	w->in_order = true;
	uv_timer_init(&one->loop, &w->guard);
	uv_timer_start(&w->guard, on_guard, GUARD_MS, 0);
	uv_unref((uv_handle_t *)&w->guard);
	uv_timer_init(&one->loop, &w->watch);
	w->watch.data = w;
	reactor_post_run(one, 0, begin, w);
	for (unsigned i = 1; i < srv->reactor_count; i++)
		assert_int_equal(
		    uv_thread_create(&srv->reactors[i]->thread, reactor_thread, srv->reactors[i]), 0);
	reactor_run(one);
	for (unsigned i = 1; i < srv->reactor_count; i++)
		uv_thread_join(&srv->reactors[i]->thread);
	uv_close((uv_handle_t *)&w->guard, NULL);
	if (!uv_is_closing((uv_handle_t *)&w->watch))
		uv_close((uv_handle_t *)&w->watch, NULL);
	uv_run(&one->loop, UV_RUN_DEFAULT);
}

static int set_up_reactors(void **state, unsigned reactors)
{
	struct world *w = mem_zalloc(sizeof *w);

	w->small = small_server_new(reactors);
	w->server = &w->small->server;
	*state = w;
	return 0;
}

static int set_up(void **state)
{
	return set_up_reactors(state, 2);
}

static int set_up_4(void **state)
{
	return set_up_reactors(state, 4);
}

static int tear_down(void **state)
{
	struct world *w = *state;

	small_server_free(w->small);
	mem_free(w);
	return 0;
}

static void stop(struct reactor *r, void *arg)
{
	(void)arg;
	server_stop(r->server);
}

/* ---- order and batches */

struct numbered {
	struct world *world;
	uint64_t number;
	bool is_last;
};

static void on_numbered(struct reactor *r, void *arg)
{
	struct numbered *n = arg;
	struct world *w = n->world;

	if (n->number == 0)
		w->turns_before = r->counts.turns;
	w->in_order = w->in_order && r->index == 1 && n->number == w->received;
	w->received++;
	w->turns = r->counts.turns - w->turns_before;
	if (n->is_last)
		reactor_post_run(r, 0, stop, w);
	mem_free(n);
}

static void post_numbers(struct reactor *r, struct world *w, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct numbered *n = mem_alloc(sizeof *n);

		*n = (struct numbered){ .world = w, .number = i, .is_last = i == count - 1 };
		reactor_post_run(r, 1, on_numbered, n);
	}
}

static void begin_order(struct reactor *r, void *arg)
{
	post_numbers(r, arg, 20000);
}

static void test_order(void **state)
{
	struct world *w = *state;

	run(w, begin_order);
	assert_int_equal(w->received, 20000);
	assert_true(w->in_order);
	assert_true(w->turns < 100); /* a wake-up for each would be 20000 */
}

/* ---- the bound: the other one is stuck, and the sender keeps the rest */

static void on_stuck(struct reactor *r, void *arg)
{
	struct world *w = arg;

	(void)r;
	w->is_stuck = true;
	while (!w->may_go_on)
		uv_sleep(1);
}

static void on_watch(uv_timer_t *timer)
{
	struct world *w = timer->data;
	struct reactor *r = w->server->reactors[0], *other = w->server->reactors[1];
	unsigned waiting = atomic_load(&other->inbox.waiting);

	if (waiting > w->most_waiting)
		w->most_waiting = waiting;
	if (!w->is_stuck)
		return;
	if (w->received == 0 && !w->was_blocked && r->outbound[1].count == 0 && waiting == 0) {
		post_numbers(r, w, INBOX_BOUND + 5000);
		return;
	}
	if (reactor_is_blocked(r)) {
		w->was_blocked = true;
		w->may_go_on = true;
		uv_close((uv_handle_t *)timer, NULL);
	}
}

static void begin_bound(struct reactor *r, void *arg)
{
	struct world *w = arg;

	reactor_post_run(r, 1, on_stuck, w);
	uv_timer_start(&w->watch, on_watch, 5, 5);
}

static void test_bound(void **state)
{
	struct world *w = *state;

	run(w, begin_bound);
	assert_true(w->was_blocked);
	assert_true(w->most_waiting <= INBOX_BOUND);
	assert_int_equal(w->received, INBOX_BOUND + 5000);
	assert_true(w->in_order);
	assert_false(reactor_is_blocked(w->server->reactors[0]));
}

/* ---- four, each of which floods all the others, and answers what it gets */

#define LANE 150000   /* envelopes from one to another; there are 12 such lanes */
#define PORTION 20000 /* of a lane in one turn, so that inboxes overflow */

struct lane {
	struct world *world;
	unsigned from, to, posted, received;
	bool in_order;
	char numbers[LANE]; /* an envelope's argument is the address of its number */
};

static struct world *storming; /* what envelopes do not carry */

static void on_storm(struct reactor *r, void *arg)
{
	struct world *w = storming;
	struct lane *lane = &w->lanes[(size_t)((char *)arg - (char *)w->lanes) / sizeof *lane];
	unsigned number = (unsigned)((char *)arg - lane->numbers);

	lane->in_order = lane->in_order && r->index == lane->to && number == lane->received;
	if (++lane->received == LANE && ++w->lanes_over == 12)
		reactor_post_run(r, 0, stop, w);
}

/* Posts a portion to each other one, then itself again. */
static void storm(struct reactor *r, void *arg)
{
	struct world *w = arg;
	bool is_over = true;

	if (atomic_load(&r->inbox.waiting) > INBOX_BOUND)
		fail_msg("an inbox has more than its bound");
	for (unsigned to = 0; to < 4; to++) {
		struct lane *lane = &w->lanes[4 * r->index + to];

		for (unsigned n = 0; to != r->index && n < PORTION && lane->posted < LANE; n++)
			reactor_post_run(r, to, on_storm, &lane->numbers[lane->posted++]);
		is_over = is_over && (to == r->index || lane->posted == LANE);
	}
	if (!is_over)
		reactor_post_run(r, r->index, storm, w);
}

static void begin_storm(struct reactor *r, void *arg)
{
	for (unsigned i = 0; i < 4; i++)
		reactor_post_run(r, i, storm, arg);
}

static void test_storm(void **state)
{
	struct world *w = *state;
	uint64_t wakeups = 0, turns = 0, blocks = 0, floods = 0;

	storming = w;
	w->lanes = mem_zalloc(16 * sizeof *w->lanes);
	for (unsigned i = 0; i < 16; i++) {
		w->lanes[i].from = i / 4;
		w->lanes[i].to = i % 4;
		w->lanes[i].in_order = true;
	}
	run(w, begin_storm);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(w->lanes[i].received, i / 4 == i % 4 ? 0 : LANE);
		assert_true(w->lanes[i].in_order);
	}
	for (unsigned i = 0; i < 4; i++) {
		const struct reactor *r = w->server->reactors[i];

		assert_false(r->is_blocked);
		assert_int_equal(r->overflow, 0);
		/* Two flushes a turn, before the poll and after it; a wake-up for each target. */
		assert_true(r->counts.wakeups <= r->counts.turns * 2 * 3);
		wakeups += r->counts.wakeups;
		turns += r->counts.turns;
		blocks += r->counts.blocks;
		floods += r->counts.floods;
	}
	assert_true(wakeups < 12 * LANE / 100);
	assert_int_equal(w->server->flooding, 0);
	print_message("%d envelopes: %d wake-ups, %d turns, %d times blocked, %d floods\n", 12 * LANE,
	              (int)wakeups, (int)turns, (int)blocks, (int)floods);
	mem_free(w->lanes);
}

/* ---- whoever waits for room sleeps, and whoever must not read because of it sleeps too */

#define LOOKS 100 /* of 5 ms each */

static uint64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void flood(struct reactor *r, void *arg)
{
	post_numbers(r, arg, INBOX_BOUND + OVERFLOW_BOUND + 5000);
}

/* What it has used until now, and then since then. */
static void note_use(struct reactor *r, void *arg)
{
	struct world *w = arg;

	w->turns_asleep[r->index] = r->counts.turns - w->turns_asleep[r->index];
	w->cpu_us[r->index] = cpu_us() - w->cpu_us[r->index];
	w->steps++;
}

/* Reactor 1 is stuck, reactor 2 has flooded it; 0 watches, and notes what 2 and 3 use meanwhile. */
static void on_look(uv_timer_t *timer)
{
	struct world *w = timer->data;
	struct reactor *r = w->server->reactors[0];

	if (!w->is_stuck || w->server->flooding == 0)
		return;
	switch (w->looks++) {
	case 0:
		assert_int_equal(w->server->reactors[1]->inbox.waiting, INBOX_BOUND);
		break;
	case 1:
		w->was_blocked = reactor_is_blocked(r); /* it has done nothing itself */
		reactor_post_run(r, 2, note_use, w);
		reactor_post_run(r, 3, note_use, w);
		break;
	case LOOKS:
		reactor_post_run(r, 2, note_use, w);
		reactor_post_run(r, 3, note_use, w);
		break;
	default:
		if (w->steps < 4)
			return;
		w->may_go_on = true;
		uv_close((uv_handle_t *)timer, NULL);
	}
}

static void begin_sleep(struct reactor *r, void *arg)
{
	struct world *w = arg;

	reactor_post_run(r, 1, on_stuck, w);
	reactor_post_run(r, 2, flood, w);
	uv_timer_start(&w->watch, on_look, 5, 5);
}

static void test_sleep(void **state)
{
	struct world *w = *state;

	run(w, begin_sleep);
	assert_true(w->was_blocked);
	assert_int_equal(w->received, INBOX_BOUND + OVERFLOW_BOUND + 5000);
	assert_true(w->in_order);
	for (unsigned i = 2; i < 4; i++)
		assert_true(w->turns_asleep[i] < 10 * LOOKS); /* who spins has a hundred thousand */
	for (unsigned i = 0; i < 4; i++)
		assert_false(reactor_is_blocked(w->server->reactors[i]));
	print_message(
	    "half a second blocked: %d turns and %d us of the sender, %d turns and %d us of another\n",
	    (int)w->turns_asleep[2], (int)w->cpu_us[2], (int)w->turns_asleep[3], (int)w->cpu_us[3]);
}

/* ---- what a timer posts leaves at once, not when a socket has something to say */

static void post_stop(struct reactor *r, void *arg)
{
	reactor_post_run(r, 0, stop, arg);
}

static void on_once(uv_timer_t *timer)
{
	struct world *w = timer->data;

	reactor_post_run(w->server->reactors[0], 1, post_stop, w);
}

static void begin_timer(struct reactor *r, void *arg)
{
	struct world *w = arg;

	(void)r;
	uv_timer_start(&w->watch, on_once, 300, 0);
}

static void test_timer(void **state)
{
	struct world *w = *state;

	run(w, begin_timer);
	assert_int_equal(w->server->reactors[1]->overflow, 0);
}

/* ---- a step on each */

static void each_step(struct reactor *r, void *arg)
{
	struct world *w = arg;

	w->in_order = w->in_order && w->steps == r->index;
	w->steps++;
}

static void each_done(struct server *srv, void *arg)
{
	struct world *w = arg;

	w->in_order = w->in_order && w->steps == 2;
	server_stop(srv);
	server_stop(srv); /* twice: no harm */
}

static void begin_each(struct reactor *r, void *arg)
{
	server_each(r->server, each_step, each_done, arg);
}

static void test_each(void **state)
{
	struct world *w = *state;

	run(w, begin_each);
	assert_int_equal(w->steps, 2);
	assert_true(w->in_order);
}

/* ---- the end waits until nothing is between two reactors */

/* Goes to and fro 2000 times while the server stops. */
static void bounce(struct reactor *r, void *arg)
{
	struct world *w = arg;
	struct envelope *e;

	if (++w->received == 10)
		reactor_post_run(r, 0, stop, w);
	if (w->received < 2000) {
		reactor_post_run(r, 1 - r->index, bounce, w);
		return;
	}
	/* What is not ENV_RUN counts: an envelope for a home that sleeps is dropped there. */
	e = envelope_new(r, ENV_DETACH);
	e->to = jid_make("nobody", SMALL_HOST, NULL);
	reactor_post(r, 1 - r->index, e);
}

static void test_end(void **state)
{
	struct world *w = *state;

	run(w, bounce);
	assert_int_equal(w->received, 2000);
	for (unsigned i = 0; i < 2; i++) {
		struct reactor *r = w->server->reactors[i];

		assert_null(r->queue.head);
		assert_null(atomic_load(&r->inbox.newest));
		assert_null(r->outbound[1 - i].head);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bound, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_storm, set_up_4, tear_down),
		cmocka_unit_test_setup_teardown(test_sleep, set_up_4, tear_down),
		cmocka_unit_test_setup_teardown(test_timer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_each, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end, set_up, tear_down),
	};

	hash_seed(true);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
