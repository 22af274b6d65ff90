/* motd.c - the message of the day: each account gets it once, when it comes; and again when it says something
 * else. The text is a policy of the host. */
#include <string.h>

#include "module.h"

struct motd_policy {
	const char *text;
};

static const struct option policies[] = {
	{ "text", OPT_TEXT, offsetof(struct motd_policy, text), NULL,
	  "The message of the day: each account gets it once, when it comes.", 0, 0, NULL },
	OPTIONS_END,
};

/* What an account has got; read when it first comes and there is something to say. */
struct motd {
	char *seen; /* or NULL: nothing yet */
};

static const struct sql sql_get = {
	.name = "motd_get",
	.text = "select seen from motd where owner = $1",
};
/* The account may have been removed meanwhile. */
static const struct sql sql_seen = {
	.name = "motd_seen",
	.text = "insert into motd (seen, owner) select $1, id from account where id = $2"
		" on conflict (owner) do update set seen = excluded.seen",
};

static void motd_free(void *data)
{
	mem_free(((struct motd *)data)->seen);
}

static const char *text_of_the_day(struct ctx *c)
{
	const struct motd_policy *p = module_policy(c);

	return home_host(c->home) && p->text ? p->text : "";
}

static enum verdict tell(struct ctx *c, struct motd *m, const char *text)
{
	struct stanza *st;
	struct write *w;

	if (!*text || !c->session || (m->seen && strcmp(m->seen, text) == 0))
		return PASS;
	st = stanza_new(STANZA_MESSAGE, MESSAGE_HEADLINE, NULL);
	element_add_text(st, st->root, "body", NULL, text);
	deliver(c, c->session, home_host(c->home), home_jid(c->home), stanza_seal(st), 0, 1);
	mem_free(m->seen);
	m->seen = mem_strdup(text);
	w = begin_write(c);
	write_add(w, &sql_seen, PARAMS(P_TEXT(m->seen), P_INT(home_account(c->home))));
	later(c, w);
	return PASS;
}

/* Another session may have asked at the same time: what the first of them has found, and done, holds. */
static enum verdict on_seen(struct ctx *c, const struct rows *rows)
{
	struct motd *m = home_data_if_any(c);

	if (rows_status(rows) != STORE_OK)
		return PASS; /* the next time */
	if (!m) {
		m = home_data(c);
		m->seen = rows_count(rows) ? mem_strdup(rows_text(rows, 0, 0)) : NULL;
	}
	return tell(c, m, text_of_the_day(c));
}

static enum verdict on_reachable(struct ctx *c)
{
	const char *text = text_of_the_day(c);
	struct motd *m = home_data_if_any(c);

	if (!*text)
		return PASS;
	if (m)
		return tell(c, m, text);
	return fetch(c, on_seen, &sql_get, PARAMS(P_INT(home_account(c->home))));
}

static const struct hook hooks[] = {
	ON_EVENT(EVENT_SESSION_REACHABLE, HOME_USER, on_reachable),
	HOOKS_END,
};

const struct module mod_motd = {
	.api = MUSTER_API,
	.name = "motd",
	.about = "The message of the day, once for each account.",
	.hooks = hooks,
	.policies = policies,
	.policies_size = sizeof(struct motd_policy),
	.home_size = sizeof(struct motd),
	.home_free = motd_free,
};
