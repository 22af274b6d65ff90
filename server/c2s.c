/* c2s.c - client streams: negotiation as a table, then stanzas on their way to the session's home.
 *
 *   OPENING -> SECURE -> (CHALLENGED, CHECKING) -> AUTHENTICATED -> BINDING -> BOUND
 *
 * Authentication holds the stream only; the home wakes at bind. Nothing here knows the home but by address and
 * envelope. */
#include "c2s.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "module.h"
#include "router.h"
#include "sasl.h"
#include "server.h"
#include "stream.h"

#define TLS_NS "urn:ietf:params:xml:ns:xmpp-tls"
#define SASL_NS "urn:ietf:params:xml:ns:xmpp-sasl"
#define BIND_NS "urn:ietf:params:xml:ns:xmpp-bind"
#define CREDIT_EVERY 32  /* stanzas between two credits asked of the home */
#define UNTAKEN_STOP 128 /* the home has not taken so many: stop reading */

enum c2s_state {
	C2S_OPENING = 1,  /* no TLS yet */
	C2S_SECURE = 2,   /* may authenticate */
	C2S_CHALLENGED = 4,
	C2S_CHECKING = 8, /* the account is being read, or the password hashed */
	C2S_AUTHENTICATED = 16,
	C2S_BINDING = 32,
	C2S_BOUND = 64
};

struct c2s {
	struct stream stream;
	uint8_t state; /* enum c2s_state */
	bool require_tls;
	bool is_open; /* our header has been written */
	uint8_t failures;
	unsigned offered; /* mechanisms */
	struct sasl *sasl;
	struct jid *domain; /* of the stream */
	struct jid *claimed; /* the header's from: only answered to */
	struct jid *user;   /* bare, once authenticated */
	struct jid *full;   /* once bound */
	struct jid *last_to; /* of the last stanza: most go to the same address again */
	char *last_to_text;
	char *bind_id;
	char login[48]; /* "SCRAM-SHA-1, TLSv1.3" */
	uint64_t session;
	uint32_t untaken, unasked; /* stanzas not credited, and not asked credit for */
	struct envelope *early, **early_tail; /* stanzas sent while the session was being bound */
};

static struct c2s *c2s_of(struct stream *s)
{
	return CONTAINER_OF(s, struct c2s, stream);
}

/* The one writer of the state. */
static void c2s_enter(struct c2s *c, enum c2s_state state)
{
	log_debug("c2s", c->stream.peer, "%u -> %u", c->state, (unsigned)state);
	c->state = (uint8_t)state;
}

/* ---- headers and features */

static const struct jid *c2s_domain(struct c2s *c)
{
	const struct hosts *hosts = c->stream.reactor->hosts;

	if (c->domain)
		return c->domain;
	return hosts->count ? hosts->list[0].jid : NULL;
}

static void c2s_open(struct stream *s)
{
	struct c2s *c = c2s_of(s);
	struct buffer b = { 0 };
	const struct jid *domain = c2s_domain(c);
	unsigned char id[12];

	if (c->is_open)
		return;
	c->is_open = true;
	reactor_random(s->reactor, id, sizeof id);
	buffer_adds(&b, "<?xml version='1.0'?><stream:stream xmlns='jabber:client'"
			" xmlns:stream='http://etherx.jabber.org/streams' version='1.0' xml:lang='en' id='");
	for (unsigned i = 0; i < sizeof id; i++)
		buffer_addf(&b, "%02x", id[i]);
	if (domain)
		buffer_addf(&b, "' from='%s", domain->text);
	if (c->user || c->claimed) { /* RFC 6120 section 4.7.2 */
		const struct jid *to = c->user ? c->user : c->claimed;

		buffer_adds(&b, "' to='");
		xml_escape(&b, to->text, to->len);
	}
	buffer_adds(&b, "'>");
	stream_write_text(s, b.data, b.len);
	buffer_free(&b);
}

static void add_mechanisms(struct c2s *c, struct buffer *b)
{
	unsigned bindings = sasl_channel_bindings(c->stream.ssl);

	c->offered = sasl_offer(c->stream.ssl, !c->require_tls);
	if (!c->offered)
		return;
	buffer_adds(b, "<mechanisms xmlns='" SASL_NS "'>");
	for (unsigned m = 0; m < SASL_MECHANISMS; m++)
		if (c->offered >> m & 1)
			buffer_addf(b, "<mechanism>%s</mechanism>", sasl_name(m));
	buffer_adds(b, "</mechanisms>");
	if (!bindings)
		return;
	buffer_adds(b, "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>"); /* XEP-0440 */
	if (bindings & SASL_CB_EXPORTER)
		buffer_adds(b, "<channel-binding type='tls-exporter'/>");
	if (bindings & SASL_CB_END_POINT)
		buffer_adds(b, "<channel-binding type='tls-server-end-point'/>");
	buffer_adds(b, "</sasl-channel-binding>");
}

