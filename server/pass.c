/* pass.c - a stanza's way through one home: the stages, and how it ends.
 *
 * A pass walks a list of hooks. It ends when a handler returns DONE or the list is used up (then the core's
 * own default applies); it stands still when a handler returns HELD, until the continuation says more; and
 * a message stands still between KEEP and COPY until what it depends on is committed
 * (ARCHITECTURE, section 2). */
#include "log.h"
#include "pass_parts.h"
#include "router.h"

#define FREE_PASSES 256

/* ---- life */

static struct pass *pass_new(struct home *h, const struct hook_list *list)
{
	struct reactor *r = h->reactor;
	struct pass *p = r->free_passes;

	if (p) {
		r->free_passes = p->next_free;
		r->free_pass_count--;
	} else {
		p = mem_alloc(sizeof *p);
	}
	*p = (struct pass){ .list = list };
	p->after_tail = &p->after_commit;
	p->ctx.home = h;
	h->passes++;
	return p;
}

void pass_free(struct pass *p)
{
	struct home *h = p->ctx.home;
	struct reactor *r = h->reactor;

	ASSERT(!p->after_commit); /* route_with belongs to a change */
	if (p->envelope)
		envelope_free(r, p->envelope);
	arena_free(&p->ctx.scratch);
	mem_free(p->late);
	h->passes--;
	if (r->free_pass_count < FREE_PASSES) {
		p->next_free = r->free_passes;
		r->free_passes = p;
		r->free_pass_count++;
	} else {
		mem_free(p);
	}
	if (h->state == HOME_ENDING)
		home_pass_ended(h);
}

void passes_free(struct reactor *r)
{
	struct pass *p;

	while ((p = r->free_passes)) {
		r->free_passes = p->next_free;
		mem_free(p);
	}
	r->free_pass_count = 0;
}

void pass_end(struct pass *p)
{
	if (p->envelope && p->ctx.dir == IN && p->envelope->transit)
		transit_end(p->ctx.home->reactor, p->envelope); /* nobody has claimed it */
	if (p->number)
		session_done(p->ctx.home, p->sender, p->number, p->ticket);
	p->is_ended = true;
	if (p->writes == 0)
		pass_free(p);
}

/* ---- the walk */

static bool pass_must_wait(const struct pass *p)
{
	const struct home *h = p->ctx.home;

	if (p->is_released || !p->ctx.stanza || p->ctx.stanza->kind != STANZA_MESSAGE)
		return false;
	/* Out to a home on this reactor it need not wait: the envelope carries the ticket, and that home
	 * lets nothing out before it is committed. Both steps may so share one transaction. */
	if (p->ctx.dir == OUT &&
	    (p->is_own || (p->target == h->reactor->index && h->reactor->conf->store.share_transactions)))
		return false;
	return !list_is_empty(&h->outbox) || !store_is_committed(h->reactor->store, p->ticket);
}

/* An IQ request for this home itself: whoever handles its payload, else the core refuses it. */
static enum verdict pass_answer(struct pass *p)
{
	struct ctx *c = &p->ctx;
	struct home *h = c->home;
	const struct element *payload = element_first(c->stanza->root),
			     *second = payload ? payload->next : NULL;
	const struct hook_entry *e = NULL;

	while (second && !second->name)
		second = second->next;
	if (!payload || second || c->stanza->type == TYPE_UNKNOWN) /* RFC 6120 section 8.2.3 */
		return refuse(c, BAD_REQUEST, NULL);
	if (h->state == HOME_AWAKE && !jid_has_resource(c->to))
		e = hooks_find_iq(h->reactor->hooks, c->stanza->type, payload->ns, payload->name, h->kind);
	if (!e || !home_has_module(h, e->module) ||
	    (h->kind == HOME_SERVICE && h->service >= 0 && !service_is_offered(c, (unsigned)h->service)))
		return refuse(c, SERVICE_UNAVAILABLE, NULL);
	p->module = e->module;
	return e->hook->run(c);
}

/* RFC 6121 section 8.5.3: an IQ to a full address is the client's to answer. */
static enum verdict pass_iq_to_session(struct ctx *c)
{
	struct session *s = session_find(c->home, jid_resource(c->to));

	if (s) {
		if (stanza_is_request(c->stanza))
			session_asked(s, c->from, c->stanza->id);
		deliver(c, s, c->from, c->to, stanza_ref(c->stanza), 0, 1);
		return DONE;
	}
	return stanza_is_request(c->stanza) || c->stanza->type == TYPE_UNKNOWN
	           ? refuse(c, SERVICE_UNAVAILABLE, NULL)
	           : DONE;
}

