/* home.c - the life of homes: found, woken, held, drained, put to sleep. */
#include "home.h"

#include <string.h>

#include "log.h"
#include "router.h"
#include "server.h"
#include "stream.h"

#define ABSENT_SECONDS 5   /* how long an address without account is remembered */
#define ABSENT_BOUND 10000 /* and how many of them */
#define WAKING_BOUND 5000  /* addresses that may be looked up at the same time */
#define RETURN_SECONDS                                                                                     \
	10 /* in which the streams of a forgotten account give back what they did not write */
#define SLEEP_CHECK_MS 2000
#define WAKE_RETRY_MS 1000

static const struct sql sql_account = {
	.name = "home_account",
	.text = "select a.id, a.disabled, coalesce((select max(e.id) from entry e where e.owner = a.id), 0)"
		" from account a join host h on h.id = a.host where h.name = $1 and a.name = $2",
};

static void home_wake(struct home *h);
static void home_handle(struct home *h, struct envelope *e);
static void home_credit(struct home *h, struct envelope *e);

/* The one writer of the state: keeps the reactor's lists and counts of homes in step with it. */
static void home_enter(struct home *h, enum home_state state)
{
	static const char *const names[] = { [HOME_WAKING] = "waking",
		                             [HOME_AWAKE] = "awake",
		                             [HOME_ABSENT] = "absent",
		                             [HOME_ENDING] = "ending" };
	struct reactor *r = h->reactor;

	log_debug("home", h->jid->text, "%s -> %s", names[h->state], names[state]);
	r->waking_homes += (state == HOME_WAKING) - (h->state == HOME_WAKING);
	r->absent_homes += (state == HOME_ABSENT) - (h->state == HOME_ABSENT);
	h->state = (uint8_t)state;
	h->idle_since = r->now;
	list_remove(&h->sleeper_node);
	if (state == HOME_ABSENT)
		list_append(&r->absents, &h->sleeper_node);
	else if (state == HOME_AWAKE && h->session_count == 0)
		list_append(&r->sleepers, &h->sleeper_node);
}

/* ---- found and made */

struct home *home_find(struct reactor *r, const struct jid *address)
{
	struct hash_node *n;

	for (n = hash_first(&r->homes, address->hash); n; n = hash_next(n)) {
		struct home *h = CONTAINER_OF(n, struct home, node);

		if (jid_is_same_bare(h->jid, address))
			return h;
	}
	return NULL;
}

static void on_hold_timer(struct timer *t);

static void home_read_policy(struct home *h)
{
	const struct host *host = hosts_find(h->reactor->hosts, jid_domain(h->jid), jid_domain_len(h->jid));

	h->records = host && host->records;
}

static struct home *home_new(struct reactor *r, struct jid *address, unsigned kind)
{
	struct home *h = mem_zalloc(sizeof *h);

	h->reactor = r;
	h->jid = jid_bare(address);
	h->kind = (uint8_t)kind;
	h->state = HOME_AWAKE;
	h->mailbox.tail = &h->mailbox.head;
	h->own.tail = &h->own.head;
	list_init(&h->sessions);
	list_init(&h->outbox);
	list_init(&h->waiting_node);
	list_init(&h->sleeper_node);
	timer_init(&h->hold_timer, on_hold_timer);
	h->idle_since = r->now;
	home_read_policy(h);
	hash_add(&r->homes, &h->node, h->jid->hash);
	r->counts.homes++;
	if (kind == HOME_USER)
		home_wake(h);
	return h;
}

static void home_free_data(struct home *h)
{
	const struct hooks *hooks = h->reactor->hooks;

	for (unsigned i = 0; h->data && i < hooks->module_count; i++) {
		if (h->data[i] && hooks->modules[i]->home_free)
			hooks->modules[i]->home_free(h->data[i]);
		mem_free(h->data[i]);
	}
	mem_free(h->data);
	h->data = NULL;
}

static void queue_append(struct envelope_queue *q, struct envelope *e)
{
	e->next = NULL;
	*q->tail = e;
	q->tail = &e->next;
	q->count++;
}

static struct envelope *queue_take(struct envelope_queue *q)
{
	struct envelope *e = q->head;

