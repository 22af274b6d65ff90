/* sasl.c - one authentication exchange, server side: see sasl.h for how it is driven.
 *
 * c2s_login.c owns the struct. The messages of SCRAM are read and computed in scram.c; here are the mechanisms,
 * the channel bindings, the order of the steps, and what is refused with which condition (RFC 6120
 * section 6.5). What the peer sends is bounded, and whatever holds a password or key is wiped. */
#include "sasl.h"

#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>

#include "base64.h"
#include "jid.h"
#include "scram.h"

enum {
	TEXT_MAX = 4096, /* base64 of one message */
	MESSAGE_MAX = TEXT_MAX / 4 * 3,
	NONCE_BYTES = 18,
	EXPORTER_BYTES = 32, /* RFC 9266 section 2 */
	BINDING_MAX = EVP_MAX_MD_SIZE
};

const char *const sasl_names[SASL_MECHANISMS + 1] = {
	[SASL_SCRAM_SHA_256_PLUS] = "SCRAM-SHA-256-PLUS",
	[SASL_SCRAM_SHA_1_PLUS] = "SCRAM-SHA-1-PLUS",
	[SASL_SCRAM_SHA_256] = "SCRAM-SHA-256",
	[SASL_SCRAM_SHA_1] = "SCRAM-SHA-1",
	[SASL_PLAIN] = "PLAIN",
	[SASL_EXTERNAL] = "EXTERNAL",
	[SASL_ANONYMOUS] = "ANONYMOUS",
};

struct mechanism {
	const EVP_MD *(*hash)(void);
	bool is_plus;
};

/* By enum sasl_mechanism. */
static const struct mechanism mechanisms[SASL_MECHANISMS] = {
	[SASL_SCRAM_SHA_256_PLUS] = { EVP_sha256, true },
	[SASL_SCRAM_SHA_1_PLUS] = { EVP_sha1, true },
	[SASL_SCRAM_SHA_256] = { EVP_sha256, false },
	[SASL_SCRAM_SHA_1] = { EVP_sha1, false },
	[SASL_PLAIN] = { EVP_sha256, false },
	[SASL_EXTERNAL] = { NULL, false },
	[SASL_ANONYMOUS] = { NULL, false },
};

#define PLUS_MECHANISMS (1U << SASL_SCRAM_SHA_256_PLUS | 1U << SASL_SCRAM_SHA_1_PLUS)
#define SCRAM_MECHANISMS (1U << SASL_SCRAM_SHA_256 | 1U << SASL_SCRAM_SHA_1)

/* SCRAM: FIRST -> ACCOUNT -> FINAL -> OVER. PLAIN: FIRST -> ACCOUNT -> HASH -> HASHED -> OVER. EXTERNAL and
 * ANONYMOUS: FIRST -> OVER. */
enum state {
	CLIENT_FIRST, /* waits for the client's first message */
	CLIENT_ASKED, /* the same, after an empty challenge that asked for it */
	WAIT_ACCOUNT,
	CLIENT_FINAL, /* waits for the client's proof */
	WAIT_HASH,
	HASHED,
	OVER
};

struct sasl {
	enum sasl_mechanism mechanism;
	enum state state;
	unsigned offered;
	SSL *ssl;
	const char *condition; /* once failed */
	struct arena arena;    /* of all strings below; nothing secret */
	const char *domain;
	const char *user; /* prepared */
	const char *fixed_nonce;
	unsigned char secret[SASL_SECRET_SIZE];

	struct sasl_keys keys;
	bool is_known; /* there is such an account; else `keys` is made up */

	/* EXTERNAL */
	const char *const *accounts;
	unsigned account_count;

	/* SCRAM */
	const char *first_bare, *server_first;
	const char *nonce;   /* the client's, then both parts */
	const char *binding; /* what "c=" must be: base64 of the gs2-header and the binding's data */

	/* PLAIN */
	char password[JID_PART_MAX + 1]; /* prepared */
	unsigned char stored[32];        /* what it hashes to */
};

/* ---- what a stream can do */

static bool has_exporter(SSL *ssl)
{
	/* RFC 9266 section 3: before TLS 1.3 the exporter is unique to the connection only with the
	 * extended master secret. */
	return SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) == 1;
}

