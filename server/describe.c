/* describe.c - what the server and its modules say of themselves, as text for administrators: made of the
 * same descriptors that the server runs by, so that it cannot be wrong. `musterd --describe` prints it, and
 * contrib/describe keeps it in doc/. */
#include "describe.h"

#include <string.h>

#include "conf.h"
#include "text.h"

/* Every specification that the core or a module names, in the order of the table. `core` is what of it the
 * core does itself; NULL: modules do. */
static const struct specification {
	const char *id, *title, *core;
} specifications[] = {
	{ "RFC 3921", "XMPP: Instant Messaging and Presence (obsolete)", NULL },
	{ "RFC 4422", "SASL, appendix A: EXTERNAL", "sasl" },
	{ "RFC 4505", "SASL: ANONYMOUS", "sasl" },
	{ "RFC 4616", "SASL: PLAIN", "sasl" },
	{ "RFC 5802", "SASL: SCRAM-SHA-1", "sasl, scram" },
	{ "RFC 5929", "Channel Bindings for TLS: tls-server-end-point", "sasl, tls" },
	{ "RFC 6120", "XMPP: Core", "stream, c2s, pass" },
	{ "RFC 6121", "XMPP: Instant Messaging and Presence", "session, pass" },
	{ "RFC 7301", "TLS: Application-Layer Protocol Negotiation", "tls" },
	{ "RFC 7590", "Use of TLS in XMPP", "tls" },
	{ "RFC 7622", "XMPP: Address Format (RFC 8264, RFC 8265: PRECIS)", "jid" },
	{ "RFC 7677", "SASL: SCRAM-SHA-256", "sasl, scram" },
	{ "RFC 9266", "Channel Bindings for TLS 1.3: tls-exporter", "sasl, tls" },
	{ "XEP-0004", "Data Forms", NULL },
	{ "XEP-0012", "Last Activity", NULL },
	{ "XEP-0016", "Privacy Lists (deprecated)", NULL },
	{ "XEP-0030", "Service Discovery", NULL },
	{ "XEP-0049", "Private XML Storage", NULL },
	{ "XEP-0054", "vcard-temp", NULL },
	{ "XEP-0055", "Jabber Search", NULL },
	{ "XEP-0059", "Result Set Management", NULL },
	{ "XEP-0065", "SOCKS5 Bytestreams", NULL },
	{ "XEP-0077", "In-Band Registration", NULL },
	{ "XEP-0092", "Software Version", NULL },
	{ "XEP-0106", "JID Escaping", "jid" },
	{ "XEP-0115", "Entity Capabilities", NULL },
	{ "XEP-0128", "Service Discovery Extensions", NULL },
	{ "XEP-0153", "vCard-Based Avatars", NULL },
	{ "XEP-0157", "Contact Addresses for XMPP Services", NULL },
	{ "XEP-0160", "Best Practices for Handling Offline Messages", NULL },
	{ "XEP-0175", "Best Practices for Use of SASL ANONYMOUS", "sasl" },
	{ "XEP-0178", "Best Practices for Use of SASL EXTERNAL with Certificates", "sasl, tls" },
	{ "XEP-0191", "Blocking Command", NULL },
	{ "XEP-0198", "Stream Management", "session_sm, session_resume" },
	{ "XEP-0199", "XMPP Ping", NULL },
	{ "XEP-0202", "Entity Time", NULL },
	{ "XEP-0203", "Delayed Delivery", NULL },
	{ "XEP-0205", "Best Practices to Discourage Denial of Service", "stream, listener, xml" },
	{ "XEP-0280", "Message Carbons", NULL },
	{ "XEP-0297", "Stanza Forwarding", NULL },
	{ "XEP-0313", "Message Archive Management", NULL },
	{ "XEP-0334", "Message Processing Hints", NULL },
	{ "XEP-0352", "Client State Indication", "csi, session_csi" },
	{ "XEP-0359", "Unique and Stable Stanza IDs", NULL },
	{ "XEP-0368", "SRV Records for XMPP over TLS: direct TLS", "listener, tls" },
	{ "XEP-0398", "User Avatar to vCard-Based Avatars Conversion: presence", NULL },
	{ "XEP-0424", "Message Retraction", NULL },
	{ "XEP-0431", "Full Text Search in MAM", NULL },
	{ "XEP-0440", "SASL Channel-Binding Type Capability", "c2s_login" },
	{ "XEP-0441", "Message Archive Management Preferences", NULL },
	{ "XEP-0478", "Stream Limits Advertisement", "c2s" },
};

