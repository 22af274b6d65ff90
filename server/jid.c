/* jid.c - addresses: taking them apart, building them, comparing them.
 *
 * Streams, modules and the store make addresses here; the rules for their parts are in jid_prepare.c.
 * A jid owns itself: one allocation, freed with its last reference, in whichever thread that happens. */
#include "jid.h"

#include <string.h>

#include "hash.h"

/* One part as it was given: not NUL-terminated; at NULL when there is none. */
struct part {
	const char *at;
	size_t len;
};

static struct jid *jid_alloc(size_t len)
{
	struct jid *j = mem_alloc(sizeof(*j) + len + 1);

	atomic_init(&j->refs, 1);
	j->len = (uint16_t)len;
	j->is_plain = true;
	j->text[len] = '\0';
	return j;
}

/* The characters that XML writes in another way may all stand in a resource, and nowhere else. */
static void jid_set_resource(struct jid *j, const char *resource, size_t n)
{
	j->text[j->bare_len] = '/';
	memcpy(j->text + j->bare_len + 1, resource, n);
	j->is_plain = !jid_resource(j)[strcspn(jid_resource(j), "&<>'")];
}

/* Of prepared parts; an empty `local` or `resource` is none. At most 3 * JID_PART_MAX + 2 bytes, so all
 * lengths fit into 16 bits. Inlined, the compiler would know how long a part can be at most, and copy
 * it with a `rep movs` that takes longer than all the rest. */
__attribute__((noinline)) static struct jid *jid_build(const char *local, const char *domain,
                                                       const char *resource)
{
	size_t local_len = strlen(local), domain_len = strlen(domain), resource_len = strlen(resource);
	size_t domain_at = local_len ? local_len + 1 : 0;
	size_t bare_len = domain_at + domain_len;
	struct jid *j = jid_alloc(bare_len + (resource_len ? resource_len + 1 : 0));

	j->local_len = (uint16_t)local_len;
	j->bare_len = (uint16_t)bare_len;
	if (local_len) {
		memcpy(j->text, local, local_len);
		j->text[local_len] = '@';
	}
	memcpy(j->text + domain_at, domain, domain_len);
	if (resource_len)
		jid_set_resource(j, resource, resource_len);
	j->hash = hash_bytes(j->text, bare_len);
	return j;
}

static struct jid *jid_prepare(struct part local, struct part domain, struct part resource)
{
	char l[JID_PART_MAX + 1], d[JID_PART_MAX + 1], r[JID_PART_MAX + 1];

	l[0] = r[0] = '\0';
	if (!jid_prepare_domain(domain.at, domain.len, d))
		return NULL;
	if (local.at && !jid_prepare_local(local.at, local.len, l))
		return NULL;
	if (resource.at && !jid_prepare_resource(resource.at, resource.len, r))
		return NULL;
	return jid_build(l, d, r);
}

/* RFC 7622 section 3.2: the resource begins behind the first '/', whatever it contains; the local part
 * ends at the first '@' before that. */
struct jid *jid_parse(const char *s, size_t n)
{
	struct part local = { 0 }, domain = { s, n }, resource = { 0 };
	const char *slash = n ? memchr(s, '/', n) : NULL;

	if (slash) {
		domain.len = (size_t)(slash - s);
		resource = (struct part){ slash + 1, n - domain.len - 1 };
	}
	const char *at = domain.len ? memchr(s, '@', domain.len) : NULL;
	if (at) {
		local = (struct part){ s, (size_t)(at - s) };
		domain = (struct part){ at + 1, domain.len - local.len - 1 };
	}
	return jid_prepare(local, domain, resource);
}

static struct part part_of(const char *s)
{
	return (struct part){ s, s ? strlen(s) : 0 };
}

struct jid *jid_make(const char *local, const char *domain, const char *resource)
{
	return jid_prepare(part_of(local), part_of(domain), part_of(resource));
}

/* The bare part of `from` with room for a resource of n bytes. */
static struct jid *jid_copy_bare(const struct jid *from, size_t n)
{
	struct jid *j = jid_alloc(from->bare_len + (n ? n + 1 : 0));

	j->hash = from->hash;
	j->bare_len = from->bare_len;
	j->local_len = from->local_len;
	memcpy(j->text, from->text, from->bare_len);
	return j;
}

struct jid *jid_with_resource(const struct jid *bare, const char *resource, size_t n)
{
	ASSERT(!jid_has_resource(bare));
	char prepared[JID_PART_MAX + 1];
	if (!jid_prepare_resource(resource, n, prepared))
		return NULL;
	size_t len = strlen(prepared);
	struct jid *j = jid_copy_bare(bare, len);
	jid_set_resource(j, prepared, len);
	return j;
}

struct jid *jid_bare(struct jid *j)
{
	return jid_has_resource(j) ? jid_copy_bare(j, 0) : jid_ref(j);
}

void jid_free(struct jid *j)
{
	mem_free(j);
}

bool jid_is(const struct jid *a, const struct jid *b)
{
	return a == b || (a->hash == b->hash && a->len == b->len && memcmp(a->text, b->text, a->len) == 0);
}

bool jid_is_same_bare(const struct jid *a, const struct jid *b)
{
	return a == b || (a->hash == b->hash && a->bare_len == b->bare_len &&
	                  memcmp(a->text, b->text, a->bare_len) == 0);
}
