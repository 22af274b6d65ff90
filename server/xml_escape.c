/* xml_escape.c - text as XML writes it: for the seal, for stream headers, for whoever writes by hand. */
#include <string.h>

#include "xml.h"

enum { ESCAPE_IN_TEXT = 1, ESCAPE_IN_ATTRIBUTE = 2, ESCAPE_ALWAYS = 3 };

/* Line ends and tabs are normalised away in attributes, a carriage return also in text. The other
 * control characters cannot be written in XML at all. */
static const uint8_t escape_class[256] = {
	[0 ... 0x08] = ESCAPE_ALWAYS,    ['\t'] = ESCAPE_IN_ATTRIBUTE, ['\n'] = ESCAPE_IN_ATTRIBUTE,
	[0x0b ... 0x1f] = ESCAPE_ALWAYS, ['&'] = ESCAPE_ALWAYS,        ['<'] = ESCAPE_ALWAYS,
	['>'] = ESCAPE_ALWAYS,           ['\''] = ESCAPE_IN_ATTRIBUTE,
};

static const char *escape_of(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '\'':
		return "&apos;";
	case '\t':
		return "&#9;";
	case '\n':
		return "&#10;";
	case '\r':
		return "&#13;";
	default:
		return "\xef\xbf\xbd"; /* U+FFFD */
	}
}

/* Bytes that are compared at once, by the vectors that gcc and clang have for every processor. */
typedef unsigned char bytes __attribute__((vector_size(16)));

/* Whether none of them is written in another way anywhere. */
static bool is_plain(const char *s)
{
	uint64_t special[2];
	bytes b;
	memcpy(&b, s, sizeof(b));
	b = (bytes)((b < ' ') | (b == '&') | (b == '<') | (b == '>') | (b == '\''));
	memcpy(special, &b, sizeof(b));
	return !(special[0] | special[1]);
}

static void escape(struct buffer *b, const char *s, size_t n, uint8_t place)
{
	const char *end = s + n;
	while (s < end) {
		const char *run = s;
		while (end - s >= (ptrdiff_t)sizeof(bytes) && is_plain(s))
			s += sizeof(bytes);
		while (s < end && !(escape_class[(unsigned char)*s] & place))
			s++;
		buffer_add(b, run, (size_t)(s - run));
		if (s < end)
			buffer_adds(b, escape_of(*s++));
	}
}

void xml_escape(struct buffer *b, const char *s, size_t n)
{
	escape(b, s, n, ESCAPE_IN_ATTRIBUTE);
}

void xml_escape_text(struct buffer *b, const char *s, size_t n)
{
	escape(b, s, n, ESCAPE_IN_TEXT);
}
