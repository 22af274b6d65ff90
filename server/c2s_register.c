/* c2s_register.c - XEP-0077 section 3.1: a stranger makes an account before he logs in, on a host that allows
 * it (policy "registration"). Inside TLS only; one account a stream, and few an hour from one network
 * address. The account is made by account.c; no home wakes. */
#include <string.h>

#include "account.h"
#include "c2s_parts.h"
#include "gate.h"
#include "log.h"
#include "server.h"

#define REGISTER_NS "jabber:iq:register"

struct registration {
	struct account_job account;
	uint64_t stream;
	struct jid *jid;
	char *password, *id;
};

bool c2s_may_register(const struct c2s *c)
{
	const struct host *h =
	    hosts_find(c->stream.reactor->hosts, jid_domain(c->domain), jid_domain_len(c->domain));

	return h && h->policy.registration && c->stream.ssl && c->state == C2S_SECURE;
}

/* ---- answers */

static void answer(struct c2s *c, struct stanza *st)
{
	stream_write(&c->stream, st, c->domain, NULL);
}

static void answer_error(struct c2s *c, const char *id, enum stanza_condition condition, const char *text)
{
	struct stanza *asked = stanza_seal(stanza_new(STANZA_IQ, IQ_SET, id));

	answer(c, stanza_error(asked, condition, text));
	stanza_unref(asked);
}

static void on_get(struct c2s *c, const char *id)
{
	struct stanza *st = stanza_new(STANZA_IQ, IQ_RESULT, id);
	struct element *query = element_add(st, st->root, "query", REGISTER_NS);

	element_add_text(st, query, "instructions", REGISTER_NS, "Choose a username and a password.");
	element_add(st, query, "username", REGISTER_NS);
	element_add(st, query, "password", REGISTER_NS);
	answer(c, stanza_seal(st));
}

static void registration_free(struct registration *reg)
{
	explicit_bzero(reg->password, strlen(reg->password));
	mem_free(reg->password);
	mem_free(reg->id);
	jid_unref(reg->jid);
	mem_free(reg);
}

static void on_registered(struct account_job *account)
{
	struct registration *reg = CONTAINER_OF(account, struct registration, account);
	struct stream *s = stream_find(account->reactor, reg->stream);
	struct c2s *c = s && !s->is_closing ? c2s_of(s) : NULL;

	log_info("c2s", c ? c->stream.peer : NULL, "registration of %s %s", reg->jid->text,
	         account->result == ACCOUNT_OK ? "succeeded" : "failed");
	if (c && c->state == C2S_CHECKING) {
		stream_resume(s, PAUSE_LOGIN);
		c2s_enter(c, C2S_SECURE);
		c->has_registered = account->result == ACCOUNT_OK;
		if (account->result == ACCOUNT_OK)
			answer(c, stanza_seal(stanza_new(STANZA_IQ, IQ_RESULT, reg->id)));
		else if (account->result == ACCOUNT_EXISTS)
			answer_error(c, reg->id, CONFLICT, "This name is taken.");
		else if (account->result == ACCOUNT_BAD_PASSWORD)
			answer_error(c, reg->id, NOT_ACCEPTABLE, "This is no valid password.");
		else
			answer_error(c, reg->id, RESOURCE_CONSTRAINT, "Try again later.");
	}
	registration_free(reg);
}

/* ---- requests */

static bool may_try(struct c2s *c)
{
	struct reactor *r = c->stream.reactor;

	return gate_register(r->server->gate, &c->stream.address, &r->conf->limits,
	                     (int64_t)(uv_hrtime() / 1000));
}

static void start(struct c2s *c, const char *id, struct jid *jid, const char *password)
{
	struct registration *reg = mem_zalloc(sizeof *reg);

	reg->jid = jid;
	reg->password = mem_strdup(password);
	reg->id = mem_strdup(id);
	reg->stream = c->stream.id;
	reg->account = (struct account_job){
		.reactor = c->stream.reactor, .jid = jid, .password = reg->password, .done = on_registered
	};
	if (account_add(&reg->account)) {
		c2s_enter(c, C2S_CHECKING);
		stream_pause(&c->stream, PAUSE_LOGIN);
		return;
	}
	registration_free(reg);
	answer_error(c, id, RESOURCE_CONSTRAINT, "Try again later.");
}

static void on_set(struct c2s *c, struct stanza *st, const struct element *query)
{
	const struct element *name = element_child(query, "username", REGISTER_NS);
	const struct element *password = element_child(query, "password", REGISTER_NS);
	struct arena a = { 0 };
	const char *local = name ? element_get_text(name, &a) : "";
	const char *secret = password ? element_get_text(password, &a) : "";
	struct jid *jid = *local ? jid_make(local, c->domain->text, NULL) : NULL;

	if (element_child(query, "remove", REGISTER_NS))
		answer_error(c, st->id, UNEXPECTED_REQUEST, "Log in first.");
	else if (c->has_registered)
		answer_error(c, st->id, NOT_ACCEPTABLE, "This stream has made an account already.");
	else if (!*local || !*secret)
		answer_error(c, st->id, NOT_ACCEPTABLE, "A username and a password are required.");
	else if (!jid || !jid_is_registrable(jid))
		answer_error(c, st->id, NOT_ACCEPTABLE, "This name cannot be had.");
	else if (!may_try(c))
		answer_error(c, st->id, RESOURCE_CONSTRAINT, "Too many registrations; try again later.");
	else
		start(c, st->id, jid_ref(jid), secret);
	jid_unref(jid);
	arena_free(&a);
}

void c2s_on_register(struct c2s *c, struct stanza *st)
{
	const struct element *query = element_child(st->root, "query", REGISTER_NS);

	if (!query || !st->id || !stanza_is_request(st) || (st->to && strcmp(st->to, c->domain->text) != 0))
		stream_close(&c->stream, STREAM_NOT_AUTHORIZED, NULL);
	else if (!c2s_may_register(c))
		answer_error(c, st->id, SERVICE_UNAVAILABLE, "Accounts are made by the administrator.");
	else if (st->type == IQ_GET)
		on_get(c, st->id);
	else
		on_set(c, st, query);
}
