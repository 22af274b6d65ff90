/* c2s.c - client streams: negotiation as a table, headers, features and STARTTLS (RFC 6120 sections 4 and
 * 5). c2s_parts.h has the states, and says which file of c2s does what. */
#include "c2s.h"

#include <string.h>

#include "c2s_parts.h"
#include "csi.h"
#include "home.h"
#include "log.h"
#include "sm.h"

#define TLS_NS "urn:ietf:params:xml:ns:xmpp-tls"

void c2s_enter(struct c2s *c, enum c2s_state state)
{
	log_debug("c2s", c->stream.peer, "%u -> %u", c->state, (unsigned)state);
	c->state = (uint8_t)state;
	list_remove(&c->login_node);
	if (state & C2S_LOGIN)
		list_append(&c->stream.reactor->logins, &c->login_node);
}

void c2s_restart(struct c2s *c)
{
	c->is_open = false;
	stream_restart(&c->stream);
}

/* ---- headers and features */

static const struct jid *c2s_domain(struct c2s *c)
{
	const struct hosts *hosts = c->stream.reactor->hosts;

	if (c->domain)
		return c->domain;
	return hosts->count ? hosts->list[0].jid : NULL;
}

/* RFC 6120 section 4.7.3: nobody can guess it. */
static void write_id(struct stream *s, struct buffer *b)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char id[12];

	reactor_random(s->reactor, id, sizeof id);
	for (unsigned i = 0; i < sizeof id; i++) {
		buffer_add(b, &digits[id[i] >> 4], 1);
		buffer_add(b, &digits[id[i] & 15], 1);
	}
}

static void c2s_open(struct stream *s)
{
	struct c2s *c = c2s_of(s);
	struct buffer b = { 0 };
	const struct jid *domain = c2s_domain(c);

	if (c->is_open)
		return;
	c->is_open = true;
	buffer_adds(&b,
	            "<?xml version='1.0'?><stream:stream xmlns='jabber:client'"
	            " xmlns:stream='http://etherx.jabber.org/streams' version='1.0' xml:lang='" STREAM_LANG
	            "' id='");
	write_id(s, &b);
	buffer_addf(&b, "' from='%s", domain ? domain->text : ""); /* RFC 6120 section 4.9.1.3 */
	if (c->claimed) {                                          /* section 4.7.2 */
		buffer_adds(&b, "' to='");
		xml_escape(&b, c->claimed->text, c->claimed->bare_len);
	}
	buffer_adds(&b, "'>");
	stream_write_text(s, b.data, b.len);
	buffer_free(&b);
}

void c2s_features(struct c2s *c)
{
	struct buffer b = { 0 };

	buffer_adds(&b, "<stream:features>");
	if (c->stream.ssl || !c->require_tls)
		stream_add_limits(&c->stream, &b);
	if (c->state == C2S_AUTHENTICATED) {
		buffer_adds(&b,
		            "<bind xmlns='" BIND_NS "'/><sm xmlns='" SM_NS "'/><csi xmlns='" CSI_NS "'/>");
		if (c->stream.reactor->hooks->stream_features.len)
			buffer_adds(&b, c->stream.reactor->hooks->stream_features.data);
		host_stream_features(c->stream.reactor, c->domain, &b);
	} else {
		if (!c->stream.ssl)
			buffer_addf(&b, "<starttls xmlns='" TLS_NS "'>%s</starttls>",
			            c->require_tls ? "<required/>" : "");
		if (c->stream.ssl || !c->require_tls) /* RFC 6120 section 5.3.1: required means alone */
			c2s_offer(c, &b);
		if (c2s_may_register(c))
			buffer_adds(&b, "<register xmlns='http://jabber.org/features/iq-register'/>");
	}
	buffer_adds(&b, "</stream:features>");
	stream_write_text(&c->stream, b.data, b.len);
	buffer_free(&b);
}

/* RFC 6120 section 4.7.5: a missing version is 0.9, which has no features; a higher major one is answered
 * with ours. Zeros in front mean nothing. */
static bool version_is_known(const char *version)
{
	if (version)
		version += strspn(version, "0");
	return version && *version >= '1' && *version <= '9';
}

bool c2s_claims_another(const struct c2s *c, const struct jid *user)
{
	return c->stream.ssl && c->claimed && !c->is_guest && !jid_is_same_bare(c->claimed, user);
}

