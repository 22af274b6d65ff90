/* last.c - XEP-0012: since when an account is not connected, and what it said when it left; how long the
 * server has been running. Only those who may see the user's presence are told (section 8). */
#include <string.h>

#include "module.h"

#define LAST_NS "jabber:iq:last"
#define STATUS_MAX 1023 /* bytes of a farewell; a longer one is not kept */

/* Until the last session ends; then it is stored. */
struct last {
	char *status; /* of the last unavailable presence, or NULL */
};

static const struct sql sql_get = {
	.name = "last_get",
	.text = "select since, status from last_activity where owner = $1",
};
/* The account may have been removed meanwhile. */
static const struct sql sql_store = {
	.name = "last_store",
	.text =
	    "insert into last_activity (since, status, owner) select $1, $2, id from account where id = $3"
	    " on conflict (owner) do update set since = excluded.since, status = excluded.status",
};

static void last_free(void *data)
{
	mem_free(((struct last *)data)->status);
}

/* ---- remembering */

static void forget_status(struct ctx *c)
{
	struct last *l = home_data_if_any(c);

	if (!l)
		return;
	mem_free(l->status);
	l->status = NULL;
}

/* A broadcast of unavailable presence may say why. */
static enum verdict on_presence(struct ctx *c)
{
	struct last *l;
	const struct element *e;
	const char *text;

	if (c->stanza->type != PRESENCE_UNAVAILABLE || c->stanza->to)
		return PASS;
	forget_status(c);
	e = element_child(c->stanza->root, "status", NULL);
	text = e ? element_get_text(e, &c->scratch) : "";
	if (!*text || strlen(text) > STATUS_MAX)
		return PASS;
	l = home_data(c);
	l->status = mem_strdup(text);
	return PASS;
}

/* Whoever comes back has taken his farewell back. */
static enum verdict on_available(struct ctx *c)
{
	forget_status(c);
	return PASS;
}

static bool is_last_session(struct ctx *c)
{
	struct session *s;

	SESSION_EACH (s, c->home)
		if (s != c->session)
			return false;
	return true;
}

static enum verdict on_gone(struct ctx *c)
{
	const struct last *l = home_data_if_any(c);
	struct write *w;

	if (!is_last_session(c))
		return PASS;
	w = begin_write(c);
	write_add(w, &sql_store,
	          PARAMS(P_INT(now_us(c)), P_TEXT(l ? l->status : NULL), P_INT(home_account(c->home))));
	later(c, w);
	forget_status(c);
	return PASS;
}

/* ---- answering */

static bool may_ask(struct ctx *c)
{
	return is_from_owner(c) || roster_sees_us(roster_find(home_roster(c->home), c->from));
}

static enum verdict answer(struct ctx *c, int64_t seconds, const char *status)
{
	struct stanza *result = reply_new(c);
	struct element *query = element_add(result, result->root, "query", LAST_NS);

	element_setf(result, query, "seconds", "%lld", (long long)(seconds > 0 ? seconds : 0));
	if (status)
		element_text_append(result, query, status, strlen(status));
	return reply(c, result);
}

static enum verdict on_read(struct ctx *c, const struct rows *r)
{
	if (rows_status(r) != STORE_OK)
		return refuse_unstored(c, r);
	if (rows_count(r) == 0)
		return refuse(c, ITEM_NOT_FOUND, "This account was never connected.");
	return answer(c, (now_us(c) - rows_int(r, 0, 0)) / 1000000, rows_text(r, 0, 1));
}

static enum verdict on_account(struct ctx *c)
{
	if (!may_ask(c)) /* section 3 */
		return refuse(c, FORBIDDEN, NULL);
	if (!list_is_empty(home_sessions(c->home)))
		return answer(c, 0, NULL);
	return fetch(c, on_read, &sql_get, PARAMS(P_INT(home_account(c->home))));
}

static enum verdict on_host(struct ctx *c)
{
	return answer(c, now_us(c) / 1000000 - server_started(c), NULL);
}

/* Section 4: a client is not even asked by somebody who may not see it. */
static enum verdict on_client(struct ctx *c)
{
	const struct element *payload;

	if (c->stanza->type != IQ_GET || !jid_has_resource(c->to))
		return PASS;
	payload = element_first(c->stanza->root);
	if (!payload || !element_is(payload, "query", LAST_NS) || may_ask(c))
		return PASS;
	return refuse(c, FORBIDDEN, NULL);
}

static const char *const features[] = { LAST_NS, NULL };

static const struct hook hooks[] = {
	AT_STAGE(OUT, KEEP, ON_PRESENCE, HOME_USER, on_presence),
	ON_EVENT(EVENT_SESSION_AVAILABLE, HOME_USER, on_available),
	ON_EVENT(EVENT_SESSION_GONE, HOME_USER, on_gone),
	ON_IQ_GET(LAST_NS, "query", HOME_USER, on_account),
	ON_IQ_GET(LAST_NS, "query", HOME_HOST, on_host),
	AT_STAGE(IN, GUARD, ON_IQ, HOME_USER, on_client),
	HOOKS_END,
};

const struct module mod_last = {
	.api = MUSTER_API,
	.name = "last",
	.about = "Tells since when an account is not connected, and how long the server has been running.",
	.spec = "XEP-0012",
	.features = features,
	.hooks = hooks,
	.home_size = sizeof(struct last),
	.home_free = last_free,
};
