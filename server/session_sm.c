/* session_sm.c - stream management (XEP-0198) in the home: <enable/>, <r/> and <a/>, which act at once, also while
 * the home is held; the numbers of what its client sends and of what is sent to it; and when to ask the client for
 * an acknowledgement. session_resume.c says what becomes of a session without a stream.
 *
 * What leaves for the session gets its number in session_write, behind <enabled/>. What comes from its client is
 * numbered when it arrives (session_arrived), kept when it waits in the outbox with its record on the way
 * (session_kept), and done when its pass has ended (session_done). */
#include <string.h>

#include "csi.h"
#include "home.h"
#include "log.h"
#include "resumable.h"
#include "sm.h"
#include "stream.h"

/* <r/> follows when so much has been sent, or so long after the first of it; never two without an answer. */
#define ASK_STANZAS 25
#define ASK_BYTES (32 << 10)
#define ASK_MS 1000

/* ---- telling the client */

static struct envelope *to_stream(struct session *s, enum envelope_kind kind)
{
	struct envelope *e = envelope_new(s->home->reactor, kind);

	e->stream = s->stream_id;
	e->stream_reactor = s->stream_reactor;
	e->session = s->id;
	return e;
}

void sm_tell(struct session *s, struct stanza *element)
{
	struct envelope *e = to_stream(s, ENV_WRITE);

	e->stanza = stanza_seal(element);
	reactor_post(s->home->reactor, s->stream_reactor, e);
}

struct stanza *sm_failed(enum stanza_condition condition)
{
	struct stanza *st = stanza_new_other("failed", SM_NS);

	element_add(st, st->root, stanza_condition_name(condition), "urn:ietf:params:xml:ns:xmpp-stanzas");
	return st;
}

/* ---- what its client sends */

/* <a/>, with h as of the last look at it. */
static void tell_handled(struct session *s)
{
	struct stanza *a = stanza_new_other("a", SM_NS);

	s->sm->told = s->sm->in.handled;
	element_setf(a, a->root, "h", "%u", (unsigned)s->sm->told);
	sm_tell(s, a);
}

/* More of what its client has sent may be handled: who waits for that? */
void sm_advance(struct session *s)
{
	struct sm *sm = s->sm;

	sm_in_handled(&sm->in, store_committed(s->home->reactor->store));
	if (sm->owed && s->stream_id && sm->in.handled > sm->told)
		tell_handled(s);
	if (sm->in.handled >= sm->owed)
		sm->owed = 0;
	if (sm->resume && !s->stream_id && !sm->is_final && sm_in_is_settled(&sm->in))
		session_attach(s);
	if (!sm->owed && !sm->resume)
		list_remove(&sm->owing_node);
}

/* Looks again after each commit, and when a stanza is done. */
void sm_watch(struct session *s)
{
	if (list_is_empty(&s->sm->owing_node))
		list_append(&s->home->reactor->owing, &s->sm->owing_node);
}

void sessions_committed(struct reactor *r)
{
	struct sm *sm;

	LIST_EACH (sm, &r->owing, struct sm, owing_node)
		sm_advance(sm->session);
}

void session_arrived(struct home *h, struct envelope *e)
{
	struct session *s = session_by_id(h, e->session);

	if (s && s->sm)
		e->number = sm_in_arrive(&s->sm->in);
}

void session_done(struct home *h, uint64_t session, uint64_t number, uint64_t ticket)
{
	struct session *s = session_by_id(h, session);

	if (!s)
		return;
	sm_in_done(&s->sm->in, number, ticket);
	resumable_catch_up(s);
	if (!list_is_empty(&s->sm->owing_node))
		sm_advance(s);
}

void session_kept(struct home *h, uint64_t session, uint64_t n)
{
	struct session *s = session_by_id(h, session);

	if (!s)
		return;
	sm_in_kept(&s->sm->in, n);
	resumable_catch_up(s);
}

void session_record(struct home *h, uint64_t session, struct write *w, uint64_t n)
{
	struct session *s = session_by_id(h, session);

	if (s && s->sm)
		resumable_count(s, w, n);
}

static void on_r(struct session *s)
{
	struct sm *sm = s->sm;

	sm_in_handled(&sm->in, store_committed(s->home->reactor->store));
	tell_handled(s);
	if (sm_in_is_settled(&sm->in))
		return;
	sm->owed = sm->in.arrived;
	sm_watch(s);
}

/* ---- what is sent to it */

static void sm_ask(struct session *s)
{
	struct sm *sm = s->sm;

	sm->is_asked = true;
	sm->unasked = sm->unasked_bytes = 0;
	timer_stop(&s->home->reactor->wheel, &sm->timer);
	reactor_post(s->home->reactor, s->stream_reactor, to_stream(s, ENV_ASK));
}

