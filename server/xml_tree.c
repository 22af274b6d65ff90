/* xml_tree.c - from Expat's events to a stream's header, sealed stanzas and its close: what a stream may
 * hold, and how a tree grows. xml.c feeds Expat; within that its handlers here run. */
#include <string.h>
#include <strings.h>

#include "xml_parts.h"

#define XML_NS "http://www.w3.org/XML/1998/namespace"

enum {
	TEXT_KEPT = 4 * 1024 /* capacity of the text buffer that is worth keeping */
};

/* ---- errors and stops, from within handlers */

static void fail(struct xml *x, enum xml_error error)
{
	if (xml_is_over(x))
		return;
	x->error = error;
	XML_StopParser(x->expat, XML_FALSE);
}

static uint64_t event_end(const struct xml *x)
{
	return (uint64_t)(XML_GetCurrentByteIndex(x->expat) + XML_GetCurrentByteCount(x->expat));
}

static void cut(struct xml *x)
{
	if (xml_is_over(x))
		return;
	x->is_cut = true;
	x->cut_at = event_end(x);
	XML_StopParser(x->expat, XML_FALSE);
}

void xml_stop(struct xml *x)
{
	x->is_stopped = true;
	cut(x);
}

/* ---- the header */

static void on_namespace(void *arg, const char *prefix, const char *uri)
{
	struct xml *x = arg;
	if (prefix) {
		if (uri && strcmp(prefix, "stream") == 0 && strcmp(uri, STREAMS_NS) == 0)
			x->has_stream = true;
		else
			x->has_other_ns = true;
		return;
	}
	x->content = NULL;
	x->is_unprefixed = uri && strcmp(uri, STREAMS_NS) == 0;
	if (uri && strcmp(uri, "jabber:client") == 0)
		x->content = "jabber:client";
	else if (uri && strcmp(uri, "jabber:server") == 0)
		x->content = "jabber:server";
}

static enum xml_error check_root(const struct xml *x, const char *name)
{
	const char *local = strchr(name, SEPARATOR);
	size_t ns_len = sizeof(STREAMS_NS) - 1;
	if (!local || (size_t)(local - name) != ns_len || memcmp(name, STREAMS_NS, ns_len) != 0)
		return XML_BAD_NAMESPACE;
	/* Well-formed, but nothing that can be processed: RFC 6120 section 4.9.3.1. */
	if (strcmp(local + 1, "stream") != 0)
		return XML_BAD_FORMAT;
	/* "No namespace prefix on an element that needs such a prefix": RFC 6120 section 4.9.3.2. */
	if (x->is_unprefixed)
		return XML_BAD_PREFIX;
	return x->content ? XML_FINE : XML_BAD_NAMESPACE;
}

static void on_raw_head(void *arg, const char *data, int n)
{
	struct xml *x = arg;
	buffer_add(&x->head, data, (size_t)n);
}

/* Has Expat repeat the tag it is at, as it came: prefixes may be bound to anything. */
static void keep_head(struct xml *x)
{
	XML_SetDefaultHandlerExpand(x->expat, on_raw_head);
	XML_DefaultCurrent(x->expat);
	XML_SetDefaultHandlerExpand(x->expat, NULL);
}

static void on_root(struct xml *x, const char *name, const char **atts)
{
	struct xml_header h = { 0 };
	uint32_t count = 0;

	XML_SetStartNamespaceDeclHandler(x->expat, NULL);
	if (x->is_primed)
		return;
	enum xml_error error = check_root(x, name);
	if (error) {
		fail(x, error);
		return;
	}
	for (; *atts; atts += 2, count++) {
		if (strcmp(atts[0], "to") == 0)
			h.to = atts[1];
		else if (strcmp(atts[0], "from") == 0)
			h.from = atts[1];
		else if (strcmp(atts[0], "version") == 0)
			h.version = atts[1];
		else if (strcmp(atts[0], XML_NS "\nlang") == 0)
			h.lang = atts[1];
	}
	if (count > x->limits->attributes) {
		fail(x, XML_TOO_BIG);
		return;
	}
	h.is_server = strcmp(x->content, "jabber:server") == 0;
	x->is_usual = !h.is_server && x->has_stream && !x->has_other_ns;
	if (!x->is_usual)
		keep_head(x);
	x->is_primed = true;
	x->handlers->header(x->arg, &h);
}

