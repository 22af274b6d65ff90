/* home.c - the life of homes: found, woken, held, drained, put to sleep. */
#include "home.h"

#include <string.h>

#include "log.h"
#include "router.h"
#include "server.h"
#include "stream.h"

#define ABSENT_SECONDS 5  /* how long an address without account is remembered */
#define ABSENT_BOUND 10000 /* and how many of them */
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
	h->state = kind == HOME_HOST ? HOME_AWAKE : HOME_WAKING;
	h->mailbox.tail = &h->mailbox.head;
	list_init(&h->sessions);
	list_init(&h->outbox);
	list_init(&h->waiting_node);
	list_init(&h->sleeper_node);
	timer_init(&h->hold_timer, on_hold_timer);
	h->idle_since = r->now;
	home_read_policy(h);
	hash_add(&r->homes, &h->node, h->jid->hash);
	r->counts.homes++;
	if (kind == HOME_USER) {
		list_append(&r->sleepers, &h->sleeper_node);
		home_wake(h);
	}
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

static struct envelope *mailbox_take(struct home *h)
{
	struct envelope *e = h->mailbox.head;

	if (!e)
		return NULL;
	h->mailbox.head = e->next;
	if (!h->mailbox.head)
		h->mailbox.tail = &h->mailbox.head;
	h->mailbox.count--;
	return e;
}