/* Something was sent, or an answer has come: when does it make sense to ask? */
void sm_ask_soon(struct session *s)
{
	struct sm *sm = s->sm;

	if (!s->stream_id || sm->is_asked || !sm->out.head)
		return;
	if (sm->unasked >= ASK_STANZAS || sm->unasked_bytes >= ASK_BYTES || sm->out.last->marks)
		sm_ask(s);
	else if (!timer_is_set(&sm->timer))
		timer_set(&s->home->reactor->wheel, &sm->timer, ASK_MS);
}

static void on_timer(struct timer *t)
{
	struct sm *sm = CONTAINER_OF(t, struct sm, timer);
	struct session *s = sm->session;

	if (!s->stream_id)
		session_give_up(s);
	else if (!sm->is_asked && sm->out.head)
		sm_ask(s);
}

/* Its client has acknowledged more, and by that `marks` questions are answered. */
static void tell_settled(struct session *s, unsigned marks)
{
	struct reactor *r = s->home->reactor;
	struct envelope *e = envelope_new(r, ENV_SETTLED);

	e->to = jid_ref(s->full);
	e->home_kind = HOME_USER;
	e->session = s->id;
	e->count = marks;
	reactor_post(r, r->index, e);
}

/* A client that acknowledges nothing, or has been away for too long. */
static bool sm_is_full(const struct session *s)
{
	const struct limits_conf *limits = &s->home->reactor->conf->limits;

	return sm_out_count(&s->sm->out) > (uint64_t)limits->resume_stanzas ||
	       s->sm->out.bytes > (size_t)limits->resume_bytes;
}

static void sm_overflow(struct session *s)
{
	if (s->sm->is_final)
		return;
	log_info("session", s->full->text, "%llu stanzas are not acknowledged: ending the session",
	         (unsigned long long)sm_out_count(&s->sm->out));
	session_close_stream(s, STREAM_POLICY_VIOLATION, "You do not acknowledge what is sent to you.");
}

/* The session keeps it until it is acknowledged, so the stream need not give it back. */
void sm_write(struct session *s, struct envelope *e)
{
	struct reactor *r = s->home->reactor;
	struct sm *sm = s->sm;

	sm_out_add(&sm->out, e, r->now);
	sm->unasked++;
	sm->unasked_bytes += e->stanza->bytes_len;
	e->count = 0;
	e->is_managed = true;
	if (s->stream_id)
		reactor_post(r, s->stream_reactor, e);
	else
		envelope_free(r, e);
	if (sm_is_full(s))
		sm_overflow(s);
	sm_ask_soon(s);
}

void sm_settle(struct session *s, struct envelope *e)
{
	struct sm *sm = s->sm;

	envelope_free(s->home->reactor, e);
	if (!sm->out.last) {
		tell_settled(s, 1);
		return;
	}
	sm->out.last->marks++;
	sm_ask_soon(s);
}

void session_unacknowledged(const struct session *s, void (*fn)(void *arg, int64_t entry), void *arg)
{
	if (!s->sm)
		return;
	for (const struct unacked *u = s->sm->out.head; u; u = u->next)
		if (u->entry)
			fn(arg, u->entry);
}

bool session_acknowledges(const struct session *s)
{
	return s->sm != NULL;
}

/* What an outbox still has is no session's yet. */
static int64_t outbox_least(const struct home *h)
{
	int64_t least = INT64_MAX;
	const struct outgoing *o;

	LIST_EACH (o, &h->outbox, struct outgoing, node)
		if (o->envelope && o->envelope->kind == ENV_WRITE && o->envelope->entry &&
		    o->envelope->entry < least)
			least = o->envelope->entry;
	return least;
}

static void take_least(void *arg, int64_t entry)
{
	int64_t *least = arg;

	if (entry < *least)
		*least = entry;
}

int64_t home_unacknowledged(struct ctx *c)
{
	int64_t least = outbox_least(c->home);
	const struct session *s;

	SESSION_EACH (s, c->home)
		session_unacknowledged(s, take_least, &least);
	return least;
}

bool sm_acknowledge(struct session *s, uint32_t h)
{
	struct sm_out *out = &s->sm->out;
	enum sm_verdict verdict = sm_out_judge(out, h);
	unsigned marks = 0;
	bool has_entry = false;

	if (verdict != SM_ACKS)
		return verdict == SM_GOES_BACK;
	while ((uint32_t)out->acked != h) {
		struct unacked *u = sm_out_take(out);

		marks += u->marks;
		has_entry |= u->entry != 0;
		unacked_free(u);
	}
	if (marks || has_entry)
		tell_settled(s, marks);
	return true;
}

