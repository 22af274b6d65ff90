/* disco.c - XEP-0030: what a host, a service or an account is and can do. The features are those of the
 * loaded modules; identities, items and forms come by hooks. */
#include "disco.h"

#include <string.h>

/* XEP-0030 section 8: an account tells itself and those who may see its presence. To all others it is as if there
 * were no such account. */
static bool may_ask(struct ctx *c)
{
	return home_kind(c->home) != HOME_USER || is_from_owner(c) ||
	       roster_sees_us(roster_find(home_roster(c->home), c->from));
}

static enum verdict on_host_info(struct ctx *c)
{
	disco_identity(c, "server", "im", "Muster");
	return PASS;
}

static enum verdict on_account_info(struct ctx *c)
{
	disco_identity(c, "account", "registered", NULL);
	return PASS;
}

/* Two modules may announce the same: it is said once (XEP-0115 section 5.4). */
static bool has_feature(const struct element *query, const char *var)
{
	const struct element *e = element_child(query, "feature", INFO_NS);

	while (e && strcmp(element_get(e, "var"), var) != 0)
		e = element_next(e, "feature", INFO_NS);
	return e != NULL;
}

static void add_features(struct ctx *c, struct stanza *st, struct element *query)
{
	const char *const *features;

	for (unsigned i = 0; module_features(c, i, &features); i++)
		for (; features && *features; features++)
			if (!has_feature(query, *features))
				element_set(st, element_add(st, query, "feature", INFO_NS), "var",
				            *features);
}

struct element *disco_info(struct ctx *c, struct stanza *st, struct element *parent)
{
	struct element *query = element_add(st, parent, "query", INFO_NS);

	disco_run(c, EVENT_DISCO_INFO, st, query);
	add_features(c, st, query);
	if (home_kind(c->home) == HOME_HOST)
		contacts_add(c, st, query);
	return query;
}

/* Section 3.2 and 4.2: the only node is that of the host's capabilities; the pseudo-node of ad-hoc commands
 * comes with those. */
static const char *node_of(const struct ctx *c)
{
	return element_get(element_first(c->stanza->root), "node");
}

static enum verdict on_info(struct ctx *c)
{
	const char *node = node_of(c);
	struct stanza *result;
	struct element *query;

	if (!may_ask(c))
		return refuse(c, SERVICE_UNAVAILABLE, NULL);
	if (node && (home_kind(c->home) != HOME_HOST || !caps_is_node(c, node)))
		return refuse(c, ITEM_NOT_FOUND, NULL);
	result = reply_new(c);
	query = disco_info(c, result, result->root);
	if (node)
		element_set(result, query, "node", node);
	return reply(c, result);
}

/* The services below the host. */
static void add_services(struct ctx *c, struct stanza *st, struct element *query)
{
	const struct jid *service;

	for (unsigned i = 0; (service = host_service(c, i)); i++)
		element_set(st, element_add(st, query, "item", ITEMS_NS), "jid", service->text);
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
	if (node) { /* nothing is known below any node */
		element_set(result, query, "node", node);
		return reply(c, result);
	}
	if (home_kind(c->home) == HOME_HOST)
		add_services(c, result, query);
	disco_run(c, EVENT_DISCO_ITEMS, result, query);
	return reply(c, result);
}

static const char *const features[] = { INFO_NS, ITEMS_NS, CAPS_NS, NULL };

static const struct hook hooks[] = {
	ON_IQ_GET(INFO_NS, "query", HOME_HOST | HOME_USER | HOME_SERVICE, on_info),
	ON_IQ_GET(ITEMS_NS, "query", HOME_HOST | HOME_USER | HOME_SERVICE, on_items),
	ON_EVENT(EVENT_DISCO_INFO, HOME_HOST, on_host_info),
	ON_EVENT(EVENT_DISCO_INFO, HOME_USER, on_account_info),
	ON_EVENT(EVENT_STREAM_FEATURES, HOME_HOST, caps_on_stream_features),
	HOOKS_END,
};

const struct module mod_disco = {
	.api = MUSTER_API,
	.name = "disco",
	.about = "Service discovery: what a host or an account can do, and whom to write to about it.",
	.spec = "XEP-0030, XEP-0115, XEP-0128, XEP-0157",
	.features = features,
	.hooks = hooks,
	.home_size = sizeof(struct caps),
	.home_free = caps_free,
	.policies = contacts_policies,
	.policies_size = sizeof(struct contacts),
};
