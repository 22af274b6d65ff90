/* pass.c - a stanza's way through one home: the stages, waiting, and what handlers may do on the way.
 *
 * A pass walks a list of hooks. It ends when a handler returns DONE or the list is used up (then the core's
 * own default applies); it stands still when a handler returns HELD, until the continuation says more; and
 * a message stands still between KEEP and COPY until what it depends on is committed (design, section 3).
 */
#include <string.h>

#include "home.h"
#include "log.h"
#include "router.h"
#include "server.h"
#include "stream.h"

#define FREE_PASSES 256

static void pass_go(struct pass *p);

static struct pass *pass_of(struct ctx *c)
{
	return CONTAINER_OF(c, struct pass, ctx);
}

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

static void pass_free(struct pass *p)
{
	struct home *h = p->ctx.home;
	struct reactor *r = h->reactor;

	ASSERT(!p->after_commit); /* route_with belongs to a change */
	if (p->envelope)
		envelope_free(r, p->envelope);
	arena_free(&p->ctx.scratch);
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

void pass_drop(struct pass *p)
{
	pass_free(p);
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

static void pass_end(struct pass *p)
{
	if (p->envelope && p->ctx.dir == IN && p->envelope->transit)
		transit_end(p->ctx.home->reactor, p->envelope); /* nobody has claimed it */
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
	if (!e)
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

static enum verdict pass_route(struct pass *p);

/* What the core does when no hook has handled the stanza. */
static enum verdict pass_default(struct pass *p)
{
	struct ctx *c = &p->ctx;

	if (!c->stanza)
		return DONE;
	if (c->dir == OUT)
		return pass_route(p);
	if (c->home->state == HOME_ABSENT && c->stanza->kind == STANZA_MESSAGE)
		return refuse(c, SERVICE_UNAVAILABLE, NULL); /* RFC 6121 section 8.5.1 */
	if (c->stanza->kind != STANZA_IQ)
		return DONE;
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
	log_error("record", p->ctx.from->text, "a message could not be put on record and was refused");
	return refuse(&p->ctx, INTERNAL_SERVER_ERROR, "The message could not be put on record.");
}

/* Where both steps go on at once (design, section 3) the first may fail when the second has begun. Then the
 * sender's home can only leave word for the recipient's, which lives on the same reactor. */
static void record_failed(struct reactor *r, int64_t record)
{
	r->failed_records[r->failed_count++ % COUNT_OF(r->failed_records)] = record;
}

static bool record_has_failed(const struct reactor *r, int64_t record)
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
	e = &p->list->entries[p->at++];
	p->module = e->module;
	return e->hook->run(&p->ctx);
}

static bool pass_is_before_copy(const struct pass *p)
{
	return p->list && p->at < p->list->count && p->list->entries[p->at].hook->stage < COPY;
}

static void pass_go(struct pass *p)
{
	enum verdict v = PASS;

	while (v == PASS) {
		if (!pass_is_before_copy(p)) {
			if (pass_must_wait(p)) {
				home_outbox_add(p->ctx.home, p->ticket, p, NULL, 0);
				return;
			}
			if (pass_is_unstored(p)) {
				v = pass_fail(p);
				break;
			}
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
	p->ctx.trace = e->trace;
	p->ctx.record = e->record;
	p->ctx.entry = e->entry;
	p->ticket = e->ticket;
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
	refuse(&p->ctx, REMOTE_SERVER_NOT_FOUND, NULL); /* RFC 6120 section 8.3.3.16 */
	return false;
}

void pass_start(struct home *h, struct envelope *e)
{
	const struct stanza *st = e->stanza;
	struct pass *p = pass_of_envelope(h, e);

	if (e->dir == OUT && !pass_start_out(p)) {
		pass_end(p);
		return;
	}
	if (h->state == HOME_AWAKE && st->kind < STANZA_OTHER)
		p->list = &h->reactor->hooks->stages[home_kind_index(h->kind)][e->dir][st->kind];
	if (e->kind == ENV_RETURNED) {
		p->ctx.is_returned = true;
		p->ctx.copies = e->count;
		while (pass_is_before_copy(p))
			p->at++;
	}
	pass_go(p);
}

/* The session is looked up again after each wait. */
static void pass_find_session(struct pass *p)
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
	p->session = s ? s->id : 0;
	pass_go(p);
}

void pass_run_handler(struct home *h, unsigned module, handler *run)
{
	struct pass *p = pass_new(h, NULL);
	enum verdict v;

	p->module = (uint16_t)module;
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

/* ---- waiting */

void ctx_replace(struct ctx *c, struct stanza *st)
{
	struct pass *p = pass_of(c);

	ASSERT(st->sealed);
	stanza_unref(p->envelope->stanza);
	p->envelope->stanza = c->stanza = st;
}

void *ctx_new(struct ctx *c, size_t size)
{
	return arena_zalloc(&c->scratch, size);
}

static void pass_send(struct pass *p, struct envelope *e);

/* What route_with and route_after kept: sent after the commit, dropped when there was none. */
static void pass_send_kept(struct pass *p, bool is_committed)
{
	struct envelope *e;

	while ((e = p->after_commit)) {
		p->after_commit = e->next;
		if (is_committed)
			pass_send(p, e);
		else
			envelope_free(p->ctx.home->reactor, e);
	}
	p->after_tail = &p->after_commit;
}

/* The one continuation: gets the session looked up again, and its verdict goes on with the pass. A hold
 * ends with it, unless it waits again; then the mailbox goes on, behind whatever this pass has sent. */
static void on_rows(void *arg, const struct rows *rows)
{
	struct pass *p = arg;
	struct home *h = p->ctx.home;
	bool was_held = h->holder == p;
	rows_handler *then = p->then;
	enum verdict v;

	p->then = NULL;
	p->is_released = false; /* others have had their turn meanwhile */
	pass_find_session(p);
	pass_send_kept(p, rows_status(rows) == STORE_OK);
	v = then(&p->ctx, rows);
	if (v == HELD)
		return;
	if (was_held)
		home_unhold(h);
	if (v == PASS)
		pass_go(p);
	else
		pass_end(p);
	if (was_held)
		home_drain(h);
}

enum verdict fetch(struct ctx *c, rows_handler *then, const struct sql *sql, const struct param *params,
                   unsigned count)
{
	struct pass *p = pass_of(c);

	ASSERT(!p->then && !p->after_commit);
	p->then = then;
	store_read(c->home->reactor->store, c->home->last_write, sql, params, count, on_rows, p);
	return HELD;
}

enum verdict hold(struct ctx *c, rows_handler *then, const struct sql *sql, const struct param *params,
                  unsigned count)
{
	home_hold(c->home, pass_of(c));
	return fetch(c, then, sql, params, count);
}

struct write *begin_write(struct ctx *c)
{
	return write_new(c->home->reactor->store, (uint64_t)c->record);
}

/* STORE_NO_TICKET: the store takes no more; `fn` will hear of it, and nothing else may wait for it. */
static uint64_t write_of_home(struct home *h, struct write *w, store_rows_fn *fn, struct pass *p)
{
	uint64_t ticket = write_commit(w, fn, p);

	if (ticket != STORE_NO_TICKET)
		h->last_write = ticket;
	return ticket;
}

enum verdict change(struct ctx *c, struct write *w, rows_handler *then)
{
	struct pass *p = pass_of(c);
	struct home *h = c->home;

	ASSERT(!p->then);
	if (store_is_away(h->reactor->store) && !p->is_arriving) {
		write_drop(w);
		pass_send_kept(p, false);
		return c->stanza ? refuse(c, RESOURCE_CONSTRAINT, "The database is away; try again later.")
		                 : DONE;
	}
	p->then = then;
	home_hold(h, p);
	write_of_home(h, w, on_rows, p);
	return HELD;
}

static void on_recorded(void *arg, const struct rows *rows)
{
	struct pass *p = arg;
	struct home *h = p->ctx.home;

	p->writes--;
	if (p->ctx.dir == OUT)
		h->uncommitted--;
	if (rows_status(rows) != STORE_OK)
		p->stored = (uint8_t)rows_status(rows);
	if (rows_status(rows) == STORE_FAILED && p->is_ended && p->ctx.dir == OUT)
		record_failed(h->reactor, p->ctx.record);
	if (p->is_ended && p->writes == 0)
		pass_free(p);
	if (h->credits)
		home_credit_owed(h);
}

void record(struct ctx *c, struct write *w)
{
	struct pass *p = pass_of(c);
	uint64_t ticket;

	p->writes++;
	if (c->dir == OUT)
		c->home->uncommitted++;
	ticket = write_of_home(c->home, w, on_recorded, p);
	if (ticket == STORE_NO_TICKET)
		p->stored = STORE_AWAY;
	else
		p->ticket = ticket;
}

void later(struct ctx *c, struct write *w)
{
	write_of_home(c->home, w, NULL, NULL);
}

/* ---- sending */

void pass_emit(struct pass *p, struct envelope *e, unsigned target)
{
	struct home *h = p->ctx.home;
	struct reactor *r = h->reactor;
	bool is_committed = store_is_committed(r->store, p->ticket);

	if (ENVELOPE_IS_HOME(e) && target == r->index && r->conf->store.share_transactions) {
		e->ticket = is_committed ? 0 : p->ticket;
		reactor_post(r, target, e);
	} else if (is_committed && (p->is_released || list_is_empty(&h->outbox))) {
		reactor_post(r, target, e);
	} else {
		home_outbox_add(h, p->ticket, NULL, e, target);
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
	e->ticket = store_is_committed(h->reactor->store, p->ticket) ? 0 : p->ticket;
	home_take_own(h, e);
}

static void pass_send(struct pass *p, struct envelope *e)
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
static enum verdict pass_route(struct pass *p)
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
	pass_send(pass_of(c), envelope_to(c, from, to, st));
}

void deliver(struct ctx *c, struct session *s, const struct jid *from, const struct jid *to,
             struct stanza *st, int64_t entry, unsigned copies)
{
	struct envelope *e = envelope_new(c->home->reactor, ENV_WRITE);

	ASSERT(st->sealed);
	e->from = jid_ref(from);
	e->to = jid_ref(to);
	e->stanza = st;
	e->trace = c->trace;
	e->entry = entry;
	e->count = copies;
	e->stream = s->stream_id;
	e->stream_reactor = s->stream_reactor;
	pass_emit(pass_of(c), e, s->stream_reactor);
}

static bool is_served(struct ctx *c, const struct jid *to)
{
	enum home_kind kind;

	router_home_of(c->home->reactor, to, &kind);
	return kind != HOME_REMOTE;
}

static struct envelope *pass_keep(struct pass *p, struct envelope *e)
{
	*p->after_tail = e;
	p->after_tail = &e->next;
	return e;
}

void route_after(struct ctx *c, const struct jid *from, const struct jid *to, struct stanza *st)
{
	pass_keep(pass_of(c), envelope_to(c, from, to, st));
}

void route_with(struct ctx *c, struct write *w, const struct jid *from, const struct jid *to,
                struct stanza *st)
{
	struct envelope *e = pass_keep(pass_of(c), envelope_to(c, from, to, st));

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
	ticket = write_of_home(c->home, w, NULL, NULL);
	if (ticket != STORE_NO_TICKET)
		p->ticket = ticket;
}

enum verdict refuse(struct ctx *c, enum stanza_condition condition, const char *text)
{
	const struct stanza *st = c->stanza;
	struct stanza *error;
	struct envelope *e;

	/* Never answer an error with an error, RFC 6120 section 8.3.1, nor presence that asks nothing. */
	if (stanza_is_error(st) || st->type == IQ_RESULT || st->type == PRESENCE_AVAILABLE ||
	    st->type == PRESENCE_UNAVAILABLE || st->type == PRESENCE_PROBE)
		return DONE;
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
	transit_delete(w, id);
}

/* ---- this home, as modules see it */

const struct jid *home_jid(const struct home *h)
{
	return h->jid;
}

enum home_kind home_kind(const struct home *h)
{
	return h->kind;
}

int64_t home_account(const struct home *h)
{
	return h->account;
}

bool home_records(const struct home *h)
{
	return h->records;
}

struct roster *home_roster(struct home *h)
{
	return &h->roster;
}

struct list *home_sessions(struct home *h)
{
	return &h->sessions;
}

void *home_data(struct ctx *c)
{
	struct home *h = c->home;
	const struct hooks *hooks = h->reactor->hooks;
	unsigned module = pass_of(c)->module;

	if (!h->data)
		h->data = mem_zalloc(hooks->module_count * sizeof *h->data);
	if (!h->data[module])
		h->data[module] = mem_zalloc(hooks->modules[module]->home_size);
	return h->data[module];
}

const void *module_options(struct ctx *c)
{
	return c->home->reactor->conf->module_options[pass_of(c)->module];
}

bool module_features(struct ctx *c, unsigned i, const char *const **features)
{
	const struct hooks *hooks = c->home->reactor->hooks;

	if (i >= hooks->module_count)
		return false;
	*features = hooks->features[i];
	return true;
}

bool is_from_owner(const struct ctx *c)
{
	return jid_is_same_bare(c->from, c->home->jid);
}

int64_t now_us(const struct ctx *c)
{
	return c->home->reactor->now;
}

/* Microseconds in the upper bits (enough until 2255), random bits below: unpredictable for others, above
 * the owner's newest. */
int64_t entry_id_new(struct ctx *c)
{
	struct home *h = c->home;
	uint16_t random;
	int64_t id;

	reactor_random(h->reactor, &random, sizeof random);
	id = h->reactor->now << ID_TIME_SHIFT | (random & 0x3ff);
	if (id <= h->newest_entry)
		id = h->newest_entry + 1 + (random & 0x7);
	h->newest_entry = id;
	return id;
}

/* Microseconds, then which reactor (8 bits), then a count (2): unique on the node without asking anybody.
 */
int64_t record_id_new(struct ctx *c)
{
	struct reactor *r = c->home->reactor;
	int64_t own = (int64_t)r->index << 2, id = r->now << ID_TIME_SHIFT | own;

	if (id <= r->newest_record)
		id = r->newest_record + 1;
	if ((id & 0x3fc) != own) /* the count of this microsecond is used up: borrow from the next */
		id = ((r->newest_record >> ID_TIME_SHIFT) + 1) << ID_TIME_SHIFT | own;
	r->newest_record = id;
	return id;
}

struct element *disco_element(struct ctx *c, struct stanza **st)
{
	struct pass *p = pass_of(c);

	*st = p->disco_stanza;
	return p->disco;
}

void disco_run(struct ctx *c, enum event event, struct stanza *st, struct element *query)
{
	struct pass *p = pass_of(c);
	const struct hook_list *list =
	    &c->home->reactor->hooks->events[home_kind_index(c->home->kind)][event];
	uint16_t module = p->module;

	p->disco = query;
	p->disco_stanza = st;
	for (unsigned i = 0; i < list->count; i++) {
		p->module = list->entries[i].module;
		list->entries[i].hook->run(c);
	}
	p->module = module;
}
