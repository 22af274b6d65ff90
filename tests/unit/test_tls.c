/* test_tls.c - server/tls.c against a real OpenSSL client, over memory: which certificate is shown, what
 * is refused and how, data both ways, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tls_pair.h"

#define MEGABYTE (1024 * 1024)

/* ---- the hello */

/* Connects with that SNI; the client must see a certificate for `shown`. */
static void expect_certificate(struct fixture *f, const char *fallback, const char *sni, const char *shown,
                               const char *server_name)
{
	struct pair p;
	const char *why = NULL;

	pair_open(&p, f->certs, fallback, false, sni);
	assert_null(tls_server_name(p.server));
	assert_int_equal(pair_handshake(&p, MEGABYTE, &why), TLS_OK);
	X509 *peer = SSL_get1_peer_certificate(p.client);
	assert_non_null(peer);
	assert_int_equal(X509_check_host(peer, shown, 0, 0, NULL), 1);
	X509_free(peer);
	if (server_name)
		assert_string_equal(tls_server_name(p.server), server_name);
	else
		assert_null(tls_server_name(p.server));
	pair_close(&p);
}

static void test_certificate_by_name(void **state)
{
	expect_certificate(*state, NULL, "example.com", "example.com", "example.com");
	expect_certificate(*state, NULL, "EXAMPLE.COM", "example.com", "example.com");
	expect_certificate(*state, NULL, "example.com.", "example.com", "example.com");
	expect_certificate(*state, "example.com", "example.org", "example.org", "example.org");
	expect_certificate(*state, NULL, "xn--bcher-kva.example", "xn--bcher-kva.example", served[2]);
}

static void test_fallback(void **state)
{
	expect_certificate(*state, "example.com", NULL, "example.com", NULL);
	expect_certificate(*state, "example.com", "other.example", "example.com", NULL);
	expect_certificate(*state, NULL, NULL, "example.org", NULL);
	expect_certificate(*state, "not.served", NULL, "example.org", NULL);
}

static void test_find(void **state)
{
	struct fixture *f = *state;
	int64_t left = tls_certs_expiry(f->certs, "example.org") - (int64_t)time(NULL);

	assert_non_null(tls_certs_find(f->certs, "example.org"));
	assert_ptr_equal(tls_certs_find(f->certs, served[2]),
	                 tls_certs_find(f->certs, "xn--bcher-kva.example"));
	assert_null(tls_certs_find(f->certs, "other.example"));
	assert_true(left > 89 * 86400 && left <= 90 * 86400);
	assert_int_equal(tls_certs_expiry(f->certs, "other.example"), 0);
}

/* A connection outlives the reload that replaced its certificates. */
static void test_snapshot_lives_on(void **state)
{
	struct fixture *f = *state;
	struct pair p, done;
	char *problems;
	const char *why = NULL;
	struct tls_certs *certs =
	    tls_certs_load(&(struct tls_sources){ .dir = f->dir }, served, COUNT_OF(served), &problems);

	assert_null(problems);
	pair_open(&p, certs, NULL, false, "example.com");
	pair_open(&done, certs, NULL, false, "example.com");
	assert_int_equal(pair_handshake(&done, MEGABYTE, &why), TLS_OK);
	tls_certs_unref(certs);
	assert_int_equal(pair_handshake(&p, MEGABYTE, &why), TLS_OK);
	assert_string_equal(tls_server_name(p.server), "example.com");
	assert_int_equal(tls_write(done.server, "x", 1, &why), TLS_OK);
	pair_close(&p);
	pair_close(&done);
}

