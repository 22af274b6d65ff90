/* text.c - see text.h. */
#include "text.h"

#include <string.h>

#include <unicase.h>
#include <unistr.h>

#define LINE_MAX_BYTES 108

/* Most text is: then only its letters change. */
static bool fold_ascii(char *copy)
{
	for (; (unsigned char)*copy < 0x80; copy++) {
		if (!*copy)
			return true;
		if (*copy >= 'A' && *copy <= 'Z')
			*copy = (char)(*copy + ('a' - 'A'));
	}
	return false;
}

char *text_fold(struct arena *a, const char *text)
{
	const uint8_t *s = (const uint8_t *)text;
	size_t n = strlen(text), len = 0;
	char *ascii = arena_strndup(a, text, n);

	if (fold_ascii(ascii))
		return ascii;
	uint8_t *folded = u8_check(s, n) ? NULL : u8_casefold(s, n, NULL, UNINORM_NFKC, NULL, &len);
	char *result = arena_strndup(a, folded ? (const char *)folded : "", len);

	mem_free(folded);
	return result;
}

void text_wrap(struct buffer *b, const char *text, const char *indent)
{
	size_t at = b->len;

	while (at > 0 && b->data[at - 1] != '\n')
		at--;
	for (size_t n, line = b->len - at; *(text += strspn(text, " ")); text += n) {
		n = strcspn(text, " ");
		if (line > strlen(indent) && line + 1 + n > LINE_MAX_BYTES) {
			buffer_addf(b, "\n%s", indent);
			line = strlen(indent);
		} else if (line > 0 && b->data[b->len - 1] != ' ') {
			buffer_adds(b, " ");
			line++;
		}
		buffer_add(b, text, n);
		line += n;
	}
}