static void c2s_header(struct stream *s, const struct xml_header *h)
{
	struct c2s *c = c2s_of(s);
	const struct host *host;
	struct jid *domain;

	if (h->is_server) {
		stream_close(s, STREAM_INVALID_NAMESPACE,
		             "This port is for clients: the namespace is jabber:client.");
		return;
	}
	if (!h->to) {
		stream_close(s, STREAM_IMPROPER_ADDRESSING, "The stream header has no 'to'.");
		return;
	}
	domain = jid_parse(h->to, strlen(h->to));
	host = domain && !jid_has_local(domain) && !jid_has_resource(domain)
	           ? hosts_find(s->reactor->hosts, jid_domain(domain), jid_domain_len(domain))
	           : NULL;
	jid_unref(domain);
	if (!host || (c->user && strcmp(c->domain->text, host->jid->text) != 0)) {
		stream_close(s, STREAM_HOST_UNKNOWN, NULL);
		return;
	}
	jid_unref(c->domain);
	c->domain = jid_ref(host->jid);
	jid_unref(c->claimed);
	c->claimed = h->from ? jid_parse(h->from, strlen(h->from)) : NULL;
	if (!version_is_known(h->version)) {
		stream_close(s, STREAM_UNSUPPORTED_VERSION, "XMPP 1.0 is spoken here.");
		return;
	}
	if (c->user && c2s_claims_another(c, c->user)) {
		stream_close(s, STREAM_INVALID_FROM, C2S_CLAIM_TEXT);
		return;
	}
	if (c->state == C2S_OPENING && s->ssl)
		c2s_enter(c, C2S_SECURE);
	c2s_open(s);
	if (!c2s_look_up_certificate(c))
		c2s_features(c);
}

/* ---- STARTTLS */

/* RFC 6120 section 5.4.2.2: also where it was not offered. */
static void on_wrong_starttls(struct c2s *c, struct stanza *st)
{
	static const char failure[] = "<failure xmlns='" TLS_NS "'/>";

	(void)st;
	stream_write_text(&c->stream, failure, sizeof failure - 1);
	stream_close(&c->stream, STREAM_FINE, NULL);
}

static void on_starttls(struct c2s *c, struct stanza *st)
{
	static const char proceed[] = "<proceed xmlns='" TLS_NS "'/>";

	if (!tls_certs_find(c->stream.reactor->hosts->certs, c->domain->text)) {
		log_warn("c2s", c->stream.peer, "no certificate for %s: STARTTLS refused", c->domain->text);
		on_wrong_starttls(c, st);
		return;
	}
	stream_write_text(&c->stream, proceed, sizeof proceed - 1);
	c->is_open = false;
	stream_start_tls(&c->stream, c->domain->text);
}

/* ---- the table: what may come in which state */

struct rule {
	unsigned states;
	const char *ns, *name; /* ns NULL: the content namespace; name NULL: any stanza */
	void (*proceed)(struct c2s *c, struct stanza *st);
};

static const struct rule rules[] = {
	{ C2S_BOUND, NULL, NULL, c2s_on_stanza },
	{ C2S_OPENING, TLS_NS, "starttls", on_starttls },
	{ ~0U ^ C2S_OPENING, TLS_NS, "starttls", on_wrong_starttls },
	{ C2S_LOOKING, SASL_NS, "auth", c2s_on_hasty },
	{ C2S_LOOKING, NULL, "iq", c2s_on_hasty },
	{ C2S_OPENING | C2S_SECURE | C2S_CHALLENGED, SASL_NS, "auth", c2s_on_auth },
	{ C2S_CHALLENGED, SASL_NS, "response", c2s_on_response },
	{ C2S_OPENING | C2S_SECURE | C2S_CHALLENGED, SASL_NS, "abort", c2s_on_abort },
	{ C2S_SECURE, NULL, "iq", c2s_on_register },
	{ C2S_AUTHENTICATED, NULL, "iq", c2s_on_bind },
	{ C2S_BINDING, NULL, NULL, c2s_on_early },
	{ C2S_BOUND, CSI_NS, "active", c2s_on_state },
	{ C2S_BOUND, CSI_NS, "inactive", c2s_on_state },
	{ C2S_BINDING, CSI_NS, "active", c2s_on_early },
	{ C2S_BINDING, CSI_NS, "inactive", c2s_on_early },
	{ C2S_BOUND, SM_NS, "r", c2s_on_manage },
	{ C2S_BOUND, SM_NS, "a", c2s_on_manage },
	{ C2S_BOUND, SM_NS, "enable", c2s_on_manage },
	{ C2S_BINDING, SM_NS, "r", c2s_on_early },
	{ C2S_BINDING, SM_NS, "a", c2s_on_early },
	{ C2S_BINDING, SM_NS, "enable", c2s_on_early },
	{ C2S_AUTHENTICATED, SM_NS, "resume", c2s_on_resume },
	{ ~0U ^ C2S_LOOKING, SM_NS, "r", c2s_on_unmanaged },
	{ ~0U ^ C2S_LOOKING, SM_NS, "a", c2s_on_unmanaged },
	{ ~0U ^ C2S_LOOKING, SM_NS, "enable", c2s_on_unmanaged },
	{ ~0U ^ C2S_LOOKING, SM_NS, "resume", c2s_on_unmanaged },
};

