/* test_network.c - server/network.c and proxy.c: addresses, lists of networks, and the header of the PROXY
 * protocol whole, in pieces, and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "proxy.h"
#include "mem.h"

static struct network_address address(const char *text)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct network_address a;
	bool is_v4 = inet_pton(AF_INET, text, &v4.sin_addr) == 1;

	assert_true(is_v4 || inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
	assert_true(network_of(is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, &a));
	return a;
}

/* ---- addresses */

static void expect_shown(struct network_address a, const char *text)
{
	char shown[NETWORK_TEXT];

	network_show(&a, shown);
	assert_string_equal(shown, text);
}

static void test_addresses(void **state)
{
	struct network_address v4 = address("192.0.2.7"), mapped = address("::ffff:192.0.2.7"), none;
	struct sockaddr local = { .sa_family = AF_UNIX };

	(void)state;
	assert_memory_equal(&v4, &mapped, sizeof v4);
	expect_shown(mapped, "192.0.2.7");
	expect_shown(address("2001:db8::1"), "2001:db8::1");
	assert_false(network_of(&local, &none));
	expect_shown(none, "::");
	/* An IPv4 address is counted whole, IPv6 by its network of 64 bits. */
	expect_shown(network_counted(&v4), "192.0.2.7");
	v4 = address("2001:db8:1:2:3:4:5:6");
	expect_shown(network_counted(&v4), "2001:db8:1:2::");
}

static void test_lists(void **state)
{
	static const char list[] = "10.0.0.0/8, 192.0.2.1 2001:db8:ff00::/40\t::1";
	static const char *const in[] = { "10.255.0.1", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8:ffab::1",
		                          "::1" };
	static const char *const out[] = { "11.0.0.1", "192.0.2.2", "2001:db8:feff::", "::2", "::" };
	static const char *const bad[] = {
		"10.0.0.0/33",  "10.0.0.0/",
		"10.0.0/8",     "::1/129",
		"localhost",    "1.2.3.4/8x",
		"10.0.0.0/8 x", "/8",
		"1.2.3.4/-1",   "2001:0db8:0000:0000:0000:0000:0000:0001:2001:0db8:0000:0000"
	};

	(void)state;
	assert_true(network_list_is_valid(list));
	assert_true(network_list_is_valid("0.0.0.0/0"));
	assert_true(network_list_is_valid(""));
	for (unsigned i = 0; i < COUNT_OF(in); i++) {
		struct network_address a = address(in[i]);
		assert_true(network_list_has(list, &a));
	}
	for (unsigned i = 0; i < COUNT_OF(out); i++) {
		struct network_address a = address(out[i]);
		assert_false(network_list_has(list, &a));
		assert_int_equal(network_list_has("0.0.0.0/0", &a), !strchr(out[i], ':'));
		assert_true(network_list_has("::/0", &a));
	}
	for (unsigned i = 0; i < COUNT_OF(bad); i++)
		if (network_list_is_valid(bad[i]))
			fail_msg("took \"%s\"", bad[i]);
}

/* ---- the header */

/* Of n bytes; every shorter beginning asks for more, and what follows is left alone. */
static struct proxy_header expect_header(const char *bytes, size_t n)
{
	struct proxy_header h;
	struct buffer b = { 0 };

	for (size_t i = 0; i < n; i++)
		assert_int_equal(proxy_parse(bytes, i, &h), PROXY_MORE);
	assert_int_equal(proxy_parse(bytes, n, &h), PROXY_DONE);
	assert_int_equal(h.size, n);
	buffer_add(&b, bytes, n);
	buffer_adds(&b, "<stream\r\n");
	assert_int_equal(proxy_parse(b.data, b.len, &h), PROXY_DONE);
	assert_int_equal(h.size, n);
	buffer_free(&b);
	return h;
}