	if (!e)
		return NULL;
	q->head = e->next;
	if (!q->head)
		q->tail = &q->head;
	q->count--;
	return e;
}

static void home_drop_timers(struct home *h)
{
	struct home_timer *t;

	while ((t = h->timers)) {
		h->timers = t->next;
		timer_stop(&h->reactor->wheel, &t->timer);
		mem_free(t);
	}
}

/* What still waits in it at the end of the process. */
static void home_empty(struct home *h)
{
	struct envelope *e;
	struct outgoing *o;
	struct session *s;

	while ((e = queue_take(&h->own)) || (e = queue_take(&h->mailbox)))
		envelope_free(h->reactor, e);
	while ((e = h->credits)) {
		h->credits = e->next;
		envelope_free(h->reactor, e);
	}
	LIST_EACH (o, &h->outbox, struct outgoing, node) {
		if (o->envelope)
			envelope_free(h->reactor, o->envelope);
		if (o->pass)
			pass_drop(o->pass);
		mem_free(o);
	}
	SESSION_EACH (s, h)
		session_free(s);
}

static void home_free(struct home *h)
{
	struct reactor *r = h->reactor;

	home_drop_timers(h);
	timer_stop(&r->wheel, &h->hold_timer);
	list_remove(&h->waiting_node);
	list_remove(&h->sleeper_node);
	hash_remove(&r->homes, &h->node);
	r->counts.homes--;
	r->waking_homes -= h->state == HOME_WAKING;
	r->absent_homes -= h->state == HOME_ABSENT;
	home_free_data(h);
	roster_free(&h->roster);
	jid_unref(h->jid);
	mem_free(h);
}

/* ---- waking: the account, then what each module loads; the mailbox waits meanwhile */

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

/* What may be answered with `wait` where it cannot be kept. All else stays: results and errors, presence
 * (which is folded), and whatever ends, settles or returns something. */
static bool is_refusable(const struct envelope *e)
{
	if (e->kind != ENV_STANZA)
		return e->kind == ENV_BIND;
	switch ((enum stanza_type)e->stanza->type) {
	case IQ_RESULT:
	case IQ_ERROR:
	case MESSAGE_ERROR:
	case PRESENCE_ERROR:
	case PRESENCE_AVAILABLE:
	case PRESENCE_UNAVAILABLE:
	case PRESENCE_PROBE:
		return false;
	default:
		return true;
	}
}

/* Answers what the mailbox cannot keep with a `wait` error. */
static void home_refuse(struct home *h, struct envelope *e, const char *text)
{
	if (e->wants_credit)
		home_credit(h, e);
	if (e->kind == ENV_STANZA)
		pass_refuse(h, e, RESOURCE_CONSTRAINT, text);
	else
		home_bounce(h->reactor, e, RESOURCE_CONSTRAINT, text);
}

/* The database does not answer: what can be refused is refused; what is on record waits for the next try.
 */
static void home_refuse_mailbox(struct home *h)
{
	struct envelope_queue kept = { .tail = &kept.head };
	struct envelope *e;

	while ((e = queue_take(&h->mailbox))) {
		if (is_refusable(e) && !e->transit) {
			home_refuse(h, e, "The database does not answer; try again later.");
			continue;
		}
		queue_append(&kept, e);
	}
	h->mailbox.head = kept.head;
	h->mailbox.tail = kept.head ? kept.tail : &h->mailbox.head;
	h->mailbox.count = kept.count;
}

static void home_wake_failed(struct home *h)
{
	home_free_data(h);
	roster_free(&h->roster);
	home_refuse_mailbox(h);
	h->is_retrying = true;
	timer_set(&h->reactor->wheel, &h->hold_timer, WAKE_RETRY_MS);
}

static void home_is_awake(struct home *h)
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
		home_is_awake(h);
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
		home_is_awake(h);
	}
}

static bool home_can_sleep(const struct home *h);

/* Too many addresses without account are remembered: the oldest go. Some may wait for a commit; they stay.
 */
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

