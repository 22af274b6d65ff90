/* privacy.c - XEP-0016 for clients that know no blocking: the block list as one privacy list, the default
 * one, which can be read and not changed (XEP-0191 section 5). Privacy lists are deprecated, so they are
 * answered but not announced. */
#include "blocking.h"

#include <string.h>

#define LIST_NAME "blocked" /* there is such a list while somebody is blocked */

static bool is_list(struct ctx *c, const char *name)
{
	return name && strcmp(name, LIST_NAME) == 0 && home_blocks(c->home)->items.count > 0;
}

/* Section 2.3: which lists there are. */
static enum verdict show_lists(struct ctx *c)
{
	struct stanza *result = reply_new(c);
	struct element *query = element_add(result, result->root, "query", PRIVACY_NS);

	if (is_list(c, LIST_NAME)) {
		element_set(result, element_add(result, query, "default", PRIVACY_NS), "name", LIST_NAME);
		element_set(result, element_add(result, query, "list", PRIVACY_NS), "name", LIST_NAME);
	}
	return reply(c, result);
}

static enum verdict show_list(struct ctx *c)
{
	struct stanza *result = reply_new(c);
	struct element *query = element_add(result, result->root, "query", PRIVACY_NS);
	struct element *list = element_add(result, query, "list", PRIVACY_NS);
	const struct block *b = NULL;
	unsigned order = 0;

	element_set(result, list, "name", LIST_NAME);
	while ((b = blocks_walk(home_blocks(c->home), b))) {
		struct element *item = element_add(result, list, "item", PRIVACY_NS);

		element_set(result, item, "type", "jid");
		element_set(result, item, "value", b->jid->text);
		element_set(result, item, "action", "deny");
		element_setf(result, item, "order", "%u", ++order);
	}
	return reply(c, result);
}

enum verdict privacy_on_get(struct ctx *c)
{
	const struct element *query = element_first(c->stanza->root), *list = element_first(query);

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	if (!list)
		return show_lists(c);
	if (!element_is(list, "list", PRIVACY_NS) || element_next(list, "list", PRIVACY_NS))
		return refuse(c, BAD_REQUEST, "One list is asked for at a time.");
	return is_list(c, element_get(list, "name")) ? show_list(c) : refuse(c, ITEM_NOT_FOUND, NULL);
}

/* Sections 2.4 and 2.5: a list is chosen by its name, or declined without one. There is nothing to choose;
 * only the default that is in force cannot be declined. */
static enum verdict choose(struct ctx *c, const struct element *choice, bool is_default)
{
	const char *name = element_get(choice, "name");

	if (name)
		return is_list(c, name) ? reply(c, NULL) : refuse(c, ITEM_NOT_FOUND, NULL);
	if (is_default && is_list(c, LIST_NAME))
		return refuse(c, NOT_ALLOWED, "Unblock them instead (XEP-0191).");
	return reply(c, NULL);
}

enum verdict privacy_on_set(struct ctx *c)
{
	const struct element *first = element_first(element_first(c->stanza->root));

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	if (first && element_is(first, "active", PRIVACY_NS))
		return choose(c, first, false);
	if (first && element_is(first, "default", PRIVACY_NS))
		return choose(c, first, true);
	if (first && element_is(first, "list", PRIVACY_NS))
		return refuse(c, NOT_ALLOWED,
		              "Privacy lists can only be read here: use blocking (XEP-0191).");
	return refuse(c, BAD_REQUEST, NULL);
}
