/* session_resume.c - sessions whose stream has ended without a farewell (XEP-0198 section 5): they wait for another
 * one, with all that is sent to them meanwhile, as long as limits allow, and go on where they were.
 *
 * The new stream gets a session when all that has come over the old one is handled: only then is h what the client
 * must know. */
#include <string.h>

#include "base64.h"
#include "home.h"
#include "log.h"
#include "resumable.h"
#include "sm.h"
#include "stream.h"

/* ---- allowed */

static void make_id(struct reactor *r, char id[SM_ID])
{
	unsigned char random[16];
	struct arena a = { 0 };

	reactor_random(r, random, sizeof random);
	memcpy(id, base64_encode(&a, random, sizeof random), SM_ID);
	arena_free(&a);
}

void session_may_resume(struct session *s, uint32_t seconds, struct stanza *enabled)
{
	const struct conf *conf = s->home->reactor->conf;
	uint64_t max = (uint64_t)conf->limits.resume_time;
	char id[SM_ID];

	if (max < 1000 || s->home->is_guest) /* he cannot log in again */
		return;
	if (max > UINT64_C(1000) * seconds)
		max = UINT64_C(1000) * seconds;
	s->sm->max = (uint32_t)max;
	make_id(s->home->reactor, id);
	s->sm->row = resumable_key(id);
	element_set(enabled, enabled->root, "id", id);
	element_set(enabled, enabled->root, "resume", "true");
	element_setf(enabled, enabled->root, "max", "%u", (unsigned)(max / 1000));
	if (conf->node.location)
		element_set(enabled, enabled->root, "location", conf->node.location);
	resumable_insert(s);
}

/* ---- without a stream */

bool session_is_waiting(const struct session *s)
{
	return s->sm && !s->stream_id;
}

void session_give_up(struct session *s)
{
	struct reactor *r = s->home->reactor;
	struct envelope *e;

	s->sm->is_final = true;
	e = envelope_new(r, ENV_DETACH);
	e->to = jid_ref(s->full);
	e->home_kind = HOME_USER;
	e->session = s->id;
	reactor_post(r, r->index, e);
}

static void session_wait(struct session *s)
{
	struct sm *sm = s->sm;

	log_debug("session", s->full->text, "waits for its client; %llu stanzas are not acknowledged",
	          (unsigned long long)sm_out_count(&sm->out));
	sm->is_asked = false;
	sm->owed = 0;
	timer_set(&s->home->reactor->wheel, &sm->timer, sm->max);
	if (sm->resume)
		sm_watch(s);
}

static struct session *session_by_stream(struct home *h, uint64_t stream)
{
	struct session *s;

	SESSION_EACH (s, h)
		if (s->stream_id == stream)
			return s;
	return NULL;
}

/* RFC 6120 section 4.4: who closes a stream goes on handling what comes until our side is closed too. So all that the
 * stream has written is acknowledged: many clients leave without a last <a/>. */
static void session_bade_farewell(struct session *s, uint32_t written)
{
	struct sm_out *out = &s->sm->out;

	while (out->head && out->acked < s->sm->attached + written)
		unacked_free(sm_out_take(out));
}

bool session_leaves(struct home *h, struct envelope *e)
{
	struct session *s = e->stream ? session_by_stream(h, e->stream) : NULL;

	if (!s || !s->sm)
		return false;
	s->stream_id = 0;
	timer_stop(&h->reactor->wheel, &s->sm->timer);
	e->session = s->id;
	if (e->is_farewell || !s->sm->row)
		s->sm->is_final = true;
	s->sm->is_farewell = e->is_farewell;
	if (e->is_farewell)
		session_bade_farewell(s, e->count);
	if (s->sm->is_final)
		return false;
	session_wait(s);
	envelope_free(h->reactor, e);
	sm_advance(s);
	return true;
}

/* ---- another stream */

void session_refuse_resume(struct reactor *r, struct envelope *e, struct stanza *failed)
{
	struct envelope *answer = envelope_new(r, ENV_UNBOUND);

	answer->stream = e->stream;
	answer->stream_reactor = e->stream_reactor;
	answer->stanza = stanza_seal(failed);
	reactor_post(r, e->stream_reactor, answer);
	envelope_free(r, e);
}

static void refuse_too_high(struct session *s, struct envelope *e)
{
	struct reactor *r = s->home->reactor;
	struct envelope *answer = envelope_new(r, ENV_CLOSE);

	answer->stream = e->stream;
	answer->condition = STREAM_UNDEFINED_CONDITION;
	answer->text = "More is acknowledged than was sent.";
	answer->stanza = sm_too_high(s, e->count);
	reactor_post(r, e->stream_reactor, answer);
	envelope_free(r, e);
}

/* False: refused. */
static bool resume_fits(struct session *s, struct envelope *e)
{
	switch (sm_out_judge(&s->sm->out, e->count)) {
	case SM_ACKS:
		return true;
	case SM_TOO_HIGH:
		refuse_too_high(s, e);
		return false;
	case SM_GOES_BACK: /* what it lacks is here no more */
		session_refuse_resume(s->home->reactor, e, sm_failed(ITEM_NOT_FOUND));
		return false;
	}
	ASSERT(!"a verdict");
}

/* XEP-0203: section 5 asks for the time of what comes late. */
static struct stanza *unacked_delayed(const struct home *h, const struct unacked *u)
{
	struct stanza *st;
	struct element *delay;
	char stamp[STAMP_SIZE];

