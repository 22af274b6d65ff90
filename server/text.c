/* text.c - see text.h. */
#include "text.h"

#include <string.h>

#include <unicase.h>
#include <unistr.h>

char *text_fold(struct arena *a, const char *text)
{
	const uint8_t *s = (const uint8_t *)text;
	size_t n = strlen(text), len = 0;
	uint8_t *folded = u8_check(s, n) ? NULL : u8_casefold(s, n, NULL, UNINORM_NFKC, NULL, &len);
	char *result = arena_strndup(a, folded ? (const char *)folded : "", len);

	mem_free(folded);
	return result;
}
