/* test_text.c - what people write made comparable, digests, and base64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base64.h"
#include "digest.h"
#include "stamp.h"
#include "text.h"
#include "words.h"

static void test_fold(void **state)
{
	static const struct {
		const char *text, *folded;
	} cases[] = {
		{ "", "" },
		{ "Juliet Capulet", "juliet capulet" },
		{ "STRASSE", "strasse" },
		{ "Stra\303\237e", "strasse" },             /* sharp s */
		{ "\303\211mile", "\303\251mile" },         /* E with acute, composed */
		{ "E\314\201mile", "\303\251mile" },        /* and not */
		{ "\357\274\241\357\274\242", "ab" },       /* fullwidth letters */
		{ "\316\243\316\241", "\317\203\317\201" }, /* Greek */
		{ "\347\216\213", "\347\216\213" },         /* a sign without case */
		{ "no \377 UTF-8", "" },
	};
	struct arena a = { 0 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_string_equal(text_fold(&a, cases[i].text), cases[i].folded);
	arena_free(&a);
}

/* RFC 3174 section 7.3, and nothing at all. */
static void test_sha1(void **state)
{
	unsigned char digest[DIGEST_SHA1];
	struct arena a = { 0 };

	(void)state;
	digest_sha1("abc", 3, digest);
	assert_string_equal(digest_hex(&a, digest, sizeof digest),
	                    "a9993e364706816aba3e25717850c26c9cd0d89d");
	digest_sha1("", 0, digest);
	assert_string_equal(digest_hex(&a, digest, sizeof digest),
	                    "da39a3ee5e6b4b0d3255bfef95601890afd80709");
	assert_string_equal(digest_hex(&a, digest, 0), "");
	arena_free(&a);
}

static void test_wrap(void **state)
{
	struct buffer b = { 0 };
	char word[151];

	(void)state;
	text_wrap(&b, "", "> ");
	assert_int_equal(b.len, 0);
	text_wrap(&b, " two  words ", "> ");
	assert_string_equal(b.data, "two words");
	buffer_adds(&b, "\nand: ");
	memset(word, 'x', sizeof word - 1);
	word[sizeof word - 1] = '\0';
	text_wrap(&b, word, "> "); /* longer than any line: stands alone */
	text_wrap(&b, "more", "> ");
	assert_int_equal(strlen(b.data), strlen("two words\nand: \n> \n> more") + 150);
	assert_string_equal(b.data + b.len - strlen("x\n> more"), "x\n> more");
	b.len = 0;
	for (unsigned i = 0; i < 200; i++)
		text_wrap(&b, "four", "    ");
	for (const char *line = b.data; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		assert_true(strcspn(line, "\n") <= 108);
	buffer_free(&b);
}

static void test_words(void **state)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{ "", "" },
		{ " \n?!", "" },
		{ "But, soft! what LIGHT", " but soft what light" },
		{ "x_y o'Brien 100%", " x y o brien 100" },
		{ "Stra\xc3\x9f"
		  "en und F\xc3\x9cRCHTERLICH",
		  " strassen und f\xc3\xbcrchterlich" },
		{ "abc\xc3\xa9 def", " abc\xc3\xa9 def" },
		{ "\xe6\x9d\xb1\xe4\xba\xacx", " \xe6\x9d\xb1 \xe4\xba\xac x" },
		{ "\xf0\x9f\x98\x80 smile \xf0\x9f\x98\x80", " smile" },
	};
	struct buffer b = { 0 };
	char *many = mem_alloc(100000);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		unsigned count = 0;

		b.len = 0;
		words_add(&b, cases[i].text, &count);
		buffer_add(&b, "", 1);
		assert_string_equal(b.data, cases[i].words);
	}
	for (unsigned i = 0; i < 49999; i++)
		memcpy(many + 2 * i, "w ", 2);
	many[99998] = '\0';
	for (unsigned round = 0; round < 2; round++) { /* in ASCII, and not */
		unsigned count = 0;

		b.len = 0;
		words_add(&b, many, &count);
		assert_int_equal(count, MESSAGE_WORDS_MAX);
		assert_int_equal(b.len, 2 * MESSAGE_WORDS_MAX + round);
		memcpy(many, "\xc3\xa4", 2);
		memcpy(many + 2, " ", 1);
	}
	memset(many, 'x', 99998);
	b.len = 0;
	words_add(&b, many, &(unsigned){ 0 });
	assert_int_equal(b.len, 0); /* too long for a word */
	buffer_free(&b);
	mem_free(many);
}

