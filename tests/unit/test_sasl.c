/* test_sasl.c - server/sasl.c and scram.c: the examples of the RFCs, whole logins of every mechanism, and all
 * that must be refused. Channel binding is in test_sasl_binding.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <time.h>

#include "sasl_login.h"

#define PLAIN_ONLY (1U << SASL_SCRAM_SHA_256 | 1U << SASL_SCRAM_SHA_1 | 1U << SASL_PLAIN)

/* ---- small help */

static struct sasl *begin(const char *mechanism)
{
	struct sasl *s = sasl_begin(mechanism, PLAIN_ONLY, NULL, "example.org", secret);
	assert_non_null(s);
	return s;
}

static void expect_reply(const char *reply, const char *text)
{
	char *got = decoded(reply);

	assert_string_equal(got, text);
	mem_free(got);
}

/* ---- the examples */

struct example {
	const char *mechanism, *salt;
	size_t salt_len;
	const char *client_first, *server_nonce, *server_first, *client_final, *server_final;
};

static void run_example(const struct example *e)
{
	struct sasl_keys keys = { .iterations = 4096, .salt_len = (unsigned)e->salt_len };
	const char *reply;

	memcpy(keys.salt, e->salt, e->salt_len);
	assert_true(sasl_keys_derive(&keys, "pencil"));
	struct sasl *s = begin(e->mechanism);
	sasl_fix_nonce(s, e->server_nonce);
	assert_int_equal(step(s, e->client_first, &reply), SASL_NEED_ACCOUNT);
	assert_null(reply);
	assert_string_equal(sasl_user(s), "user");
	assert_int_equal(sasl_account(s, &keys, &reply), SASL_CHALLENGE);
	expect_reply(reply, e->server_first);
	assert_int_equal(step(s, e->client_final, &reply), SASL_SUCCESS);
	expect_reply(reply, e->server_final);
	sasl_free(s);
}

static void test_rfc5802_section_5(void **state)
{
	static const struct example e = {
		"SCRAM-SHA-1",
		"\x41\x25\xc2\x47\xe4\x3a\xb1\xe9\x3c\x6d\xff\x76",
		12,
		"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
		"3rfcNHYJY1ZVvWVs7j",
		"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
		"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
		"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
	};
	(void)state;
	run_example(&e);
}

static void test_rfc7677_section_3(void **state)
{
	static const struct example e = {
		"SCRAM-SHA-256",
		"\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81",
		16,
		"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
		"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
		"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
	};
	(void)state;
	run_example(&e);
}

/* ---- SCRAM: what is refused */

struct refusal {
	const char *message, *condition; /* NULL: goes on to the account */
};

static void check_first(const char *mechanism, unsigned offered, const struct refusal *r)
{
	struct sasl *s = sasl_begin(mechanism, offered, NULL, "example.org", secret);
	const char *reply;
	enum sasl_result result = step(s, r->message, &reply);

	if (result != (r->condition ? SASL_FAILURE : SASL_NEED_ACCOUNT) ||
	    (r->condition && strcmp(sasl_condition(s), r->condition) != 0))
		fail_msg("%s: result %d, condition %s", r->message, result, sasl_condition(s));
	sasl_free(s);
}

