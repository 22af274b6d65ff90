/* version.c - XEP-0092: which software this is. What it runs on is told only when the administrator says so
 * (section 5). */
#include <sys/utsname.h>

#include "module.h"

#define VERSION_NS "jabber:iq:version"

struct version_options {
	bool version, os;
};

static const struct option options[] = {
	{ "version", OPT_BOOL, offsetof(struct version_options, version), "true",
	  "Tell which version of Muster this is; false: only that it is Muster.", 0, 0, NULL },
	{ "os", OPT_BOOL, offsetof(struct version_options, os), "false",
	  "Tell which operating system it runs on.", 0, 0, NULL },
	OPTIONS_END,
};

static enum verdict on_version(struct ctx *c)
{
	const struct version_options *o = module_options(c);
	struct stanza *result = reply_new(c);
	struct element *query = element_add(result, result->root, "query", VERSION_NS);
	struct utsname system;

	element_add_text(result, query, "name", VERSION_NS, "Muster");
	/* The element must be there (section 2). */
	element_add_text(result, query, "version", VERSION_NS, o->version ? muster_version() : "");
	if (o->os && uname(&system) == 0)
		element_add_text(result, query, "os", VERSION_NS,
		                 arena_printf(&c->scratch, "%s %s", system.sysname, system.release));
	return reply(c, result);
}

static const char *const features[] = { VERSION_NS, NULL };

static const struct hook hooks[] = {
	ON_IQ_GET(VERSION_NS, "query", HOME_HOST, on_version),
	HOOKS_END,
};

const struct module mod_version = {
	.api = MUSTER_API,
	.name = "version",
	.about = "Tells which software a host runs.",
	.spec = "XEP-0092",
	.features = features,
	.hooks = hooks,
	.options = options,
	.options_size = sizeof(struct version_options),
};
