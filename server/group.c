/* group.c - administrators' contact groups in memory: see group.h. Built by group_load.c on reactor 0, then
 * never changed; read by roster.c on every reactor. */
#include "group.h"

#include <stdlib.h>
#include <string.h>

#include "stanza.h"

#define CHANGES_BOUND 1000 /* remembered one by one; more of them are "everything" */

/* ---- counted */

struct contact_group *group_ref(struct contact_group *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

static void view_free(struct group_view *v, unsigned count)
{
	for (unsigned i = 0; v->list && i < count; i++)
		jid_unref(v->list[i].jid);
	hash_free(&v->items);
	mem_free(v->list);
}

void group_unref(struct contact_group *g)
{
	if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < COUNT_OF(g->views); i++)
		view_free(&g->views[i], g->count);
	for (unsigned i = 0; i < g->changed_count; i++)
		jid_unref(g->changed[i]);
	mem_free(g->changed);
	mem_free(g->domain);
	mem_free(g->name);
	mem_free(g->title);
	arena_free(&g->arena);
	mem_free(g);
}

struct groups *groups_ref(struct groups *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

void groups_unref(struct groups *g)
{
	if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < g->count; i++)
		group_unref(g->list[i]);
	mem_free(g->list);
	mem_free(g->sights);
	mem_free(g);
}

/* ---- found */

