/* xml_parts.h - what xml.c, who feeds Expat, and xml_tree.c, who makes stanzas of what Expat says, share.
 * Nobody else includes it. */
#ifndef MUSTER_XML_PARTS_H
#define MUSTER_XML_PARTS_H

#include <expat.h>

#include "xml.h"

#define STREAMS_NS "http://etherx.jabber.org/streams"

enum {
	SEPARATOR = '\n',    /* between namespace and name; neither can hold one */
	HEAP_MAX = 32 * 1024 /* asked for by an Expat parser that is still worth keeping */
};

struct xml {
	XML_Parser expat;
	const struct xml_limits *limits;
	const struct xml_handlers *handlers;
	void *arg;
	struct xml *next;      /* in the pool */
	struct xml_pool *pool; /* that counts it; or NULL */

	size_t heap;  /* bytes this Expat parser ever asked for: what it frees is soon asked for again */
	uint64_t fed; /* bytes given to this Expat parser */
	uint64_t stanza_at;  /* where the present first-level element begins */
	uint64_t cut_at;     /* where is_cut happened */
	size_t consumed;     /* bytes taken of the present feed */
	struct buffer head;  /* an unusual header's tag as it came, to show to a fresh parser */
	const char *content; /* the content namespace */
	const char *lang;    /* for stanzas without; or NULL */

	uint32_t depth; /* of open elements; the root is 1 */
	enum xml_error error;
	bool is_primed;     /* the header's tag is our own: no handlers */
	bool is_usual;      /* the header is USUAL_HEADER, leaving attributes aside */
	bool is_cut;        /* Expat was stopped behind an element, by xml_stop or because it has grown */
	bool is_stopped;    /* by xml_stop */
	bool has_stream;    /* xmlns:stream is declared as it usually is */
	bool has_other_ns;  /* another prefix than `stream` is declared */
	bool is_unprefixed; /* the default namespace is that of the streams */

	struct stanza *stanza;   /* being built: depth is 2 or more */
	struct element *element; /* the innermost open one in it */
	struct buffer text;      /* the run of character data so far */
	uint32_t *children;      /* how many each open element has, by depth */
	uint32_t children_size;
};

/* Expat may call a few more handlers after it was stopped. */
static inline bool xml_is_over(const struct xml *x)
{
	return x->error != XML_FINE || x->is_cut;
}

static inline bool xml_is_space(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r' && s[i] != '\n')
			return false;
	return true;
}

/* xml_tree.c: a fresh Expat parser's handlers. */
void xml_tree_listen(struct xml *x);

#endif
