/* roster.c - a user's contact list in memory: a table by the contact's bare address, and the text form of
 * the groups.
 *
 * Used by modules/roster.c and modules/subscription.c, read by whoever must know who may see whom. A
 * home owns its roster; the roster owns its items and all that they point to. */
#include "roster.h"

#include <jansson.h>
#include <string.h>

#include "stanza.h"

static struct roster_item *item_of(const struct hash_node *n)
{
	return n ? CONTAINER_OF(n, struct roster_item, node) : NULL;
}

static void item_free(struct roster_item *i)
{
	jid_unref(i->jid);
	mem_free(i->name);
	mem_free(i->groups);
	stanza_unref(i->request);
	mem_free(i);
}

struct roster_item *roster_find(const struct roster *r, const struct jid *contact)
{
	for (struct hash_node *n = hash_first(&r->items, contact->hash); n; n = hash_next(n))
		if (jid_is_same_bare(item_of(n)->jid, contact))
			return item_of(n);
	return NULL;
}

struct roster_item *roster_add(struct roster *r, struct jid *contact)
{
	struct roster_item *i = roster_find(r, contact);
	if (i)
		return i;
	i = mem_zalloc(sizeof(*i));
	i->jid = jid_bare(contact);
	hash_add(&r->items, &i->node, i->jid->hash);
	return i;
}

void roster_remove(struct roster *r, struct roster_item *item)
{
	hash_remove(&r->items, &item->node);
	item_free(item);
}

void roster_free(struct roster *r)
{
	struct roster_item *next;
	for (struct roster_item *i = roster_walk(r, NULL); i; i = next) {
		next = roster_walk(r, i);
		item_free(i);
	}
	hash_free(&r->items);
}

struct roster_item *roster_walk(const struct roster *r, const struct roster_item *after)
{
	return item_of(hash_walk(&r->items, after ? &after->node : NULL));
}

/* ---- groups */

char *roster_groups_text(char *const *groups)
{
	json_t *array = json_array();
	for (; groups && *groups; groups++)
		json_array_append_new(array, json_string(*groups));
	char *text = json_dumps(array, JSON_COMPACT);
	ASSERT(text); /* only memory could have been wanting */
	json_decref(array);
	return text;
}

/* The bytes that the names need with their NULs; 0 when one of them is not a string. */
static size_t names_size(const json_t *array)
{
	size_t size = 0;
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *name = json_array_get(array, i);
		if (!json_is_string(name))
			return 0;
		size += json_string_length(name) + 1;
	}
	return size;
}

/* The pointers, and behind them in the same allocation the names. */
static char **names_copy(const json_t *array, size_t size)
{
	size_t count = json_array_size(array);
	char **groups = mem_alloc((count + 1) * sizeof(*groups) + size);
	char *at = (char *)(groups + count + 1);
	for (size_t i = 0; i < count; i++) {
		const json_t *name = json_array_get(array, i);
		size_t n = json_string_length(name) + 1;
		groups[i] = memcpy(at, json_string_value(name), n);
		at += n;
	}
	groups[count] = NULL;
	return groups;
}

char **roster_groups_parse(const char *text)
{
	json_t *array = text ? json_loads(text, 0, NULL) : NULL; /* NULL counts as an empty array below */
	size_t size = names_size(array);
	char **groups = size ? names_copy(array, size) : NULL;
	json_decref(array);
	return groups;
}

const char *roster_subscription_name(uint8_t subscription)
{
	static const char *const names[] = {
		[SUB_NONE] = "none", [SUB_TO] = "to", [SUB_FROM] = "from", [SUB_BOTH] = "both"
	};
	ASSERT(subscription < COUNT_OF(names));
	return names[subscription];
}