	if (u->stanza->kind != STANZA_MESSAGE || element_child(u->stanza->root, "delay", "urn:xmpp:delay"))
		return stanza_ref(u->stanza);
	st = stanza_derive(u->stanza);
	delay = element_add(st, st->root, "delay", "urn:xmpp:delay");
	element_setf(st, delay, "from", "%.*s", (int)jid_domain_len(h->jid), jid_domain(h->jid));
	element_set(st, delay, "stamp", stamp_write(u->since, stamp));
	return stanza_seal(st);
}

static void send_again(struct session *s)
{
	struct reactor *r = s->home->reactor;

	for (const struct unacked *u = s->sm->out.head; u; u = u->next) {
		struct envelope *e = envelope_new(r, ENV_WRITE);

		e->stream = s->stream_id;
		e->session = s->id;
		e->stanza = unacked_delayed(s->home, u);
		e->from = u->from ? jid_ref(u->from) : NULL;
		e->to = u->to ? jid_ref(u->to) : NULL;
		e->entry = u->entry;
		e->is_managed = true;
		reactor_post(r, s->stream_reactor, e);
	}
}

static void tell_resumed(struct session *s, const struct envelope *resume)
{
	struct reactor *r = s->home->reactor;
	struct stanza *resumed = stanza_new_other("resumed", SM_NS);
	struct envelope *e = envelope_new(r, ENV_RESUMED);

	e->stream = s->stream_id;
	e->session = s->id;
	e->to = jid_ref(s->full);
	reactor_post(r, s->stream_reactor, e);
	element_set(resumed, resumed->root, "previd", element_get(resume->stanza->root, "previd"));
	element_setf(resumed, resumed->root, "h", "%u", (unsigned)s->sm->in.handled);
	sm_tell(s, resumed);
}

void session_attach(struct session *s)
{
	struct sm *sm = s->sm;
	struct envelope *e = sm->resume;

	ASSERT(!s->stream_id && sm_in_is_settled(&sm->in));
	sm->resume = NULL;
	if (!resume_fits(s, e)) /* the old stream has acknowledged more meanwhile */
		return;
	timer_stop(&s->home->reactor->wheel, &sm->timer);
	s->stream_id = e->stream;
	s->stream_reactor = e->stream_reactor;
	memcpy(s->peer, e->peer, sizeof s->peer);
	s->mechanism = e->mechanism;
	s->tls = e->tls;
	ASSERT(sm_acknowledge(s, e->count));
	sm->attached = sm->out.acked;
	tell_resumed(s, e);
	sm->told = sm->in.handled;
	sm->unasked = (uint32_t)sm_out_count(&sm->out);
	send_again(s);
	csi_set(s, false); /* XEP-0352 section 5.2: that is not resumed */
	sm_ask_soon(s);
	log_debug("session", s->full->text, "resumed; %u stanzas sent again", sm->unasked);
	envelope_free(s->home->reactor, e);
}

static struct session *session_by_row(struct home *h, int64_t row)
{
	struct session *s;

	SESSION_EACH (s, h)
		if (s->sm && s->sm->row == row && !s->sm->is_final)
			return s;
	return NULL;
}

void session_resume(struct home *h, struct envelope *e)
{
	struct reactor *r = h->reactor;
	struct session *s = session_by_row(h, resumable_key(element_get(e->stanza->root, "previd")));

	if (h->state == HOME_ABSENT) {
		session_tell_close(r, e->stream_reactor, e->stream, STREAM_NOT_AUTHORIZED,
		                   "The account is gone.");
		envelope_free(r, e);
		return;
	}
	if (!s) {
		resumable_refuse(h, e);
		return;
	}
	if (!resume_fits(s, e))
		return;
	if (s->sm->resume) /* whoever comes last knows best */
		session_refuse_resume(r, s->sm->resume, sm_failed(CONFLICT));
	s->sm->resume = e;
	sm_watch(s);
	if (s->stream_id)
		session_tell_close(r, s->stream_reactor, s->stream_id, STREAM_CONFLICT,
		                   "Another stream has resumed this session.");
	sm_advance(s);
}

/* A stream that wanted to resume a session has ended before it got it. */
void resume_dropped(struct home *h, uint64_t stream)
{
	struct session *s;

	SESSION_EACH (s, h) {
		struct sm *sm = s->sm;

		if (!sm || !sm->resume || sm->resume->stream != stream)
			continue;
		envelope_free(h->reactor, sm->resume);
		sm->resume = NULL;
		return;
	}
}

/* ---- the end */

/* What goes back is a dead stream's to return. */
static void give_back(struct session *s, struct unacked *u)
{
	struct reactor *r = s->home->reactor;
	struct envelope *e;

	if (u->copies == 0)
		return;
	e = envelope_new(r, ENV_WRITE);
	e->stream_reactor = r->index;
	e->stanza = unacked_delayed(s->home, u);
	e->from = jid_ref(u->from);
	e->to = jid_ref(u->to);
	e->entry = u->entry;
	e->count = u->copies;
	reactor_post(r, r->index, e);
}

void session_return_unacked(struct session *s)
{
	struct sm *sm = s->sm;
	struct unacked *u;

	if (sm->resume)
		session_refuse_resume(s->home->reactor, sm->resume, sm_failed(ITEM_NOT_FOUND));
	sm->resume = NULL;
	resumable_end(s, session_is_waiting(s) && !sm->is_farewell);
	while ((u = sm_out_take(&sm->out))) {
		give_back(s, u);
		unacked_free(u);
	}
}
