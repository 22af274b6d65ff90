/* test_jid.c - addresses: the examples of RFC 7622 and RFC 8265, and the traps around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "hash.h"
#include "jid.h"

/* `want` NULL: not valid. */
struct example {
	const char *given, *want;
};

/* RFC 7622 section 3.5, tables 1 and 2. Its "leading space in resourcepart" is valid: erratum 4560. */
static const struct example addresses[] = {
	{ "juliet@example.com", "juliet@example.com" },
	{ "juliet@example.com/foo", "juliet@example.com/foo" },
	{ "juliet@example.com/foo bar", "juliet@example.com/foo bar" },
	{ "juliet@example.com/foo@bar", "juliet@example.com/foo@bar" },
	{ "foo\\20bar@example.com", "foo\\20bar@example.com" },
	{ "fussball@example.com", "fussball@example.com" },
	{ "fu\u00dfball@example.com", "fu\u00dfball@example.com" },
	{ "\u03c0@example.com", "\u03c0@example.com" },
	{ "\u03a3@example.com/foo", "\u03c3@example.com/foo" },
	{ "\u03c3@example.com/foo", "\u03c3@example.com/foo" },
	{ "\u03c2@example.com/foo", "\u03c2@example.com/foo" },
	{ "king@example.com/\u265a", "king@example.com/\u265a" },
	{ "example.com", "example.com" },
	{ "example.com/foobar", "example.com/foobar" },
	{ "a.example.com/b@example.net", "a.example.com/b@example.net" },
	{ "\"juliet\"@example.com", NULL },
	{ "foo bar@example.com", NULL },
	{ "juliet@example.com/ foo", "juliet@example.com/ foo" },
	{ "@example.com/", NULL },
	{ "henry\u2163@example.com", NULL },
	{ "\u265a@example.com", NULL },
	{ "juliet@", NULL },
	{ "/foobar", NULL },
	/* our own */
	{ "Romeo@Example.ORG/Home", "romeo@example.org/Home" },
	{ "romeo@example.org./x", "romeo@example.org/x" },
	{ "romeo@example.org//", "romeo@example.org//" },
	{ "example.org/a@b/c", "example.org/a@b/c" },
	{ "", NULL },
	{ "@", NULL },
	{ "/", NULL },
	{ "@example.org", NULL },
	{ "romeo@example.org/", NULL },
	{ "example.org/", NULL },
	{ "a@b@example.org", NULL },
	{ "romeo@/x", NULL },
	{ "romeo@example.org/a\nb", NULL },
	{ "romeo@example.org/\x7f", NULL },
	{ "romeo@[::1]/x", "romeo@[::1]/x" },
	{ "a&b@example.org", NULL },
	{ "a'b@example.org", NULL },
	{ "a:b@example.org", NULL },
	{ "a<b@example.org", NULL },
	{ "a>b@example.org", NULL },
	{ "\xff@example.org", NULL },
	{ "a\xc3@example.org", NULL },
	{ "\xed\xa0\x80@example.org", NULL },
	{ "example.org/\xc0\x80", NULL },
};

/* RFC 8265 section 3.5: its examples of user names, legal ones and others. */
static const struct example usernames[] = {
	{ "juliet@example.com", NULL }, /* legal there, but no localpart: RFC 7622 section 3.3.1 */
	{ "fussball", "fussball" },
	{ "fu\u00dfball", "fu\u00dfball" },
	{ "\u03c0", "\u03c0" },
	{ "\u03a3", "\u03c3" },
	{ "\u03c3", "\u03c3" },
	{ "\u03c2", "\u03c2" },
	{ "foo bar", NULL },
	{ "", NULL },
	{ "henry\u2163", NULL },
	{ "\u265a", NULL },
	/* XEP-0106: an escaped localpart is a localpart like any other, and stays as it is. */
	{ "\\20space", "\\20space" },
	{ "d\\27artagnan", "d\\27artagnan" },
	{ "\\5c20", "\\5c20" },
	{ "c\\3A\\5Cnet", "c\\3a\\5cnet" },
	{ "\\", "\\" },
};

/* One for each category of RFC 8264 section 9, in the order of its table: the value that it derives to decides
 * whether a code point may stand in a localpart (IdentifierClass) and in a resource (FreeformClass). */
