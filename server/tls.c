/* tls.c - TLS with OpenSSL: see tls.h.
 *
 * Called by the streams of one reactor, one connection at a time. OpenSSL's error queue is per thread: it
 * is emptied before each call into a connection, so that one connection's trouble is never read as
 * another's.
 *
 * A connection is an SSL with a struct connection as its app data; tls_free ends both. */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "tls_parts.h"

#define CURVES "X25519:P-256"
#define CIPHERS_TLS12 "ECDHE+AESGCM:ECDHE+CHACHA20" /* TLS 1.3 has good ones only */

struct connection {
	struct tls_certs *certs; /* until the handshake is over */
	char *server_name;       /* the domain that the hello named, or NULL */
	bool is_direct;
	bool is_client_verified; /* the peer has shown a certificate, and the authorities vouch for it */
	bool has_begun_anew;     /* a handshake behind the first one */
};

/* ---- contexts */

static int choose_certificate(SSL *ssl, int *alert, void *arg);
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg);

/* RFC 6120 section 5.3.5: who wants a second handshake is cut off. OpenSSL says no and would go on. */
static void on_alert(const SSL *ssl, int where, int alert)
{
	struct connection *c = SSL_get_app_data(ssl);

	if (where == SSL_CB_WRITE_ALERT && (alert & 0xff) == SSL_AD_NO_RENEGOTIATION)
		c->has_begun_anew = true;
}

SSL_CTX *tls_context_new(void)
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
	SSL_CTX_set_info_callback(context, on_alert);
	return context;
}

const char *tls_reason(unsigned long error)
{
	const char *words = error ? ERR_reason_error_string(error) : NULL;
	return words ? words : "no reason given";
}

/* A bad certificate of a client is as good as none: he has his password. */
static int verify_client(X509_STORE_CTX *chain, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct connection *c = SSL_get_app_data(ssl);

	(void)arg;
	c->is_client_verified = X509_verify_cert(chain) == 1;
	return 1;
}

void tls_context_ask_clients(SSL_CTX *context, X509_STORE *authorities, const char *file)
{
	SSL_CTX_set1_cert_store(context, authorities);
	SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(file));
	SSL_CTX_set_cert_verify_callback(context, verify_client, NULL);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
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
	const char *domain;
	SSL_CTX *context = tls_certs_look(c->certs, folded, &domain);
	if (!context)
		return SSL_TLSEXT_ERR_NOACK; /* goes on with the fallback */
	ASSERT(SSL_set_SSL_CTX(ssl, context));
	mem_free(c->server_name); /* a second hello, after HelloRetryRequest, asks again */
	c->server_name = mem_strdup(domain);
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
		context = tls_certs_first(certs);
	if (!context)
		return NULL;
	SSL *ssl = SSL_new(context);
	ASSERT(ssl);
	struct connection *c = mem_zalloc(sizeof *c);
	c->certs = tls_certs_ref(certs);
	c->is_direct = direct;
	SSL_set_app_data(ssl, c);
	tls_attach(ssl, io);
	SSL_set_accept_state(ssl);
	return ssl;
}

void tls_attach(SSL *ssl, struct tls_io *io)
{
	ASSERT(BIO_up_ref(io->bio)); /* SSL_set_bio takes one reference when both are the same */
	SSL_set_bio(ssl, io->bio, io->bio);
}

/* What is left of a record that has come in part is in the SSL itself, and goes with it. */
void tls_detach(SSL *ssl)
{
	const struct connection *c = SSL_get_app_data(ssl);

	ASSERT(!c->certs && !SSL_pending(ssl));
	SSL_set_bio(ssl, NULL, NULL);
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

/* ---- the client's certificate */

/* id-on-xmppAddr, RFC 6120 section 13.7.1.4. */
static bool is_xmpp_name(const GENERAL_NAME *name)
{
	char oid[32];

	return name->type == GEN_OTHERNAME && name->d.otherName->value->type == V_ASN1_UTF8STRING &&
	       OBJ_obj2txt(oid, sizeof oid, name->d.otherName->type_id, 1) > 0 &&
	       strcmp(oid, "1.3.6.1.5.5.7.8.5") == 0;
}

unsigned tls_client_names(SSL *ssl, enum tls_name kind, struct arena *a, const char *names[TLS_NAMES_MAX])
{
	const struct connection *c = SSL_get_app_data(ssl);
	X509 *peer = c->is_client_verified ? SSL_get0_peer_certificate(ssl) : NULL;
	GENERAL_NAMES *all = peer ? X509_get_ext_d2i(peer, NID_subject_alt_name, NULL, NULL) : NULL;
	unsigned count = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(all) && count < TLS_NAMES_MAX; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
		const ASN1_STRING *text = NULL;
		size_t n;

		if (kind == TLS_XMPP_NAME && is_xmpp_name(name))
			text = name->d.otherName->value->value.utf8string;
		else if (kind == TLS_EMAIL_NAME && name->type == GEN_EMAIL)
			text = name->d.rfc822Name;
		n = text ? (size_t)ASN1_STRING_length(text) : 0;
		/* A zero in the middle would show one name to us and another to who signed it. */
		if (n > 0 && !memchr(ASN1_STRING_get0_data(text), 0, n))
			names[count++] = arena_strndup(a, (const char *)ASN1_STRING_get0_data(text), n);
	}
	GENERAL_NAMES_free(all);
	return count;
}

/* Before each call that SSL_get_error may be asked about. ERR_clear_error walks over all places for errors,
 * whether they hold any or not. */
static void forget_errors(void)
{
	if (ERR_peek_error())
		ERR_clear_error();
}

/* What a call that did not succeed means. */
static enum tls_result judge(SSL *ssl, int returned, const char **why)
{
	int error = SSL_get_error(ssl, returned);

	if (error == SSL_ERROR_WANT_READ)
		return TLS_WANT_READ;
	if (error == SSL_ERROR_ZERO_RETURN)
		return TLS_CLOSED;
	*why = tls_reason(ERR_peek_error());
	ERR_clear_error();
	return TLS_BROKEN;
}

enum tls_result tls_handshake(SSL *ssl, struct tls_io *io, const char **why)
{
	struct connection *c = SSL_get_app_data(ssl);

	ASSERT(BIO_get_data(SSL_get_rbio(ssl)) == io);
	forget_errors();
	int returned = SSL_do_handshake(ssl);
	if (returned != 1)
		return judge(ssl, returned, why);
	tls_certs_unref(c->certs); /* the SSL holds its context itself */
	c->certs = NULL;
	return TLS_OK;
}

enum tls_result tls_read(SSL *ssl, char *out, size_t size, size_t *got, const char **why)
{
	const struct connection *c = SSL_get_app_data(ssl);

	*got = 0;
	forget_errors();
	int returned = SSL_read_ex(ssl, out, size, got);
	if (c->has_begun_anew) {
		*why = "the peer wants to renegotiate";
		forget_errors();
		return TLS_BROKEN;
	}
	return returned == 1 ? TLS_OK : judge(ssl, returned, why);
}

bool tls_has_more(const SSL *ssl, const struct tls_io *io)
{
	return io->in_len > 0 || SSL_has_pending(ssl);
}

enum tls_result tls_write(SSL *ssl, const char *data, size_t n, const char **why)
{
	forget_errors();
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
	forget_errors();
	if (SSL_in_init(ssl))
		return;    /* no handshake, or broken: an alert has been sent already */
	SSL_shutdown(ssl); /* 0: the peer's own is not there yet; nobody waits for it */
	forget_errors();
}