static void c2s_features(struct c2s *c)
{
	struct buffer b = { 0 };

	buffer_adds(&b, "<stream:features>");
	if (c->state == C2S_AUTHENTICATED) {
		buffer_adds(&b, "<bind xmlns='" BIND_NS "'/>");
		if (c->stream.reactor->hooks->stream_features.len)
			buffer_adds(&b, c->stream.reactor->hooks->stream_features.data);
	} else {
		if (!c->stream.ssl)
			buffer_addf(&b, "<starttls xmlns='" TLS_NS "'>%s</starttls>",
				    c->require_tls ? "<required/>" : "");
		if (c->stream.ssl || !c->require_tls) /* RFC 6120 section 5.3.1: required means alone */
			add_mechanisms(c, &b);
	}
	buffer_adds(&b, "</stream:features>");
	stream_write_text(&c->stream, b.data, b.len);
	buffer_free(&b);
}

/* RFC 6120 section 4.7.5: a missing version is 0.9, which has no features; a higher major one is answered with
 * ours. */
static bool version_is_known(const char *version)
{
	return version && version[0] >= '1' && version[0] <= '9';
}

static void c2s_header(struct stream *s, const struct xml_header *h)
{
	struct c2s *c = c2s_of(s);
	struct jid *domain;

	if (h->is_server) {
		stream_close(s, STREAM_INVALID_NAMESPACE, "This port is for clients: the namespace is jabber:client.");
		return;
	}
	if (!h->to) {
		stream_close(s, STREAM_IMPROPER_ADDRESSING, "The stream header has no 'to'.");
		return;
	}
	domain = jid_parse(h->to, strlen(h->to));
	if (!domain || jid_has_local(domain) || jid_has_resource(domain) ||
	    !hosts_find(s->reactor->hosts, jid_domain(domain), jid_domain_len(domain)) ||
	    (c->user && strcmp(c->domain->text, domain->text) != 0)) {
		jid_unref(domain);
		stream_close(s, STREAM_HOST_UNKNOWN, NULL);
		return;
	}
	jid_unref(c->domain);
	c->domain = domain;
	jid_unref(c->claimed);
	c->claimed = h->from ? jid_parse(h->from, strlen(h->from)) : NULL;
	if (!version_is_known(h->version)) {
		stream_close(s, STREAM_UNSUPPORTED_VERSION, "XMPP 1.0 is spoken here.");
		return;
	}
	if (c->state == C2S_OPENING && s->ssl)
		c2s_enter(c, C2S_SECURE);
	c->is_open = false;
	c2s_open(s);
	c2s_features(c);
}

/* ---- STARTTLS */

static void on_starttls(struct c2s *c, struct stanza *st)
{
	static const char proceed[] = "<proceed xmlns='" TLS_NS "'/>";
	static const char failure[] = "<failure xmlns='" TLS_NS "'/>";

	(void)st;
	if (!tls_certs_find(c->stream.reactor->hosts->certs, c->domain->text)) { /* RFC 6120 section 5.4.2.2 */
		log_warn("c2s", c->stream.peer, "no certificate for %s: STARTTLS refused", c->domain->text);
		stream_write_text(&c->stream, failure, sizeof failure - 1);
		stream_close(&c->stream, STREAM_FINE, NULL);
		return;
	}
	stream_write_text(&c->stream, proceed, sizeof proceed - 1);
	stream_start_tls(&c->stream);
}

/* ---- SASL */

static void sasl_fail(struct c2s *c, const char *condition)
{
	struct buffer b = { 0 };

	c->stream.reactor->counts.login_failures++;
	log_info("c2s", c->stream.peer, "login%s%s failed: %s", c->sasl && sasl_user(c->sasl) ? " of " : "",
		 c->sasl && sasl_user(c->sasl) ? sasl_user(c->sasl) : "", condition);
	sasl_free(c->sasl);
	c->sasl = NULL;
	buffer_addf(&b, "<failure xmlns='" SASL_NS "'><%s/></failure>", condition);
	stream_write_text(&c->stream, b.data, b.len);
	buffer_free(&b);
	c2s_enter(c, c->stream.ssl ? C2S_SECURE : C2S_OPENING);
	if (++c->failures >= c->stream.reactor->conf->limits.login_failures)
		stream_close(&c->stream, STREAM_POLICY_VIOLATION, "Too many failed attempts.");
}

