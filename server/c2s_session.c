/* c2s_session.c - a client stream from bind on (RFC 6120 sections 7 and 8): asks the home for a session,
 * sends its stanzas there, and stops reading while the home has not taken the last ones. Nothing here knows
 * the home but by address and envelope. */
#include <string.h>

#include "c2s_parts.h"
#include "module.h"
#include "router.h"
#include "sm.h"

#define BINDS_MAX 10 /* refused ones; RFC 6120 section 7.7.3 wants 5 to 10 */

/* In the unit of stanza_cost. */
#define CREDIT_EVERY (32 << 10)  /* between two credits asked of the home */
#define UNTAKEN_STOP (128 << 10) /* the home has not taken so much: stop reading */
#define GUEST_TEXT "A guest may write within this domain only."
#define HOST_GONE_TEXT "This domain is no longer served here."

/* ---- answers that need no home */

/* What the stream says in answer to a stanza; NULL: nothing. With stream management the home writes it. */
static void c2s_say(struct c2s *c, struct stanza *answer, const struct jid *from)
{
	if (c->is_managed)
		c2s_say_managed(c, answer, from);
	else if (answer)
		stream_write(&c->stream, answer, from, c->full ? c->full : c->user);
}

/* An error answer straight from the stream: the stanza could not enter a home. */
static void c2s_refuse(struct c2s *c, struct stanza *st, enum stanza_condition condition, const char *text)
{
	struct jid *from;

	if (stanza_is_error(st) || st->type == IQ_RESULT) {
		c2s_say(c, NULL, NULL);
		return;
	}
	from = st->to ? jid_parse(st->to, strlen(st->to)) : NULL; /* it may be no address at all */
	c2s_say(c, stanza_error(st, condition, text), from ? from : c->user);
	jid_unref(from);
}

/* ---- bind */

/* The server itself or the account: what may be spoken to before there is a resource. */
static bool is_for_server(const struct c2s *c, const char *to)
{
	return !to || strcmp(to, c->domain->text) == 0 || strcmp(to, c->user->text) == 0;
}

void c2s_introduce(struct c2s *c, struct envelope *e)
{
	struct reactor *r = c->stream.reactor;

	c->session = r->next_id++;
	e->to = jid_ref(c->user);
	e->home_kind = HOME_USER;
	e->stream = c->stream.id;
	e->stream_reactor = r->index;
	e->session = c->session;
	memcpy(e->peer, c->stream.peer, sizeof e->peer);
	e->mechanism = sasl_name((enum sasl_mechanism)c->mechanism);
	e->tls = c->stream.ssl ? SSL_get_version(c->stream.ssl) : NULL;
	c2s_enter(c, C2S_BINDING);
	reactor_post(r, c->home_reactor, e);
}

void c2s_on_bind(struct c2s *c, struct stanza *st)
{
	struct reactor *r = c->stream.reactor;
	struct element *bind = element_child(st->root, "bind", BIND_NS), *resource;
	struct envelope *e;
	enum home_kind kind;

	if (!is_for_server(c, st->to)) { /* RFC 6120 section 7.1 */
		stream_close(&c->stream, STREAM_NOT_AUTHORIZED, "Bind a resource first.");
		return;
	}
	if (st->type != IQ_SET || !bind || !st->id) {
		c2s_refuse(c, st, NOT_AUTHORIZED, "Bind a resource first.");
		return;
	}
	c->home_reactor = router_home_of(r, c->user, &kind);
	if (kind != HOME_USER) {
		stream_close(&c->stream, STREAM_HOST_GONE, HOST_GONE_TEXT);
		return;
	}
	e = envelope_new(r, ENV_BIND);
	resource = element_child(bind, "resource", BIND_NS);
	if (resource) {
		const char *text = element_get_text(resource, &st->arena);

		/* RFC 6120 section 7.7.2.1: for one that is none the server makes one. */
		e->from = jid_with_resource(c->user, text, strlen(text));
	}
	c->bind_id = mem_strdup(st->id);
	c2s_introduce(c, e);
}