static const struct {
	const char *given;
	bool in_local, in_resource;
} categories[] = {
	{ "\u00e9", true, true },   /* 9.1 LetterDigits */
	{ "\u0937", true, true },   /* ... Lo */
	{ "\u0660", false, true },  /* 9.6 Exceptions, CONTEXTO: meets it, but not the Bidi Rule */
	{ "\u00df", true, true },   /* ... PVALID */
	{ "\u0640", false, false }, /* ... DISALLOWED */
	{ "\u302e", false, false }, /* ... DISALLOWED */
	{ "\u200d", false, false }, /* 9.8 JoinControl, alone */
	{ "\u1160", false, false }, /* 9.9 OldHangulJamo */
	{ "\u0378", false, false }, /* 9.10 Unassigned */
	{ "!", true, true },        /* 9.11 ASCII7 */
	{ "\x01", false, false },   /* 9.12 Controls */
	{ "\u00ad", false, false }, /* 9.13 PrecisIgnorableProperties */
	{ "\ufdd0", false, false }, /* ... Noncharacter_Code_Point */
	{ "\u2003", false, true },  /* 9.14 Spaces */
	{ "\u2665", false, true },  /* 9.15 Symbols */
	{ "\u20ac", false, true },  /* ... Sc */
	{ "\u00a1", false, true },  /* 9.16 Punctuation */
	{ "\u017f", false, true },  /* 9.17 HasCompat: long s */
	{ "\u2168", false, true },  /* ... and 9.18 OtherLetterDigits */
	{ "\u16ee", false, true },  /* 9.18, without compatibility equivalent */
	{ "\ue000", false, false }, /* private use */
	{ "\xf3\xa0\x84\x80", false, false }, /* variation selector 17 */
};

/* Accounts: what may be written to, and what may be registered. */
static const struct {
	const char *given;
	bool registrable;
} accounts[] = {
	{ "romeo@example.org", true },
	{ "ROMEO@example.org", true }, /* prepared, it is the line above */
	{ "\u00e9cole@example.org", true },
	{ "e\u0301cole@example.org", true },
	{ "\u03c3@example.org", true },
	{ "\u03c2@example.org", false },
	{ "fussball@example.org", true },
	{ "fu\u00dfball@example.org", false },
	{ "\u0149a@example.org", false },
	{ "\u0130@example.org", true }, /* prepared: i and a dot */
	{ "\u05d0\u05d1@example.org", true },
	{ "foo\\20bar@example.org", true },
	{ "\\20foo@example.org", false },
	{ "foo\\20@example.org", false },
	{ "\\20@example.org", false },
	{ "\\2@example.org", true },
	{ "example.org", false },
};

static const struct example localparts[] = {
	{ "\u00c9cole", "\u00e9cole" },
	{ "e\u0301cole", "\u00e9cole" },
	{ "\uff2a\uff35", "ju" },     /* fullwidth */
	{ "\uff20", NULL },           /* fullwidth @ */
	{ "a\uff1cb", NULL },         /* fullwidth < */
	{ "a\u3000b", NULL },         /* ideographic space */
	{ "\uff76\uff9e", "\u30ac" }, /* halfwidth katakana ka and voiced mark */
	{ "\u0130", "i\u0307" },      /* capital i with dot */
	{ "\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c2" }, /* final sigma */
	{ "\ufb01", NULL },                                         /* ligature fi */
	{ "\u212a", NULL },                                         /* Kelvin sign */
	{ "\U0001f600", NULL },                                     /* emoji */
	{ "a\u00adb", NULL },                                       /* soft hyphen */
	{ "a\u200bb", NULL },                                       /* zero width space */
	{ "a\u202eb", NULL },                                       /* right-to-left override */
	{ "\u0378", NULL },                                         /* unassigned */
	{ "\ue000", NULL },                                         /* private use */
	{ "\ufdd0", NULL },                                         /* noncharacter */
	{ "\u1100\u1161", NULL },                                   /* conjoining jamo */
	{ "\uac00", "\uac00" },
	/* contextual rules, RFC 5892 appendix A */
	{ "a\u200cb", NULL },
	{ "\u0628\u200c\u0628", "\u0628\u200c\u0628" },
	{ "\u0628\u064b\u200c\u064b\u0628", "\u0628\u064b\u200c\u064b\u0628" },
	{ "\u0915\u094d\u200c\u0937", "\u0915\u094d\u200c\u0937" },
	{ "\u0915\u094d\u200d\u0937", "\u0915\u094d\u200d\u0937" },
	{ "\u0915\u200d\u0937", NULL },
	{ "l\u00b7l", "l\u00b7l" },
	{ "L\u00b7L", "l\u00b7l" },
	{ "l\u00b7a", NULL },
	{ "\u0375\u03b1", "\u0375\u03b1" },
	{ "\u0375a", NULL },
	{ "\u05d0\u05f3", "\u05d0\u05f3" },
	{ "a\u05f3", NULL },
	{ "\u30fb\u4e00", "\u30fb\u4e00" },
	{ "\u30fba", NULL },
	{ "\u0627\u0661", "\u0627\u0661" },
	{ "\u0627\u0661\u06f1", NULL },
	/* the Bidi Rule, RFC 5893 section 2 */
	{ "\u05d0\u05d1", "\u05d0\u05d1" },
	{ "\u05d01", "\u05d01" },
	{ "1\u05d0", NULL },
	{ "a\u05d0", NULL },
	{ "\u05d0a", NULL },
	{ "\u05d0-", NULL },
	{ "\u05d0\u05b0", "\u05d0\u05b0" },
	{ "\u06271\u0661", NULL },
	{ "\u0661", NULL },
};

