/* tls.c - TLS with OpenSSL: see tls.h.
 *
 * Called by the streams of one reactor, one connection at a time, and for the certificates by whoever
 * loads the configuration. OpenSSL's error queue is per thread: it is emptied before each call into a
 * connection, so that one connection's trouble is never read as another's.
 *
 * A connection is an SSL with a struct connection as its app data; tls_free ends both. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "jid.h"

#define CURVES "X25519:P-256"
#define CIPHERS_TLS12 "ECDHE+AESGCM:ECDHE+CHACHA20" /* TLS 1.3 has good ones only */
#define WARN_DAYS 7 /* a certificate that ends sooner is told about at each load */

/* ---- certificates */

/* A domain stands here under its name and, where that differs, under its A-labels: as in SNI. */
struct name {
	const char *name;
	const char *domain; /* as given to tls_certs_load */
	SSL_CTX *context;
	int64_t expiry;
};

struct tls_certs {
	_Atomic uint32_t refs;
	struct name *names; /* sorted by name */
	unsigned count;
	SSL_CTX *first; /* of the first domain that has one, or NULL */
	struct arena arena;
};

struct connection {
	struct tls_certs *certs; /* until the handshake is over */
	char *server_name;       /* the domain that the hello named, or NULL */
	bool is_direct;
};

/* What is known about one domain while its files are read. */
struct load {
	const char *domain;
	char ascii[256];   /* A-labels */
	char *chain, *key; /* paths; the same for a .pem */
	SSL_CTX *context;
	struct buffer *problems;
};

static int choose_certificate(SSL *ssl, int *alert, void *arg);
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg);

static SSL_CTX *context_new(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	ASSERT(context);
	ASSERT(SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION));
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
	                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	ASSERT(SSL_CTX_set_num_tickets(context, 0));
	ASSERT(SSL_CTX_set1_groups_list(context, CURVES));
	ASSERT(SSL_CTX_set_cipher_list(context, CIPHERS_TLS12));
	SSL_CTX_set_tlsext_servername_callback(context, choose_certificate);
	SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
	return context;
}

/* OpenSSL's words for an error; they live as long as the process. */
static const char *reason(unsigned long error)
{
	const char *words = error ? ERR_reason_error_string(error) : NULL;
	return words ? words : "no reason given";
}

/* Looks for the files of one spelling of the domain. False: there are none. */
static bool find_files(struct load *l, const char *dir, const char *name)
{
	l->chain = mem_printf("%s/%s.crt", dir, name);
	l->key = mem_printf("%s/%s.key", dir, name);
	if (access(l->chain, F_OK) == 0)
		return true;
	mem_free(l->chain);
	mem_free(l->key);
	l->chain = mem_printf("%s/%s.pem", dir, name);
	l->key = mem_strdup(l->chain);
	if (access(l->chain, F_OK) == 0)
		return true;
	mem_free(l->chain);
	mem_free(l->key);
	l->chain = l->key = NULL;
	return false;
}

static bool is_readable(struct load *l, const char *path)
{
	if (access(path, R_OK) == 0)
		return true;
	if (errno == ENOENT)
		buffer_addf(l->problems,
		            "%s: missing; put the private key of %s there (or both into one .pem), "
		            "then reload.\n",
		            path, l->chain);
	else
		buffer_addf(l->problems,
		            "%s: cannot be read (%s); let the server's user read it, then reload.\n", path,
		            strerror(errno));
	return false;
}

/* Nobody sits at a terminal to type a passphrase: OpenSSL would ask there. */
static int refuse_passphrase(char *out, int size, int writing, void *arg)
{
	bool *is_locked = arg;

	(void)out, (void)size, (void)writing;
	*is_locked = true;
	return -1;
}

