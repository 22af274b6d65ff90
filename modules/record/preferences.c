/* preferences.c - XEP-0441: which messages a user wants to keep, where his host leaves that to its users (policy
 * record.preferences); else all that the host records. The lists are loaded when the home wakes, and replaced after
 * the change is committed. A message that its recipient does not want to keep reaches him nevertheless: record.c
 * sees to that. */
#include "record.h"

#include <string.h>

static const char *const keep_names[] = {
	[KEEP_ALWAYS] = "always", [KEEP_NEVER] = "never", [KEEP_ROSTER] = "roster"
};

enum { PREFERENCES_FIXED, PREFERENCES_USERS };
const char *const record_preferences[] = {
	[PREFERENCES_FIXED] = "fixed", [PREFERENCES_USERS] = "users", NULL
};

static void lists_free(struct preferences *p)
{
	blocks_free(&p->always);
	blocks_free(&p->never);
}

void preferences_free(void *data)
{
	lists_free(data);
}

/* ---- loading */

const struct sql preferences_sql_load = {
	.name = "preference_load",
	.text = "select address, keep from preference where owner = $1",
};

/* A row without address is for all others. */
static void read_row(struct preferences *p, const char *address, const char *name)
{
	enum keep keep = KEEP_ALWAYS;
	struct jid *j;

	while (keep < KEEP_ROSTER && strcmp(name, keep_names[keep]) != 0)
		keep++;
	if (!*address) {
		p->otherwise = keep;
		return;
	}
	j = jid_parse(address, strlen(address));
	if (j) /* else written by plain SQL, and no address */
		blocks_add(keep == KEEP_NEVER ? &p->never : &p->always, j);
	jid_unref(j);
}

/* Also when somebody else has changed the rows. */
enum verdict preferences_on_load(struct ctx *c, const struct rows *rows)
{
	struct preferences *p = home_data_if_any(c);

	if (!p && rows_count(rows) == 0)
		return DONE;
	p = home_data(c);
	lists_free(p);
	p->otherwise = KEEP_ALWAYS;
	for (unsigned i = 0; i < rows_count(rows); i++)
		read_row(p, rows_text(rows, i, 0), rows_text(rows, i, 1));
	return DONE;
}

/* ---- what they mean */

static bool are_users(struct ctx *c)
{
	const struct record_policy *policy = module_policy(c);

	return home_records(c->home) && policy->preferences == PREFERENCES_USERS;
}

/* Section 2.3.1. Somebody who waits for an answer, or who was approved beforehand, is in no client's contact list
 * for that, so he does not count; a contact from a group does. Nobody is in his own, but his notes are his. */
static bool is_in_roster(struct ctx *c, const struct jid *peer)
{
	return jid_is_same_bare(peer, home_jid(c->home)) ||
	       roster_is_shown(roster_find(home_roster(c->home), peer));
}

/* The lists know addresses with a resource and without (section 2.3.1). What is said of a client is meant more
 * than what is said of all of them. */
bool preferences_keep(struct ctx *c, struct jid *peer)
{
	const struct preferences *p = home_data_if_any(c);
	struct jid *bare;
	bool is_always, is_never;

	if (!p || !are_users(c))
		return true;
	is_always = blocks_find(&p->always, peer);
	is_never = blocks_find(&p->never, peer);
	if (!is_always && !is_never && jid_has_resource(peer) &&
	    p->always.items.count + p->never.items.count > 0) {
		bare = jid_bare(peer);
		is_always = blocks_find(&p->always, bare);
		is_never = blocks_find(&p->never, bare);
		jid_unref(bare);
	}
	if (is_always || is_never)
		return is_always;
	return p->otherwise == KEEP_ALWAYS || (p->otherwise == KEEP_ROSTER && is_in_roster(c, peer));
}

/* ---- telling them */

static void write_list(struct stanza *st, struct element *prefs, const char *name,
                       const struct blocks *blocks)
{
	struct element *list = element_add(st, prefs, name, MAM_NS);
	const struct block *b = NULL;

	while ((b = blocks_walk(blocks, b)))
		element_add_text(st, list, "jid", MAM_NS, b->jid->text);
}

static enum verdict reply_preferences(struct ctx *c)
{
	static const struct preferences all = { .otherwise = KEEP_ALWAYS },
					none = { .otherwise = KEEP_NEVER };
	const struct preferences *own = home_data_if_any(c), *p = &all;
	struct stanza *result = reply_new(c);
	struct element *prefs = element_add(result, result->root, "prefs", MAM_NS);