static void test_stamp(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} good[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "1969-07-21T02:56:15Z", -14159025000000 }, /* XEP-0082 section 4 */
		{ "1969-07-20T21:56:15-05:00", -14159025000000 },
		{ "2026-11-22T10:36:20.5Z", 1795343780500000 },
		{ "2026-11-22T10:36:20.123456789+00:00", 1795343780123456 },
		{ "9999-12-31T23:59:59Z", 253402300799000000 },
	};
	static const char *const bad[] = {
		"",
		"yesterday",
		"2026-11-22",
		"2026-11-22T10:36:20",
		"2026-11-22T10:36Z",
		"2026-13-22T10:36:20Z",
		"2026-00-22T10:36:20Z",
		"2026-11-00T10:36:20Z",
		"2026-11-22T24:36:20Z",
		"2026-11-22T10:36:20.Z",
		"2026-11-22T10:36:20ZZ",
		"2026-11-22T10:36:20+5:00",
		"2026-11-22T10:36:20+0500",
		"12026-11-22T10:36:20Z",
		" 2026-11-22T10:36:20Z",
	};
	char out[STAMP_SIZE];
	int64_t us;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_true(stamp_read(good[i].text, &us));
		assert_int_equal(us, good[i].us);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (stamp_read(bad[i], &us))
			fail_msg("took \"%s\"", bad[i]);
	assert_string_equal(stamp_write(1795343780123456, out), "2026-11-22T10:36:20.123Z");
	assert_string_equal(stamp_write(0, out), "1970-01-01T00:00:00.000Z");
	assert_int_equal(stamp_month(0), 0);
	assert_int_equal(stamp_month(1795343780123456), 56 * 12 + 10);
	assert_int_equal(stamp_month(-1), 0);
	assert_int_equal(stamp_month(INT64_MAX), STAMP_MONTHS - 1);
}

static void test_base64_is_strict(void **state)
{
	static const char *const bad[] = {
		"A",     "AA",   "AAA",    "A===", "====", "AA=A", "AAAA=", "AA==AAAA", "AB==",    "AAB=",
		"AAA\n", " AAA", "AAAA\n", "AA-A", "AA_A", "=AAA", "A=AA",  "AAA\xc3",  "AAAAA==="
	};
	char out[16];
	size_t n;
	struct arena a = { 0 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (base64_decode(bad[i], strlen(bad[i]), out, sizeof out, &n))
			fail_msg("took \"%s\"", bad[i]);
	assert_true(base64_decode("", 0, out, sizeof out, &n));
	assert_int_equal(n, 0);
	assert_true(base64_decode("Zg==", 4, out, 1, &n));
	assert_int_equal(n, 1);
	assert_memory_equal(out, "f", 1);
	assert_true(base64_decode("Zm9vYmFy", 8, out, 6, &n));
	assert_memory_equal(out, "foobar", 6);
	assert_false(base64_decode("Zm9vYmFy", 8, out, 5, &n));
	assert_true(base64_decode("+/+/", 4, out, 3, &n));
	assert_memory_equal(out, "\xfb\xff\xbf", 3);
	assert_string_equal(base64_encode(&a, "foob", 4), "Zm9vYg==");
	assert_string_equal(base64_encode(&a, "", 0), "");
	arena_free(&a);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fold),  cmocka_unit_test(test_sha1),
		cmocka_unit_test(test_wrap),  cmocka_unit_test(test_words),
		cmocka_unit_test(test_stamp), cmocka_unit_test(test_base64_is_strict)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