static void test_version_1(void **state)
{
	static const char v4[] = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
	static const char longest[] = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
				      "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n";
	static const char unknown[] = "PROXY UNKNOWN\r\n";
	static const char unknown_long[] = "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n";
	struct proxy_header h = expect_header(v4, sizeof v4 - 1);

	(void)state;
	assert_true(h.has_address);
	expect_shown(h.address, "192.0.2.7");
	h = expect_header(longest, sizeof longest - 1);
	expect_shown(h.address, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	assert_false(expect_header(unknown, sizeof unknown - 1).has_address);
	assert_false(expect_header(unknown_long, sizeof unknown_long - 1).has_address);
}

static void test_version_1_wrong(void **state)
{
	static const char *const bad[] = {
		"<?xml version='1.0'?>",
		"PROXX",
		"PROXY\r\n",
		"PROXY \r\n",
		"PROXY TCP4\r\n",
		"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
		"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
		"PROXY TCP4 ::1 ::1 1 2\r\n",
		"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3 1 2\r\n",
		"PROXY UNKNOWN "
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaa\r\n",
	};
	struct proxy_header h;

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(bad); i++)
		if (proxy_parse(bad[i], strlen(bad[i]), &h) != PROXY_BAD)
			fail_msg("took \"%s\"", bad[i]);
	assert_int_equal(proxy_parse("PROXY TCP4 \0", 12, &h), PROXY_BAD);
	assert_int_equal(proxy_parse("\x16\x03\x01", 3, &h), PROXY_BAD); /* TLS */
}

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static void test_version_2(void **state)
{
	static const char v4[] = V2 "\x21\x11\0\x0c"
				    "\xc0\0\2\7"
				    "\xc6\x33\x64\1"
				    "\xdc\4\1\xbb";
	static const char v6[] = V2 "\x21\x21\0\x24"
				    "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7"
				    "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
				    "\xdc\4\1\xbb";
	static const char more[] = V2 "\x21\x11\0\x0f"
				      "\xc0\0\2\7"
				      "\xc6\x33\x64\1"
				      "\xdc\4\1\xbb"
				      "\4\0\0";
	static const char local[] = V2 "\x20\0\0\0";
	static const char unspecified[] = V2 "\x21\0\0\3xyz";
	struct proxy_header h = expect_header(v4, sizeof v4 - 1);

	(void)state;
	expect_shown(h.address, "192.0.2.7");
	h = expect_header(v6, sizeof v6 - 1);
	expect_shown(h.address, "2001:db8::7");
	h = expect_header(more, sizeof more - 1);
	expect_shown(h.address, "192.0.2.7");
	assert_false(expect_header(local, sizeof local - 1).has_address);
	assert_false(expect_header(unspecified, sizeof unspecified - 1).has_address);
}

static void test_version_2_wrong(void **state)
{
	static const char *const heads[] = {
		"\x31\x11\0\x0c",                     /* version 3 */
		"\x22\x11\0\x0c",                     /* neither LOCAL nor PROXY */
		"\x21\x12\0\x0c",                     /* UDP */
		"\x21\x31\0\x0c",                     /* Unix */
		"\x21\x11\0\x0b",                     /* too short for its addresses */
		"\x21\x21\0\x23", "\x21\x11\x0f\xf1", /* longer than any that is taken */
	};
	char bytes[64] = V2;
	struct proxy_header h;

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(heads); i++) {
		memcpy(bytes + 12, heads[i], 4);
		assert_int_equal(proxy_parse(bytes, sizeof bytes, &h), PROXY_BAD);
	}
	memcpy(bytes + 12, "\x21\x11\x0f\xf0", 4);
	assert_int_equal(proxy_parse(bytes, sizeof bytes, &h), PROXY_MORE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_lists),
		cmocka_unit_test(test_version_1), cmocka_unit_test(test_version_1_wrong),
		cmocka_unit_test(test_version_2), cmocka_unit_test(test_version_2_wrong),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