/* OpaqueString; the first four are RFC 8265 section 4.3. */
static const struct example passwords[] = {
	{ "correct horse battery staple", "correct horse battery staple" },
	{ "Correct Horse Battery Staple", "Correct Horse Battery Staple" },
	{ "\u03c0\u00df\u00e5", "\u03c0\u00df\u00e5" },
	{ "Jack of \u2666s", "Jack of \u2666s" },
	{ "foo\u1680bar", "foo bar" },
	{ "", NULL },
	{ "my cat is a \x09"
	  "by",
	  NULL },
	{ "a\u0301", "\u00e1" },
	{ "\uff21\ufb01\u2163", "\uff21\ufb01\u2163" },
	{ "\u05d0a", "\u05d0a" }, /* no Bidi Rule */
	{ "a\u200db", NULL },
	{ "a\u202eb", NULL },
	{ "\U0001f600", "\U0001f600" },
};

static const struct example domains[] = {
	{ "example.com.", "example.com" },
	{ "EXAMPLE.Com", "example.com" },
	{ "a..", NULL },
	{ ".", NULL },
	{ "a..b", NULL },
	{ ".a", NULL },
	{ "-a.com", NULL },
	{ "a-.com", NULL },
	{ "my_host", NULL },
	{ "ex ample.com", NULL },
	{ "a@b.com", NULL },
	{ "r3---sn.example", "r3---sn.example" },
	{ "127.0.0.1", "127.0.0.1" },
	{ "[::1]", "[::1]" },
	{ "[2001:DB8:0::0001]", "[2001:db8::1]" },
	{ "[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]" },
	{ "[::1", NULL },
	{ "[]", NULL },
	{ "[fe80::1%eth0]", NULL },
	{ "[127.0.0.1]", NULL },
	{ "[::1].example", NULL },
	{ "b\u00fccher.example", "b\u00fccher.example" },
	{ "B\u00dcCHER.example.", "b\u00fccher.example" },
	{ "bu\u0308cher.example", "b\u00fccher.example" },
	{ "xn--bcher-kva.example", "b\u00fccher.example" },
	{ "XN--BCHER-KVA.example", "b\u00fccher.example" },
	{ "stra\u00dfe.example", "stra\u00dfe.example" }, /* not transitional */
	{ "\u03c2.gr", "\u03c2.gr" },
	{ "\u65e5\u672c\u3002\uff2a\uff30", "\u65e5\u672c.jp" },
	{ "xn--abc-", NULL }, /* would be "abc" */
	{ "xn--", NULL },
	{ "xn--a", NULL },
	{ "xn--n3h.net", NULL },
	{ "\u2603.net", NULL },
	{ "\U0001f4a9.la", NULL },
	{ "\u00e9\uff0fb", NULL }, /* fullwidth solidus */
	{ "\u00e9@b", NULL },
	{ "\u00e9 b", NULL },
	{ "\u00e9..b", NULL },
	{ "\u0661a.com", NULL },
	{ "\u05d0\u05d1.com", "\u05d0\u05d1.com" },
	{ "\xff.com", NULL },
};

typedef bool prepare_fn(const char *s, size_t n, char *out);

/* What a preparation makes of an example, and that preparing it again changes nothing. */
static void check_all(const struct example *all, size_t count, prepare_fn *prepare)
{
	char out[JID_PART_MAX + 1], again[JID_PART_MAX + 1];
	for (size_t i = 0; i < count; i++) {
		const struct example *e = &all[i];
		bool valid = prepare(e->given, strlen(e->given), out);
		if (valid != (e->want != NULL) || (valid && strcmp(out, e->want) != 0))
			fail_msg("\"%s\" gives \"%s\"", e->given, valid ? out : "nothing");
		if (!valid)
			continue;
		assert_true(prepare(out, strlen(out), again));
		assert_string_equal(out, again);
	}
}

