/* test_hook.c - loading the real modules of this build, and what is said about those that cannot
 * be loaded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf.h"
#include "hash.h"
#include "hook.h"

#define ALL(X) X(ping) X(disco) X(roster) X(subscription) X(presence) X(message) X(record) X(session)
#define CONF(name_) { .name = #name_, .place = "muster.conf:" #name_ },

static char *module_dir(void)
{
	const char *build = getenv("MUSTER_BUILD");

	return mem_printf("%s/modules", build ? build : ".");
}

static struct hooks *load(const struct module_conf *modules, unsigned count, char **errors)
{
	char *dir = module_dir();
	struct hooks *h = hooks_load(dir, modules, count, errors);

	mem_free(dir);
	return h;
}

static void test_all(void **state)
{
	static const struct module_conf all[] = { ALL(CONF) };
	char *errors = NULL;
	struct hooks *h = load(all, COUNT_OF(all), &errors);
	const struct hook_entry *ping;

	(void)state;
	if (!h)
		fail_msg("%s", errors);
	assert_null(errors);
	assert_int_equal(h->module_count, COUNT_OF(all));
	for (unsigned i = 0; i < h->module_count; i++)
		assert_string_equal(h->modules[i]->name, all[i].name);
	ping = hooks_find_iq(h, IQ_GET, "urn:xmpp:ping", "ping", HOME_HOST);
	assert_non_null(ping);
	assert_string_equal(h->modules[ping->module]->name, "ping");
	assert_null(hooks_find_iq(h, IQ_SET, "urn:xmpp:ping", "ping", HOME_HOST));
	assert_null(hooks_find_iq(h, IQ_GET, "urn:xmpp:ping", "pong", HOME_HOST));
	assert_null(hooks_find_iq(h, IQ_GET, NULL, "ping", HOME_HOST));
	assert_null(hooks_find_iq(h, IQ_GET, "urn:xmpp:ping", "ping", HOME_REMOTE));
	hooks_free(h);
}

/* Every list of a pass is in the order of the stages; one stage's hooks in the order of the modules. */
static void test_order(void **state)
{
	static const struct module_conf all[] = { ALL(CONF) };
	char *errors = NULL;
	struct hooks *h = load(all, COUNT_OF(all), &errors);
	unsigned found = 0;

	(void)state;
	assert_non_null(h);
	for (unsigned i = 0; i < HOME_KINDS * 2 * STANZA_KINDS; i++) {
		const struct hook_list *l = &h->stages[i / 6][i / 3 % 2][i % 3];

		for (unsigned at = 1; at < l->count; at++) {
			const struct hook_entry *a = &l->entries[at - 1], *b = &l->entries[at];

			assert_true(a->hook->stage < b->hook->stage ||
			            (a->hook->stage == b->hook->stage && a->module <= b->module));
		}
		found += l->count;
	}
	assert_true(found > COUNT_OF(all) / 2);
	hooks_free(h);
}

/* All mistakes in one run, each with its place in the file. */
static void test_missing(void **state)
{
	static const struct module_conf some[] = { { .name = "nonsense", .place = "muster.conf:3:5" },
		                                   { .name = "ping", .place = "muster.conf:4:5" },
		                                   { .name = "carbons", .place = "more.conf:1:1" } };
	char *errors = NULL;

	(void)state;
	assert_null(load(some, COUNT_OF(some), &errors));
	assert_non_null(strstr(errors, "muster.conf:3:5: module 'nonsense' cannot be loaded: "));
	assert_non_null(strstr(errors, "\nmore.conf:1:1: module 'carbons' cannot be loaded: "));
	assert_null(strstr(errors, "4:5"));
	mem_free(errors);
}

/* The same module twice: both answer the same IQ. (The configuration refuses that before.) */
static void test_conflict(void **state)
{
	static const struct module_conf twice[] = { { .name = "ping", .place = "muster.conf:3:5" },
		                                    { .name = "ping", .place = "muster.conf:4:5" } };
	char *errors = NULL;

	(void)state;
	assert_null(load(twice, COUNT_OF(twice), &errors));
	assert_non_null(
	    strstr(errors, "muster.conf:4:5: module 'ping' answers {urn:xmpp:ping}ping, as module 'ping' "
	                   "does: load one of them\n"));
	mem_free(errors);
}

/* A real module under another name is none of that name. */
static void test_wrong_name(void **state)
{
	static const struct module_conf other[] = { { .name = "other", .place = "muster.conf:3:5" } };
	char dir[] = "/tmp/muster-hook-XXXXXX", *build = module_dir(), *from, *to, *errors = NULL;
	char *real;

	(void)state;
	assert_non_null(mkdtemp(dir));
	from = mem_printf("%s/ping.so", build);
	real = realpath(from, NULL);
	assert_non_null(real);
	to = mem_printf("%s/other.so", dir);
	assert_int_equal(symlink(real, to), 0);
	assert_null(hooks_load(dir, other, 1, &errors));
	assert_non_null(strstr(errors, "muster.conf:3:5: module 'other' is not in "));
	assert_non_null(strstr(errors, "'mod_other'"));
	unlink(to);
	rmdir(dir);
	free(real);
	mem_free(errors);
	mem_free(from);
	mem_free(to);
	mem_free(build);
}

static void test_none(void **state)
{
	char *errors = NULL;
	struct hooks *h = load(NULL, 0, &errors);

	(void)state;
	assert_non_null(h);
	assert_int_equal(h->module_count, 0);
	assert_null(hooks_find_iq(h, IQ_GET, "urn:xmpp:ping", "ping", HOME_HOST));
	hooks_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),        cmocka_unit_test(test_order),
		cmocka_unit_test(test_missing),    cmocka_unit_test(test_conflict),
		cmocka_unit_test(test_wrong_name), cmocka_unit_test(test_none),
	};

	hash_seed(true);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
