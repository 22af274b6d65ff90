/* test_reactor.c - two reactors in one process: what one posts to the other arrives once, in order, in
 * batches and bounded; steps over all of them; and the end with envelopes still between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../lib/small_server.h"

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
};

static void on_guard(uv_timer_t *handle)
{
	(void)handle;
	fail_msg("the reactors have not ended within 30 s");
}

static void reactor_thread(void *arg)
{
	reactor_run(arg);
}

/* Runs `begin` on reactor 0 and both reactors until somebody has called server_stop. */
static void run(struct world *w, void (*begin)(struct reactor *r, void *arg))
{
	struct reactor *one = w->server->reactors[0], *other = w->server->reactors[1];

	w->in_order = true;
	uv_timer_init(&one->loop, &w->guard);
	uv_timer_start(&w->guard, on_guard, 30000, 0);
	uv_unref((uv_handle_t *)&w->guard);
	uv_timer_init(&one->loop, &w->watch);
	w->watch.data = w;
	reactor_post_run(one, 0, begin, w);
	assert_int_equal(uv_thread_create(&other->thread, reactor_thread, other), 0);
	reactor_run(one);
	uv_thread_join(&other->thread);
	uv_close((uv_handle_t *)&w->guard, NULL);
	if (!uv_is_closing((uv_handle_t *)&w->watch))
		uv_close((uv_handle_t *)&w->watch, NULL);
	uv_run(&one->loop, UV_RUN_DEFAULT);
}

static int set_up(void **state)
{
	struct world *w = mem_zalloc(sizeof *w);

	w->small = small_server_new(2);
	w->server = &w->small->server;
	*state = w;
	return 0;
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
		cmocka_unit_test_setup_teardown(test_each, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end, set_up, tear_down),
	};

	hash_seed(true);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
