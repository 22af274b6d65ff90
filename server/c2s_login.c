/* c2s_login.c - authentication of a client stream (RFC 6120 section 6): carries the messages of one SASL
 * exchange, reads the account, and has passwords hashed in the worker pool. It holds the stream only; no
 * home wakes. */
#include <stdio.h>
#include <string.h>

#include "c2s_parts.h"
#include "gate.h"
#include "log.h"
#include "router.h"
#include "server.h"

#define WAIT_TEXT "Too many wrong passwords. Try again later."
#define GUESTS_TEXT "Too many guests from your address. Try again later."
#define THIS_MACHINE "127.0.0.0/8 ::" /* as addresses are counted; a socket without any is here, too */
#define ATTEMPTS_PER_FAILURE 20       /* failures of any kind, for each of limits.login_failures */

/* RFC 6120 section 13.8.3: nobody else on the way may hear a password. */
static bool is_private(const struct c2s *c)
{
	return c->stream.ssl || (!c->require_tls && network_list_has(THIS_MACHINE, &c->stream.address));
}

/* What this host offers on this stream. It is the same for all accounts, or it would tell which there are. */
static unsigned mechanisms_of(const struct c2s *c)
{
	const struct hosts *hosts = c->stream.reactor->hosts;
	const struct host *host = hosts_find(hosts, c->domain->text, c->domain->len);
	const struct host_policy *policy = host ? &host->policy : &hosts->none.policy;
	unsigned offered = sasl_offer(c->stream.ssl, is_private(c));

	if (c->opened)
		offered |= 1U << SASL_EXTERNAL;
	if (policy->anonymous)
		offered |= 1U << SASL_ANONYMOUS;
	return policy->mechanisms ? offered & (unsigned)policy->mechanisms : offered;
}

void c2s_offer(struct c2s *c, struct buffer *b)
{
	/* The best first. */
	static const enum sasl_mechanism order[SASL_MECHANISMS] = {
		SASL_EXTERNAL,      SASL_SCRAM_SHA_256_PLUS, SASL_SCRAM_SHA_1_PLUS,
		SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_1,        SASL_PLAIN,
		SASL_ANONYMOUS
	};
	unsigned bindings = sasl_channel_bindings(c->stream.ssl);

	c->offered = mechanisms_of(c);
	if (!c->offered)
		return;
	buffer_adds(b, "<mechanisms xmlns='" SASL_NS "'>");
	for (unsigned i = 0; i < SASL_MECHANISMS; i++)
		if (c->offered >> order[i] & 1)
			buffer_addf(b, "<mechanism>%s</mechanism>", sasl_name(order[i]));
	buffer_adds(b, "</mechanisms>");
	if (!bindings || !(c->offered & (1U << SASL_SCRAM_SHA_256_PLUS | 1U << SASL_SCRAM_SHA_1_PLUS)))
		return;
	buffer_adds(b, "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'>"); /* XEP-0440 */
	if (bindings & SASL_CB_EXPORTER)
		buffer_adds(b, "<channel-binding type='tls-exporter'/>");
	if (bindings & SASL_CB_END_POINT)
		buffer_adds(b, "<channel-binding type='tls-server-end-point'/>");
	buffer_adds(b, "</sasl-channel-binding>");
}

/* A clock that never goes back, for the gate. */
static int64_t gate_now(void)
{
	return (int64_t)(uv_hrtime() / 1000);
}

/* Somebody has shown that he does not know the password. */
static void count_guess(struct c2s *c)
{
	struct reactor *r = c->stream.reactor;

	c->failures++;
	if (c->tried)
		gate_failed(r->server->gate, &c->stream.address, c->tried, &r->conf->limits, gate_now());
}

/* The exchange is over without success. */
static void sasl_drop(struct c2s *c)
{
	mem_free(c->tried);
	c->tried = NULL;
	sasl_free(c->sasl);
	c->sasl = NULL;
	c->attempts++;
	c2s_enter(c, c->stream.ssl ? C2S_SECURE : C2S_OPENING);
}

/* Some clients begin with mechanisms that they cannot do, once for each: that costs them nothing but an
 * attempt. What counts are guesses at passwords. */
static bool sasl_is_too_often(struct c2s *c)
{
	unsigned limit = (unsigned)c->stream.reactor->conf->limits.login_failures;

	if (c->failures < limit && c->attempts < ATTEMPTS_PER_FAILURE * limit)
		return false;
	stream_close(&c->stream, STREAM_POLICY_VIOLATION, "Too many failed attempts.");
	return true;
}

