/* roster_push.c - roster items as the protocol shows them, for every module that changes the roster. */
#include <stdio.h>

#include "module.h"

#define ROSTER_NS "jabber:iq:roster"

void roster_item_write(struct stanza *st, struct element *query, const struct roster_item *item)
{
	struct element *e = element_add(st, query, "item", ROSTER_NS);

	element_set(st, e, "jid", item->jid->text);
	if (!item->in_roster) {
		element_set(st, e, "subscription", "remove");
		return;
	}
	if (item->name)
		element_set(st, e, "name", item->name);
	element_set(st, e, "subscription", roster_subscription_name(item->subscription));
	if (item->ask)
		element_set(st, e, "ask", "subscribe");
	if (item->approved)
		element_set(st, e, "approved", "true");
	for (char *const *group = item->groups; group && *group; group++)
		element_add_text(st, e, "group", ROSTER_NS, *group);
}

/* Pushes have no `from`: they come from the account itself (RFC 6121 section 2.1.6). */
void roster_push(struct ctx *c, const struct roster_item *item)
{
	struct stanza *push;
	struct session *s;
	char id[24];

	snprintf(id, sizeof id, "push%llx", (unsigned long long)record_id_new(c));
	push = stanza_new(STANZA_IQ, IQ_SET, id);
	roster_item_write(push, element_add(push, push->root, "query", ROSTER_NS), item);
	stanza_seal(push);
	SESSION_EACH (s, c->home)
		if (s->wants_roster)
			deliver(c, s, home_jid(c->home), s->full, stanza_ref(push), 0, 1);
	stanza_unref(push);
}
