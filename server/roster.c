/* roster.c - a user's contact list in memory: a table by the contact's bare address, and the text form of
 * the groups.
 *
 * Used by modules/roster and modules/subscription.c, read by whoever must know who may see whom. A
 * home owns its roster; the roster owns its items and all that they point to. */
#include "roster.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "group.h"
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

struct roster_item *roster_find_own(const struct roster *r, const struct jid *contact)
{
	for (struct hash_node *n = hash_first(&r->items, contact->hash); n; n = hash_next(n))
		if (jid_is_same_bare(item_of(n)->jid, contact))
			return item_of(n);
	return NULL;
}

static bool is_own(const struct roster *r, const struct jid *contact)
{
	return r->own && jid_is_same_bare(r->own, contact);
}

struct roster_item *roster_find(const struct roster *r, const struct jid *contact)
{
	struct roster_item *i = roster_find_own(r, contact);

	for (unsigned g = 0; !i && g < r->group_count && !is_own(r, contact); g++)
		i = group_find(r->groups[g].group, r->groups[g].subscription, contact);
	return i;
}

unsigned roster_given(const struct roster *r, const struct jid *contact)
{
	unsigned given = 0;

	for (unsigned g = 0; g < r->group_count && !is_own(r, contact); g++)
		if (group_find(r->groups[g].group, r->groups[g].subscription, contact))
			given |= r->groups[g].subscription;
	return given;
}

const char *roster_title(const struct roster *r, const struct jid *contact, unsigned n)
{
	for (unsigned g = 0; g < r->group_count; g++)
		if (r->groups[g].subscription & SUB_TO &&
		    group_find(r->groups[g].group, r->groups[g].subscription, contact) && n-- == 0)
			return r->groups[g].group->title;
	return NULL;
}

struct roster_item *roster_add(struct roster *r, struct jid *contact)
{
	struct roster_item *i = roster_find_own(r, contact);

	if (i)
		return i;
	i = mem_zalloc(sizeof(*i));
	i->jid = jid_bare(contact);
	i->given = (uint8_t)roster_given(r, contact);
	hash_add(&r->items, &i->node, i->jid->hash);
	return i;
}

void roster_remove(struct roster *r, struct roster_item *item)
{
	hash_remove(&r->items, &item->node);
	item_free(item);
}

static void groups_free(struct seen_group *groups, unsigned count)
{
	for (unsigned g = 0; g < count; g++)
		group_unref(groups[g].group);
	mem_free(groups);
}

void roster_free(struct roster *r)
{
	struct roster_item *next;

	for (struct roster_item *i = roster_walk_own(r, NULL); i; i = next) {
		next = roster_walk_own(r, i);
		item_free(i);
	}
	hash_free(&r->items);
	groups_free(r->groups, r->group_count);
	r->groups = NULL;
	r->group_count = 0;
	r->is_partial = false;
	jid_unref(r->own);
	r->own = NULL;
}

struct roster_item *roster_walk_own(const struct roster *r, const struct roster_item *after)
{
	return item_of(hash_walk(&r->items, after ? &after->node : NULL));
}

/* An own item stands for it, or an earlier group shows it in the same way or better. */
static bool is_passed_over(const struct roster *r, unsigned group, const struct roster_item *item)
{
	if (is_own(r, item->jid) || roster_find_own(r, item->jid))
		return true;
	for (unsigned g = 0; g < group; g++)
		if ((r->groups[g].subscription == SUB_BOTH ||
		     r->groups[g].subscription == r->groups[group].subscription) &&
		    group_find(r->groups[g].group, r->groups[g].subscription, item->jid))
			return true;
	return false;
}

static const struct group_view *view_of(const struct seen_group *seen)
{
	return &seen->group->views[seen->subscription];
}

/* The first item from the `at`th of that group on. */
static struct roster_item *walk_groups(const struct roster *r, unsigned group, unsigned at)
{
	for (; group < r->group_count; group++, at = 0)
		for (; at < r->groups[group].group->count; at++) {
			struct roster_item *item = &view_of(&r->groups[group])->list[at];

			if (!is_passed_over(r, group, item))
				return item;
		}
	return NULL;
}

