/* message.c - RFC 6121 section 8.5: which of a user's sessions get a message, and which a copy. */
#include "message.h"

#include <string.h>

struct session *message_best(struct home *h, uint64_t but)
{
	struct session *s, *best = NULL;

	SESSION_EACH (s, h)
		if (session_is_reachable(s) && s->id != but && (!best || s->priority > best->priority))
			best = s;
	return best;
}

/* To all that take it, and a copy to those who want one; how many have taken it. */
static unsigned deliver_to(struct ctx *c, const struct takers *takers)
{
	unsigned taken = 0, due = 0;
	struct session *s;

	SESSION_EACH (s, c->home)
		if (takes(takers, s))
			taken++;
		else
			due += s->wants_carbons;
	if (due && (taken || c->entry || c->stanza->type == MESSAGE_ERROR))
		due = carbons_due(c, takers, taken > 0);
	else
		due = 0;
	SESSION_EACH (s, c->home)
		if (takes(takers, s))
			deliver(c, s, c->from, c->to, stanza_ref(c->stanza), c->entry, taken + due);
	if (due)
		carbons_received(c, takers, taken > 0, taken ? taken + due : 0);
	return taken;
}

/* Chat and normal messages: the most available sessions (section 8.5.2.1.1); if there is none it waits in
 * the record, or goes back to its sender when it is not on record. */
static enum verdict to_account(struct ctx *c)
{
	struct session *best = message_best(c->home, 0);
	struct takers takers = TAKERS_NONE;
	unsigned taken;

	if (best)
		takers.priority = best->priority;
	taken = deliver_to(c, &takers);
	if (c->entry) {
		offline_note(c, taken);
		return DONE;
	}
	if (taken || message_is_notice(c->stanza)) /* nobody misses a typing notice (XEP-0160 section 3) */
		return DONE;
	return refuse(c, SERVICE_UNAVAILABLE, NULL);
}

static enum verdict to_session(struct ctx *c, struct session *s)
{
	if (is_alone(s))
		deliver(c, s, c->from, c->to, stanza_ref(c->stanza), c->entry, 1);
	else
		(void)deliver_to(c, &(struct takers){ .one = s });
	if (c->entry)
		offline_note(c, 1);
	return DONE;
}

/* A replay delivers it to one session, and the others their copies; or it has done so already: then they get them
 * now. */
static enum verdict to_replay(struct ctx *c, struct session *s)
{
	struct takers takers = { .one = s ? s : replay_session(c) };

	if (!c->is_returned && takers.one && carbons_due(c, &takers, true) && !offline_owes_copies(c))
		carbons_received(c, &takers, true, 0);
	return DONE;
}

static enum verdict on_returned(struct ctx *c)
{
	if (!offline_all_returned(c))
		return DONE;
	if (is_copy(c->stanza)) /* the message itself has come back before */
		return c->entry ? offline_again(c) : DONE;
	if (!is_blocked(c->home, c->from))
		return PASS;
	if (c->entry) /* meanwhile: as in a replay */
		offline_note(c, 1);
	return DONE;
}

static enum verdict on_in(struct ctx *c)
{
	struct session *s = jid_has_resource(c->to) ? session_find(c->home, jid_resource(c->to)) : NULL;
	enum verdict v = c->is_returned ? on_returned(c) : PASS;

	if (v != PASS)
		return v;
	if (c->entry && !offline_may_deliver(c, s))
		return to_replay(c, s);
	if (s) /* section 8.5.3.1 */
		return to_session(c, s);
	switch ((enum stanza_type)c->stanza->type) {
	case MESSAGE_CHAT:
	case MESSAGE_NORMAL:
		return to_account(c); /* sections 8.5.2 and 8.5.3.2.1 */
	case MESSAGE_HEADLINE:
		if (!jid_has_resource(c->to))
			(void)deliver_to(c, &(struct takers){ .priority = 0 });
		return DONE;
	case MESSAGE_GROUPCHAT: /* section 8.5.2.1.1: never to an account */
		return refuse(c, SERVICE_UNAVAILABLE, NULL);
	default: /* an error: only for the copies */
		(void)deliver_to(c, &(struct takers)TAKERS_NONE);
		return DONE;
	}
}

static const struct hook hooks[] = {
	ON_LOAD(HOME_USER, &mark_sql_load, mark_loaded),
	AT_STAGE(OUT, CHANGE, ON_MESSAGE, HOME_USER, change_forged),
	AT_STAGE(IN, CHANGE, ON_MESSAGE, HOME_USER, change_forged),
	AT_STAGE(OUT, COPY, ON_MESSAGE, HOME_USER, carbons_on_out),
	AT_STAGE(IN, ACT, ON_MESSAGE, HOME_USER, on_in),
	ON_EVENT(EVENT_SESSION_REACHABLE, HOME_USER, offline_on_reachable),
	ON_EVENT(EVENT_SESSION_RESTORED, HOME_USER, offline_on_restored),
	ON_EVENT(EVENT_SESSION_GONE, HOME_USER, offline_on_gone),
	ON_EVENT(EVENT_SETTLED, HOME_USER, offline_on_settled),
	ON_EVENT(EVENT_SLEEP, HOME_USER, offline_on_sleep),
	ON_IQ_SET("urn:xmpp:carbons:2", "enable", HOME_USER, carbons_enable),
	ON_IQ_SET("urn:xmpp:carbons:2", "disable", HOME_USER, carbons_disable),
	HOOKS_END,
};

static const char *const features[] = {
	"msgoffline", /* XEP-0160 section 4 */
	"urn:xmpp:carbons:2",
	"urn:xmpp:carbons:rules:0",
	NULL,
};

const struct module mod_message = {
	.api = MUSTER_API,
	.name = "message",
	.about = "Delivers messages, at once or when somebody comes, and copies to a user's other clients.",
	.spec = "RFC 6121 section 8, XEP-0160, XEP-0203, XEP-0280",
	.features = features,
	.hooks = hooks,
	.home_size = sizeof(struct offline),
	.home_free = offline_free,
};
