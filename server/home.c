/* home.c - homes: found and made, taking envelopes, the outbox, and the timers of modules. */
#include "home_parts.h"

#include "account.h"
#include "log.h"
#include "resumable.h"
#include "stream.h"

#define WAKING_BOUND 5000 /* addresses that may be looked up at the same time */
#define RETURN_SECONDS 10 /* in which a forgotten account's streams give back what they did not write */

/* The one writer of the state: keeps the reactor's lists and counts of homes in step with it. */
void home_enter(struct home *h, enum home_state state)
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
	homes_watch_sleepers(r);
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

const struct host *home_host_entry(const struct home *h)
{
	const struct hosts *hosts = h->reactor->hosts;
	const struct host *host = hosts_find(hosts, jid_domain(h->jid), jid_domain_len(h->jid));
	const struct service *service;

	if (host)
		return host;
	service = hosts_find_service(hosts, jid_domain(h->jid), jid_domain_len(h->jid));
	return service ? service->host : NULL;
}

static void home_read_policy(struct home *h)
{
	const struct host *host = home_host_entry(h);
	const struct service *service = NULL;

	h->record = host ? (uint8_t)host->policy.record : RECORD_OFF;
	h->hints = host ? (uint8_t)host->policy.hints : 0;
	if (h->kind == HOME_SERVICE)
		service = hosts_find_service(h->reactor->hosts, jid_domain(h->jid), jid_domain_len(h->jid));
	h->service = service ? (int)service->module : -1;
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
	list_init(&h->reload_node);
	timer_init(&h->hold_timer, home_on_hold_timer);
	h->idle_since = r->now;
	home_read_policy(h);
	hash_add(&r->homes, &h->node, h->jid->hash);
	r->counts.homes++;
	if (kind == HOME_USER)
		home_wake(h);
	return h;
}

void home_free_data(struct home *h)
{
	struct home_data *d;

	while ((d = h->data)) {
		const struct module *m = h->reactor->hooks->modules[d->module];

		h->data = d->next;
		if (m->home_free)
			m->home_free(d->bytes);
		mem_free(d);
	}
}

void home_drop_timers(struct home *h)
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

	while ((e = queue_take(&h->own)) || (e = home_mailbox_take(h)))
		envelope_free(h->reactor, e);
	while ((e = h->credits)) {
		h->credits = e->next;
		envelope_free(h->reactor, e);
	}
	LIST_EACH (o, &h->outbox, struct outgoing, node) {
		if (o->envelope)
			envelope_free(h->reactor, o->envelope);
		if (o->pass)
			pass_free(o->pass);
		mem_free(o);
	}
	SESSION_EACH (s, h)
		session_free(s);
}

void home_free(struct home *h)
{
	struct reactor *r = h->reactor;

	home_drop_timers(h);
	timer_stop(&r->wheel, &h->hold_timer);
	list_remove(&h->waiting_node);
	list_remove(&h->sleeper_node);
	list_remove(&h->reload_node);
	home_set_account(h, 0);
	hash_remove(&r->homes, &h->node);
	r->counts.homes--;
	r->waking_homes -= h->state == HOME_WAKING;
	r->absent_homes -= h->state == HOME_ABSENT;
	home_free_data(h);
	roster_free(&h->roster);
	blocks_free(&h->blocks);
	jid_unref(h->jid);
	mem_free(h);
}

/* ---- handling */

static void home_end_session(struct home *h, struct envelope *e)
{
	struct session *s;

	if (session_leaves(h, e))
		return;
	s = session_by_id(h, e->session);
	if (s)
		session_end(h, s);
	else
		resume_dropped(h, e->stream);
	envelope_free(h->reactor, e);
}

