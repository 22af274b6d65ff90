/* jid.h - addresses: localpart@domainpart/resourcepart (RFC 7622).
 *
 * A jid is prepared (PRECIS) when it is made, immutable from then on, and shared by counting
 * references, also between threads. Two prepared addresses are the same when their bytes are. */
#ifndef MUSTER_JID_H
#define MUSTER_JID_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

struct jid {
	_Atomic uint32_t refs;
	uint32_t hash;      /* of the bare address: hash_bytes(text, bare_len) */
	uint16_t len;       /* of text */
	uint16_t bare_len;  /* of "local@domain" in text */
	uint16_t local_len; /* 0: the address of a domain */
	bool is_plain;      /* nothing of it is written in another way in XML */
	char text[];        /* NUL-terminated */
};

/* Parses and prepares n bytes of UTF-8. NULL when it is no valid address (RFC 7622 section 3; a part
 * over 1023 bytes, an empty part, a forbidden code point, a bad domain label). Otherwise a new
 * reference. ASCII that is already prepared takes a fast path. */
struct jid *jid_parse(const char *s, size_t n) MUST_CHECK;

/* The same from parts; local and resource may be NULL. */
struct jid *jid_make(const char *local, const char *domain, const char *resource) MUST_CHECK;

/* `bare` (which has no resource) with a resource: NULL when the resource is not valid. */
struct jid *jid_with_resource(const struct jid *bare, const char *resource, size_t n) MUST_CHECK;

/* The address without its resource: a new reference, to the same object when it has none. */
struct jid *jid_bare(struct jid *j) MUST_CHECK;

static inline struct jid *jid_ref(const struct jid *j)
{
	struct jid *own = (struct jid *)(uintptr_t)j; /* only the count changes */
	atomic_fetch_add_explicit(&own->refs, 1, memory_order_relaxed);
	return own;
}

void jid_free(struct jid *j);

static inline void jid_unref(struct jid *j) /* NULL is fine */
{
	if (j && atomic_fetch_sub_explicit(&j->refs, 1, memory_order_acq_rel) == 1)
		jid_free(j);
}

bool jid_is(const struct jid *a, const struct jid *b);           /* the same address */
bool jid_is_same_bare(const struct jid *a, const struct jid *b); /* ... leaving resources aside */
static inline bool jid_has_resource(const struct jid *j)
{
	return j->bare_len < j->len;
}
static inline bool jid_has_local(const struct jid *j)
{
	return j->local_len > 0;
}
static inline const char *jid_domain(const struct jid *j) /* not NUL-terminated: jid_domain_len */
{
	return j->local_len ? j->text + j->local_len + 1 : j->text;
}
static inline size_t jid_domain_len(const struct jid *j)
{
	return (size_t)(j->text + j->bare_len - jid_domain(j));
}
static inline const char *jid_resource(const struct jid *j) /* NULL when there is none */
{
	return jid_has_resource(j) ? j->text + j->bare_len + 1 : NULL;
}

/* Preparation of one part alone, into `out` (size JID_PART_MAX + 1, NUL-terminated); false when not
 * valid. Localpart: UsernameCaseMapped of RFC 8265 and the exclusions of RFC 7622 section 3.3.1;
 * domain: U-labels of IDNA2008, lower case, final dot stripped, or an IP literal; resource:
 * OpaqueString of RFC 8265. */
#define JID_PART_MAX 1023
bool jid_prepare_local(const char *s, size_t n, char *out) MUST_CHECK;
bool jid_prepare_domain(const char *s, size_t n, char *out) MUST_CHECK;
bool jid_prepare_resource(const char *s, size_t n, char *out) MUST_CHECK;
/* A password as SCRAM and PLAIN compare it: OpaqueString of RFC 8265 section 4.2. Passwords may be
 * up to JID_PART_MAX bytes. */
bool jid_prepare_password(const char *s, size_t n, char *out) MUST_CHECK;

/* Whether an account may be made with this address: stricter than what may be written to. Two localparts that
 * differ in nothing but case or form (fußball and fussball, a final and a medial sigma) are different
 * addresses; one of them, the folded one, can be had, so that nobody takes the look-alike of another (RFC 7622
 * section 3.5, RFC 8264 section 12.5). XEP-0106 adds: no escaped space at either end. */
bool jid_is_registrable(const struct jid *j) MUST_CHECK;

/* The domain as DNS and certificates write it (A-labels): false when there is no such form. */
bool jid_domain_to_ascii(const char *domain, char *out, size_t size) MUST_CHECK;

#endif
