/* forged.c - what only this server may say, said by somebody else: a copy of a message (XEP-0280 section 12), a
 * delay in the own host's name (XEP-0203 section 4), which it adds last, and an id in this account's own
 * archive (XEP-0359 section 3). Modules take it out of what comes in, what goes out, and what they read from
 * the record. */
#include <string.h>

#include "module.h"

static bool is_host_of(const struct jid *own, const struct jid *j)
{
	return !jid_has_local(j) && jid_domain_len(j) == jid_domain_len(own) &&
	       memcmp(jid_domain(j), jid_domain(own), jid_domain_len(own)) == 0;
}

bool element_is_forged(const struct ctx *c, const struct element *e)
{
	const struct jid *own = home_jid(c->home);
	bool is_delay, is_forged;
	const char *text;
	struct jid *by;

	if (!e->ns)
		return false;
	if (strcmp(e->ns, CARBONS_NS) == 0) /* a copy comes from deliver, never this way */
		return strcmp(e->name, "private") != 0;
	is_delay = element_is(e, "delay", "urn:xmpp:delay");
	if (!is_delay && !element_is(e, "stanza-id", SID_NS))
		return false;
	text = element_get(e, is_delay ? "from" : "by");
	by = text ? jid_parse(text, strlen(text)) : NULL; /* however it is written */
	is_forged = by && (is_delay ? is_host_of(own, by) : jid_is(by, own));
	jid_unref(by);
	return is_forged;
}

static bool has_forged(const struct ctx *c, const struct stanza *st)
{
	const struct element *e = st->root->children;

	while (e && !element_is_forged(c, e))
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
		if (!element_is_forged(c, e))
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

enum verdict change_forged(struct ctx *c)
{
	if (has_forged(c, c->stanza))
		ctx_replace(c, copy_honest(c, c->stanza));
	return PASS;
}

void stanza_id_add(const struct ctx *c, struct stanza *st, struct element *message, int64_t entry)
{
	struct element *e = element_add(st, message, "stanza-id", SID_NS);

	element_set(st, e, "by", home_jid(c->home)->text);
	element_setf(st, e, "id", "%lld", (long long)entry);
}