/* Section 4. */
struct stanza *sm_too_high(const struct session *s, uint32_t h)
{
	struct stanza *st = stanza_new_other("handled-count-too-high", SM_NS);

	element_setf(st, st->root, "h", "%u", h);
	element_setf(st, st->root, "send-count", "%u", (unsigned)s->sm->out.sent);
	return stanza_seal(st);
}

static void on_a(struct session *s, const struct stanza *st)
{
	uint64_t before = s->sm->out.acked;
	uint32_t h;

	if (!sm_read_h(st, &h)) {
		session_close_stream(s, STREAM_INVALID_XML, "An acknowledgement needs a number h.");
		return;
	}
	if (!sm_acknowledge(s, h)) {
		session_close_with(s, STREAM_UNDEFINED_CONDITION, "More is acknowledged than was sent.",
		                   sm_too_high(s, h));
		return;
	}
	s->sm->is_asked = false;
	if (s->sm->out.acked > before ||
	    s->sm->unasked) /* whoever answers and takes nothing is not asked for ever */
		sm_ask_soon(s);
}

/* ---- the beginning */

static bool is_true(const char *boolean)
{
	return boolean && (strcmp(boolean, "true") == 0 || strcmp(boolean, "1") == 0);
}

/* xs:unsignedInt, in its plain form. */
static bool read_number(const char *text, uint32_t *n)
{
	uint64_t value = 0;

	if (!text || !*text || strlen(text) > 10)
		return false;
	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (uint64_t)(*text - '0');
	*n = (uint32_t)value;
	return !*text && value <= UINT32_MAX;
}

bool sm_read_h(const struct stanza *st, uint32_t *h)
{
	return read_number(element_get(st->root, "h"), h);
}

void sm_new(struct session *s)
{
	struct sm *sm = mem_zalloc(sizeof *sm);

	sm->session = s;
	list_init(&sm->owing_node);
	timer_init(&sm->timer, on_timer);
	s->sm = sm;
	s->home->managed++;
}

void sm_free(struct sm *sm)
{
	struct home *h = sm->session->home;
	struct unacked *u;

	while ((u = sm_out_take(&sm->out)))
		unacked_free(u);
	if (sm->resume)
		envelope_free(h->reactor, sm->resume);
	timer_stop(&h->reactor->wheel, &sm->timer);
	list_remove(&sm->owing_node);
	mem_free(sm->in.ring);
	mem_free(sm);
	h->managed--;
}

static void on_enable(struct session *s, const struct stanza *st)
{
	const char *max = element_get(st->root, "max");
	struct stanza *enabled;
	uint32_t seconds = UINT32_MAX;

	if (s->sm) {
		session_close_stream(s, STREAM_POLICY_VIOLATION, "Stream management is enabled already.");
		return;
	}
	if (max && (!read_number(max, &seconds) || seconds == 0)) {
		sm_tell(s, sm_failed(BAD_REQUEST));
		return;
	}
	sm_new(s);
	enabled = stanza_new_other("enabled", SM_NS);
	if (is_true(element_get(st->root, "resume")))
		session_may_resume(s, seconds, enabled);
	sm_tell(s, enabled);
}

void session_manage(struct home *h, struct envelope *e)
{
	struct session *s = session_by_id(h, e->session);
	const struct stanza *st = e->stanza;

	if (!s || s->stream_id != e->stream || s->is_ending)
		; /* it has ended meanwhile */
	else if (strcmp(st->root->ns, CSI_NS) == 0)
		csi_set(s, strcmp(st->root->name, "inactive") == 0);
	else if (element_is(st->root, "enable", SM_NS))
		on_enable(s, st);
	else if (!s->sm)
		sm_tell(s, sm_failed(UNEXPECTED_REQUEST));
	else if (element_is(st->root, "r", SM_NS))
		on_r(s);
	else
		on_a(s, st);
	envelope_free(h->reactor, e);
}

void session_refused(struct home *h, struct envelope *e)
{
	struct session *s = session_by_id(h, e->session);

	if (!s || s->stream_id != e->stream) {
		envelope_free(h->reactor, e);
		return;
	}
	if (s->sm)
		session_done(h, s->id, sm_in_arrive(&s->sm->in), 0);
	if (!e->stanza) {
		envelope_free(h->reactor, e);
		return;
	}
	e->kind = ENV_WRITE;
	e->count = 0;
	session_write(h, e);
}
