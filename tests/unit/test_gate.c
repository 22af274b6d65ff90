/* test_gate.c - server/gate.c: the counts of connections, also from many threads at once, and the buckets
 * of failed logins: what they hold, how they leak, and that they are bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "gate.h"
#include "hash.h"

#define SECOND ((int64_t)1000000)

static const struct limits_conf limits = {
	.connections = 5,
	.connections_before_login = 3,
	.connections_per_address = 2,
	.failures_per_address = 4,
	.failures_per_account = 10,
	.failure_time = 40000,
	.login_failures = 2,
	.registrations = 2,
	.guests = 3,
};

static struct network_address address(unsigned n)
{
	struct network_address a = { 0 };

	memcpy(a.bytes, &n, sizeof n);
	return a;
}

/* ---- connections */

static void test_connections(void **state)
{
	struct gate *g = gate_new();
	struct network_address a = address(1), b = address(2);

	(void)state;
	assert_int_equal(gate_enter(g, &limits), GATE_OPEN);
	assert_int_equal(gate_enter_address(g, &a, &limits), GATE_OPEN);
	assert_int_equal(gate_enter(g, &limits), GATE_OPEN);
	assert_int_equal(gate_enter_address(g, &a, &limits), GATE_OPEN);
	assert_int_equal(gate_enter(g, &limits), GATE_OPEN);
	assert_int_equal(gate_enter_address(g, &a, &limits), GATE_ADDRESS);
	assert_int_equal(gate_enter_address(g, &b, &limits), GATE_OPEN);
	assert_int_equal(gate_enter(g, &limits), GATE_LOGINS); /* three have not logged in */
	gate_logged_in(g);
	gate_logged_in(g);
	assert_int_equal(gate_enter(g, &limits), GATE_OPEN); /* its address is not known yet */
	assert_int_equal(gate_enter(g, &limits), GATE_OPEN);
	gate_logged_in(g);
	assert_int_equal(gate_enter(g, &limits), GATE_FULL);
	gate_leave(g, &a, true);
	assert_int_equal(gate_enter_address(g, &a, &limits), GATE_OPEN);
	gate_leave(g, &a, true);
	gate_leave(g, &b, false);
	gate_leave(g, NULL, false);
	assert_int_equal(gate_counts(g).connections, 1);
	assert_int_equal(gate_counts(g).addresses, 1);
	gate_leave(g, &a, true);
	assert_int_equal(gate_counts(g).connections, 0);
	assert_int_equal(gate_counts(g).before_login, 0);
	assert_int_equal(gate_counts(g).addresses, 0);
	gate_free(g);
}

/* What the limits are for: no number of reactors lets more in. */

#define THREADS 4
#define ROUNDS 20000

static const struct limits_conf crowded = { .connections = 7,
	                                    .connections_before_login = 7,
	                                    .connections_per_address = 7 };

struct crowd {
	struct gate *gate;
	_Atomic unsigned inside, most;
};

static void crowd_thread(void *arg)
{
	struct crowd *c = arg;
	struct network_address a = address(1);

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (gate_enter(c->gate, &crowded) != GATE_OPEN)
			continue;
		if (gate_enter_address(c->gate, &a, &crowded) != GATE_OPEN)
			fail_msg("as many from one address as in all");
		unsigned now = ++c->inside;
		if (now > c->most)
			c->most = now;
		c->inside--;
		gate_leave(c->gate, &a, false);
	}
}

static void test_threads(void **state)
{
	struct crowd c = { .gate = gate_new() };
	struct network_address a = address(1);
	uv_thread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < 5; i++) { /* so that two of the threads fit in */
		assert_int_equal(gate_enter(c.gate, &crowded), GATE_OPEN);
		assert_int_equal(gate_enter_address(c.gate, &a, &crowded), GATE_OPEN);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(uv_thread_create(&threads[i], crowd_thread, &c), 0);
	for (unsigned i = 0; i < THREADS; i++)
		uv_thread_join(&threads[i]);
	assert_true(c.most >= 1 && c.most <= 2);
	assert_int_equal(gate_counts(c.gate).connections, 5);
	gate_free(c.gate);
}

/* ---- failures */

static bool may_try(struct gate *g, unsigned n, int64_t now)
{
	struct network_address a = address(n);

	return gate_may_try(g, &a, "nobody has tried this@x", &limits, now);
}

static bool may_try_account(struct gate *g, unsigned n, const char *account, int64_t now)
{
	struct network_address a = address(n);

	return gate_may_try(g, &a, account, &limits, now);
}

static void fail_at(struct gate *g, unsigned n, const char *account, int64_t now)
{
	struct network_address a = address(n);

	gate_failed(g, &a, account, &limits, now);
}

static void test_failures_of_an_address(void **state)
{
	struct gate *g = gate_new();
	int64_t now = 1000 * SECOND;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_true(may_try(g, 1, now));
		fail_at(g, 1, i % 2 ? "a@x" : "b@x", now);
	}
	assert_false(may_try(g, 1, now));
	assert_true(may_try(g, 2, now)); /* nobody else pays for it */
	assert_false(may_try(g, 1, now + 10 * SECOND - 1));
	assert_true(may_try(g, 1, now + 10 * SECOND)); /* 40 s / 4: one drop has leaked */
	fail_at(g, 1, "a@x", now + 10 * SECOND);
	assert_false(may_try(g, 1, now + 20 * SECOND - 1));
	assert_true(may_try(g, 1, now + 20 * SECOND));
	assert_true(may_try(g, 1, now + 1000 * SECOND));
	gate_free(g);
}