const struct contact_group *groups_find(const struct groups *g, int64_t id)
{
	unsigned low = 0, high = g->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (g->list[middle]->id == id)
			return g->list[middle];
		if (g->list[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct contact_group *groups_find_name(const struct groups *g, const char *domain, const char *name)
{
	for (unsigned i = 0; i < g->count; i++)
		if (strcmp(g->list[i]->domain, domain) == 0 && strcmp(g->list[i]->name, name) == 0)
			return g->list[i];
	return NULL;
}

struct roster_item *group_find(const struct contact_group *g, unsigned view, const struct jid *contact)
{
	struct hash_node *n;

	for (n = hash_first(&g->views[view].items, contact->hash); n; n = hash_next(n)) {
		struct roster_item *item = CONTAINER_OF(n, struct roster_item, node);

		if (jid_is_same_bare(item->jid, contact))
			return item;
	}
	return NULL;
}

/* ---- what an account sees */

struct sources {
	struct seen_group *list;
	unsigned count;
};

static void sources_add(struct sources *s, struct contact_group *g, unsigned subscription)
{
	for (unsigned i = 0; i < s->count; i++) {
		if (s->list[i].group == g) {
			s->list[i].subscription |= (uint8_t)subscription;
			return;
		}
	}
	s->list = mem_realloc(s->list, (s->count + 1) * sizeof *s->list);
	s->list[s->count++] = (struct seen_group){ group_ref(g), (uint8_t)subscription };
}

/* Both first, then from, then to: roster.c: roster_find wants the first that lets the contact see us. */
static int compare_sources(const void *a, const void *b)
{
	static const uint8_t order[] = { [SUB_BOTH] = 0, [SUB_FROM] = 1, [SUB_TO] = 2 };
	const struct seen_group *x = a, *y = b;

	if (x->subscription != y->subscription)
		return order[x->subscription] - order[y->subscription];
	return x->group->id < y->group->id ? -1 : 1;
}

struct seen_group *groups_sources(const struct groups *g, struct jid *own, unsigned *count)
{
	struct sources s = { 0 };
	size_t domain_len = jid_domain_len(own);

	for (unsigned i = 0; i < g->count; i++) {
		struct contact_group *mine = g->list[i];

		if (strncmp(mine->domain, jid_domain(own), domain_len) != 0 || mine->domain[domain_len] ||
		    !group_find(mine, SUB_BOTH, own))
			continue;
		sources_add(&s, mine, SUB_BOTH);
		for (unsigned k = 0; k < g->sight_count; k++) {
			const struct group_sight *sight = &g->sights[k];

			if (sight->group == mine->id)
				sources_add(&s,
				            (struct contact_group *)(uintptr_t)groups_find(g, sight->shown),
				            SUB_TO);
			if (sight->shown == mine->id)
				sources_add(&s,
				            (struct contact_group *)(uintptr_t)groups_find(g, sight->group),
				            SUB_FROM);
		}
	}
	if (s.count)
		qsort(s.list, s.count, sizeof *s.list, compare_sources);
	*count = s.count;
	return s.list;
}

/* ---- made */

static void view_fill(struct contact_group *g, unsigned view, const struct group_member *members)
{
	struct group_view *v = &g->views[view];

	v->list = mem_zalloc((g->count + 1) * sizeof *v->list);
	for (unsigned i = 0; i < g->count; i++) {
		struct roster_item *item = &v->list[i];

		item->jid = jid_ref(members[i].jid);
		item->name = members[i].display && *members[i].display
		                 ? arena_strdup(&g->arena, members[i].display)
		                 : NULL;
		item->groups = g->titles;
		item->subscription = (uint8_t)view;
		item->in_roster = view & SUB_TO;
		item->source = ROSTER_GROUPS;
		item->digest = roster_item_digest(item);
		v->digest += item->digest;
		hash_add(&v->items, &item->node, item->jid->hash);
	}
}

static void change_add(struct contact_group *g, struct jid *contact)
{
	if (g->changed_count < CHANGES_BOUND)
		g->changed[g->changed_count] = jid_ref(contact);
	g->changed_count++;
}

/* Who came, went or has another name. */
static void group_compare(struct contact_group *g, const struct contact_group *was)
{
	const struct roster_item *item, *other;

	if (strcmp(g->title, was->title) != 0)
		return;
	g->changed = mem_alloc(CHANGES_BOUND * sizeof *g->changed);
	for (unsigned i = 0; i < g->count; i++) {
		item = &g->views[SUB_BOTH].list[i];
		other = group_find(was, SUB_BOTH, item->jid);
		if (!other || other->digest != item->digest)
			change_add(g, item->jid);
	}
	for (unsigned i = 0; i < was->count; i++) {
		item = &was->views[SUB_BOTH].list[i];
		if (!group_find(g, SUB_BOTH, item->jid))
			change_add(g, item->jid);
	}
	if (g->changed_count <= CHANGES_BOUND) {
		g->before = was->version;
		g->changed = mem_realloc(g->changed, (g->changed_count + 1) * sizeof *g->changed);
		return;
	}
	for (unsigned i = 0; i < CHANGES_BOUND; i++)
		jid_unref(g->changed[i]);
	mem_free(g->changed);
	g->changed = NULL;
	g->changed_count = 0;
}

struct contact_group *group_new(int64_t id, uint64_t version, const char *domain, const char *name,
                                const char *title, const struct group_member *members, unsigned count,
                                unsigned views, const struct contact_group *was)
{
	struct contact_group *g = mem_zalloc(sizeof *g);

	g->refs = 1;
	g->id = id;
	g->version = version;
	g->domain = mem_strdup(domain);
	g->name = mem_strdup(name);
	g->title = mem_strdup(title);
	g->titles[0] = g->title;
	g->count = count;
	for (unsigned view = SUB_TO; view <= SUB_BOTH; view++)
		if (view == SUB_BOTH || views & view)
			view_fill(g, view, members);
	for (unsigned i = 0; i < count; i++)
		jid_unref(members[i].jid);
	if (was)
		group_compare(g, was);
	return g;
}

static int compare_groups(const void *a, const void *b)
{
	const struct contact_group *const *x = a, *const *y = b;

	return (*x)->id < (*y)->id ? -1 : (*x)->id > (*y)->id;
}

struct groups *groups_new(uint64_t version, struct contact_group **list, unsigned count,
                          const struct group_sight *sights, unsigned sight_count)
{
	struct groups *g = mem_zalloc(sizeof *g);

	g->refs = 1;
	g->version = version;
	g->list = list;
	g->count = count;
	if (count)
		qsort(list, count, sizeof *list, compare_groups);
	g->sights = mem_zalloc((sight_count + 1) * sizeof *sights);
	for (unsigned i = 0; i < sight_count; i++) {
		const struct contact_group *group = groups_find(g, sights[i].group);
		const struct contact_group *shown = groups_find(g, sights[i].shown);

		/* They may be going; and hosts are not shown to each other, whatever the rows say. */
		if (group && shown && strcmp(group->domain, shown->domain) == 0)
			g->sights[g->sight_count++] = sights[i];
	}
	return g;
}
