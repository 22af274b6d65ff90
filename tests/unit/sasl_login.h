/* sasl_login.h - for unit tests: the client's half of a login, computed by hand. cmocka.h comes before it. */
#ifndef MUSTER_SASL_LOGIN_H
#define MUSTER_SASL_LOGIN_H

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "sasl.h"

#define ALL ((1U << SASL_MECHANISMS) - 1)
#define NONCE "fyko+d2lbbFgONRv9qkxdawL"

static const unsigned char secret[SASL_SECRET_SIZE] = "muster";

/* One message of n bytes, base64 around it. */
static inline enum sasl_result step_bytes(struct sasl *s, const void *message, size_t n, const char **reply)
{
	struct arena a = { 0 };
	enum sasl_result result = sasl_step(s, base64_encode(&a, message, n), reply);

	arena_free(&a);
	return result;
}

static inline enum sasl_result step(struct sasl *s, const char *message, const char **reply)
{
	return step_bytes(s, message, strlen(message), reply);
}

static inline char *decoded(const char *base64)
{
	char *text = mem_zalloc(4096);
	size_t n;

	assert_non_null(base64);
	assert_true(base64_decode(base64, strlen(base64), text, 4095, &n));
	return text;
}

static inline struct sasl_keys keys_of(const char *password, unsigned iterations)
{
	struct sasl_keys k = { .iterations = iterations };

	assert_true(sasl_keys_derive(&k, password));
	return k;
}

/* A client's last message, computed here by hand; the caller frees it. `binding` is gs2 plus data. */
static inline char *client_final(const EVP_MD *hash, const char *password, const char *first_bare,
                                 const char *server_first, const void *binding, size_t binding_len)
{
	struct arena a = { 0 };
	unsigned char salt[64], salted[32], client[32], stored[32], signature[32];
	int size = EVP_MD_get_size(hash);
	size_t salt_len, nonce_len = strcspn(server_first, ",") - 2;
	const char *at = strstr(server_first, ",s=") + 3;

	assert_true(base64_decode(at, strcspn(at, ","), salt, sizeof salt, &salt_len));
	unsigned iterations = (unsigned)strtoul(strstr(at, ",i=") + 3, NULL, 10);
	PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)salt_len, (int)iterations, hash, size,
	                  salted);
	HMAC(hash, salted, size, (const unsigned char *)"Client Key", 10, client, NULL);
	EVP_Digest(client, (size_t)size, stored, NULL, hash, NULL);
	char *without = arena_printf(&a, "c=%s,r=%.*s", base64_encode(&a, binding, binding_len),
	                             (int)nonce_len, server_first + 2);
	char *auth = arena_printf(&a, "%s,%s,%s", first_bare, server_first, without);
	HMAC(hash, stored, size, (const unsigned char *)auth, strlen(auth), signature, NULL);
	for (int i = 0; i < size; i++)
		client[i] ^= signature[i];
	char *message = mem_printf("%s,p=%s", without, base64_encode(&a, client, (size_t)size));
	arena_free(&a);
	return message;
}

#endif
