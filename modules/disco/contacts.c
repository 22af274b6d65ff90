/* contacts.c - XEP-0157: whom to write to about a host, as a form in its answer to disco#info (XEP-0128).
 * Each host has its own, as policies. */
#include <string.h>

#include "disco.h"

#define SERVERINFO "http://jabber.org/network/serverinfo"

#define ADDRESSES(i, name_, whom)                                                                          \
	{                                                                                                  \
		.name = name_ "-addresses", .type = OPT_TEXT,                                              \
		.offset = offsetof(struct contacts, addresses) + (i) * sizeof(const char *),               \
		.help = "Addresses of " whom ": URIs with spaces between them, xmpp:, mailto: or https:."  \
	}

const struct option contacts_policies[] = {
	ADDRESSES(0, "abuse", "those who take reports of abuse"),
	ADDRESSES(1, "admin", "the administrators"),
	ADDRESSES(2, "feedback", "those who want to hear what users think"),
	ADDRESSES(3, "sales", "those who sell the service"),
	ADDRESSES(4, "security", "those who take reports of security holes"),
	ADDRESSES(5, "status", "pages with the state of the service"),
	ADDRESSES(6, "support", "those who help users"),
	OPTIONS_END,
};

static void add_field(struct ctx *c, struct stanza *st, struct element *form, const char *var,
                      const char *addresses)
{
	struct element *field = element_add(st, form, "field", FORM_NS);
	char *rest = arena_strdup(&c->scratch, addresses), *address;

	element_set(st, field, "var", var);
	while ((address = strtok_r(rest, " \t", &rest)))
		element_add_text(st, field, "value", FORM_NS, address);
}

static bool has_any(const struct contacts *contacts)
{
	for (unsigned i = 0; contacts_policies[i].name; i++)
		if (contacts->addresses[i])
			return true;
	return false;
}

void contacts_add(struct ctx *c, struct stanza *st, struct element *query)
{
	const struct contacts *contacts = module_policy(c);
	struct element *form, *type;

	if (!has_any(contacts))
		return;
	form = element_add(st, query, "x", FORM_NS);
	element_set(st, form, "type", "result");
	type = element_add(st, form, "field", FORM_NS);
	element_set(st, type, "var", "FORM_TYPE");
	element_set(st, type, "type", "hidden");
	element_add_text(st, type, "value", FORM_NS, SERVERINFO);
	for (unsigned i = 0; contacts_policies[i].name; i++)
		if (contacts->addresses[i])
			add_field(c, st, form, contacts_policies[i].name, contacts->addresses[i]);
}
