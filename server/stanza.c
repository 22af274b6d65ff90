/* stanza.c - stanzas: building them, borrowing from them, sealing them, reading them.
 *
 * Modules and the core build and read stanzas here; xml.c makes them from bytes. A stanza owns one
 * arena: the struct itself, its elements, strings and bytes all lie in it, so a small stanza is one
 * or two blocks of memory. Nothing here recurses: the depth of a tree is the peer's choice. */
#include "stanza.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "xml.h"

#define ERROR_NS "urn:ietf:params:xml:ns:xmpp-stanzas"
#define CLIENT_NS "jabber:client"

static const char kinds[][10] = {
	[STANZA_MESSAGE] = "message",
	[STANZA_PRESENCE] = "presence",
	[STANZA_IQ] = "iq",
};

/* The values of the type attribute. Available presence has none. */
static const struct {
	uint8_t kind;
	char name[13];
} types[] = {
	[TYPE_NONE] = { STANZA_OTHER, "" },
	[MESSAGE_NORMAL] = { STANZA_MESSAGE, "normal" },
	[MESSAGE_CHAT] = { STANZA_MESSAGE, "chat" },
	[MESSAGE_GROUPCHAT] = { STANZA_MESSAGE, "groupchat" },
	[MESSAGE_HEADLINE] = { STANZA_MESSAGE, "headline" },
	[MESSAGE_ERROR] = { STANZA_MESSAGE, "error" },
	[PRESENCE_AVAILABLE] = { STANZA_PRESENCE, "" },
	[PRESENCE_UNAVAILABLE] = { STANZA_PRESENCE, "unavailable" },
	[PRESENCE_SUBSCRIBE] = { STANZA_PRESENCE, "subscribe" },
	[PRESENCE_SUBSCRIBED] = { STANZA_PRESENCE, "subscribed" },
	[PRESENCE_UNSUBSCRIBE] = { STANZA_PRESENCE, "unsubscribe" },
	[PRESENCE_UNSUBSCRIBED] = { STANZA_PRESENCE, "unsubscribed" },
	[PRESENCE_PROBE] = { STANZA_PRESENCE, "probe" },
	[PRESENCE_ERROR] = { STANZA_PRESENCE, "error" },
	[IQ_GET] = { STANZA_IQ, "get" },
	[IQ_SET] = { STANZA_IQ, "set" },
	[IQ_RESULT] = { STANZA_IQ, "result" },
	[IQ_ERROR] = { STANZA_IQ, "error" },
};

#define X(id, name, type) { name, type },
static const struct {
	char name[24], type[8];
} conditions[] = { STANZA_ERRORS(X) };
#undef X

enum stanza_kind stanza_kind_of(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		if (strcmp(name, kinds[i]) == 0)
			return (enum stanza_kind)i;
	return STANZA_OTHER;
}

enum stanza_type stanza_type_of(enum stanza_kind kind, const char *value)
{
	if (kind == STANZA_OTHER)
		return TYPE_NONE;
	if (!value && kind != STANZA_IQ)
		return kind == STANZA_MESSAGE ? MESSAGE_NORMAL : PRESENCE_AVAILABLE;
	for (size_t i = 0; value && *value && i < COUNT_OF(types); i++)
		if (types[i].kind == kind && strcmp(types[i].name, value) == 0)
			return (enum stanza_type)i;
	/* RFC 6121 section 5.2.2: a message of unknown type is a normal one. */
	return kind == STANZA_MESSAGE ? MESSAGE_NORMAL : TYPE_UNKNOWN;
}

/* ---- building */

/* The struct is the first thing in its own arena. */
struct stanza *stanza_new_empty(size_t text)
{
	struct arena arena = { 0 };
	if (text >= ARENA_FIRST / 2) /* a tree is twice as large as its text, and more */
		arena_begin(&arena, ARENA_SECOND);
	struct stanza *st = arena_zalloc(&arena, sizeof(*st));
	st->arena = arena;
	atomic_init(&st->refs, 1);
	st->kind = STANZA_OTHER;
	return st;
}

struct stanza *stanza_new(enum stanza_kind kind, enum stanza_type type, const char *id)
{
	ASSERT(kind != STANZA_OTHER && type < TYPE_UNKNOWN && types[type].kind == kind);
	struct stanza *st = stanza_new_empty(0);
	st->kind = (uint8_t)kind;
	st->type = (uint8_t)type;
	st->root = element_link(st, NULL, kinds[kind], NULL);
	if (type != MESSAGE_NORMAL && type != PRESENCE_AVAILABLE)
		element_set(st, st->root, "type", types[type].name);
	if (id)
		element_set(st, st->root, "id", id);
	return st;
}