static void home_is_absent(struct home *h)
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
	if (rows_count(rows) == 0 || rows_int(rows, 0, 1)) {
		home_is_absent(h);
		return;
	}
	h->account = rows_int(rows, 0, 0);
	h->newest_entry = rows_int(rows, 0, 2);
	home_load(h);
}

static void home_wake(struct home *h)
{
	struct reactor *r = h->reactor;
	const struct jid *j = h->jid;

	home_enter(h, HOME_WAKING); /* and cannot be freed as long as it is */
	h->is_retrying = false;
	timer_set(&r->wheel, &h->hold_timer, (uint64_t)r->conf->limits.hold_time);
	store_read(r->store, 0, &sql_account,
	           PARAMS(P_TEXTN(jid_domain(j), jid_domain_len(j)), P_TEXTN(j->text, j->local_len)),
	           on_account, h);
}

/* ---- the mailbox */

void home_bounce(struct reactor *r, struct envelope *e, enum stanza_condition condition, const char *text)
{
	const struct stanza *st = e->stanza;
	struct envelope *error;

	if (e->kind == ENV_BIND) {
		error = envelope_new(r, ENV_CLOSE);
		error->stream = e->stream;
		error->condition = STREAM_RESOURCE_CONSTRAINT;
		error->text = text;
		reactor_post(r, e->stream_reactor, error);
		envelope_free(r, e);
		return;
	}
	r->counts.bounced++;
	if (!st || stanza_is_error(st) || st->type == IQ_RESULT || st->kind == STANZA_PRESENCE) {
		envelope_free(r, e);
		return;
	}
	error = envelope_new(r, ENV_STANZA);
	error->dir = IN;
	error->from = jid_ref(e->to);
	error->to = jid_ref(e->from);
	error->stanza = stanza_error(st, condition, text);
	error->trace = e->trace;
	error->ticket = e->ticket;
	envelope_free(r, e);
	if (!router_post(r, error))
		envelope_free(r, error);
}

static bool is_same_presence(const struct envelope *a, const struct envelope *b)
{
	return a->kind == ENV_STANZA && a->stanza->kind == STANZA_PRESENCE && a->dir == b->dir &&
	       (a->stanza->type == PRESENCE_AVAILABLE || a->stanza->type == PRESENCE_UNAVAILABLE) &&
	       !a->stanza->to == !b->stanza->to && /* broadcast is another thing than sent to oneself */
	       jid_is(a->from, b->from) && jid_is(a->to, b->to);
}

/* In a held mailbox presence is folded to the latest per full address. */
static void mailbox_fold(struct home *h, const struct envelope *latest)
{
	struct envelope **at = &h->mailbox.head;

	if (!is_same_presence(latest, latest))
		return;
	while (*at) {
		struct envelope *old = *at;

		if (!is_same_presence(old, latest)) {
			at = &old->next;
			continue;
		}
		*at = old->next;
		if (!*at)
			h->mailbox.tail = at;
		h->mailbox.count--;
		if (old->wants_credit)
			home_credit(h, old);
		envelope_free(h->reactor, old);
		return;
	}
}

/* Results and errors are never refused; requests and messages beyond the bound are. */
static bool mailbox_is_full_for(const struct home *h, const struct envelope *e)
{
	if (h->mailbox.count < (unsigned)h->reactor->conf->limits.mailbox || e->kind != ENV_STANZA ||
	    e->is_replayed)
		return false;
	return e->dir == IN && (e->stanza->kind == STANZA_PRESENCE || is_refusable(e));
}

static void mailbox_add(struct home *h, struct envelope *e)
{
	mailbox_fold(h, e);
	if (mailbox_is_full_for(h, e)) {
		home_refuse(h, e, "Too many stanzas wait for this address.");
		return;
	}
	queue_append(&h->mailbox, e);
}

static bool home_is_held(const struct home *h)
{
	return h->holder || h->state == HOME_WAKING || h->state == HOME_ENDING ||
	       h->outbox_count >= HOME_OUTBOX;
}

void home_hold(struct home *h, struct pass *by)
{
	ASSERT(!h->holder || h->holder == by);
	h->holder = by;
	if (!timer_is_set(&h->hold_timer))
		timer_set(&h->reactor->wheel, &h->hold_timer, (uint64_t)h->reactor->conf->limits.hold_time);
}

