/* archive_text.c - see archive_text.h. */
#include "archive_text.h"

#include <string.h>
#include <unistr.h>

#include "xml.h"

#define NAME "<message"

void archive_xml(struct buffer *b, const char *stanza, const char *from, const char *to)
{
	size_t n = strncmp(stanza, NAME, strlen(NAME)) == 0 ? strlen(NAME) : 0;

	buffer_add(b, stanza, n);
	if (n) {
		buffer_adds(b, " xmlns='jabber:client' from='");
		xml_escape(b, from, strlen(from));
		buffer_adds(b, "' to='");
		xml_escape(b, to, strlen(to));
		buffer_adds(b, "'");
	}
	buffer_adds(b, stanza + n);
}

const char *archive_text(struct arena *a, const struct stanza *st)
{
	const struct element *body = element_child(st->root, "body", NULL),
			     *first = element_first(st->root);

	for (const struct element *e = first; e; e = e->next) {
		if (e->name && (strcmp(e->name, "encrypted") == 0 || strcmp(e->name, "openpgp") == 0))
			return "[encrypted]";
	}
	if (body)
		return element_get_text(body, a);
	return first ? arena_printf(a, "[%s]", first->name) : "[empty]";
}

/* Controls but the line feed, and what turns the direction of writing round for all that follows. */
static bool steers(ucs4_t c)
{
	return (c < 0x20 && c != '\n') || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069) || c == 0x2028 || c == 0x2029;
}

void archive_add_safe(struct buffer *b, const char *text)
{
	const uint8_t *s = (const uint8_t *)text, *end = s + strlen(text);
	ucs4_t c;
	int n;

	for (; s < end; s += n) {
		n = u8_mbtouc(&c, s, (size_t)(end - s));
		if (steers(c))
			buffer_adds(b, c == '\t' || c == '\r' ? " " : "\xef\xbf\xbd");
		else
			buffer_add(b, s, (size_t)n);
	}
}

const char *archive_line(struct arena *a, const char *text, unsigned characters)
{
	const uint8_t *s = (const uint8_t *)text, *end = s + strlen(text), *cut = s;
	ucs4_t c;

	for (unsigned i = 0; cut < end && i < characters; i++)
		cut += u8_mbtouc(&c, cut, (size_t)(end - cut));
	char *line = arena_printf(a, "%.*s%s", (int)(cut - s), text, cut < end ? " ..." : "");
	for (char *at = line; *at; at++) {
		if (*at == '\n' || *at == '\r' || *at == '\t')
			*at = ' ';
	}
	return line;
}
