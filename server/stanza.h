/* stanza.h - a stanza: an element tree in its own arena. It is built, then sealed: immutable and
 * shared by counting references from then on, also between threads; its bytes are made at the seal.
 *
 * Addresses are not part of it. They travel in the envelope, so that one tree and one serialisation
 * serve every recipient; the writer puts `from` and `to` in front of `bytes`.
 *
 * The content namespace of a stream (jabber:client, jabber:server) is stored as NULL, on the stanza
 * and on its children of that namespace alike, so the same bytes serve every kind of stream. Below an
 * element of another namespace there is no such thing: a message inside <forwarded/> is stored with
 * "jabber:client", whether it was parsed or built (with NULL) there, and keeps it on every stream. */
#ifndef MUSTER_STANZA_H
#define MUSTER_STANZA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

enum stanza_kind { STANZA_MESSAGE, STANZA_PRESENCE, STANZA_IQ, STANZA_OTHER };

/* The type attribute. TYPE_UNKNOWN: a value that the specification does not know. */
enum stanza_type {
	TYPE_NONE, /* of STANZA_OTHER */
	MESSAGE_NORMAL,
	MESSAGE_CHAT,
	MESSAGE_GROUPCHAT,
	MESSAGE_HEADLINE,
	MESSAGE_ERROR,
	PRESENCE_AVAILABLE,
	PRESENCE_UNAVAILABLE,
	PRESENCE_SUBSCRIBE,
	PRESENCE_SUBSCRIBED,
	PRESENCE_UNSUBSCRIBE,
	PRESENCE_UNSUBSCRIBED,
	PRESENCE_PROBE,
	PRESENCE_ERROR,
	IQ_GET,
	IQ_SET,
	IQ_RESULT,
	IQ_ERROR,
	TYPE_UNKNOWN
};

/* An attribute; `ns` is NULL for one without prefix, and "xml" is written for xml:lang. */
struct attribute {
	struct attribute *next;
	const char *ns, *name, *value;
};

/* An element, or a piece of character data between elements (then `name` is NULL and `text` set). One
 * cache line: a session keeps the tree of its presence. */
struct element {
	struct element *next; /* sibling */
	struct element *parent;
	struct element *children;
	union {
		struct element *last_child; /* of an element: the last one that is not borrowed */
		uint32_t text_len;          /* of a piece of text */
	};
	struct attribute *attributes;
	const char *name, *ns; /* ns NULL: the stream's content namespace */
	const char *text;      /* NUL-terminated */
};

struct stanza {
	_Atomic uint32_t refs;
	uint8_t kind, type; /* enum stanza_kind, enum stanza_type */
	bool sealed;
	bool has_own_bytes;    /* `bytes` did not fit into the arena's last chunk */
	const char *id;        /* NULL when it has none */
	const char *from, *to; /* as the peer wrote them, NULL when absent; only streams look here */
	struct element *root;
	struct stanza *base; /* whose children this one borrows, or NULL */
	char *bytes;         /* after the seal: all that follows "<name", i.e. " id='1'>...</name>" */
	uint32_t bytes_len;
	uint32_t inner_at; /* where the children begin in bytes; bytes_len when there are none */
	struct arena arena;
};

/* ---- building: until stanza_seal. Strings are copied into the stanza's arena. */

/* A stanza with that kind and type; `id` may be NULL. */
struct stanza *stanza_new(enum stanza_kind kind, enum stanza_type type, const char *id);
/* A presence that says no more than its type. Sealed. */
struct stanza *stanza_presence(enum stanza_type type);
/* Any other first-level element ("proceed", "stream:features" is written by the stream itself). */
struct stanza *stanza_new_other(const char *name, const char *ns);

/* A new root with `base`'s name and attributes, which borrows its children and holds a reference on
 * it; children that are added stand before the borrowed ones. For delay, stanza-id and the like. */
struct stanza *stanza_derive(struct stanza *base);

/* The error reply to `to_this` (RFC 6120 section 8.3): same kind and id, type error, `text` may be
 * NULL. Sealed. The original's payload is not repeated. */
struct stanza *stanza_error(const struct stanza *to_this, int condition, const char *text);
/* The same with a condition of an application's own beside it (section 8.3.4). */
struct stanza *stanza_error_with(const struct stanza *to_this, int condition, const char *text,
                                 const char *own_name, const char *own_ns);

struct element *element_add(struct stanza *st, struct element *parent, const char *name, const char *ns);
/* Adds <name xmlns=ns>text</name>. */
struct element *element_add_text(struct stanza *st, struct element *parent, const char *name,
                                 const char *ns, const char *text);
/* Sets or replaces an attribute. The name "xml:lang" is understood, other prefixes are not. `from` and
 * `to` of a message, presence or iq belong into the envelope, never here. */
void element_set(struct stanza *st, struct element *e, const char *name, const char *value);
void element_setf(struct stanza *st, struct element *e, const char *name, const char *format, ...)
    PRINTF(4, 5);
void element_text_append(struct stanza *st, struct element *e, const char *text, size_t n);
/* A deep copy of `from` (not of its siblings) as the last child of `parent`. Iterative. */
struct element *element_copy(struct stanza *st, struct element *parent, const struct element *from);