static void expect_alpn(struct fixture *f, bool direct, const char *list, size_t n, enum tls_result result,
                        const char *chosen)
{
	struct pair p;
	const char *why = NULL;
	const unsigned char *got;
	unsigned got_len;

	pair_open(&p, f->certs, NULL, direct, "example.org");
	if (list)
		assert_int_equal(SSL_set_alpn_protos(p.client, (const unsigned char *)list, (unsigned)n),
		                 0);
	assert_int_equal(pair_handshake(&p, MEGABYTE, &why), result);
	SSL_get0_alpn_selected(p.client, &got, &got_len);
	assert_int_equal(got_len, chosen ? strlen(chosen) : 0);
	if (chosen)
		assert_memory_equal(got, chosen, got_len);
	if (result == TLS_BROKEN) /* the client is told by the alert */
		assert_int_equal(ERR_GET_REASON(ERR_peek_error()),
		                 SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
	pair_close(&p);
}

static void test_alpn(void **state)
{
	expect_alpn(*state, true, NULL, 0, TLS_OK, NULL);
	expect_alpn(*state, true, "\x0bxmpp-client", 12, TLS_OK, "xmpp-client");
	expect_alpn(*state, true, "\x02h2\x0bxmpp-client", 15, TLS_OK, "xmpp-client");
	expect_alpn(*state, true, "\x02h2\x08http/1.1", 12, TLS_BROKEN, NULL);
	expect_alpn(*state, true, "\x0bxmpp-server", 12, TLS_BROKEN, NULL);
	expect_alpn(*state, false, "\x02h2", 3, TLS_OK, NULL); /* after STARTTLS it means nothing */
}

static void test_old_versions_are_refused(void **state)
{
	static const int versions[] = { TLS1_VERSION, TLS1_1_VERSION };
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(versions); i++) {
		struct pair p;
		const char *why = NULL;

		pair_open(&p, f->certs, NULL, false, "example.org");
		SSL_set_max_proto_version(p.client, versions[i]);
		assert_int_equal(pair_handshake(&p, MEGABYTE, &why), TLS_BROKEN);
		assert_string_equal(why, "unsupported protocol");
		pair_close(&p);
	}
}

static void expect_settings(struct fixture *f, int version, const char *ciphers, const char *groups,
                            enum tls_result result)
{
	struct pair p;
	const char *why = NULL;

	pair_open(&p, f->certs, NULL, false, "example.org");
	SSL_set_max_proto_version(p.client, version);
	if (ciphers)
		assert_int_equal(SSL_set_cipher_list(p.client, ciphers), 1);
	if (groups)
		assert_int_equal(SSL_set1_groups_list(p.client, groups), 1);
	assert_int_equal(pair_handshake(&p, MEGABYTE, &why), result);
	if (result == TLS_OK) {
		assert_int_equal(SSL_version(p.server), version);
		assert_null(SSL_get_current_compression(p.server));
		assert_false(SSL_SESSION_has_ticket(SSL_get_session(p.client)));
		assert_int_equal(SSL_get_secure_renegotiation_support(p.server), 1);
	} else {
		assert_non_null(why);
	}
	pair_close(&p);
}

static void test_ciphers_and_curves(void **state)
{
	expect_settings(*state, TLS1_3_VERSION, NULL, NULL, TLS_OK);
	expect_settings(*state, TLS1_3_VERSION, NULL, "P-256", TLS_OK);
	expect_settings(*state, TLS1_3_VERSION, NULL, "P-521:P-256", TLS_OK); /* asks for another hello */
	expect_settings(*state, TLS1_3_VERSION, NULL, "P-521", TLS_BROKEN);
	expect_settings(*state, TLS1_2_VERSION, NULL, NULL, TLS_OK);
	expect_settings(*state, TLS1_2_VERSION, "ECDHE+CHACHA20", NULL, TLS_OK);
	expect_settings(*state, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", NULL, TLS_BROKEN);
	expect_settings(*state, TLS1_2_VERSION, "AES128-GCM-SHA256", NULL, TLS_BROKEN);
}

static void test_hello_in_small_pieces(void **state)
{
	static const size_t pieces[] = { 1, 2, 7, 100 };
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(pieces); i++) {
		struct pair p;
		const char *why = NULL;

		pair_open(&p, f->certs, NULL, true, "example.com");
		assert_int_equal(pair_handshake(&p, pieces[i], &why), TLS_OK);
		assert_string_equal(tls_server_name(p.server), "example.com");
		pair_close(&p);
	}
}

