/* sasl.h - one authentication exchange, server side (RFC 4422, 5802, 7677, 4616, 4505). It does no input or
 * output and never waits: whoever drives it (c2s_login.c) fetches the account and runs the hash.
 *
 *   sasl_begin -> sasl_step -> NEED_ACCOUNT -> sasl_account -> CHALLENGE | NEED_HASH | ...
 *
 * An unknown account is carried to the end with a stable made-up salt and fails with the same words, in
 * the same number of steps and the same time as a wrong password. */
#ifndef MUSTER_SASL_H
#define MUSTER_SASL_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "mem.h"

enum sasl_mechanism {
	SASL_SCRAM_SHA_256_PLUS,
	SASL_SCRAM_SHA_1_PLUS,
	SASL_SCRAM_SHA_256,
	SASL_SCRAM_SHA_1,
	SASL_PLAIN,
	SASL_EXTERNAL,
	SASL_ANONYMOUS,
	SASL_MECHANISMS
};

/* Which of them a stream offers, in the order of preference: a mask of 1 << enum sasl_mechanism.
 * `ssl` NULL: no TLS, then no -PLUS; PLAIN only with TLS or `plain_without_tls`. EXTERNAL and ANONYMOUS are
 * the caller's to add. */
unsigned sasl_offer(SSL *ssl, bool plain_without_tls);
extern const char *const sasl_names[SASL_MECHANISMS + 1]; /* by enum sasl_mechanism; NULL ends it */
const char *sasl_name(enum sasl_mechanism m);

/* The keys of one account, as the database holds them: PBKDF2 of the prepared password per hash. */
#define SASL_SALT_MAX 32
struct sasl_keys {
	unsigned char salt[SASL_SALT_MAX];
	unsigned salt_len;
	unsigned iterations;
	unsigned char stored_sha1[20], server_sha1[20];
	unsigned char stored_sha256[32], server_sha256[32];
	bool has_sha1, has_sha256; /* an imported account may have those of one hash only */
	bool is_disabled;          /* account-disabled then answers the right password */
};
#define SASL_ITERATIONS 10000
#define SASL_SALT_DRAWN 16

/* Derives keys for a new password (prepared here by OpaqueString; false when it is not valid). Slow on
 * purpose: runs in the worker pool; thread-safe. `salt` is drawn when salt_len is 0, and `iterations` is
 * SASL_ITERATIONS when 0: a zeroed struct gets the usual. */
bool sasl_keys_derive(struct sasl_keys *k, const char *password) MUST_CHECK;

enum sasl_result {
	SASL_CHALLENGE,    /* send *reply as <challenge/> */
	SASL_SUCCESS,      /* send *reply as <success/>; sasl_user is logged in */
	SASL_FAILURE,      /* send <failure/> with sasl_condition */
	SASL_NEED_ACCOUNT, /* look sasl_user up, then call sasl_account */
	SASL_NEED_HASH     /* run sasl_hash in the worker pool, then call sasl_hashed */
};

struct sasl;

/* Starts with a mechanism by name. `offered`: the mask announced on this stream; a mechanism that was
 * not offered is refused: NULL, then the condition is invalid-mechanism. `ssl` for channel binding, or
 * NULL. `domain`: the stream's host; an authorization identity must be that account's bare address.
 * `secret`: random bytes of this server, from which the salts of unknown accounts are made; the same for
 * all reactors, and best for ever (a salt that changes at a restart tells that it is made up). */
#define SASL_SECRET_SIZE 32
struct sasl *sasl_begin(const char *mechanism, unsigned offered, SSL *ssl, const char *domain,
                        const unsigned char secret[SASL_SECRET_SIZE]);
/* EXTERNAL (RFC 4422 appendix A): the accounts, by localpart, that the client's certificate opens. They must
 * live as long as the exchange. The client chooses by authorization identity where there are several. */
void sasl_open_accounts(struct sasl *s, const char *const *accounts, unsigned count);
void sasl_free(struct sasl *s); /* in any state; NULL is fine; wipes secrets */

/* Takes the base64 text of <auth/>, <response/> (NULL or "": absent; "=": empty, RFC 6120 section 6.4.2).
 * Only while it is the client's turn: at first and after SASL_CHALLENGE. On CHALLENGE and SUCCESS *reply
 * is the base64 to send, owned by `s` until the next call; NULL: the element is sent empty. */
enum sasl_result sasl_step(struct sasl *s, const char *base64, const char **reply) MUST_CHECK;
/* The account's keys, or NULL when there is none. (Database away: send temporary-auth-failure and free.) */
enum sasl_result sasl_account(struct sasl *s, const struct sasl_keys *keys, const char **reply) MUST_CHECK;
/* PLAIN: the slow part; touches nothing but `s`, which nobody else may use until it has returned. */
void sasl_hash(struct sasl *s);
enum sasl_result sasl_hashed(struct sasl *s, const char **reply) MUST_CHECK;

/* The prepared localpart the client claims (after NEED_ACCOUNT); for a guest one that was made up. */
const char *sasl_user(const struct sasl *s);
enum sasl_mechanism sasl_mechanism(const struct sasl *s);
/* The failure condition of RFC 6120 section 6.5: "not-authorized", "malformed-request", ... */
const char *sasl_condition(const struct sasl *s);

/* Channel binding types this stream can do, for XEP-0440: a mask. */
enum { SASL_CB_EXPORTER = 1, SASL_CB_END_POINT = 2 };
unsigned sasl_channel_bindings(SSL *ssl);

/* For tests only: the server's part of the nonce, so that the examples of the RFCs can be replayed. */
void sasl_fix_nonce(struct sasl *s, const char *nonce);

#endif
