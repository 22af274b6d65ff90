/* base64.h - base64 (RFC 4648 section 4). */
#ifndef MUSTER_BASE64_H
#define MUSTER_BASE64_H

#include <stdbool.h>

#include "mem.h"

/* Decodes n characters into `out`; *len bytes. Strict, so that one value has one spelling: false on
 * whitespace, foreign characters, missing or needless padding, bits that are set behind the end (RFC 4648
 * sections 3.1 to 3.5), and on more than `size` bytes. */
bool base64_decode(const char *text, size_t n, void *out, size_t size, size_t *len) MUST_CHECK;
/* NUL-terminated, in `a`. */
char *base64_encode(struct arena *a, const void *data, size_t n);

#endif
