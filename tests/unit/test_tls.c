/* test_tls.c - server/tls.c against a real OpenSSL client, over memory: which certificate is shown, what
 * is refused and how, data both ways, the end; and what is said about certificates that are not right. */
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

static const char *const served[] = { "example.org", "example.com", "b\303\274cher.example" };

struct fixture {
	char dir[32];
	struct tls_certs *certs;
};

static char *in_dir(const struct fixture *f, const char *name) /* the caller frees it */
{
	return mem_printf("%s/%s", f->dir, name);
}

static int make_fixture(void **state)
{
	struct fixture *f = mem_zalloc(sizeof *f);
	char *problems;

	pair_make_dir(f->dir);
	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = "example.org" });
	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = "example.com" });
	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = "xn--bcher-kva.example" });
	f->certs =
	    tls_certs_load(&(struct tls_sources){ .dir = f->dir }, served, COUNT_OF(served), &problems);
	if (problems)
		fail_msg("%s", problems);
	*state = f;
	return 0;
}

static int drop_fixture(void **state)
{
	struct fixture *f = *state;

	tls_certs_unref(f->certs);
	pair_remove_dir(f->dir);
	mem_free(f);
	return 0;
}

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

/* ---- certificates that are not right */

/* Loads one domain; `sentence` must be in what is said, NULL: nothing may be said. */
static void expect_problem(const struct fixture *f, const char *domain, const char *sentence,
                           bool is_usable)
{
	char *problems;
	struct tls_certs *c = tls_certs_load(&(struct tls_sources){ .dir = f->dir }, &domain, 1, &problems);

	if (!sentence != !problems || (sentence && !strstr(problems, sentence)))
		fail_msg("%s: expected \"%s\", got \"%s\"", domain, sentence, problems);
	assert_int_equal(tls_certs_find(c, domain) != NULL, is_usable);
	if (!is_usable) {
		struct tls_io io;
		tls_io_init(&io);
		assert_null(tls_accept(&io, c, domain, false));
		tls_io_free(&io);
	}
	mem_free(problems);
	tls_certs_unref(c);
}

static FILE *open_file(const struct fixture *f, const char *name, const char *mode)
{
	char *path = in_dir(f, name);
	FILE *file = fopen(path, mode);

	assert_non_null(file);
	mem_free(path);
	return file;
}

static void write_file(const struct fixture *f, const char *name, const char *text)
{
	FILE *file = open_file(f, name, "w");

	fputs(text, file);
	fclose(file);
}

/* `mode`: "w", or "a" to write behind what is there. */
static void copy_file(const struct fixture *f, const char *from, const char *to, const char *mode)
{
	char bytes[8192];
	FILE *in = open_file(f, from, "r"), *out = open_file(f, to, mode);
	size_t n = fread(bytes, 1, sizeof bytes, in);

	assert_int_equal(fwrite(bytes, 1, n, out), n);
	fclose(in);
	fclose(out);
}

static void test_certificate_warnings(void **state)
{
	const struct fixture *f = *state;

	pair_make_certificate(
	    f->dir, &(struct pair_certificate){ .name = "old.example", .from = -9000, .until = -60 });
	expect_problem(f, "old.example", "old.example.crt: ended on ", true);
	pair_make_certificate(f->dir,
	                      &(struct pair_certificate){ .name = "soon.example", .until = 3L * 86400 });
	expect_problem(f, "soon.example", "soon.example.crt: ends on ", true);
	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = "early.example", .from = 9000 });
	expect_problem(f, "early.example", "early.example.crt: is not valid yet", true);

	pair_make_certificate(f->dir,
	                      &(struct pair_certificate){ .name = "a.example", .file = "b.example" });
	expect_problem(f, "b.example", "b.example.crt: does not name b.example", true);
	pair_make_certificate(
	    f->dir, &(struct pair_certificate){ .name = "*.wild.example", .file = "x.wild.example" });
	expect_problem(f, "x.wild.example", NULL, true);
	copy_file(f, "x.wild.example.crt", "wild.example.crt", "w");
	copy_file(f, "x.wild.example.key", "wild.example.key", "w");
	expect_problem(f, "wild.example", "wild.example.crt: does not name wild.example", true);
}

