/* forged.c - takes out what only this server may say. A delay in the recipient's host's own name (XEP-0203
 * section 4) is one that nobody but this host could have added, and it adds it last. */
#include <string.h>

#include "message.h"

static bool is_forged(const struct ctx *c, const struct element *e)
{
	const struct jid *own = home_jid(c->home);
	const char *text;
	struct jid *from;
	bool is_own;

	if (!e->ns)
		return false;
	if (strcmp(e->ns, CARBONS_NS) ==
	    0) /* a copy comes from deliver, never this way: XEP-0280 section 12 */
		return strcmp(e->name, "private") != 0;
	if (!element_is(e, "delay", "urn:xmpp:delay"))
		return false;
	text = element_get(e, "from");
	from = text ? jid_parse(text, strlen(text)) : NULL; /* however it is written */
	is_own = from && !jid_has_local(from) && jid_domain_len(from) == jid_domain_len(own) &&
	         memcmp(jid_domain(from), jid_domain(own), jid_domain_len(own)) == 0;
	jid_unref(from);
	return is_own;
}

static bool has_forged(const struct ctx *c, const struct stanza *st)
{
	const struct element *e = st->root->children;

	while (e && !is_forged(c, e))
		e = e->next;
	return e != NULL;
}

static struct stanza *copy_honest(const struct ctx *c, const struct stanza *from)
{
	const struct element *root = from->root;
	struct stanza *st = stanza_new(from->kind, from->type, from->id);

	if (element_lang(root))
		element_set(st, st->root, "xml:lang", element_lang(root));
	for (const struct element *e = root->children; e; e = e->next)
		if (!is_forged(c, e))
			element_copy(st, st->root, e);
	return stanza_seal(st);
}

struct stanza *strip_forged(const struct ctx *c, struct stanza *st)
{
	struct stanza *honest;

	if (!has_forged(c, st))
		return st;
	honest = copy_honest(c, st);
	stanza_unref(st);
	return honest;
}

enum verdict message_strip(struct ctx *c)
{
	if (has_forged(c, c->stanza))
		ctx_replace(c, copy_honest(c, c->stanza));
	return PASS;
}
