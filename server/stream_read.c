/* stream_read.c - what comes in on a stream: socket, TLS, parser, protocol.
 *
 * One buffer per reactor takes the bytes of any socket, another what comes out of TLS; a parser is lent to
 * the stream while it is in the middle of something. So a stream that says nothing holds none of them. */
#include "listener.h"
#include <string.h>

#include "log.h"
#include "proxy.h"
#include "stream_parts.h"

#define PROXY_MS 5000   /* for a balancer to send its header */
#define BURST_SECONDS 5 /* of the pace that limits allow may come at once */

/* ---- the pace (XEP-0205): what comes faster waits in the peer's own send buffer */

/* Adds what has come in to one of the counts; the stream pauses until that would have been fine. */
static void pace_add(struct stream *s, int64_t *fine, int64_t amount, int64_t per_second)
{
	int64_t now = (int64_t)uv_now(&s->reactor->loop) * 1000, ahead; /* as of this turn */

	*fine = (*fine > now ? *fine : now) + amount * 1000000 / per_second;
	ahead = *fine - now - BURST_SECONDS * 1000000;
	if (ahead <= 0 || s->is_closing)
		return;
	if (!(s->pauses & PAUSE_PACE))
		log_debug(s->protocol->name, s->peer, "sends too fast: waits %lld ms",
		          (long long)ahead / 1000);
	stream_pause(s, PAUSE_PACE);
	timer_set(&s->reactor->wheel, &s->pace.timer, (uint64_t)ahead / 1000);
}

static void on_pace(struct timer *t)
{
	stream_resume(CONTAINER_OF(t, struct stream, pace.timer), PAUSE_PACE);
}

void stream_init_pace(struct stream *s)
{
	timer_init(&s->pace.timer, on_pace);
}

/* ---- the parser */

static enum stream_condition condition_of(enum xml_error error)
{
	switch (error) {
	case XML_RESTRICTED:
		return STREAM_RESTRICTED_XML;
	case XML_BAD_ENCODING:
		return STREAM_UNSUPPORTED_ENCODING;
	case XML_BAD_PREFIX:
		return STREAM_BAD_NAMESPACE_PREFIX;
	case XML_BAD_NAMESPACE:
		return STREAM_INVALID_NAMESPACE;
	case XML_BAD_FORMAT:
		return STREAM_BAD_FORMAT;
	case XML_TOO_BIG:
		return STREAM_POLICY_VIOLATION;
	case XML_FINE:
	case XML_NOT_WELL_FORMED:
		break;
	}
	return STREAM_NOT_WELL_FORMED;
}

/* BCP 47 has no longer ones. */
#define LANG_MAX 35
#define LANG_CHARACTERS "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

/* RFC 6120 section 4.7.4: the language of what the peer says without naming one. Ours is English, so whoever
 * speaks that need not be told by us. */
static void stream_read_lang(struct stream *s, const char *lang)
{
	bool is_tag = lang && *lang && strlen(lang) <= LANG_MAX && !lang[strspn(lang, LANG_CHARACTERS)];

	mem_free(s->lang);
	s->lang = is_tag && strcmp(lang, STREAM_LANG) != 0 ? mem_strdup(lang) : NULL;
	xml_set_lang(s->xml, s->lang);
}

static void on_header(void *arg, const struct xml_header *h)
{
	struct stream *s = arg;

	if (s->is_closing)
		return;
	s->has_header = true;
	stream_read_lang(s, h->lang);
	s->protocol->header(s, h);
}

static void on_stanza(void *arg, struct stanza *st)
{
	struct stream *s = arg;

	if (s->is_closing) {
		stanza_unref(st);
		return;
	}
	if (st->kind < STANZA_OTHER) {
		s->reactor->counts.stanzas[0][st->kind]++;
		if (s->host)
			s->host->stanzas[0][st->kind]++;
	}
	pace_add(s, &s->pace.stanzas, 1, s->reactor->conf->limits.stanzas_per_second);
	s->protocol->stanza(s, st);
	if (s->is_closing || s->is_restarting)
		xml_stop(s->xml);
}