struct stanza *stanza_presence(enum stanza_type type)
{
	return stanza_seal(stanza_new(STANZA_PRESENCE, type, NULL));
}

struct stanza *stanza_new_other(const char *name, const char *ns)
{
	struct stanza *st = stanza_new_empty(0);
	st->root = element_add(st, NULL, name, ns);
	return st;
}

struct stanza *stanza_derive(struct stanza *base)
{
	ASSERT(base->sealed);
	struct stanza *st = stanza_new_empty(0);
	st->kind = base->kind;
	st->type = base->type;
	st->id = base->id;
	st->from = base->from;
	st->to = base->to;
	st->base = stanza_ref(base); /* which keeps all the strings, too */
	st->root = element_link(st, NULL, base->root->name, base->root->ns);
	struct attribute **at = &st->root->attributes;
	for (const struct attribute *a = base->root->attributes; a; a = a->next)
		at = attribute_link(st, at, a->ns, a->name, a->value);
	st->root->children = base->root->children; /* last_child stays NULL: no own one yet */
	return st;
}

const char *stanza_condition_name(enum stanza_condition condition)
{
	return conditions[condition].name;
}

struct stanza *stanza_error(const struct stanza *to_this, int condition, const char *text)
{
	return stanza_error_with(to_this, condition, text, NULL, NULL);
}

struct stanza *stanza_error_with(const struct stanza *to_this, int condition, const char *text,
                                 const char *own_name, const char *own_ns)
{
	static const uint8_t error_types[] = { MESSAGE_ERROR, PRESENCE_ERROR, IQ_ERROR };

	ASSERT(to_this->kind != STANZA_OTHER && condition >= 0 && condition < STANZA_CONDITIONS);
	struct stanza *st = stanza_new(to_this->kind, error_types[to_this->kind], to_this->id);
	struct element *error = element_add(st, st->root, "error", NULL);
	element_set(st, error, "type", conditions[condition].type);
	element_add(st, error, conditions[condition].name, ERROR_NS);
	if (text) {
		struct element *e = element_add_text(st, error, "text", ERROR_NS, text);
		element_set(st, e, "xml:lang", "en");
	}
	if (own_name)
		element_add(st, error, own_name, own_ns);
	return stanza_seal(st);
}

/* Stands behind the own children of `parent` and before the borrowed ones: where nothing is borrowed,
 * that is the end. */
static void append(struct element *parent, struct element *e)
{
	struct element **at = parent->last_child ? &parent->last_child->next : &parent->children;
	e->next = *at;
	*at = e;
	parent->last_child = e;
}

struct element *element_link(struct stanza *st, struct element *parent, const char *name, const char *ns)
{
	struct element *e = arena_zalloc(&st->arena, sizeof(*e));
	e->name = name;
	e->ns = ns;
	e->parent = parent;
	if (!parent)
		return e;
	if (!ns && parent->ns)
		e->ns = CLIENT_NS; /* below a foreign element there is no content namespace */
	append(parent, e);
	return e;
}

struct element *element_add(struct stanza *st, struct element *parent, const char *name, const char *ns)
{
	ASSERT(!st->sealed);
	if (ns && parent && parent->ns && strcmp(ns, parent->ns) == 0)
		ns = parent->ns;
	else if (ns)
		ns = arena_strdup(&st->arena, ns);
	return element_link(st, parent, arena_strdup(&st->arena, name), ns);
}

struct element *element_add_text(struct stanza *st, struct element *parent, const char *name,
                                 const char *ns, const char *text)
{
	struct element *e = element_add(st, parent, name, ns);
	element_text_append(st, e, text, strlen(text));
	return e;
}

void element_text_append(struct stanza *st, struct element *e, const char *text, size_t n)
{
	ASSERT(!st->sealed && n <= UINT32_MAX);
	if (n == 0)
		return;
	struct element *piece = arena_zalloc(&st->arena, sizeof(*piece));
	piece->parent = e;
	piece->text = arena_strndup(&st->arena, text, n);
	piece->text_len = (uint32_t)n;
	append(e, piece);
}

struct attribute **attribute_link(struct stanza *st, struct attribute **at, const char *ns,
                                  const char *name, const char *value)
{
	struct attribute *a = arena_alloc(&st->arena, sizeof(*a));
	*a = (struct attribute){ .ns = ns, .name = name, .value = value };
	*at = a;
	return &a->next;
}

/* Where the attribute stands, or where the list ends. */
static struct attribute **attribute_place(struct attribute **at, const char *ns, const char *name)
{
	for (; *at; at = &(*at)->next) {
		const struct attribute *a = *at;
		bool same_ns = ns ? a->ns && strcmp(a->ns, ns) == 0 : !a->ns;
		if (same_ns && strcmp(a->name, name) == 0)
			break;
	}
	return at;
}

