/* group.c - contacts from administrators' groups (server/group.h): told to clients and contacts when a group
 * changes, and kept out of the users' hands. Whoever is in such a group sees the others and is seen by them;
 * what a client asks for in between is answered at once with what is so anyway. */
#include "roster_parts.h"

#define AT_ONCE 200 /* pushes; more of them go in portions: tell.c */

/* ---- a group has changed */

static unsigned own_subscription(struct ctx *c, const struct jid *contact)
{
	const struct roster_item *own = roster_find_own(home_roster(c->home), contact);

	return own ? own->subscription : SUB_NONE;
}

static void follow(struct ctx *c, const struct regrouped *r, bool is_at_once)
{
	unsigned own = own_subscription(c, r->jid);
	bool is_shown = (r->before | r->after) & SUB_TO; /* or was */

	if (r->before & SUB_FROM && !((r->after | own) & SUB_FROM))
		roster_take_leave(c, r->jid);
	if (is_shown && !is_at_once)
		roster_push_later(c, r->jid);
	else if (is_shown)
		roster_push_contact(c, r->jid);
	if (r->after & SUB_FROM && !((r->before | own) & SUB_FROM) && (is_at_once || !is_shown))
		roster_greet(c, r->jid);
}

enum verdict roster_on_groups(struct ctx *c)
{
	struct roster *r = home_roster(c->home);
	unsigned count;
	struct regrouped *list = home_regroup(c, &count);

	for (unsigned i = 0; i < count; i++) {
		r->is_partial = i + 1 < count || roster_has_pushes(c);
		follow(c, &list[i], count <= AT_ONCE);
		jid_unref(list[i].jid);
	}
	r->is_partial = roster_has_pushes(c);
	mem_free(list);
	return PASS;
}

/* ---- what clients ask for in between */

/* Which side of a subscription the stanza is about: the sender's sight of the recipient, or the other way
 * round. 0: it is about none. */
static unsigned side_of(const struct stanza *st, unsigned asks, unsigned answers)
{
	switch ((enum stanza_type)st->type) {
	case PRESENCE_SUBSCRIBE:
	case PRESENCE_UNSUBSCRIBE:
		return asks;
	case PRESENCE_SUBSCRIBED:
	case PRESENCE_UNSUBSCRIBED:
		return answers;
	default:
		return 0;
	}
}

/* A request to somebody who is seen anyway has its answer. What would end a subscription changes nothing, and
 * the client is shown how things are. */
enum verdict roster_guard_out(struct ctx *c)
{
	unsigned side = side_of(c->stanza, SUB_TO, SUB_FROM);
	struct jid *bare;

	if (!side || !c->stanza->to || !(roster_given(home_roster(c->home), c->to) & side))
		return PASS;
	bare = jid_bare(c->to);
	if (c->stanza->type == PRESENCE_SUBSCRIBE && c->session)
		deliver(c, c->session, bare, home_jid(c->home), stanza_presence(PRESENCE_SUBSCRIBED), 0, 1);
	else if (c->stanza->type != PRESENCE_SUBSCRIBED &&
	         roster_is_shown(roster_find(home_roster(c->home), bare)))
		roster_push_contact(c, bare);
	jid_unref(bare);
	return DONE;
}

/* What would be ended is also the user's own: the account at the other end is being removed, and its groups
 * will follow. */
static bool ends_own(struct ctx *c)
{
	const struct roster_item *own = roster_find_own(home_roster(c->home), c->from);

	return own && (c->stanza->type == PRESENCE_UNSUBSCRIBE || c->stanza->type == PRESENCE_UNSUBSCRIBED);
}

/* Clients of the same group ask nobody, but a request may have been on its way when the group was made. */
enum verdict roster_guard_in(struct ctx *c)
{
	unsigned side = side_of(c->stanza, SUB_FROM, SUB_TO);

	if (ends_own(c))
		return PASS;
	if (!side || !(roster_given(home_roster(c->home), c->from) & side))
		return PASS;
	if (c->stanza->type == PRESENCE_SUBSCRIBE)
		route(c, home_jid(c->home), c->from, stanza_presence(PRESENCE_SUBSCRIBED));
	return DONE;
}