static void test_first_messages(void **state)
{
	static const struct refusal messages[] = {
		{ "n,,n=user,r=abc", NULL },
		{ "y,,n=user,r=abc", NULL },
		{ "n,,n=user,r=abc,x=optional,Y=too", NULL },
		{ "n,a=user@example.org,n=user,r=abc", NULL },
		{ "n,a=USER@EXAMPLE.org,n=user,r=abc", NULL },
		{ "n,a=juliet@example.org,n=user,r=abc", "invalid-authzid" },
		{ "n,a=user@example.com,n=user,r=abc", "invalid-authzid" },
		{ "n,a=user@example.org/desk,n=user,r=abc", "invalid-authzid" },
		{ "n,a=user,n=user,r=abc", "invalid-authzid" },
		{ "n,a=,n=user,r=abc", "malformed-request" },
		{ "n,a=us=2Der,n=user,r=abc", "malformed-request" },
		{ "n,b=user,n=user,r=abc", "malformed-request" },
		{ "n,,n=us=2Cer,r=abc", NULL },
		{ "n,,n=us=3Der,r=abc", NULL },
		{ "n,,n=us=er,r=abc", "malformed-request" },
		{ "n,,n=us=2cer,r=abc", "malformed-request" },
		{ "n,,n=us=2,r=abc", "malformed-request" },
		{ "n,,n=us=,r=abc", "malformed-request" },
		{ "n,,n=a@b,r=abc", "not-authorized" },
		{ "n,,n=,r=abc", "malformed-request" },
		{ "n,,n=user,r=", "malformed-request" },
		{ "n,,n=user,r=a\x7f"
		  "b",
		  "malformed-request" },
		{ "n,,n=user,r=a b", "malformed-request" },
		{ "n,,n=user,r=\xc3\xa4", "malformed-request" },
		{ "n,,n=user", "malformed-request" },
		{ "n,,r=abc,n=user", "malformed-request" },
		{ "n,,m=must,n=user,r=abc", "malformed-request" },
		{ "n,,n=user,r=abc,m=must", "malformed-request" },
		{ "n,,n=user,r=abc,", "malformed-request" },
		{ "n,,n=user,r=abc,x=", "malformed-request" },
		{ "n,,n=user,r=abc,1=a", "malformed-request" },
		{ "n,,n=user,r=abc,x=a,", "malformed-request" },
		{ "n,n=user,r=abc", "malformed-request" },
		{ "n", "malformed-request" },
		{ ",", "malformed-request" },
		{ "F,n,,n=user,r=abc", "malformed-request" },
		{ "x,,n=user,r=abc", "malformed-request" },
		{ "N,,n=user,r=abc", "malformed-request" },
		{ "p,,n=user,r=abc", "malformed-request" },
		{ "p=,,n=user,r=abc", "malformed-request" },
		{ "p=tls_unique,,n=user,r=abc", "malformed-request" },
		{ "p=tls-exporter,,n=user,r=abc", "malformed-request" }, /* without -PLUS */
		{ "n,,n=\xff\xfe,r=abc", "not-authorized" },
	};
	static const struct refusal plus[] = {
		{ "n,,n=user,r=abc", "malformed-request" },
		{ "y,,n=user,r=abc", "not-authorized" },
		{ "p=tls-exporter,,n=user,r=abc", "malformed-request" }, /* there is no TLS */
	};
	static const struct refusal downgrade[] = { { "y,,n=user,r=abc", "not-authorized" },
		                                    { "n,,n=user,r=abc", NULL } };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(messages); i++)
		check_first("SCRAM-SHA-1", PLAIN_ONLY, &messages[i]);
	for (size_t i = 0; i < COUNT_OF(plus); i++)
		check_first("SCRAM-SHA-256-PLUS", ALL, &plus[i]);
	for (size_t i = 0; i < COUNT_OF(downgrade); i++)
		check_first("SCRAM-SHA-256", ALL, &downgrade[i]);
}

static void test_nul_is_malformed(void **state)
{
	struct sasl *s = begin("SCRAM-SHA-1");
	const char *reply;

	(void)state;
	assert_int_equal(step_bytes(s, "n,,n=user,r=abc\0,x=y", 20, &reply), SASL_FAILURE);
	assert_string_equal(sasl_condition(s), "malformed-request");
	sasl_free(s);
}

static void test_only_what_was_offered(void **state)
{
	(void)state;
	assert_null(sasl_begin("SCRAM-SHA-256-PLUS", PLAIN_ONLY, NULL, "example.org", secret));
	assert_null(sasl_begin("PLAIN", 1U << SASL_SCRAM_SHA_1, NULL, "example.org", secret));
	assert_null(sasl_begin("plain", ALL, NULL, "example.org", secret));
	assert_null(sasl_begin("", ALL, NULL, "example.org", secret));
	assert_null(sasl_begin("DIGEST-MD5", ALL, NULL, "example.org", secret));
	assert_int_equal(sasl_offer(NULL, false), 1U << SASL_SCRAM_SHA_256 | 1U << SASL_SCRAM_SHA_1);
	assert_int_equal(sasl_offer(NULL, true), PLAIN_ONLY);
	assert_string_equal(sasl_name(SASL_SCRAM_SHA_1_PLUS), "SCRAM-SHA-1-PLUS");
}

