/* session.c - bound resources of a user's home: made when a stream binds, ended when it is gone. */
#include <stdio.h>
#include <string.h>

#include "base64.h"
#include "home.h"
#include "log.h"
#include "router.h"
#include "sm.h"
#include "stream.h"

struct session *session_find(struct home *h, const char *resource)
{
	struct session *s;

	SESSION_EACH (s, h)
		if (strcmp(jid_resource(s->full), resource) == 0)
			return s;
	return NULL;
}

struct session *session_by_id(struct home *h, uint64_t id)
{
	struct session *s;

	SESSION_EACH (s, h)
		if (s->id == id)
			return s;
	return NULL;
}

static struct envelope *to_stream(struct reactor *r, enum envelope_kind kind, unsigned stream_reactor,
                                  uint64_t id)
{
	struct envelope *e = envelope_new(r, kind);

	e->stream = id;
	e->stream_reactor = stream_reactor;
	return e;
}

void session_write(struct home *h, struct envelope *e)
{
	struct session *s = session_by_id(h, e->session);

	if (e->record && record_has_failed(h->reactor, e->record)) { /* it was said beside that */
		envelope_free(h->reactor, e);
		return;
	}
	if (!s) /* the stream that it had gives back what goes back */
		reactor_post(h->reactor, e->stream_reactor, e);
	else if (e->kind == ENV_WRITE && s->is_inactive)
		csi_write(s, e);
	else
		session_send(s, e);
}

void session_send(struct session *s, struct envelope *e)
{
	e->stream = s->stream_id;
	e->stream_reactor = s->stream_reactor;
	if (s->sm && e->kind == ENV_WRITE)
		sm_write(s, e);
	else if (s->sm)
		sm_settle(s, e);
	else
		reactor_post(s->home->reactor, e->stream_reactor, e);
}

static struct envelope *close_new(struct reactor *r, unsigned stream_reactor, uint64_t id,
                                  unsigned condition, const char *text)
{
	struct envelope *e = to_stream(r, ENV_CLOSE, stream_reactor, id);

	e->condition = (uint16_t)condition;
	e->text = text;
	return e;
}

void session_tell_close(struct reactor *r, unsigned stream_reactor, uint64_t id, unsigned condition,
                        const char *text)
{
	reactor_post(r, stream_reactor, close_new(r, stream_reactor, id, condition, text));
}

void session_close_with(struct session *s, unsigned condition, const char *text, struct stanza *own)
{
	struct reactor *r = s->home->reactor;
	struct envelope *e = close_new(r, s->stream_reactor, s->stream_id, condition, text);

	e->stanza = own;
	reactor_post(r, s->stream_reactor, e);
	if (!s->sm)
		return;
	s->sm->is_final = true;
	if (!s->stream_id)
		session_give_up(s);
}

void session_close_stream(struct session *s, unsigned condition, const char *text)
{
	session_close_with(s, condition, text, NULL);
}

/* ---- IQ requests that wait for the client's answer */

/* Of one session. The oldest is forgotten, and so is one with a longer id: its sender has a timeout of his
 * own. */
#define UNANSWERED_MAX 100
#define UNANSWERED_ID 256 /* bytes */

struct unanswered {
	struct unanswered *next; /* newer ones */
	struct jid *from;
	char id[];
};

static void unanswered_drop(struct unanswered **at)
{
	struct unanswered *u = *at;

	*at = u->next;
	jid_unref(u->from);
	mem_free(u);
}

void session_asked(struct session *s, const struct jid *from, const char *id)
{
	struct unanswered **at = &s->unanswered, *u;
	unsigned n = 0;

	if (strlen(id) > UNANSWERED_ID)
		return;
	u = mem_alloc(sizeof *u + strlen(id) + 1);
	u->next = NULL;
	u->from = jid_ref(from);
	memcpy(u->id, id, strlen(id) + 1);
	for (; *at; at = &(*at)->next)
		n++;
	*at = u;
	if (n >= UNANSWERED_MAX)
		unanswered_drop(&s->unanswered);
}

void session_answered(struct session *s, const struct jid *to, const char *id)
{
	struct unanswered **at = &s->unanswered;

	while (*at && !(strcmp((*at)->id, id) == 0 && jid_is((*at)->from, to)))
		at = &(*at)->next;
	if (*at)
		unanswered_drop(at);
}