/* The items of "XEP-0191, XEP-0016 to read" that are of specification `id` begin with it. */
static bool spec_names(const char *spec, const char *id)
{
	size_t n = strlen(id);

	for (const char *at = spec; at; at = strchr(at, ',')) {
		at += strspn(at, ", ");
		if (strncmp(at, id, n) == 0 && (at[n] < '0' || at[n] > '9'))
			return true;
	}
	return false;
}

static bool spec_is_known(const char *item)
{
	for (unsigned i = 0; i < COUNT_OF(specifications); i++)
		if (spec_names(item, specifications[i].id))
			return true;
	return false;
}

/* ---- one module */

static void describe_options(struct buffer *b, const char *title, const char *prefix,
                             const struct option *options)
{
	if (!options || !options->name)
		return;
	buffer_addf(b, "\n%s\n", title);
	for (const struct option *o = options; o->name; o++) {
		buffer_addf(b, "\n    %s%s: ", prefix, o->name);
		option_describe(b, o);
		buffer_adds(b, "\n        ");
		text_wrap(b, o->help, "        ");
		buffer_adds(b, "\n");
	}
}

char *describe_module(const struct module *m)
{
	struct buffer b = { 0 };
	char *prefix = mem_printf("%s.", m->name), *title = mem_printf("Module %s", m->name);

	buffer_addf(&b, "%s\n", title);
	for (size_t i = strlen(title); i > 0; i--)
		buffer_adds(&b, "=");
	buffer_addf(&b, "\n\n%s\n", m->about);
	if (m->spec)
		buffer_addf(&b, "\nSpecification: %s\n", m->spec);
	if (m->service)
		buffer_addf(&b, "\nIts address below each domain: %s.DOMAIN\n", m->service);
	if (m->features)
		buffer_adds(&b, "\nAnnounced by service discovery:\n\n");
	for (const char *const *f = m->features; f && *f; f++)
		buffer_addf(&b, "    %s\n", *f);
	mem_free(title);
	title = mem_printf("In muster.conf, under `modules:`, `%s:`", m->name);
	describe_options(&b, title, "", m->options);
	describe_options(&b, "For each domain, by `musterctl host set DOMAIN POLICY VALUE`:", prefix,
	                 m->policies);
	mem_free(title);
	mem_free(prefix);
	return b.data;
}

/* ---- all of them */

static void add_where(struct buffer *b, const struct specification *s, const struct module *const *modules,
                      unsigned count)
{
	struct buffer names = { 0 };
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++)
		if (modules[i]->spec && spec_names(modules[i]->spec, s->id))
			buffer_addf(&names, "%s%s", n++ ? ", " : "", modules[i]->name);
	if (s->core)
		buffer_addf(b, "core: %s%s", s->core, n ? "; " : "");
	if (n)
		buffer_addf(b, "%s: %s", n > 1 ? "modules" : "module", names.data);
	buffer_free(&names);
}

static void add_specification(struct buffer *b, const struct specification *s,
                              const struct module *const *modules, unsigned count)
{
	char *indent = mem_printf("%73s", ""); /* below `where` */
	struct buffer where = { 0 };

	add_where(&where, s, modules, count);
	if (where.len) {
		buffer_addf(b, "%-9s  %-58s  ", s->id, s->title);
		text_wrap(b, where.data, indent);
		buffer_adds(b, "\n");
	}
	buffer_free(&where);
	mem_free(indent);
}

static void add_unknown(struct buffer *b, const struct module *m)
{
	if (m->spec && !spec_is_known(m->spec))
		buffer_addf(b, "%-9s  %-58s  module %s\n", m->spec, m->about, m->name);
}

char *describe_all(const struct module *const *modules, unsigned count)
{
	struct buffer b = { 0 };

	buffer_adds(&b, "What Muster implements\n======================\n\n");
	for (unsigned i = 0; i < COUNT_OF(specifications); i++)
		add_specification(&b, &specifications[i], modules, count);
	for (unsigned i = 0; i < count; i++)
		add_unknown(&b, modules[i]);
	buffer_adds(&b, "\n\nModules\n=======\n\n");
	for (unsigned i = 0; i < count; i++)
		buffer_addf(&b, "%-13s  %s\n", modules[i]->name, modules[i]->about);
	return b.data;
}