static void test_initial_response(void **state)
{
	static const char *const absent[] = { NULL, "" };
	char big[4 * 1024 + 5];
	const char *reply;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(absent); i++) {
		struct sasl *s = begin("SCRAM-SHA-256");
		assert_int_equal(sasl_step(s, absent[i], &reply), SASL_CHALLENGE);
		assert_null(reply);
		assert_int_equal(step(s, "n,,n=user,r=abc", &reply), SASL_NEED_ACCOUNT);
		sasl_free(s);

		s = begin("PLAIN");
		assert_int_equal(sasl_step(s, absent[i], &reply), SASL_CHALLENGE);
		assert_null(reply);
		assert_int_equal(sasl_step(s, absent[i], &reply), SASL_FAILURE); /* not for ever */
		assert_string_equal(sasl_condition(s), "malformed-request");
		sasl_free(s);
	}
	struct sasl *s = begin("SCRAM-SHA-256");
	assert_int_equal(sasl_step(s, "=", &reply), SASL_FAILURE); /* present, but empty */
	assert_string_equal(sasl_condition(s), "malformed-request");
	sasl_free(s);

	s = begin("SCRAM-SHA-256");
	assert_int_equal(sasl_step(s, "bi ws", &reply), SASL_FAILURE);
	assert_string_equal(sasl_condition(s), "incorrect-encoding");
	sasl_free(s);

	memset(big, 'A', sizeof big);
	big[sizeof big - 1] = '\0';
	s = begin("SCRAM-SHA-256");
	assert_int_equal(sasl_step(s, big, &reply), SASL_FAILURE);
	assert_string_equal(sasl_condition(s), "malformed-request");
	sasl_free(s);
}

/* Begins, and brings a login of "user" to the point where the client's last message is due. */
static struct sasl *until_final(const char *mechanism, const struct sasl_keys *keys, char **server_first)
{
	struct sasl *s = begin(mechanism);
	const char *reply;

	assert_int_equal(step(s, "n,,n=user,r=" NONCE, &reply), SASL_NEED_ACCOUNT);
	assert_int_equal(sasl_account(s, keys, &reply), SASL_CHALLENGE);
	*server_first = decoded(reply);
	return s;
}

static void expect_final(const char *mechanism, const EVP_MD *hash, const struct sasl_keys *keys,
                         const char *password, const char *condition)
{
	char *server_first;
	struct sasl *s = until_final(mechanism, keys, &server_first);
	char *message = client_final(hash, password, "n=user,r=" NONCE, server_first, "n,,", 3);
	const char *reply;
	enum sasl_result result = step(s, message, &reply);

	assert_int_equal(result, condition ? SASL_FAILURE : SASL_SUCCESS);
	if (condition)
		assert_string_equal(sasl_condition(s), condition);
	sasl_free(s);
	mem_free(message);
	mem_free(server_first);
}

static void test_scram_logins(void **state)
{
	struct sasl_keys keys = keys_of("pencil", 100), disabled = keys;

	(void)state;
	disabled.is_disabled = true;
	assert_int_equal(keys.salt_len, SASL_SALT_DRAWN);
	expect_final("SCRAM-SHA-1", EVP_sha1(), &keys, "pencil", NULL);
	expect_final("SCRAM-SHA-256", EVP_sha256(), &keys, "pencil", NULL);
	expect_final("SCRAM-SHA-1", EVP_sha1(), &keys, "pencils", "not-authorized");
	expect_final("SCRAM-SHA-256", EVP_sha256(), &keys, "pencils", "not-authorized");
	expect_final("SCRAM-SHA-256", EVP_sha256(), &disabled, "pencil", "account-disabled");
	expect_final("SCRAM-SHA-256", EVP_sha256(), &disabled, "pencils", "not-authorized");
	expect_final("SCRAM-SHA-256", EVP_sha256(), NULL, "pencil", "not-authorized");
}

