/* presence.c - RFC 6121 section 4: a session's presence goes to those who may see it; probes are answered;
 * directed presence is remembered, so that its end reaches each target once. */
#include <stdlib.h>
#include <string.h>

#include "module.h"

#define DIRECTED_MAX 1000 /* targets of one session that are no contacts */

static struct stanza *without_priority(const struct stanza *from)
{
	struct stanza *st = stanza_new(STANZA_PRESENCE, PRESENCE_AVAILABLE, from->id);

	if (element_lang(from->root))
		element_set(st, st->root, "xml:lang", element_lang(from->root));
	for (const struct element *e = from->root->children; e; e = e->next)
		if (!element_is(e, "priority", NULL))
			element_copy(st, st->root, e);
	return stanza_seal(st);
}

/* Section 4.7.2.3: an integer from -128 to 127. What is none counts as 0, and so it is told to others. */
static int8_t read_priority(struct ctx *c)
{
	const struct element *e = element_child(c->stanza->root, "priority", NULL);
	const char *text = e ? element_get_text(e, &c->scratch) : "0";
	char *end;
	long value = strtol(text, &end, 10);
	bool is_number = end != text;

	end += strspn(end, " \t\r\n");
	if (is_number && !*end && value >= -128 && value <= 127)
		return (int8_t)value;
	ctx_replace(c, without_priority(c->stanza));
	return 0;
}

/* ---- directed presence */

static struct directed **directed_find(struct session *s, const struct jid *to)
{
	struct directed **at = &s->directed;

	while (*at && !jid_is((*at)->to, to))
		at = &(*at)->next;
	return at;
}

static void directed_forget(struct session *s, const struct jid *to)
{
	struct directed **at = directed_find(s, to);

	if (*at)
		directed_drop(at);
}

/* False: too many. */
static bool directed_add(struct session *s, const struct jid *to)
{
	unsigned n = 0;
	struct directed *d;

	if (*directed_find(s, to))
		return true;
	for (d = s->directed; d; d = d->next)
		n++;
	if (n >= DIRECTED_MAX)
		return false;
	d = mem_alloc(sizeof *d);
	*d = (struct directed){ .next = s->directed, .to = jid_ref(to) };
	s->directed = d;
	return true;
}

/* ---- broadcast */

static void to_contacts(struct ctx *c, const struct jid *from, struct stanza *st)
{
	const struct roster_item *item = NULL;

	while ((item = roster_walk(home_roster(c->home), item)))
		if (roster_sees_us(item))
			route(c, from, item->jid, stanza_ref(st));
}

/* Section 4.2.2: the user's other sessions, and itself, see it too. */
static void to_own_sessions(struct ctx *c, const struct jid *from, struct stanza *st)
{
	struct session *other;

	SESSION_EACH (other, c->home)
		if (other->presence)
			deliver(c, other, from, home_jid(c->home), stanza_ref(st), 0, 1);
}

/* Sections 4.2.2 and 4.3: the newcomer asks for what it may see. Within this server the probe names the session, so
 * that the answer is for that one alone. */
static void probe_all(struct ctx *c, struct session *s)
{
	struct stanza *probe = stanza_presence(PRESENCE_PROBE);
	const struct roster_item *item = NULL;
	struct session *other;

	while ((item = roster_walk(home_roster(c->home), item)))
		if (roster_is_seen(item))
			route(c, s->full, item->jid, stanza_ref(probe));
	stanza_unref(probe);
	SESSION_EACH (other, c->home)
		if (other != s && other->presence)
			deliver(c, s, other->full, home_jid(c->home), stanza_ref(other->presence), 0, 1);
}

static enum verdict become_available(struct ctx *c)
{
	struct session *s = c->session;
	bool is_initial = !s->presence;
	int8_t priority = read_priority(c);

	session_set_presence(c, s, stanza_ref(c->stanza), priority);
	to_contacts(c, s->full, c->stanza);
	to_own_sessions(c, s->full, c->stanza);
	if (is_initial)
		probe_all(c, s);
	return DONE;
}

/* Whether the end of a session that is available is told there anyway: to contacts, and to own sessions. */
static bool is_told_anyway(struct ctx *c, const struct jid *to)
{
	const struct session *s;

	if (!jid_is_same_bare(to, home_jid(c->home)))
		return roster_sees_us(roster_find(home_roster(c->home), to));
	s = jid_has_resource(to) ? session_find(c->home, jid_resource(to)) : NULL;
	return !jid_has_resource(to) || (s && s->presence);
}

/* Sections 4.5.2 and 4.6.3: contacts, own sessions, and whoever was told directly; each of them once. */
static void become_unavailable(struct ctx *c, struct session *s, struct stanza *st)
{
	bool is_broadcast = s->presence != NULL;

	if (is_broadcast) {
		to_contacts(c, s->full, st);
		to_own_sessions(c, s->full, st);
	}
	while (s->directed) {
		if (!is_broadcast || !is_told_anyway(c, s->directed->to))
			route(c, s->full, s->directed->to, stanza_ref(st));
		directed_drop(&s->directed);
	}
	session_set_presence(c, s, NULL, 0);
}

/* ---- out */

static enum verdict on_directed(struct ctx *c)
{
	struct session *s = c->session;
	bool is_seen_anyway = s->presence && roster_sees_us(roster_find(home_roster(c->home), c->to));

