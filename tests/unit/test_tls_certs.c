/* test_tls_certs.c - server/tls_certs.c: what is said about certificates that are not right, what follows when
 * their files change; and what server/tls.c believes of a client's certificate. */
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