/* The last message with one attribute changed, for a good password. */
static void expect_changed_final(const char *from, const char *to, const char *condition)
{
	struct sasl_keys keys = keys_of("pencil", 100);
	char *server_first;
	struct sasl *s = until_final("SCRAM-SHA-1", &keys, &server_first);
	char *message = client_final(EVP_sha1(), "pencil", "n=user,r=" NONCE, server_first, "n,,", 3);
	char *at = strstr(message, from);
	const char *reply;

	assert_non_null(at);
	char *changed = mem_printf("%.*s%s%s", (int)(at - message), message, to, at + strlen(from));
	assert_int_equal(step(s, changed, &reply), SASL_FAILURE);
	if (strcmp(sasl_condition(s), condition) != 0)
		fail_msg("%s: %s", changed, sasl_condition(s));
	sasl_free(s);
	mem_free(changed);
	mem_free(message);
	mem_free(server_first);
}

static void test_final_messages(void **state)
{
	(void)state;
	expect_changed_final("c=biws", "c=eSws", "not-authorized"); /* "y,,": not what came first */
	expect_changed_final("c=biws", "c=", "malformed-request");
	expect_changed_final("c=biws,", "", "malformed-request");
	expect_changed_final("r=fyko", "r=fyk0", "not-authorized");
	expect_changed_final(",p=", ",x=1,p=", "not-authorized"); /* allowed, but not signed */
	expect_changed_final(",p=", ",m=1,p=", "malformed-request");
	expect_changed_final(",p=", ",p=A,p=", "malformed-request");
	expect_changed_final(",p=", ",p=A", "malformed-request"); /* another length */
	expect_changed_final(",p=", ",q=", "malformed-request");
	expect_changed_final("=", "= ", "not-authorized");
}

static void test_unknown_name_looks_known(void **state)
{
	char *one, *again, *other;
	struct sasl_keys keys = { 0 };

	(void)state;
	assert_true(sasl_keys_derive(&keys, "x"));
	sasl_free(until_final("SCRAM-SHA-1", NULL, &one));
	sasl_free(until_final("SCRAM-SHA-256", NULL, &again));
	sasl_free(until_final("SCRAM-SHA-1", &keys, &other));
	/* The nonce differs, the salt does not; it is as long as a real one, as are the iterations. */
	assert_string_equal(strstr(one, ",s="), strstr(again, ",s="));
	assert_string_not_equal(one, again);
	assert_int_equal(strlen(one), strlen(other));
	assert_string_equal(strstr(one, ",i="), strstr(other, ",i="));
	mem_free(one);
	mem_free(again);
	mem_free(other);
}

static void expect_plain(const char *message, size_t n, const struct sasl_keys *keys,
                         const char *condition);

/* Accounts that were imported with the keys of one hash. The other mechanism fails as a wrong password does. */
static void test_keys_of_one_hash(void **state)
{
	struct sasl_keys sha1 = keys_of("pencil", 100), sha256 = sha1;

	(void)state;
	sha1.has_sha256 = false;
	memset(sha1.stored_sha256, 0, sizeof sha1.stored_sha256);
	memset(sha1.server_sha256, 0, sizeof sha1.server_sha256);
	sha256.has_sha1 = false;
	memset(sha256.stored_sha1, 0, sizeof sha256.stored_sha1);
	memset(sha256.server_sha1, 0, sizeof sha256.server_sha1);
	expect_final("SCRAM-SHA-1", EVP_sha1(), &sha1, "pencil", NULL);
	expect_final("SCRAM-SHA-1", EVP_sha1(), &sha1, "pencils", "not-authorized");
	expect_final("SCRAM-SHA-256", EVP_sha256(), &sha1, "pencil", "not-authorized");
	expect_final("SCRAM-SHA-256", EVP_sha256(), &sha256, "pencil", NULL);
	expect_final("SCRAM-SHA-1", EVP_sha1(), &sha256, "pencil", "not-authorized");
	expect_plain("\0user\0pencil", 12, &sha1, NULL);
	expect_plain("\0user\0pencils", 13, &sha1, "not-authorized");
	expect_plain("\0user\0pencil", 12, &sha256, NULL);
	expect_plain("\0user\0pencils", 13, &sha256, "not-authorized");
	sha1.has_sha1 = false; /* none at all */
	expect_plain("\0user\0pencil", 12, &sha1, "not-authorized");
	expect_final("SCRAM-SHA-1", EVP_sha1(), &sha1, "pencil", "not-authorized");
}

/* ---- EXTERNAL, ANONYMOUS, and lists of names */

