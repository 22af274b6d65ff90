/* subscription.c - RFC 6121 section 3: who may see whose presence.
 *
 * The tables of appendix A as four bits: TO and FROM are established, OUT waits for the contact's answer,
 * IN for the user's. Each kind of stanza, in each direction, sets and clears some of them; whether it is
 * passed on depends on whether any of them was set. The new state is committed, together with the row that
 * carries the stanza to the other side, before anything is said. */
#include <string.h>

#include "module.h"

enum { TO = SUB_TO, FROM = SUB_FROM, PENDING_OUT = 4, PENDING_IN = 8 };

#define REQUEST_MAX 4096 /* bytes of a request that waits; a longer one is shown without what it says */

struct plan {
	struct jid *contact; /* bare */
	unsigned before, after;
	bool approved_before, approved;
	bool passes_on; /* OUT: to the contact; IN: to the user's sessions */
	bool answers;   /* IN: `subscribed` is answered without asking the user */
	bool enters;    /* the contact enters the roster */
	bool was_known; /* there is an item */
};

static const struct sql sql_state = {
	.name = "subscription_state",
	.text = "insert into roster (owner, contact, subscription, ask, pending_in, approved,"
		" in_roster, request) values ($1, $2, $3, $4, $5, $6, $7, $8)"
		" on conflict (owner, contact) do update set subscription = excluded.subscription,"
		" ask = excluded.ask, pending_in = excluded.pending_in, approved = excluded.approved,"
		" in_roster = excluded.in_roster, request = case when excluded.pending_in = 1"
		" then coalesce(excluded.request, roster.request) end",
};
static const struct sql sql_forget = {
	.name = "subscription_forget",
	.text = "delete from roster where owner = $1 and contact = $2",
};

/* ---- appendix A */

static void plan_out(struct plan *p, enum stanza_type type)
{
	switch (type) {
	case PRESENCE_SUBSCRIBE: /* A.2.1 */
		p->after |= p->before & TO ? 0 : PENDING_OUT;
		p->passes_on = p->enters = true;
		break;
	case PRESENCE_UNSUBSCRIBE: /* A.2.2 */
		p->after &= ~(unsigned)(TO | PENDING_OUT);
		p->passes_on = true;
		break;
	case PRESENCE_SUBSCRIBED: /* A.2.3; without a request it approves one to come, section 3.4 */
		p->passes_on = p->before & PENDING_IN;
		if (p->before & PENDING_IN)
			p->after = (p->after & ~(unsigned)PENDING_IN) | FROM;
		else if (!(p->before & FROM))
			p->approved = true;
		p->enters = p->passes_on || p->approved;
		break;
	default: /* PRESENCE_UNSUBSCRIBED, A.2.4 */
		p->passes_on = p->before & (PENDING_IN | FROM);
		p->after &= ~(unsigned)(PENDING_IN | FROM);
		p->approved = false;
		break;
	}
}

static void plan_in(struct plan *p, enum stanza_type type)
{
	switch (type) {
	case PRESENCE_SUBSCRIBE: /* A.3.1 and section 3.1.3 */
		p->answers = p->before & FROM || p->approved;
		p->passes_on = !p->answers && !(p->before & PENDING_IN);
		p->after |= p->answers ? FROM : PENDING_IN;
		p->enters = p->answers && !(p->before & FROM);
		break;
	/* A.3.2. Its footnote, to answer "unsubscribed", is not followed: the answer would cross a new
	 * request, and take that back. */
	case PRESENCE_UNSUBSCRIBE:
		p->passes_on = p->before & (FROM | PENDING_IN);
		p->after &= ~(unsigned)(FROM | PENDING_IN);
		break;
	case PRESENCE_SUBSCRIBED: /* A.3.3 */
		p->passes_on = p->before & PENDING_OUT;
		if (p->before & PENDING_OUT)
			p->after = (p->after & ~(unsigned)PENDING_OUT) | TO;
		break;
	default: /* PRESENCE_UNSUBSCRIBED, A.3.4 */
		p->passes_on = p->before & (PENDING_OUT | TO);
		p->after &= ~(unsigned)(PENDING_OUT | TO);
		break;
	}
}

/* ---- from the item to the plan and back */

static void plan_read(struct ctx *c, struct plan *p, struct jid *contact)
{
	const struct roster_item *item = roster_find_own(home_roster(c->home), contact);

	p->contact = jid_bare(contact);
	if (!item)
		return;
	p->was_known = true;
	p->before =
	    item->subscription | (item->ask ? PENDING_OUT : 0) | (item->pending_in ? PENDING_IN : 0);
	p->approved = p->approved_before = item->approved;
	p->after = p->before;
}

static bool plan_changes(const struct plan *p)
{
	return p->after != p->before || p->approved != p->approved_before;
}