/* ---- elements */

static void empty_text(struct xml *x)
{
	x->text.len = 0;
	if (x->text.cap > TEXT_KEPT)
		buffer_free(&x->text);
}

/* The run of character data ends: one node for all its pieces. */
static void end_text(struct xml *x)
{
	if (x->text.len == 0)
		return;
	element_text_append(x->stanza, x->element, x->text.data, x->text.len);
	empty_text(x);
}

/* The namespace of an element as stanza.h stores it. */
static const char *element_ns(struct xml *x, const char *ns, size_t n)
{
	const char *outer = x->element ? x->element->ns : NULL;
	if (!outer && strlen(x->content) == n && memcmp(ns, x->content, n) == 0)
		return NULL;
	if (outer && strncmp(ns, outer, n) == 0 && outer[n] == '\0')
		return outer;
	return arena_strndup(&x->stanza->arena, ns, n);
}

static void open_element(struct xml *x, const char *name)
{
	struct arena *a = &x->stanza->arena;
	const char *local = strchr(name, SEPARATOR);
	const char *ns = "";
	if (local)
		ns = element_ns(x, name, (size_t)(local - name));
	local = local ? local + 1 : name;
	x->element = element_link(x->stanza, x->element, arena_strdup(a, local), ns);
}

/* What the core wants to know of a first-level element. True when the attribute is thereby set aside. */
static bool take_root_attribute(struct stanza *st, const char *name, const char *value)
{
	if (strcmp(name, "from") == 0) {
		st->from = value;
		return true;
	}
	if (strcmp(name, "to") == 0) {
		st->to = value;
		return true;
	}
	if (strcmp(name, "id") == 0)
		st->id = value;
	else if (strcmp(name, "type") == 0)
		st->type = (uint8_t)stanza_type_of(st->kind, value);
	return false;
}

static void add_attributes(struct xml *x, const char **atts)
{
	struct stanza *st = x->stanza;
	struct arena *a = &st->arena;
	struct attribute **at = &x->element->attributes;
	for (uint32_t count = 1; *atts; atts += 2, count++) {
		if (count > x->limits->attributes) {
			fail(x, XML_TOO_BIG);
			return;
		}
		const char *value = arena_strdup(a, atts[1]);
		const char *local = strchr(atts[0], SEPARATOR);
		const char *ns = NULL;
		if (!local && x->depth == 2 && take_root_attribute(st, atts[0], value))
			continue;
		if (local && strncmp(atts[0], XML_NS "\n", sizeof(XML_NS)) == 0)
			ns = "xml";
		else if (local)
			ns = arena_strndup(a, atts[0], (size_t)(local - atts[0]));
		at = attribute_link(st, at, ns, arena_strdup(a, local ? local + 1 : atts[0]), value);
	}
	/* RFC 6120 section 8.1.5: the stream's language is its stanzas'. */
	if (x->lang && x->depth == 2 && st->kind < STANZA_OTHER && !element_lang(st->root))
		attribute_link(st, at, "xml", "lang", arena_strdup(a, x->lang));
}

static void begin_stanza(struct xml *x, const char *name)
{
	x->stanza_at = (uint64_t)XML_GetCurrentByteIndex(x->expat);
	x->stanza = stanza_new_empty(x->fed - x->stanza_at);
	x->element = NULL;
	open_element(x, name);
	struct stanza *st = x->stanza;
	st->root = x->element;
	if (!st->root->ns)
		st->kind = (uint8_t)stanza_kind_of(st->root->name);
	st->type = (uint8_t)stanza_type_of(st->kind, NULL);
}

