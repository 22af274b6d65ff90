/* digest.c - see digest.h. */
#include "digest.h"

#include <openssl/evp.h>

void digest_sha1(const void *data, size_t n, unsigned char out[DIGEST_SHA1])
{
	unsigned len = 0;

	ASSERT(EVP_Digest(data, n, out, &len, EVP_sha1(), NULL) == 1 && len == DIGEST_SHA1);
}

char *digest_hex(struct arena *a, const unsigned char *data, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	char *text = arena_alloc(a, 2 * n + 1);

	for (size_t i = 0; i < n; i++) {
		text[2 * i] = digits[data[i] >> 4];
		text[2 * i + 1] = digits[data[i] & 15];
	}
	text[2 * n] = '\0';
	return text;
}
