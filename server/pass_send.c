/* pass_send.c - what leaves a home: to other homes, to its sessions' streams, and answers and refusals; and
 * the transit rows that travel with it. */
#include "log.h"
#include "pass_parts.h"
#include "router.h"

/* Where the host lets messages be delivered at once, the record of the one in hand is only what its sender's
 * acknowledgement waits for, and what goes to another reactor, as that knows nothing of tickets. */
static bool pass_is_early(const struct pass *p)
{
	return p->ctx.home->record == RECORD_ACKNOWLEDGE_AFTER && p->ctx.dir == OUT && p->ctx.record;
}

/* What must be committed before anything follows from this pass on this reactor; 0: nothing. */
static uint64_t pass_waits_for(const struct pass *p)
{
	if (!p->ticket || pass_is_early(p) || store_is_committed(p->ctx.home->reactor->store, p->ticket))
		return 0;
	return p->ticket;
}

void pass_emit(struct pass *p, struct envelope *e, unsigned target)
{
	struct home *h = p->ctx.home;
	struct reactor *r = h->reactor;
	bool is_home = ENVELOPE_IS_HOME(e);
	uint64_t ticket = is_home && target != r->index ? p->ticket : pass_waits_for(p);

	if (is_home && target == r->index && r->conf->store.share_transactions) {
		e->ticket = ticket;
		reactor_post(r, target, e);
	} else if ((!ticket || store_is_committed(r->store, ticket)) &&
	           (p->is_released || list_is_empty(&h->outbox))) {
		home_let_go(h, e, target);
	} else {
		home_outbox_add(h, ticket, NULL, e, target);
	}
}

/* To the own account at once: before what the client sent next (RFC 6120 section 10.1). */
static void pass_post(struct pass *p, struct envelope *e, unsigned target)
{
	struct home *h = p->ctx.home;

	if (!jid_is_same_bare(e->to, h->jid)) {
		pass_emit(p, e, target);
		return;
	}
	e->ticket = pass_waits_for(p);
	home_take_own(h, e);
}

void pass_send(struct pass *p, struct envelope *e)
{
	struct reactor *r = p->ctx.home->reactor;
	enum home_kind kind;
	unsigned target = router_home_of(r, e->to, &kind);

	if (kind == HOME_REMOTE) {
		home_bounce(r, e, REMOTE_SERVER_NOT_FOUND, NULL);
		return;
	}
	e->home_kind = (uint8_t)kind;
	pass_post(p, e, target);
}

/* The end of the OUT pass: the stanza in hand goes to its recipient's home. */
enum verdict pass_route(struct pass *p)
{
	struct ctx *c = &p->ctx;
	struct envelope *e = p->envelope;

	if (c->session && (c->stanza->type == IQ_RESULT || c->stanza->type == IQ_ERROR))
		session_answered(c->session, c->to, c->stanza->id);
	p->envelope = NULL;
	e->kind = ENV_STANZA;
	e->dir = IN;
	e->home_kind = p->to_kind;
	e->record = c->record;
	e->entry = c->entry;
	if (p->is_own && !pass_is_early(p)) /* it is done when it is done there */
		p->number = 0;
	else
		e->number = 0;
	pass_post(p, e, p->target);
	return DONE;
}

/* An envelope to another home. */
static struct envelope *envelope_to(struct ctx *c, const struct jid *from, const struct jid *to,
                                    struct stanza *st)
{
	struct envelope *e = envelope_new(c->home->reactor, ENV_STANZA);

	ASSERT(st->sealed);
	e->dir = IN;
	e->from = jid_ref(from);
	e->to = jid_ref(to);
	e->stanza = st;
	e->trace = c->trace;
	return e;
}

void route(struct ctx *c, const struct jid *from, const struct jid *to, struct stanza *st)
{
	if (is_blocked(c->home, to))
		stanza_unref(st);
	else
		pass_send(pass_of(c), envelope_to(c, from, to, st));
}

void deliver(struct ctx *c, struct session *s, const struct jid *from, const struct jid *to,
             struct stanza *st, int64_t entry, unsigned copies)
{
	struct envelope *e = envelope_new(c->home->reactor, ENV_WRITE);

	ASSERT(st->sealed);
	log_traced(LOG_DEBUG, "pass", c->home->jid->text, c->trace, "delivered to %s", s->full->text);
	e->from = jid_ref(from);
	e->to = jid_ref(to);
	e->stanza = st;
	e->trace = c->trace;
	e->entry = entry;
	e->count = copies;
	e->record = copies ? 0 : c->record;
	e->session = s->id;
	e->stream = s->stream_id;
	e->stream_reactor = s->stream_reactor;
	pass_emit(pass_of(c), e, s->stream_reactor);
}

