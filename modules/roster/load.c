/* load.c - from rows to the contact list in memory: when the home wakes, and when somebody else has changed
 * the rows. Then the sessions and the contacts are told what the protocol would have told them: each change
 * is pushed, who may see the user from now on gets his presence, who no longer may sees him go. */
#include <string.h>

#include "roster_parts.h"

const struct sql roster_load_sql = {
	.name = "roster_load",
	.text = "select contact, name, subscription, ask, pending_in, approved, in_roster, groups, request"
		" from roster where owner = $1",
};

static void load_row(struct ctx *c, struct roster *r, const struct rows *rows, unsigned i)
{
	const char *contact = rows_text(rows, i, 0), *name = rows_text(rows, i, 1);
	const char *request = rows_text(rows, i, 8);
	struct jid *j = jid_parse(contact, strlen(contact));
	struct roster_item *item;

	if (!j || jid_has_resource(j) || jid_is_same_bare(j, home_jid(c->home))) {
		module_log(c, LOG_WARN,
		           "a row of its contact list is passed over, as '%s' is no contact's address",
		           contact);
		jid_unref(j);
		return;
	}
	item = roster_add(r, j);
	jid_unref(j);
	item->name = name && *name ? mem_strdup(name) : NULL;
	item->subscription = (uint8_t)(rows_int(rows, i, 2) & SUB_BOTH);
	item->ask = rows_int(rows, i, 3) != 0;
	item->pending_in = rows_int(rows, i, 4) != 0;
	item->approved = rows_int(rows, i, 5) != 0;
	item->in_roster = rows_int(rows, i, 6) != 0;
	item->groups = roster_groups_parse(rows_text(rows, i, 7));
	item->request = request ? stanza_parse(request, strlen(request)) : NULL;
}

enum verdict roster_on_load(struct ctx *c, const struct rows *rows)
{
	const struct roster_options *o = module_options(c);

	home_roster(c->home)->bound = (uint32_t)o->items;
	for (unsigned i = 0; i < rows_count(rows); i++)
		load_row(c, home_roster(c->home), rows, i);
	return DONE;
}

/* ---- from what was to what is */

/* The contact's request has come by SQL. */
static void show_request(struct ctx *c, const struct roster_item *item)
{
	struct session *s;

	if (is_blocked(c->home, item->jid))
		return;
	SESSION_EACH (s, c->home)
		if (s->presence)
			deliver(c, s, item->jid, home_jid(c->home),
			        item->request ? stanza_ref(item->request)
			                      : stanza_presence(PRESENCE_SUBSCRIBE),
			        0, 1);
}

static bool is_other_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") != 0;
}

static bool is_other_groups(char *const *a, char *const *b)
{
	if (!a || !b)
		return a != b;
	while (*a && *b && strcmp(*a, *b) == 0)
		a++, b++;
	return *a || *b;
}

static bool looks_other(const struct roster_item *a, const struct roster_item *b)
{
	if (!roster_is_shown(a) && !roster_is_shown(b))
		return false;
	return roster_is_shown(a) != roster_is_shown(b) || a->subscription != b->subscription ||
	       a->ask != b->ask || a->approved != b->approved || is_other_text(a->name, b->name) ||
	       is_other_groups(a->groups, b->groups);
}

/* Makes `item` what `now` is; `now` gets what it was. */
static void item_exchange(struct roster_item *item, struct roster_item *now)
{
	struct roster_item was = *item;

	item->name = now->name;
	item->groups = now->groups;
	item->request = now->request;
	item->subscription = now->subscription;
	item->ask = now->ask;
	item->pending_in = now->pending_in;
	item->approved = now->approved;
	item->in_roster = now->in_roster;
	now->name = was.name;
	now->groups = was.groups;
	now->request = was.request;
	now->subscription = was.subscription;
	now->ask = was.ask;
	now->pending_in = was.pending_in;
	now->approved = was.approved;
	now->in_roster = was.in_roster;
}

static void item_follow(struct ctx *c, struct roster_item *item, struct roster_item *was)
{
	item_exchange(item, was);
	was->given = item->given; /* that is not in the rows */
	if (roster_sees_us(was) && !roster_sees_us(item))
		roster_take_leave(c, item->jid);
	if (looks_other(was, item))
		roster_push(c, item);
	if (roster_sees_us(item) && !roster_sees_us(was))
		roster_greet(c, item->jid);
	if (item->pending_in && !was->pending_in)
		show_request(c, item);
}

/* Contacts that have no row any more. */
static void drop_missing(struct ctx *c, const struct roster *rows)
{
	struct roster *r = home_roster(c->home);
	struct roster_item **gone = ctx_new(c, (r->items.count + 1) * sizeof *gone), *item = NULL;
	struct roster_item none = { 0 };
	unsigned n = 0;

	while ((item = roster_walk_own(r, item)))
		if (!roster_find(rows, item->jid))
			gone[n++] = item;
	for (unsigned i = 0; i < n; i++) {
		item_follow(c, gone[i], &none);
		roster_remove(r, gone[i]);
		mem_free(none.name);
		mem_free(none.groups);
		stanza_unref(none.request);
		none = (struct roster_item){ 0 };
	}
}

enum verdict roster_on_reload(struct ctx *c, const struct rows *rows)
{
	struct roster now = { 0 };
	struct roster_item *item = NULL;

	for (unsigned i = 0; i < rows_count(rows); i++)
		load_row(c, &now, rows, i);
	drop_missing(c, &now);
	while ((item = roster_walk(&now, item)))
		item_follow(c, roster_add(home_roster(c->home), item->jid), item);
	roster_free(&now);
	return DONE;
}