static void sasl_fail_because(struct c2s *c, const char *condition, const char *text)
{
	struct buffer b = { 0 };

	c->stream.reactor->counts.login_failures++;
	c->stream.reactor->counts.sasl_failures[count_sasl_error(condition)]++;
	log_info("c2s", c->stream.peer, "login%s%s failed: %s%s%s", c->tried ? " of " : "",
	         c->tried ? c->tried : "", condition, text ? ": " : "", text ? text : "");
	if (strcmp(condition, "not-authorized") == 0)
		count_guess(c);
	sasl_drop(c);
	buffer_addf(&b, "<failure xmlns='" SASL_NS "'><%s/>", condition);
	if (text)
		buffer_addf(&b, "<text xml:lang='en'>%s</text>", text);
	buffer_adds(&b, "</failure>");
	stream_write_text(&c->stream, b.data, b.len);
	buffer_free(&b);
	(void)sasl_is_too_often(c);
}

void c2s_login_failed(struct c2s *c, const char *condition)
{
	sasl_fail_because(c, condition, NULL);
}

static void write_sasl(struct c2s *c, const char *element, const char *reply)
{
	struct buffer b = { 0 };

	buffer_addf(&b, "<%s xmlns='" SASL_NS "'>%s</%s>", element, reply ? reply : "", element);
	stream_write_text(&c->stream, b.data, b.len);
	buffer_free(&b);
}

static void sasl_go_on(struct c2s *c, enum sasl_result result, const char *reply);

static const struct sql sql_keys = {
	.name = "login_keys",
	.text =
	    "select a.disabled, a.salt, a.iterations, a.stored_sha1, a.server_sha1, a.stored_sha256,"
	    " a.server_sha256 from account a join host h on h.id = a.host where h.name = $1 and a.name = $2"
	    " and a.guest = 0",
};

struct c2s *c2s_answered(struct question *q)
{
	struct stream *s = stream_find(q->reactor, q->stream);

	mem_free(q);
	if (!s || s->is_closing || !(c2s_of(s)->state & (C2S_LOOKING | C2S_CHECKING)))
		return NULL;
	stream_resume(s, PAUSE_LOGIN);
	return c2s_of(s);
}

struct question *c2s_ask(struct c2s *c)
{
	struct question *q = mem_zalloc(sizeof *q);

	q->reactor = c->stream.reactor;
	q->stream = c->stream.id;
	c2s_enter(c, C2S_CHECKING);
	stream_pause(&c->stream, PAUSE_LOGIN);
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

/* False: no such account, or one without keys. */
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
	k->has_sha1 = read_bytes(rows, 3, k->stored_sha1, sizeof k->stored_sha1) &&
	              read_bytes(rows, 4, k->server_sha1, sizeof k->server_sha1);
	k->has_sha256 = read_bytes(rows, 5, k->stored_sha256, sizeof k->stored_sha256) &&
	                read_bytes(rows, 6, k->server_sha256, sizeof k->server_sha256);
	return k->iterations > 0 && (k->has_sha1 || k->has_sha256);
}

