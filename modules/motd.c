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

struct motd {
	char *seen; /* the text it has got, or NULL */
};

static const struct sql sql_load = {
	.name = "motd_load",
	.text = "select seen from motd where owner = $1",
};
/* The account may have been removed meanwhile. */
static const struct sql sql_seen = {
	.name = "motd_seen",
	.text = "insert into motd (seen, owner) select $1, id from account where id = $2"
		" on conflict (owner) do update set seen = excluded.seen",
};

static enum verdict on_load(struct ctx *c, const struct rows *rows)
{
	struct motd *m = home_data(c);

	if (rows_count(rows))
		m->seen = mem_strdup(rows_text(rows, 0, 0));
	return DONE;
}

static void motd_free(void *data)
{
	mem_free(((struct motd *)data)->seen);
}

static enum verdict on_reachable(struct ctx *c)
{
	const struct motd_policy *p = module_policy(c);
	const struct jid *host = home_host(c->home);
	struct motd *m = home_data(c);
	struct stanza *st;
	struct write *w;

	if (!p->text || !*p->text || !host || (m->seen && strcmp(m->seen, p->text) == 0))
		return PASS;
	st = stanza_new(STANZA_MESSAGE, MESSAGE_HEADLINE, NULL);
	element_add_text(st, st->root, "body", NULL, p->text);
	deliver(c, c->session, host, home_jid(c->home), stanza_seal(st), 0, 1);
	mem_free(m->seen);
	m->seen = mem_strdup(p->text);
	w = begin_write(c);
	write_add(w, &sql_seen, PARAMS(P_TEXT(m->seen), P_INT(home_account(c->home))));
	later(c, w);
	return PASS;
}

static const struct hook hooks[] = {
	ON_LOAD(HOME_USER, &sql_load, on_load),
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