/* Takes "xml:" off an attribute's name: returns its namespace. */
static const char *attribute_ns(const char **name)
{
	if (strncmp(*name, "xml:", 4) != 0)
		return NULL;
	*name += 4;
	return "xml";
}

void element_set(struct stanza *st, struct element *e, const char *name, const char *value)
{
	ASSERT(!st->sealed);
	const char *ns = attribute_ns(&name);
	value = arena_strdup(&st->arena, value);
	struct attribute **at = attribute_place(&e->attributes, ns, name);
	if (*at)
		(*at)->value = value;
	else
		attribute_link(st, at, ns, arena_strdup(&st->arena, name), value);
	if (e != st->root || st->kind == STANZA_OTHER || ns)
		return;
	ASSERT(strcmp(name, "from") != 0 && strcmp(name, "to") != 0);
	if (strcmp(name, "id") == 0)
		st->id = value;
	else if (strcmp(name, "type") == 0)
		st->type = (uint8_t)stanza_type_of(st->kind, value);
}

void element_setf(struct stanza *st, struct element *e, const char *name, const char *format, ...)
{
	struct buffer value = { 0 };
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	ASSERT(n >= 0);
	vsnprintf(buffer_reserve(&value, (size_t)n), (size_t)n + 1, format, again);
	va_end(again);
	va_end(args);
	element_set(st, e, name, value.data);
	buffer_free(&value);
}

/* One element without its children, or one piece of text. */
static struct element *copy_one(struct stanza *st, struct element *parent, const struct element *from)
{
	if (!from->name) {
		element_text_append(st, parent, from->text, from->text_len);
		return parent->last_child;
	}
	struct element *e = element_add(st, parent, from->name, from->ns);
	struct attribute **at = &e->attributes;
	for (const struct attribute *a = from->attributes; a; a = a->next)
		at = attribute_link(st, at, a->ns ? arena_strdup(&st->arena, a->ns) : NULL,
		                    arena_strdup(&st->arena, a->name), arena_strdup(&st->arena, a->value));
	return e;
}

/* Walks by depth, not by comparing parents: the borrowed children of a root name another parent. */
struct element *element_copy(struct stanza *st, struct element *parent, const struct element *from)
{
	ASSERT(!st->sealed);
	struct element *copy = copy_one(st, parent, from);
	struct element *into = copy;
	const struct element *e = from->name ? from->children : NULL;
	size_t depth = 1;
	while (e) {
		struct element *made = copy_one(st, into, e);
		if (e->name && e->children) {
			into = made;
			e = e->children;
			depth++;
			continue;
		}
		for (; !e->next && depth > 1; depth--) {
			e = e->parent;
			into = into->parent;
		}
		e = e->next;
	}
	return copy;
}

/* ---- the seal */

static void write_ns(struct buffer *b, const char *ns, const char *outer)
{
	if (ns == outer || !ns || (outer && strcmp(ns, outer) == 0))
		return;
	buffer_add(b, " xmlns='", 8);
	xml_escape(b, ns, strlen(ns));
	buffer_add(b, "'", 1);
}

static void write_attributes(struct buffer *b, const struct element *e)
{
	unsigned prefixes = 0;
	for (const struct attribute *a = e->attributes; a; a = a->next) {
		if (!a->ns) {
			buffer_add(b, " ", 1);
		} else if (strcmp(a->ns, "xml") == 0) {
			buffer_add(b, " xml:", 5);
		} else {
			/* The peer's prefix is not kept; any will do, on this element only. */
			buffer_addf(b, " xmlns:ns%u='", prefixes);
			xml_escape(b, a->ns, strlen(a->ns));
			buffer_addf(b, "' ns%u:", prefixes++);
		}
		buffer_adds(b, a->name);
		buffer_add(b, "='", 2);
		xml_escape(b, a->value, strlen(a->value));
		buffer_add(b, "'", 1);
	}
}

static void write_end(struct buffer *b, const char *name)
{
	buffer_add(b, "</", 2);
	buffer_adds(b, name);
	buffer_add(b, ">", 1);
}

/* One piece of text, or the start tag of an element, whole when it is empty. */
static void write_one(struct buffer *b, const struct element *e)
{
	if (!e->name) {
		xml_escape_text(b, e->text, e->text_len);
		return;
	}
	buffer_add(b, "<", 1);
	buffer_adds(b, e->name);
	write_ns(b, e->ns, e->parent->ns);
	write_attributes(b, e);
	if (e->children)
		buffer_add(b, ">", 1);
	else
		buffer_add(b, "/>", 2);
}