static bool is_in_roster(struct ctx *c, const struct plan *p)
{
	const struct roster_item *item = roster_find_own(home_roster(c->home), p->contact);

	return p->enters || (item && item->in_roster);
}

/* An item that says nothing any more is no item. */
static bool is_worth_keeping(struct ctx *c, const struct plan *p)
{
	return p->after || p->approved || is_in_roster(c, p);
}

/* The stanza in hand is a request that will wait, and is kept whole. */
static bool is_kept(const struct ctx *c, const struct plan *p)
{
	return p->after & PENDING_IN && !(p->before & PENDING_IN) && c->stanza->bytes_len <= REQUEST_MAX;
}

static void plan_store(struct ctx *c, const struct plan *p, struct write *w)
{
	struct buffer request = { 0 };

	if (!is_worth_keeping(c, p)) {
		write_add(w, &sql_forget, PARAMS(P_INT(home_account(c->home)), P_TEXT(p->contact->text)));
		return;
	}
	if (is_kept(c, p))
		stanza_write(&request, c->stanza, NULL, NULL);
	write_add(w, &sql_state,
	          PARAMS(P_INT(home_account(c->home)), P_TEXT(p->contact->text), P_INT(p->after & SUB_BOTH),
	                 P_INT(p->after & PENDING_OUT ? 1 : 0), P_INT(p->after & PENDING_IN ? 1 : 0),
	                 P_INT(p->approved), P_INT(is_in_roster(c, p)), P_TEXT(request.data)));
	buffer_free(&request);
}

static bool is_lost(const struct plan *p) /* the contact sees us no more */
{
	return p->before & FROM && !(p->after & FROM);
}

/* Section 3.1.5: the contact sees us from now on. */
static void tell_available(struct ctx *c, const struct plan *p)
{
	struct session *s;

	if (p->before & FROM || !(p->after & FROM))
		return;
	SESSION_EACH (s, c->home)
		if (s->presence)
			route(c, s->full, p->contact, stanza_ref(s->presence));
}

/* Sections 3.2.2 and 3.3.3. The mailbox waits for the change: when that is committed the sessions are the
 * same. */
static void tell_unavailable(struct ctx *c)
{
	const struct plan *p = c->own;
	struct session *s;

	if (is_blocked(c->home, p->contact) || /* to it they are gone already, or it sees them by a group */
	    roster_given(home_roster(c->home), p->contact) & SUB_FROM)
		return;
	SESSION_EACH (s, c->home)
		if (s->presence)
			route_after(c, s->full, p->contact, stanza_presence(PRESENCE_UNAVAILABLE));
}

static void plan_apply(struct ctx *c, const struct plan *p)
{
	struct roster *r = home_roster(c->home);
	struct roster_item *item;
	bool was_in_roster, shows;

	if (!is_worth_keeping(c, p)) {
		item = roster_find_own(r, p->contact);
		if (item)
			roster_remove(r, item);
		return;
	}
	item = roster_add(r, p->contact);
	was_in_roster = item->in_roster;
	shows = (p->after ^ p->before) & (TO | FROM | PENDING_OUT);
	item->in_roster = item->in_roster || p->enters;
	item->subscription = p->after & SUB_BOTH;
	item->ask = p->after & PENDING_OUT;
	item->pending_in = p->after & PENDING_IN;
	item->approved = p->approved;
	if (!item->pending_in || !(p->before & PENDING_IN)) {
		stanza_unref(item->request);
		item->request = is_kept(c, p) ? stanza_ref(c->stanza) : NULL;
	}
	if (item->in_roster && (shows || !was_in_roster || p->approved != p->approved_before))
		roster_push(c, item);
}

static enum verdict plan_end(struct plan *p, enum verdict v)
{
	if (v != HELD)
		jid_unref(p->contact);
	return v;
}

/* ---- out: what the user asks for (section 3.1.2 and its like) */

static enum verdict on_out_stored(struct ctx *c, const struct rows *r)
{
	struct plan *p = c->own;

	if (rows_status(r) != STORE_OK)
		return plan_end(p, refuse_unstored(c, r));
	plan_apply(c, p);
	tell_available(c, p);
	return plan_end(p, DONE);
}

static bool is_subscription(const struct stanza *st)
{
	return st->type == PRESENCE_SUBSCRIBE || st->type == PRESENCE_SUBSCRIBED ||
	       st->type == PRESENCE_UNSUBSCRIBE || st->type == PRESENCE_UNSUBSCRIBED;
}

static enum verdict on_out(struct ctx *c)
{
	struct plan *p;
	struct write *w;