static bool rule_fits(const struct rule *r, const struct c2s *c, const struct stanza *st)
{
	if (!(r->states & c->state))
		return false;
	if (!r->name)
		return st->kind < STANZA_OTHER;
	return element_is(st->root, r->name, r->ns);
}

/* RFC 6120 section 4.9.3.24 after login; before it, whatever is not negotiation is not authorized. Section 4.8.3:
 * what would be a stanza between servers has a namespace that is not this stream's. */
static void c2s_unexpected(struct c2s *c, const struct stanza *st)
{
	if (st->root->ns && strcmp(st->root->ns, "jabber:server") == 0)
		stream_close(&c->stream, STREAM_INVALID_NAMESPACE, NULL);
	else if (st->kind == STANZA_OTHER && !(c->state & (C2S_LOOKING | C2S_CHECKING | C2S_CHALLENGED)))
		stream_close(&c->stream, STREAM_UNSUPPORTED_STANZA_TYPE, NULL);
	else
		stream_close(&c->stream, STREAM_NOT_AUTHORIZED, NULL);
}

void c2s_stanza(struct stream *s, struct stanza *st)
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

/* ---- the beginning and the end */

void c2s_end_logins(struct reactor *r, const struct jid *account, const char *text)
{
	struct c2s *c;

	LIST_EACH (c, &r->logins, struct c2s, login_node) {
		const char *name = c->user ? c->user->text : c->tried;

		if (name && strcmp(name, account->text) == 0)
			stream_close(&c->stream, STREAM_NOT_AUTHORIZED, text);
	}
}

static void c2s_free(struct stream *s)
{
	struct c2s *c = c2s_of(s);

	if (c->state) /* it has begun */
		list_remove(&c->login_node);
	c2s_drop_early(c);
	sasl_free(c->sasl);
	stanza_unref(c->hasty);
	c2s_drop_opened(c);
	jid_unref(c->domain);
	jid_unref(c->claimed);
	jid_unref(c->user);
	jid_unref(c->full);
	jid_unref(c->last_to);
	mem_free(c->last_to_text);
	mem_free(c->bind_id);
	mem_free(c->tried);
}

static void c2s_leave(struct stream *s)
{
	list_remove(&c2s_of(s)->login_node);
}

static void c2s_arrive(struct stream *s)
{
	list_append(&s->reactor->logins, &c2s_of(s)->login_node);
	s->host = host_counts_of(s->reactor, c2s_of(s)->user);
}

static const struct stream_protocol c2s_protocol = {
	.name = "c2s",
	.size = sizeof(struct c2s),
	.header = c2s_header,
	.stanza = c2s_stanza,
	.take = c2s_take,
	.detach = c2s_detach,
	.ask = c2s_ping,
	.free = c2s_free,
	.leave = c2s_leave,
	.arrive = c2s_arrive,
	.open = c2s_open,
};

void c2s_accept(struct reactor *r, uv_stream_t *listener, bool direct, bool require_tls,
                const char *balancers)
{
	struct stream *s = stream_accept(r, listener, &c2s_protocol, direct, balancers);

	if (!s)
		return;
	list_init(&c2s_of(s)->login_node);
	c2s_of(s)->require_tls = require_tls;
	c2s_enter(c2s_of(s), C2S_OPENING);
}