static void write_sasl(struct c2s *c, const char *element, const char *reply)
{
	struct buffer b = { 0 };

	buffer_addf(&b, "<%s xmlns='" SASL_NS "'>%s</%s>", element, reply ? reply : "", element);
	stream_write_text(&c->stream, b.data, b.len);
	buffer_free(&b);
}

static void on_account(void *arg, const struct rows *rows);
static void sasl_go_on(struct c2s *c, enum sasl_result result, const char *reply);

static const struct sql sql_keys = {
	.name = "login_keys",
	.text = "select a.disabled, a.salt, a.iterations, a.stored_sha1, a.server_sha1, a.stored_sha256,"
		" a.server_sha256 from account a join host h on h.id = a.host where h.name = $1 and a.name = $2",
};

/* Whoever waits for an answer knows the stream by id only. */
struct question {
	struct reactor *reactor;
	uint64_t stream;
	struct sasl *sasl; /* while it is in the worker pool */
	uv_work_t work;
};

static struct c2s *question_answered(struct question *q)
{
	struct stream *s = stream_find(q->reactor, q->stream);

	if (!s || s->is_closing || c2s_of(s)->state != C2S_CHECKING)
		return NULL;
	stream_resume(s);
	return c2s_of(s);
}

static struct question *c2s_ask(struct c2s *c)
{
	struct question *q = mem_zalloc(sizeof *q);

	q->reactor = c->stream.reactor;
	q->stream = c->stream.id;
	c2s_enter(c, C2S_CHECKING);
	stream_pause(&c->stream);
	return q;
}

static bool read_bytes(const struct rows *rows, unsigned column, unsigned char *out, size_t size)
{
	size_t n;
	const char *data = rows_bytes(rows, 0, column, &n);

	if (!data || n != size)
		return false;
	memcpy(out, data, n);
	return true;
}

/* False: no such account, or one whose keys are not whole. */
static bool read_keys(const struct rows *rows, struct sasl_keys *k)
{
	size_t n = 0;
	const char *salt = rows_count(rows) ? rows_bytes(rows, 0, 1, &n) : NULL;

	if (!salt || n == 0 || n > sizeof k->salt)
		return false;
	memcpy(k->salt, salt, n);
	k->salt_len = (unsigned)n;
	k->is_disabled = rows_int(rows, 0, 0) != 0;
	k->iterations = (unsigned)rows_int(rows, 0, 2);
	return k->iterations > 0 && read_bytes(rows, 3, k->stored_sha1, sizeof k->stored_sha1) &&
	       read_bytes(rows, 4, k->server_sha1, sizeof k->server_sha1) &&
	       read_bytes(rows, 5, k->stored_sha256, sizeof k->stored_sha256) &&
	       read_bytes(rows, 6, k->server_sha256, sizeof k->server_sha256);
}

static void on_account(void *arg, const struct rows *rows)
{
	struct question *q = arg;
	struct c2s *c = question_answered(q);
	struct sasl_keys keys;
	enum sasl_result result;
	const char *reply = NULL;

	mem_free(q);
	if (!c)
		return;
	if (rows_status(rows) != STORE_OK) {
		sasl_fail(c, "temporary-auth-failure");
		return;
	}
	memset(&keys, 0, sizeof keys);
	result = sasl_account(c->sasl, read_keys(rows, &keys) ? &keys : NULL, &reply);
	sasl_go_on(c, result, reply);
	OPENSSL_cleanse(&keys, sizeof keys);
}

static void hash_in_pool(uv_work_t *work)
{
	sasl_hash(CONTAINER_OF(work, struct question, work)->sasl);
}

static void on_hashed(uv_work_t *work, int status)
{
	struct question *q = CONTAINER_OF(work, struct question, work);
	struct c2s *c = question_answered(q);
	enum sasl_result result;
	const char *reply = NULL;

	(void)status;
	q->reactor->hashing--;
	if (c) {
		c->sasl = q->sasl;
		result = sasl_hashed(c->sasl, &reply);
		sasl_go_on(c, result, reply);
	} else {
		sasl_free(q->sasl);
	}
	mem_free(q);
}

