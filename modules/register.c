/* register.c - XEP-0077 for users who are logged in: a new password, and the end of the account. Both on
 * the way out of the account's own home, as clients send them to the host or to nobody. Making accounts
 * comes before the login: server/c2s_register.c. */
#include <string.h>

#include "module.h"

#define REGISTER_NS "jabber:iq:register"

struct register_policy {
	bool change, remove;
};

static const struct option policies[] = {
	{ "change", OPT_BOOL, offsetof(struct register_policy, change), "true",
	  "Whether users may change their passwords.", 0, 0, NULL },
	{ "remove", OPT_BOOL, offsetof(struct register_policy, remove), "false",
	  "Whether users may remove their accounts.", 0, 0, NULL },
	OPTIONS_END,
};

/* The account itself or its own host. */
static bool is_for_account(const struct ctx *c)
{
	const struct jid *own = home_jid(c->home);

	return jid_is(c->to, own) ||
	       (!jid_has_local(c->to) && !jid_has_resource(c->to) && c->to->len == jid_domain_len(own) &&
	        memcmp(c->to->text, jid_domain(own), c->to->len) == 0);
}

/* Section 3.1: what is on file. */
static enum verdict on_get(struct ctx *c)
{
	const struct jid *own = home_jid(c->home);
	struct stanza *result = reply_new(c);
	struct element *query = element_add(result, result->root, "query", REGISTER_NS), *name;

	element_add(result, query, "registered", REGISTER_NS);
	element_add_text(result, query, "instructions", REGISTER_NS,
	                 "You are registered. Here you can choose a new password.");
	name = element_add(result, query, "username", REGISTER_NS);
	element_text_append(result, name, own->text, own->local_len);
	element_add(result, query, "password", REGISTER_NS);
	return reply(c, result);
}

/* ---- password, section 3.3 */

static bool is_own_name(struct ctx *c, const char *name)
{
	const struct jid *own = home_jid(c->home);
	char prepared[JID_PART_MAX + 1];

	return jid_prepare_local(name, strlen(name), prepared) && strlen(prepared) == own->local_len &&
	       memcmp(prepared, own->text, own->local_len) == 0;
}

static enum verdict on_changed(struct ctx *c, const struct rows *r)
{
	if (rows_status(r) != STORE_OK)
		return refuse_unstored(c, r);
	if (rows_count(r) == 0) /* removed meanwhile */
		return refuse(c, NOT_ALLOWED, NULL);
	return reply(c, NULL);
}

static enum verdict on_password(struct ctx *c, const struct element *query)
{
	const struct register_policy *p = module_policy(c);
	const struct element *name = element_child(query, "username", REGISTER_NS);
	const struct element *password = element_child(query, "password", REGISTER_NS);
	char prepared[JID_PART_MAX + 1];
	const char *text;
	bool is_valid;

	if (!name || !password)
		return refuse(c, BAD_REQUEST, "A new password comes with the username.");
	if (!is_own_name(c, element_get_text(name, &c->scratch)))
		return refuse(c, FORBIDDEN, "You can only change your own password.");
	if (!p->change)
		return refuse(c, NOT_ALLOWED, "Passwords are not changed in this way here.");
	text = element_get_text(password, &c->scratch);
	is_valid = jid_prepare_password(text, strlen(text), prepared);
	explicit_bzero(prepared, sizeof prepared);
	if (!is_valid)
		return refuse(c, NOT_ACCEPTABLE,
		              "A password has 1 to 1023 bytes and no control characters.");
	return change_password(c, text, on_changed);
}

/* ---- removal, section 3.2 */

static enum verdict on_removed(struct ctx *c, const struct rows *r)
{
	if (rows_status(r) != STORE_OK)
		return refuse_unstored(c, r);
	reply(c, NULL);
	account_removed(c);
	return DONE;
}

static enum verdict on_remove(struct ctx *c, const struct element *query)
{
	const struct register_policy *p = module_policy(c);
	const struct element *first = query->children;

	for (; first; first = first->next)
		if (first->name && !element_is(first, "remove", REGISTER_NS))
			return refuse(c, BAD_REQUEST, "Who removes an account says nothing else.");
	if (!p->remove)
		return refuse(c, NOT_ALLOWED, "Only the administrator removes accounts here.");
	return remove_account(c, on_removed);
}

static enum verdict on_out(struct ctx *c)
{
	const struct element *query = element_first(c->stanza->root);

	if (!stanza_is_request(c->stanza) || !query || !element_is(query, "query", REGISTER_NS) ||
	    !is_for_account(c))
		return PASS;
	if (home_is_guest(c->home)) /* his account is for this session, and nobody else's */
		return refuse(c, NOT_ALLOWED, "Guests have no password, and no account to keep.");
	if (c->stanza->type == IQ_GET)
		return on_get(c);
	return element_child(query, "remove", REGISTER_NS) ? on_remove(c, query) : on_password(c, query);
}

static const char *const features[] = { REGISTER_NS, NULL };

static const struct hook hooks[] = {
	AT_STAGE(OUT, ACT, ON_IQ, HOME_USER, on_out),
	HOOKS_END,
};

const struct module mod_register = {
	.api = MUSTER_API,
	.name = "register",
	.about = "Lets users change their passwords and, where the host allows it, remove their accounts.",
	.spec = "XEP-0077",
	.features = features,
	.hooks = hooks,
	.policies = policies,
	.policies_size = sizeof(struct register_policy),
};
