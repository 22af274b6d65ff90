/* digest.h - what texts and pictures are recognised by: not for secrets. */
#ifndef MUSTER_DIGEST_H
#define MUSTER_DIGEST_H

#include <stddef.h>

#include "mem.h"

#define DIGEST_SHA1 20 /* bytes */

void digest_sha1(const void *data, size_t n, unsigned char out[DIGEST_SHA1]);
/* n bytes as hexadecimal digits, in lower case; NUL-terminated, in `a`. */
char *digest_hex(struct arena *a, const unsigned char *data, size_t n);

#endif