/* Counts the child that begins at x->depth; true when its parent has too many. */
static bool has_too_many_children(struct xml *x)
{
	if (x->depth >= x->children_size) {
		x->children_size = x->children_size ? 2 * x->children_size : 16;
		x->children = mem_realloc(x->children, x->children_size * sizeof(*x->children));
	}
	x->children[x->depth] = 0;
	return x->depth > 2 && ++x->children[x->depth - 1] > x->limits->children;
}

static void on_start(void *arg, const char *name, const char **atts)
{
	struct xml *x = arg;
	if (xml_is_over(x))
		return;
	if (++x->depth == 1) {
		on_root(x, name, atts);
		return;
	}
	if (x->depth > x->limits->depth || has_too_many_children(x)) {
		fail(x, XML_TOO_BIG);
		return;
	}
	if (x->depth == 2) {
		begin_stanza(x, name);
	} else {
		end_text(x);
		open_element(x, name);
	}
	add_attributes(x, atts);
}

static void end_stanza(struct xml *x)
{
	if (event_end(x) - x->stanza_at > x->limits->stanza_bytes) {
		fail(x, XML_TOO_BIG);
		return;
	}
	struct stanza *st = stanza_seal_in(x->stanza, &x->text); /* between runs it is free */
	empty_text(x);
	x->stanza = NULL;
	x->element = NULL;
	x->handlers->stanza(x->arg, st);
	if (x->heap > HEAP_MAX)
		cut(x);
}

static void on_end(void *arg, const char *name)
{
	struct xml *x = arg;
	(void)name;
	if (xml_is_over(x))
		return;
	x->depth--;
	if (x->depth == 0) {
		x->handlers->close(x->arg);
		return;
	}
	end_text(x);
	if (x->depth == 1)
		end_stanza(x);
	else
		x->element = x->element->parent;
}

/* White space between stanzas keeps the connection alive: RFC 6120 section 4.6.1. */
static void on_text(void *arg, const char *s, int n)
{
	struct xml *x = arg;
	if (xml_is_over(x))
		return;
	if (x->stanza)
		buffer_add(&x->text, s, (size_t)n);
	else if (!xml_is_space(s, (size_t)n))
		fail(x, XML_BAD_FORMAT);
}

/* ---- what XMPP does not allow: RFC 6120 section 11.1 */

static void on_declaration(void *arg, const char *version, const char *encoding, int standalone)
{
	(void)version;
	(void)standalone;
	if (encoding && strcasecmp(encoding, "UTF-8") != 0)
		fail(arg, XML_BAD_ENCODING);
}

static void on_doctype(void *arg, const char *name, const char *sysid, const char *pubid, int has_subset)
{
	(void)name;
	(void)sysid;
	(void)pubid;
	(void)has_subset;
	fail(arg, XML_RESTRICTED);
}

static void on_comment(void *arg, const char *data)
{
	(void)data;
	fail(arg, XML_RESTRICTED);
}

static void on_instruction(void *arg, const char *target, const char *data)
{
	(void)target;
	(void)data;
	fail(arg, XML_RESTRICTED);
}

/* Allowed in a stanza. Between stanzas it could only hold text, and a parser inside an open section
 * looks idle without being so. */
static void on_cdata(void *arg)
{
	struct xml *x = arg;
	if (!xml_is_over(x) && !x->stanza)
		fail(x, XML_BAD_FORMAT);
}

void xml_tree_listen(struct xml *x)
{
	XML_SetElementHandler(x->expat, on_start, on_end);
	XML_SetCharacterDataHandler(x->expat, on_text);
	XML_SetStartNamespaceDeclHandler(x->expat, on_namespace);
	XML_SetXmlDeclHandler(x->expat, on_declaration);
	XML_SetStartDoctypeDeclHandler(x->expat, on_doctype);
	XML_SetCommentHandler(x->expat, on_comment);
	XML_SetProcessingInstructionHandler(x->expat, on_instruction);
	XML_SetStartCdataSectionHandler(x->expat, on_cdata);
}