/* Only what nobody waits for any more may still be in it: at the end of the process a mailbox and outbox. */
static void home_free(struct home *h)
{
	struct reactor *r = h->reactor;
	struct outgoing *o;
	struct envelope *e;
	struct home_timer *t;

	while ((e = mailbox_take(h)))
		envelope_free(r, e);
	while ((e = h->credits)) {
		h->credits = e->next;
		envelope_free(r, e);
	}
	LIST_EACH (o, &h->outbox, struct outgoing, node) {
		if (o->envelope)
			envelope_free(r, o->envelope);
		mem_free(o);
	}
	while ((t = h->timers)) {
		h->timers = t->next;
		timer_stop(&r->wheel, &t->timer);
		mem_free(t);
	}
	timer_stop(&r->wheel, &h->hold_timer);
	list_remove(&h->waiting_node);
	list_remove(&h->sleeper_node);
	hash_remove(&r->homes, &h->node);
	r->counts.homes--;
	if (h->state == HOME_ABSENT)
		r->absent_homes--;
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

static bool envelope_must_arrive(const struct envelope *e)
{
	return e->transit != 0 || e->kind == ENV_RETURNED || e->kind == ENV_DETACH;
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

/* The database does not answer: what can be refused is refused; what is on record waits for the next try. */
static void home_refuse_mailbox(struct home *h)
{
	struct envelope_queue kept = { .tail = &kept.head };
	struct envelope *e;

	while ((e = mailbox_take(h))) {
		if (!envelope_must_arrive(e)) {
			home_refuse(h, e, "The database does not answer; try again later.");
			continue;
		}
		e->next = NULL;
		*kept.tail = e;
		kept.tail = &e->next;
		kept.count++;
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
	h->state = HOME_AWAKE;
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

static void home_is_absent(struct home *h)
{
	h->state = HOME_ABSENT;
	h->reactor->absent_homes++;
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

	h->state = HOME_WAKING; /* and cannot be freed as long as it is */
	h->is_retrying = false;
	timer_set(&r->wheel, &h->hold_timer, (uint64_t)r->conf->limits.hold_time);
	store_read(r->store, 0, &sql_account,
		   PARAMS(P_TEXTN(jid_domain(j), jid_domain_len(j)), P_TEXTN(j->text, j->local_len)), on_account, h);
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
	return a->stanza && a->stanza->kind == STANZA_PRESENCE && a->dir == b->dir &&
	       (a->stanza->type == PRESENCE_AVAILABLE || a->stanza->type == PRESENCE_UNAVAILABLE) &&
	       jid_is(a->from, b->from) && jid_is(a->to, b->to);
}

/* In a held mailbox presence is folded to the latest per full address. */
static void mailbox_fold(struct home *h, const struct envelope *latest)
{
	struct envelope **at = &h->mailbox.head;

	if (latest->kind != ENV_STANZA || !is_same_presence(latest, latest))
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
	return e->dir == IN && (e->stanza->kind == STANZA_PRESENCE || stanza_is_request(e->stanza) ||
				(e->stanza->kind == STANZA_MESSAGE && e->stanza->type != MESSAGE_ERROR));
}

static void mailbox_add(struct home *h, struct envelope *e)
{
	mailbox_fold(h, e);
	if (mailbox_is_full_for(h, e)) {
		home_refuse(h, e, "Too many stanzas wait for this address.");
		return;
	}
	e->next = NULL;
	*h->mailbox.tail = e;
	h->mailbox.tail = &e->next;
	h->mailbox.count++;
}

static bool home_is_held(const struct home *h)
{
	return h->holder || h->state == HOME_WAKING;
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

	while (!home_is_held(h) && (e = mailbox_take(h)))
		home_handle(h, e);
}

/* ---- handling */

static bool home_can_sleep(const struct home *h)
{
	return h->session_count == 0 && h->passes == 0 && !h->holder && h->state != HOME_WAKING && !h->timers &&
	       !h->mailbox.head && list_is_empty(&h->outbox) && h->uncommitted == 0 &&
	       store_is_committed(h->reactor->store, h->last_write);
}

/* Tells the stream that its stanzas have been taken; not while too much of what they asked to be recorded waits
 * for its commit: then the stream stops reading, and the flood slows down at its source. */
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
		s->is_unsettled = false;
		pass_event(h, EVENT_SETTLED, s);
	}
	envelope_free(h->reactor, e);
}

/* The account's row is another one now, or none: what was loaded is forgotten, and the sessions end. A name
 * that is used again so never meets its predecessor's data. */
static void home_forget(struct home *h, struct envelope *e)
{
	struct reactor *r = h->reactor;
	struct session *s;

	if (h->state == HOME_AWAKE) {
		SESSION_EACH (s, h) {
			session_close_stream(s, e->condition, e->text);
			session_end(h, s);
		}
		home_free_data(h);
		roster_free(&h->roster);
		h->state = HOME_ABSENT;
		r->absent_homes++;
	}
	envelope_free(r, e);
	if (home_can_sleep(h)) {
		home_free(h);
	} else { /* writes of the predecessor are under way: asks for the account anew */
		r->absent_homes--;
		home_wake(h);
	}
}

static void home_handle(struct home *h, struct envelope *e)
{
	if (h->session_count == 0 && !list_is_empty(&h->sleeper_node)) { /* idle longest stays in front */
		h->idle_since = h->reactor->now;
		list_remove(&h->sleeper_node);
		list_append(&h->reactor->sleepers, &h->sleeper_node);
	}
	if (e->wants_credit)
		home_credit(h, e);
	switch ((enum envelope_kind)e->kind) {
	case ENV_STANZA:
	case ENV_RETURNED:
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
	case IQ_RESULT:
	case IQ_ERROR:
		return false;
	default:
		return true;
	}
}

void home_take(struct reactor *r, struct envelope *e)
{
	/* On its way out a stanza is for the home of its sender. */
	struct jid *address = e->kind == ENV_STANZA && e->dir == OUT ? e->from : e->to;
	struct home *h = home_find(r, address);

	if (!h) {
		if (!envelope_wakes(e)) {
			envelope_free(r, e);
			return;
		}
		h = home_new(r, address, e->home_kind ? e->home_kind : HOME_USER);
	}
	if (e->kind == ENV_KICK)
		home_kick(h, e);
	else if (home_is_held(h))
		mailbox_add(h, e);
	else
		home_handle(h, e);
}

/* ---- the outbox */

void home_outbox_add(struct home *h, uint64_t ticket, struct pass *p, struct envelope *e, unsigned target)
{
	struct outgoing *o = mem_alloc(sizeof *o);

	*o = (struct outgoing){ .ticket = ticket, .pass = p, .envelope = e, .target = target };
	list_append(&h->outbox, &o->node);
	if (list_is_empty(&h->waiting_node))
		list_append(&h->reactor->waiting_homes, &h->waiting_node);
}

static void home_release(struct home *h)
{
	struct reactor *r = h->reactor;
	struct outgoing *o;

	while ((o = LIST_FIRST(&h->outbox, struct outgoing, node)) && store_is_committed(r->store, o->ticket)) {
		list_remove(&o->node);
		if (o->pass)
			pass_release(o->pass);
		else
			reactor_post(r, o->target, o->envelope);
		mem_free(o);
	}
	if (list_is_empty(&h->outbox))
		list_remove(&h->waiting_node);
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
	if (h->state == HOME_AWAKE)
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
		if (h->idle_since > absent_before && r->absent_homes < ABSENT_BOUND)
			break;
		if (h->idle_since > (h->state == HOME_ABSENT ? absent_before : awake_before) &&
		    r->absent_homes < ABSENT_BOUND)
			continue;
		if (home_can_sleep(h))
			home_sleep(h);
	}
	timer_set(&r->wheel, t, SLEEP_CHECK_MS);
}

void homes_init(struct reactor *r)
{
	timer_init(&r->sleep_timer, on_sleep_timer);
	timer_set(&r->wheel, &r->sleep_timer, SLEEP_CHECK_MS);
}

void homes_sleep_all(struct reactor *r)
{
	struct hash_node *n = NULL;

	timer_stop(&r->wheel, &r->sleep_timer);
	while ((n = hash_walk(&r->homes, n))) {
		struct home *h = CONTAINER_OF(n, struct home, node);

		if (h->state == HOME_AWAKE)
			pass_event(h, EVENT_SLEEP, NULL);
	}
}

void homes_free(struct reactor *r)
{
	struct hash_node *n;

	while ((n = hash_walk(&r->homes, NULL)))
		home_free(CONTAINER_OF(n, struct home, node));
	hash_free(&r->homes);
	passes_free(r);
}

void homes_rehost(struct reactor *r)
{
	struct hash_node *n = NULL;

	while ((n = hash_walk(&r->homes, n))) {
		struct home *h = CONTAINER_OF(n, struct home, node);
		struct session *s;

		home_read_policy(h);
		if (hosts_find(r->hosts, jid_domain(h->jid), jid_domain_len(h->jid)))
			continue;
		SESSION_EACH (s, h)
			session_close_stream(s, STREAM_HOST_GONE, "This domain is no longer served here.");
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
