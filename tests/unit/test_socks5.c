/* test_socks5.c - server/socks5.c: what clients of the relay say, whole, cut at every byte, and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "mem.h"
#include "socks5.h"

#define HASH "0123456789abcdef0123456789abcdef01234567"
#define REQUEST "\5\1\0\3\50" HASH "\0\0"

/* From a copy of just that many bytes, so that a sanitizer sees whoever reads on. */
static enum socks5_result greet(const char *data, size_t n, size_t *size)
{
	char *copy = mem_alloc(n ? n : 1);
	enum socks5_result result;

	memcpy(copy, data, n);
	result = socks5_greeting(copy, n, size);
	mem_free(copy);
	return result;
}

static enum socks5_result ask(const char *data, size_t n, char hash[SOCKS5_HASH + 1])
{
	char *copy = mem_alloc(n ? n : 1);
	enum socks5_result result;

	memcpy(copy, data, n);
	result = socks5_request(copy, n, hash);
	mem_free(copy);
	return result;
}

static void test_greeting(void **state)
{
	static const char greeting[] = "\5\3\1\2\0";
	char all[SOCKS5_GREETING_MAX + 1] = { 5, (char)255 };
	size_t size = 0;

	(void)state;
	for (size_t n = 0; n < 5; n++)
		assert_int_equal(greet(greeting, n, &size), SOCKS5_MORE);
	assert_int_equal(greet(greeting, 5, &size), SOCKS5_DONE);
	assert_int_equal(size, 5);
	assert_int_equal(greet("\5\1\0\5\1", 5, &size), SOCKS5_DONE); /* the request is there too */
	assert_int_equal(size, 3);
	assert_int_equal(greet("\5\2\1\2\0", 5, &size), SOCKS5_WRONG_METHOD); /* the 0 is not in it */
	assert_int_equal(greet("\5\0", 2, &size), SOCKS5_WRONG_METHOD);
	assert_int_equal(greet("\4\1", 2, &size), SOCKS5_WRONG);
	assert_int_equal(greet("G", 1, &size), SOCKS5_WRONG);
	assert_int_equal(greet(all, SOCKS5_GREETING_MAX - 1, &size), SOCKS5_MORE);
	assert_int_equal(greet(all, SOCKS5_GREETING_MAX, &size), SOCKS5_DONE);
	assert_int_equal(size, SOCKS5_GREETING_MAX);
	memset(all + 2, 2, 255);
	assert_int_equal(greet(all, SOCKS5_GREETING_MAX, &size), SOCKS5_WRONG_METHOD);
}

static void test_request(void **state)
{
	char hash[SOCKS5_HASH + 1], capitals[SOCKS5_REQUEST_SIZE];

	(void)state;
	for (size_t n = 0; n < SOCKS5_REQUEST_SIZE; n++)
		assert_int_equal(ask(REQUEST, n, hash), SOCKS5_MORE);
	assert_int_equal(ask(REQUEST "pipelined", SOCKS5_REQUEST_SIZE + 9, hash), SOCKS5_DONE);
	assert_string_equal(hash, HASH);
	memcpy(capitals, REQUEST, sizeof capitals);
	for (size_t i = 5; i < 45; i++)
		if (capitals[i] >= 'a')
			capitals[i] = (char)(capitals[i] - 'a' + 'A');
	capitals[46] = 80; /* the port plays no part */
	assert_int_equal(ask(capitals, sizeof capitals, hash), SOCKS5_DONE);
	assert_string_equal(hash, HASH);
}

/* Each byte that must be what it is, replaced by every other: refused as soon as it is there. */
static void test_wrong_request(void **state)
{
	static const enum socks5_result expected[] = { SOCKS5_WRONG, SOCKS5_WRONG_COMMAND, SOCKS5_WRONG,
		                                       SOCKS5_WRONG_TYPE, SOCKS5_WRONG_NAME };
	char hash[SOCKS5_HASH + 1], bytes[SOCKS5_REQUEST_SIZE];

	(void)state;
	for (size_t at = 0; at < sizeof bytes - 2; at++)
		for (int byte = 0; byte < 256; byte++) {
			enum socks5_result wanted = at < 5 ? expected[at] : SOCKS5_WRONG_NAME;
			bool is_digit = byte && strchr("0123456789abcdefABCDEF", byte);

			memcpy(bytes, REQUEST, sizeof bytes);
			if (at < 5 ? (char)byte == bytes[at] : is_digit)
				wanted = SOCKS5_DONE;
			bytes[at] = (char)byte;
			assert_int_equal(ask(bytes, sizeof bytes, hash), wanted);
			assert_int_equal(ask(bytes, at + 1, hash),
			                 wanted == SOCKS5_DONE ? SOCKS5_MORE : wanted);
		}
}

static void test_refusal(void **state)
{
	char answer[SOCKS5_REFUSAL_SIZE];

	(void)state;
	socks5_refuse(SOCKS5_TYPE_UNKNOWN, answer);
	assert_memory_equal(answer, "\5\10\0\1\0\0\0\0\0\0", sizeof answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greeting),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_wrong_request),
		cmocka_unit_test(test_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