/* Feeds bytes as a hello. */
static enum tls_result feed(struct fixture *f, const char *bytes, size_t n, const char **why)
{
	struct pair p;

	pair_open(&p, f->certs, NULL, false, NULL);
	p.io.in = bytes;
	p.io.in_len = n;
	enum tls_result result = tls_handshake(p.server, &p.io, why);
	tls_shutdown(p.server); /* nothing may happen */
	pair_close(&p);
	return result;
}

static void test_bad_hello(void **state)
{
	struct fixture *f = *state;
	const char *why = NULL;
	struct pair p;
	size_t n;

	assert_int_equal(feed(f, "<?xml version='1.0'?>", 21, &why), TLS_BROKEN);
	assert_non_null(why);
	assert_int_equal(feed(f, "GET / HTTP/1.1\r\n", 16, &why), TLS_BROKEN);
	assert_string_equal(why, "http request");
	assert_int_equal(feed(f, "\x16\x03\x01\xff\xff garbage", 13, &why), TLS_BROKEN);

	/* A real hello: cut it waits for the rest; shortened with lengths that agree it is broken. */
	pair_open(&p, f->certs, NULL, false, "example.org");
	SSL_do_handshake(p.client);
	char *hello = pair_take(&p, &n);
	pair_close(&p);
	assert_true(n > 200);
	assert_int_equal(feed(f, hello, n - 10, &why), TLS_WANT_READ);
	hello[3] = (char)((n - 15) >> 8);
	hello[4] = (char)(n - 15);
	hello[7] = (char)((n - 19) >> 8);
	hello[8] = (char)(n - 19);
	why = NULL;
	assert_int_equal(feed(f, hello, n - 10, &why), TLS_BROKEN);
	assert_string_equal(why, "length mismatch");
	mem_free(hello);
}

/* ---- data */

/* A pair whose handshake is done. */
static void open_ready(struct fixture *f, struct pair *p, int version)
{
	const char *why = NULL;

	pair_open(p, f->certs, NULL, false, "example.org");
	SSL_set_max_proto_version(p->client, version);
	assert_int_equal(pair_handshake(p, MEGABYTE, &why), TLS_OK);
	assert_int_equal(SSL_is_init_finished(p->client), 1);
}

static void fill(char *data, size_t n)
{
	uint32_t x = 1;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		data[i] = (char)(x >> 24);
	}
}

/* To the server, which gets the bytes in pieces that fit no record. */
static void send_up(struct pair *p, const char *data, size_t n, char *got)
{
	const char *why = NULL;
	size_t len, at = 0, fed = 0, written;

	assert_int_equal(SSL_write_ex(p->client, data, n, &written), 1);
	assert_int_equal(written, n);
	char *bytes = pair_take(p, &len);
	while (at < n) {
		p->io.in = bytes + fed;
		p->io.in_len = len - fed < 1000 ? len - fed : 1000;
		fed += p->io.in_len;
		enum tls_result result;
		size_t count;
		while ((result = tls_read(p->server, got + at, n - at + 1, &count, &why)) == TLS_OK)
			at += count;
		assert_int_equal(result, TLS_WANT_READ);
		assert_int_equal(p->io.in_len, 0);
	}
	assert_int_equal(at, n);
	mem_free(bytes);
}

static void send_down(struct pair *p, const char *data, size_t n, char *got)
{
	const char *why = NULL;
	size_t at = 0, count;

	assert_int_equal(tls_write(p->server, data, n, &why), TLS_OK);
	pair_to_client(p);
	while (at < n && SSL_read_ex(p->client, got + at, n - at, &count) == 1)
		at += count;
	assert_int_equal(at, n);
}

