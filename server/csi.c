/* csi.c - what of all that is said to a client may wait while nobody looks at it: see csi.h. What this file does
 * not know is taken to matter. */
#include "csi.h"

#include <string.h>

#include "module.h"

#define MUC_NS "http://jabber.org/protocol/muc#user"

/* ---- messages */

enum weight {
	WEIGHT_NONE,  /* says nothing by itself: an id, a hint, a thread */
	WEIGHT_STATE, /* is somebody typing? */
	WEIGHT_LIGHT, /* it has arrived, it has been read */
	WEIGHT_FULL
};

static const struct kind {
	const char *ns;
	enum weight weight;
} kinds[] = {
	{ "http://jabber.org/protocol/chatstates", WEIGHT_STATE }, /* XEP-0085 */
	{ "urn:xmpp:receipts", WEIGHT_LIGHT },                     /* XEP-0184 */
	{ "urn:xmpp:chat-markers:0", WEIGHT_LIGHT },               /* XEP-0333 */
	{ "urn:xmpp:hints", WEIGHT_NONE },                         /* XEP-0334 */
	{ "urn:xmpp:sid:0", WEIGHT_NONE },                         /* XEP-0359 */
	{ "urn:xmpp:delay", WEIGHT_NONE },                         /* XEP-0203 */
};

static enum weight element_weight(const struct element *e)
{
	/* Below <forwarded/> the content namespace has its name. */
	if (!e->ns || strcmp(e->ns, "jabber:client") == 0)
		return strcmp(e->name, "thread") == 0 ? WEIGHT_NONE : WEIGHT_FULL;
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(e->ns, kinds[i].ns) == 0)
			return kinds[i].weight;
	if (strcmp(e->ns, MUC_NS) == 0 &&
	    !element_first(e)) /* XEP-0045 section 7.5: between two occupants */
		return WEIGHT_NONE;
	return WEIGHT_FULL;
}

/* The heaviest of what it says. One that says nothing at all is not ours to understand. */
static enum weight message_weight(const struct element *message)
{
	enum weight heaviest = WEIGHT_NONE, weight;

	for (const struct element *e = message->children; e; e = e->next) {
		if (!e->name)
			continue;
		weight = element_weight(e);
		if (weight > heaviest)
			heaviest = weight;
	}
	return heaviest == WEIGHT_NONE ? WEIGHT_FULL : heaviest;
}

bool message_is_notice(const struct stanza *st)
{
	return message_weight(st->root) < WEIGHT_FULL;
}

/* A copy weighs what is in it (XEP-0280). What the user has read on another client matters: this one need not
 * call for him any more. */
static enum csi_verdict judge_copy(const struct element *copy)
{
	const struct element *e = element_child(copy, "forwarded", "urn:xmpp:forward:0");

	e = e ? element_child(e, "message", "jabber:client") : NULL;
	if (!e)
		return CSI_MATTERS;
	if (strcmp(copy->name, "sent") == 0 && element_child(e, "displayed", "urn:xmpp:chat-markers:0"))
		return CSI_MATTERS;
	switch (message_weight(e)) {
	case WEIGHT_STATE:
		return CSI_NOTHING;
	case WEIGHT_LIGHT:
		return CSI_WAITS;
	default:
		return CSI_MATTERS;
	}
}

static enum csi_verdict judge_message(const struct stanza *st)
{
	const struct element *first = element_first(st->root);

	if (st->type != MESSAGE_CHAT && st->type != MESSAGE_NORMAL && st->type != MESSAGE_GROUPCHAT)
		return CSI_MATTERS;
	if (first && first->ns && strcmp(first->ns, "urn:xmpp:carbons:2") == 0)
		return judge_copy(first);
	switch (message_weight(st->root)) {
	case WEIGHT_STATE:
		return CSI_STATE;
	case WEIGHT_LIGHT:
		return CSI_WAITS;
	default:
		return CSI_MATTERS;
	}
}

/* ---- presence */

/* XEP-0045 section 7.2.2: who enters a room waits for his own presence, with status 110, in any state. */
static bool is_own_in_room(const struct stanza *st)
{
	const struct element *x = element_child(st->root, "x", MUC_NS), *e;
	const char *code;

	for (e = x ? element_child(x, "status", x->ns) : NULL; e; e = element_next(e, "status", x->ns)) {
		code = element_get(e, "code");
		if (code && strcmp(code, "110") == 0)
			return true;
	}
	return false;
}

/* Its own presence is the answer to what it has just sent. */
static enum csi_verdict judge_presence(const struct stanza *st, const struct jid *from,
                                       const struct jid *own)
{
	if (st->type != PRESENCE_AVAILABLE && st->type != PRESENCE_UNAVAILABLE)
		return CSI_MATTERS;
	return jid_is(from, own) || is_own_in_room(st) ? CSI_MATTERS : CSI_STATE;
}

enum csi_verdict csi_judge(const struct stanza *st, const struct jid *from, const struct jid *own)
{
	if (!from)
		return CSI_MATTERS;
	if (st->kind == STANZA_PRESENCE)
		return judge_presence(st, from, own);
	return st->kind == STANZA_MESSAGE ? judge_message(st) : CSI_MATTERS;
}