static void expect_external(const char *const *accounts, unsigned count, const char *base64,
                            const char *user)
{
	struct sasl *s = sasl_begin("EXTERNAL", ALL, NULL, "example.org", secret);
	const char *reply;

	sasl_open_accounts(s, accounts, count);
	enum sasl_result result = sasl_step(s, base64, &reply);
	if (result == SASL_CHALLENGE) /* no initial response */
		result = sasl_step(s, "", &reply);
	assert_null(reply);
	assert_int_equal(result, user ? SASL_SUCCESS : SASL_FAILURE);
	if (user)
		assert_string_equal(sasl_user(s), user);
	else
		assert_non_null(strstr("invalid-authzid malformed-request", sasl_condition(s)));
	sasl_free(s);
}

static void test_external(void **state)
{
	static const char *const accounts[] = { "juliet", "nurse" };
	struct arena a = { 0 };

	(void)state;
	expect_external(accounts, 1, "=", "juliet");
	expect_external(accounts, 1, NULL, "juliet");
	expect_external(accounts, 2, "=", NULL); /* which one? */
	expect_external(accounts, 2, base64_encode(&a, "nurse@example.org", 17), "nurse");
	expect_external(accounts, 2, base64_encode(&a, "Juliet@EXAMPLE.org", 18), "juliet");
	expect_external(accounts, 1, base64_encode(&a, "nurse@example.org", 17), NULL);
	expect_external(accounts, 2, base64_encode(&a, "juliet@example.com", 18), NULL);
	expect_external(accounts, 2, base64_encode(&a, "juliet@example.org/balcony", 26), NULL);
	expect_external(accounts, 2, base64_encode(&a, "juliet", 6), NULL);
	expect_external(accounts, 1, base64_encode(&a, "juliet@example.org\0x", 20), NULL);
	expect_external(accounts, 0, "=", NULL);
	arena_free(&a);
}

static void test_anonymous(void **state)
{
	struct sasl *s = sasl_begin("ANONYMOUS", ALL, NULL, "example.org", secret);
	struct sasl *other = sasl_begin("ANONYMOUS", ALL, NULL, "example.org", secret);
	const char *reply;

	(void)state;
	assert_int_equal(sasl_step(s, NULL, &reply), SASL_SUCCESS);
	assert_int_equal(step(other, "juliet@example.org", &reply),
	                 SASL_SUCCESS); /* says nothing about who it is */
	assert_int_equal(strlen(sasl_user(s)), 32);
	assert_int_equal(strlen(sasl_user(other)), 32);
	assert_string_not_equal(sasl_user(s), sasl_user(other));
	sasl_free(s);
	sasl_free(other);
}

/* ---- time */

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Of the slow part of PLAIN. */
static double hash_time(const struct sasl_keys *keys)
{
	struct sasl *s = begin("PLAIN");
	const char *reply;

	assert_int_equal(step_bytes(s, "\0user\0wrong", 11, &reply), SASL_NEED_ACCOUNT);
	double began = seconds();
	assert_int_equal(sasl_account(s, keys, &reply), SASL_NEED_HASH);
	sasl_hash(s);
	assert_int_equal(sasl_hashed(s, &reply), SASL_FAILURE);
	double took = seconds() - began;
	sasl_free(s);
	return took;
}

/* How long it takes does not tell whether there is such an account. Without the hash it would be a few hundred
 * times as fast; a busy machine makes single measures differ by a few times. So they alternate, the least of
 * each counts, and there are many before it is a failure. */
static void test_unknown_takes_as_long(void **state)
{
	struct sasl_keys keys = keys_of("pencil", SASL_ITERATIONS);
	double known = 1e9, unknown = 1e9;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		double one = hash_time(&keys), other = hash_time(NULL);
		known = one < known ? one : known;
		unknown = other < unknown ? other : unknown;
		if (i >= 8 && known < 2 * unknown && unknown < 2 * known)
			return;
	}
	fail_msg("a wrong password takes %.2f times as long as an unknown account", known / unknown);
}