static void sasl_start_hash(struct c2s *c)
{
	struct reactor *r = c->stream.reactor;
	struct question *q;

	if (r->hashing >= (unsigned)r->conf->limits.password_hashes) {
		sasl_fail(c, "temporary-auth-failure");
		return;
	}
	q = c2s_ask(c);
	q->sasl = c->sasl;
	c->sasl = NULL;
	r->hashing++;
	ASSERT(uv_queue_work(&r->loop, &q->work, hash_in_pool, on_hashed) == 0);
}

static void sasl_succeed(struct c2s *c, const char *reply)
{
	struct reactor *r = c->stream.reactor;

	c->user = jid_make(sasl_user(c->sasl), c->domain->text, NULL);
	ASSERT(c->user);
	write_sasl(c, "success", reply);
	snprintf(c->login, sizeof c->login, "%s%s%s", sasl_name(sasl_mechanism(c->sasl)), c->stream.ssl ? ", " : "",
			      c->stream.ssl ? SSL_get_version(c->stream.ssl) : "");
	sasl_free(c->sasl);
	c->sasl = NULL;
	r->counts.logins++;
	c->stream.is_logged_in = true;
	c2s_enter(c, C2S_AUTHENTICATED);
	stream_restart(&c->stream);
}

static void sasl_go_on(struct c2s *c, enum sasl_result result, const char *reply)
{
	struct reactor *r = c->stream.reactor;

	switch (result) {
	case SASL_CHALLENGE:
		c2s_enter(c, C2S_CHALLENGED);
		write_sasl(c, "challenge", reply);
		break;
	case SASL_SUCCESS:
		sasl_succeed(c, reply);
		break;
	case SASL_FAILURE:
		sasl_fail(c, sasl_condition(c->sasl));
		break;
	case SASL_NEED_ACCOUNT:
		store_read(r->store, 0, &sql_keys, PARAMS(P_TEXT(c->domain->text), P_TEXT(sasl_user(c->sasl))),
			   on_account, c2s_ask(c));
		break;
	case SASL_NEED_HASH:
		sasl_start_hash(c);
		break;
	}
}

static void sasl_take(struct c2s *c, const struct stanza *st)
{
	struct arena a = { 0 };
	const char *reply = NULL;
	const char *text = st->root->children ? element_get_text(st->root, &a) : NULL;
	enum sasl_result result = sasl_step(c->sasl, text, &reply);

	sasl_go_on(c, result, reply);
	arena_free(&a);
}

static void on_auth(struct c2s *c, struct stanza *st)
{
	const char *mechanism = element_get(st->root, "mechanism");

	if (!c->offered) { /* RFC 6120 section 6.5.5 */
		sasl_fail(c, "encryption-required");
		return;
	}
	c->sasl = sasl_begin(mechanism ? mechanism : "", c->offered, c->stream.ssl, c->domain->text,
			     c->stream.reactor->server->secret);
	if (!c->sasl) {
		sasl_fail(c, "invalid-mechanism");
		return;
	}
	sasl_take(c, st);
}

static void on_abort(struct c2s *c, struct stanza *st)
{
	(void)st;
	sasl_fail(c, "aborted");
}

/* ---- bind */

/* An error answer straight from the stream, without any home: the stanza could not enter one. */
static void c2s_refuse(struct c2s *c, struct stanza *st, enum stanza_condition condition, const char *text)
{
	if (stanza_is_error(st) || st->type == IQ_RESULT)
		return;
	stream_write(&c->stream, stanza_error(st, condition, text), c->user, c->full ? c->full : c->user);
}

static void on_bind(struct c2s *c, struct stanza *st)
{
	struct reactor *r = c->stream.reactor;
	struct element *bind = element_child(st->root, "bind", BIND_NS), *resource;
	struct envelope *e;

	if (st->type != IQ_SET || !bind || !st->id) {
		c2s_refuse(c, st, NOT_AUTHORIZED, "Bind a resource first."); /* RFC 6120 section 7.1 */
		return;
	}
	e = envelope_new(r, ENV_BIND);
	e->to = jid_ref(c->user);
	resource = element_child(bind, "resource", BIND_NS);
	if (resource) {
		const char *text = element_get_text(resource, &st->arena);

		if (*text) {
			e->from = jid_with_resource(c->user, text, strlen(text));
			if (!e->from) { /* section 7.7.2.1 */
				envelope_free(r, e);
				c2s_refuse(c, st, BAD_REQUEST, "This resource is not a valid resourcepart.");
				return;
			}
		}
	}
	c->session = r->next_id++;
	c->bind_id = mem_strdup(st->id);
	e->stream = c->stream.id;
	e->stream_reactor = r->index;
	e->session = c->session;
	memcpy(e->peer, c->stream.peer, sizeof e->peer);
	memcpy(e->login, c->login, sizeof e->login);
	c2s_enter(c, C2S_BINDING);
	if (!router_post(r, e)) {
		envelope_free(r, e);
		stream_close(&c->stream, STREAM_HOST_GONE, NULL);
	}
}

