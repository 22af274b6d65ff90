/* scram.c - see scram.h. Only sasl.c calls it; it owns nothing.
 *
 * The messages are lists of "k=value" in a fixed order (RFC 5802 section 7). Optional extensions may
 * follow at the end of each and are ignored; the mandatory extension "m=" must fail the exchange. */
#include "scram.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <string.h>

static bool is_letter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Takes "key=value" at *at and leaves *at at the comma or the end behind it. NULL when another attribute
 * or no value stands there. */
static char *take_attribute(struct arena *a, const char **at, char key)
{
	const char *p = *at;

	if (p[0] != key || p[1] != '=')
		return NULL;
	size_t n = strcspn(p + 2, ",");
	if (!n)
		return NULL;
	*at = p + 2 + n;
	return arena_strndup(a, p + 2, n);
}

static bool take_comma(const char **at)
{
	if (**at != ',')
		return false;
	++*at;
	return true;
}

static bool skip_extension(const char **at)
{
	const char *p = *at;

	if (!is_letter(p[0]) || p[0] == 'm' || p[1] != '=' || p[2] == ',' || !p[2])
		return false;
	*at = p + 2 + strcspn(p + 2, ",");
	return true;
}

/* saslname, in place: "=2C" is a comma and "=3D" an equals sign; no other "=" may stand in it. */
static bool decode_name(char *name)
{
	char *to = name;

	for (const char *p = name; *p; p++) {
		if (*p != '=') {
			*to++ = *p;
			continue;
		}
		if (strncmp(p, "=2C", 3) != 0 && strncmp(p, "=3D", 3) != 0)
			return false;
		*to++ = p[1] == '2' ? ',' : '=';
		p += 2;
	}
	*to = '\0';
	return true;
}

static bool is_binding_name(const char *s)
{
	for (; *s; s++)
		if (!is_letter(*s) && !(*s >= '0' && *s <= '9') && *s != '.' && *s != '-')
			return false;
	return true;
}

static bool is_nonce(const char *s) /* printable ASCII; a comma has ended it already */
{
	for (; *s; s++)
		if (*s < 0x21 || *s > 0x7e)
			return false;
	return true;
}

/* gs2-cbind-flag "," [ authzid ] ",": leaves *at behind it. */
static bool parse_gs2(struct arena *a, const char **at, struct scram_first *out)
{
	const char *start = *at;
	char *authzid = NULL;

	out->flag = *start;
	if (out->flag == 'p') {
		out->binding = take_attribute(a, at, 'p');
		if (!out->binding || !is_binding_name(out->binding))
			return false;
	} else if (out->flag == 'n' || out->flag == 'y') {
		++*at;
	} else {
		return false;
	}
	if (!take_comma(at))
		return false;
	if (**at != ',') {
		authzid = take_attribute(a, at, 'a');
		if (!authzid || !decode_name(authzid))
			return false;
	}
	if (!take_comma(at))
		return false;
	out->authzid = authzid;
	out->gs2 = arena_strndup(a, start, (size_t)(*at - start));
	return true;
}

bool scram_parse_first(struct arena *a, const char *message, struct scram_first *out)
{
	const char *at = message;

	*out = (struct scram_first){ 0 };
	if (!parse_gs2(a, &at, out))
		return false;
	out->bare = arena_strdup(a, at);
	char *user = take_attribute(a, &at, 'n'); /* an "m=" in front of it fails here */
	if (!user || !decode_name(user) || !take_comma(&at))
		return false;
	out->user = user;
	out->nonce = take_attribute(a, &at, 'r');
	if (!out->nonce || !is_nonce(out->nonce))
		return false;
	while (take_comma(&at))
		if (!skip_extension(&at))
			return false;
	return true;
}

bool scram_parse_final(struct arena *a, const char *message, struct scram_final *out)
{
	const char *at = message;

	*out = (struct scram_final){ 0 };
	out->binding = take_attribute(a, &at, 'c');
	if (!out->binding || !take_comma(&at))
		return false;
	out->nonce = take_attribute(a, &at, 'r');
	if (!out->nonce)
		return false;
	for (;;) {
		size_t len = (size_t)(at - message);

		if (!take_comma(&at))
			return false;
		out->proof = take_attribute(a, &at, 'p');
		if (out->proof) {
			out->without_proof = arena_strndup(a, message, len);
			return !*at; /* the proof is the last attribute */
		}
		if (!skip_extension(&at))
			return false;
	}
}

static void hmac(const EVP_MD *hash, const unsigned char *key, const void *data, size_t n,
                 unsigned char *out)
{
	ASSERT(HMAC(hash, key, EVP_MD_get_size(hash), data, n, out, NULL));
}

static void digest(const EVP_MD *hash, const unsigned char *data, unsigned char *out)
{
	ASSERT(EVP_Digest(data, (size_t)EVP_MD_get_size(hash), out, NULL, hash, NULL));
}

void scram_derive(const EVP_MD *hash, const char *password, const unsigned char *salt, unsigned salt_len,
                  unsigned iterations, unsigned char *stored, unsigned char *server)
{
	unsigned char salted[SCRAM_HASH_MAX], client[SCRAM_HASH_MAX];
	int size = EVP_MD_get_size(hash);

	ASSERT(size <= SCRAM_HASH_MAX && salt_len && iterations && iterations <= INT32_MAX);
	ASSERT(PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)salt_len, (int)iterations,
	                         hash, size, salted));
	hmac(hash, salted, "Client Key", 10, client);
	digest(hash, client, stored);
	hmac(hash, salted, "Server Key", 10, server);
	OPENSSL_cleanse(salted, sizeof salted);
	OPENSSL_cleanse(client, sizeof client);
}

bool scram_verify(const EVP_MD *hash, const unsigned char *stored, const char *auth_message,
                  const unsigned char *proof)
{
	unsigned char client[SCRAM_HASH_MAX], claimed[SCRAM_HASH_MAX];
	size_t size = (size_t)EVP_MD_get_size(hash);

	hmac(hash, stored, auth_message, strlen(auth_message), client); /* ClientSignature */
	for (size_t i = 0; i < size; i++)
		client[i] ^= proof[i]; /* ClientKey */
	digest(hash, client, claimed);
	bool is_right = CRYPTO_memcmp(claimed, stored, size) == 0;
	OPENSSL_cleanse(client, sizeof client);
	OPENSSL_cleanse(claimed, sizeof claimed);
	return is_right;
}

void scram_sign(const EVP_MD *hash, const unsigned char *server, const char *auth_message,
                unsigned char *out)
{
	hmac(hash, server, auth_message, strlen(auth_message), out);
}
