/* blocking.c - XEP-0191: the list of those whom an account blocks, as its clients read and edit it. The
 * table in memory is the core's (server/blocks.h); it is loaded when the home wakes, and changed after the
 * change is committed. */
#include "blocking.h"

#include <stdio.h>
#include <string.h>

#define BLOCKING_NS "urn:xmpp:blocking"

struct blocking_options {
	int64_t items;
};

static const struct option options[] = {
	{ "items", OPT_INT, offsetof(struct blocking_options, items), "1000",
	  "How many addresses an account may block.", 1, 100000, NULL },
	OPTIONS_END,
};

/* ---- loading and reading */

static const struct sql sql_load = {
	.name = "block_load",
	.text = "select address from block where owner = $1",
};

static void read_rows(struct blocks *blocks, const struct rows *rows)
{
	for (unsigned i = 0; i < rows_count(rows); i++) {
		const char *text = rows_text(rows, i, 0);
		struct jid *j = jid_parse(text, strlen(text));

		if (j) /* else written by plain SQL, and no address */
			blocks_add(blocks, j);
		jid_unref(j);
	}
}

static enum verdict on_load(struct ctx *c, const struct rows *rows)
{
	read_rows(home_blocks(c->home), rows);
	return DONE;
}

static void write_items(struct stanza *st, struct element *parent, const struct blocks *blocks)
{
	const struct block *b = NULL;

	while ((b = blocks_walk(blocks, b)))
		element_set(st, element_add(st, parent, "item", BLOCKING_NS), "jid", b->jid->text);
}

static enum verdict on_get(struct ctx *c)
{
	struct session *s;
	struct stanza *result;

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	s = jid_has_resource(c->from) ? session_find(c->home, jid_resource(c->from)) : NULL;
	if (s)
		s->wants_blocks = true;
	result = reply_new(c);
	write_items(result, element_add(result, result->root, "blocklist", BLOCKING_NS),
	            home_blocks(c->home));
	return reply(c, result);
}

/* ---- editing */

struct edit {
	struct blocks changed; /* what is new in the list, or leaves it */
	bool is_all;
};

static const struct sql sql_add = {
	.name = "block_add",
	.text =
	    "insert into block (owner, address) values ($1, $2) on conflict (owner, address) do nothing",
};
static const struct sql sql_remove = {
	.name = "block_remove",
	.text = "delete from block where owner = $1 and address = $2",
};
static const struct sql sql_clear = {
	.name = "block_clear",
	.text = "delete from block where owner = $1",
};

static enum verdict edit_end(struct edit *e, enum verdict v)
{
	if (v != HELD)
		blocks_free(&e->changed);
	return v;
}

/* The addresses of a request; with `is_block` those that are not in the list, else those that are. PASS: it
 * is a valid one. */
static enum verdict read_items(struct ctx *c, struct edit *e, bool is_block)
{
	const struct element *item = element_child(element_first(c->stanza->root), "item", BLOCKING_NS);

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	for (; item; item = element_next(item, "item", BLOCKING_NS)) {
		const char *text = element_get(item, "jid");
		struct jid *j = text ? jid_parse(text, strlen(text)) : NULL;
		bool is_own = j && jid_is_same_bare(j, home_jid(c->home));

		if (j && !is_own && !blocks_find(home_blocks(c->home), j) == is_block)
			blocks_add(&e->changed, j);
		jid_unref(j);
		if (!j)
			return refuse(c, text ? JID_MALFORMED : BAD_REQUEST, "An item has a jid.");
		if (is_own && is_block) /* section 5, note */
			return refuse(c, NOT_ALLOWED, "You cannot block yourself.");
	}
	return PASS;
}

/* To every session that has asked for the list; of all at once there are no items. */
static void push(struct ctx *c, const char *name, const struct edit *e)
{
	struct stanza *st;
	struct session *s;
	char id[24];

	snprintf(id, sizeof id, "push%llx", (unsigned long long)record_id_new(c));
	st = stanza_new(STANZA_IQ, IQ_SET, id);
	write_items(st, element_add(st, st->root, name, BLOCKING_NS),
	            e->is_all ? &(const struct blocks){ 0 } : &e->changed);
	stanza_seal(st);
	SESSION_EACH (s, c->home)
		if (s->wants_blocks)
			deliver(c, s, home_jid(c->home), s->full, stanza_ref(st), 0, 1);
	stanza_unref(st);
}