static void test_megabyte_both_ways(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	char *data = mem_alloc(MEGABYTE), *got = mem_alloc(MEGABYTE + 1);

	fill(data, MEGABYTE);
	for (size_t i = 0; i < COUNT_OF(versions); i++) {
		struct pair p;

		open_ready(*state, &p, versions[i]);
		memset(got, 0, MEGABYTE);
		send_up(&p, data, MEGABYTE, got);
		assert_memory_equal(data, got, MEGABYTE);
		memset(got, 0, MEGABYTE);
		send_down(&p, data, MEGABYTE, got);
		assert_memory_equal(data, got, MEGABYTE);
		pair_close(&p);
	}
	mem_free(data);
	mem_free(got);
}

/* What came behind the client's last flight in the same bytes is read after the handshake. */
static void test_data_behind_the_handshake(void **state)
{
	struct fixture *f = *state;
	struct pair p;
	const char *why = NULL;
	size_t n, count;
	char got[16];

	pair_open(&p, f->certs, NULL, false, NULL);
	SSL_do_handshake(p.client);
	char *bytes = pair_take(&p, &n);
	p.io.in = bytes;
	p.io.in_len = n;
	assert_int_equal(tls_handshake(p.server, &p.io, &why), TLS_WANT_READ);
	mem_free(bytes);
	pair_to_client(&p);
	assert_int_equal(SSL_do_handshake(p.client), 1);
	SSL_write(p.client, "<stream>", 8);
	bytes = pair_take(&p, &n);
	p.io.in = bytes;
	p.io.in_len = n;
	assert_int_equal(tls_handshake(p.server, &p.io, &why), TLS_OK);
	assert_true(p.io.in_len > 0);
	assert_int_equal(tls_read(p.server, got, sizeof got, &count, &why), TLS_OK);
	assert_memory_equal(got, "<stream>", 8);
	assert_int_equal(tls_read(p.server, got, sizeof got, &count, &why), TLS_WANT_READ);
	mem_free(bytes);
	pair_close(&p);
}

/* Many connections of one BIO, in the middle of their handshakes at once. */
static void test_connections_share_the_bio(void **state)
{
	enum { COUNT = 20 };
	struct fixture *f = *state;
	struct pair p[COUNT];
	struct tls_io io;
	const char *why = NULL;

	tls_io_init(&io);
	for (size_t i = 0; i < COUNT; i++) {
		pair_open(&p[i], f->certs, NULL, false, served[i % 2]);
		tls_free(p[i].server);
		p[i].server = tls_accept(&io, f->certs, NULL, false);
	}
	for (int turn = 0; turn < 3; turn++)
		for (size_t i = 0; i < COUNT; i++) {
			size_t n;
			if (p[i].is_gone)
				continue;
			SSL_do_handshake(p[i].client);
			char *bytes = pair_take(&p[i], &n);
			io.in = bytes;
			io.in_len = n;
			if (n)
				assert_int_not_equal(tls_handshake(p[i].server, &io, &why), TLS_BROKEN);
			mem_free(bytes);
			buffer_add(&p[i].io.out, io.out.data, io.out.len);
			io.out.len = 0;
			pair_to_client(&p[i]);
			if (i == 7 && turn == 0) { /* one goes away in the middle */
				tls_free(p[i].server);
				p[i].server = tls_accept(&io, f->certs, NULL, false);
				p[i].is_gone = true;
			}
		}
	for (size_t i = 0; i < COUNT; i++)
		if (!p[i].is_gone)
			assert_string_equal(tls_server_name(p[i].server), served[i % 2]);
	for (size_t i = 0; i < COUNT; i++)
		pair_close(&p[i]);
	tls_io_free(&io);
}

/* ---- the end */

