/* tls_pair.h - for unit tests: certificates made on the spot, and a real OpenSSL client that talks to
 * server/tls.c through memory. The client checks no certificate. cmocka.h comes before it. */
#ifndef MUSTER_TLS_PAIR_H
#define MUSTER_TLS_PAIR_H

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "tls.h"

struct pair_certificate {
	const char *name;     /* subjectAltName; the file too unless `file` is given */
	const char *file;     /* without .crt and .key */
	long from, until;     /* seconds from now; 0 and 0: a good one */
	const EVP_MD *hash;   /* of the signature; NULL: SHA-256 */
	const char *key_type; /* "EC", "RSA" or "ED25519"; NULL: EC */
	const char *passphrase;
	const char *also; /* in the subjectAltName, as openssl writes it: ",email:juliet@example.org" */
};

/* A new directory for certificates; its path into `dir`. */
static inline void pair_make_dir(char dir[32])
{
	snprintf(dir, 32, "/tmp/muster-test-%6s", "");
	for (char *p = dir; *p; p++)
		*p = *p == ' ' ? 'X' : *p;
	ASSERT(mkdtemp(dir));
}

static inline void pair_remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;

	ASSERT(d);
	while ((entry = readdir(d)))
		unlinkat(dirfd(d), entry->d_name, 0); /* "." and ".." stay */
	closedir(d);
	rmdir(dir);
}

/* `passphrase` NULL: not encrypted. */
static inline void pair_write_key(const char *dir, const char *file, EVP_PKEY *key, const char *passphrase)
{
	char *path = mem_printf("%s/%s.key", dir, file);
	FILE *f = fopen(path, "w");

	ASSERT(f && PEM_write_PrivateKey(f, key, passphrase ? EVP_aes_256_cbc() : NULL,
	                                 (const unsigned char *)passphrase,
	                                 passphrase ? (int)strlen(passphrase) : 0, NULL, NULL));
	fclose(f);
	mem_free(path);
}

/* Writes FILE.crt and FILE.key into `dir`. */
static inline void pair_make_certificate(const char *dir, const struct pair_certificate *what)
{
	const char *type = what->key_type ? what->key_type : "EC";
	const char *file = what->file ? what->file : what->name;
	bool is_edwards = strcmp(type, "ED25519") == 0;
	EVP_PKEY *key = strcmp(type, "EC") == 0    ? EVP_PKEY_Q_keygen(NULL, NULL, type, "P-256")
	                : strcmp(type, "RSA") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, type, (size_t)2048)
	                                           : EVP_PKEY_Q_keygen(NULL, NULL, type);
	X509 *x = X509_new();
	char *san = mem_printf("DNS:%s%s", what->name, what->also ? what->also : ""),
	     *path = mem_printf("%s/%s.crt", dir, file);

	ASSERT(key && x && X509_set_version(x, 2));
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), what->from ? what->from : -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), what->until ? what->until : 90L * 86400);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "O", MBSTRING_ASC,
	                           (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
	ASSERT(extension && X509_add_ext(x, extension, -1));
	X509_EXTENSION_free(extension);
	ASSERT(X509_sign(x, key, is_edwards ? NULL : what->hash ? what->hash : EVP_sha256()));

	FILE *f = fopen(path, "w");
	ASSERT(f && PEM_write_X509(f, x));
	fclose(f);
	pair_write_key(dir, file, key, what->passphrase);
	X509_free(x);
	EVP_PKEY_free(key);
	mem_free(san);
	mem_free(path);
}

struct pair {
	struct tls_io io;
	SSL *server;
	SSL_CTX *context;
	SSL *client;
	bool is_gone; /* for the test that uses it */
};

/* A server connection and a client that has not said anything; set p->client up before the handshake. */
static inline void pair_open(struct pair *p, struct tls_certs *certs, const char *fallback, bool direct,
                             const char *sni)
{
	*p = (struct pair){ 0 };
	tls_io_init(&p->io);
	p->server = tls_accept(&p->io, certs, fallback, direct);
	ASSERT(p->server);
	p->context = SSL_CTX_new(TLS_client_method());
	/* So that the client would speak what the server must refuse. */
	SSL_CTX_set_security_level(p->context, 0);
	SSL_CTX_set_min_proto_version(p->context, TLS1_VERSION);
	p->client = SSL_new(p->context);
	SSL_set_bio(p->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (sni)
		ASSERT(SSL_set_tlsext_host_name(p->client, sni));
	SSL_set_connect_state(p->client);
}

static inline void pair_close(struct pair *p)
{
	SSL_free(p->client);
	SSL_CTX_free(p->context);
	tls_free(p->server);
	tls_io_free(&p->io);
	ERR_clear_error();
}

/* What the server has written goes to the client. */
static inline void pair_to_client(struct pair *p)
{
	if (p->io.out.len)
		BIO_write(SSL_get_rbio(p->client), p->io.out.data, (int)p->io.out.len);
	p->io.out.len = 0;
}

/* Takes what the client has written; the caller frees it. */
static inline char *pair_take(struct pair *p, size_t *n)
{
	char *data;
	long len = BIO_get_mem_data(SSL_get_wbio(p->client), &data);
	char *copy = mem_strndup("", 0);

	if (len > 0) {
		copy = mem_realloc(copy, (size_t)len);
		memcpy(copy, data, (size_t)len);
		(void)BIO_reset(SSL_get_wbio(p->client));
	}
	*n = len > 0 ? (size_t)len : 0;
	return copy;
}

/* Runs the handshake to its end, on the server's side at most `piece` bytes at a time. */
static inline enum tls_result pair_handshake(struct pair *p, size_t piece, const char **why)
{
	enum tls_result result = TLS_WANT_READ;

	for (int turn = 0; turn < 10 && result == TLS_WANT_READ; turn++) {
		size_t n;
		SSL_do_handshake(p->client);
		ERR_clear_error();
		char *bytes = pair_take(p, &n);
		for (size_t at = 0; at < n && result == TLS_WANT_READ; at += piece) {
			p->io.in = bytes + at;
			p->io.in_len = n - at < piece ? n - at : piece;
			result = tls_handshake(p->server, &p->io, why);
		}
		mem_free(bytes);
		pair_to_client(p);
	}
	SSL_do_handshake(p->client); /* to read the server's last flight, or its alert */
	return result;
}

/* ---- for a whole program: a directory, and three hosts with good certificates in it */

static const char *const served[] = { "example.org", "example.com", "b\303\274cher.example" };

struct fixture {
	char dir[32];
	struct tls_certs *certs;
};

static inline char *in_dir(const struct fixture *f, const char *name) /* the caller frees it */
{
	return mem_printf("%s/%s", f->dir, name);
}

static inline int make_fixture(void **state)
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

static inline int drop_fixture(void **state)
{
	struct fixture *f = *state;

	tls_certs_unref(f->certs);
	pair_remove_dir(f->dir);
	mem_free(f);
	return 0;
}

#endif
