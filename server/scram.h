/* scram.h - the messages and the arithmetic of SCRAM (RFC 5802, RFC 7677), server side. What they mean
 * for an authentication is decided in sasl.c. */
#ifndef MUSTER_SCRAM_H
#define MUSTER_SCRAM_H

#include <openssl/evp.h>
#include <stdbool.h>

#include "mem.h"

#define SCRAM_HASH_MAX 32

/* client-first-message. Everything lies in the arena it was parsed into. */
struct scram_first {
	char flag;           /* 'n': no channel binding; 'y': would, but saw none offered; 'p': uses one */
	const char *binding; /* its type, with 'p'; else NULL */
	const char *authzid; /* decoded; NULL when absent */
	const char *user;    /* decoded, not prepared */
	const char *nonce;
	const char *gs2;  /* gs2-header as sent */
	const char *bare; /* client-first-message-bare as sent */
};
bool scram_parse_first(struct arena *a, const char *message, struct scram_first *out) MUST_CHECK;

/* client-final-message. */
struct scram_final {
	const char *binding; /* base64, as sent */
	const char *nonce;
	const char *proof; /* base64, as sent */
	const char *without_proof;
};
bool scram_parse_final(struct arena *a, const char *message, struct scram_final *out) MUST_CHECK;

/* The keys of a prepared password (RFC 5802 section 3): SCRAM_HASH_MAX bytes at most into each. Slow. */
void scram_derive(const EVP_MD *hash, const char *password, const unsigned char *salt, unsigned salt_len,
                  unsigned iterations, unsigned char *stored, unsigned char *server);
/* Whether the client that made this proof (as long as the hash) has the key behind `stored`. */
bool scram_verify(const EVP_MD *hash, const unsigned char *stored, const char *auth_message,
                  const unsigned char *proof) MUST_CHECK;
/* ServerSignature into `out`. */
void scram_sign(const EVP_MD *hash, const unsigned char *server, const char *auth_message,
                unsigned char *out);

#endif
