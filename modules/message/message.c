/* message.c - RFC 6121 section 8.5: which of a user's sessions get a message. */
#include "message.h"

#include <string.h>

struct session *message_best(struct home *h)
{
	struct session *s, *best = NULL;

	SESSION_EACH (s, h)
		if (session_is_reachable(s) && (!best || s->priority > best->priority))
			best = s;
	return best;
}

static void deliver_copies(struct ctx *c, int8_t priority, unsigned copies)
{
	struct session *s;

	SESSION_EACH (s, c->home)
		if (session_is_reachable(s) && s->priority >= priority)
			deliver(c, s, c->from, c->to, stanza_ref(c->stanza), c->entry, copies);
}

/* To all reachable sessions with at least that priority; how many there were. */
static unsigned deliver_from(struct ctx *c, int8_t priority)
{
	unsigned copies = 0;
	struct session *s;

	SESSION_EACH (s, c->home)
		if (session_is_reachable(s) && s->priority >= priority)
			copies++;
	if (copies)
		deliver_copies(c, priority, copies);
	return copies;
}

/* Chat and normal messages: the most available sessions (section 8.5.2.1.1); if there is none it waits in
 * the record, or goes back to its sender when it is not on record. */
static enum verdict to_account(struct ctx *c)
{
	struct session *best = message_best(c->home);
	unsigned copies = best ? deliver_from(c, best->priority) : 0;

	if (c->entry) {
		offline_note(c, copies);
		return DONE;
	}
	if (copies || !message_is_content(c->stanza))
		return DONE; /* nobody misses a typing notice */
	return refuse(c, SERVICE_UNAVAILABLE, NULL);
}

static enum verdict to_session(struct ctx *c, struct session *s)
{
	deliver(c, s, c->from, c->to, stanza_ref(c->stanza), c->entry, 1);
	if (c->entry)
		offline_note(c, 1);
	return DONE;
}

static enum verdict on_in(struct ctx *c)
{
	struct session *s = jid_has_resource(c->to) ? session_find(c->home, jid_resource(c->to)) : NULL;

	if (c->is_returned && !offline_all_returned(c))
		return DONE;
	if (c->is_returned && is_blocked(c->home, c->from)) { /* meanwhile: as in a replay */
		if (c->entry)
			offline_note(c, 1);
		return DONE;
	}
	if (c->entry && !offline_may_deliver(c))
		return DONE;
	if (s) /* section 8.5.3.1 */
		return to_session(c, s);
	switch ((enum stanza_type)c->stanza->type) {
	case MESSAGE_CHAT:
	case MESSAGE_NORMAL:
		return to_account(c); /* sections 8.5.2 and 8.5.3.2.1 */
	case MESSAGE_HEADLINE:
		if (!jid_has_resource(c->to))
			deliver_from(c, 0);
		return DONE;
	case MESSAGE_GROUPCHAT: /* section 8.5.2.1.1: never to an account */
		return refuse(c, SERVICE_UNAVAILABLE, NULL);
	default:
		return DONE;
	}
}

static const struct hook hooks[] = {
	ON_LOAD(HOME_USER, &offline_sql_load, offline_loaded),
	AT_STAGE(IN, CHANGE, ON_MESSAGE, HOME_USER, message_strip),
	AT_STAGE(IN, ACT, ON_MESSAGE, HOME_USER, on_in),
	ON_EVENT(EVENT_SESSION_REACHABLE, HOME_USER, offline_on_reachable),
	ON_EVENT(EVENT_SESSION_GONE, HOME_USER, offline_on_gone),
	ON_EVENT(EVENT_SETTLED, HOME_USER, offline_on_settled),
	ON_EVENT(EVENT_SLEEP, HOME_USER, offline_on_sleep),
	HOOKS_END,
};

static const char *const features[] = { "msgoffline", NULL }; /* XEP-0160 section 4 */

const struct module mod_message = {
	.api = MUSTER_API,
	.name = "message",
	.about = "Delivers messages, at once or when somebody comes.",
	.spec = "RFC 6121 section 8, XEP-0160, XEP-0203",
	.features = features,
	.hooks = hooks,
	.home_size = sizeof(struct offline),
	.home_free = offline_free,
};
