/* test_mem.c - arenas, growing strings, and the end of a process that has a bug. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdalign.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem.h"

static void test_strings(void **state)
{
	(void)state;
	char *s = mem_strndup("romeo@example.org", 5);
	assert_string_equal(s, "romeo");
	mem_free(s);
	s = mem_strndup("ab", 10);
	assert_string_equal(s, "ab");
	mem_free(s);
	s = mem_printf("%s/%d", "orchard", 7);
	assert_string_equal(s, "orchard/7");
	mem_free_secret(s, strlen(s));
	mem_free_secret(NULL, 5);
	mem_free(NULL);
	s = mem_zalloc(100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(s[i], 0);
	mem_free(s);
}

static void test_arena_is_empty_when_zeroed(void **state)
{
	(void)state;
	struct arena a = { 0 };
	assert_int_equal(arena_size(&a), 0);
	arena_free(&a);
	assert_non_null(arena_alloc(&a, 0));
	arena_free(&a);
	assert_null(a.chunks);
}

static void test_arena_aligns(void **state)
{
	(void)state;
	struct arena a = { 0 };
	for (size_t i = 1; i < 300; i++) {
		char *s =
		    arena_strndup(&a, "some text of an odd length that is not aligned at all", i % 50);
		assert_int_equal(strlen(s), i % 50);
		void *p = arena_zalloc(&a, i);
		assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
		memset(p, 0xee, i);
	}
	arena_free(&a);
}

static void test_arena_grows(void **state)
{
	(void)state;
	struct arena a = { 0 };
	arena_alloc(&a, 400);
	size_t one = arena_size(&a);
	arena_alloc(&a, 100);
	assert_int_equal(arena_size(&a), one); /* both fit into the first chunk */
	arena_alloc(&a, 100);
	assert_true(arena_size(&a) >= one + 2 * ARENA_FIRST);
	arena_free(&a);
}

static void test_arena_big_piece_wastes_nothing(void **state)
{
	(void)state;
	struct arena a = { 0 };
	char *small = arena_strdup(&a, "small");
	char *big = arena_alloc(&a, 1000000);
	memset(big, 'x', 1000000);
	size_t size = arena_size(&a);
	assert_true(size < 1000000 + 2 * ARENA_FIRST);
	char *next = arena_strdup(&a, "next");
	assert_ptr_equal(next, small + 6); /* the newest chunk is still in use */
	assert_int_equal(arena_size(&a), size);
	assert_string_equal(small, "small");
	arena_free(&a);
}

static void test_arena_printf(void **state)
{
	(void)state;
	struct arena a = { 0 };
	assert_string_equal(arena_printf(&a, "%05d %s", 42, "x"), "00042 x");
	char *longer = arena_printf(&a, "%2000d", 1);
	assert_int_equal(strlen(longer), 2000);
	arena_free(&a);
}

static void test_buffer(void **state)
{
	(void)state;
	struct buffer b = { 0 };
	buffer_add(&b, NULL, 0);
	assert_string_equal(b.data, "");
	for (int i = 0; i < 1000; i++)
		buffer_addf(&b, "%d,", i % 10);
	assert_int_equal(b.len, 2000);
	assert_int_equal(strlen(b.data), 2000);
	assert_true(b.cap <= 4096);
	buffer_adds(&b, "end");
	assert_string_equal(b.data + 2000, "end");
	memcpy(buffer_reserve(&b, 3), "abc", 4);
	b.len += 3;
	assert_string_equal(b.data + 2000, "endabc");
	buffer_free(&b);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
}

/* Runs `fn` in a child and says which signal ended it. */
static int signal_of(void (*fn)(void))
{
	pid_t child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		fn();
		_exit(0);
	}
	int status = 0;
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void fail_assert(void)
{
	ASSERT(1 + 1 == 3);
}

static void overflow_buffer(void)
{
	struct buffer b = { 0 };
	buffer_add(&b, "x", 1);
	buffer_reserve(&b, SIZE_MAX);
}

static void overflow_arena(void)
{
	struct arena a = { 0 };
	arena_strdup(&a, "x");
	arena_alloc(&a, SIZE_MAX - 8);
}

static void test_bugs_end_the_process(void **state)
{
	(void)state;
	assert_int_equal(signal_of(fail_assert), SIGABRT);
	assert_int_equal(signal_of(overflow_buffer), SIGABRT);
	assert_int_equal(signal_of(overflow_arena), SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_arena_is_empty_when_zeroed),
		cmocka_unit_test(test_arena_aligns),
		cmocka_unit_test(test_arena_grows),
		cmocka_unit_test(test_arena_big_piece_wastes_nothing),
		cmocka_unit_test(test_arena_printf),
		cmocka_unit_test(test_buffer),
		cmocka_unit_test(test_bugs_end_the_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