void home_unhold(struct home *h)
{
	h->holder = NULL;
	timer_stop(&h->reactor->wheel, &h->hold_timer);
}

/* It has been held for too long: those who wait are told, and the hold goes on. */
static void on_hold_timer(struct timer *t)
{
	struct home *h = CONTAINER_OF(t, struct home, hold_timer);

	if (h->is_retrying) {
		home_wake(h);
		return;
	}
	log_warn("home", h->jid->text, "held for over %lld ms; %u stanzas refused",
	         (long long)h->reactor->conf->limits.hold_time, h->mailbox.count);
	home_refuse_mailbox(h);
	timer_set(&h->reactor->wheel, t, (uint64_t)h->reactor->conf->limits.hold_time);
}

void home_drain(struct home *h)
{
	struct envelope *e;

	while (!home_is_held(h) && ((e = queue_take(&h->own)) || (e = queue_take(&h->mailbox))))
		home_handle(h, e);
}

/* ---- handling */

static bool home_can_sleep(const struct home *h)
{
	return h->session_count == 0 && h->passes == 0 &&
	       (h->state == HOME_AWAKE || h->state == HOME_ABSENT) && !h->timers && !h->mailbox.head &&
	       !h->own.head && list_is_empty(&h->outbox) &&
	       store_is_committed(h->reactor->store, h->last_write);
}

/* Tells the stream that its stanzas have been taken; not while too much of what they asked to be recorded
 * waits for its commit: then the stream stops reading, and the flood slows down at its source. */
static void home_credit(struct home *h, struct envelope *e)
{
	struct envelope *credit = envelope_new(h->reactor, ENV_CREDIT);

	credit->stream = e->stream;
	credit->stream_reactor = e->stream_reactor;
	credit->count = e->count;
	e->wants_credit = false; /* the envelope may travel on */
	e->count = 0;
	if (h->uncommitted < HOME_UNCOMMITTED) {
		reactor_post(h->reactor, credit->stream_reactor, credit);
		return;
	}
	credit->next = h->credits;
	h->credits = credit;
}

void home_credit_owed(struct home *h)
{
	struct envelope *credit;

	while (h->uncommitted < HOME_UNCOMMITTED && (credit = h->credits)) {
		h->credits = credit->next;
		reactor_post(h->reactor, credit->stream_reactor, credit);
	}
}

static void home_end_session(struct home *h, struct envelope *e)
{
	struct session *s = session_by_id(h, e->session);

	if (s)
		session_end(h, s);
	envelope_free(h->reactor, e);
}

static void home_settled(struct home *h, struct envelope *e)
{
	struct session *s = session_by_id(h, e->session);

	if (s) {
		s->unsettled--;
		pass_event(h, EVENT_SETTLED, s);
	}
	envelope_free(h->reactor, e);
}

/* Nothing that began under the old account is under way any more. */
static void home_wake_anew(struct home *h)
{
	home_drop_timers(h);
	home_free_data(h);
	roster_free(&h->roster);
	h->account = 0;
	h->newest_entry = 0;
	home_wake(h);
}

static void home_check_end(struct home *h)
{
	if (h->state == HOME_ENDING && h->passes == 0 && list_is_empty(&h->outbox))
		home_wake_anew(h);
}

void home_pass_ended(struct home *h)
{
	if (h->passes == 0)
		home_check_end(h);
}

/* The account's row is another one now, or none. The sessions end; what is under way ends too, still with
 * the old account's data, before anything of a new one is loaded: a name that is used again never meets its
 * predecessor's data. */
static void home_forget(struct home *h, struct envelope *e)
{
	struct session *s;

	SESSION_EACH (s, h) {
		session_close_stream(s, e->condition, e->text);
		session_end(h, s);
	}
	envelope_free(h->reactor, e);
	h->forgotten = h->reactor->now;
	home_enter(h, HOME_ENDING);
	timer_set(&h->reactor->wheel, &h->hold_timer, (uint64_t)h->reactor->conf->limits.hold_time);
	home_check_end(h);
}