static void test_files_of_a_domain(void **state)
{
	const struct fixture *f = *state;
	const char *const two[] = { "nobody.example", "example.org" };
	char *problems, *expected;

	/* One without files does not stand in the way of the other. */
	struct tls_certs *c = tls_certs_load(&(struct tls_sources){ .dir = f->dir }, two, 2, &problems);
	expected =
	    mem_printf("%s/nobody.example.crt: missing, so nobody.example has no TLS; put its certificate "
	               "chain there and the key into nobody.example.key (or both into nobody.example.pem), "
	               "then reload.\n",
	               f->dir);
	assert_string_equal(problems, expected);
	assert_non_null(tls_certs_find(c, "example.org"));
	assert_null(tls_certs_find(c, "nobody.example"));
	tls_certs_unref(c);
	mem_free(problems);
	mem_free(expected);

	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = "one.example", .file = "parts" });
	copy_file(f, "parts.crt", "one.example.pem", "w");
	copy_file(f, "parts.key", "one.example.pem", "a");
	expect_problem(f, "one.example", NULL, true);
	copy_file(f, "parts.crt", "one.example.crt", "w"); /* goes before the .pem, but needs its key */
	expect_problem(f, "one.example", "one.example.key: missing; put the private key of ", false);
	copy_file(f, "example.org.key", "one.example.key", "w");
	expect_problem(f, "one.example", "one.example.key: is not the key that the certificate in ", false);

	pair_make_certificate(
	    f->dir, &(struct pair_certificate){ .name = "rsa", .file = "rsa", .key_type = "RSA" });
	copy_file(f, "rsa.key", "one.example.key", "w");
	expect_problem(f, "one.example", "one.example.key: is not the key that the certificate in ", false);

	expect_problem(f, "../example.org", "../example.org: is no domain", false);

	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = "xn--caf-dma.example" });
	expect_problem(f, "caf\303\251.example", NULL, true);
}

static void test_files_that_are_none(void **state)
{
	const struct fixture *f = *state;

	copy_file(f, "example.org.key", "junk.example.key", "w");
	write_file(f, "junk.example.crt", "");
	expect_problem(f, "junk.example", "junk.example.crt: holds no certificate that can be used", false);
	write_file(f, "junk.example.crt", "not PEM at all\n");
	expect_problem(f, "junk.example", "junk.example.crt: holds no certificate that can be used", false);
	copy_file(f, "example.org.crt", "junk.example.crt", "w");
	write_file(f, "junk.example.key", "");
	expect_problem(f, "junk.example", "junk.example.key: holds no private key in PEM form", false);
	copy_file(f, "example.org.crt", "junk.example.key", "w");
	expect_problem(f, "junk.example", "junk.example.key: holds no private key in PEM form", false);

	pair_make_certificate(
	    f->dir, &(struct pair_certificate){ .name = "locked.example", .passphrase = "secret" });
	expect_problem(f, "locked.example", "locked.example.key: is locked by a passphrase", false);

	char *key = in_dir(f, "junk.example.key");
	chmod(key, 0);
	if (access(key, R_OK) != 0) /* root may read it all the same */
		expect_problem(f, "junk.example", "junk.example.key: cannot be read (Permission denied)",
		               false);
	mem_free(key);
}

static void make_folder(const struct fixture *f, const char *name)
{
	char *path = in_dir(f, name);

	assert_int_equal(mkdir(path, 0700), 0);
	mem_free(path);
}

static void move_file(const struct fixture *f, const char *from, const char *to)
{
	char *old = in_dir(f, from), *new = in_dir(f, to);

	assert_int_equal(rename(old, new), 0);
	mem_free(old);
	mem_free(new);
}

/* As certbot and Kubernetes leave them: in a folder of the domain. */
static void test_folders(void **state)
{
	static const char *const layouts[][2] = { { "fullchain.pem", "privkey.pem" },
		                                  { "tls.crt", "tls.key" } };
	const struct fixture *f = *state;

	for (unsigned i = 0; i < COUNT_OF(layouts); i++) {
		char *chain = mem_printf("folder.example/%s", layouts[i][0]);
		char *key = mem_printf("folder.example/%s", layouts[i][1]);

		make_folder(f, "folder.example");
		expect_problem(f, "folder.example", "missing, so folder.example has no TLS", false);
		pair_make_certificate(f->dir,
		                      &(struct pair_certificate){ .name = "folder.example", .file = "it" });
		move_file(f, "it.crt", chain);
		expect_problem(f, "folder.example", "missing; put the private key of ", false);
		move_file(f, "it.key", key);
		expect_problem(f, "folder.example", NULL, true);
		move_file(f, key, "it.key");
		move_file(f, chain, "it.crt");
		mem_free(chain);
		mem_free(key);
		chain = in_dir(f, "folder.example");
		assert_int_equal(rmdir(chain), 0);
		mem_free(chain);
	}
}

