/* xml.c - Expat behind xml.h: one stream's bytes in; xml_tree.c makes a header, sealed stanzas and a close
 * of them.
 *
 * Streams call it from their reactor; it owns the Expat parsers and the pool
 * of idle ones. Expat itself never shrinks and remembers every name it has seen, so the memory it
 * asks for is counted, and behind the end of a stanza a parser that has grown is replaced by a fresh
 * one that has been shown the same stream header. */
#include <string.h>
#include <unistr.h>

#include "xml_parts.h"

#define USUAL_HEADER "<stream:stream xmlns='jabber:client' xmlns:stream='" STREAMS_NS "'>"

enum {
	SLICE_BYTES = 3 * 1024 /* given to Expat at once, since its buffer grows with it */
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
	xml_tree_listen(x);
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
	return x->is_usual && x->depth == 1 && !xml_is_over(x) && token_at(x) == x->fed;
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

/* RFC 6120 section 4.9.3.22: whether what stands there is no UTF-8, or else a character that XML has not. */
static bool is_bad_utf8(const struct xml *x)
{
	int at, size;
	const char *input = XML_GetInputContext(x->expat, &at, &size);
	ucs4_t c;

	return input && at < size && u8_mbtoucr(&c, (const uint8_t *)input + at, (size_t)(size - at)) == -1;
}

static enum xml_error error_of_expat(const struct xml *x)
{
	switch (XML_GetErrorCode(x->expat)) {
	case XML_ERROR_INVALID_TOKEN:
		return is_bad_utf8(x) ? XML_BAD_ENCODING : XML_NOT_WELL_FORMED;
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
	ASSERT(!xml_is_over(x));
	x->consumed = 0;
	/* White space before a header was sent behind the last element of the stream before; in front of
	 * <?xml?> it would be an error. */
	while (x->fed == 0 && x->consumed < n && xml_is_space(data + x->consumed, 1))
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
