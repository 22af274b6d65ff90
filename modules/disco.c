/* disco.c - XEP-0030: what a host or an account is and can do. The features are those of the loaded
 * modules; identities and items come by hooks. */
#include <string.h>

#include "module.h"

#define INFO_NS "http://jabber.org/protocol/disco#info"
#define ITEMS_NS "http://jabber.org/protocol/disco#items"

/* XEP-0030 section 8: an account tells itself and those who may see its presence, nobody else; and to those
 * it is as if there were no such account. */
static bool may_ask(struct ctx *c)
{
	return home_kind(c->home) != HOME_USER || is_from_owner(c) ||
	       roster_sees_us(roster_find(home_roster(c->home), c->from));
}

static void add_identity(struct stanza *st, struct element *query, const char *category, const char *type,
                         const char *name)
{
	struct element *e = element_add(st, query, "identity", INFO_NS);

	element_set(st, e, "category", category);
	element_set(st, e, "type", type);
	if (name)
		element_set(st, e, "name", name);
}

static void add_features(struct ctx *c, struct stanza *st, struct element *query)
{
	const char *const *features;

	for (unsigned i = 0; module_features(c, i, &features); i++)
		for (; features && *features; features++)
			element_set(st, element_add(st, query, "feature", INFO_NS), "var", *features);
}

/* Section 3.2 and 4.2: nodes are not had here; the pseudo-node of ad-hoc commands comes with those. */
static const char *node_of(const struct ctx *c)
{
	return element_get(element_first(c->stanza->root), "node");
}

static enum verdict on_info(struct ctx *c)
{
	struct stanza *result;
	struct element *query;

	if (!may_ask(c))
		return refuse(c, SERVICE_UNAVAILABLE, NULL);
	if (node_of(c))
		return refuse(c, ITEM_NOT_FOUND, NULL);
	result = reply_new(c);
	query = element_add(result, result->root, "query", INFO_NS);
	if (home_kind(c->home) == HOME_HOST)
		add_identity(result, query, "server", "im", "Muster");
	else
		add_identity(result, query, "account", "registered", NULL);
	add_features(c, result, query);
	disco_run(c, EVENT_DISCO_INFO, result, query);
	return reply(c, result);
}

static enum verdict on_items(struct ctx *c)
{
	const char *node = node_of(c);
	struct stanza *result;
	struct element *query;

	if (!may_ask(c))
		return refuse(c, SERVICE_UNAVAILABLE, NULL);
	result = reply_new(c);
	query = element_add(result, result->root, "query", ITEMS_NS);
	if (node)
		element_set(result, query, "node", node); /* nothing is known below any node */
	else
		disco_run(c, EVENT_DISCO_ITEMS, result, query);
	return reply(c, result);
}

static const char *const features[] = { INFO_NS, ITEMS_NS, NULL };

static const struct hook hooks[] = {
	ON_IQ_GET(INFO_NS, "query", HOME_HOST | HOME_USER, on_info),
	ON_IQ_GET(ITEMS_NS, "query", HOME_HOST | HOME_USER, on_items),
	HOOKS_END,
};

const struct module mod_disco = {
	.api = MUSTER_API,
	.name = "disco",
	.about = "Service discovery: what a host or an account can do.",
	.spec = "XEP-0030",
	.features = features,
	.hooks = hooks,
};