/* The private key into the context. */
static bool use_key(struct load *l)
{
	bool is_locked = false;

	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb(l->context, refuse_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(l->context, &is_locked);
	bool is_key = SSL_CTX_use_PrivateKey_file(l->context, l->key, SSL_FILETYPE_PEM) == 1;
	SSL_CTX_set_default_passwd_cb_userdata(l->context, NULL); /* nothing is read after this */
	if (is_key && SSL_CTX_check_private_key(l->context) == 1)
		return true;
	unsigned long error = ERR_peek_last_error();
	if (is_key || ERR_GET_LIB(error) == ERR_LIB_X509)
		buffer_addf(l->problems,
		            "%s: is not the key that the certificate in %s was made for; put the right one "
		            "there, then reload.\n",
		            l->key, l->chain);
	else if (is_locked)
		buffer_addf(l->problems,
		            "%s: is locked by a passphrase, and nobody is there to type it; store it "
		            "without (openssl pkey -in OLD -out NEW), then reload.\n",
		            l->key);
	else
		buffer_addf(l->problems,
		            "%s: holds no private key in PEM form (%s); put one there, then reload.\n",
		            l->key, reason(error));
	return false;
}

/* The chain and the key into a new context, in l->context; NULL when they are of no use. */
static void load_context(struct load *l)
{
	if (!is_readable(l, l->chain) || !is_readable(l, l->key))
		return;
	l->context = context_new();
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(l->context, l->chain) == 1) {
		if (use_key(l))
			return;
	} else {
		buffer_addf(l->problems,
		            "%s: holds no certificate that can be used (%s); put the chain there in PEM "
		            "form, %s's own first, then reload.\n",
		            l->chain, reason(ERR_peek_last_error()), l->domain);
	}
	ERR_clear_error();
	SSL_CTX_free(l->context);
	l->context = NULL;
}

