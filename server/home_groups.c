/* home_groups.c - which administrators' groups a home sees: found when it wakes, and again when a group has
 * changed, as an entry of its mailbox. What follows from that is modules/roster/group.c's business. */
#include "home_parts.h"

#include "group.h"

void home_see_groups(struct home *h)
{
	struct roster *r = &h->roster;

	roster_free(r); /* of a try to wake that failed */
	r->own = jid_ref(h->jid);
	r->groups = groups_sources(h->reactor->groups, h->jid, &r->group_count);
}

struct regrouped *home_regroup(struct ctx *c, unsigned *count)
{
	struct home *h = c->home;
	unsigned group_count;
	struct seen_group *groups = groups_sources(h->reactor->groups, h->jid, &group_count);

	return roster_regroup(&h->roster, groups, group_count, count);
}

void home_take_regroup(struct home *h, struct envelope *e)
{
	envelope_free(h->reactor, e);
	h->is_regrouping = false;
	if (h->state == HOME_AWAKE)
		pass_event(h, EVENT_GROUPS, NULL);
}

/* Whether a home may see, or have seen, that group. */
static bool is_concerned(const struct home *h, int64_t id, const struct contact_group *now)
{
	if (h->state == HOME_WAKING || id == 0)
		return true;
	for (unsigned i = 0; i < h->roster.group_count; i++)
		if (h->roster.groups[i].group->id == id)
			return true;
	return now && group_find(now, SUB_BOTH, h->jid);
}

void homes_regroup(struct reactor *r, int64_t group)
{
	const struct contact_group *now = groups_find(r->groups, group);
	struct hash_node *n = NULL;

	while ((n = hash_walk(&r->homes, n))) {
		struct home *h = CONTAINER_OF(n, struct home, node);
		struct envelope *e;

		if (h->kind != HOME_USER || h->state == HOME_ABSENT || h->is_regrouping ||
		    !is_concerned(h, group, now))
			continue;
		h->is_regrouping = true;
		e = envelope_new(r, ENV_REGROUP);
		e->to = jid_ref(h->jid);
		reactor_post(r, r->index, e);
	}
}