struct roster_item *roster_walk(const struct roster *r, const struct roster_item *after)
{
	if (!after || after->source == ROSTER_OWN) {
		struct roster_item *i = roster_walk_own(r, after);

		return i ? i : walk_groups(r, 0, 0);
	}
	for (unsigned g = 0; g < r->group_count; g++) {
		const struct roster_item *list = view_of(&r->groups[g])->list;

		if (after >= list && after < list + r->groups[g].group->count)
			return walk_groups(r, g, (unsigned)(after - list) + 1);
	}
	return NULL;
}

/* ---- other groups */

struct candidates {
	struct jid **list;
	size_t count, size;
};

static void candidate_add(struct candidates *c, struct jid *contact)
{
	if (c->count == c->size) {
		c->size = c->size ? c->size * 2 : 64;
		c->list = mem_realloc(c->list, c->size * sizeof *c->list);
	}
	c->list[c->count++] = contact;
}

static void candidates_add_all(struct candidates *c, const struct seen_group *seen)
{
	for (unsigned i = 0; i < seen->group->count; i++)
		candidate_add(c, view_of(seen)->list[i].jid);
}

static const struct seen_group *seen_find(const struct roster *r, const struct seen_group *wanted)
{
	for (unsigned g = 0; g < r->group_count; g++)
		if (r->groups[g].group->id == wanted->group->id &&
		    r->groups[g].subscription == wanted->subscription)
			return &r->groups[g];
	return NULL;
}

static void candidates_find(struct candidates *c, const struct roster *was, const struct roster *now)
{
	for (unsigned g = 0; g < was->group_count; g++)
		if (!seen_find(now, &was->groups[g]))
			candidates_add_all(c, &was->groups[g]);
	for (unsigned g = 0; g < now->group_count; g++) {
		const struct seen_group *seen = &now->groups[g], *before = seen_find(was, seen);

		if (before && before->group == seen->group)
			continue;
		if (before && before->group->version == seen->group->before) {
			for (unsigned i = 0; i < seen->group->changed_count; i++)
				candidate_add(c, seen->group->changed[i]);
			continue;
		}
		if (before)
			candidates_add_all(c, before);
		candidates_add_all(c, seen);
	}
}

static int compare_jids(const void *a, const void *b)
{
	const struct jid *const *x = a, *const *y = b;

	return strcmp((*x)->text, (*y)->text);
}

/* How its groups show a contact. */
static uint64_t groups_digest(const struct roster *r, const struct jid *contact)
{
	uint64_t sum = 0;

	for (unsigned g = 0; g < r->group_count; g++) {
		const struct roster_item *i =
		    group_find(r->groups[g].group, r->groups[g].subscription, contact);

		sum += i ? i->digest : 0;
	}
	return sum;
}

struct regrouped *roster_regroup(struct roster *r, struct seen_group *groups, unsigned group_count,
                                 unsigned *count)
{
	struct roster was = *r;
	struct candidates c = { 0 };
	struct regrouped *list;

	r->groups = groups;
	r->group_count = group_count;
	for (struct roster_item *i = NULL; (i = roster_walk_own(r, i));)
		i->given = (uint8_t)roster_given(r, i->jid);
	candidates_find(&c, &was, r);
	if (c.count)
		qsort(c.list, c.count, sizeof *c.list, compare_jids);
	list = mem_alloc((c.count + 1) * sizeof *list);
	*count = 0;
	for (size_t i = 0; i < c.count; i++) {
		const struct jid *j = c.list[i];

		if (is_own(r, j) || (i && jid_is(j, c.list[i - 1])))
			continue;
		struct regrouped found = { .before = (uint8_t)roster_given(&was, j),
			                   .after = (uint8_t)roster_given(r, j) };
		if (found.before == found.after && groups_digest(&was, j) == groups_digest(r, j))
			continue;
		found.jid = jid_ref(j);
		list[(*count)++] = found;
	}
	mem_free(c.list);
	groups_free(was.groups, was.group_count);
	return list;
}

/* ---- the user's own groups of a contact, as stored */

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