static void write_tree(struct buffer *b, const struct element *top)
{
	const struct element *e = top;
	for (;;) {
		write_one(b, e);
		if (e->children) {
			e = e->children;
			continue;
		}
		while (e != top && !e->next) {
			e = e->parent;
			write_end(b, e->name);
		}
		if (e == top)
			return;
		e = e->next;
	}
}

/* The children of the base, as it wrote them. */
static void write_borrowed(struct buffer *b, const struct stanza *base)
{
	size_t end_tag = strlen(base->root->name) + 3;
	buffer_add(b, base->bytes + base->inner_at, base->bytes_len - base->inner_at - end_tag);
}

static uint32_t write_root(struct buffer *b, const struct stanza *st)
{
	const struct element *root = st->root;
	const struct element *borrowed = st->base ? st->base->root->children : NULL;
	write_ns(b, root->ns, NULL);
	write_attributes(b, root);
	if (!root->children) {
		buffer_add(b, "/>", 2);
		return (uint32_t)b->len;
	}
	buffer_add(b, ">", 1);
	uint32_t inner_at = (uint32_t)b->len;
	for (const struct element *e = root->children; e != borrowed; e = e->next)
		write_tree(b, e);
	if (borrowed)
		write_borrowed(b, st->base);
	write_end(b, root->name);
	return inner_at;
}

/* In what is left of the arena, or in a block of their own: another chunk would be mostly air. */
static char *keep_bytes(struct stanza *st, const char *data, size_t n)
{
	if (n <= (size_t)(st->arena.end - st->arena.at))
		return memcpy(st->arena.at, data, n); /* and nothing is added to a sealed stanza's arena */
	st->has_own_bytes = true;
	return memcpy(mem_alloc(n), data, n);
}

struct stanza *stanza_seal_in(struct stanza *st, struct buffer *scratch)
{
	ASSERT(!st->sealed && scratch->len == 0);
	st->inner_at = write_root(scratch, st);
	ASSERT(scratch->len <= UINT32_MAX);
	st->bytes_len = (uint32_t)scratch->len;
	st->bytes = keep_bytes(st, scratch->data, scratch->len);
	scratch->len = 0;
	st->sealed = true;
	return st;
}

struct stanza *stanza_seal(struct stanza *st)
{
	struct buffer b = { 0 };
	buffer_reserve(&b, ARENA_FIRST);
	stanza_seal_in(st, &b);
	buffer_free(&b);
	return st;
}

/* A chain of derived stanzas may be long: no recursion through stanza_unref. */
void stanza_free(struct stanza *st)
{
	while (st) {
		struct stanza *base = st->base;
		struct arena arena = st->arena; /* the struct lies in it */
		if (st->has_own_bytes)
			mem_free(st->bytes);
		arena_free(&arena);
		if (!base || atomic_fetch_sub_explicit(&base->refs, 1, memory_order_acq_rel) != 1)
			return;
		st = base;
	}
}

/* ---- reading */

bool element_is(const struct element *e, const char *name, const char *ns)
{
	if (!e->name || strcmp(e->name, name) != 0)
		return false;
	if (!e->ns || !ns)
		return e->ns == ns;
	return strcmp(e->ns, ns) == 0;
}

static struct element *find(struct element *e, const char *name, const char *ns)
{
	while (e && !element_is(e, name, ns))
		e = e->next;
	return e;
}

struct element *element_child(const struct element *e, const char *name, const char *ns)
{
	return find(e->children, name, ns);
}

struct element *element_next(const struct element *e, const char *name, const char *ns)
{
	return find(e->next, name, ns);
}

struct element *element_first(const struct element *e)
{
	struct element *child = e->children;
	while (child && !child->name)
		child = child->next;
	return child;
}

const char *element_get(const struct element *e, const char *name)
{
	const char *ns = attribute_ns(&name);
	struct attribute *first = e->attributes;
	struct attribute *const *at = attribute_place(&first, ns, name);
	return *at ? (*at)->value : NULL;
}

const char *element_lang(const struct element *e)
{
	return element_get(e, "xml:lang");
}

const char *element_get_text(const struct element *e, struct arena *a)
{
	size_t size = 1;
	for (const struct element *c = e->children; c; c = c->next)
		size += c->name ? 0 : c->text_len;
	char *text = arena_alloc(a, size);
	char *at = text;
	for (const struct element *c = e->children; c; c = c->next) {
		if (c->name)
			continue;
		memcpy(at, c->text, c->text_len);
		at += c->text_len;
	}
	*at = '\0';
	return text;
}