/* ---- block */

/* Sends at once, or with the change that is being made. */
typedef void sender(struct ctx *c, const struct jid *from, const struct jid *to, struct stanza *st);

static void tell_gone(struct ctx *c, const struct jid *to, sender *send)
{
	struct session *s;

	SESSION_EACH (s, c->home)
		if (s->presence)
			send(c, s->full, to, stanza_presence(PRESENCE_UNAVAILABLE));
}

/* Whoever may see the user's presence, or was told it directly, sees him go (section 3.3). He is told
 * before the block holds. */
static void tell_unavailable(struct ctx *c, const struct edit *e, sender *send)
{
	struct roster *roster = home_roster(c->home);
	const struct roster_item *item = NULL;
	const struct block *b = NULL;
	const struct directed *d;
	struct session *s;

	while ((item = roster_walk(roster, item)))
		if (roster_sees_us(item) && !is_blocked(c->home, item->jid) &&
		    blocks_cover(&e->changed, item->jid))
			tell_gone(c, item->jid, send);
	while ((b = blocks_walk(&e->changed, b)))
		if (jid_has_resource(b->jid) && roster_sees_us(roster_find(roster, b->jid)))
			tell_gone(c, b->jid, send);
	SESSION_EACH (s, c->home)
		for (d = s->directed; d; d = d->next)
			if (blocks_cover(&e->changed, d->to) && !is_blocked(c->home, d->to))
				send(c, s->full, d->to, stanza_presence(PRESENCE_UNAVAILABLE));
}

/* They have been told that the sessions go, and are shown nothing more by themselves. */
static void forget_directed(struct ctx *c, const struct edit *e)
{
	struct session *s;

	SESSION_EACH (s, c->home)
		for (struct directed **at = &s->directed; *at;)
			if (blocks_cover(&e->changed, (*at)->to))
				directed_drop(at);
			else
				at = &(*at)->next;
}

static void apply_block(struct ctx *c, const struct edit *e)
{
	const struct block *b = NULL;

	while ((b = blocks_walk(&e->changed, b)))
		blocks_add(home_blocks(c->home), b->jid);
	forget_directed(c, e);
	push(c, "block", e);
}

static enum verdict on_blocked(struct ctx *c, const struct rows *r)
{
	struct edit *e = c->own;

	if (rows_status(r) != STORE_OK)
		return edit_end(e, refuse_unstored(c, r));
	apply_block(c, e);
	return edit_end(e, reply(c, NULL));
}

static enum verdict start_block(struct ctx *c, struct edit *e)
{
	const struct blocking_options *o = module_options(c);
	const struct block *b = NULL;
	struct write *w;

	if (!element_child(element_first(c->stanza->root), "item", BLOCKING_NS))
		return refuse(c, BAD_REQUEST, "Nobody is named.");
	if (e->changed.items.count == 0)
		return reply(c, NULL);
	if (home_blocks(c->home)->items.count + e->changed.items.count > o->items)
		return refuse(c, RESOURCE_CONSTRAINT, "The block list is full.");
	w = begin_write(c);
	while ((b = blocks_walk(&e->changed, b)))
		write_add(w, &sql_add, PARAMS(P_INT(home_account(c->home)), P_TEXT(b->jid->text)));
	tell_unavailable(c, e, route_after);
	return change(c, w, on_blocked);
}

static enum verdict on_block(struct ctx *c)
{
	struct edit *e = c->own = ctx_new(c, sizeof *e);
	enum verdict v = read_items(c, e, true);

	return edit_end(e, v == PASS ? start_block(c, e) : v);
}

/* ---- unblock */

/* The sessions show themselves again, and ask for what they have missed meanwhile. */
static void tell_present(struct ctx *c, const struct jid *to, const struct roster_item *item)
{
	struct session *s;

	SESSION_EACH (s, c->home) {
		if (s->presence && roster_sees_us(item))
			route(c, s->full, to, stanza_ref(s->presence));
		if (s->presence && roster_is_seen(item))
			route(c, s->full, to, stanza_presence(PRESENCE_PROBE));
	}
}