static void on_end(void *arg)
{
	struct stream *s = arg;

	s->is_farewell = !s->is_closing;
	stream_close(s, STREAM_FINE, NULL);
}

static const struct xml_handlers handlers = { on_header, on_stanza, on_end };

static struct xml *stream_parser(struct stream *s)
{
	struct reactor *r = s->reactor;
	const struct xml_limits *limits = &r->xml_limits[s->is_logged_in];

	struct xml *x = s->has_header ? xml_borrow(r->xml, limits, &handlers, s)
	                              : xml_new(r->xml, limits, &handlers, s);

	xml_set_lang(x, s->lang);
	return x;
}

static void stream_drop_parser(struct stream *s)
{
	xml_free(s->xml);
	s->xml = NULL;
}

/* Gives the parser one piece; returns how much of it was taken. */
static size_t stream_parse(struct stream *s, const char *data, size_t n)
{
	enum xml_error error;

	if (!s->xml)
		s->xml = stream_parser(s);
	s->is_between = false;
	s->is_parsing = true;
	error = xml_feed(s->xml, data, n);
	s->is_parsing = false;
	if (error != XML_FINE) {
		stream_drop_parser(s);
		stream_close(s, condition_of(error), xml_error_text(error));
		return n;
	}
	if (s->is_restarting || s->is_closing) {
		n = xml_consumed(s->xml);
		stream_drop_parser(s);
		s->is_restarting = false;
	}
	return n;
}

/* Feeds plaintext to the parser; more than once where a new stream begins in the middle of it. */
static void stream_feed(struct stream *s, const char *data, size_t n)
{
	while (n > 0 && !s->is_closing) {
		size_t taken;

		/* RFC 6120 section 5.3.3: not even white space may follow <starttls/>. What came behind it
		 * in the clear, in the same read or in the next, is somebody's injection: it gets no
		 * answer. */
		if (s->is_starting_tls) {
			log_info(s->protocol->name, s->peer,
			         "dropped: something follows <starttls/> in the clear");
			stream_kill(s);
			return;
		}
		taken = stream_parse(s, data, n);
		data += taken;
		n -= taken;
	}
	if (s->xml && xml_is_idle(s->xml)) {
		xml_return(s->reactor->xml, s->xml);
		s->xml = NULL;
	}
}

void stream_restart(struct stream *s)
{
	s->has_header = false;
	s->is_between = true;
	if (s->is_parsing)
		s->is_restarting = true;
	else
		stream_drop_parser(s);
}

/* ---- TLS */

void stream_start_tls(struct stream *s, const char *domain)
{
	s->domain = domain;
	s->is_starting_tls = true;
	stream_restart(s);
}

void stream_begin_tls(struct stream *s)
{
	struct reactor *r = s->reactor;

	s->is_starting_tls = false;
	s->ssl = tls_accept(&r->tls, r->hosts->certs, s->domain, s->is_direct);
	r->counts.tls += s->ssl != NULL;
	if (s->ssl)
		return;
	log_info(s->protocol->name, s->peer,
	         "no certificate to start TLS with: put one into the certificates directory");
	stream_kill(s);
}

/* The next piece of plaintext, or of the handshake. */
static enum tls_result stream_decrypt(struct stream *s, size_t *got, const char **why)
{
	struct reactor *r = s->reactor;
	enum tls_result result;

	*got = 0;
	if (s->is_encrypted)
		return tls_read(s->ssl, r->plain_buffer, PLAIN_BUFFER, got, why);
	result = tls_handshake(s->ssl, &r->tls, why);
	if (result == TLS_OK) {
		s->is_encrypted = true;
		s->is_between = false;
		stream_dirty(s); /* it may have been told to close meanwhile */
	}
	return result;
}