static int64_t unix_time(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* What clients will not like in a certificate that can be used. */
static void warn(const struct load *l, X509 *certificate, int64_t expiry)
{
	int64_t now = (int64_t)time(NULL);
	time_t end = (time_t)expiry;
	struct tm tm;
	char day[32] = "?";

	if (gmtime_r(&end, &tm))
		strftime(day, sizeof day, "%Y-%m-%d", &tm);
	/* The name is in a SAN dNSName, or in the CN where there is none (RFC 6125 section 6.4.4). */
	if (X509_check_host(certificate, l->ascii, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) != 1)
		buffer_addf(l->problems,
		            "%s: does not name %s, so clients will refuse it; get one with that name as "
		            "subjectAltName, then reload.\n",
		            l->chain, l->ascii);
	if (unix_time(X509_get0_notBefore(certificate)) > now)
		buffer_addf(l->problems, "%s: is not valid yet; look at this machine's clock.\n", l->chain);
	if (expiry <= now)
		buffer_addf(l->problems, "%s: ended on %s, so clients refuse it; renew it, then reload.\n",
		            l->chain, day);
	else if (expiry - now < WARN_DAYS * 86400)
		buffer_addf(l->problems, "%s: ends on %s; renew it, then reload.\n", l->chain, day);
}

static void add_name(struct tls_certs *c, const char *name, const char *domain, SSL_CTX *context,
                     int64_t expiry)
{
	ASSERT(SSL_CTX_up_ref(context));
	c->names[c->count++] = (struct name){ arena_strdup(&c->arena, name), domain, context, expiry };
}

static void load_domain(struct tls_certs *c, const char *dir, const char *domain, struct buffer *problems)
{
	struct load l = { .domain = domain, .problems = problems };

	if (strchr(domain, '/') || !jid_domain_to_ascii(domain, l.ascii, sizeof l.ascii)) {
		buffer_addf(problems, "%s: is no domain that a certificate could name.\n", domain);
		return;
	}
	if (!find_files(&l, dir, domain) && !find_files(&l, dir, l.ascii)) {
		buffer_addf(problems,
		            "%s/%s.crt: missing, so %s has no TLS; put its certificate chain there and the "
		            "key into %s.key (or both into %s.pem), then reload.\n",
		            dir, domain, domain, domain, domain);
		return;
	}
	load_context(&l);
	if (l.context) {
		X509 *certificate = SSL_CTX_get0_certificate(l.context);
		int64_t expiry = unix_time(X509_get0_notAfter(certificate));
		const char *own = arena_strdup(&c->arena, domain);

		warn(&l, certificate, expiry);
		add_name(c, domain, own, l.context, expiry);
		if (strcmp(l.ascii, domain) != 0)
			add_name(c, l.ascii, own, l.context, expiry);
		if (!c->first)
			c->first = l.context; /* its names hold it */
		SSL_CTX_free(l.context);
	}
	mem_free(l.chain);
	mem_free(l.key);
}

static int name_compare(const void *a, const void *b)
{
	const struct name *one = a, *other = b;
	return strcmp(one->name, other->name);
}

static const struct name *name_find(const struct tls_certs *c, const char *name)
{
	struct name key = { .name = name };
	return c->count ? bsearch(&key, c->names, c->count, sizeof key, name_compare) : NULL;
}

struct tls_certs *tls_certs_load(const char *dir, const char *const *domains, unsigned count,
                                 char **problems)
{
	struct tls_certs *c = mem_zalloc(sizeof *c);
	struct buffer lines = { 0 };

	atomic_init(&c->refs, 1);
	c->names = mem_zalloc((2 * (size_t)count + 1) * sizeof *c->names);
	for (unsigned i = 0; i < count; i++)
		load_domain(c, dir, domains[i], &lines);
	qsort(c->names, c->count, sizeof *c->names, name_compare);
	*problems = lines.data;
	return c;
}

struct tls_certs *tls_certs_ref(struct tls_certs *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void tls_certs_unref(struct tls_certs *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < c->count; i++)
		SSL_CTX_free(c->names[i].context);
	mem_free(c->names);
	arena_free(&c->arena);
	mem_free(c);
}

SSL_CTX *tls_certs_find(const struct tls_certs *c, const char *domain)
{
	const struct name *found = name_find(c, domain);
	return found ? found->context : NULL;
}

int64_t tls_certs_expiry(const struct tls_certs *c, const char *domain)
{
	const struct name *found = name_find(c, domain);
	return found ? found->expiry : 0;
}

/* ---- the hello */

/* The name of SNI as the table has it: small letters, no final dot. */
static bool fold_name(const char *sni, char *out, size_t size)
{
	size_t n = strlen(sni);

	if (n && sni[n - 1] == '.')
		n--;
	if (!n || n >= size)
		return false;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(sni[i] >= 'A' && sni[i] <= 'Z' ? sni[i] + ('a' - 'A') : sni[i]);
	out[n] = '\0';
	return true;
}

static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
	struct connection *c = SSL_get_app_data(ssl);
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	char folded[256];

	(void)alert, (void)arg;
	if (!sni || !fold_name(sni, folded, sizeof folded))
		return SSL_TLSEXT_ERR_NOACK;
	const struct name *found = name_find(c->certs, folded);
	if (!found)
		return SSL_TLSEXT_ERR_NOACK; /* goes on with the fallback */
	ASSERT(SSL_set_SSL_CTX(ssl, found->context));
	mem_free(c->server_name); /* a second hello, after HelloRetryRequest, asks again */
	c->server_name = mem_strdup(found->domain);
	return SSL_TLSEXT_ERR_OK;
}

/* XEP-0368: a client that sends ALPN must name xmpp-client, so that nobody can lead another protocol's
 * client here (ALPACA). A client without ALPN does not get here. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char wanted[] = "xmpp-client";
	const struct connection *c = SSL_get_app_data(ssl);

	(void)arg;
	if (!c->is_direct)
		return SSL_TLSEXT_ERR_NOACK;
	for (unsigned at = 0; at < in_len; at += 1U + in[at]) { /* OpenSSL has checked the lengths */
		if (in[at] != sizeof wanted - 1 || memcmp(in + at + 1, wanted, sizeof wanted - 1) != 0)
			continue;
		*out = wanted;
		*out_len = sizeof wanted - 1;
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- the shared BIO */

static int on_bio_read(BIO *bio, char *out, size_t size, size_t *got)
{
	struct tls_io *io = BIO_get_data(bio);
	size_t n = io->in_len < size ? io->in_len : size;

	BIO_clear_retry_flags(bio);
	*got = n;
	if (!n) {
		BIO_set_retry_read(bio);
		return 0;
	}
	memcpy(out, io->in, n);
	io->in += n;
	io->in_len -= n;
	return 1;
}

static int on_bio_write(BIO *bio, const char *data, size_t n, size_t *written)
{
	struct tls_io *io = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	buffer_add(&io->out, data, n);
	*written = n;
	return 1;
}