static bool prepare_address(const char *s, size_t n, char *out)
{
	struct jid *j = jid_parse(s, n);
	if (!j)
		return false;
	assert_int_equal(strlen(j->text), j->len);
	snprintf(out, JID_PART_MAX, "%s", j->text);
	jid_unref(j);
	return true;
}

static void test_addresses(void **state)
{
	(void)state;
	check_all(addresses, COUNT_OF(addresses), prepare_address);
}

static void test_localparts(void **state)
{
	(void)state;
	check_all(localparts, COUNT_OF(localparts), jid_prepare_local);
}

static void test_usernames(void **state)
{
	(void)state;
	check_all(usernames, COUNT_OF(usernames), jid_prepare_local);
}

static void test_categories(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(categories); i++) {
		const char *s = categories[i].given;
		char out[JID_PART_MAX + 1];
		if (jid_prepare_local(s, strlen(s), out) != categories[i].in_local ||
		    jid_prepare_resource(s, strlen(s), out) != categories[i].in_resource)
			fail_msg("category %zu: \"%s\"", i, s);
	}
}

static void test_accounts(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(accounts); i++) {
		struct jid *j = jid_parse(accounts[i].given, strlen(accounts[i].given));
		bool registrable = j && jid_is_registrable(j);
		jid_unref(j);
		if (registrable != accounts[i].registrable)
			fail_msg("\"%s\" is %sregistrable", accounts[i].given, registrable ? "" : "not ");
	}
}

static void test_passwords(void **state)
{
	(void)state;
	check_all(passwords, COUNT_OF(passwords), jid_prepare_password);
	check_all(passwords, COUNT_OF(passwords), jid_prepare_resource);
}

static void test_domains(void **state)
{
	(void)state;
	check_all(domains, COUNT_OF(domains), jid_prepare_domain);
}

