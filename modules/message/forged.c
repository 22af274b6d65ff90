/* forged.c - takes out what only this server may say. A delay in the recipient's host's own name (XEP-0203 section
 * 4) is one that nobody but this host could have added, and it adds it last. */
#include <string.h>

#include "message.h"

static bool is_forged(const struct ctx *c, const struct element *e)
{
	const struct jid *own = home_jid(c->home);
	const char *from;

	if (!element_is(e, "delay", "urn:xmpp:delay"))
		return false;
	from = element_get(e, "from");
	return from && strlen(from) == jid_domain_len(own) && memcmp(from, jid_domain(own), jid_domain_len(own)) == 0;
}

enum verdict message_strip(struct ctx *c)
{
	const struct element *root = c->stanza->root, *e = root->children;
	struct stanza *st;

	while (e && !is_forged(c, e))
		e = e->next;
	if (!e)
		return PASS;
	st = stanza_new(c->stanza->kind, c->stanza->type, c->stanza->id);
	if (element_lang(root))
		element_set(st, st->root, "xml:lang", element_lang(root));
	for (e = root->children; e; e = e->next)
		if (!is_forged(c, e))
			element_copy(st, st->root, e);
	ctx_replace(c, stanza_seal(st));
	return PASS;
}