static long on_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH; /* what is written has left already; nothing else is known here */
}

void tls_io_init(struct tls_io *io)
{
	*io = (struct tls_io){ 0 };
	io->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "reactor");
	ASSERT(io->method);
	BIO_meth_set_read_ex(io->method, on_bio_read);
	BIO_meth_set_write_ex(io->method, on_bio_write);
	BIO_meth_set_ctrl(io->method, on_bio_ctrl);
	io->bio = BIO_new(io->method);
	ASSERT(io->bio);
	BIO_set_data(io->bio, io);
	BIO_set_init(io->bio, 1);
}

void tls_io_free(struct tls_io *io)
{
	BIO_free(io->bio);
	BIO_meth_free(io->method);
	buffer_free(&io->out);
	*io = (struct tls_io){ 0 };
}

/* ---- connections */

SSL *tls_accept(struct tls_io *io, struct tls_certs *certs, const char *fallback, bool direct)
{
	SSL_CTX *context = fallback ? tls_certs_find(certs, fallback) : NULL;

	if (!context)
		context = certs->first;
	if (!context)
		return NULL;
	SSL *ssl = SSL_new(context);
	ASSERT(ssl);
	struct connection *c = mem_zalloc(sizeof *c);
	c->certs = tls_certs_ref(certs);
	c->is_direct = direct;
	SSL_set_app_data(ssl, c);
	ASSERT(BIO_up_ref(io->bio));
	SSL_set_bio(ssl, io->bio, io->bio);
	SSL_set_accept_state(ssl);
	return ssl;
}

void tls_free(SSL *ssl)
{
	if (!ssl)
		return;
	struct connection *c = SSL_get_app_data(ssl);
	SSL_free(ssl);
	tls_certs_unref(c->certs);
	mem_free(c->server_name);
	mem_free(c);
}

const char *tls_server_name(const SSL *ssl)
{
	const struct connection *c = SSL_get_app_data(ssl);
	return c->server_name;
}

/* What a call that did not succeed means. */
static enum tls_result judge(SSL *ssl, int returned, const char **why)
{
	int error = SSL_get_error(ssl, returned);

	if (error == SSL_ERROR_WANT_READ)
		return TLS_WANT_READ;
	if (error == SSL_ERROR_ZERO_RETURN)
		return TLS_CLOSED;
	*why = reason(ERR_peek_error());
	ERR_clear_error();
	return TLS_BROKEN;
}

enum tls_result tls_handshake(SSL *ssl, struct tls_io *io, const char **why)
{
	struct connection *c = SSL_get_app_data(ssl);

	ASSERT(BIO_get_data(SSL_get_rbio(ssl)) == io);
	ERR_clear_error();
	int returned = SSL_do_handshake(ssl);
	if (returned != 1)
		return judge(ssl, returned, why);
	tls_certs_unref(c->certs); /* the SSL holds its context itself */
	c->certs = NULL;
	return TLS_OK;
}

enum tls_result tls_read(SSL *ssl, char *out, size_t size, size_t *got, const char **why)
{
	*got = 0;
	ERR_clear_error();
	int returned = SSL_read_ex(ssl, out, size, got);
	return returned == 1 ? TLS_OK : judge(ssl, returned, why);
}

enum tls_result tls_write(SSL *ssl, const char *data, size_t n, const char **why)
{
	ERR_clear_error();
	while (n) { /* a turn per record; nearly always one */
		size_t written = 0;
		int returned = SSL_write_ex(ssl, data, n, &written);
		if (returned != 1) {
			/* The BIO takes everything, so only half a handshake message can be in the way. */
			if (judge(ssl, returned, why) != TLS_BROKEN)
				*why = "written in the middle of a handshake";
			return TLS_BROKEN;
		}
		data += written;
		n -= written;
	}
	return TLS_OK;
}

void tls_shutdown(SSL *ssl)
{
	ERR_clear_error();
	if (SSL_in_init(ssl))
		return;    /* no handshake, or broken: an alert has been sent already */
	SSL_shutdown(ssl); /* 0: the peer's own is not there yet; nobody waits for it */
	ERR_clear_error();
}