/* What a stream returns here that was written to it under an account that is forgotten by now. */
static bool is_of_forgotten(const struct home *h, const struct envelope *e)
{
	if (e->kind != ENV_RETURNED || !h->forgotten)
		return false;
	return e->entry ? e->entry >> ID_TIME_SHIFT <= h->forgotten
	                : h->reactor->now - h->forgotten < RETURN_SECONDS * INT64_C(1000000);
}

static void home_handle(struct home *h, struct envelope *e)
{
	if (h->state == HOME_AWAKE && !list_is_empty(&h->sleeper_node)) { /* idle longest stays in front */
		h->idle_since = h->reactor->now;
		list_remove(&h->sleeper_node);
		list_append(&h->reactor->sleepers, &h->sleeper_node);
	}
	if (e->wants_credit)
		home_credit(h, e);
	switch ((enum envelope_kind)e->kind) {
	case ENV_STANZA:
	case ENV_RETURNED:
		if (is_of_forgotten(h, e))
			envelope_free(h->reactor, e);
		else
			pass_start(h, e);
		return;
	case ENV_BIND:
		session_bind(h, e);
		return;
	case ENV_DETACH:
		home_end_session(h, e);
		return;
	case ENV_SETTLED:
		home_settled(h, e);
		return;
	case ENV_FORGET:
		home_forget(h, e);
		return;
	default:
		ASSERT(!"an envelope that is none of a home's");
	}
}

/* ---- acting at once, also on a held home */

static void home_kick(struct home *h, struct envelope *e)
{
	struct session *s;

	SESSION_EACH (s, h)
		if (e->session == 0 || s->id == e->session)
			session_close_stream(s, e->condition, e->text);
	envelope_free(h->reactor, e);
}

/* Whether an envelope wakes a sleeping home. Presence that only tells does not: a home that sleeps has no
 * session that could see it. A probe to it finds no session either; the prober then sees nobody. */
static bool envelope_wakes(const struct envelope *e)
{
	if (e->kind == ENV_BIND || e->kind == ENV_RETURNED)
		return true;
	if (e->kind != ENV_STANZA)
		return false;
	switch ((enum stanza_type)e->stanza->type) {
	case PRESENCE_AVAILABLE:
	case PRESENCE_UNAVAILABLE:
	case PRESENCE_PROBE:
	case PRESENCE_ERROR:
	case MESSAGE_ERROR:
	case IQ_RESULT:
	case IQ_ERROR:
		return false;
	default:
		return true;
	}
}

/* A new home for an envelope; NULL when it needs none, or too many are being woken: then it is taken care
 * of. */
static struct home *home_make(struct reactor *r, struct jid *address, struct envelope *e)
{
	if (!envelope_wakes(e)) {
		transit_end(r, e);
		envelope_free(r, e);
		return NULL;
	}
	if (r->waking_homes >= WAKING_BOUND && is_refusable(e) && !e->transit) {
		home_bounce(r, e, RESOURCE_CONSTRAINT,
		            "Too many addresses are being looked up; try again later.");
		return NULL;
	}
	return home_new(r, address, e->home_kind ? e->home_kind : HOME_USER);
}

void home_take(struct reactor *r, struct envelope *e)
{
	/* On its way out a stanza is for the home of its sender. */
	struct jid *address = e->kind == ENV_STANZA && e->dir == OUT ? e->from : e->to;
	struct home *h = home_find(r, address);

	if (!h)
		h = home_make(r, address, e);
	if (!h)
		return;
	if (e->kind == ENV_KICK)
		home_kick(h, e);
	else if (home_is_held(h))
		mailbox_add(h, e);
	else
		home_handle(h, e);
}

void home_take_own(struct home *h, struct envelope *e)
{
	if (home_is_held(h) || h->own.head)
		queue_append(&h->own, e);
	else
		home_handle(h, e);
}

/* ---- the outbox */

void home_outbox_add(struct home *h, uint64_t ticket, struct pass *p, struct envelope *e, unsigned target)
{
	struct outgoing *o = mem_alloc(sizeof *o);

	*o = (struct outgoing){ .ticket = ticket, .pass = p, .envelope = e, .target = target };
	list_append(&h->outbox, &o->node);
	h->outbox_count++;
	if (list_is_empty(&h->waiting_node))
		list_append(&h->reactor->waiting_homes, &h->waiting_node);
}

