/* preferences.c - XEP-0441: what is kept of a user's messages, as his clients read it. What is on record the host
 * says, and nobody else. */
#include "record.h"

enum verdict preferences_on_get(struct ctx *c)
{
	struct stanza *result;
	struct element *prefs;

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	result = reply_new(c);
	prefs = element_add(result, result->root, "prefs", MAM_NS);
	element_set(result, prefs, "default", home_records(c->home) ? "always" : "never");
	element_add(result, prefs, "always", MAM_NS);
	element_add(result, prefs, "never", MAM_NS);
	return reply(c, result);
}

enum verdict preferences_on_set(struct ctx *c)
{
	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	return refuse(c, NOT_ALLOWED, "What is kept here is the host's policy.");
}
