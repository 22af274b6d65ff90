/* file.c - whole files: read into memory, summed. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "parts.h"

char *file_load(struct call *c, const char *path, size_t max, size_t *len)
{
	struct buffer text = { 0 };
	FILE *f = fopen(path, "re");
	size_t n = 0;

	if (!f) {
		complain(c, CONTROL_USAGE, NULL, "%s cannot be read: %s.", path, strerror(errno));
		return NULL;
	}
	do {
		text.len += n;
		n = fread(buffer_reserve(&text, 65536), 1, 65536, f);
	} while (n > 0 && text.len <= max);
	bool is_ok = !ferror(f);
	fclose(f);
	if (is_ok && text.len <= max) {
		buffer_adds(&text, "");
		*len = text.len;
		return text.data;
	}
	if (is_ok)
		complain(c, CONTROL_USAGE, "Split it.", "%s is larger than %zu MB.", path, max >> 20);
	else
		complain(c, CONTROL_USAGE, NULL, "%s cannot be read: %s.", path, strerror(errno));
	mem_free_secret(text.data, text.cap);
	return NULL;
}

bool file_sum(const char *path, char sum[65], uint64_t *size)
{
	unsigned char bytes[65536], digest[32];
	FILE *f = fopen(path, "re");
	EVP_MD_CTX *context = f ? EVP_MD_CTX_new() : NULL;
	size_t n;

	if (!context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
		if (f)
			fclose(f);
		return false;
	}
	*size = 0;
	while ((n = fread(bytes, 1, sizeof(bytes), f)) > 0) {
		EVP_DigestUpdate(context, bytes, n);
		*size += n;
	}
	bool is_ok = !ferror(f) && EVP_DigestFinal_ex(context, digest, NULL) == 1;
	EVP_MD_CTX_free(context);
	fclose(f);
	for (unsigned i = 0; i < sizeof(digest); i++)
		snprintf(sum + 2 * i, 3, "%02x", digest[i]);
	return is_ok;
}