/* A domain without files of its own has those of the domain above, if they name it. */
static void test_wildcards(void **state)
{
	const struct fixture *f = *state;

	pair_make_certificate(
	    f->dir, &(struct pair_certificate){ .name = "up.example", .also = ",DNS:*.up.example" });
	expect_problem(f, "chat.up.example", NULL, true);
	expect_problem(f, "deep.chat.up.example", "missing, so deep.chat.up.example has no TLS", false);
	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = "plain.example" });
	expect_problem(f, "chat.plain.example", "missing, so chat.plain.example has no TLS", false);
	pair_make_certificate(
	    f->dir, &(struct pair_certificate){ .name = "*.lego.example", .file = "_.lego.example" });
	expect_problem(f, "chat.lego.example", NULL, true);
	expect_problem(f, "lego.example", "missing, so lego.example has no TLS", false);
}

static uint64_t mark_of(const struct fixture *f, const char *domain)
{
	return tls_files_mark(&(struct tls_sources){ .dir = f->dir }, &domain, 1);
}

static void link_to(const struct fixture *f, const char *target, const char *name)
{
	char *path = in_dir(f, name), *next = in_dir(f, "next");

	assert_int_equal(symlink(target, next), 0);
	assert_int_equal(rename(next, path), 0);
	mem_free(path);
	mem_free(next);
}

/* The mark changes with what the links point at. */
static void test_mark(void **state)
{
	const struct fixture *f = *state;
	uint64_t none = mark_of(f, "linked.example"), first, second;

	pair_make_certificate(f->dir,
	                      &(struct pair_certificate){ .name = "linked.example", .file = "one" });
	pair_make_certificate(f->dir,
	                      &(struct pair_certificate){ .name = "linked.example", .file = "two" });
	link_to(f, "one.crt", "linked.example.crt");
	link_to(f, "one.key", "linked.example.key");
	first = mark_of(f, "linked.example");
	assert_true(first != none);
	assert_true(first == mark_of(f, "linked.example"));
	link_to(f, "two.crt", "linked.example.crt");
	link_to(f, "two.key", "linked.example.key");
	second = mark_of(f, "linked.example");
	assert_true(second != first && second != none);
	link_to(f, "nothing.crt", "linked.example.crt");
	assert_true(mark_of(f, "linked.example") != second);
}

static int chain_length(SSL_CTX *context)
{
	STACK_OF(X509) *chain = NULL;

	SSL_CTX_get0_chain_certs(context, &chain);
	return sk_X509_num(chain);
}

/* Two certificates in one file, as authorities send them. */
static void add_to_chain(const struct fixture *f, const char *chain, const char *other)
{
	char *from = in_dir(f, other), *to = in_dir(f, chain);
	FILE *in = fopen(from, "r"), *out = fopen(to, "a");
	int c;

	assert_non_null(in);
	assert_non_null(out);
	while ((c = getc(in)) != EOF)
		putc(c, out);
	fclose(in);
	assert_int_equal(fclose(out), 0);
	mem_free(from);
	mem_free(to);
}

/* New files that are of no use leave what was: the certificate with its chain. */
static void test_previous_goes_on(void **state)
{
	const struct fixture *f = *state;
	const char *domain = "renewed.example";
	char *problems;
	struct tls_sources from = { .dir = f->dir };
	unsigned count;

	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = domain });
	add_to_chain(f, "renewed.example.crt", "example.com.crt");
	struct tls_certs *first = tls_certs_load(&from, &domain, 1, &problems);
	assert_null(problems);
	assert_int_equal(chain_length(tls_certs_find(first, domain)), 1);
	from.previous = first;
	write_file(f, "renewed.example.crt", "half of a certifi");
	struct tls_certs *second = tls_certs_load(&from, &domain, 1, &problems);
	assert_non_null(strstr(problems, "holds no certificate that can be used"));
	assert_non_null(strstr(problems, "until then the certificate that was there before is used"));
	assert_ptr_equal(SSL_CTX_get0_certificate(tls_certs_find(second, domain)),
	                 SSL_CTX_get0_certificate(tls_certs_find(first, domain)));
	assert_int_equal(chain_length(tls_certs_find(second, domain)), 1);
	assert_true(tls_certs_list(second, &count)->until != 0);
	assert_int_equal(count, 1);
	assert_non_null(tls_certs_list(second, &count)->problems);
	mem_free(problems);
	tls_certs_unref(first);
	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = domain });
	from.previous = second;
	struct tls_certs *third = tls_certs_load(&from, &domain, 1, &problems);
	assert_null(problems);
	assert_true(tls_certs_find(third, domain) != tls_certs_find(second, domain));
	tls_certs_unref(second);
	tls_certs_unref(third);
}

