/* home_sleep.c - how a home wakes (the account, then what each module loads; the mailbox waits meanwhile)
 * and how it is put to sleep when it has had nothing to do for a while. */
#include "home_parts.h"
#include "resumable.h"

#define ABSENT_SECONDS 5   /* how long an address without account is remembered */
#define ABSENT_BOUND 10000 /* and how many of them */
#define SLEEP_CHECK_MS 2000
#define WAKE_RETRY_MS 1000

const struct sql home_account_sql = {
	.name = "home_account",
	.text =
	    "select a.id, a.disabled, coalesce((select max(e.id) from entry e where e.owner = a.id), 0),"
	    " a.guest from account a join host h on h.id = a.host where h.name = $1 and a.name = $2",
};

/* ---- waking */

struct load { /* one query of a waking home */
	struct home *home;
	const struct hook_entry *entry;
	struct waking *waking;
};

struct waking {
	unsigned left;
	bool failed;
	struct load loads[];
};

static void home_wake_failed(struct home *h)
{
	home_free_data(h);
	roster_free(&h->roster);
	blocks_free(&h->blocks);
	home_refuse_mailbox(h);
	h->is_retrying = true;
	timer_set(&h->reactor->wheel, &h->hold_timer, WAKE_RETRY_MS);
}

static void home_woken(struct home *h)
{
	home_enter(h, HOME_AWAKE);
	timer_stop(&h->reactor->wheel, &h->hold_timer);
	home_drain(h);
}

static void on_loaded(void *arg, const struct rows *rows)
{
	struct load *l = arg;
	struct waking *w = l->waking;
	struct home *h = l->home;

	if (rows_status(rows) == STORE_OK)
		pass_run_loaded(h, l->entry, rows);
	else
		w->failed = true;
	if (--w->left > 0)
		return;
	if (w->failed)
		home_wake_failed(h);
	else
		home_woken(h);
	mem_free(w);
}

static void home_load(struct home *h)
{
	struct reactor *r = h->reactor;
	const struct hook_list *list = &r->hooks->events[home_kind_index(h->kind)][EVENT_LOAD];
	struct waking *w = mem_zalloc(sizeof *w + list->count * sizeof w->loads[0]);

	w->left = list->count;
	for (unsigned i = 0; i < list->count; i++) {
		w->loads[i] = (struct load){ .home = h, .entry = &list->entries[i], .waking = w };
		store_read(r->store, 0, list->entries[i].hook->load, PARAMS(P_INT(h->account)), on_loaded,
		           &w->loads[i]);
	}
	if (list->count == 0) {
		mem_free(w);
		home_woken(h);
	}
}

/* Too many addresses without account are remembered: the oldest go. Some may wait for a commit;
 * they stay. */
static void absents_bound(struct reactor *r)
{
	struct home *h;
	unsigned looked_at = 0;

	LIST_EACH (h, &r->absents, struct home, sleeper_node) {
		if (r->absent_homes < ABSENT_BOUND || looked_at++ >= 16)
			return;
		if (home_can_sleep(h))
			home_free(h);
	}
}

static void home_found_absent(struct home *h)
{
	absents_bound(h->reactor);
	home_enter(h, HOME_ABSENT);
	timer_stop(&h->reactor->wheel, &h->hold_timer);
	home_drain(h);
}

static void on_account(void *arg, const struct rows *rows)
{
	struct home *h = arg;

	if (rows_status(rows) != STORE_OK) {
		home_wake_failed(h);
		return;
	}
	h->is_disabled = rows_count(rows) > 0 && rows_int(rows, 0, 1);
	if (rows_count(rows) == 0 || h->is_disabled) {
		home_found_absent(h);
		return;
	}
	home_set_account(h, rows_int(rows, 0, 0));
	home_see_groups(h);
	h->newest_entry = rows_int(rows, 0, 2);
	h->is_guest = rows_int(rows, 0, 3) != 0;
	home_load(h);
}

void home_wake(struct home *h)
{
	struct reactor *r = h->reactor;
	const struct jid *j = h->jid;

	home_enter(h, HOME_WAKING); /* and cannot be freed as long as it is */
	h->is_retrying = false;
	timer_set(&r->wheel, &h->hold_timer, (uint64_t)r->conf->limits.hold_time);
	store_read(r->store, 0, &home_account_sql,
	           PARAMS(P_TEXTN(jid_domain(j), jid_domain_len(j)), P_TEXTN(j->text, j->local_len)),
	           on_account, h);
}

/* ---- sleeping */

bool home_can_sleep(const struct home *h)
{
	return h->session_count == 0 && h->passes == 0 &&
	       (h->state == HOME_AWAKE || h->state == HOME_ABSENT) && !h->timers && !h->mailbox.head &&
	       !h->own.head && list_is_empty(&h->outbox) &&
	       store_is_committed(h->reactor->store, h->last_write);
}

static void home_sleep(struct home *h)
{
	pass_event(h, EVENT_SLEEP, NULL);
	if (home_can_sleep(h)) /* SLEEP may have written: then the next check finds it */
		home_free(h);
}

static void on_sleep_timer(struct timer *t)
{
	struct reactor *r = CONTAINER_OF(t, struct reactor, sleep_timer);
	int64_t awake_before = r->now - r->conf->limits.idle_home * 1000;
	int64_t absent_before = r->now - (int64_t)ABSENT_SECONDS * 1000000;
	struct home *h;

	LIST_EACH (h, &r->sleepers, struct home, sleeper_node) {
		if (h->idle_since > awake_before)
			break;
		if (home_can_sleep(h))
			home_sleep(h);
	}
	LIST_EACH (h, &r->absents, struct home, sleeper_node) {
		if (h->idle_since > absent_before)
			break;
		if (home_can_sleep(h))
			home_free(h);
	}
	homes_watch_sleepers(r);
}

void homes_watch_sleepers(struct reactor *r)
{
	if (timer_is_set(&r->sleep_timer) || (list_is_empty(&r->sleepers) && list_is_empty(&r->absents)))
		return;
	timer_set(&r->wheel, &r->sleep_timer, SLEEP_CHECK_MS);
}

void home_idle(struct home *h)
{
	h->idle_since = h->reactor->now;
	list_append(&h->reactor->sleepers, &h->sleeper_node);
	homes_watch_sleepers(h->reactor);
}

void homes_init(struct reactor *r)
{
	list_init(&r->absents);
	list_init(&r->owing);
	homes_reload_init(r);
	timer_init(&r->sleep_timer, on_sleep_timer);
}

void homes_sleep_all(struct reactor *r)
{
	struct hash_node *n = NULL;

	timer_stop(&r->wheel, &r->sleep_timer);
	while ((n = hash_walk(&r->homes, n))) {
		struct home *h = CONTAINER_OF(n, struct home, node);

		/* Where sessions have neither ended nor been stored, or things wait, the modules cannot know the
		 * last of it. What a stored session has not been acknowledged is stored before the mark that
		 * covers it. */
		if (h->state == HOME_AWAKE && resumable_store(h) == h->session_count && !home_is_held(h) &&
		    !h->mailbox.head)
			pass_event(h, EVENT_SLEEP, NULL);
	}
}