/* For the parser: the same without copying or checking. The strings are in the stanza's arena, or static.
 * stanza_new_empty (of at most so many bytes of XML; 0: few) has no root yet: the first element_link,
 * without parent, makes it. attribute_link adds at *at, the end of the list, and returns the new end. */
struct stanza *stanza_new_empty(size_t text);
struct element *element_link(struct stanza *st, struct element *parent, const char *name, const char *ns);
struct attribute **attribute_link(struct stanza *st, struct attribute **at, const char *ns,
                                  const char *name, const char *value);
/* What a first-level element of the content namespace is, by its name. */
enum stanza_kind stanza_kind_of(const char *name);
/* What the type attribute means there; `value` is NULL when there is none. */
enum stanza_type stanza_type_of(enum stanza_kind kind, const char *value);

/* Makes the bytes; returns st. */
struct stanza *stanza_seal(struct stanza *st);
/* For the parser: the same in a buffer of its own, which is empty before and after. */
struct stanza *stanza_seal_in(struct stanza *st, struct buffer *scratch);

/* ---- reading */

struct element *element_child(const struct element *e, const char *name,
                              const char *ns); /* first such child */
struct element *element_next(const struct element *e, const char *name,
                             const char *ns); /* next such sibling */
/* The first child that is an element, NULL when there is none: an IQ's payload. */
struct element *element_first(const struct element *e);
bool element_is(const struct element *e, const char *name, const char *ns);
const char *element_get(const struct element *e, const char *name); /* attribute value or NULL */
const char *element_lang(const struct element *e);                  /* its own xml:lang or NULL */
/* The character data directly in it, joined, in `a`; "" when there is none. */
const char *element_get_text(const struct element *e, struct arena *a);

/* What a sealed stanza on its way costs in memory, about: for bounds on how many may be. */
static inline uint32_t stanza_cost(const struct stanza *st)
{
	return 700 + 2 * st->bytes_len;
}

static inline struct stanza *stanza_ref(const struct stanza *st)
{
	struct stanza *own = (struct stanza *)(uintptr_t)st; /* only the count changes */
	atomic_fetch_add_explicit(&own->refs, 1, memory_order_relaxed);
	return own;
}

void stanza_free(struct stanza *st);

static inline void stanza_unref(struct stanza *st) /* NULL is fine */
{
	if (st && atomic_fetch_sub_explicit(&st->refs, 1, memory_order_acq_rel) == 1)
		stanza_free(st);
}

static inline bool stanza_is_request(const struct stanza *st) /* an IQ that wants an answer */
{
	return st->type == IQ_GET || st->type == IQ_SET;
}

static inline bool stanza_is_error(const struct stanza *st)
{
	return st->type == MESSAGE_ERROR || st->type == PRESENCE_ERROR || st->type == IQ_ERROR;
}

/* ---- the conditions of RFC 6120 section 8.3.3, with the type each one has by default */
#define STANZA_ERRORS(X)                                                                                   \
	X(BAD_REQUEST, "bad-request", "modify")                                                            \
	X(CONFLICT, "conflict", "cancel")                                                                  \
	X(FEATURE_NOT_IMPLEMENTED, "feature-not-implemented", "cancel")                                    \
	X(FORBIDDEN, "forbidden", "auth")                                                                  \
	X(GONE, "gone", "cancel")                                                                          \
	X(INTERNAL_SERVER_ERROR, "internal-server-error", "cancel")                                        \
	X(ITEM_NOT_FOUND, "item-not-found", "cancel")                                                      \
	X(JID_MALFORMED, "jid-malformed", "modify")                                                        \
	X(NOT_ACCEPTABLE, "not-acceptable", "modify")                                                      \
	X(NOT_ALLOWED, "not-allowed", "cancel")                                                            \
	X(NOT_AUTHORIZED, "not-authorized", "auth")                                                        \
	X(POLICY_VIOLATION, "policy-violation", "modify")                                                  \
	X(RECIPIENT_UNAVAILABLE, "recipient-unavailable", "wait")                                          \
	X(REDIRECT, "redirect", "modify")                                                                  \
	X(REGISTRATION_REQUIRED, "registration-required", "auth")                                          \
	X(REMOTE_SERVER_NOT_FOUND, "remote-server-not-found", "cancel")                                    \
	X(REMOTE_SERVER_TIMEOUT, "remote-server-timeout", "wait")                                          \
	X(RESOURCE_CONSTRAINT, "resource-constraint", "wait")                                              \
	X(SERVICE_UNAVAILABLE, "service-unavailable", "cancel")                                            \
	X(SUBSCRIPTION_REQUIRED, "subscription-required", "auth")                                          \
	X(UNDEFINED_CONDITION, "undefined-condition", "cancel")                                            \
	X(UNEXPECTED_REQUEST, "unexpected-request", "wait")

#define X(id, name, type) id,
enum stanza_condition { STANZA_ERRORS(X) STANZA_CONDITIONS };
#undef X
const char *stanza_condition_name(enum stanza_condition condition); /* "bad-request" */

#endif