static void home_settled(struct home *h, struct envelope *e)
{
	struct session *s = session_by_id(h, e->session);

	if (s) {
		s->unsettled -= e->count;
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
	blocks_free(&h->blocks);
	home_set_account(h, 0);
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

void home_handle(struct home *h, struct envelope *e)
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
	case ENV_RESUME:
		session_resume(h, e);
		return;
	case ENV_RESTORE:
		resumable_take(h, e);
		return;
	case ENV_DETACH:
		home_end_session(h, e);
		return;
	case ENV_SETTLED:
		home_settled(h, e);
		return;
	case ENV_RELOAD:
		home_reload(h, e);
		return;
	case ENV_REMOVE:
		account_remove_home(h, e);
		return;
	case ENV_REGROUP:
		home_take_regroup(h, e);
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
 * session that could see it. This server's own probe to it would find no session either, and both contact lists
 * are in this database; what a client asks by itself (it has a session) is answered: RFC 6121 section 4.3.2. */
static bool envelope_wakes(const struct envelope *e)
{
	if (e->kind == ENV_RESTORE || e->kind == ENV_BIND || e->kind == ENV_RESUME ||
	    e->kind == ENV_RETURNED || e->kind == ENV_REMOVE)
		return true;
	if (e->kind != ENV_STANZA)
		return false;
	switch ((enum stanza_type)e->stanza->type) {
	case PRESENCE_AVAILABLE:
	case PRESENCE_UNAVAILABLE:
	case PRESENCE_ERROR:
	case MESSAGE_ERROR:
	case IQ_RESULT:
	case IQ_ERROR:
		return false;
	case PRESENCE_PROBE:
		return e->session != 0;
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
	if (r->waking_homes >= WAKING_BOUND && home_may_refuse(e) && !e->transit) {
		home_bounce(r, e, RESOURCE_CONSTRAINT,
		            "Too many addresses are being looked up; try again later.");
		return NULL;
	}
	return home_new(r, address, e->home_kind ? e->home_kind : HOME_USER);
}

/* Stream management: what acts at once. True: that is all there is to it. */
static bool home_take_managed(struct home *h, struct envelope *e)
{
	if (e->kind == ENV_MANAGE || e->kind == ENV_REFUSED) {
		if (e->wants_credit)
			home_credit(h, e);
		if (e->kind == ENV_MANAGE)
			session_manage(h, e);
		else
			session_refused(h, e);
		return true;
	}
	if (h->managed && e->kind == ENV_STANZA && e->dir == OUT)
		session_arrived(h, e);
	return h->managed && e->kind == ENV_DETACH && session_leaves(h, e);
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
	if (home_take_managed(h, e))
		return;
	if (e->kind == ENV_KICK)
		home_kick(h, e);
	else if (home_is_held(h))
		home_mailbox_add(h, e);
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
	h->reactor->counts.outboxed++;
	if (list_is_empty(&h->waiting_node))
		list_append(&h->reactor->waiting_homes, &h->waiting_node);
}

void home_let_go(struct home *h, struct envelope *e, unsigned target)
{
	struct reactor *r = h->reactor;

	if (e->kind == ENV_WRITE || e->kind == ENV_SETTLE) {
		session_write(h, e);
		return;
	}
	e->is_spooled = (e->record || e->transit) && target != r->index && store_is_spooling(r->store);
	if (e->is_spooled)
		e->stream_reactor = r->index;
	reactor_post(r, target, e);
}

static void home_release(struct home *h)
{
	struct reactor *r = h->reactor;
	struct outgoing *o;

	while ((o = LIST_FIRST(&h->outbox, struct outgoing, node)) &&
	       store_is_committed(r->store, o->ticket)) {
		list_remove(&o->node);
		h->outbox_count--;
		r->counts.outboxed--;
		if (o->pass)
			pass_release(o->pass);
		else
			home_let_go(h, o->envelope, o->target);
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

	sessions_committed(r);
	while (at != &r->waiting_homes) {
		struct home *h = CONTAINER_OF(at, struct home, waiting_node);

		at = at->next;
		home_release(h);
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
	hash_free(&r->accounts);
	passes_free(r);
}

struct envelope *home_forget_new(struct reactor *r, const struct jid *account, uint16_t condition,
                                 const char *farewell)
{
	struct envelope *e = envelope_new(r, ENV_FORGET);

	e->home_kind = HOME_USER;
	e->to = jid_ref(account);
	e->condition = condition;
	e->text = farewell;
	return e;
}

/* A removed host's accounts are gone with it. */
void homes_rehost(struct reactor *r)
{
	struct hash_node *n = NULL;

	while ((n = hash_walk(&r->homes, n))) {
		struct home *h = CONTAINER_OF(n, struct home, node);

		home_read_policy(h);
		if (h->kind == HOME_HOST || h->kind == HOME_SERVICE)
			home_free_data(h);
		if (h->kind == HOME_USER &&
		    !hosts_find(r->hosts, jid_domain(h->jid), jid_domain_len(h->jid)))
			reactor_post(r, r->index,
			             home_forget_new(r, h->jid, STREAM_HOST_GONE,
			                             "This domain is no longer served here."));
	}
}

void host_stream_features(struct reactor *r, struct jid *domain, struct buffer *b)
{
	struct home *h = home_find(r, domain);

	pass_stream_features(h ? h : home_new(r, domain, HOME_HOST), b);
}

void homes_forget_absents(struct reactor *r)
{
	struct hash_node *n = NULL;

	while ((n = hash_walk(&r->homes, n))) {
		struct home *h = CONTAINER_OF(n, struct home, node);

		if (h->state == HOME_ABSENT || h->state == HOME_WAKING)
			reactor_post(
			    r, r->index,
			    home_forget_new(r, h->jid, STREAM_NOT_AUTHORIZED, "The account has changed."));
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
	pass_run_handler(h, module, run, NULL);
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