static void session_answer(struct home *h, const struct session *s, const struct unanswered *u)
{
	struct stanza *asked = stanza_new(STANZA_IQ, IQ_GET, u->id);
	struct envelope *e = envelope_new(h->reactor, ENV_STANZA);

	e->dir = IN;
	e->from = jid_ref(s->full);
	e->to = jid_ref(u->from);
	e->stanza = stanza_error(stanza_seal(asked), SERVICE_UNAVAILABLE, NULL);
	stanza_unref(asked);
	if (!router_post(h->reactor, e))
		envelope_free(h->reactor, e);
}

/* Somebody who has been blocked meanwhile does not learn when the session goes. */
static void session_answer_all(struct home *h, struct session *s)
{
	while (s->unanswered) {
		if (!is_blocked(h, s->unanswered->from))
			session_answer(h, s, s->unanswered);
		unanswered_drop(&s->unanswered);
	}
}

/* ---- the end */

static enum verdict on_guest_removed(struct ctx *c, const struct rows *rows)
{
	if (rows_status(rows) == STORE_OK) /* else it goes at the next start */
		account_removed(c);
	return DONE;
}

static enum verdict on_guest_leaves(struct ctx *c)
{
	return remove_account(c, on_guest_removed);
}

/* A guest (c2s_guest.c) has no more sessions: nobody can ever log in to his account again, and those who have
 * him in their contact lists lose him as they lose anybody whose account is removed. */
static void guest_leaves(struct home *h)
{
	pass_run_handler(h, 0, on_guest_leaves, NULL);
}

void session_end(struct home *h, struct session *s)
{
	struct reactor *r = h->reactor;

	s->is_ending = true;
	pass_event(h, EVENT_SESSION_GONE, s);
	session_answer_all(h, s);
	csi_flush(s); /* what goes back does so from where all other does */
	if (s->sm)
		session_return_unacked(s);
	log_debug("session", s->full->text, "ended");
	r->counts.sessions--;
	host_counts_of(r, h->jid)->sessions--;
	session_free(s);
	if (h->session_count > 0)
		return;
	home_idle(h);
	if (h->is_guest && h->state == HOME_AWAKE)
		guest_leaves(h);
}

void directed_drop(struct directed **at)
{
	struct directed *d = *at;

	*at = d->next;
	jid_unref(d->to);
	mem_free(d);
}

void session_free(struct session *s)
{
	list_remove(&s->node);
	s->home->session_count--;
	while (s->directed)
		directed_drop(&s->directed);
	while (s->unanswered)
		unanswered_drop(&s->unanswered);
	csi_free(s);
	if (s->sm)
		sm_free(s->sm);
	stanza_unref(s->presence);
	jid_unref(s->full);
	mem_free(s);
}

/* RFC 6120 section 7.6. */
static struct jid *made_address(struct home *h)
{
	unsigned char random[12];
	struct arena a = { 0 };
	const char *resource;
	struct jid *full;

	reactor_random(h->reactor, random, sizeof random);
	resource = base64_encode(&a, random, sizeof random);
	full = jid_with_resource(h->jid, resource, strlen(resource));
	arena_free(&a);
	return full;
}

/* The address the client asked for, or one that the server makes. */
static struct jid *session_address(struct home *h, const struct envelope *e)
{
	return e->from && jid_has_resource(e->from) ? jid_ref(e->from) : made_address(h);
}

/* RFC 6120 section 7.7.2.2 leaves it to the host what becomes of a resource that two clients want. */
static enum conflict_policy session_conflict(const struct home *h)
{
	const struct hosts *hosts = h->reactor->hosts;
	const struct host *host = hosts_find(hosts, jid_domain(h->jid), jid_domain_len(h->jid));

	return (enum conflict_policy)(host ? host->policy.conflict : hosts->none.policy.conflict);
}

/* Makes room for a new session where one waits for a client that has not come: the one that waits longest. */
static bool has_room(struct home *h)
{
	struct session *s;

	if (h->session_count < (unsigned)h->reactor->conf->limits.sessions_per_account)
		return true;
	SESSION_EACH (s, h)
		if (session_is_waiting(s)) {
			session_end(h, s);
			return true;
		}
	return false;
}

