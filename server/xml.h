/* xml.h - Expat as XMPP needs it: turns the bytes of one stream into a header, stanzas and a close.
 *
 * Restricted XML only (RFC 6120 section 11.1: no comments, processing instructions, DTDs, entities),
 * UTF-8 only, every size bounded. One parser costs about 10 KB, so an idle stream gives its parser
 * back: at depth 1 with no unfinished token every stream with the usual header is in the same state. */
#ifndef MUSTER_XML_H
#define MUSTER_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stanza.h"

/* What can be wrong with the bytes; the caller maps it to a stream error of RFC 6120 section 4.9.3. */
enum xml_error {
	XML_FINE,
	XML_NOT_WELL_FORMED, /* not-well-formed */
	XML_RESTRICTED,      /* restricted-xml: comment, PI, DTD, entity */
	XML_BAD_ENCODING,    /* unsupported-encoding */
	XML_BAD_PREFIX, /* bad-namespace-prefix: the stream prefix is not that of the streams namespace */
	XML_BAD_NAMESPACE, /* invalid-namespace: the root element's or the content namespace */
	XML_BAD_FORMAT,    /* bad-format / invalid-xml: text between stanzas that is no white space */
	XML_TOO_BIG        /* policy-violation: a stanza, token, depth, attribute or child limit */
};

struct xml_limits {
	uint32_t stanza_bytes; /* of one first-level element */
	uint32_t depth;        /* the stream's root is depth 1 */
	uint32_t attributes;   /* on one element */
	uint32_t children;     /* of one element */
	uint32_t token_bytes;  /* of an unfinished token: Expat's cost is quadratic in it */
};

/* The root element's attributes; strings live until the callback returns. */
struct xml_header {
	const char *to, *from, *version, *lang; /* NULL when absent */
	bool is_server;                         /* content namespace jabber:server */
};

/* Called in the order of the bytes. A handler may call xml_stop and xml_set_lang, and nothing else of
 * this file. */
struct xml_handlers {
	void (*header)(void *arg, const struct xml_header *h);
	/* Sealed; the handler owns the reference. `from` and `to` are in the struct, not in its bytes. */
	void (*stanza)(void *arg, struct stanza *st);
	void (*close)(void *arg); /* </stream:stream> */
};

struct xml;      /* a parser in the middle of one stream */
struct xml_pool; /* primed parsers of one reactor, lent to whoever has bytes to parse */

struct xml_pool *xml_pool_new(unsigned keep); /* keeps at most that many primed parsers */
void xml_pool_free(struct xml_pool *pool);
unsigned xml_pool_count(const struct xml_pool *pool); /* parsers, kept and lent */

/* A fresh parser, before the header. `limits` and `handlers` must outlive it. */
struct xml *xml_new(struct xml_pool *pool, const struct xml_limits *limits,
                    const struct xml_handlers *handlers, void *arg);
/* A parser that stands behind the usual client header (for a stream that gave its own away). */
struct xml *xml_borrow(struct xml_pool *pool, const struct xml_limits *limits,
                       const struct xml_handlers *handlers, void *arg);
/* Stanzas without xml:lang get this one (NULL: none). It must outlive the loan. Handlers may call it. */
void xml_set_lang(struct xml *x, const char *lang);
/* Whether the stream can do without it until more bytes arrive: depth 1, no unfinished token, and a
 * header with no declarations but the usual ones. */
bool xml_is_idle(const struct xml *x);
/* Gives an idle parser back (kept or freed). */
void xml_return(struct xml_pool *pool, struct xml *x);
void xml_free(struct xml *x); /* in any state; NULL is fine */

/* Parses; handlers run inside. After an error the parser is dead: free it. */
enum xml_error xml_feed(struct xml *x, const char *data, size_t n) MUST_CHECK;
/* From a handler: take no byte behind the present element. xml_feed then returns XML_FINE, and
 * xml_consumed says how many bytes of that call were taken. The parser is spent: free it. */
void xml_stop(struct xml *x);
size_t xml_consumed(const struct xml *x);
const char *xml_error_text(enum xml_error error);

/* One complete element from a string (a stored stanza): NULL when it is not well-formed. Sealed, with
 * its `from` and `to` set aside as above. */
struct stanza *xml_parse_stanza(const char *data, size_t n);

/* ---- writing, used by the seal and by stream headers */
void xml_escape(struct buffer *b, const char *s, size_t n);      /* for an attribute in single quotes */
void xml_escape_text(struct buffer *b, const char *s, size_t n); /* for character data */

#endif