/* RFC 6120 sections 10.5.1 and 10.5.2: what a host, or a service of it, does not handle it sends back. Presence
 * that only tells is handled by not minding it. */
static enum verdict pass_to_host(struct ctx *c)
{
	if (c->stanza->kind == STANZA_MESSAGE || c->stanza->type == PRESENCE_SUBSCRIBE)
		return refuse(c, SERVICE_UNAVAILABLE, NULL);
	return DONE;
}

/* What the core does when no hook has handled the stanza. */
static enum verdict pass_default(struct pass *p)
{
	struct ctx *c = &p->ctx;

	if (!c->stanza)
		return DONE;
	if (c->dir == OUT)
		return pass_route(p);
	if (c->home->state == HOME_ABSENT)
		return pass_to_absent(c);
	if (c->stanza->kind != STANZA_IQ)
		return c->home->kind == HOME_USER ? DONE : pass_to_host(c);
	if (jid_has_resource(c->to) && c->home->kind == HOME_USER)
		return pass_iq_to_session(c);
	return stanza_is_request(c->stanza) || c->stanza->type == TYPE_UNKNOWN ? pass_answer(p) : DONE;
}

/* Its record could not be written. A transit row whose removal was part of that write is still there: the
 * refusal turns it. */
static enum verdict pass_fail(struct pass *p)
{
	if (p->ctx.dir == IN && p->claimed)
		p->envelope->transit = p->claimed;
	if (p->stored == STORE_AWAY)
		return refuse(&p->ctx, RESOURCE_CONSTRAINT, "The database is away; try again later.");
	log_traced(LOG_ERROR, "record", p->ctx.from->text, p->ctx.trace,
	           "a message could not be put on record and was refused");
	return refuse(&p->ctx, INTERNAL_SERVER_ERROR, "The message could not be put on record.");
}

/* Where both steps go on at once (pass_must_wait) the first may fail when the second has begun. Then the
 * sender's home can only leave word for the recipient's, which lives on the same reactor. */
void record_note_failed(struct reactor *r, int64_t record)
{
	r->failed_records[r->failed_count++ % COUNT_OF(r->failed_records)] = record;
}

bool record_has_failed(const struct reactor *r, int64_t record)
{
	for (unsigned i = 0; i < COUNT_OF(r->failed_records) && i < r->failed_count; i++)
		if (r->failed_records[i] == record)
			return true;
	return false;
}

/* Behind KEEP, and nothing left to wait for: is it on record? */
static bool pass_is_unstored(const struct pass *p)
{
	const struct reactor *r = p->ctx.home->reactor;

	return p->stored != STORE_OK ||
	       (r->failed_count && p->ctx.record && record_has_failed(r, p->ctx.record));
}

/* One step: the next hook, or the default at the end of the list. */
static enum verdict pass_step(struct pass *p)
{
	const struct hook_entry *e;

	if (!p->list || p->at >= p->list->count) {
		enum verdict v = pass_default(p);

		return v == PASS ? DONE : v;
	}
	if (!p->ctx.stanza && p->session &&
	    !p->ctx.session) /* an event of a session that has ended meanwhile */
		return DONE;
	e = &p->list->entries[p->at++];
	p->module = e->module;
	return home_has_module(p->ctx.home, e->module) ? e->hook->run(&p->ctx) : PASS;
}

static bool pass_is_before_copy(const struct pass *p)
{
	return p->list && p->at < p->list->count && p->list->entries[p->at].hook->stage < COPY;
}

void pass_go(struct pass *p)
{
	enum verdict v = PASS;
	bool is_behind_keep =
	    false; /* ... and has waited: nothing that is done there makes it wait again */

	while (v == PASS) {
		if (!is_behind_keep && !pass_is_before_copy(p)) {
			if (pass_must_wait(p)) {
				if (p->number && p->stored == STORE_OK)
					session_kept(p->ctx.home, p->sender, p->number);
				home_outbox_add(p->ctx.home, p->ticket, p, NULL, 0);
				return;
			}
			if (pass_is_unstored(p)) {
				v = pass_fail(p);
				break;
			}
			is_behind_keep = true;
		}
		v = pass_step(p);
	}
	if (v == DONE)
		pass_end(p);
}

static struct pass *pass_of_envelope(struct home *h, struct envelope *e)
{
	struct pass *p = pass_new(h, NULL);