/* Those that were under way together when the bucket was full are paid for later. */
static void test_rate_is_exact(void **state)
{
	struct gate *g = gate_new();

	(void)state;
	for (unsigned i = 0; i < 12; i++)
		fail_at(g, 1, "a@x", SECOND);
	assert_false(may_try(g, 1, SECOND + 90 * SECOND - 1));
	assert_true(may_try(g, 1, SECOND + 90 * SECOND));
	for (unsigned i = 0; i < 1000000; i++)
		fail_at(g, 1, "a@x", SECOND);
	assert_false(may_try(g, 1, SECOND + 86400 * SECOND - 60 * SECOND));
	assert_true(may_try(g, 1, SECOND + 86400 * SECOND)); /* a day and no longer */
	gate_free(g);
}

static void test_failures_of_an_account(void **state)
{
	struct gate *g = gate_new();
	struct network_address home = address(1);
	int64_t now = SECOND;

	(void)state;
	gate_succeeded(g, &home, "juliet@x", now);
	for (unsigned i = 0; i < 10; i++) { /* from everywhere */
		assert_true(may_try_account(g, 100 + i, "juliet@x", now));
		fail_at(g, 100 + i, "juliet@x", now);
	}
	assert_false(may_try_account(g, 500, "juliet@x", now));
	assert_true(may_try_account(g, 500, "romeo@x", now));
	assert_true(may_try_account(g, 1, "juliet@x", now)); /* she goes on */
	assert_false(may_try_account(g, 2, "juliet@x", now));
	assert_true(may_try_account(g, 500, "juliet@x", now + 4 * SECOND));
	for (unsigned i = 0; i < 1000000; i++)
		fail_at(g, 100 + i % 10, "juliet@x", now);
	assert_true(may_try_account(g, 1, "juliet@x", now + 86399 * SECOND));
	for (unsigned i = 0; i < 1000000; i++)
		fail_at(g, 100 + i % 10, "juliet@x", now + 86400 * SECOND);
	assert_false(may_try_account(g, 1, "juliet@x", now + 86401 * SECOND)); /* forgotten after a day */
	gate_free(g);
}

/* An office behind one address, and in it a program with an old password: who was in comes in again. */
static void test_known_where_others_fail(void **state)
{
	struct gate *g = gate_new();
	struct network_address office = address(1);
	int64_t now = SECOND;

	(void)state;
	gate_succeeded(g, &office, "juliet@x", now);
	gate_succeeded(g, &office, "romeo@x", now);
	for (unsigned i = 0; i < 100; i++)
		fail_at(g, 1, "romeo@x", now);
	assert_false(may_try(g, 1, now));                    /* a stranger to the office */
	assert_false(may_try_account(g, 1, "romeo@x", now)); /* whose program it is */
	assert_true(may_try_account(g, 1, "juliet@x", now));
	fail_at(g, 1, "juliet@x", now); /* and no colleague can guess for long at her password */
	assert_true(may_try_account(g, 1, "juliet@x", now));
	fail_at(g, 1, "juliet@x", now);
	assert_false(may_try_account(g, 1, "juliet@x", now));
	gate_succeeded(g, &office, "juliet@x",
	               now); /* of an attempt that was under way: forgives nothing */
	assert_false(may_try_account(g, 1, "juliet@x", now + 20 * SECOND - 1));
	assert_true(may_try_account(g, 1, "juliet@x", now + 20 * SECOND));
	gate_free(g);
}

static void test_bound(void **state)
{
	struct gate *g = gate_new();

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		fail_at(g, 1, "a@x", SECOND);
	for (unsigned i = 0; i < GATE_REMEMBERED / 2; i++) {
		fail_at(g, 1000 + i, "b@x", SECOND);
		if (i % 1000 == 0)
			fail_at(g, 1, "a@x", SECOND); /* touched, so it stays */
	}
	assert_false(may_try(g, 1, SECOND));
	for (unsigned i = 0; i < GATE_REMEMBERED; i++)
		fail_at(g, 1000 + i, "b@x", SECOND);
	assert_int_equal(gate_counts(g).remembered, GATE_REMEMBERED);
	assert_true(may_try(g, 1, SECOND)); /* the oldest has made room */
	gate_free(g);
}

/* Two at once, then one in each half of an hour; what fails otherwise is not counted with them. */
static void test_registrations(void **state)
{
	struct gate *g = gate_new();
	struct network_address a = address(1), b = address(2);
	int64_t now = 7000 * SECOND;

	(void)state;
	gate_failed(g, &a, "romeo@example.org", &limits, now);
	assert_true(gate_register(g, &a, &limits, now));
	assert_true(gate_register(g, &a, &limits, now));
	assert_false(gate_register(g, &a, &limits, now));
	assert_true(gate_register(g, &b, &limits, now));
	assert_false(gate_register(g, &a, &limits, now + 1799 * SECOND));
	assert_true(gate_register(g, &a, &limits, now + 1800 * SECOND));
	assert_false(gate_register(g, &a, &limits, now + 1801 * SECOND));
	assert_true(may_try(g, 1, now));
	for (unsigned i = 0; i < 3; i++) /* guests are another matter */
		assert_true(gate_guest(g, &a, &limits, now));
	assert_false(gate_guest(g, &a, &limits, now + 1199 * SECOND));
	assert_true(gate_guest(g, &b, &limits, now));
	assert_true(gate_guest(g, &a, &limits, now + 1200 * SECOND));
	gate_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connections),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_failures_of_an_address),
		cmocka_unit_test(test_rate_is_exact),
		cmocka_unit_test(test_failures_of_an_account),
		cmocka_unit_test(test_known_where_others_fail),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_registrations),
	};

	hash_seed(true);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
