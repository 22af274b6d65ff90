/* guard.c - XEP-0191 section 3.3: what a block means for stanzas. To those who are blocked the user seems to be
 * offline. What the server itself sends for the user (presence to contacts) is held back by the core. */
#include "blocking.h"

/* A contact that cancels only takes away, and both rosters must agree on that: module subscription notes it
 * and shows it to nobody. */
static bool is_cancellation(const struct stanza *st)
{
	return st->type == PRESENCE_UNSUBSCRIBE || st->type == PRESENCE_UNSUBSCRIBED;
}

enum verdict guard_in(struct ctx *c)
{
	if (!is_blocked(c->home, c->from) || is_cancellation(c->stanza))
		return PASS;
	if (c->stanza->kind == STANZA_PRESENCE) /* no answer, not even an error */
		return DONE;
	return refuse(c, SERVICE_UNAVAILABLE, NULL);
}

enum verdict guard_out(struct ctx *c)
{
	if (!is_blocked(c->home, c->to))
		return PASS;
	if (c->session && !stanza_is_error(c->stanza) && c->stanza->type != IQ_RESULT)
		deliver(c, c->session, c->to, c->from,
		        stanza_error_with(c->stanza, NOT_ACCEPTABLE, "You have blocked this address.",
		                          "blocked", "urn:xmpp:blocking:errors"),
		        0, 1);
	return DONE;
}
