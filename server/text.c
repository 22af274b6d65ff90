/* text.c - see text.h. */
#include "text.h"

#include <string.h>

#include <unicase.h>

char *text_fold(struct arena *a, const char *text)
{
	size_t n = 0;
	uint8_t *folded = u8_casefold((const uint8_t *)text, strlen(text), NULL, UNINORM_NFKC, NULL, &n);
	char *result = arena_strndup(a, folded ? (const char *)folded : "", folded ? n : 0);

	mem_free(folded);
	return result;
}
