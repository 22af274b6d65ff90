/* test_blocks.c - which addresses a block list covers (XEP-0191 section 6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "blocks.h"

static struct jid *jid_of(const char *s)
{
	struct jid *j = jid_parse(s, strlen(s));
	assert_non_null(j);
	return j;
}

static void add(struct blocks *b, const char *s)
{
	struct jid *j = jid_of(s);
	blocks_add(b, j);
	jid_unref(j);
}

static bool covers(const struct blocks *b, const char *s)
{
	struct jid *j = jid_of(s);
	bool yes = blocks_cover(b, j);
	jid_unref(j);
	return yes;
}

static void test_full(void **state)
{
	(void)state;
	struct blocks b = { 0 };
	assert_false(covers(&b, "iago@venice.example"));
	add(&b, "iago@venice.example/camp");
	assert_true(covers(&b, "iago@venice.example/camp"));
	assert_false(covers(&b, "iago@venice.example/ship"));
	assert_false(covers(&b, "iago@venice.example"));
	assert_false(covers(&b, "venice.example"));
	blocks_free(&b);
}

static void test_bare(void **state)
{
	(void)state;
	struct blocks b = { 0 };
	add(&b, "iago@venice.example");
	assert_true(covers(&b, "iago@venice.example"));
	assert_true(covers(&b, "iago@venice.example/ship"));
	assert_false(covers(&b, "othello@venice.example"));
	assert_false(covers(&b, "iago@cyprus.example"));
	assert_false(covers(&b, "venice.example/iago"));
	blocks_free(&b);
}

static void test_domain(void **state)
{
	(void)state;
	struct blocks b = { 0 };
	add(&b, "venice.example");
	assert_true(covers(&b, "venice.example"));
	assert_true(covers(&b, "venice.example/gate"));
	assert_true(covers(&b, "iago@venice.example"));
	assert_true(covers(&b, "iago@venice.example/ship"));
	assert_false(covers(&b, "iago@in.venice.example"));
	blocks_free(&b);
	add(&b, "venice.example/gate");
	assert_true(covers(&b, "venice.example/gate"));
	assert_false(covers(&b, "venice.example"));
	assert_false(covers(&b, "iago@venice.example/gate"));
	blocks_free(&b);
}

static void test_table(void **state)
{
	(void)state;
	struct blocks b = { 0 };
	struct jid *j = jid_of("iago@venice.example");
	for (unsigned i = 0; i < 100; i++) {
		char text[40];
		snprintf(text, sizeof text, "u%u@venice.example", i);
		add(&b, text);
		add(&b, text);
	}
	assert_int_equal(b.items.count, 100);
	assert_null(blocks_find(&b, j));
	blocks_add(&b, j);
	blocks_remove(&b, blocks_find(&b, j));
	assert_false(blocks_cover(&b, j));
	assert_int_equal(b.items.count, 100);
	jid_unref(j);
	blocks_free(&b);
	assert_int_equal(b.items.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_bare),
		cmocka_unit_test(test_domain),
		cmocka_unit_test(test_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
