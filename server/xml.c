/* xml.c - Expat behind xml.h: one stream's bytes in, a header, sealed stanzas and a close out.
 *
 * Streams of clients and servers call it from their reactor; it owns the Expat parsers and the pool
 * of idle ones. Expat itself never shrinks and remembers every name it has seen, so the memory it
 * asks for is counted, and behind the end of a stanza a parser that has grown is replaced by a fresh
 * one that has been shown the same stream header. */
#include "xml.h"

#include <expat.h>
#include <string.h>
#include <strings.h>

#define STREAMS_NS "http://etherx.jabber.org/streams"
#define XML_NS "http://www.w3.org/XML/1998/namespace"
#define USUAL_HEADER "<stream:stream xmlns='jabber:client' xmlns:stream='" STREAMS_NS "'>"

enum {
	SEPARATOR = '\n',       /* between namespace and name; neither can hold one */
	SLICE_BYTES = 3 * 1024, /* given to Expat at once, since its buffer grows with it */
	HEAP_MAX = 32 * 1024,   /* asked for by an Expat parser that is still worth keeping */
	TEXT_KEPT = 4 * 1024    /* capacity of the text buffer that is worth keeping */
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

struct xml_pool {
	struct xml *first;
	unsigned count, keep;
	unsigned alive; /* those that are lent, too */
};

/* ---- counting Expat's memory. Its allocator has no argument, so this says whose it is while Expat
 * runs: the one writable variable here, per thread, and NULL whenever no call into Expat is open. */
static _Thread_local size_t *heap_of_running;

static void *count_alloc(size_t size)
{
	*heap_of_running += size;
	return mem_alloc(size);
}

static void *count_realloc(void *old, size_t size)
{
	*heap_of_running += size;
	return mem_realloc(old, size);
}

/* ---- errors and stops, from within handlers */

/* Expat may call a few more handlers after it was stopped. */
static bool is_over(const struct xml *x)
{
	return x->error != XML_FINE || x->is_cut;
}

static void fail(struct xml *x, enum xml_error error)
{
	if (is_over(x))
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
	if (is_over(x))
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
	if (is_over(x))
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
	if (is_over(x))
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

static bool is_space(const char *s, int n)
{
	for (int i = 0; i < n; i++)
		if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r' && s[i] != '\n')
			return false;
	return true;
}

/* White space between stanzas keeps the connection alive: RFC 6120 section 4.6.1. */
static void on_text(void *arg, const char *s, int n)
{
	struct xml *x = arg;
	if (is_over(x))
		return;
	if (x->stanza)
		buffer_add(&x->text, s, (size_t)n);
	else if (!is_space(s, n))
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
	if (!is_over(x) && !x->stanza)
		fail(x, XML_BAD_FORMAT);
}

/* ---- the Expat parser */

static void expat_new(struct xml *x)
{
	const XML_Memory_Handling_Suite memory = { count_alloc, count_realloc, mem_free };
	const char separator[] = { SEPARATOR, '\0' };

	x->heap = 0;
	x->fed = 0;
	size_t *outer = heap_of_running;
	heap_of_running = &x->heap;
	x->expat = XML_ParserCreate_MM("UTF-8", &memory, separator);
	heap_of_running = outer;
	ASSERT(x->expat);
	XML_SetUserData(x->expat, x);
	/* It would hold a complete stanza back when it was long unfinished. token_bytes bounds the cost. */
	XML_SetReparseDeferralEnabled(x->expat, XML_FALSE);
	XML_SetElementHandler(x->expat, on_start, on_end);
	XML_SetCharacterDataHandler(x->expat, on_text);
	XML_SetStartNamespaceDeclHandler(x->expat, on_namespace);
	XML_SetXmlDeclHandler(x->expat, on_declaration);
	XML_SetStartDoctypeDeclHandler(x->expat, on_doctype);
	XML_SetCommentHandler(x->expat, on_comment);
	XML_SetProcessingInstructionHandler(x->expat, on_instruction);
	XML_SetStartCdataSectionHandler(x->expat, on_cdata);
}

static enum XML_Status expat_parse(struct xml *x, const char *data, size_t n)
{
	size_t *outer = heap_of_running; /* a handler may read a stored stanza */
	x->fed += n;
	heap_of_running = &x->heap;
	enum XML_Status status = XML_Parse(x->expat, data, (int)n, XML_FALSE);
	heap_of_running = outer;
	return status;
}

/* A fresh Expat parser, brought to depth 1 by the stream's header or the usual one. */
static void expat_prime(struct xml *x)
{
	expat_new(x);
	x->is_primed = true;
	x->depth = 0;
	const char *head = x->head.len ? x->head.data : USUAL_HEADER;
	enum XML_Status status = expat_parse(x, head, strlen(head));
	ASSERT(status == XML_STATUS_OK && x->depth == 1);
}

/* Where the unfinished token begins. */
static uint64_t token_at(const struct xml *x)
{
	XML_Index at = XML_GetCurrentByteIndex(x->expat);
	return at < 0 ? 0 : (uint64_t)at;
}

/* ---- the pool */

struct xml_pool *xml_pool_new(unsigned keep)
{
	struct xml_pool *pool = mem_zalloc(sizeof(*pool));
	pool->keep = keep;
	return pool;
}

void xml_pool_free(struct xml_pool *pool)
{
	struct xml *next;
	for (struct xml *x = pool->first; x; x = next) {
		next = x->next;
		xml_free(x);
	}
	mem_free(pool);
}

unsigned xml_pool_count(const struct xml_pool *pool)
{
	return pool->alive;
}

static struct xml *xml_make(const struct xml_limits *limits, const struct xml_handlers *handlers, void *arg)
{
	struct xml *x = mem_zalloc(sizeof(*x));
	x->limits = limits;
	x->handlers = handlers;
	x->arg = arg;
	x->lang = NULL;
	return x;
}

void xml_set_lang(struct xml *x, const char *lang)
{
	x->lang = lang;
}

struct xml *xml_new(struct xml_pool *pool, const struct xml_limits *limits,
                    const struct xml_handlers *handlers, void *arg)
{
	struct xml *x = xml_make(limits, handlers, arg); /* the pool has only parsers behind a header */
	x->pool = pool;
	pool->alive++;
	expat_new(x);
	return x;
}

/* One that stands behind the usual header. */
static struct xml *xml_primed(const struct xml_limits *limits, const struct xml_handlers *handlers,
                              void *arg)
{
	struct xml *x = xml_make(limits, handlers, arg);
	x->content = "jabber:client";
	x->is_usual = true;
	expat_prime(x);
	return x;
}

struct xml *xml_borrow(struct xml_pool *pool, const struct xml_limits *limits,
                       const struct xml_handlers *handlers, void *arg)
{
	struct xml *x = pool->first;
	if (!x) {
		x = xml_primed(limits, handlers, arg);
		x->pool = pool;
		pool->alive++;
		return x;
	}
	pool->first = x->next;
	pool->count--;
	x->next = NULL;
	x->limits = limits;
	x->handlers = handlers;
	x->arg = arg;
	return x;
}

bool xml_is_idle(const struct xml *x)
{
	return x->is_usual && x->depth == 1 && !is_over(x) && token_at(x) == x->fed;
}

void xml_return(struct xml_pool *pool, struct xml *x)
{
	ASSERT(xml_is_idle(x));
	if (pool->count >= pool->keep || x->heap > HEAP_MAX) {
		xml_free(x);
		return;
	}
	x->limits = NULL;
	x->handlers = NULL;
	x->arg = NULL;
	x->next = pool->first;
	pool->first = x;
	pool->count++;
}

void xml_free(struct xml *x)
{
	if (!x)
		return;
	if (x->pool)
		x->pool->alive--;
	XML_ParserFree(x->expat);
	stanza_unref(x->stanza);
	buffer_free(&x->text);
	buffer_free(&x->head);
	mem_free(x->children);
	mem_free(x);
}

/* ---- feeding */

static enum xml_error error_of_expat(const struct xml *x)
{
	switch (XML_GetErrorCode(x->expat)) {
	case XML_ERROR_UNDEFINED_ENTITY:
		return XML_RESTRICTED;
	case XML_ERROR_UNKNOWN_ENCODING:
	case XML_ERROR_INCORRECT_ENCODING:
		return XML_BAD_ENCODING;
	case XML_ERROR_UNBOUND_PREFIX:
		return x->depth == 0 ? XML_BAD_PREFIX : XML_NOT_WELL_FORMED;
	default:
		return XML_NOT_WELL_FORMED;
	}
}

/* Expat would take UTF-16, with a byte order mark and without, whatever encoding it was told: it looks
 * at the first two bytes. */
static enum xml_error check_first_bytes(uint64_t at, const char *data, size_t n)
{
	if (n > 0 && at == 0 && (*data == '\xfe' || *data == '\xff'))
		return XML_BAD_ENCODING;
	for (; n > 0 && at < 2; at++, data++, n--) {
		if (*data == '\0')
			return XML_BAD_ENCODING;
		if (at == 0 && *data != '<' && *data != '\xef')
			return XML_NOT_WELL_FORMED;
	}
	return XML_FINE;
}

static enum xml_error check_unfinished(const struct xml *x)
{
	uint64_t at = token_at(x);
	if (x->fed - at > x->limits->token_bytes)
		return XML_TOO_BIG;
	/* Between stanzas the token may be the beginning of one. */
	if (x->stanza)
		at = x->stanza_at;
	if (x->depth > 0 && x->fed - at > x->limits->stanza_bytes)
		return XML_TOO_BIG;
	return XML_FINE;
}

static enum xml_error feed_slice(struct xml *x, const char *data, size_t n)
{
	uint64_t before = x->fed;
	enum XML_Status status = expat_parse(x, data, n);
	if (x->error)
		return x->error;
	if (x->is_cut) {
		x->consumed += x->cut_at - before;
		return XML_FINE;
	}
	if (status != XML_STATUS_OK)
		return error_of_expat(x);
	x->consumed += n;
	return check_unfinished(x);
}

enum xml_error xml_feed(struct xml *x, const char *data, size_t n)
{
	ASSERT(!is_over(x));
	x->consumed = 0;
	/* White space before a header was sent behind the last element of the stream before; in front of
	 * <?xml?> it would be an error. */
	while (x->fed == 0 && x->consumed < n && is_space(data + x->consumed, 1))
		x->consumed++;
	x->error = check_first_bytes(x->fed, data + x->consumed, n - x->consumed);
	while (!x->error && !x->is_stopped && x->consumed < n) {
		size_t left = n - x->consumed;
		x->error = feed_slice(x, data + x->consumed, left < SLICE_BYTES ? left : SLICE_BYTES);
		if (x->is_cut && !x->is_stopped) {
			x->is_cut = false;
			XML_ParserFree(x->expat);
			expat_prime(x);
		}
	}
	return x->error;
}

size_t xml_consumed(const struct xml *x)
{
	return x->consumed;
}

const char *xml_error_text(enum xml_error error)
{
	switch (error) {
	case XML_FINE:
		return "fine";
	case XML_NOT_WELL_FORMED:
		return "the XML is not well-formed";
	case XML_RESTRICTED:
		return "comments, processing instructions, DTDs and entities are not allowed";
	case XML_BAD_ENCODING:
		return "the encoding is not UTF-8";
	case XML_BAD_PREFIX:
		return "the root element has no prefix that stands for the streams namespace";
	case XML_BAD_NAMESPACE:
		return "the namespace of the stream or of its content is not supported";
	case XML_BAD_FORMAT:
		return "there is something other than stanzas in the stream";
	case XML_TOO_BIG:
		return "a limit on size, depth, attributes or children is exceeded";
	}
	ASSERT(!"an error of this list");
	return NULL;
}

/* ---- one stanza from a string: the stream that would have carried it */

struct parsed {
	struct stanza *first;
	unsigned count;
};

static void on_parsed_stanza(void *arg, struct stanza *st)
{
	struct parsed *p = arg;
	if (p->count++ == 0)
		p->first = st;
	else
		stanza_unref(st);
}

static void on_parsed_close(void *arg)
{
	struct parsed *p = arg;
	p->count++; /* no part of an element */
}

struct stanza *xml_parse_stanza(const char *data, size_t n)
{
	static const struct xml_limits limits = { UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
		                                  UINT32_MAX };
	const struct xml_handlers handlers = { .stanza = on_parsed_stanza, .close = on_parsed_close };
	struct parsed p = { 0 };

	struct xml *x = xml_primed(&limits, &handlers, &p);
	bool is_good = xml_feed(x, data, n) == XML_FINE && p.count == 1 && xml_is_idle(x);
	xml_free(x);
	if (is_good)
		return p.first;
	stanza_unref(p.first);
	return NULL;
}
