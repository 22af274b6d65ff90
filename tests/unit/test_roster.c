/* test_roster.c - the contact list and the text of its groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "group.h"
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

/* ---- administrators' groups */

static struct contact_group *group_of(int64_t id, uint64_t version, unsigned views, const char *a,
                                      const char *b, const struct contact_group *was)
{
	struct group_member members[] = { { jid_of(a), "A" }, { jid_of(b), NULL } };
	return group_new(id, version, "x.example", "g", "The Group", members, 2, views, was);
}

/* Takes the set over. */
static struct regrouped *see(struct roster *r, struct groups *set, unsigned *count)
{
	unsigned n;
	struct seen_group *seen = groups_sources(set, r->own, &n);
	groups_unref(set);
	return roster_regroup(r, seen, n, count);
}

static void changes_free(struct regrouped *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		jid_unref(list[i].jid);
	mem_free(list);
}

static void test_group_items(void **state)
{
	(void)state;
	struct roster r = { .own = jid_of("me@x.example"), .bound = 1 };
	struct jid *ada = jid_of("ada@x.example"), *bob = jid_of("bob@x.example");
	struct contact_group *one = group_of(1, 1, 0, "me@x.example", "ada@x.example", NULL), *two;
	struct contact_group **list = mem_alloc(sizeof *list);
	struct regrouped *changes;
	unsigned n;

	list[0] = group_ref(one);
	changes = see(&r, groups_new(1, list, 1, NULL, 0), &n);
	assert_int_equal(n, 1); /* not oneself */
	assert_true(jid_is(changes[0].jid, ada));
	assert_int_equal(changes[0].before, SUB_NONE);
	assert_int_equal(changes[0].after, SUB_BOTH);
	changes_free(changes, n);
	assert_null(roster_find(&r, r.own));
	assert_true(roster_sees_us(roster_find(&r, ada)));
	assert_string_equal(roster_title(&r, ada, 0), "The Group");
	assert_null(roster_title(&r, ada, 1));
	assert_false(roster_is_full(&r)); /* a group's contacts are not counted */

	/* The own item stands for both. */
	struct roster_item *own = roster_add(&r, ada);
	assert_ptr_equal(roster_find(&r, ada), own);
	assert_int_equal(own->given, SUB_BOTH);
	assert_true(roster_is_shown(own) && roster_sees_us(own) && roster_is_seen(own));
	assert_ptr_equal(roster_walk(&r, NULL), own);
	assert_null(roster_walk(&r, own));

	/* The next version: ada has gone, bob has come; nothing else is looked at. */
	two = group_of(1, 2, 0, "me@x.example", "bob@x.example", one);
	assert_int_equal(two->before, 1);
	assert_int_equal(two->changed_count, 2);
	list = mem_alloc(sizeof *list);
	list[0] = two;
	changes = see(&r, groups_new(2, list, 1, NULL, 0), &n);
	assert_int_equal(n, 2);
	assert_int_equal(changes[0].after, SUB_NONE);
	assert_int_equal(changes[1].after, SUB_BOTH);
	changes_free(changes, n);
	assert_false(roster_is_shown(own));
	assert_true(roster_sees_us(roster_find(&r, bob)));
	group_unref(one);
	roster_free(&r);
	jid_unref(ada);
	jid_unref(bob);
}

static void test_group_shows(void **state)
{
	(void)state;
	struct roster r = { .own = jid_of("me@x.example"), .bound = 1 };
	struct jid *ada = jid_of("ada@x.example");
	struct group_sight sight = { 1, 2 }, back = { 2, 1 };
	struct contact_group **list = mem_alloc(2 * sizeof *list);
	unsigned n;

	list[0] = group_of(1, 1, SUB_FROM, "me@x.example", "me@x.example", NULL);
	list[1] = group_of(2, 2, SUB_TO, "ada@x.example", "ada@x.example", NULL);
	struct regrouped *changes = see(&r, groups_new(2, list, 2, &sight, 1), &n);
	changes_free(changes, n);
	assert_true(roster_is_seen(roster_find(&r, ada)));
	assert_false(roster_sees_us(roster_find(&r, ada)));
	assert_true(roster_is_shown(roster_find(&r, ada)));

	list = mem_alloc(2 * sizeof *list); /* the other way round: no client sees it */
	list[0] = group_of(1, 3, SUB_TO, "me@x.example", "me@x.example", NULL);
	list[1] = group_of(2, 4, SUB_FROM, "ada@x.example", "ada@x.example", NULL);
	changes = see(&r, groups_new(4, list, 2, &back, 1), &n);
	changes_free(changes, n);
	assert_true(roster_sees_us(roster_find(&r, ada)));
	assert_false(roster_is_shown(roster_find(&r, ada)));
	assert_null(roster_title(&r, ada, 0));
	roster_free(&r);
	jid_unref(ada);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_group_items),  cmocka_unit_test(test_group_shows),
		cmocka_unit_test(test_items),        cmocka_unit_test(test_walk_and_free),
		cmocka_unit_test(test_subscription), cmocka_unit_test(test_groups),
		cmocka_unit_test(test_bad_groups),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