static void tell_available(struct ctx *c, const struct edit *e)
{
	struct roster *roster = home_roster(c->home);
	const struct roster_item *item = NULL;
	const struct block *b = NULL;

	while ((item = roster_walk(roster, item)))
		if (blocks_cover(&e->changed, item->jid))
			tell_present(c, item->jid, item);
	while ((b = blocks_walk(&e->changed, b)))
		if (jid_has_resource(b->jid))
			tell_present(c, b->jid, roster_find(roster, b->jid));
}

static void apply_unblock(struct ctx *c, const struct edit *e)
{
	const struct block *b = NULL;
	struct block *gone;

	while ((b = blocks_walk(&e->changed, b)))
		if ((gone = blocks_find(home_blocks(c->home), b->jid)))
			blocks_remove(home_blocks(c->home), gone);
	push(c, "unblock", e);
	tell_available(c, e);
}

static enum verdict on_unblocked(struct ctx *c, const struct rows *r)
{
	struct edit *e = c->own;

	if (rows_status(r) != STORE_OK)
		return edit_end(e, refuse_unstored(c, r));
	apply_unblock(c, e);
	return edit_end(e, reply(c, NULL));
}

static enum verdict start_unblock(struct ctx *c, struct edit *e)
{
	const struct block *b = NULL;
	struct write *w;

	e->is_all = !element_child(element_first(c->stanza->root), "item", BLOCKING_NS);
	while (e->is_all && (b = blocks_walk(home_blocks(c->home), b)))
		blocks_add(&e->changed, b->jid);
	if (e->changed.items.count == 0)
		return reply(c, NULL);
	w = begin_write(c);
	if (e->is_all)
		write_add(w, &sql_clear, PARAMS(P_INT(home_account(c->home))));
	while (!e->is_all && (b = blocks_walk(&e->changed, b)))
		write_add(w, &sql_remove, PARAMS(P_INT(home_account(c->home)), P_TEXT(b->jid->text)));
	return change(c, w, on_unblocked);
}

static enum verdict on_unblock(struct ctx *c)
{
	struct edit *e = c->own = ctx_new(c, sizeof *e);
	enum verdict v = read_items(c, e, false);

	return edit_end(e, v == PASS ? start_unblock(c, e) : v);
}

/* ---- somebody else has changed the rows */

static void difference(struct edit *e, const struct blocks *of, const struct blocks *without)
{
	const struct block *b = NULL;

	while ((b = blocks_walk(of, b)))
		if (!blocks_find(without, b->jid))
			blocks_add(&e->changed, b->jid);
}

static enum verdict on_reload(struct ctx *c, const struct rows *rows)
{
	struct edit added = { 0 }, removed = { 0 };
	struct blocks now = { 0 };

	read_rows(&now, rows);
	difference(&added, &now, home_blocks(c->home));
	difference(&removed, home_blocks(c->home), &now);
	if (added.changed.items.count) {
		tell_unavailable(c, &added, route);
		apply_block(c, &added);
	}
	if (removed.changed.items.count)
		apply_unblock(c, &removed);
	blocks_free(&now);
	blocks_free(&added.changed);
	blocks_free(&removed.changed);
	return DONE;
}

static const char *const features[] = { BLOCKING_NS, NULL };

static const struct hook hooks[] = {
	ON_LOAD(HOME_USER, &sql_load, on_load),
	ON_RELOAD(HOME_USER, &sql_load, on_reload),
	ON_IQ_GET(BLOCKING_NS, "blocklist", HOME_USER, on_get),
	ON_IQ_SET(BLOCKING_NS, "block", HOME_USER, on_block),
	ON_IQ_SET(BLOCKING_NS, "unblock", HOME_USER, on_unblock),
	AT_STAGE(IN, GUARD, ON_MESSAGE | ON_PRESENCE | ON_IQ, HOME_USER, guard_in),
	AT_STAGE(OUT, GUARD, ON_MESSAGE | ON_PRESENCE | ON_IQ, HOME_USER, guard_out),
	ON_IQ_GET(PRIVACY_NS, "query", HOME_USER, privacy_on_get),
	ON_IQ_SET(PRIVACY_NS, "query", HOME_USER, privacy_on_set),
	HOOKS_END,
};

const struct module mod_blocking = {
	.api = MUSTER_API,
	.name = "blocking",
	.about = "Lets users block others.",
	.spec = "XEP-0191, XEP-0016 to read",
	.features = features,
	.hooks = hooks,
	.options = options,
	.options_size = sizeof(struct blocking_options),
};