static void stream_read_tls(struct stream *s, const char *data, size_t n)
{
	struct tls_io *io = &s->reactor->tls;
	enum tls_result result;
	const char *why = "";
	size_t got;

	ASSERT(io->out.len == 0);
	io->in = data;
	io->in_len = n;
	do {
		result = stream_decrypt(s, &got, &why);
		if (result == TLS_OK)
			stream_feed(s, s->reactor->plain_buffer, got);
	} while (result == TLS_OK && tls_has_more(s->ssl, io));
	io->in_len = 0;
	stream_send_tls(s); /* the handshake's part, an alert */
	if (result == TLS_CLOSED)
		stream_close(s, STREAM_FINE, NULL);
	if (result != TLS_BROKEN || s->is_dead)
		return;
	log_info(s->protocol->name, s->peer, "TLS%s failed: %s", s->is_encrypted ? "" : " handshake", why);
	stream_kill(s);
}

/* ---- the socket */

void stream_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct stream *s = handle->data;

	(void)suggested;
	if (stream_may_read(s))
		*buf = uv_buf_init(s->reactor->read_buffer, READ_BUFFER);
	else
		*buf = uv_buf_init(NULL, 0); /* stream_on_read gets UV_ENOBUFS */
}

/* The peer closed its side: whatever is still queued may yet reach it, unless it is gone. */
static void stream_read_end(struct stream *s, bool in_order)
{
	s->is_eof = true;
	stream_stop_reading(s);
	if (in_order && !s->is_shut)
		stream_close(s, STREAM_FINE, NULL);
	else
		stream_kill(s);
}

static void stream_read_bytes(struct stream *s, const char *data, size_t n)
{
	const struct limits_conf *limits = &s->reactor->conf->limits;

	pace_add(s, &s->pace.bytes, (int64_t)n, limits->bytes_per_second);
	if (!s->is_logged_in && (s->login_bytes += (int64_t)n) > limits->login_bytes)
		stream_close(s, STREAM_POLICY_VIOLATION, "So much is not needed to log in.");
	if (s->ssl)
		stream_read_tls(s, data, n);
	else
		stream_feed(s, data, n);
}

/* ---- the balancer's header */

void stream_await_proxy(struct stream *s)
{
	s->proxy = mem_zalloc(sizeof *s->proxy);
	stream_set_timer(s, PROXY_MS);
}

void stream_end_proxy(struct stream *s)
{
	if (s->proxy)
		buffer_free(s->proxy);
	mem_free(s->proxy);
	s->proxy = NULL;
}

/* The header is complete: who is it, and may he come in? */
static void stream_take_proxy(struct stream *s, const struct proxy_header *h)
{
	struct buffer all = *s->proxy;

	*s->proxy = (struct buffer){ 0 };
	stream_end_proxy(s);
	stream_set_timer(s, (uint64_t)s->reactor->conf->limits.login_time);
	if (!listener_readdress(s, h->has_address ? &h->address : NULL))
		stream_kill(s);
	else if (all.len > h->size)
		stream_read_bytes(s, all.data + h->size, all.len - h->size);
	buffer_free(&all);
}

static void stream_read_proxy(struct stream *s, const char *data, size_t n)
{
	struct proxy_header h;

	buffer_add(s->proxy, data, n);
	switch (proxy_parse(s->proxy->data, s->proxy->len, &h)) {
	case PROXY_MORE:
		break;
	case PROXY_DONE:
		stream_take_proxy(s, &h);
		break;
	case PROXY_BAD:
		log_warn(s->protocol->name, s->peer,
		         "dropped: a balancer must send the PROXY header first (listeners: proxy)");
		stream_kill(s);
		break;
	}
}

void stream_on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf)
{
	struct stream *s = tcp->data;

	if (n == 0 || s->is_dead)
		return;
	if (n == UV_ENOBUFS) {
		stream_stop_reading(s); /* it is paused */
		return;
	}
	s->heard = s->reactor->now;
	s->is_asked = false; /* the clock may go back, so times do not tell */
	if (n < 0)
		stream_read_end(s, n == UV_EOF);
	else if (s->proxy)
		stream_read_proxy(s, buf->base, (size_t)n);
	else
		stream_read_bytes(s, buf->base, (size_t)n);
	if (!s->is_closing && reactor_is_blocked(s->reactor))
		stream_pause(s, PAUSE_REACTOR);
}