static void test_what_is_told(void **state)
{
	struct fixture *f = *state;
	unsigned count;
	const struct tls_cert *list = tls_certs_list(f->certs, &count);

	assert_int_equal(count, COUNT_OF(served));
	assert_string_equal(list[1].domain, "example.com");
	assert_non_null(strstr(list[1].file, "/example.com.crt"));
	assert_non_null(strstr(list[1].key, "/example.com.key"));
	assert_non_null(strstr(list[1].subject, "O=test"));
	assert_string_equal(list[1].names, "example.com");
	assert_int_equal(list[1].until, tls_certs_expiry(f->certs, "example.com"));
	assert_null(list[1].problems);

	static const struct {
		int64_t left;
		unsigned age;
	} ages[] = { { 31 * 86400, 0 }, { 30 * 86400, 1 }, { 15 * 86400, 1 }, { 14 * 86400, 2 },
		     { 7 * 86400, 3 },  { 86401, 3 },      { 86400, 4 },      { 1, 4 },
		     { 0, 5 },          { -9, 5 } };
	for (unsigned i = 0; i < COUNT_OF(ages); i++)
		assert_int_equal(tls_cert_age(1000 + ages[i].left, 1000), ages[i].age);
}

/* ---- the client's certificate */

#define XMPP_NAME ",otherName:1.3.6.1.5.5.7.8.5;UTF8:"

/* Connects with that certificate (NULL: none); says how many names of each kind are believed. The handshake
 * succeeds whatever the client has. */
static void expect_names_at(struct fixture *f, struct tls_certs *certs, const char *shown, int version,
                            unsigned xmpp, unsigned emails, const char *first)
{
	const char *names[TLS_NAMES_MAX], *why = NULL;
	struct arena a = { 0 };
	struct pair p;

	pair_open(&p, certs, NULL, false, served[0]);
	assert_true(SSL_set_max_proto_version(p.client, version));
	if (shown) {
		char *chain = mem_printf("%s/%s.crt", f->dir, shown),
		     *key = mem_printf("%s/%s.key", f->dir, shown);
		assert_int_equal(SSL_use_certificate_file(p.client, chain, SSL_FILETYPE_PEM), 1);
		assert_int_equal(SSL_use_PrivateKey_file(p.client, key, SSL_FILETYPE_PEM), 1);
		mem_free(chain);
		mem_free(key);
	}
	assert_int_equal(pair_handshake(&p, MEGABYTE, &why), TLS_OK);
	assert_int_equal(tls_client_names(p.server, TLS_XMPP_NAME, &a, names), xmpp);
	if (xmpp)
		assert_string_equal(names[0], first);
	assert_int_equal(tls_client_names(p.server, TLS_EMAIL_NAME, &a, names), emails);
	if (!xmpp && emails)
		assert_string_equal(names[0], first);
	assert_false(SSL_session_reused(p.server));
	arena_free(&a);
	pair_close(&p);
}

/* The same at a server that trusts `authority` (NULL: asks no client). */
static void expect_names(struct fixture *f, const char *authority, const char *shown, int version,
                         unsigned xmpp, unsigned emails, const char *first)
{
	char *problems, *ca = authority ? mem_printf("%s/%s.crt", f->dir, authority) : NULL;
	struct tls_certs *certs =
	    tls_certs_load(&(struct tls_sources){ .dir = f->dir, .client_ca = ca }, served, 1, &problems);

	assert_null(problems);
	expect_names_at(f, certs, shown, version, xmpp, emails, first);
	tls_certs_unref(certs);
	mem_free(ca);
}

static void test_client_certificates(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct fixture *f = *state;

	pair_make_certificate(f->dir,
	                      &(struct pair_certificate){ .name = "juliet",
	                                                  .also = XMPP_NAME "juliet@example.org" XMPP_NAME
	                                                                    "j@example.com,email:j@x" });
	pair_make_certificate(
	    f->dir, &(struct pair_certificate){ .name = "mail", .also = ",email:romeo@example.org" });
	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = "bare" });
	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = "past",
	                                                          .from = -9000,
	                                                          .until = -60,
	                                                          .also = XMPP_NAME "juliet@example.org" });
	pair_make_certificate(
	    f->dir, &(struct pair_certificate){ .name = "many",
	                                        .also = XMPP_NAME
	                                        "a@x" XMPP_NAME "b@x" XMPP_NAME "c@x" XMPP_NAME
	                                        "d@x" XMPP_NAME "e@x" XMPP_NAME "f@x" XMPP_NAME
	                                        "g@x" XMPP_NAME "h@x" XMPP_NAME "i@x" XMPP_NAME "j@x" });
	for (unsigned i = 0; i < COUNT_OF(versions); i++) {
		int v = versions[i];
		expect_names(f, "juliet", "juliet", v, 2, 1, "juliet@example.org");
		expect_names(f, "mail", "mail", v, 0, 1, "romeo@example.org");
		expect_names(f, "bare", "bare", v, 0, 0, NULL);
		expect_names(f, "many", "many", v, TLS_NAMES_MAX, 0, "a@x");
		expect_names(f, "juliet", NULL, v, 0, 0, NULL);   /* none is needed */
		expect_names(f, "mail", "juliet", v, 0, 0, NULL); /* nobody vouches for it */
		expect_names(f, "past", "past", v, 0, 0, NULL);   /* it has ended */
		expect_names(f, NULL, "juliet", v, 0, 0, NULL);   /* clients are not asked */
	}
}