/* The hash for tls-server-end-point, RFC 5929 section 4.1: that of the certificate's signature, SHA-256
 * instead of MD5 and SHA-1. NULL: the signature has none (Ed25519), then the type is undefined. */
static const EVP_MD *end_point_hash(X509 *certificate)
{
	int nid = NID_undef;

	if (!certificate || !X509_get_signature_info(certificate, &nid, NULL, NULL, NULL))
		return NULL;
	if (nid == NID_md5 || nid == NID_sha1)
		return EVP_sha256();
	return nid == NID_undef ? NULL : EVP_get_digestbynid(nid);
}

unsigned sasl_channel_bindings(SSL *ssl)
{
	if (!ssl)
		return 0;
	return (has_exporter(ssl) ? SASL_CB_EXPORTER : 0U) |
	       (end_point_hash(SSL_get_certificate(ssl)) ? SASL_CB_END_POINT : 0U);
}

unsigned sasl_offer(SSL *ssl, bool plain_without_tls)
{
	unsigned offer = SCRAM_MECHANISMS;

	if (sasl_channel_bindings(ssl))
		offer |= PLUS_MECHANISMS;
	if (ssl || plain_without_tls)
		offer |= 1U << SASL_PLAIN;
	return offer;
}

const char *sasl_name(enum sasl_mechanism m)
{
	ASSERT(m < SASL_MECHANISMS);
	return sasl_names[m];
}

/* The data of a channel binding; its length, or 0 for a type that this stream cannot do. tls-unique is
 * none of them: it is not defined for TLS 1.3, and unsafe before without the extended master secret. */
static unsigned binding_data(SSL *ssl, const char *type, unsigned char out[BINDING_MAX])
{
	static const char label[] = "EXPORTER-Channel-Binding";
	unsigned can = sasl_channel_bindings(ssl), len = 0;

	if (strcmp(type, "tls-exporter") == 0 && can & SASL_CB_EXPORTER) {
		if (SSL_export_keying_material(ssl, out, EXPORTER_BYTES, label, sizeof label - 1, NULL, 0,
		                               0) == 1)
			len = EXPORTER_BYTES;
	} else if (strcmp(type, "tls-server-end-point") == 0 && can & SASL_CB_END_POINT) {
		X509 *certificate = SSL_get_certificate(ssl);
		if (!X509_digest(certificate, end_point_hash(certificate), out, &len))
			len = 0;
	}
	return len;
}

/* ---- keys */

static void draw(void *out, int n)
{
	/* Without the system's generator nothing here would be safe; like memory, it does not fail. */
	ASSERT(RAND_bytes(out, n) == 1);
}

bool sasl_keys_derive(struct sasl_keys *k, const char *password)
{
	char prepared[JID_PART_MAX + 1];
	bool is_valid = jid_prepare_password(password, strlen(password), prepared);

	if (is_valid) {
		ASSERT(k->salt_len <= SASL_SALT_MAX);
		if (!k->salt_len) {
			k->salt_len = SASL_SALT_DRAWN;
			draw(k->salt, SASL_SALT_DRAWN);
		}
		if (!k->iterations)
			k->iterations = SASL_ITERATIONS;
		scram_derive(EVP_sha1(), prepared, k->salt, k->salt_len, k->iterations, k->stored_sha1,
		             k->server_sha1);
		scram_derive(EVP_sha256(), prepared, k->salt, k->salt_len, k->iterations, k->stored_sha256,
		             k->server_sha256);
		k->has_sha1 = k->has_sha256 = true;
	}
	OPENSSL_cleanse(prepared, sizeof prepared);
	return is_valid;
}

/* Keys for a name that has none: the salt is always the same, as a real one, and nothing fits them. */
static void make_up_keys(struct sasl *s)
{
	const char *name = arena_printf(&s->arena, "salt of %s@%s", s->user, s->domain);
	unsigned char mac[EVP_MAX_MD_SIZE];

	ASSERT(HMAC(EVP_sha256(), s->secret, SASL_SECRET_SIZE, (const unsigned char *)name, strlen(name),
	            mac, NULL));
	memset(&s->keys, 0, sizeof s->keys);
	memcpy(s->keys.salt, mac, SASL_SALT_DRAWN);
	s->keys.salt_len = SASL_SALT_DRAWN;
	s->keys.iterations = SASL_ITERATIONS;
}