	p->envelope = e;
	p->ctx.from = e->from;
	p->ctx.to = e->to;
	p->ctx.stanza = e->stanza;
	p->ctx.dir = e->dir;
	if (!e->trace) /* it begins here */
		e->trace = ++h->reactor->trace;
	p->ctx.trace = e->trace;
	p->ctx.record = e->record;
	p->ctx.is_unrecorded = e->is_unrecorded;
	p->ctx.is_spooled = e->is_spooled;
	p->ctx.entry = e->entry;
	p->ticket = e->ticket;
	p->number = e->number;
	p->sender = e->session;
	p->is_arriving = e->dir == IN && e->transit;
	return p;
}

void pass_refuse(struct home *h, struct envelope *e, enum stanza_condition condition, const char *text)
{
	struct pass *p = pass_of_envelope(h, e);

	if (e->dir == OUT)
		p->ctx.session = session_by_id(h, e->session);
	refuse(&p->ctx, condition, text);
	pass_end(p);
}

/* False: it ends here, before any module has seen it. */
static bool pass_start_out(struct pass *p)
{
	struct home *h = p->ctx.home;
	enum home_kind kind;

	p->session = p->envelope->session;
	p->ctx.session = session_by_id(h, p->session);
	if (!p->ctx.session) /* it ended while this was on its way */
		return false;
	p->target = router_home_of(h->reactor, p->ctx.to, &kind);
	p->to_kind = (uint8_t)kind;
	p->is_own = jid_is_same_bare(p->ctx.to, h->jid);
	if (kind != HOME_REMOTE)
		return true;
	refuse(&p->ctx, REMOTE_SERVER_NOT_FOUND, NULL); /* RFC 6120 section 10.4.3 */
	return false;
}

void pass_start(struct home *h, struct envelope *e)
{
	const struct stanza *st = e->stanza;
	struct pass *p = pass_of_envelope(h, e);

	log_traced(LOG_DEBUG, "pass", h->jid->text, e->trace, "%s %s: %s -> %s",
	           e->dir == OUT ? "out" : "in", st->root->name, e->from->text, e->to->text);
	if (e->dir == OUT && !pass_start_out(p)) {
		pass_end(p);
		return;
	}
	if (h->state == HOME_AWAKE && st->kind < STANZA_OTHER)
		p->list = &h->reactor->hooks->stages[home_kind_index(h->kind)][e->dir][st->kind];
	if (e->kind == ENV_RETURNED) {
		p->ctx.is_returned = true;
		p->ctx.copies = e->count;
		p->is_released = true; /* it was on record before it was delivered: nothing to wait for */
		while (pass_is_before_copy(p))
			p->at++;
	}
	pass_go(p);
}

/* The session is looked up again after each wait. */
void pass_find_session(struct pass *p)
{
	if (p->session)
		p->ctx.session = session_by_id(p->ctx.home, p->session);
}

void pass_release(struct pass *p)
{
	pass_find_session(p);
	p->is_released = true;
	pass_go(p);
}

/* ---- events and single handlers */

void pass_event(struct home *h, enum event event, struct session *s)
{
	const struct hook_list *list = &h->reactor->hooks->events[home_kind_index(h->kind)][event];
	struct pass *p;

	if (list->count == 0)
		return;
	p = pass_new(h, list);
	p->ctx.session = s;
	p->ctx.trace = ++h->reactor->trace;
	p->session = s ? s->id : 0;
	pass_go(p);
}

void pass_stream_features(struct home *h, struct buffer *b)
{
	struct pass *p =
	    pass_new(h, &h->reactor->hooks->events[home_kind_index(h->kind)][EVENT_STREAM_FEATURES]);

	p->features = b;
	pass_go(p);
}

struct buffer *features_buffer(struct ctx *c)
{
	return pass_of(c)->features;
}

void pass_run_handler(struct home *h, unsigned module, handler *run, void *own)
{
	struct pass *p = pass_new(h, NULL);
	enum verdict v;

	p->module = (uint16_t)module;
	p->ctx.trace = ++h->reactor->trace;
	p->ctx.own = own;
	v = run(&p->ctx);
	if (v != HELD)
		pass_end(p);
}

void pass_run_loaded(struct home *h, const struct hook_entry *entry, const struct rows *rows)
{
	struct pass *p = pass_new(h, NULL);

	p->module = entry->module;
	ASSERT(entry->hook->loaded(&p->ctx, rows) != HELD);
	pass_end(p);
}
