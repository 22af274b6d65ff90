/* session.c - RFC 3921 section 3: session establishment, which old clients still ask for. A bound resource
 * is all it takes since RFC 6120, so it is announced as optional and answered with nothing to do. */
#include "module.h"

static enum verdict on_session(struct ctx *c)
{
	return is_from_owner(c) || home_kind(c->home) == HOME_HOST ? reply(c, NULL)
	                                                           : refuse(c, FORBIDDEN, NULL);
}

static const char *const stream_features[] = {
	"<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>",
	NULL,
};

static const struct hook hooks[] = {
	ON_IQ_SET("urn:ietf:params:xml:ns:xmpp-session", "session", HOME_USER | HOME_HOST, on_session),
	HOOKS_END,
};

const struct module mod_session = {
	.api = MUSTER_API,
	.name = "session",
	.about = "Answers the session request of old clients.",
	.spec = "RFC 3921 section 3",
	.stream_features = stream_features,
	.hooks = hooks,
};
