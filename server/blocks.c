/* blocks.c - whom an account blocks: a table by the bare address, see blocks.h. A home owns its table; the
 * table owns its items. Filled by modules/blocking, asked by whatever sends something to contacts. */
#include "blocks.h"

#include <string.h>

static struct block *block_of(const struct hash_node *n)
{
	return n ? CONTAINER_OF(n, struct block, node) : NULL;
}

struct block *blocks_find(const struct blocks *b, const struct jid *j)
{
	for (struct hash_node *n = hash_first(&b->items, j->hash); n; n = hash_next(n))
		if (jid_is(block_of(n)->jid, j))
			return block_of(n);
	return NULL;
}

void blocks_add(struct blocks *b, const struct jid *j)
{
	struct block *item;

	if (blocks_find(b, j))
		return;
	item = mem_zalloc(sizeof *item);
	item->jid = jid_ref(j);
	hash_add(&b->items, &item->node, j->hash);
}

void blocks_remove(struct blocks *b, struct block *item)
{
	hash_remove(&b->items, &item->node);
	jid_unref(item->jid);
	mem_free(item);
}

struct block *blocks_walk(const struct blocks *b, const struct block *after)
{
	return block_of(hash_walk(&b->items, after ? &after->node : NULL));
}

void blocks_free(struct blocks *b)
{
	struct block *next;

	for (struct block *i = blocks_walk(b, NULL); i; i = next) {
		next = blocks_walk(b, i);
		jid_unref(i->jid);
		mem_free(i);
	}
	hash_free(&b->items);
	*b = (struct blocks){ 0 };
}

/* The address itself, or one without resource that is the same but for that. */
static bool covers_bare(const struct blocks *b, const struct jid *j)
{
	for (struct hash_node *n = hash_first(&b->items, j->hash); n; n = hash_next(n)) {
		const struct jid *blocked = block_of(n)->jid;

		if (jid_is(blocked, j) || (!jid_has_resource(blocked) && jid_is_same_bare(blocked, j)))
			return true;
	}
	return false;
}

static bool covers_domain(const struct blocks *b, const struct jid *j)
{
	const char *domain = jid_domain(j);
	size_t n = jid_domain_len(j);

	for (struct hash_node *at = hash_first(&b->items, hash_bytes(domain, n)); at; at = hash_next(at)) {
		const struct jid *blocked = block_of(at)->jid;

		if (blocked->len == n && memcmp(blocked->text, domain, n) == 0)
			return true;
	}
	return false;
}

bool blocks_cover(const struct blocks *b, const struct jid *j)
{
	if (b->items.count == 0)
		return false;
	return covers_bare(b, j) || (jid_has_local(j) && covers_domain(b, j));
}