/* ---- the exchange */

struct sasl *sasl_begin(const char *mechanism, unsigned offered, SSL *ssl, const char *domain,
                        const unsigned char secret[SASL_SECRET_SIZE])
{
	unsigned m = 0;

	while (m < SASL_MECHANISMS && strcmp(sasl_names[m], mechanism) != 0)
		m++;
	if (m == SASL_MECHANISMS || !(offered & 1U << m))
		return NULL;
	struct sasl *s = mem_zalloc(sizeof *s);
	s->mechanism = (enum sasl_mechanism)m;
	s->offered = offered;
	s->ssl = ssl;
	s->domain = arena_strdup(&s->arena, domain);
	memcpy(s->secret, secret, SASL_SECRET_SIZE);
	return s;
}

void sasl_free(struct sasl *s)
{
	if (!s)
		return;
	arena_free(&s->arena);
	mem_free_secret(s, sizeof *s);
}

static enum sasl_result fail(struct sasl *s, const char *condition)
{
	s->state = OVER;
	s->condition = condition;
	return SASL_FAILURE;
}

/* The last word on the credentials. That an account is disabled is only told to somebody who knows its password. */
static enum sasl_result finish(struct sasl *s, bool is_right)
{
	if (!is_right || !s->is_known)
		return fail(s, "not-authorized");
	if (s->keys.is_disabled)
		return fail(s, "account-disabled");
	s->state = OVER;
	return SASL_SUCCESS;
}

/* An authorization identity is a bare address (RFC 6120 section 6.3.8), and nobody may act for another. */
static bool is_own_address(const struct sasl *s, const char *authzid)
{
	struct jid *own = jid_make(s->user, s->domain, NULL);
	struct jid *asked = jid_parse(authzid, strlen(authzid));
	bool is_own = own && asked && jid_is(own, asked);

	jid_unref(own);
	jid_unref(asked);
	return is_own;
}

/* Both names of a first message; the account is wanted next. */
static enum sasl_result claim(struct sasl *s, const char *user, const char *authzid)
{
	char prepared[JID_PART_MAX + 1];

	/* Such an account cannot exist: there is nothing to hide. */
	if (!jid_prepare_local(user, strlen(user), prepared))
		return fail(s, "not-authorized");
	s->user = arena_strdup(&s->arena, prepared);
	if (authzid && !is_own_address(s, authzid))
		return fail(s, "invalid-authzid");
	s->state = WAIT_ACCOUNT;
	return SASL_NEED_ACCOUNT;
}

/* ---- SCRAM */

/* Judges the channel binding flag (RFC 5802 section 6) and makes what "c=" must be. NULL: fine. */
static const char *judge_binding(struct sasl *s, const struct scram_first *first)
{
	unsigned char data[BINDING_MAX];
	unsigned len = 0;
	struct buffer expected = { 0 };

	/* 'y': "I would, but you offered none". We did, so somebody took the offer out on its way. */
	if (first->flag == 'y' && s->offered & PLUS_MECHANISMS)
		return "not-authorized";
	if ((first->flag == 'p') != mechanisms[s->mechanism].is_plus)
		return "malformed-request";
	if (first->flag == 'p') {
		len = binding_data(s->ssl, first->binding, data);
		if (!len)
			return "malformed-request";
	}
	buffer_adds(&expected, first->gs2);
	buffer_add(&expected, data, len);
	s->binding = base64_encode(&s->arena, expected.data, expected.len);
	buffer_free(&expected);
	return NULL;
}

static enum sasl_result take_first(struct sasl *s, const char *message, size_t len)
{
	struct scram_first first;

	if (strlen(message) != len || !scram_parse_first(&s->arena, message, &first))
		return fail(s, "malformed-request");
	const char *bad = judge_binding(s, &first);
	if (bad)
		return fail(s, bad);
	s->first_bare = first.bare;
	s->nonce = first.nonce;
	return claim(s, first.user, first.authzid);
}

static enum sasl_result scram_challenge(struct sasl *s, const char **reply)
{
	unsigned char drawn[NONCE_BYTES];
	const char *own = s->fixed_nonce;