static void on_stanza(struct c2s *c, struct stanza *st);

static void c2s_drop_early(struct c2s *c)
{
	struct envelope *early;

	while ((early = c->early)) {
		c->early = early->next;
		envelope_free(c->stream.reactor, early);
	}
}

static void on_bound(struct c2s *c, const struct envelope *e)
{
	struct stanza *result = stanza_new(STANZA_IQ, IQ_RESULT, c->bind_id);
	struct element *bind = element_add(result, result->root, "bind", BIND_NS);
	struct envelope *early;

	c->full = jid_ref(e->to);
	element_add_text(result, bind, "jid", BIND_NS, c->full->text);
	stream_write(&c->stream, stanza_seal(result), NULL, NULL);
	mem_free(c->bind_id);
	c->bind_id = NULL;
	stream_set_timer(&c->stream, 0);
	c2s_enter(c, C2S_BOUND);
	while ((early = c->early)) { /* what the client had sent meanwhile */
		c->early = early->next;
		if (!c->stream.is_closing)
			on_stanza(c, early->stanza);
		envelope_free(c->stream.reactor, early);
	}
}

/* RFC 6120 section 7.6.2.1. What the client had sent meanwhile was for a session that is not. */
static void on_unbound(struct c2s *c)
{
	struct stanza *bind = stanza_seal(stanza_new(STANZA_IQ, IQ_SET, c->bind_id));

	stream_write(&c->stream, stanza_error(bind, RESOURCE_CONSTRAINT, "Too many sessions of this account."), NULL,
		     NULL);
	stanza_unref(bind);
	mem_free(c->bind_id);
	c->bind_id = NULL;
	c2s_drop_early(c);
	c2s_enter(c, C2S_AUTHENTICATED);
}

/* Some clients do not wait for the answer to bind. Bounded by the size of one read, because reading stops. */
static void on_early(struct c2s *c, struct stanza *st)
{
	struct envelope *e = envelope_new(c->stream.reactor, ENV_STANZA);

	stream_pause(&c->stream);
	e->stanza = stanza_ref(st);
	if (!c->early)
		c->early_tail = &c->early;
	*c->early_tail = e;
	c->early_tail = &e->next;
}

/* ---- stanzas of a bound session */

/* RFC 6120 section 8.1.2.1: a `from` that is not the client's own ends the stream. */
static bool from_is_own(const struct c2s *c, const char *from)
{
	struct jid *j;
	bool is_own;

	if (!from || strcmp(from, c->full->text) == 0 || strcmp(from, c->user->text) == 0)
		return true;
	j = jid_parse(from, strlen(from));
	is_own = j && (jid_is(j, c->full) || jid_is(j, c->user));
	jid_unref(j);
	return is_own;
}

/* The recipient: without `to` it is the account itself (sections 10.3.1 to 10.3.3). NULL: not an address. */
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

static void c2s_count(struct c2s *c, struct envelope *e)
{
	c->untaken++;
	if (++c->unasked >= CREDIT_EVERY) {
		e->wants_credit = true;
		e->count = c->unasked;
		e->stream = c->stream.id;
		e->stream_reactor = c->stream.reactor->index;
		c->unasked = 0;
	}
	if (c->untaken > UNTAKEN_STOP)
		stream_pause(&c->stream);
}