void c2s_drop_early(struct c2s *c)
{
	struct envelope *early;

	while ((early = c->early)) {
		c->early = early->next;
		envelope_free(c->stream.reactor, early);
	}
}

void c2s_begin(struct c2s *c)
{
	struct envelope *early;

	stream_watch(&c->stream);
	c2s_enter(c, C2S_BOUND);
	while ((early = c->early)) {
		c->early = early->next;
		if (!c->stream.is_closing)
			c2s_stanza(&c->stream, stanza_ref(early->stanza));
		envelope_free(c->stream.reactor, early);
	}
}

static void on_bound(struct c2s *c, const struct envelope *e)
{
	struct stanza *result = stanza_new(STANZA_IQ, IQ_RESULT, c->bind_id);
	struct element *bind = element_add(result, result->root, "bind", BIND_NS);
	struct reactor *r = c->stream.reactor;

	if (!hosts_find(r->hosts, jid_domain(c->user), jid_domain_len(c->user))) { /* removed meanwhile */
		stanza_unref(result);
		stream_close(&c->stream, STREAM_HOST_GONE, HOST_GONE_TEXT);
		return;
	}
	c->full = jid_ref(e->to);
	element_add_text(result, bind, "jid", BIND_NS, c->full->text);
	stream_write(&c->stream, stanza_seal(result), NULL, NULL);
	mem_free(c->bind_id);
	c->bind_id = NULL;
	c2s_begin(c);
}

/* RFC 6120 sections 7.6.2.1 and 7.7.2.2. What the client had sent meanwhile was for a session that is not. */
static void on_unbound(struct c2s *c, const struct envelope *e)
{
	enum stanza_condition condition = (enum stanza_condition)e->condition;
	struct stanza *bind;

	if (e->stanza) { /* it wanted to resume one */
		stream_write(&c->stream, stanza_ref(e->stanza), NULL, NULL);
	} else {
		bind = stanza_seal(stanza_new(STANZA_IQ, IQ_SET, c->bind_id));
		stream_write(&c->stream,
		             stanza_error(bind, condition,
		                          condition == CONFLICT ? "Another client has this resource."
		                                                : "Too many sessions of this account."),
		             NULL, NULL);
		stanza_unref(bind);
	}
	mem_free(c->bind_id);
	c->bind_id = NULL;
	c2s_drop_early(c);
	c2s_enter(c, C2S_AUTHENTICATED);
	if (++c->binds >= BINDS_MAX)
		stream_close(&c->stream, STREAM_POLICY_VIOLATION, "Too many resources in vain.");
}

/* Some clients do not wait for the answer to bind. Bounded by the size of one read, because
 * reading stops. */
void c2s_on_early(struct c2s *c, struct stanza *st)
{
	struct envelope *e = envelope_new(c->stream.reactor, ENV_STANZA);

	stream_pause(&c->stream, PAUSE_BIND);
	e->stanza = stanza_ref(st);
	if (!c->early)
		c->early_tail = &c->early;
	*c->early_tail = e;
	c->early_tail = &e->next;
}

/* ---- stanzas of a bound session */

/* The recipient: without `to` it is the account itself (sections 10.3.1 to 10.3.3). NULL: not
 * an address. */
static struct jid *c2s_to(struct c2s *c, const char *to)
{
	struct jid *j;

	if (!to)
		return jid_ref(c->user);
	if (c->last_to && strcmp(c->last_to_text, to) == 0)
		return jid_ref(c->last_to);
	j = jid_parse(to, strlen(to));
	if (!j)
		return NULL;
	jid_unref(c->last_to);
	mem_free(c->last_to_text);
	c->last_to = jid_ref(j);
	c->last_to_text = mem_strdup(to);
	return j;
}

