/* test_sasl_binding.c - server/sasl.c: logins that are bound to their channel, over a real TLS connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sasl_login.h"
#include "tls_pair.h"

static struct tls_certs *certs_of(const char *key_type, const EVP_MD *hash)
{
	char dir[32];
	const char *const domains[] = { "example.org" };
	char *problems;

	pair_make_dir(dir);
	pair_make_certificate(
	    dir, &(struct pair_certificate){ .name = "example.org", .key_type = key_type, .hash = hash });
	struct tls_certs *certs =
	    tls_certs_load(&(struct tls_sources){ .dir = dir }, domains, 1, &problems);
	assert_null(problems);
	pair_remove_dir(dir);
	return certs;
}

/* What the client binds to; its length. */
static size_t client_binding(const struct pair *p, const char *type, unsigned char *out)
{
	unsigned n = 0;

	if (strcmp(type, "tls-exporter") == 0) {
		assert_int_equal(SSL_export_keying_material(p->client, out, 32, "EXPORTER-Channel-Binding",
		                                            24, NULL, 0, 0),
		                 1);
		return 32;
	}
	X509 *peer = SSL_get1_peer_certificate(p->client);
	int nid = X509_get_signature_nid(peer);
	const EVP_MD *hash = nid == NID_ecdsa_with_SHA384 ? EVP_sha384() : EVP_sha256();
	X509_digest(peer, hash, out, &n);
	X509_free(peer);
	return n;
}

/* A whole SCRAM-SHA-256-PLUS login; `type` is what the client binds with. `relayed`: the data of another
 * connection. */
static void login_plus(const struct pair *p, const struct pair *bound_to, const char *type,
                       const char *condition)
{
	struct sasl_keys keys = keys_of("pencil", 100);
	unsigned char binding[128];
	char *gs2 = mem_printf("p=%s,,", type), *first = mem_printf("%sn=user,r=" NONCE, gs2);
	size_t gs2_len = strlen(gs2);
	const char *reply;
	struct sasl *s = sasl_begin("SCRAM-SHA-256-PLUS", sasl_offer(p->server, false), p->server,
	                            "example.org", secret);

	assert_non_null(s);
	memcpy(binding, gs2, gs2_len);
	assert_int_equal(step(s, first, &reply), SASL_NEED_ACCOUNT);
	assert_int_equal(sasl_account(s, &keys, &reply), SASL_CHALLENGE);
	char *server_first = decoded(reply);
	size_t n = client_binding(bound_to, type, binding + gs2_len);
	char *final =
	    client_final(EVP_sha256(), "pencil", "n=user,r=" NONCE, server_first, binding, gs2_len + n);
	assert_int_equal(step(s, final, &reply), condition ? SASL_FAILURE : SASL_SUCCESS);
	if (condition)
		assert_string_equal(sasl_condition(s), condition);
	sasl_free(s);
	mem_free(server_first);
	mem_free(final);
	mem_free(first);
	mem_free(gs2);
}

static void connect_pair(struct pair *p, struct tls_certs *certs, int version, bool has_ems)
{
	const char *why = NULL;

	pair_open(p, certs, NULL, false, "example.org");
	SSL_set_max_proto_version(p->client, version);
	if (!has_ems)
		SSL_set_options(p->client, SSL_OP_NO_EXTENDED_MASTER_SECRET);
	assert_int_equal(pair_handshake(p, 100000, &why), TLS_OK);
	assert_int_equal(SSL_version(p->server), version);
}

static void test_plus_logins(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct tls_certs *certs = certs_of("EC", NULL);
	struct pair p, other;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(versions); i++) {
		connect_pair(&p, certs, versions[i], true);
		connect_pair(&other, certs, versions[i], true);
		assert_int_equal(sasl_channel_bindings(p.server), SASL_CB_EXPORTER | SASL_CB_END_POINT);
		assert_int_equal(sasl_offer(p.server, false),
		                 ALL & ~(1U << SASL_EXTERNAL | 1U << SASL_ANONYMOUS));
		login_plus(&p, &p, "tls-exporter", NULL);
		login_plus(&p, &p, "tls-server-end-point", NULL);
		login_plus(&p, &other, "tls-exporter", "not-authorized");
		pair_close(&p);
		pair_close(&other);
	}
	tls_certs_unref(certs);
}

static void test_end_point_hashes(void **state)
{
	struct tls_certs *plain = certs_of("RSA", EVP_sha1()), *bigger = certs_of("EC", EVP_sha384());
	struct pair p, other;

	(void)state;
	connect_pair(&p, plain, TLS1_3_VERSION, true);
	connect_pair(&other, bigger, TLS1_3_VERSION, true);
	login_plus(&p, &p, "tls-server-end-point", NULL); /* SHA-1 is raised to SHA-256 */
	login_plus(&other, &other, "tls-server-end-point", NULL);
	login_plus(&p, &other, "tls-server-end-point", "not-authorized");
	pair_close(&p);
	pair_close(&other);
	tls_certs_unref(plain);
	tls_certs_unref(bigger);
}

static void expect_no_binding(const struct pair *p, const char *first)
{
	const char *reply;
	struct sasl *s = sasl_begin("SCRAM-SHA-256-PLUS", ALL, p->server, "example.org", secret);

	assert_int_equal(step(s, first, &reply), SASL_FAILURE);
	assert_string_equal(sasl_condition(s), "malformed-request");
	sasl_free(s);
}

static void test_bindings_that_are_not_there(void **state)
{
	struct tls_certs *certs = certs_of("EC", NULL), *edwards = certs_of("ED25519", NULL);
	struct pair p;

	(void)state;
	connect_pair(&p, certs, TLS1_2_VERSION, false); /* without extended master secret */
	assert_int_equal(sasl_channel_bindings(p.server), SASL_CB_END_POINT);
	expect_no_binding(&p, "p=tls-exporter,,n=user,r=abc");
	expect_no_binding(&p, "p=tls-unique,,n=user,r=abc");
	pair_close(&p);

	connect_pair(&p, edwards, TLS1_3_VERSION, true); /* no hash: RFC 5929 leaves it undefined */
	assert_int_equal(sasl_channel_bindings(p.server), SASL_CB_EXPORTER);
	expect_no_binding(&p, "p=tls-server-end-point,,n=user,r=abc");
	expect_no_binding(&p, "p=tls-unique,,n=user,r=abc");
	pair_close(&p);
	tls_certs_unref(certs);
	tls_certs_unref(edwards);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plus_logins),
		cmocka_unit_test(test_end_point_hashes),
		cmocka_unit_test(test_bindings_that_are_not_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