/* To the session's home, OUT. Takes the reference. */
static void c2s_route(struct c2s *c, struct stanza *st)
{
	struct reactor *r = c->stream.reactor;
	struct envelope *e;
	struct jid *to;
	enum home_kind kind;

	if (!from_is_own(c, st->from)) {
		stream_close(&c->stream, STREAM_INVALID_FROM, NULL);
		stanza_unref(st);
		return;
	}
	to = c2s_to(c, st->to);
	if (!to) {
		c2s_refuse(c, st, JID_MALFORMED, NULL);
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
	reactor_post(r, router_home_of(r, c->user, &kind), e);
}

static void on_stanza(struct c2s *c, struct stanza *st)
{
	/* Section 8.2.3: an IQ has an id and one of four types. */
	if (st->kind == STANZA_IQ && (!st->id || st->type == TYPE_UNKNOWN))
		c2s_refuse(c, st, BAD_REQUEST, st->id ? "Unknown type of IQ." : "An IQ needs an id.");
	else
		c2s_route(c, stanza_ref(st));
}

/* ---- the table: what may come in which state */

struct rule {
	unsigned states;
	const char *ns, *name; /* ns NULL: the content namespace; name NULL: any stanza */
	void (*proceed)(struct c2s *c, struct stanza *st);
};

static void on_sasl_response(struct c2s *c, struct stanza *st)
{
	sasl_take(c, st);
}

static const struct rule rules[] = {
	{ C2S_BOUND, NULL, NULL, on_stanza },
	{ C2S_OPENING, TLS_NS, "starttls", on_starttls },
	{ C2S_OPENING | C2S_SECURE, SASL_NS, "auth", on_auth },
	{ C2S_CHALLENGED, SASL_NS, "response", on_sasl_response },
	{ C2S_CHALLENGED, SASL_NS, "abort", on_abort },
	{ C2S_AUTHENTICATED, NULL, "iq", on_bind },
	{ C2S_BINDING, NULL, NULL, on_early },
};

static bool rule_fits(const struct rule *r, const struct c2s *c, const struct stanza *st)
{
	if (!(r->states & c->state))
		return false;
	if (!r->name)
		return st->kind < STANZA_OTHER;
	return element_is(st->root, r->name, r->ns);
}

/* RFC 6120 section 4.9.3.24 after login; before it, whatever is not negotiation is not authorized. */
static void c2s_unexpected(struct c2s *c, const struct stanza *st)
{
	if (st->kind == STANZA_OTHER && !(c->state & (C2S_CHECKING | C2S_CHALLENGED)))
		stream_close(&c->stream, STREAM_UNSUPPORTED_STANZA_TYPE, NULL);
	else
		stream_close(&c->stream, STREAM_NOT_AUTHORIZED, NULL);
}

static void c2s_stanza(struct stream *s, struct stanza *st)
{
	struct c2s *c = c2s_of(s);
	const struct rule *found = NULL;

	for (unsigned i = 0; i < COUNT_OF(rules) && !found; i++)
		if (rule_fits(&rules[i], c, st))
			found = &rules[i];
	if (found)
		found->proceed(c, st);
	else
		c2s_unexpected(c, st);
	stanza_unref(st);
}

/* ---- envelopes, and the end */

static void c2s_take(struct stream *s, struct envelope *e)
{
	struct c2s *c = c2s_of(s);

	if (e->kind == ENV_BOUND && c->state == C2S_BINDING) {
		on_bound(c, e);
		stream_resume(s);
	} else if (e->kind == ENV_UNBOUND && c->state == C2S_BINDING) {
		on_unbound(c);
		stream_resume(s);
	} else if (e->kind == ENV_CREDIT) {
		c->untaken -= e->count;
		if (c->untaken <= UNTAKEN_STOP && c->state == C2S_BOUND)
			stream_resume(s);
	}
}

static void c2s_detach(struct stream *s)
{
	struct c2s *c = c2s_of(s);
	struct envelope *e;
	enum home_kind kind;

	if (!(c->state & (C2S_BINDING | C2S_BOUND)))
		return;
	e = envelope_new(s->reactor, ENV_DETACH);
	e->to = jid_ref(c->user);
	e->session = c->session;
	reactor_post(s->reactor, router_home_of(s->reactor, c->user, &kind), e);
}

static void c2s_free(struct stream *s)
{
	struct c2s *c = c2s_of(s);

	c2s_drop_early(c);
	sasl_free(c->sasl);
	jid_unref(c->domain);
	jid_unref(c->claimed);
	jid_unref(c->user);
	jid_unref(c->full);
	jid_unref(c->last_to);
	mem_free(c->last_to_text);
	mem_free(c->bind_id);
}

static const struct stream_protocol c2s_protocol = {
	.name = "c2s",
	.size = sizeof(struct c2s),
	.header = c2s_header,
	.stanza = c2s_stanza,
	.take = c2s_take,
	.detach = c2s_detach,
	.free = c2s_free,
	.open = c2s_open,
};

void c2s_accept(struct reactor *r, uv_stream_t *listener, bool direct, bool require_tls)
{
	struct stream *s = stream_accept(r, listener, &c2s_protocol, direct);

	if (!s)
		return;
	c2s_of(s)->require_tls = require_tls;
	c2s_of(s)->state = C2S_OPENING;
}
