/* words.c - see words.h. */
#include "words.h"

#include <string.h>

#include <unictype.h>
#include <unistr.h>

#include "text.h"

/* Ends the word that began at `at` in the buffer, where the space stands. */
static void word_end(struct buffer *b, size_t at, unsigned *count)
{
	size_t n = b->len - at - 1;

	if (n == 0 || n > MESSAGE_WORD_MAX || *count >= MESSAGE_WORDS_MAX)
		b->len = at;
	else
		(*count)++;
}

/* Letters and digits of ASCII, in lower case; what is neither is 0. */
#define LETTER(upper, lower) [upper] = lower, [lower] = lower
static const char ascii_word[256] = {
	['0'] = '0',      ['1'] = '1',      ['2'] = '2',      ['3'] = '3',      ['4'] = '4',
	['5'] = '5',      ['6'] = '6',      ['7'] = '7',      ['8'] = '8',      ['9'] = '9',
	LETTER('A', 'a'), LETTER('B', 'b'), LETTER('C', 'c'), LETTER('D', 'd'), LETTER('E', 'e'),
	LETTER('F', 'f'), LETTER('G', 'g'), LETTER('H', 'h'), LETTER('I', 'i'), LETTER('J', 'j'),
	LETTER('K', 'k'), LETTER('L', 'l'), LETTER('M', 'm'), LETTER('N', 'n'), LETTER('O', 'o'),
	LETTER('P', 'p'), LETTER('Q', 'q'), LETTER('R', 'r'), LETTER('S', 's'), LETTER('T', 't'),
	LETTER('U', 'u'), LETTER('V', 'v'), LETTER('W', 'w'), LETTER('X', 'x'), LETTER('Y', 'y'),
	LETTER('Z', 'z'),
};

/* Most text is of ASCII. How much of it was. */
static size_t add_ascii(struct buffer *b, const char *text, unsigned *count)
{
	const unsigned char *c = (const unsigned char *)text, *word;

	buffer_reserve(b, strlen(text) + 2);
	while (*c && *count < MESSAGE_WORDS_MAX) {
		size_t at = b->len;
		char *to = b->data + at, lower;

		while (*c && *c < 0x80 && !ascii_word[*c])
			c++;
		word = c;
		*to++ = ' ';
		for (; (lower = ascii_word[*c]); c++)
			*to++ = lower;
		if (*c >= 0x80) /* so is this word, perhaps */
			return (size_t)(word - (const unsigned char *)text);
		b->len = (size_t)(to - b->data);
		word_end(b, at, count);
	}
	return (size_t)(c - (const unsigned char *)text);
}

/* Signs that are written without spaces between words. */
static bool is_alone(ucs4_t c)
{
	return uc_is_property_ideographic(c) || (c >= 0x3040 && c <= 0x30ff);
}

static bool is_word(ucs4_t c)
{
	return uc_is_alnum(c) || uc_is_general_category(c, UC_CATEGORY_M);
}

static void add_folded(struct buffer *b, const char *text, unsigned *count)
{
	const uint8_t *c = (const uint8_t *)text, *end = c + strlen(text);
	size_t at = b->len;
	ucs4_t sign;
	int n;

	buffer_add(b, " ", 1);
	for (; c < end && *count < MESSAGE_WORDS_MAX; c += n) {
		n = u8_mbtouc(&sign, c, (size_t)(end - c));
		if (is_word(sign) && !is_alone(sign)) {
			buffer_add(b, c, (size_t)n);
			continue;
		}
		word_end(b, at, count);
		at = b->len;
		buffer_add(b, " ", 1);
		if (!is_alone(sign))
			continue;
		buffer_add(b, c, (size_t)n);
		word_end(b, at, count);
		at = b->len;
		buffer_add(b, " ", 1);
	}
	word_end(b, at, count);
}

void words_add(struct buffer *b, const char *text, unsigned *count)
{
	struct arena a = { 0 };

	text += add_ascii(b, text, count);
	if (*text && *count < MESSAGE_WORDS_MAX)
		add_folded(b, text_fold(&a, text), count);
	arena_free(&a);
}