	if (c->stanza->type == PRESENCE_UNAVAILABLE) {
		directed_forget(s, c->to);
	} else if (!is_seen_anyway && !directed_add(s, c->to)) {
		return refuse(c, RESOURCE_CONSTRAINT, "Too much directed presence.");
	}
	return PASS;
}

static enum verdict on_out(struct ctx *c)
{
	enum stanza_type type = c->stanza->type;

	if (!c->session) /* it ended while this waited, and all have been told */
		return DONE;
	if (type == TYPE_UNKNOWN)
		return refuse(c, BAD_REQUEST, "Unknown type of presence.");
	if (type != PRESENCE_AVAILABLE && type != PRESENCE_UNAVAILABLE)
		return PASS;
	if (c->stanza->to)
		return on_directed(c);
	if (type == PRESENCE_AVAILABLE)
		return become_available(c);
	become_unavailable(c, c->session, c->stanza);
	return DONE;
}

static enum verdict on_gone(struct ctx *c)
{
	struct stanza *st = stanza_presence(PRESENCE_UNAVAILABLE);

	become_unavailable(c, c->session, st);
	stanza_unref(st);
	return PASS;
}

/* ---- in */

/* Section 4.3.2.1: what is no session's own presence has the probe's id. */
static enum verdict answer_probe(struct ctx *c, const struct jid *from, enum stanza_type type)
{
	route(c, from, c->from, stanza_seal(stanza_new(STANZA_PRESENCE, type, c->stanza->id)));
	return DONE;
}

/* To one session: only whether it is there, and nothing of the others. */
static enum verdict on_probe_of_session(struct ctx *c, const struct session *s)
{
	return answer_probe(c, c->to, s && s->presence ? PRESENCE_AVAILABLE : PRESENCE_UNAVAILABLE);
}

/* Section 4.6.6: whoever was told directly may ask the same session, whether it is available to all or not. */
static enum verdict on_probe_of_stranger(struct ctx *c, struct session *s)
{
	const struct roster_item *item = roster_find(home_roster(c->home), c->from);

	if (s && *directed_find(s, c->from))
		return answer_probe(c, c->to, PRESENCE_AVAILABLE);
	if (item && item->pending_in) /* "unsubscribed" would take the request back that waits */
		return DONE;
	return answer_probe(c, home_jid(c->home), PRESENCE_UNSUBSCRIBED);
}

/* Section 4.3.2: whoever may see the user's presence gets it, of each session; others are told so. Where
 * there is none, "unavailable" is said to who asked with an id, as clients do: this server's own probes, of
 * which each login has one per contact, need no answer. */
static enum verdict on_probe(struct ctx *c)
{
	bool is_to_session = jid_has_resource(c->to), is_known = is_from_owner(c);
	struct session *s = is_to_session ? session_find(c->home, jid_resource(c->to)) : NULL;
	unsigned n = 0;

	is_known = is_known || roster_sees_us(roster_find(home_roster(c->home), c->from));
	if (!is_known)
		return on_probe_of_stranger(c, s);
	if (is_to_session)
		return on_probe_of_session(c, s);
	SESSION_EACH (s, c->home) {
		if (!s->presence)
			continue;
		route(c, s->full, c->from, stanza_ref(s->presence));
		n++;
	}
	if (n == 0 && c->stanza->id)
		return answer_probe(c, home_jid(c->home), PRESENCE_UNAVAILABLE);
	return DONE;
}

/* Sections 8.5.2.1.2 and 8.5.3.1. Who says that he is gone need not be told of our end (section 4.6.1). */
static enum verdict on_presence(struct ctx *c)
{
	bool is_end = c->stanza->type == PRESENCE_UNAVAILABLE;
	struct session *s;

	if (jid_has_resource(c->to)) {
		s = session_find(c->home, jid_resource(c->to));
		if (s && is_end)
			directed_forget(s, c->from);
		if (s)
			deliver(c, s, c->from, c->to, stanza_ref(c->stanza), 0, 1);
		return DONE;
	}
	SESSION_EACH (s, c->home) {
		if (is_end)
			directed_forget(s, c->from);
		if (s->presence)
			deliver(c, s, c->from, c->to, stanza_ref(c->stanza), 0, 1);
	}
	return DONE;
}

static enum verdict on_in(struct ctx *c)
{
	switch ((enum stanza_type)c->stanza->type) {
	case PRESENCE_PROBE:
		return on_probe(c);
	case PRESENCE_AVAILABLE:
	case PRESENCE_UNAVAILABLE:
	case PRESENCE_ERROR:
		return on_presence(c);
	default:
		return PASS;
	}
}

static const struct hook hooks[] = {
	AT_STAGE(OUT, ACT, ON_PRESENCE, HOME_USER, on_out),
	AT_STAGE(IN, ACT, ON_PRESENCE, HOME_USER, on_in),
	ON_EVENT(EVENT_SESSION_GONE, HOME_USER, on_gone),
	HOOKS_END,
};

const struct module mod_presence = {
	.api = MUSTER_API,
	.name = "presence",
	.about = "Presence: broadcast, probes, directed presence.",
	.spec = "RFC 6121 section 4",
	.hooks = hooks,
};