/* A domain whose new files are of no use asks its clients about the authorities of today all the same. */
static void test_client_ca_changes(void **state)
{
	struct fixture *f = *state;
	char *problems, *one = in_dir(f, "one-client.crt"), *two = in_dir(f, "two-client.crt");
	struct tls_sources from = { .dir = f->dir, .client_ca = one };

	pair_make_certificate(
	    f->dir, &(struct pair_certificate){ .name = "one-client", .also = ",email:one@example.org" });
	pair_make_certificate(
	    f->dir, &(struct pair_certificate){ .name = "two-client", .also = ",email:two@example.org" });
	struct tls_certs *first = tls_certs_load(&from, served, 1, &problems);
	assert_null(problems);
	expect_names_at(f, first, "one-client", TLS1_3_VERSION, 0, 1, "one@example.org");
	expect_names_at(f, first, "two-client", TLS1_3_VERSION, 0, 0, NULL);

	write_file(f, "example.org.crt", "half of a certifi");
	from.previous = first;
	from.client_ca = two;
	struct tls_certs *second = tls_certs_load(&from, served, 1, &problems);
	assert_non_null(strstr(problems, "until then the certificate that was there before is used"));
	mem_free(problems);
	expect_names_at(f, second, "one-client", TLS1_3_VERSION, 0, 0, NULL);
	expect_names_at(f, second, "two-client", TLS1_3_VERSION, 0, 1, "two@example.org");
	expect_names_at(f, first, "one-client", TLS1_3_VERSION, 0, 1, "one@example.org"); /* untouched */

	from.previous = second;
	from.client_ca = NULL;
	struct tls_certs *third = tls_certs_load(&from, served, 1, &problems);
	mem_free(problems);
	expect_names_at(f, third, "two-client", TLS1_3_VERSION, 0, 0, NULL);
	tls_certs_unref(first);
	tls_certs_unref(second);
	tls_certs_unref(third);
	pair_make_certificate(f->dir, &(struct pair_certificate){ .name = "example.org" });
	mem_free(one);
	mem_free(two);
}

static void test_client_ca_file(void **state)
{
	struct fixture *f = *state;
	char *problems, *ca = in_dir(f, "no-authorities");
	struct tls_certs *certs =
	    tls_certs_load(&(struct tls_sources){ .dir = f->dir, .client_ca = ca }, served, 1, &problems);

	assert_non_null(strstr(problems, "(node.client_ca); mend it, then reload"));
	assert_non_null(tls_certs_find(certs, served[0])); /* the server's own are none the worse */
	mem_free(problems);
	tls_certs_unref(certs);
	mem_free(ca);
}

static void test_nothing_to_load(void **state)
{
	char *problems;
	struct tls_certs *c = tls_certs_load(
	    &(struct tls_sources){ .dir = ((struct fixture *)*state)->dir }, NULL, 0, &problems);

	assert_null(problems);
	assert_null(tls_certs_find(c, "example.org"));
	tls_certs_unref(c);
	tls_certs_unref(NULL);
	tls_free(NULL);
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
		cmocka_unit_test(test_certificate_warnings),
		cmocka_unit_test(test_files_of_a_domain),
		cmocka_unit_test(test_files_that_are_none),
		cmocka_unit_test(test_folders),
		cmocka_unit_test(test_wildcards),
		cmocka_unit_test(test_mark),
		cmocka_unit_test(test_previous_goes_on),
		cmocka_unit_test(test_what_is_told),
		cmocka_unit_test(test_client_certificates),
		cmocka_unit_test(test_client_ca_changes),
		cmocka_unit_test(test_client_ca_file),
		cmocka_unit_test(test_nothing_to_load),
	};
	return cmocka_run_group_tests(tests, make_fixture, drop_fixture);
}
