/* ping.c - XEP-0199: answers pings sent to a host, a service or an account. */
#include "module.h"

static enum verdict on_ping(struct ctx *c)
{
	return reply(c, NULL);
}

static const char *const features[] = { "urn:xmpp:ping", NULL };

static const struct hook hooks[] = {
	ON_IQ_GET("urn:xmpp:ping", "ping", HOME_HOST | HOME_USER | HOME_SERVICE, on_ping),
	HOOKS_END,
};

const struct module mod_ping = {
	.api = MUSTER_API,
	.name = "ping",
	.about = "Answers pings to a host, a service or an account.",
	.spec = "XEP-0199",
	.features = features,
	.hooks = hooks,
};
