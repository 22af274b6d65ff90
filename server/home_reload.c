/* home_reload.c - a home reads itself again, because somebody else has changed its rows (live.c).
 *
 * It is one entry of the mailbox: what came before is done with what was known before; then the mailbox
 * waits, the account's row and what the modules want of it (EVENT_RELOAD) are read, and the modules compare
 * that with what they have, and say what the protocol says of such a change. Sessions stay, unless the
 * account is gone, disabled or another one. Few homes of a reactor do so at the same time: a change of a
 * whole table must not stand in the way of everybody's messages. */
#include "home_parts.h"
#include "log.h"
#include "pass_parts.h"
#include "stream.h"

#define RELOADING_BOUND 32
#define RETRY_MS 1000

enum reload_state {
	RELOAD_NONE,
	RELOAD_QUEUED, /* in its mailbox */
	RELOAD_READING /* what is changed from now on may not be seen */
};

struct reload {
	unsigned at; /* the next of the hooks of EVENT_RELOAD */
};

/* ---- one home */

static void reload_ended(struct home *h)
{
	h->reload = RELOAD_NONE;
	h->reactor->reloading--;
	homes_reload_next(h->reactor);
}

/* The database does not answer: again, when it does. */
static enum verdict reload_again(struct home *h)
{
	struct reactor *r = h->reactor;

	if (list_is_empty(&h->reload_node))
		list_append(&r->reloads, &h->reload_node);
	timer_set(&r->wheel, &r->reload_timer, RETRY_MS);
	reload_ended(h);
	return DONE;
}

/* Before anything else that waits. */
static void reload_forget(struct home *h, const char *text)
{
	home_take_own(h, home_forget_new(h->reactor, h->jid, STREAM_NOT_AUTHORIZED, text));
}

static enum verdict reload_next(struct ctx *c);

static enum verdict on_reloaded(struct ctx *c, const struct rows *rows)
{
	struct reload *reload = c->own;
	const struct hook_list *list =
	    &c->home->reactor->hooks->events[home_kind_index(c->home->kind)][EVENT_RELOAD];
	const struct hook_entry *entry = &list->entries[reload->at - 1];

	if (rows_status(rows) == STORE_AWAY)
		return reload_again(c->home);
	if (rows_status(rows) == STORE_OK) {
		pass_of(c)->module = entry->module;
		ASSERT(entry->hook->loaded(c, rows) != HELD);
	}
	return reload_next(c);
}

static enum verdict reload_next(struct ctx *c)
{
	struct home *h = c->home;
	struct reload *reload = c->own;
	const struct hook_list *list = &h->reactor->hooks->events[home_kind_index(h->kind)][EVENT_RELOAD];

	if (reload->at < list->count)
		return hold(c, on_reloaded, list->entries[reload->at++].hook->load,
		            PARAMS(P_INT(h->account)));
	log_debug("home", h->jid->text, "read again");
	reload_ended(h);
	return DONE;
}

static enum verdict on_account(struct ctx *c, const struct rows *rows)
{
	struct home *h = c->home;
	bool is_gone = rows_count(rows) == 0 || rows_int(rows, 0, 0) != h->account;

	if (rows_status(rows) != STORE_OK)
		return reload_again(h);
	if (!is_gone && !rows_int(rows, 0, 1))
		return reload_next(c);
	reload_forget(h, is_gone ? "The account is gone." : "The account has been disabled.");
	reload_ended(h);
	return DONE;
}

static enum verdict reload_run(struct ctx *c)
{
	const struct jid *j = c->home->jid;

	c->own = ctx_new(c, sizeof(struct reload));
	return hold(c, on_account, &home_account_sql,
	            PARAMS(P_TEXTN(jid_domain(j), jid_domain_len(j)), P_TEXTN(j->text, j->local_len)));
}

void home_reload(struct home *h, struct envelope *e)
{
	envelope_free(h->reactor, e);
	if (h->state == HOME_ABSENT) { /* it was waking */
		reload_forget(h, NULL);
		reload_ended(h);
		return;
	}
	h->reload = RELOAD_READING;
	pass_run_handler(h, 0, reload_run, NULL);
}

/* ---- which ones, and how many at a time */

static void reload_want(struct home *h)
{
	if (h->state == HOME_ABSENT)
		reload_forget(h, NULL); /* there may be an account now */
	else if (h->kind == HOME_USER && h->reload != RELOAD_QUEUED && list_is_empty(&h->reload_node))
		list_append(&h->reactor->reloads, &h->reload_node);
}

void homes_reload_next(struct reactor *r)
{
	struct home *h;
	struct envelope *e;

	while (r->reloading < RELOADING_BOUND && !timer_is_set(&r->reload_timer) &&
	       (h = LIST_FIRST(&r->reloads, struct home, reload_node))) {
		list_remove(&h->reload_node);
		if (h->state == HOME_ABSENT) {
			reload_forget(h, NULL);
			continue;
		}
		r->reloading++;
		h->reload = RELOAD_QUEUED;
		e = envelope_new(r, ENV_RELOAD);
		e->to = jid_ref(h->jid);
		if (home_is_held(h))
			home_mailbox_add(h, e);
		else
			home_handle(h, e);
	}
}

static void on_reload_timer(struct timer *t)
{
	homes_reload_next(CONTAINER_OF(t, struct reactor, reload_timer));
}

void homes_reload_init(struct reactor *r)
{
	list_init(&r->reloads);
	timer_init(&r->reload_timer, on_reload_timer);
}

static uint32_t account_hash(int64_t account)
{
	return hash_bytes(&account, sizeof account);
}

void home_set_account(struct home *h, int64_t account)
{
	if (h->account)
		hash_remove(&h->reactor->accounts, &h->account_node);
	h->account = account;
	if (account)
		hash_add(&h->reactor->accounts, &h->account_node, account_hash(account));
}

static void reload_account(struct reactor *r, int64_t account)
{
	struct hash_node *n;

	for (n = hash_first(&r->accounts, account_hash(account)); n; n = hash_next(n)) {
		struct home *h = CONTAINER_OF(n, struct home, account_node);

		if (h->account == account)
			reload_want(h);
	}
}

void homes_reload(struct reactor *r, const struct homes_changed *which)
{
	struct hash_node *n = NULL;
	struct home *h;

	while (which->all && (n = hash_walk(&r->homes, n)))
		reload_want(CONTAINER_OF(n, struct home, node));
	for (unsigned i = 0; i < which->account_count; i++)
		reload_account(r, which->accounts[i]);
	for (unsigned i = 0; i < which->name_count; i++) {
		h = home_find(r, which->names[i]);
		if (h)
			reload_want(h);
	}
	homes_reload_next(r);
}