	if (!home_records(c->home))
		p = &none;
	else if (own && are_users(c))
		p = own;
	element_set(result, prefs, "default", keep_names[p->otherwise]);
	write_list(result, prefs, "always", &p->always);
	write_list(result, prefs, "never", &p->never);
	return reply(c, result);
}

enum verdict preferences_on_get(struct ctx *c)
{
	return is_from_owner(c) ? reply_preferences(c) : refuse(c, FORBIDDEN, NULL);
}

/* ---- changing them */

static const struct sql sql_clear = {
	.name = "preference_clear",
	.text = "delete from preference where owner = $1",
};
static const struct sql sql_add = {
	.name = "preference_add",
	.text = "insert into preference (owner, address, keep) values ($1, $2, $3)"
		" on conflict (owner, address) do update set keep = excluded.keep",
};

static void write_rows(struct ctx *c, struct write *w, const struct blocks *blocks, enum keep keep)
{
	const struct block *b = NULL;

	while ((b = blocks_walk(blocks, b)))
		write_add(
		    w, &sql_add,
		    PARAMS(P_INT(home_account(c->home)), P_TEXT(b->jid->text), P_TEXT(keep_names[keep])));
}

static struct write *write_preferences(struct ctx *c, const struct preferences *p)
{
	struct write *w = begin_write(c);

	write_add(w, &sql_clear, PARAMS(P_INT(home_account(c->home))));
	write_add(w, &sql_add,
	          PARAMS(P_INT(home_account(c->home)), P_TEXT(""), P_TEXT(keep_names[p->otherwise])));
	write_rows(c, w, &p->always, KEEP_ALWAYS);
	write_rows(c, w, &p->never, KEEP_NEVER);
	return w;
}

static bool read_otherwise(const struct element *prefs, enum keep *keep)
{
	const char *name = element_get(prefs, "default");

	for (*keep = KEEP_ALWAYS; name && *keep <= KEEP_ROSTER; ++*keep)
		if (strcmp(name, keep_names[*keep]) == 0)
			return true;
	return false;
}

/* PASS: they are addresses, and not too many. */
static enum verdict read_list(struct ctx *c, const struct element *prefs, const char *name,
                              struct blocks *blocks)
{
	const struct record_options *o = module_options(c);
	const struct element *list = element_child(prefs, name, MAM_NS),
			     *e = list ? element_child(list, "jid", MAM_NS) : NULL;

	for (; e; e = element_next(e, "jid", MAM_NS)) {
		const char *text = element_get_text(e, &c->scratch);
		struct jid *j = jid_parse(text, strlen(text));

		if (!j)
			return refuse(c, JID_MALFORMED, "A list has something that is no address.");
		blocks_add(blocks, j);
		jid_unref(j);
		if (blocks->items.count > o->addresses)
			return refuse(c, RESOURCE_CONSTRAINT, "These are too many addresses.");
	}
	return PASS;
}

/* An address in both lists is not kept: what was not kept by mistake is missed, what was kept by mistake may be
 * found. The answer says how it was understood (section 2.1). */
static void end_contradictions(struct preferences *p)
{
	const struct block *b = NULL;
	struct block *both;

	while ((b = blocks_walk(&p->never, b)))
		if ((both = blocks_find(&p->always, b->jid)))
			blocks_remove(&p->always, both);
}

static enum verdict on_set(struct ctx *c, const struct rows *r)
{
	struct preferences *asked = c->own, *p;

	if (rows_status(r) != STORE_OK) {
		lists_free(asked);
		return refuse_unstored(c, r);
	}
	p = home_data(c);
	lists_free(p);
	*p = *asked;
	return reply_preferences(c);
}

enum verdict preferences_on_set(struct ctx *c)
{
	const struct record_options *o = module_options(c);
	const struct element *prefs = element_first(c->stanza->root);
	struct preferences *p = c->own = ctx_new(c, sizeof *p);
	enum verdict v;

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	if (!are_users(c))
		return refuse(c, NOT_ALLOWED, "What is kept here is the host's policy.");
	if (!read_otherwise(prefs, &p->otherwise))
		return refuse(c, BAD_REQUEST, "The default is always, never or roster.");
	v = read_list(c, prefs, "always", &p->always);
	if (v == PASS)
		v = read_list(c, prefs, "never", &p->never);
	end_contradictions(p);
	if (v == PASS && p->always.items.count + p->never.items.count > o->addresses)
		v = refuse(c, RESOURCE_CONSTRAINT, "These are too many addresses.");
	if (v == PASS)
		v = change(c, write_preferences(c, p), on_set);
	if (v != HELD)
		lists_free(p);
	return v;
}