static void test_ascii_localparts(void **state)
{
	(void)state;
	for (int c = 0; c < 0x80; c++) {
		char given = (char)c, out[JID_PART_MAX + 1];
		bool excluded = c <= ' ' || c == 0x7f || strchr("\"&'/:<>@", c);
		assert_int_equal(jid_prepare_local(&given, 1, out), !excluded);
		if (!excluded)
			assert_int_equal(out[0], c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
}

static void test_nul_is_no_end(void **state)
{
	(void)state;
	char out[JID_PART_MAX + 1];
	assert_false(jid_prepare_local("a\0b", 3, out));
	assert_false(jid_prepare_domain("a\0b", 3, out));
	assert_false(jid_prepare_domain("\xc3\xa9\0b", 4, out));
	assert_false(jid_prepare_domain("[::1\0]", 6, out));
	assert_false(jid_prepare_resource("a\0b", 3, out));
	assert_false(jid_prepare_password("\xc3\xa9\0b", 4, out));
}

static void test_bounds(void **state)
{
	(void)state;
	char part[JID_PART_MAX + 2], label[65], out[JID_PART_MAX + 1];
	memset(part, 'a', sizeof(part) - 1);
	part[JID_PART_MAX + 1] = '\0';
	assert_null(jid_make(part, "example.org", NULL));
	assert_null(jid_make("romeo", "example.org", part));
	assert_null(jid_make("romeo", part, NULL)); /* a label that long */
	part[JID_PART_MAX] = '\0';
	struct jid *j = jid_make(part, "example.org", part);
	assert_non_null(j);
	assert_int_equal(j->len, 2 * JID_PART_MAX + strlen("@example.org/"));
	assert_int_equal(j->local_len, JID_PART_MAX);
	jid_unref(j);

	/* 512 letters of two bytes are one byte too many. */
	for (int i = 0; i < 512; i++)
		memcpy(part + 2 * (i % 511), "\u00e9", 2);
	assert_true(jid_prepare_local(part, 1022, out));
	/* What grows beyond the bound while it is prepared: U+0130 becomes three bytes. */
	for (int i = 0; i < 511; i++)
		memcpy(part + 2 * i, "\u0130", 2);
	assert_false(jid_prepare_local(part, 1022, out));

	memset(label, 'a', 64);
	label[64] = '\0';
	assert_false(jid_prepare_domain(label, 64, out));
	assert_true(jid_prepare_domain(label, 63, out));

	/* 253 bytes in all, as the DNS counts them: without a final dot, and in A-labels, of 7 bytes here. */
	for (int i = 0; i < 127; i++)
		memcpy(part + 2 * i, "a.", 2);
	assert_true(jid_prepare_domain(part, 253, out) && jid_prepare_domain(part, 254, out));
	assert_int_equal(strlen(out), 253);
	part[253] = 'a';
	assert_false(jid_prepare_domain(part, 254, out));
	for (int i = 0; i < 32; i++)
		memcpy(part + 3 * i, "\u00e9.", 3);
	assert_true(jid_prepare_domain(part, (size_t)31 * 3, out));
	assert_false(jid_prepare_domain(part, (size_t)32 * 3, out));
}

static struct jid *jid_of(const char *s)
{
	struct jid *j = jid_parse(s, strlen(s));
	assert_non_null(j);
	return j;
}

static void test_parts(void **state)
{
	(void)state;
	struct jid *j = jid_of("Romeo@Example.org/Orchard");
	assert_true(jid_has_local(j));
	assert_true(jid_has_resource(j));
	assert_int_equal(j->local_len, 5);
	assert_int_equal(jid_domain_len(j), 11);
	assert_memory_equal(jid_domain(j), "example.org", 11);
	assert_string_equal(jid_resource(j), "Orchard");
	assert_int_equal(j->hash, hash_bytes("romeo@example.org", 17));
	jid_unref(j);
	j = jid_of("example.org");
	assert_false(jid_has_local(j));
	assert_false(jid_has_resource(j));
	assert_int_equal(jid_domain(j) - j->text, 0);
	assert_null(jid_resource(j));
	jid_unref(j);
}

static void test_plain(void **state)
{
	(void)state;
	static const char *const resources[] = { "&", "a<", ">a", "Juliet's" };
	struct jid *bare = jid_of("romeo@example.org"), *j = jid_of("romeo@example.org/a \"balcony\"");
	assert_true(bare->is_plain);
	assert_true(j->is_plain);
	jid_unref(j);
	for (size_t i = 0; i < COUNT_OF(resources); i++) {
		j = jid_with_resource(bare, resources[i], strlen(resources[i]));
		assert_false(j->is_plain);
		struct jid *again = jid_bare(j);
		assert_true(again->is_plain);
		jid_unref(again);
		jid_unref(j);
	}
	jid_unref(bare);
}

static void test_make(void **state)
{
	(void)state;
	struct jid *j = jid_make("romeo", "example.org", "x");
	assert_string_equal(j->text, "romeo@example.org/x");
	jid_unref(j);
	j = jid_make(NULL, "example.org", NULL);
	assert_string_equal(j->text, "example.org");
	jid_unref(j);
	assert_null(jid_make("", "example.org", NULL));
	assert_null(jid_make(NULL, "example.org", ""));
	assert_null(jid_make(NULL, "", NULL));
	assert_null(jid_make("a@b", "example.org", NULL));
}

static void test_bare_and_back(void **state)
{
	(void)state;
	struct jid *full = jid_of("romeo@example.org/orchard");
	struct jid *bare = jid_bare(full), *same = jid_bare(bare);
	assert_string_equal(bare->text, "romeo@example.org");
	assert_ptr_equal(same, bare);
	assert_int_equal(bare->refs, 2);
	assert_int_equal(bare->hash, full->hash);
	assert_true(jid_is_same_bare(full, bare));
	assert_false(jid_is(full, bare));
	struct jid *again = jid_with_resource(bare, "orchard", 7);
	assert_true(jid_is(full, again));
	assert_null(jid_with_resource(bare, "", 0));
	assert_null(jid_with_resource(bare, "a\n", 2));
	struct jid *other = jid_of("juliet@example.org/orchard");
	assert_false(jid_is(full, other));
	assert_false(jid_is_same_bare(full, other));
	jid_unref(full);
	jid_unref(bare);
	jid_unref(same);
	jid_unref(again);
	jid_unref(other);
	jid_unref(NULL);
}

static void test_domain_to_ascii(void **state)
{
	(void)state;
	char out[256];
	assert_true(jid_domain_to_ascii("b\u00fccher.example", out, sizeof(out)));
	assert_string_equal(out, "xn--bcher-kva.example");
	assert_true(jid_domain_to_ascii("example.org", out, sizeof(out)));
	assert_string_equal(out, "example.org");
	assert_true(jid_domain_to_ascii("example.org", out, 12));
	assert_false(jid_domain_to_ascii("example.org", out, 11));
	assert_false(jid_domain_to_ascii("[::1]", out, sizeof(out)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_usernames),
		cmocka_unit_test(test_categories),
		cmocka_unit_test(test_accounts),
		cmocka_unit_test(test_localparts),
		cmocka_unit_test(test_passwords),
		cmocka_unit_test(test_domains),
		cmocka_unit_test(test_ascii_localparts),
		cmocka_unit_test(test_nul_is_no_end),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_make),
		cmocka_unit_test(test_bare_and_back),
		cmocka_unit_test(test_domain_to_ascii),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
