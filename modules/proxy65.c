/* proxy65.c - XEP-0065: tells clients, at proxy.DOMAIN, where they can meet for a transfer when they cannot
 * connect to each other, and lets it begin. The meeting itself is the core's (relay.c); only the host's own
 * accounts may ask for it, and a host must want it. */
#include <string.h>

#include "module.h"

#define BYTESTREAMS_NS "http://jabber.org/protocol/bytestreams"
#define SID_MAX 1024 /* bytes */

struct proxy65_policy {
	bool enabled;
};

static const struct option policies[] = {
	{ "enabled", OPT_BOOL, offsetof(struct proxy65_policy, enabled), "false",
	  "This host's accounts may send each other files by way of the server, at proxy.DOMAIN.", 0, 0,
	  NULL },
	OPTIONS_END,
};

struct proxy65_options {
	const char *address;
	int64_t port;
};

static const struct option options[] = {
	{ "address", OPT_TEXT, offsetof(struct proxy65_options, address), NULL,
	  "The address or name at which clients reach the listener of kind proxy65; none: the host's own "
	  "name.",
	  0, 0, NULL },
	{ "port", OPT_INT, offsetof(struct proxy65_options, port), "0",
	  "The port at which they reach it; 0: the listener's own.", 0, 65535, NULL },
	OPTIONS_END,
};

struct request {
	char *hash;
	enum bytestream_result result;
};

static bool is_offered(struct ctx *c)
{
	const struct proxy65_policy *p = module_policy(c);

	return p->enabled;
}

/* Section 4: whoever may not gets <forbidden/>, and a proxy that has nowhere to meet at <not-allowed/>. */
static bool refuse_use(struct ctx *c)
{
	const struct jid *host = home_host(c->home);

	if (!host || !jid_has_local(c->from) || jid_domain_len(c->from) != host->len ||
	    memcmp(jid_domain(c->from), host->text, host->len) != 0)
		return refuse(c, FORBIDDEN, NULL) == DONE;
	if (bytestream_port(c) == 0)
		return refuse(c, NOT_ALLOWED, "This server has no listener of kind proxy65.") == DONE;
	return false;
}

static enum verdict on_get(struct ctx *c)
{
	const struct proxy65_options *o = module_options(c);
	struct stanza *result;
	struct element *e;

	if (refuse_use(c))
		return DONE;
	result = reply_new(c);
	e = element_add(result, result->root, "query", BYTESTREAMS_NS);
	e = element_add(result, e, "streamhost", BYTESTREAMS_NS);
	element_set(result, e, "jid", home_jid(c->home)->text);
	element_set(result, e, "host", o->address ? o->address : home_host(c->home)->text);
	element_set(result, e, "port",
	            arena_printf(&c->scratch, "%u", o->port ? (unsigned)o->port : bytestream_port(c)));
	return reply(c, result);
}

/* Section 6.3.5. A hash that nobody has named: the sid, or one of the two addresses, is another one. */
static enum verdict on_activated(struct ctx *c, const struct rows *r)
{
	const struct request *request = c->own;

	(void)r;
	switch (request->result) {
	case BYTESTREAM_STARTED:
		return reply(c, NULL);
	case BYTESTREAM_UNKNOWN:
		return refuse(c, ITEM_NOT_FOUND, NULL);
	case BYTESTREAM_ALONE:
		return refuse(c, NOT_ALLOWED, "Only one of the two has connected.");
	case BYTESTREAM_ACTIVE:
		return refuse(c, NOT_ALLOWED, "It is active already.");
	}
	return DONE;
}

/* Section 6.3.2: the addresses as they were in the stanzas, prepared. */
static char *hash_of(struct ctx *c, const char *sid, const char *target)
{
	unsigned char digest[DIGEST_SHA1];
	struct jid *to = jid_parse(target, strlen(target));
	char *text;

	if (!to)
		return NULL;
	text = arena_printf(&c->scratch, "%s%s%s", sid, c->from->text, to->text);
	jid_unref(to);
	digest_sha1(text, strlen(text), digest);
	return digest_hex(&c->scratch, digest, sizeof digest);
}

static enum verdict on_set(struct ctx *c)
{
	struct request *request = c->own = ctx_new(c, sizeof *request);
	const struct element *query = element_first(c->stanza->root),
			     *activate = element_child(query, "activate", BYTESTREAMS_NS);
	const char *sid = element_get(query, "sid");

	if (refuse_use(c))
		return DONE;
	if (!activate || !sid || strlen(sid) > SID_MAX)
		return refuse(c, BAD_REQUEST, NULL);
	request->hash = hash_of(c, sid, element_get_text(activate, &c->scratch));
	if (!request->hash)
		return refuse(c, JID_MALFORMED, NULL);
	return bytestream_activate(c, request->hash, &request->result, on_activated);
}

static enum verdict on_disco(struct ctx *c)
{
	disco_identity(c, "proxy", "bytestreams", "File transfer relay");
	disco_feature(c, BYTESTREAMS_NS);
	return PASS;
}

static const struct hook hooks[] = {
	ON_IQ_GET(BYTESTREAMS_NS, "query", HOME_SERVICE, on_get),
	ON_IQ_SET(BYTESTREAMS_NS, "query", HOME_SERVICE, on_set),
	ON_EVENT(EVENT_DISCO_INFO, HOME_SERVICE, on_disco),
	HOOKS_END,
};

const struct module mod_proxy65 = {
	.api = MUSTER_API,
	.name = "proxy65",
	.about = "Lets a host's accounts send files by way of the server, at proxy.DOMAIN.",
	.spec = "XEP-0065",
	.hooks = hooks,
	.options = options,
	.options_size = sizeof(struct proxy65_options),
	.policies = policies,
	.policies_size = sizeof(struct proxy65_policy),
	.service = "proxy",
	.is_offered = is_offered,
};
