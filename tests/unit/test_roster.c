/* test_roster.c - the contact list and the text of its groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "roster.h"
#include "stanza.h"

static struct jid *jid_of(const char *s)
{
	struct jid *j = jid_parse(s, strlen(s));
	assert_non_null(j);
	return j;
}

static void test_items(void **state)
{
	(void)state;
	struct roster r = { 0 };
	struct jid *full = jid_of("juliet@example.com/balcony"), *nurse = jid_of("nurse@example.com");
	assert_null(roster_find(&r, full));
	struct roster_item *i = roster_add(&r, full);
	assert_string_equal(i->jid->text, "juliet@example.com");
	assert_ptr_equal(roster_find(&r, full), i);
	assert_ptr_equal(roster_add(&r, full), i);
	assert_null(roster_find(&r, nurse));
	assert_int_equal(i->subscription, SUB_NONE);

	i->name = mem_strdup("Juliet");
	i->groups = roster_groups_parse("[\"Friends\"]");
	i->pending_in = true;
	i->request = stanza_seal(stanza_new(STANZA_PRESENCE, PRESENCE_SUBSCRIBE, NULL));
	struct roster_item *other = roster_add(&r, nurse);
	assert_ptr_not_equal(other, i);
	roster_remove(&r, i);
	assert_null(roster_find(&r, full));
	assert_ptr_equal(roster_find(&r, nurse), other);
	jid_unref(full);
	jid_unref(nurse);
	roster_free(&r);
	assert_null(roster_walk(&r, NULL));
}

static void test_walk_and_free(void **state)
{
	(void)state;
	struct roster r = { 0 };
	for (int n = 0; n < 200; n++) {
		char *address = mem_printf("contact%d@example.org", n);
		struct jid *j = jid_of(address);
		roster_add(&r, j)->name = address;
		jid_unref(j);
	}
	unsigned count = 0;
	for (struct roster_item *i = NULL; (i = roster_walk(&r, i));)
		count++;
	assert_int_equal(count, 200);
	roster_free(&r);
}

static void test_subscription(void **state)
{
	(void)state;
	assert_string_equal(roster_subscription_name(SUB_NONE), "none");
	assert_string_equal(roster_subscription_name(SUB_TO), "to");
	assert_string_equal(roster_subscription_name(SUB_FROM), "from");
	assert_string_equal(roster_subscription_name(SUB_TO | SUB_FROM), "both");
	struct roster_item i = { .subscription = SUB_FROM };
	assert_true(roster_sees_us(&i));
	assert_false(roster_is_seen(&i));
	assert_false(roster_sees_us(NULL));
}

static void test_groups(void **state)
{
	(void)state;
	char first[] = "Friends", second[] = "\xc3\x89quipe \"A\", \\";
	char *groups[] = { first, second, NULL };
	char *text = roster_groups_text(groups);
	char **again = roster_groups_parse(text);
	assert_string_equal(again[0], first);
	assert_string_equal(again[1], second);
	assert_null(again[2]);
	mem_free(again);
	mem_free(text);

	text = roster_groups_text(NULL);
	assert_string_equal(text, "[]");
	mem_free(text);
}

static void test_bad_groups(void **state)
{
	(void)state;
	static const char *const bad[] = { "",  "[]",    "{}",           "[1]",           "[\"a\", null]",
		                           "[", "\"a\"", "[\"a\"] tail", "[\"\\u0000\"]", "[[\"a\"]]" };
	assert_null(roster_groups_parse(NULL));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_null(roster_groups_parse(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_items),        cmocka_unit_test(test_walk_and_free),
		cmocka_unit_test(test_subscription), cmocka_unit_test(test_groups),
		cmocka_unit_test(test_bad_groups),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
