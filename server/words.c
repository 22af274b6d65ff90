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

/* A letter or digit in lower case; 0: neither. */
static inline char ascii_word(unsigned char c)
{
	unsigned char lower = c | 0x20;

	if ((unsigned char)(lower - 'a') < 26)
		return (char)lower;
	return (unsigned char)(c - '0') < 10 ? (char)c : '\0';
}

/* Most text is of ASCII. How much of it was. */
static size_t add_ascii(struct buffer *b, const char *text, unsigned *count)
{
	const char *c = text, *word;

	buffer_reserve(b, strlen(text) + 2);
	while (*c && *count < MESSAGE_WORDS_MAX) {
		size_t at = b->len;
		char *to = b->data + at, lower;

		while (*c && (unsigned char)*c < 0x80 && !ascii_word((unsigned char)*c))
			c++;
		word = c;
		*to++ = ' ';
		for (; (lower = ascii_word((unsigned char)*c)); c++)
			*to++ = lower;
		if ((unsigned char)*c >= 0x80) /* so is this word, perhaps */
			return (size_t)(word - text);
		b->len = (size_t)(to - b->data);
		word_end(b, at, count);
	}
	return (size_t)(c - text);
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
