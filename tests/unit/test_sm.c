/* test_sm.c - the counts of stream management: what is handled, and what an acknowledgement means (XEP-0198 section
 * 4), also where they begin anew behind 2^32 - 1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sm.h"
#include "stanza.h"

/* ---- what has come */

static void test_in_order(void **state)
{
	(void)state;
	struct sm_in in = { 0 };
	assert_int_equal(sm_in_handled(&in, 100), 0);
	assert_true(sm_in_is_settled(&in));
	for (uint64_t n = 1; n <= 3; n++)
		assert_int_equal(sm_in_arrive(&in), n);
	sm_in_done(&in, 1, 0); /* writes nothing */
	sm_in_done(&in, 2, 7);
	sm_in_done(&in, 3, 8);
	assert_int_equal(in.done, 3);
	assert_int_equal(sm_in_handled(&in, 6), 1);
	assert_int_equal(sm_in_handled(&in, 7), 2);
	assert_false(sm_in_is_settled(&in));
	assert_int_equal(sm_in_handled(&in, 8), 3);
	assert_true(sm_in_is_settled(&in));
	mem_free(in.ring);
}

/* One that takes longer holds those behind it. */
static void test_out_of_order(void **state)
{
	(void)state;
	struct sm_in in = { 0 };
	for (unsigned i = 0; i < 4; i++)
		sm_in_arrive(&in);
	sm_in_done(&in, 4, 1);
	sm_in_done(&in, 2, 2);
	sm_in_done(&in, 3, 9);
	assert_int_equal(in.done, 0);
	assert_int_equal(sm_in_handled(&in, 100), 0);
	sm_in_done(&in, 1, 0);
	assert_int_equal(in.done, 4);
	assert_int_equal(sm_in_handled(&in, 2), 2); /* number 4 is committed, number 3 is not */
	assert_int_equal(sm_in_handled(&in, 9), 4);
	mem_free(in.ring);
}

/* What waits for its commit alone counts for the row, and not for the client; what comes before it is waited for. */
static void test_kept(void **state)
{
	(void)state;
	struct sm_in in = { 0 };
	for (unsigned i = 0; i < 5; i++)
		sm_in_arrive(&in);
	sm_in_kept(&in, 1);
	sm_in_kept(&in, 1); /* it may wait more than once */
	sm_in_done(&in, 2, 3);
	assert_int_equal(in.kept, 2);
	assert_int_equal(in.done, 0);
	sm_in_kept(&in, 4); /* number 3 is still held */
	assert_int_equal(in.kept, 2);
	assert_int_equal(sm_in_handled(&in, 100), 0);
	sm_in_done(&in, 1, 3);
	assert_int_equal(in.done, 2);
	assert_int_equal(sm_in_handled(&in, 2), 0);
	assert_int_equal(sm_in_handled(&in, 3), 2);
	sm_in_done(&in, 3, 0);
	assert_int_equal(in.kept, 4);
	assert_int_equal(in.done, 3);
	assert_int_equal(sm_in_handled(&in, UINT64_MAX - 1), 3);
	assert_false(sm_in_is_settled(&in));
	sm_in_done(&in, 4, 4);
	sm_in_done(&in, 5, 0);
	assert_int_equal(in.kept, 5);
	assert_int_equal(in.done, 5);
	assert_int_equal(sm_in_handled(&in, 4), 5);
	assert_true(sm_in_is_settled(&in));
	mem_free(in.ring);
}

/* The ring grows while something is in it, and goes when nothing is. */
static void test_ring(void **state)
{
	(void)state;
	struct sm_in in = { 0 };
	uint64_t done = 0;
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 37; i++)
			sm_in_arrive(&in);
		for (unsigned i = 0; i < 36; i++, done++)
			sm_in_done(&in, done + 1, done + 1);
		assert_int_equal(sm_in_handled(&in, done), done);
	}
	assert_int_equal(in.arrived - done, 50);
	assert_true(in.cap >= 64);
	for (; done < in.arrived; done++)
		sm_in_done(&in, done + 1, done + 1);
	assert_int_equal(sm_in_handled(&in, UINT64_MAX - 1), done);
	assert_null(in.ring);
	assert_int_equal(sm_in_arrive(&in), done + 1);
	sm_in_done(&in, done + 1, 0);
	assert_int_equal(sm_in_handled(&in, 0), done + 1);
	mem_free(in.ring);
}

/* ---- what was sent */

static void send_some(struct sm_out *out, unsigned count)
{
	struct stanza *st = stanza_seal(stanza_new(STANZA_MESSAGE, MESSAGE_CHAT, "m"));
	struct envelope e = { .stanza = st, .entry = 5, .count = 2 };

	for (unsigned i = 0; i < count; i++)
		sm_out_add(out, &e, 1000 + i);
	stanza_unref(st);
}

static void take_some(struct sm_out *out, unsigned count)
{
	while (count-- > 0) {
		struct unacked *u = sm_out_take(out);
		assert_non_null(u);
		unacked_free(u);
	}
}

static void test_out(void **state)
{
	(void)state;
	struct sm_out out = { 0 };
	assert_int_equal(sm_out_judge(&out, 0), SM_ACKS);
	assert_int_equal(sm_out_judge(&out, 1), SM_TOO_HIGH);
	send_some(&out, 5);
	assert_int_equal(sm_out_count(&out), 5);
	assert_int_equal(out.head->since, 1000);
	assert_int_equal(out.last->since, 1004);
	assert_int_equal(out.head->copies, 2);
	for (uint32_t h = 0; h <= 5; h++)
		assert_int_equal(sm_out_judge(&out, h), SM_ACKS);
	assert_int_equal(sm_out_judge(&out, 6), SM_TOO_HIGH);
	take_some(&out, 3);
	assert_int_equal(sm_out_judge(&out, 2), SM_GOES_BACK);
	assert_int_equal(sm_out_judge(&out, 3), SM_ACKS);
	assert_int_equal(sm_out_judge(&out, 6), SM_TOO_HIGH);
	take_some(&out, 2);
	assert_null(sm_out_take(&out));
	assert_null(out.last);
	assert_int_equal(out.bytes, 0);
	assert_int_equal(sm_out_judge(&out, 0), SM_GOES_BACK);
	assert_int_equal(sm_out_judge(&out, UINT32_MAX), SM_GOES_BACK);
}

static void test_wrap(void **state)
{
	(void)state;
	struct sm_out out = { .sent = UINT32_MAX - 1, .acked = UINT32_MAX - 1 };
	send_some(&out, 4);
	assert_int_equal(sm_out_judge(&out, UINT32_MAX - 2), SM_GOES_BACK);
	assert_int_equal(sm_out_judge(&out, UINT32_MAX), SM_ACKS);
	assert_int_equal(sm_out_judge(&out, 0), SM_ACKS);
	assert_int_equal(sm_out_judge(&out, 2), SM_ACKS);
	assert_int_equal(sm_out_judge(&out, 3), SM_TOO_HIGH);
	take_some(&out, 4);
	assert_int_equal((uint32_t)out.acked, 2);
	assert_int_equal(sm_out_judge(&out, UINT32_MAX), SM_GOES_BACK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order), cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_kept),     cmocka_unit_test(test_ring),
		cmocka_unit_test(test_out),      cmocka_unit_test(test_wrap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