	if (!own) {
		draw(drawn, sizeof drawn);
		own = base64_encode(&s->arena, drawn, sizeof drawn);
	}
	s->nonce = arena_printf(&s->arena, "%s%s", s->nonce, own);
	s->server_first =
	    arena_printf(&s->arena, "r=%s,s=%s,i=%u", s->nonce,
	                 base64_encode(&s->arena, s->keys.salt, s->keys.salt_len), s->keys.iterations);
	*reply = base64_encode(&s->arena, s->server_first, strlen(s->server_first));
	s->state = CLIENT_FINAL;
	return SASL_CHALLENGE;
}

static enum sasl_result take_final(struct sasl *s, const char *message, size_t len, const char **reply)
{
	const EVP_MD *hash = mechanisms[s->mechanism].hash();
	bool is_sha1 = hash == EVP_sha1();
	size_t size = (size_t)EVP_MD_get_size(hash), proof_len;
	unsigned char proof[SCRAM_HASH_MAX], signature[SCRAM_HASH_MAX];
	struct scram_final final;

	if (strlen(message) != len || !scram_parse_final(&s->arena, message, &final))
		return fail(s, "malformed-request");
	if (!base64_decode(final.proof, strlen(final.proof), proof, size, &proof_len) || proof_len != size)
		return fail(s, "malformed-request");
	/* A relay shows here: each side bound to a TLS connection of its own. */
	if (strcmp(final.binding, s->binding) != 0 || strcmp(final.nonce, s->nonce) != 0)
		return fail(s, "not-authorized");

	const char *auth =
	    arena_printf(&s->arena, "%s,%s,%s", s->first_bare, s->server_first, final.without_proof);
	bool is_right =
	    scram_verify(hash, is_sha1 ? s->keys.stored_sha1 : s->keys.stored_sha256, auth, proof);
	/* Without keys of this hash the account is as one whose password is wrong, and takes as long. */
	enum sasl_result result = finish(s, is_right && (is_sha1 ? s->keys.has_sha1 : s->keys.has_sha256));
	if (result != SASL_SUCCESS)
		return result;
	scram_sign(hash, is_sha1 ? s->keys.server_sha1 : s->keys.server_sha256, auth, signature);
	const char *last = arena_printf(&s->arena, "v=%s", base64_encode(&s->arena, signature, size));
	*reply = base64_encode(&s->arena, last, strlen(last));
	return SASL_SUCCESS;
}

/* ---- PLAIN */

/* [authzid] NUL authcid NUL passwd, RFC 4616 section 2; there is another NUL behind the whole. */
static enum sasl_result take_plain(struct sasl *s, const char *message, size_t len)
{
	const char *end = message + len;
	const char *user = message + strlen(message) + 1;
	if (user > end)
		return fail(s, "malformed-request");
	const char *password = user + strlen(user) + 1;
	if (password > end || password + strlen(password) != end || !*user || !*password)
		return fail(s, "malformed-request");

	if (!jid_prepare_password(password, strlen(password), s->password))
		return fail(s, "not-authorized"); /* nobody can have it: nothing to hide */
	return claim(s, user, *message ? message : NULL);
}

/* Whichever keys there are: an imported account may have those of SHA-1 only. */
static bool is_plain_sha1(const struct sasl *s)
{
	return s->is_known && s->keys.has_sha1 && !s->keys.has_sha256;
}

void sasl_hash(struct sasl *s)
{
	unsigned char server[SCRAM_HASH_MAX];

	ASSERT(s->state == WAIT_HASH);
	scram_derive(is_plain_sha1(s) ? EVP_sha1() : EVP_sha256(), s->password, s->keys.salt,
	             s->keys.salt_len, s->keys.iterations, s->stored, server);
	OPENSSL_cleanse(server, sizeof server);
	OPENSSL_cleanse(s->password, sizeof s->password);
	s->state = HASHED;
}

enum sasl_result sasl_hashed(struct sasl *s, const char **reply)
{
	ASSERT(s->state == HASHED);
	*reply = NULL;
	if (is_plain_sha1(s))
		return finish(s, CRYPTO_memcmp(s->stored, s->keys.stored_sha1, 20) == 0);
	return finish(s, s->keys.has_sha256 && CRYPTO_memcmp(s->stored, s->keys.stored_sha256, 32) == 0);
}