static void on_account(void *arg, const struct rows *rows)
{
	struct c2s *c = c2s_answered(arg);
	struct sasl_keys keys;
	enum sasl_result result;
	const char *reply = NULL;

	if (!c)
		return;
	if (rows_status(rows) != STORE_OK) {
		c2s_login_failed(c, "temporary-auth-failure");
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
	struct sasl *sasl = q->sasl;
	const char *reply = NULL;
	enum sasl_result result;
	struct c2s *c;

	(void)status;
	q->reactor->hashing--;
	c = c2s_answered(q);
	if (!c) {
		sasl_free(sasl);
		return;
	}
	c->sasl = sasl;
	result = sasl_hashed(c->sasl, &reply);
	sasl_go_on(c, result, reply);
}

static void sasl_start_hash(struct c2s *c)
{
	struct reactor *r = c->stream.reactor;
	struct question *q;

	if (r->hashing >= (unsigned)r->conf->limits.password_hashes) {
		c2s_login_failed(c, "temporary-auth-failure");
		return;
	}
	q = c2s_ask(c);
	q->sasl = c->sasl;
	c->sasl = NULL;
	r->hashing++;
	ASSERT(uv_queue_work(&r->loop, &q->work, hash_in_pool, on_hashed) == 0);
}

void c2s_login_done(struct c2s *c, const char *reply)
{
	struct reactor *r = c->stream.reactor;
	enum home_kind kind;

	c->user = jid_make(sasl_user(c->sasl), c->domain->text, NULL);
	ASSERT(c->user);
	if (c2s_claims_another(c, c->user)) {
		log_info("c2s", c->stream.peer, "login of %s refused: the stream header is from %s",
		         c->user->text, c->claimed->text);
		stream_close(&c->stream, STREAM_INVALID_FROM, C2S_CLAIM_TEXT);
		return;
	}
	if (!c->is_guest)
		gate_succeeded(r->server->gate, &c->stream.address, c->user->text, gate_now());
	write_sasl(c, "success", reply);
	c->mechanism = (uint8_t)sasl_mechanism(c->sasl);
	sasl_free(c->sasl);
	c->sasl = NULL;
	mem_free(c->tried);
	c->tried = NULL;
	c2s_drop_opened(c);
	r->counts.logins++;
	stream_logged_in(&c->stream, host_counts_of(r, c->user));
	c2s_enter(c, C2S_AUTHENTICATED);
	c2s_restart(c);
	if (r->conf->node.move_streams) /* and only there: account.c: end_logins relies on it */
		stream_move(&c->stream, router_home_of(r, c->user, &kind));
}

/* Reads the account, unless too many have tried it. Whether it exists makes no difference. */
static void sasl_read_account(struct c2s *c)
{
	struct reactor *r = c->stream.reactor;
	bool may_try =
	    gate_may_try(r->server->gate, &c->stream.address, c->tried, &r->conf->limits, gate_now());

	if (may_try)
		store_read(r->store, 0, &sql_keys,
		           PARAMS(P_TEXT(c->domain->text), P_TEXT(sasl_user(c->sasl))), on_account,
		           c2s_ask(c));
	else
		sasl_fail_because(c, "temporary-auth-failure", WAIT_TEXT);
}

/* A guest costs the database a row to be written and removed. */
static void sasl_take_guest(struct c2s *c)
{
	struct reactor *r = c->stream.reactor;

	if (gate_guest(r->server->gate, &c->stream.address, &r->conf->limits, gate_now()))
		c2s_make_guest(c, sasl_user(c->sasl));
	else
		sasl_fail_because(c, "temporary-auth-failure", GUESTS_TEXT);
}

static void sasl_go_on(struct c2s *c, enum sasl_result result, const char *reply)
{
	switch (result) {
	case SASL_CHALLENGE:
		c2s_enter(c, C2S_CHALLENGED);
		write_sasl(c, "challenge", reply);
		break;
	case SASL_SUCCESS:
		if (sasl_mechanism(c->sasl) == SASL_ANONYMOUS)
			sasl_take_guest(c);
		else
			c2s_login_done(c, reply);
		break;
	case SASL_FAILURE:
		c2s_login_failed(c, sasl_condition(c->sasl));
		break;
	case SASL_NEED_ACCOUNT:
		sasl_read_account(c);
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

	if (!c->tried && sasl_user(c->sasl))
		c->tried = mem_printf("%s@%s", sasl_user(c->sasl), c->domain->text);
	sasl_go_on(c, result, reply);
	arena_free(&a);
}

void c2s_on_auth(struct c2s *c, struct stanza *st)
{
	const char *mechanism = element_get(st->root, "mechanism");
	struct reactor *r = c->stream.reactor;

	if (!mechanism)
		mechanism = "";
	if (c->sasl) { /* RFC 6120 section 6.4.2: it begins anew */
		sasl_drop(c);
		if (sasl_is_too_often(c))
			return;
	}
	if (!c->offered ||
	    (!is_private(c) && strcmp(mechanism, sasl_name(SASL_PLAIN)) == 0)) { /* section 6.5.4 */
		c2s_login_failed(c, "encryption-required");
		return;
	}
	/* What the host has withdrawn since the features were told cannot be had any more. */
	c->sasl = sasl_begin(mechanism, c->offered & mechanisms_of(c), c->stream.ssl, c->domain->text,
	                     r->server->secret);
	if (!c->sasl) {
		c2s_login_failed(c, "invalid-mechanism");
		return;
	}
	if (c->opened)
		sasl_open_accounts(c->sasl, (const char *const *)c->opened->accounts, c->opened->count);
	sasl_take(c, st);
}

void c2s_on_response(struct c2s *c, struct stanza *st)
{
	sasl_take(c, st);
}

void c2s_on_abort(struct c2s *c, struct stanza *st)
{
	(void)st;
	c2s_login_failed(c, "aborted");
}