static void test_broken_row(void **state)
{
	struct sasl_keys keys = keys_of("pencil", 100);
	const char *reply;
	struct sasl *s = begin("SCRAM-SHA-1");

	(void)state;
	keys.iterations = 0;
	assert_int_equal(step(s, "n,,n=user,r=abc", &reply), SASL_NEED_ACCOUNT);
	assert_int_equal(sasl_account(s, &keys, &reply), SASL_FAILURE);
	assert_string_equal(sasl_condition(s), "temporary-auth-failure");
	sasl_free(s);
}

/* ---- PLAIN */

static void expect_plain(const char *message, size_t n, const struct sasl_keys *keys, const char *condition)
{
	struct sasl *s = begin("PLAIN");
	const char *reply;
	enum sasl_result result = step_bytes(s, message, n, &reply);

	if (result == SASL_NEED_ACCOUNT) {
		assert_string_equal(sasl_user(s), "user");
		assert_int_equal(sasl_account(s, keys, &reply), SASL_NEED_HASH);
		sasl_hash(s);
		result = sasl_hashed(s, &reply);
	}
	assert_null(reply);
	assert_int_equal(result, condition ? SASL_FAILURE : SASL_SUCCESS);
	if (condition)
		assert_string_equal(sasl_condition(s), condition);
	sasl_free(s);
}

static void test_plain(void **state)
{
	struct sasl_keys keys = keys_of("pencil", 100), disabled = keys;

	(void)state;
	disabled.is_disabled = true;
	expect_plain("\0user\0pencil", 12, &keys, NULL);
	expect_plain("\0USER\0pencil", 12, &keys, NULL);
	expect_plain("user@example.org\0user\0pencil", 28, &keys, NULL);
	expect_plain("else@example.org\0user\0pencil", 28, &keys, "invalid-authzid");
	expect_plain("\0user\0pencils", 13, &keys, "not-authorized");
	expect_plain("\0user\0pencil", 12, NULL, "not-authorized");
	expect_plain("\0user\0pencil", 12, &disabled, "account-disabled");
	expect_plain("\0user\0pencils", 13, &disabled, "not-authorized");
	expect_plain("\0us er\0pencil", 13, &keys, "not-authorized");
	expect_plain("\0user\0\xff\xff", 8, &keys, "not-authorized");
	expect_plain("\0user\0pencil\0", 13, &keys, "malformed-request");
	expect_plain("\0user\0", 6, &keys, "malformed-request");
	expect_plain("\0user", 5, &keys, "malformed-request");
	expect_plain("\0\0pencil", 8, &keys, "malformed-request");
	expect_plain("user", 4, &keys, "malformed-request");
	expect_plain("\0", 1, &keys, "malformed-request");
}

static void test_free_in_any_state(void **state)
{
	struct sasl_keys keys = keys_of("pencil", 100);
	const char *reply;
	struct sasl *s;

	(void)state;
	sasl_free(NULL);
	sasl_free(begin("PLAIN"));
	s = begin("PLAIN");
	assert_int_equal(step_bytes(s, "\0user\0pencil", 12, &reply), SASL_NEED_ACCOUNT);
	sasl_free(s);
	s = begin("PLAIN");
	assert_int_equal(step_bytes(s, "\0user\0pencil", 12, &reply), SASL_NEED_ACCOUNT);
	assert_int_equal(sasl_account(s, &keys, &reply), SASL_NEED_HASH);
	sasl_free(s);
}

static void test_bad_password_has_no_keys(void **state)
{
	struct sasl_keys k = { 0 };

	(void)state;
	assert_false(sasl_keys_derive(&k, ""));
	assert_false(sasl_keys_derive(&k, "\xff"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc5802_section_5),
		cmocka_unit_test(test_rfc7677_section_3),
		cmocka_unit_test(test_first_messages),
		cmocka_unit_test(test_nul_is_malformed),
		cmocka_unit_test(test_only_what_was_offered),
		cmocka_unit_test(test_initial_response),
		cmocka_unit_test(test_scram_logins),
		cmocka_unit_test(test_final_messages),
		cmocka_unit_test(test_unknown_name_looks_known),
		cmocka_unit_test(test_keys_of_one_hash),
		cmocka_unit_test(test_external),
		cmocka_unit_test(test_anonymous),
		cmocka_unit_test(test_unknown_takes_as_long),
		cmocka_unit_test(test_broken_row),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_free_in_any_state),
		cmocka_unit_test(test_bad_password_has_no_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
