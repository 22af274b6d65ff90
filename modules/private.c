/* private.c - XEP-0049: what a client stores for itself: one piece of XML per namespace, bounded in number
 * and in bytes. Only the account's own sessions read and write it. */
#include <string.h>

#include "module.h"

#define PRIVATE_NS "jabber:iq:private"

struct private_options {
	int64_t bytes, items;
};

static const struct option options[] = {
	{ "bytes", OPT_BYTES, offsetof(struct private_options, bytes), "512k",
	  "What one account may store in all.", 1 << 10, 1 << 30, NULL },
	{ "items", OPT_INT, offsetof(struct private_options, items), "100",
	  "How many namespaces one account may store.", 1, 100000, NULL },
	OPTIONS_END,
};

static const struct sql sql_get = {
	.name = "private_get",
	.text = "select content from private where owner = $1 and namespace = $2",
};
/* What the account stores beside it. */
static const struct sql sql_used = {
	.name = "private_used",
	.text = "select count(*), cast(coalesce(sum(bytes), 0) as bigint) from private where owner = $1 "
		"and namespace <> $2",
};
static const struct sql sql_set = {
	.name = "private_set",
	.text = "insert into private (owner, namespace, content, bytes) values ($1, $2, $3, $4)"
		" on conflict (owner, namespace) do update set content = excluded.content,"
		" bytes = excluded.bytes",
};
static const struct sql sql_remove = {
	.name = "private_remove",
	.text = "delete from private where owner = $1 and namespace = $2",
};

/* The first element of the query. NULL: there is none, or it or one of the others has no namespace of its
 * own, or another one (section 2.1). */
static const struct element *read_payload(const struct ctx *c)
{
	const struct element *query = element_first(c->stanza->root), *first = element_first(query);

	if (!first || !first->ns || strcmp(first->ns, PRIVATE_NS) == 0)
		return NULL;
	for (const struct element *e = first->next; e; e = e->next)
		if (e->name && (!e->ns || strcmp(e->ns, first->ns) != 0))
			return NULL;
	return first;
}

static enum verdict refuse_payload(struct ctx *c)
{
	if (!element_first(element_first(c->stanza->root)))
		return refuse(c, BAD_REQUEST, "The query needs an element.");
	return refuse(c, NOT_ACCEPTABLE, "What is stored has one namespace, which is its own.");
}

/* ---- get */

static enum verdict on_got(struct ctx *c, const struct rows *r)
{
	const char *text = rows_count(r) ? rows_text(r, 0, 0) : NULL;
	struct stanza *result, *stored = text ? stanza_parse(text, strlen(text)) : NULL;
	struct element *query;

	if (rows_status(r) != STORE_OK)
		return refuse_unstored(c, r);
	result = reply_new(c);
	query = element_add(result, result->root, "query", PRIVATE_NS);
	if (!stored)
		element_copy(result, query, read_payload(c)); /* nothing is stored: as it was asked */
	for (const struct element *e = stored ? stored->root->children : NULL; e; e = e->next)
		if (e->name)
			element_copy(result, query, e);
	stanza_unref(stored);
	return reply(c, result);
}

static enum verdict on_get(struct ctx *c)
{
	const struct element *payload = read_payload(c);

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	if (!payload)
		return refuse_payload(c);
	return fetch(c, on_got, &sql_get, PARAMS(P_INT(home_account(c->home)), P_TEXT(payload->ns)));
}

/* ---- set */

static enum verdict on_stored(struct ctx *c, const struct rows *r)
{
	return rows_status(r) == STORE_OK ? reply(c, NULL) : refuse_unstored(c, r);
}

/* The <query/> itself, so that what is stored is one element whatever is in it. */
static void write_content(struct ctx *c, struct buffer *b)
{
	struct stanza *st = stanza_new_other("query", PRIVATE_NS);

	for (const struct element *e = element_first(c->stanza->root)->children; e; e = e->next)
		if (e->name)
			element_copy(st, st->root, e);
	stanza_write(b, stanza_seal(st), NULL, NULL);
	stanza_unref(st);
}

static enum verdict on_used(struct ctx *c, const struct rows *r)
{
	const struct private_options *o = module_options(c);
	struct buffer content = { 0 };
	struct write *w;

	if (rows_status(r) != STORE_OK)
		return refuse_unstored(c, r);
	write_content(c, &content);
	if (rows_int(r, 0, 0) >= o->items || rows_int(r, 0, 1) + (int64_t)content.len > o->bytes) {
		buffer_free(&content);
		return refuse(c, RESOURCE_CONSTRAINT, "This account's private storage is full.");
	}
	w = begin_write(c);
	write_add(w, &sql_set,
	          PARAMS(P_INT(home_account(c->home)), P_TEXT(read_payload(c)->ns),
	                 P_TEXTN(content.data, content.len), P_INT(content.len)));
	buffer_free(&content);
	return change(c, w, on_stored);
}

/* Nothing but one empty element: that is also what is answered where nothing is stored. */
static bool is_empty(const struct element *payload)
{
	return !payload->children && !payload->attributes && !payload->next;
}

static enum verdict start_remove(struct ctx *c, const struct element *payload)
{
	struct write *w = begin_write(c);

	write_add(w, &sql_remove, PARAMS(P_INT(home_account(c->home)), P_TEXT(payload->ns)));
	return change(c, w, on_stored);
}

static enum verdict on_set(struct ctx *c)
{
	const struct element *payload = read_payload(c);

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	if (!payload)
		return refuse_payload(c);
	if (is_empty(payload))
		return start_remove(c, payload);
	return hold(c, on_used, &sql_used, PARAMS(P_INT(home_account(c->home)), P_TEXT(payload->ns)));
}

static const char *const features[] = { PRIVATE_NS, NULL };

static const struct hook hooks[] = {
	ON_IQ_GET(PRIVATE_NS, "query", HOME_USER, on_get),
	ON_IQ_SET(PRIVATE_NS, "query", HOME_USER, on_set),
	HOOKS_END,
};

const struct module mod_private = {
	.api = MUSTER_API,
	.name = "private",
	.about = "What clients store for themselves: bookmarks, notes, settings.",
	.spec = "XEP-0049",
	.features = features,
	.hooks = hooks,
	.options = options,
	.options_size = sizeof(struct private_options),
};