	if (!is_subscription(c->stanza))
		return PASS;
	if (!c->stanza->to || jid_is_same_bare(c->to, home_jid(c->home)))
		return refuse(c, NOT_ALLOWED, "You cannot be your own contact.");
	p = c->own = ctx_new(c, sizeof *p);
	plan_read(c, p, c->to);
	plan_out(p, c->stanza->type);
	if (!plan_changes(p) && !p->passes_on)
		return plan_end(p, DONE);
	if (!p->was_known && p->enters && roster_is_full(home_roster(c->home)))
		return plan_end(p, refuse(c, RESOURCE_CONSTRAINT, "The contact list is full."));
	w = begin_write(c);
	plan_store(c, p, w);
	if (is_lost(p)) /* first, while the contact may still see it: section 3.2.2 */
		tell_unavailable(c);
	if (p->passes_on) /* from and to are bare: sections 3.1.2, 3.1.5, 3.2.2, 3.3.2 */
		route_with(c, w, home_jid(c->home), p->contact, stanza_ref(c->stanza));
	return plan_end(p, change(c, w, on_out_stored));
}

/* ---- in: what contacts ask for and answer (section 3.1.3 and its like) */

/* A request goes to the sessions that are available (section 3.1.3), an answer to those that have asked for
 * the roster (sections 3.1.6, 3.2.3, 3.3.3). */
static void deliver_to_sessions(struct ctx *c, const struct jid *from)
{
	struct session *s;

	if (is_blocked(c->home, from)) /* it cancels, and the roster push says so */
		return;
	SESSION_EACH (s, c->home)
		if (c->stanza->type == PRESENCE_SUBSCRIBE ? s->presence != NULL : s->wants_roster)
			deliver(c, s, from, home_jid(c->home), stanza_ref(c->stanza), 0, 1);
}

static enum verdict on_in_stored(struct ctx *c, const struct rows *r)
{
	struct plan *p = c->own;

	if (rows_status(r) != STORE_OK)
		return plan_end(p, DONE);
	if (p->passes_on) /* before the push: section 3.1.6 */
		deliver_to_sessions(c, p->contact);
	plan_apply(c, p);
	tell_available(c, p);
	return plan_end(p, DONE);
}

/* Section 8.5.3.2.2: an answer for a session that is not there is nobody's; a request is the account's. */
static bool is_for_nobody(const struct ctx *c)
{
	return c->stanza->type != PRESENCE_SUBSCRIBE && jid_has_resource(c->to) &&
	       !session_find(c->home, jid_resource(c->to));
}

static enum verdict on_in(struct ctx *c)
{
	struct plan *p;
	struct write *w;

	if (!is_subscription(c->stanza))
		return PASS;
	if (is_for_nobody(c))
		return DONE;
	p = c->own = ctx_new(c, sizeof *p);
	plan_read(c, p, c->from);
	plan_in(p, c->stanza->type);
	if (!plan_changes(p)) {
		if (p->answers)
			route(c, home_jid(c->home), p->contact, stanza_presence(PRESENCE_SUBSCRIBED));
		return plan_end(p, DONE);
	}
	if (!p->was_known && roster_is_full(home_roster(c->home))) /* requests of strangers take room too */
		return plan_end(p, refuse(c, RESOURCE_CONSTRAINT, NULL));
	w = begin_write(c);
	plan_store(c, p, w);
	transit_done(c, w);
	if (is_lost(p))
		tell_unavailable(c);
	if (p->answers)
		route_with(c, w, home_jid(c->home), p->contact, stanza_presence(PRESENCE_SUBSCRIBED));
	return plan_end(p, change(c, w, on_in_stored));
}

/* Section 3.1.3: requests that wait are shown to every session that comes, until they are answered. */
static enum verdict on_available(struct ctx *c)
{
	const struct roster_item *item = NULL;

	while ((item = roster_walk_own(home_roster(c->home), item)))
		if (item->pending_in && !is_blocked(c->home, item->jid))
			deliver(c, c->session, item->jid, home_jid(c->home),
			        item->request ? stanza_ref(item->request)
			                      : stanza_presence(PRESENCE_SUBSCRIBE),
			        0, 1);
	return PASS;
}

static const char *const stream_features[] = {
	"<sub xmlns='urn:xmpp:features:pre-approval'/>",
	NULL,
};

static const struct hook hooks[] = {
	AT_STAGE(OUT, ACT, ON_PRESENCE, HOME_USER, on_out),
	AT_STAGE(IN, ACT, ON_PRESENCE, HOME_USER, on_in),
	ON_EVENT(EVENT_SESSION_AVAILABLE, HOME_USER, on_available),
	HOOKS_END,
};

const struct module mod_subscription = {
	.api = MUSTER_API,
	.name = "subscription",
	.about = "Presence subscriptions: who may see whom.",
	.spec = "RFC 6121 section 3",
	.stream_features = stream_features,
	.hooks = hooks,
};
