/* home_mailbox.c - what waits while a home is held: bounded, with presence folded, and answered with `wait`
 * when it cannot be kept; and the credit by which streams know when to stop reading. */
#include "home_parts.h"
#include "log.h"
#include "router.h"
#include "stream.h"

/* What may be answered with `wait` where it cannot be kept. All else stays: results and errors, presence
 * (which is folded), and whatever ends, settles or returns something. */
bool home_may_refuse(const struct envelope *e)
{
	if (e->kind != ENV_STANZA)
		return e->kind == ENV_BIND || e->kind == ENV_RESUME;
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
void home_refuse(struct home *h, struct envelope *e, const char *text)
{
	if (e->wants_credit)
		home_credit(h, e);
	if (e->kind == ENV_STANZA)
		pass_refuse(h, e, RESOURCE_CONSTRAINT, text);
	else
		home_bounce(h->reactor, e, RESOURCE_CONSTRAINT, text);
}

/* The database does not answer: what can be refused is refused; what is on record waits for the
 * next try. */
void home_refuse_mailbox(struct home *h)
{
	struct envelope_queue kept = { .tail = &kept.head };
	struct envelope *e;

	while ((e = home_mailbox_take(h))) {
		if (home_may_refuse(e) && !e->transit) {
			home_refuse(h, e, "The database does not answer; try again later.");
			continue;
		}
		queue_append(&kept, e);
	}
	h->mailbox.head = kept.head;
	h->mailbox.tail = kept.head ? kept.tail : &h->mailbox.head;
	h->mailbox.count = kept.count;
	h->reactor->counts.mailboxed += kept.count;
}

void home_bounce(struct reactor *r, struct envelope *e, enum stanza_condition condition, const char *text)
{
	const struct stanza *st = e->stanza;
	struct envelope *error;

	if (e->kind == ENV_BIND || e->kind == ENV_RESUME) {
		error = envelope_new(r, ENV_CLOSE);
		error->stream = e->stream;
		error->condition = STREAM_RESOURCE_CONSTRAINT;
		error->text = text;
		reactor_post(r, e->stream_reactor, error);
		envelope_free(r, e);
		return;
	}
	r->counts.bounced++;
	log_traced(LOG_DEBUG, "home", e->to->text, e->trace, "turned back with %s%s%s",
	           stanza_condition_name(condition), text ? ": " : "", text ? text : "");
	if (!st || stanza_is_error(st) || st->type == IQ_RESULT || st->kind == STANZA_PRESENCE) {
		envelope_free(r, e);
		return;
	}
	error = envelope_new(r, ENV_STANZA);
	error->dir = IN;
	error->from = jid_ref(e->to);
	error->to = jid_ref(e->from);
	error->stanza = stanza_error(st, condition, text);
	r->counts.refusals[condition]++;
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
		h->reactor->counts.mailboxed--;
		if (old->wants_credit)
			home_credit(h, old);
		if (old->number)
			session_done(h, old->session, old->number, 0);
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
	return e->dir == IN && (e->stanza->kind == STANZA_PRESENCE || home_may_refuse(e));
}

void home_mailbox_add(struct home *h, struct envelope *e)
{
	mailbox_fold(h, e);
	if (mailbox_is_full_for(h, e)) {
		home_refuse(h, e, "Too many stanzas wait for this address.");
		return;
	}
	queue_append(&h->mailbox, e);
	h->reactor->counts.mailboxed++;
}

struct envelope *home_mailbox_take(struct home *h)
{
	struct envelope *e = queue_take(&h->mailbox);

	if (e)
		h->reactor->counts.mailboxed--;
	return e;
}

bool home_is_held(const struct home *h)
{
	return h->holder || h->state == HOME_WAKING || h->state == HOME_ENDING ||
	       h->outbox_count >= HOME_OUTBOX;
}

void home_hold(struct home *h, struct pass *by)
{
	ASSERT(!h->holder || h->holder == by);
	if (!h->holder)
		h->held_at = uv_hrtime();
	h->holder = by;
	if (!timer_is_set(&h->hold_timer))
		timer_set(&h->reactor->wheel, &h->hold_timer, (uint64_t)h->reactor->conf->limits.hold_time);
}

void home_unhold(struct home *h)
{
	if (h->holder)
		histogram_add(&h->reactor->counts.holds, (uv_hrtime() - h->held_at) / 1000);
	h->holder = NULL;
	timer_stop(&h->reactor->wheel, &h->hold_timer);
}

/* It has been held for too long: those who wait are told, and the hold goes on. */
void home_on_hold_timer(struct timer *t)
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

	while (!home_is_held(h) && ((e = queue_take(&h->own)) || (e = home_mailbox_take(h))))
		home_handle(h, e);
}

/* ---- credit */

/* Tells the stream that its stanzas have been taken; not while too much of what they asked to be recorded
 * waits for its commit: then the stream stops reading, and the flood slows down at its source. */
void home_credit(struct home *h, struct envelope *e)
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