/* ---- EXTERNAL and ANONYMOUS */

void sasl_open_accounts(struct sasl *s, const char *const *accounts, unsigned count)
{
	s->accounts = accounts;
	s->account_count = count;
}

/* The message is the authorization identity; XEP-0178 section 2 says when it is needed. */
static enum sasl_result take_external(struct sasl *s, const char *message, size_t len)
{
	if (strlen(message) != len)
		return fail(s, "malformed-request");
	for (unsigned i = 0; i < s->account_count && !s->user; i++) {
		s->user = s->accounts[i];
		if (*message ? !is_own_address(s, message) : s->account_count > 1)
			s->user = NULL;
	}
	if (!s->user)
		return fail(s, "invalid-authzid");
	s->state = OVER;
	return SASL_SUCCESS;
}

/* What a guest says of himself (RFC 4505) nobody needs to know. */
static enum sasl_result take_guest(struct sasl *s)
{
	unsigned char drawn[16];
	struct buffer name = { 0 };

	draw(drawn, sizeof drawn);
	for (unsigned i = 0; i < sizeof drawn; i++)
		buffer_addf(&name, "%02x", drawn[i]);
	s->user = arena_strdup(&s->arena, name.data);
	buffer_free(&name);
	s->state = OVER;
	return SASL_SUCCESS;
}

/* ---- the steps */

static enum sasl_result take_message(struct sasl *s, const char *message, size_t len, const char **reply)
{
	if (s->state == CLIENT_FINAL)
		return take_final(s, message, len, reply);
	if (s->mechanism == SASL_EXTERNAL)
		return take_external(s, message, len);
	if (s->mechanism == SASL_ANONYMOUS)
		return take_guest(s);
	return s->mechanism == SASL_PLAIN ? take_plain(s, message, len) : take_first(s, message, len);
}

enum sasl_result sasl_step(struct sasl *s, const char *base64, const char **reply)
{
	char message[MESSAGE_MAX + 1];
	size_t len = 0;

	ASSERT(s->state == CLIENT_FIRST || s->state == CLIENT_ASKED || s->state == CLIENT_FINAL);
	*reply = NULL;
	if (!base64)
		base64 = "";
	/* No initial response: ask for it. A guest has nothing to say (XEP-0175). */
	if (s->state == CLIENT_FIRST && !*base64 && s->mechanism != SASL_ANONYMOUS) {
		s->state = CLIENT_ASKED;
		return SASL_CHALLENGE;
	}
	if (strcmp(base64, "=") == 0) /* empty data, RFC 6120 section 6.4.2 */
		base64 = "";
	if (strlen(base64) > TEXT_MAX)
		return fail(s, "malformed-request");
	enum sasl_result result;
	if (base64_decode(base64, strlen(base64), message, MESSAGE_MAX, &len)) {
		message[len] = '\0';
		result = take_message(s, message, len, reply);
	} else {
		result = fail(s, "incorrect-encoding");
	}
	OPENSSL_cleanse(message, sizeof message);
	return result;
}

enum sasl_result sasl_account(struct sasl *s, const struct sasl_keys *keys, const char **reply)
{
	ASSERT(s->state == WAIT_ACCOUNT);
	*reply = NULL;
	make_up_keys(s); /* for everybody, so that a known name takes no other time */
	if (keys) {
		if (!keys->salt_len || keys->salt_len > SASL_SALT_MAX || !keys->iterations ||
		    keys->iterations > INT32_MAX)
			return fail(s, "temporary-auth-failure"); /* a broken row in the database */
		s->keys = *keys;
		s->is_known = true;
	}
	if (s->mechanism != SASL_PLAIN)
		return scram_challenge(s, reply);
	s->state = WAIT_HASH;
	return SASL_NEED_HASH;
}

const char *sasl_user(const struct sasl *s)
{
	return s->user;
}

enum sasl_mechanism sasl_mechanism(const struct sasl *s)
{
	return s->mechanism;
}

const char *sasl_condition(const struct sasl *s)
{
	return s->condition;
}

void sasl_fix_nonce(struct sasl *s, const char *nonce)
{
	s->fixed_nonce = arena_strdup(&s->arena, nonce);
}
