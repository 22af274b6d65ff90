/* tls.h - TLS with OpenSSL: one context per served domain, chosen by SNI, and the one BIO per reactor
 * through which all its connections read and write (14 KB per idle connection). tls_certs.c loads
 * the certificates. */
#ifndef MUSTER_TLS_H
#define MUSTER_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

/* ---- certificates: an immutable, counted snapshot, replaced whole on reload */

struct tls_certs;

/* Where they come from. */
struct tls_sources {
	const char *dir;
	/* A file of authorities that vouch for clients; NULL: clients are not asked for certificates. */
	const char *client_ca;
	struct tls_certs *previous; /* what is in use, or NULL: stays where new files cannot be used */
};

/* Loads the certificate of every domain in the list: see tls_certs.c for the files that are looked for.
 * *problems gets a line for each trouble (NULL when there is none; the caller frees it). A domain without
 * files, or with a key that does not fit, has no context then. A certificate that does not name it or has
 * expired is used all the same. */
struct tls_certs *tls_certs_load(const struct tls_sources *from, const char *const *domains, unsigned count,
                                 char **problems);
struct tls_certs *tls_certs_ref(struct tls_certs *c);
void tls_certs_unref(struct tls_certs *c);
/* The context for a domain (prepared, U-labels or A-labels), or NULL. */
SSL_CTX *tls_certs_find(const struct tls_certs *c, const char *domain);
/* When the certificate of that domain ends, Unix seconds; 0 when there is none. */
int64_t tls_certs_expiry(const struct tls_certs *c, const char *domain);

/* What is known of one domain's certificate. */
struct tls_cert {
	const char *domain;     /* as given to tls_certs_load */
	const char *file, *key; /* NULL: none was found */
	const char *subject;    /* NULL, like the next three, where it cannot be used */
	const char *names;      /* the domains that it names, with blanks between */
	int64_t from, until;    /* Unix seconds */
	const char *problems;   /* lines, or NULL */
};
/* In the order of the list that was loaded; as many as domains. */
const struct tls_cert *tls_certs_list(const struct tls_certs *c, unsigned *count);

/* How near the end is: 0 far away; 1 within 30 days, 2 within 14, 3 within 7, 4 within one, 5 past. */
unsigned tls_cert_age(int64_t until, int64_t now);

/* A number that changes when any of the files that tls_certs_load looks for changes, comes, goes, or is
 * linked elsewhere. Looks at the files only; thread-safe, and may take its time. */
uint64_t tls_files_mark(const struct tls_sources *from, const char *const *domains, unsigned count);
/* What it was when these were loaded. */
uint64_t tls_certs_mark(const struct tls_certs *c);

/* ---- input and output of one reactor's connections */

/* The shared BIO reads from `in` and appends to `out`. Whoever uses a connection points these to its own
 * bytes first and takes what is in `out` before the next connection is used. */
struct tls_io {
	BIO *bio;
	BIO_METHOD *method;
	const char *in;
	size_t in_len;
	struct buffer out;
};
void tls_io_init(struct tls_io *io);
void tls_io_free(struct tls_io *io); /* after every connection of it is freed */

/* A server connection, to be freed by tls_free. TLS 1.2 and newer, no renegotiation, no compression,
 * tickets off, buffers released when idle. With `direct` (XEP-0368) ALPN xmpp-client is answered and any
 * other ALPN list refused. `certs` is consulted by SNI when the hello arrives (and must live until then:
 * the connection holds its own reference); without SNI, or with a name that is not served, `fallback`'s
 * context is used, NULL: the first domain's. Returns NULL when there is no usable certificate at all. */
SSL *tls_accept(struct tls_io *io, struct tls_certs *certs, const char *fallback, bool direct);
/* A connection whose handshake is over leaves its reactor, for tls_attach on another thread. */
void tls_detach(SSL *ssl);
void tls_attach(SSL *ssl, struct tls_io *io);
void tls_free(SSL *ssl); /* instead of SSL_free, in any state; NULL is fine */
/* A hello that names a domain with a certificate: which one (as given to tls_certs_load); NULL before the
 * handshake, without SNI, or when it named another. */
const char *tls_server_name(const SSL *ssl);

enum tls_result { TLS_OK, TLS_WANT_READ, TLS_CLOSED, TLS_BROKEN };

/* The addresses in the certificate that the client has shown, when the authorities vouch for it; else none.
 * Strings are the arena's. */
enum tls_name { TLS_XMPP_NAME, TLS_EMAIL_NAME };
#define TLS_NAMES_MAX 8
unsigned tls_client_names(SSL *ssl, enum tls_name kind, struct arena *a, const char *names[TLS_NAMES_MAX]);

/* Continues the handshake with what is in io->in. On TLS_BROKEN *why is a short text. */
enum tls_result tls_handshake(SSL *ssl, struct tls_io *io, const char **why);
/* Reads plaintext; *got bytes, at most one record. TLS_WANT_READ when io->in is used up; TLS_CLOSED after
 * the peer's close_notify. */
enum tls_result tls_read(SSL *ssl, char *out, size_t size, size_t *got, const char **why);
/* Whether tls_read may find more. Asking it in vain costs as much as a short record: OpenSSL makes itself a buffer
 * for what may come, and frees it. */
bool tls_has_more(const SSL *ssl, const struct tls_io *io);
/* Encrypts all of it into io->out (never blocks: the BIO takes everything). */
enum tls_result tls_write(SSL *ssl, const char *data, size_t n, const char **why);
/* Sends close_notify into io->out. */
void tls_shutdown(SSL *ssl);

#endif