static void home_release(struct home *h)
{
	struct reactor *r = h->reactor;
	struct outgoing *o;

	while ((o = LIST_FIRST(&h->outbox, struct outgoing, node)) &&
	       store_is_committed(r->store, o->ticket)) {
		list_remove(&o->node);
		h->outbox_count--;
		if (o->pass)
			pass_release(o->pass);
		else
			reactor_post(r, o->target, o->envelope);
		mem_free(o);
	}
	if (list_is_empty(&h->outbox))
		list_remove(&h->waiting_node);
	home_check_end(h);
	home_drain(h);
}

void homes_release(struct reactor *r)
{
	struct list *at = r->waiting_homes.next;

	while (at != &r->waiting_homes) {
		struct home *h = CONTAINER_OF(at, struct home, waiting_node);

		at = at->next;
		home_release(h);
	}
}

/* ---- sleeping */

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
	timer_set(&r->wheel, t, SLEEP_CHECK_MS);
}

void homes_init(struct reactor *r)
{
	list_init(&r->absents);
	timer_init(&r->sleep_timer, on_sleep_timer);
	timer_set(&r->wheel, &r->sleep_timer, SLEEP_CHECK_MS);
}

void homes_sleep_all(struct reactor *r)
{
	struct hash_node *n = NULL;

	timer_stop(&r->wheel, &r->sleep_timer);
	while ((n = hash_walk(&r->homes, n))) {
		struct home *h = CONTAINER_OF(n, struct home, node);

		/* Where sessions have not ended, or things wait, the modules cannot know the last of it. */
		if (h->state == HOME_AWAKE && h->session_count == 0 && !home_is_held(h) && !h->mailbox.head)
			pass_event(h, EVENT_SLEEP, NULL);
	}
}

void homes_free(struct reactor *r)
{
	struct hash_node *n;

	while ((n = hash_walk(&r->homes, NULL))) {
		home_empty(CONTAINER_OF(n, struct home, node));
		home_free(CONTAINER_OF(n, struct home, node));
	}
	hash_free(&r->homes);
	passes_free(r);
}

/* A removed host's accounts are gone with it. */
void homes_rehost(struct reactor *r)
{
	struct hash_node *n = NULL;
	struct envelope *e;

	while ((n = hash_walk(&r->homes, n))) {
		struct home *h = CONTAINER_OF(n, struct home, node);

		home_read_policy(h);
		if (h->kind != HOME_USER ||
		    hosts_find(r->hosts, jid_domain(h->jid), jid_domain_len(h->jid)))
			continue;
		e = envelope_new(r, ENV_FORGET);
		e->home_kind = HOME_USER;
		e->to = jid_ref(h->jid);
		e->condition = STREAM_HOST_GONE;
		e->text = "This domain is no longer served here.";
		reactor_post(r, r->index, e);
	}
}

/* ---- timers of modules */

static void on_home_timer(struct timer *t)
{
	struct home_timer *ht = CONTAINER_OF(t, struct home_timer, timer);
	struct home *h = ht->home;
	unsigned module = ht->module;
	handler *run = ht->run;
	struct home_timer **at = &h->timers;

	while (*at != ht)
		at = &(*at)->next;
	*at = ht->next;
	mem_free(ht);
	pass_run_handler(h, module, run);
}

void home_timer(struct ctx *c, handler *run, unsigned ms)
{
	struct home *h = c->home;
	unsigned module = CONTAINER_OF(c, struct pass, ctx)->module;
	struct home_timer *ht = h->timers;

	while (ht && ht->module != module)
		ht = ht->next;
	if (!ht) {
		ht = mem_zalloc(sizeof *ht);
		ht->home = h;
		ht->module = module;
		timer_init(&ht->timer, on_home_timer);
		ht->next = h->timers;
		h->timers = ht;
	}
	ht->run = run;
	timer_set(&h->reactor->wheel, &ht->timer, ms);
}