void session_add(struct home *h, struct session *s)
{
	s->home = h;
	list_append(&h->sessions, &s->node);
	h->session_count++;
	h->reactor->counts.sessions++;
	host_counts_of(h->reactor, h->jid)->sessions++;
	list_remove(&h->sleeper_node);
}

/* `s` has not become a session. Takes both. */
static void refuse_bind(struct session *s, struct envelope *e, enum stanza_condition condition)
{
	struct reactor *r = s->home->reactor;
	struct envelope *answer = to_stream(r, ENV_UNBOUND, e->stream_reactor, e->stream);

	answer->condition = (uint16_t)condition;
	reactor_post(r, e->stream_reactor, answer);
	jid_unref(s->full);
	mem_free(s);
	envelope_free(r, e);
}

void session_bind(struct home *h, struct envelope *e)
{
	struct reactor *r = h->reactor;
	struct session *s, *old;
	struct envelope *bound;
	enum conflict_policy policy;

	if (h->state == HOME_ABSENT) {
		session_tell_close(r, e->stream_reactor, e->stream, STREAM_NOT_AUTHORIZED,
		                   "The account is gone.");
		envelope_free(r, e);
		return;
	}
	s = mem_zalloc(sizeof *s);
	s->home = h;
	s->full = session_address(h, e);
	old = session_find(h, jid_resource(s->full));
	policy = old && session_is_waiting(old) ? CONFLICT_REPLACE : session_conflict(h);
	if (old && policy == CONFLICT_REFUSE) {
		refuse_bind(s, e, CONFLICT);
		return;
	}
	if (old && policy == CONFLICT_RENAME) {
		jid_unref(s->full);
		s->full = made_address(h);
	} else if (old) {
		session_close_stream(old, STREAM_CONFLICT, "Another client has taken this resource.");
		session_end(h, old);
	}
	if (!has_room(h)) {
		refuse_bind(s, e, RESOURCE_CONSTRAINT);
		return;
	}
	s->id = e->session;
	s->stream_id = e->stream;
	s->stream_reactor = e->stream_reactor;
	s->since = r->now;
	memcpy(s->peer, e->peer, sizeof s->peer);
	s->mechanism = e->mechanism;
	s->tls = e->tls;
	session_add(h, s);
	pass_event(h, EVENT_SESSION_BOUND, s);
	bound = to_stream(r, ENV_BOUND, e->stream_reactor, e->stream);
	bound->to = jid_ref(s->full);
	bound->session = s->id;
	reactor_post(r, e->stream_reactor, bound);
	log_debug("session", s->full->text, "bound");
	envelope_free(r, e);
}

/* RFC 6121 section 8.5.2.1.1. */
bool session_is_reachable(const struct session *s)
{
	return s->presence && s->priority >= 0;
}

void session_set_presence(struct ctx *c, struct session *s, struct stanza *presence, int8_t priority)
{
	bool was_available = s->presence != NULL, was_reachable = session_is_reachable(s);

	stanza_unref(s->presence);
	s->presence = presence;
	s->priority = presence ? priority : 0;
	if (presence && !was_available)
		pass_event(c->home, EVENT_SESSION_AVAILABLE, s);
	if (session_is_reachable(s) && !was_reachable)
		pass_event(c->home, EVENT_SESSION_REACHABLE, s);
}

void session_say(struct ctx *c, struct session *s, struct stanza *st)
{
	struct envelope *e = envelope_new(c->home->reactor, ENV_STANZA);

	e->dir = OUT;
	e->home_kind = HOME_USER;
	e->from = jid_ref(s->full);
	e->to = jid_ref(c->home->jid);
	e->stanza = st;
	e->session = s->id;
	e->trace = c->trace;
	home_take_own(c->home, e);
}

void session_settle(struct ctx *c, struct session *s)
{
	struct reactor *r = c->home->reactor;
	struct envelope *e = to_stream(r, ENV_SETTLE, s->stream_reactor, s->stream_id);

	s->unsettled++;
	e->to = jid_ref(s->full);
	e->session = s->id;
	pass_emit(CONTAINER_OF(c, struct pass, ctx), e, s->stream_reactor); /* behind what was delivered */
}
