/* test_wheel.c - timers fire once, in time, whatever their handlers do to the wheel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wheel.h"

/* A loop with one wheel; what fired, in its order. */
struct world {
	uv_loop_t loop;
	struct wheel wheel;
	uv_timer_t guard;
	unsigned fired;
	unsigned order[16];
};

/* What a timer does when it fires. */
struct alarm {
	struct timer timer;
	struct world *world;
	unsigned number;
	struct alarm *stops, *sets;
	uint64_t sets_ms;
	bool closes;
	uint64_t at; /* when it fired */
};

static void on_guard(uv_timer_t *handle)
{
	(void)handle;
	fail_msg("nothing happened for 20 s");
}

static void on_alarm(struct timer *t)
{
	struct alarm *a = CONTAINER_OF(t, struct alarm, timer);
	struct world *w = a->world;

	assert_false(timer_is_set(t));
	w->order[w->fired++] = a->number;
	a->at = uv_now(&w->loop);
	if (a->stops)
		timer_stop(&w->wheel, &a->stops->timer);
	if (a->sets)
		timer_set(&w->wheel, &a->sets->timer, a->sets_ms);
	if (a->closes)
		wheel_close(&w->wheel);
}

static void alarm_init(struct alarm *a, struct world *w, unsigned number)
{
	*a = (struct alarm){ .world = w, .number = number };
	timer_init(&a->timer, on_alarm);
}

static int set_up(void **state)
{
	struct world *w = mem_zalloc(sizeof *w);

	assert_int_equal(uv_loop_init(&w->loop), 0);
	wheel_init(&w->wheel, &w->loop);
	assert_int_equal(uv_timer_init(&w->loop, &w->guard), 0);
	uv_timer_start(&w->guard, on_guard, 20000, 0);
	uv_unref((uv_handle_t *)&w->guard);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	wheel_close(&w->wheel);
	uv_close((uv_handle_t *)&w->guard, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	mem_free(w);
	return 0;
}

static void test_fires_in_time(void **state)
{
	struct world *w = *state;
	struct alarm a[3];
	uint64_t began = uv_now(&w->loop);
	static const unsigned ms[] = { 170, 0, 60 };

	for (unsigned i = 0; i < 3; i++) {
		alarm_init(&a[i], w, i);
		timer_set(&w->wheel, &a[i].timer, ms[i]);
		assert_true(timer_is_set(&a[i].timer));
	}
	uv_run(&w->loop, UV_RUN_DEFAULT); /* ends: the libuv timer runs only while something is set */
	assert_int_equal(w->fired, 3);
	assert_int_equal(w->order[0], 1);
	assert_int_equal(w->order[1], 2);
	assert_int_equal(w->order[2], 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(a[i].at >= began + ms[i]);
		assert_true(a[i].at <= began + ms[i] + 4 * WHEEL_TICK_MS);
	}
}

static void test_stop_and_move(void **state)
{
	struct world *w = *state;
	struct alarm stopped, moved;

	alarm_init(&stopped, w, 1);
	alarm_init(&moved, w, 2);
	timer_set(&w->wheel, &stopped.timer, 50);
	timer_set(&w->wheel, &moved.timer, 10000);
	timer_set(&w->wheel, &moved.timer, 50);
	timer_stop(&w->wheel, &stopped.timer);
	timer_stop(&w->wheel, &stopped.timer);
	assert_int_equal(w->wheel.count, 1);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(w->fired, 1);
	assert_int_equal(w->order[0], 2);
}

/* Both are due in the same tick: the first to fire stops the other, sets a third and itself again. */
static void test_handler_changes_the_wheel(void **state)
{
	struct world *w = *state;
	struct alarm first, other, third;

	alarm_init(&first, w, 1);
	alarm_init(&other, w, 2);
	alarm_init(&third, w, 3);
	first.stops = &other;
	first.sets = &third;
	timer_set(&w->wheel, &first.timer, 50);
	timer_set(&w->wheel, &other.timer, 50);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(w->fired, 2);
	assert_int_equal(w->order[0], 1);
	assert_int_equal(w->order[1], 3);
	assert_false(timer_is_set(&other.timer));
	assert_int_equal(w->wheel.count, 0);
}

static void test_sets_itself(void **state)
{
	struct world *w = *state;
	struct alarm a, b;

	alarm_init(&a, w, 1);
	alarm_init(&b, w, 2);
	a.sets = &a;
	b.stops = &a;
	timer_set(&w->wheel, &a.timer, 1);
	timer_set(&w->wheel, &b.timer, 300);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(w->order[w->fired - 1], 2);
	assert_true(w->fired >= 2);
}

/* A timer in the slot of the present round that is due in the next one stays. */
static void test_another_round(void **state)
{
	struct world *w = *state;
	struct alarm near, far;

	alarm_init(&near, w, 1);
	alarm_init(&far, w, 2);
	near.stops = &far;
	timer_set(&w->wheel, &near.timer, 100);
	timer_set(&w->wheel, &far.timer, 100 + WHEEL_SLOTS * WHEEL_TICK_MS);
	assert_int_equal(near.timer.due % WHEEL_SLOTS, far.timer.due % WHEEL_SLOTS);
	near.stops = NULL;
	uv_run(&w->loop, UV_RUN_ONCE);
	while (w->fired == 0)
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_true(timer_is_set(&far.timer));
	assert_int_equal(w->fired, 1);
	timer_stop(&w->wheel, &far.timer);
}

/* The loop stood still for longer than a whole round: everything that is due fires, once, nothing else. */
static void test_long_stall(void **state)
{
	struct world *w = *state;
	struct alarm due[3], later;

	for (unsigned i = 0; i < 3; i++) {
		alarm_init(&due[i], w, i);
		timer_set(&w->wheel, &due[i].timer, 50 + 20000 * i);
	}
	alarm_init(&later, w, 3);
	timer_set(&w->wheel, &later.timer, 3600000);
	/* Instead of sleeping for a minute: as if all of it had been set 60 s ago. */
	w->wheel.now -= 60000 / WHEEL_TICK_MS;
	for (unsigned i = 0; i < 3; i++) {
		list_remove(&due[i].timer.node);
		due[i].timer.due -= 60000 / WHEEL_TICK_MS;
		list_append(&w->wheel.slots[due[i].timer.due % WHEEL_SLOTS], &due[i].timer.node);
	}
	while (w->fired < 3)
		uv_run(&w->loop, UV_RUN_ONCE);
	for (unsigned i = 0; i < 3; i++)
		assert_true(w->order[i] < 3 && due[i].at > 0);
	assert_true(timer_is_set(&later.timer));
	assert_int_equal(w->wheel.count, 1);
	timer_stop(&w->wheel, &later.timer);
}

static void test_close_ends_all(void **state)
{
	struct world *w = *state;
	struct alarm closes, same_tick, later;

	alarm_init(&closes, w, 1);
	alarm_init(&same_tick, w, 2);
	alarm_init(&later, w, 3);
	closes.closes = true;
	timer_set(&w->wheel, &closes.timer, 50);
	timer_set(&w->wheel, &same_tick.timer, 50);
	timer_set(&w->wheel, &later.timer, 100);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(w->fired, 1);
	assert_false(timer_is_set(&same_tick.timer));
	timer_set(&w->wheel, &same_tick.timer, 1); /* too late: not set */
	assert_false(timer_is_set(&same_tick.timer));
	timer_stop(&w->wheel, &later.timer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fires_in_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stop_and_move, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_handler_changes_the_wheel, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sets_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_round, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_stall, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_close_ends_all, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
