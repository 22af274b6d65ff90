/* base64.c - see base64.h. OpenSSL's decoder skips whitespace and forgives padding; this one does not. */
#include "base64.h"

#include <openssl/evp.h>

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

bool base64_decode(const char *text, size_t n, void *out, size_t size, size_t *len)
{
	unsigned char *to = out;
	unsigned bits = 0, held = 0; /* `held` bits of `bits` are not written yet */
	size_t padding = 0;

	*len = 0;
	if (n % 4)
		return false;
	while (padding < 2 && padding < n && text[n - padding - 1] == '=')
		padding++;
	if (n / 4 * 3 - padding > size)
		return false;
	for (size_t i = 0; i < n - padding; i++) {
		int value = base64_value(text[i]);
		if (value < 0)
			return false;
		bits = bits << 6 | (unsigned)value;
		held += 6;
		if (held >= 8) {
			held -= 8;
			to[(*len)++] = (unsigned char)(bits >> held);
		}
	}
	return !(bits & ((1U << held) - 1));
}

char *base64_encode(struct arena *a, const void *data, size_t n)
{
	char *text = arena_alloc(a, (n + 2) / 3 * 4 + 1);
	EVP_EncodeBlock((unsigned char *)text, data, (int)n);
	return text;
}