void deliver_first(struct ctx *c)
{
	pass_of(c)->is_released = true;
}

static bool is_served(struct ctx *c, const struct jid *to)
{
	enum home_kind kind;

	router_home_of(c->home->reactor, to, &kind);
	return kind != HOME_REMOTE;
}

static struct envelope *pass_defer(struct pass *p, struct envelope *e)
{
	*p->after_tail = e;
	p->after_tail = &e->next;
	return e;
}

void route_after(struct ctx *c, const struct jid *from, const struct jid *to, struct stanza *st)
{
	pass_defer(pass_of(c), envelope_to(c, from, to, st));
}

void route_with(struct ctx *c, struct write *w, const struct jid *from, const struct jid *to,
                struct stanza *st)
{
	struct envelope *e = pass_defer(pass_of(c), envelope_to(c, from, to, st));

	if (!is_served(c, to)) /* a row for nobody would stay for ever */
		return;
	e->transit = record_id_new(c);
	transit_insert(w, e);
}

struct stanza *reply_new(struct ctx *c)
{
	return stanza_new(STANZA_IQ, IQ_RESULT, c->stanza->id);
}

enum verdict reply(struct ctx *c, struct stanza *result)
{
	route(c, c->to, c->from, stanza_seal(result ? result : reply_new(c)));
	return DONE;
}

/* A refusal of what is in transit commits the error's transit row and deletes this one. */
static void pass_turn_transit(struct pass *p, struct envelope *error)
{
	struct ctx *c = &p->ctx;
	struct transit_late *late;
	struct write *w;
	uint64_t ticket;

	if (c->dir != IN || !p->envelope->transit)
		return;
	w = begin_write(c);
	transit_done(c, w);
	if (is_served(c, error->to)) {
		error->transit = record_id_new(c);
		transit_insert(w, error);
	}
	write_set_away(w, AWAY_SPOOL);
	late = p->late;
	p->late = NULL;
	ticket = write_submit(w, late ? transit_on_late : NULL, late);
	if (ticket == STORE_NO_TICKET)
		return;
	p->ticket = c->home->last_write = ticket;
}

enum verdict refuse(struct ctx *c, enum stanza_condition condition, const char *text)
{
	const struct stanza *st = c->stanza;
	struct stanza *error;
	struct envelope *e;

	/* Never answer an error with an error, RFC 6120 section 8.3.1, nor presence that asks nothing; but its
	 * own client is told that its directed presence has reached nobody. */
	if (stanza_is_error(st) || st->type == IQ_RESULT || st->type == PRESENCE_UNAVAILABLE ||
	    st->type == PRESENCE_PROBE || (st->type == PRESENCE_AVAILABLE && c->dir == IN))
		return DONE;
	log_traced(LOG_DEBUG, "pass", c->home->jid->text, c->trace, "refused with %s%s%s",
	           stanza_condition_name(condition), text ? ": " : "", text ? text : "");
	c->home->reactor->counts.refusals[condition]++;
	error = stanza_error(st, condition, text);
	if (c->dir == OUT && c->session) { /* its own client is told also while the mailbox waits */
		deliver(c, c->session, c->to, c->from, error, 0, 1);
		return DONE;
	}
	e = envelope_to(c, c->to, c->from, error);
	pass_turn_transit(pass_of(c), e);
	pass_send(pass_of(c), e);
	return DONE;
}

enum verdict refuse_unstored(struct ctx *c, const struct rows *r)
{
	if (rows_status(r) == STORE_AWAY)
		return refuse(c, RESOURCE_CONSTRAINT, "The database is away; try again later.");
	return refuse(c, INTERNAL_SERVER_ERROR, NULL);
}

/* ---- transit */

void transit_add(struct ctx *c, struct write *w)
{
	struct pass *p = pass_of(c);

	p->envelope->transit = record_id_new(c);
	p->envelope->record = c->record;
	p->envelope->is_unrecorded = c->is_unrecorded;
	transit_insert(w, p->envelope);
}

void transit_done(struct ctx *c, struct write *w)
{
	struct pass *p = pass_of(c);
	int64_t id = p->envelope->transit;

	p->envelope->transit = 0;
	if (!id || store_take_back(c->home->reactor->store, (uint64_t)id))
		return;
	p->claimed = id;
	if (!p->late)
		p->late = transit_late_new(c->home->reactor, p->envelope, id);
	transit_delete(w, id);
}
