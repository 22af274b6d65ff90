/* test_hash.c - the keyed hash and the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "hash.h"

struct entry {
	struct hash_node node;
	unsigned number;
};

static struct entry *find(const struct hash *h, unsigned number)
{
	for (struct hash_node *n = hash_first(h, hash_bytes(&number, sizeof(number))); n;
	     n = hash_next(n)) {
		struct entry *e = CONTAINER_OF(n, struct entry, node);
		if (e->number == number)
			return e;
	}
	return NULL;
}

/* The low halves of SipHash-1-3 with a zero key: this test runs before hash_seed. */
static void test_known_values(void **state)
{
	(void)state;
	assert_int_equal(hash_bytes("hello", 5), 0xcb4e1f9e);
	assert_int_equal(hash_bytes("hello, world of keys", 20), 0x890a219c);
}

static void test_key_matters(void **state)
{
	(void)state;
	uint32_t plain = hash_bytes("romeo", 5);
	hash_seed(true);
	uint32_t fixed = hash_bytes("romeo", 5);
	assert_int_not_equal(plain, fixed);
	hash_seed(false);
	uint32_t random[4] = { hash_bytes("romeo", 5), hash_bytes("juliet", 6) };
	hash_seed(false);
	random[2] = hash_bytes("romeo", 5);
	random[3] = hash_bytes("juliet", 6);
	assert_memory_not_equal(random, random + 2, 2 * sizeof(random[0]));
	hash_seed(true);
	assert_int_equal(hash_bytes("romeo", 5), fixed);
}

static void test_empty(void **state)
{
	(void)state;
	struct hash h = { 0 };
	assert_null(hash_first(&h, 1));
	assert_null(hash_walk(&h, NULL));
	hash_free(&h);
}

#define ENTRIES 5000

static void test_add_find_remove(void **state)
{
	(void)state;
	struct hash h = { 0 };
	struct entry *entries = mem_zalloc(ENTRIES * sizeof(*entries));
	for (unsigned i = 0; i < ENTRIES; i++) {
		entries[i].number = i;
		hash_add(&h, &entries[i].node, hash_bytes(&i, sizeof(i)));
	}
	assert_int_equal(h.count, ENTRIES);
	assert_true(h.mask + 1 >= ENTRIES);
	for (unsigned i = 0; i < ENTRIES; i++)
		assert_ptr_equal(find(&h, i), &entries[i]);
	assert_null(find(&h, ENTRIES));

	for (unsigned i = 0; i < ENTRIES; i++)
		if (i % 100)
			hash_remove(&h, &entries[i].node);
	assert_int_equal(h.count, ENTRIES / 100);
	assert_true(h.mask < 1024); /* it shrank */
	for (unsigned i = 0; i < ENTRIES; i++)
		assert_ptr_equal(find(&h, i), i % 100 ? NULL : &entries[i]);
	for (unsigned i = 0; i < ENTRIES; i += 100)
		hash_remove(&h, &entries[i].node);
	assert_int_equal(h.mask + 1, 16);
	hash_free(&h);
	mem_free(entries);
}

static void test_same_hash(void **state)
{
	(void)state;
	struct hash h = { 0 };
	struct entry a = { .number = 1 }, b = { .number = 2 }, c = { .number = 3 };
	hash_add(&h, &a.node, 7);
	hash_add(&h, &c.node, 7 + 16); /* the same bucket, another hash */
	hash_add(&h, &b.node, 7);
	struct hash_node *first = hash_first(&h, 7);
	struct hash_node *second = hash_next(first);
	assert_true((first == &a.node && second == &b.node) || (first == &b.node && second == &a.node));
	assert_null(hash_next(second));
	hash_remove(&h, second);
	assert_ptr_equal(hash_first(&h, 7), first);
	assert_null(hash_next(first));
	hash_free(&h);
}

static void test_walk_sees_each_once(void **state)
{
	(void)state;
	struct hash h = { 0 };
	struct entry entries[100];
	unsigned char seen[COUNT_OF(entries)] = { 0 };
	for (unsigned i = 0; i < COUNT_OF(entries); i++) {
		entries[i].number = i;
		hash_add(&h, &entries[i].node, i % 30 * 1000);
	}
	for (struct hash_node *n = NULL; (n = hash_walk(&h, n));)
		seen[CONTAINER_OF(n, struct entry, node)->number]++;
	for (unsigned i = 0; i < COUNT_OF(entries); i++)
		assert_int_equal(seen[i], 1);
	hash_free(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_values), /* first: before any hash_seed */
		cmocka_unit_test(test_key_matters),         cmocka_unit_test(test_empty),
		cmocka_unit_test(test_add_find_remove),     cmocka_unit_test(test_same_hash),
		cmocka_unit_test(test_walk_sees_each_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