void c2s_count(struct c2s *c, struct envelope *e)
{
	uint32_t cost = stanza_cost(e->stanza);

	c->untaken += cost;
	c->unasked += cost;
	if (c->unasked >= CREDIT_EVERY) {
		e->wants_credit = true;
		e->count = c->unasked;
		e->stream = c->stream.id;
		e->stream_reactor = c->stream.reactor->index;
		c->unasked = 0;
	}
	if (c->untaken > UNTAKEN_STOP)
		stream_pause(&c->stream, PAUSE_CREDIT);
}

/* To the session's home, OUT. RFC 6120 section 8.1.2.1: it is from this session, whatever it says itself. Takes the
 * reference. */
static void c2s_route(struct c2s *c, struct stanza *st)
{
	struct reactor *r = c->stream.reactor;
	struct envelope *e;
	struct jid *to;

	to = c2s_to(c, st->to);
	if (!to) {
		c2s_refuse(c, st, JID_MALFORMED, NULL);
		stanza_unref(st);
		return;
	}
	if (c->is_guest && !c2s_guest_may(c, to)) {
		c2s_say(c,
		        stanza_is_error(st) || st->type == IQ_RESULT
		            ? NULL
		            : stanza_error(st, NOT_ALLOWED, GUEST_TEXT),
		        to);
		jid_unref(to);
		stanza_unref(st);
		return;
	}
	e = envelope_new(r, ENV_STANZA);
	e->dir = OUT;
	e->home_kind = HOME_USER;
	e->from = jid_ref(c->full);
	e->to = to;
	e->stanza = st;
	e->session = c->session;
	e->trace = ++r->trace;
	c2s_count(c, e);
	reactor_post(r, c->home_reactor, e);
}

void c2s_on_stanza(struct c2s *c, struct stanza *st)
{
	/* Section 8.2.3: an IQ has an id and one of four types. */
	if (st->kind == STANZA_IQ && (!st->id || st->type == TYPE_UNKNOWN))
		c2s_refuse(c, st, BAD_REQUEST, st->id ? "Unknown type of IQ." : "An IQ needs an id.");
	else
		c2s_route(c, stanza_ref(st));
}

/* ---- envelopes from the home, and the farewell to it */

void c2s_take(struct stream *s, struct envelope *e)
{
	struct c2s *c = c2s_of(s);

	if (e->kind == ENV_BOUND && c->state == C2S_BINDING) {
		on_bound(c, e);
		stream_resume(s, PAUSE_BIND);
	} else if (e->kind == ENV_RESUMED && c->state == C2S_BINDING) {
		c2s_on_resumed(c, e);
		stream_resume(s, PAUSE_BIND);
	} else if (e->kind == ENV_UNBOUND && c->state == C2S_BINDING) {
		on_unbound(c, e);
		stream_resume(s, PAUSE_BIND);
	} else if (e->kind == ENV_CREDIT) {
		c->untaken -= e->count;
		if (c->untaken <= UNTAKEN_STOP)
			stream_resume(s, PAUSE_CREDIT);
	}
}

/* XEP-0199 section 4.1. The answer is for the host, which minds it no more. */
void c2s_ping(struct stream *s)
{
	static const char r[] = "<r xmlns='" SM_NS "'/>";
	struct stanza *ping;

	if (c2s_of(s)->is_managed) { /* what asks for an acknowledgement asks whether it is there, too */
		stream_write_text(s, r, sizeof r - 1);
		return;
	}
	ping = stanza_new(STANZA_IQ, IQ_GET, "still-there");
	element_add(ping, ping->root, "ping", "urn:xmpp:ping");
	stream_write(s, stanza_seal(ping), c2s_of(s)->domain, c2s_of(s)->full);
}

void c2s_detach(struct stream *s)
{
	struct c2s *c = c2s_of(s);
	struct envelope *e;

	c2s_drop_guest(c);
	if (!(c->state & (C2S_BINDING | C2S_BOUND)))
		return;
	e = envelope_new(s->reactor, ENV_DETACH);
	e->to = jid_ref(c->user);
	e->session = c->session;
	e->stream = s->id;
	e->is_farewell = s->is_farewell;
	e->count = s->managed_written;
	reactor_post(s->reactor, c->home_reactor, e);
}