static void test_close_notify(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	for (size_t i = 0; i < COUNT_OF(versions); i++) {
		struct pair p;
		const char *why = NULL;
		char got[16];
		size_t n, count;

		open_ready(*state, &p, versions[i]);
		SSL_write(p.client, "bye", 3);
		SSL_shutdown(p.client);
		char *bytes = pair_take(&p, &n);
		p.io.in = bytes;
		p.io.in_len = n;
		assert_int_equal(tls_read(p.server, got, sizeof got, &count, &why), TLS_OK);
		assert_int_equal(count, 3);
		assert_int_equal(tls_read(p.server, got, sizeof got, &count, &why), TLS_CLOSED);
		assert_int_equal(count, 0);
		assert_int_equal(tls_read(p.server, got, sizeof got, &count, &why), TLS_CLOSED);
		mem_free(bytes);

		tls_shutdown(p.server);
		assert_true(p.io.out.len > 0);
		pair_to_client(&p);
		assert_int_equal(SSL_read(p.client, got, sizeof got), 0);
		assert_int_equal(SSL_get_error(p.client, 0), SSL_ERROR_ZERO_RETURN);
		tls_shutdown(p.server);
		assert_int_equal(p.io.out.len, 0); /* once */
		pair_close(&p);
	}
}

static void test_forged_record(void **state)
{
	struct pair p;
	const char *why = NULL;
	char got[16];
	size_t n, count;

	open_ready(*state, &p, TLS1_3_VERSION);
	SSL_write(p.client, "data", 4);
	char *bytes = pair_take(&p, &n);
	bytes[n - 1] ^= 1;
	p.io.in = bytes;
	p.io.in_len = n;
	assert_int_equal(tls_read(p.server, got, sizeof got, &count, &why), TLS_BROKEN);
	assert_string_equal(why, "decryption failed or bad record mac");
	assert_int_equal(tls_write(p.server, "x", 1, &why), TLS_BROKEN);
	tls_shutdown(p.server);
	mem_free(bytes);
	pair_close(&p);
}

static void test_renegotiation_is_refused(void **state)
{
	struct pair p;
	const char *why = NULL;
	char got[16];
	size_t n, count;

	open_ready(*state, &p, TLS1_2_VERSION);
	SSL_renegotiate(p.client);
	SSL_do_handshake(p.client);
	char *bytes = pair_take(&p, &n);
	assert_true(n > 0);
	p.io.in = bytes;
	p.io.in_len = n;
	assert_int_not_equal(tls_read(p.server, got, sizeof got, &count, &why), TLS_OK);
	pair_to_client(&p);
	assert_true(SSL_do_handshake(p.client) <= 0);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
	mem_free(bytes);
	pair_close(&p);
}

static void test_key_update(void **state)
{
	struct pair p;
	char data[100], got[101];

	open_ready(*state, &p, TLS1_3_VERSION);
	fill(data, sizeof data);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(SSL_key_update(p.client, SSL_KEY_UPDATE_REQUESTED), 1);
		send_up(&p, data, sizeof data, got);
		assert_memory_equal(data, got, sizeof data);
		send_down(&p, data, sizeof data, got);
		assert_memory_equal(data, got, sizeof data);
	}
	pair_close(&p);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificate_by_name),
		cmocka_unit_test(test_fallback),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_snapshot_lives_on),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_old_versions_are_refused),
		cmocka_unit_test(test_ciphers_and_curves),
		cmocka_unit_test(test_hello_in_small_pieces),
		cmocka_unit_test(test_bad_hello),
		cmocka_unit_test(test_megabyte_both_ways),
		cmocka_unit_test(test_data_behind_the_handshake),
		cmocka_unit_test(test_connections_share_the_bio),
		cmocka_unit_test(test_close_notify),
		cmocka_unit_test(test_forged_record),
		cmocka_unit_test(test_renegotiation_is_refused),
		cmocka_unit_test(test_key_update),
	};
	return cmocka_run_group_tests(tests, make_fixture, drop_fixture);
}
