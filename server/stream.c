/* stream.c - see stream.h. */
#include "stream.h"

#include <string.h>

#include "listener.h"
#include "log.h"
#include "module.h"
#include "router.h"

#define ENCODE_BYTES 65536      /* encoded before one look whether the socket takes it */
#define GOODBYE_MS 2000         /* for the peer to close its side after ours */
#define STREAM_NS "http://etherx.jabber.org/streams"
#define STREAM_ERROR_NS "urn:ietf:params:xml:ns:xmpp-streams"

#define X(id, name) name,
static const char *const condition_names[] = { "", STREAM_ERRORS(X) };
#undef X

/* ---- the write queue: stanzas by reference, text by copy, and marks that ask for ENV_SETTLED */

enum out_kind { OUT_STANZA, OUT_TEXT, OUT_MARK };

struct out {
	struct out *next;
	uint8_t kind;
	uint32_t bytes;
	struct stanza *stanza; /* OUT_STANZA */
	struct jid *from, *to; /* OUT_STANZA; OUT_MARK: whose home asked, in `to` */
	int64_t entry;
	uint64_t session;      /* OUT_MARK */
	uint32_t copies;
	char text[];           /* OUT_TEXT */
};

static void out_init(struct out_queue *q)
{
	*q = (struct out_queue){ .tail = &q->head };
}

static void out_append(struct out_queue *q, struct out *o)
{
	o->next = NULL;
	*q->tail = o;
	q->tail = &o->next;
}

static struct out *out_take(struct out_queue *q)
{
	struct out *o = q->head;

	if (!o)
		return NULL;
	q->head = o->next;
	if (!q->head)
		q->tail = &q->head;
	return o;
}

static void out_free(struct out *o)
{
	stanza_unref(o->stanza);
	jid_unref(o->from);
	jid_unref(o->to);
	mem_free(o);
}

static void stream_dirty(struct stream *s)
{
	if (list_is_empty(&s->dirty_node))
		list_append(&s->reactor->dirty, &s->dirty_node);
}

static void stream_queue(struct stream *s, struct out *o)
{
	int64_t bound = s->reactor->conf->limits.write_queue_bytes;

	s->queued_bytes += o->bytes;
	out_append(&s->queue, o);
	stream_dirty(s);
	if (s->queued_bytes > bound && !s->is_closing) {
		log_info(s->protocol->name, s->peer, "does not read: %u bytes wait for it; closing", s->queued_bytes);
		stream_close(s, STREAM_RESOURCE_CONSTRAINT, "You do not read what is sent to you.");
		/* The goodbye cannot be written either: nobody reads. */
		stream_set_timer(s, GOODBYE_MS);
	}
}

void stream_write_text(struct stream *s, const char *text, size_t n)
{
	struct out *o;

	if (s->is_detached)
		return;
	o = mem_alloc(sizeof *o + n);
	*o = (struct out){ .kind = OUT_TEXT, .bytes = (uint32_t)n };
	memcpy(o->text, text, n);
	stream_queue(s, o);
}

static struct out *out_of_stanza(struct stanza *st, struct jid *from, struct jid *to)
{
	struct out *o = mem_alloc(sizeof *o);

	*o = (struct out){ .kind = OUT_STANZA, .stanza = st, .from = from, .to = to, .bytes = st->bytes_len + 100 };
	return o;
}

void stream_write(struct stream *s, struct stanza *st, const struct jid *from, const struct jid *to)
{
	if (s->is_detached)
		stanza_unref(st);
	else
		stream_queue(s, out_of_stanza(st, from ? jid_ref(from) : NULL, to ? jid_ref(to) : NULL));
}

/* ---- what was never written goes back to where it came from */

static bool message_returns(const struct stanza *st)
{
	return st->kind == STANZA_MESSAGE && (st->type == MESSAGE_CHAT || st->type == MESSAGE_NORMAL);
}

static void to_home(struct reactor *r, struct envelope *e)
{
	if (!router_post(r, e)) /* the host was removed meanwhile */
		envelope_free(r, e);
}

/* Takes the references over. */
static void return_message(struct reactor *r, struct stanza *st, struct jid *from, struct jid *to, int64_t entry,
			   unsigned copies)
{
	struct envelope *e = envelope_new(r, ENV_RETURNED);

	e->dir = IN;
	e->stanza = st;
	e->from = from;
	e->to = to;
	e->entry = entry;
	e->count = copies;
	to_home(r, e);
}

static void out_return(struct reactor *r, struct out *o)
{
	if (o->kind == OUT_STANZA && o->copies && message_returns(o->stanza)) {
		return_message(r, o->stanza, o->from, o->to, o->entry, o->copies);
		mem_free(o);
		return;
	}
	out_free(o);
}

static void stream_detach(struct stream *s)
{
	struct out *o;

	if (s->is_detached)
		return;
	s->is_detached = true;
	while ((o = out_take(&s->written)))
		out_return(s->reactor, o);
	while ((o = out_take(&s->queue)))
		out_return(s->reactor, o);
	s->protocol->detach(s);
}

/* ---- the end */

static void stream_free(struct stream *s)
{
	struct reactor *r = s->reactor;

	s->protocol->free(s);
	tls_free(s->ssl);
	xml_free(s->xml);
	buffer_free(&s->pending);
	mem_free(s);
	r->counts.streams--;
}

static void on_closed(uv_handle_t *handle)
{
	struct stream *s = handle->data;

	list_remove(&s->dirty_node);
	list_append(&s->reactor->graveyard, &s->dirty_node);
}

void streams_bury(struct reactor *r)
{
	struct stream *s;

	LIST_EACH (s, &r->graveyard, struct stream, dirty_node) {
		list_remove(&s->dirty_node);
		stream_free(s);
	}
}

/* The connection is gone or given up. Its memory stays until libuv has let go of the handle. */
static void stream_kill(struct stream *s)
{
	struct reactor *r = s->reactor;

	if (s->is_dead)
		return;
	s->is_dead = true;
	s->is_closing = true;
	stream_detach(s);
	timer_stop(&r->wheel, &s->timer);
	list_remove(&s->dirty_node);
	list_remove(&s->paused_node);
	hash_remove(&r->streams, &s->node);
	listener_forget(r, s->address);
	uv_close((uv_handle_t *)&s->tcp, on_closed);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
	(void)request;
	(void)status; /* the peer's end of file, or the timer, does the rest */
}

/* Our side has said all it had to say. */
static void stream_shut(struct stream *s)
{
	if (s->is_shut)
		return;
	s->is_shut = true;
	stream_detach(s);
	if (uv_shutdown(&s->shutdown, (uv_stream_t *)&s->tcp, on_shutdown) != 0)
		stream_kill(s);
	else
		stream_set_timer(s, GOODBYE_MS);
}

void stream_close(struct stream *s, enum stream_condition condition, const char *text)
{
	struct buffer b = { 0 };

	if (s->is_closing)
		return;
	if (condition != STREAM_FINE) {
		log_debug(s->protocol->name, s->peer, "stream error %s: %s", condition_names[condition],
			  text ? text : "");
		s->protocol->open(s);
		buffer_addf(&b, "<stream:error><%s xmlns='" STREAM_ERROR_NS "'/>", condition_names[condition]);
		if (text) {
			buffer_adds(&b, "<text xmlns='" STREAM_ERROR_NS "' xml:lang='en'>");
			xml_escape(&b, text, strlen(text));
			buffer_adds(&b, "</text>");
		}
		buffer_adds(&b, "</stream:error>");
	}
	if (s->has_header || condition != STREAM_FINE)
		buffer_adds(&b, "</stream:stream>");
	if (b.len)
		stream_write_text(s, b.data, b.len);
	buffer_free(&b);
	s->is_closing = true;
	stream_dirty(s);
	stream_set_timer(s, GOODBYE_MS);
	if (!s->is_reading)
		stream_resume(s); /* to see the peer's end of file */
}

static void on_timer(struct timer *t)
{
	struct stream *s = CONTAINER_OF(t, struct stream, timer);

	if (s->is_closing)
		stream_kill(s);
	else
		stream_close(s, s->is_logged_in ? STREAM_CONNECTION_TIMEOUT : STREAM_POLICY_VIOLATION,
			     "You took too long to log in.");
}

void stream_set_timer(struct stream *s, uint64_t ms)
{
	if (ms == 0)
		timer_stop(&s->reactor->wheel, &s->timer);
	else
		timer_set(&s->reactor->wheel, &s->timer, ms);
}

/* ---- writing */

static void out_encode(struct buffer *b, const struct out *o)
{
	if (o->kind == OUT_TEXT)
		buffer_add(b, o->text, o->bytes);
	else if (o->kind == OUT_STANZA)
		stanza_write(b, o->stanza, o->from, o->to);
}

static void out_settle(struct reactor *r, struct out *o)
{
	struct envelope *e = envelope_new(r, ENV_SETTLED);

	e->to = jid_ref(o->to);
	e->session = o->session;
	to_home(r, e);
}

/* All that was encoded is in the socket. */
static void stream_wrote(struct stream *s)
{
	struct reactor *r = s->reactor;
	struct out *o;

	while ((o = out_take(&s->written))) {
		if (o->kind == OUT_MARK)
			out_settle(r, o);
		else if (o->kind == OUT_STANZA && o->stanza->kind < STANZA_OTHER)
			r->counts.stanzas_out[o->stanza->kind]++;
		s->queued_bytes -= o->bytes;
		out_free(o);
	}
}

static void stream_flush(struct stream *s);

static void on_written(uv_write_t *request, int status)
{
	struct stream *s = request->handle->data;

	s->is_writing = false;
	buffer_free(&s->pending);
	if (s->is_dead)
		return;
	if (status < 0) {
		stream_kill(s);
		return;
	}
	stream_wrote(s);
	stream_dirty(s);
}

/* Gives bytes to the socket; what it does not take now is kept and sent later. */
static void stream_send(struct stream *s, const char *data, size_t n)
{
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)n);
	int taken = s->is_writing ? 0 : uv_try_write((uv_stream_t *)&s->tcp, &buf, 1);

	if (taken == UV_EAGAIN)
		taken = 0;
	if (taken < 0) {
		stream_kill(s);
		return;
	}
	if ((size_t)taken == n)
		return;
	ASSERT(!s->is_writing);
	buffer_add(&s->pending, data + taken, n - (size_t)taken);
	buf = uv_buf_init(s->pending.data, (unsigned)s->pending.len);
	s->is_writing = true;
	if (uv_write(&s->write, (uv_stream_t *)&s->tcp, &buf, 1, on_written) != 0) {
		s->is_writing = false;
		stream_kill(s);
	}
}

/* What OpenSSL has to say of its own accord (handshake, alerts) comes before what follows. */
static void stream_send_tls(struct stream *s)
{
	struct tls_io *io = &s->reactor->tls;

	if (io->out.len > 0 && !s->is_dead) {
		if (s->is_writing) /* only a peer that provokes this without reading gets here */
			stream_kill(s);
		else
			stream_send(s, io->out.data, io->out.len);
	}
	io->out.len = 0;
}

static bool stream_encode(struct stream *s)
{
	struct buffer *plain = &s->reactor->plain;
	struct out *o;

	plain->len = 0;
	while (plain->len < ENCODE_BYTES && (o = out_take(&s->queue))) {
		out_encode(plain, o);
		out_append(&s->written, o);
	}
	return plain->len > 0 || s->written.head;
}

static void stream_begin_tls(struct stream *s)
{
	struct reactor *r = s->reactor;

	s->is_starting_tls = false;
	s->ssl = tls_accept(&r->tls, r->hosts->certs, NULL, s->is_direct);
	if (s->ssl)
		return;
	log_warn(s->protocol->name, s->peer, "no certificate to start TLS with: put one into the certificates directory");
	stream_kill(s);
}

static void stream_flush(struct stream *s)
{
	struct reactor *r = s->reactor;
	const char *why;

	if (s->is_dead || s->is_writing || (s->ssl && !s->is_encrypted))
		return;
	if (!stream_encode(s)) {
		if (s->is_starting_tls)
			stream_begin_tls(s);
		else if (s->is_closing && !s->is_shut) {
			if (s->ssl)
				tls_shutdown(s->ssl);
			stream_send_tls(s);
			if (!s->is_dead && !s->is_writing)
				stream_shut(s);
		}
		return;
	}
	if (s->ssl && r->plain.len > 0) {
		if (tls_write(s->ssl, r->plain.data, r->plain.len, &why) != TLS_OK) {
			stream_kill(s);
			return;
		}
		stream_send_tls(s);
	} else if (r->plain.len > 0) {
		stream_send(s, r->plain.data, r->plain.len);
	}
	if (s->is_dead || s->is_writing)
		return;
	stream_wrote(s);
	if (s->queue.head || s->is_starting_tls || s->is_closing)
		stream_dirty(s);
}

void streams_flush(struct reactor *r)
{
	struct list now;
	struct stream *s;

	/* A stream that has more to write puts itself on the list again: for the next turn. */
	list_init(&now);
	while ((s = LIST_FIRST(&r->dirty, struct stream, dirty_node))) {
		list_remove(&s->dirty_node);
		list_append(&now, &s->dirty_node);
	}
	while ((s = LIST_FIRST(&now, struct stream, dirty_node))) {
		list_remove(&s->dirty_node);
		stream_flush(s);
	}
}

/* ---- reading */

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

static void on_header(void *arg, const struct xml_header *h)
{
	struct stream *s = arg;

	if (s->is_closing)
		return;
	s->has_header = true;
	s->protocol->header(s, h);
}

static void on_stanza(void *arg, struct stanza *st)
{
	struct stream *s = arg;

	if (s->is_closing) {
		stanza_unref(st);
		return;
	}
	if (st->kind < STANZA_OTHER)
		s->reactor->counts.stanzas_in[st->kind]++;
	s->protocol->stanza(s, st);
	if (s->is_closing || s->is_restarting)
		xml_stop(s->xml);
}

static void on_end(void *arg)
{
	stream_close(arg, STREAM_FINE, NULL);
}

static const struct xml_handlers handlers = { on_header, on_stanza, on_end };

static struct xml *stream_parser(struct stream *s)
{
	struct reactor *r = s->reactor;
	const struct xml_limits *limits = &r->xml_limits[s->is_logged_in];

	return s->has_header ? xml_borrow(r->xml, limits, &handlers, s) : xml_new(r->xml, limits, &handlers, s);
}

static void stream_drop_parser(struct stream *s)
{
	xml_free(s->xml);
	s->xml = NULL;
}

/* Feeds plaintext to the parser; more than once where a new stream begins in the middle of it. */
static void stream_feed(struct stream *s, const char *data, size_t n)
{
	while (n > 0 && !s->is_closing) {
		enum xml_error error;
		size_t taken = n;

		if (!s->xml)
			s->xml = stream_parser(s);
		s->is_parsing = true;
		error = xml_feed(s->xml, data, n);
		s->is_parsing = false;
		if (error != XML_FINE) {
			stream_drop_parser(s);
			stream_close(s, condition_of(error), xml_error_text(error));
			return;
		}
		if (s->is_restarting || s->is_closing) {
			taken = xml_consumed(s->xml);
			stream_drop_parser(s);
			s->is_restarting = false;
		}
		data += taken;
		n -= taken;
		/* What was sent behind <starttls/> in the clear is somebody's injection. */
		if (n > 0 && s->is_starting_tls) {
			stream_close(s, STREAM_POLICY_VIOLATION, "Nothing may follow <starttls/> before TLS.");
			return;
		}
	}
	if (s->xml && xml_is_idle(s->xml)) {
		xml_return(s->reactor->xml, s->xml);
		s->xml = NULL;
	}
}

static void stream_handshake(struct stream *s)
{
	const char *why = "";

	switch (tls_handshake(s->ssl, &s->reactor->tls, &why)) {
	case TLS_OK:
		s->is_encrypted = true;
		stream_dirty(s);
		break;
	case TLS_WANT_READ:
		break;
	case TLS_CLOSED:
	case TLS_BROKEN:
		log_info(s->protocol->name, s->peer, "TLS handshake failed: %s", why);
		stream_send_tls(s);
		stream_kill(s);
		return;
	}
	stream_send_tls(s);
}

static void stream_read_tls(struct stream *s)
{
	struct reactor *r = s->reactor;
	const char *why = "";
	size_t got;

	if (!s->is_encrypted)
		stream_handshake(s);
	while (!s->is_dead && s->is_encrypted) {
		switch (tls_read(s->ssl, r->plain_buffer, PLAIN_BUFFER, &got, &why)) {
		case TLS_OK:
			stream_feed(s, r->plain_buffer, got);
			continue;
		case TLS_WANT_READ:
			stream_send_tls(s);
			return;
		case TLS_CLOSED:
			stream_close(s, STREAM_FINE, NULL);
			return;
		case TLS_BROKEN:
			log_info(s->protocol->name, s->peer, "TLS failed: %s", why);
			stream_kill(s);
			return;
		}
	}
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct stream *s = handle->data;

	(void)suggested;
	*buf = uv_buf_init(s->reactor->read_buffer, READ_BUFFER);
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf)
{
	struct stream *s = tcp->data;
	struct reactor *r = s->reactor;

	if (n == 0 || s->is_dead)
		return;
	if (n < 0) {
		/* The peer closed its side: whatever is still queued may yet reach it, unless it is gone. */
		if (n == UV_EOF && !s->is_closing)
			stream_close(s, STREAM_FINE, NULL);
		else
			stream_kill(s);
		return;
	}
	if (s->ssl) {
		r->tls.in = buf->base;
		r->tls.in_len = (size_t)n;
		stream_read_tls(s);
	} else {
		stream_feed(s, buf->base, (size_t)n);
	}
	if (!s->is_closing && reactor_is_blocked(r) && list_is_empty(&s->paused_node)) {
		stream_pause(s);
		list_append(&r->paused, &s->paused_node);
	}
}

void stream_pause(struct stream *s)
{
	if (s->is_reading)
		uv_read_stop((uv_stream_t *)&s->tcp);
	s->is_reading = false;
}

void stream_resume(struct stream *s)
{
	if (s->is_reading || s->is_dead)
		return;
	s->is_reading = true;
	if (uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read) != 0)
		stream_kill(s);
}

void streams_unpause(struct reactor *r)
{
	struct stream *s;

	LIST_EACH (s, &r->paused, struct stream, paused_node) {
		list_remove(&s->paused_node);
		stream_resume(s);
	}
}

void stream_restart(struct stream *s)
{
	s->has_header = false;
	if (s->is_parsing)
		s->is_restarting = true;
	else
		stream_drop_parser(s);
}

void stream_start_tls(struct stream *s)
{
	s->is_starting_tls = true;
	stream_restart(s);
}

/* ---- envelopes */

static uint32_t id_hash(uint64_t id)
{
	return (uint32_t)(id * 0x9e3779b97f4a7c15u >> 32);
}

struct stream *stream_find(struct reactor *r, uint64_t id)
{
	struct hash_node *n;

	for (n = hash_first(&r->streams, id_hash(id)); n; n = hash_next(n)) {
		struct stream *s = CONTAINER_OF(n, struct stream, node);

		if (s->id == id)
			return s;
	}
	return NULL;
}

static void stream_take_write(struct reactor *r, struct stream *s, struct envelope *e)
{
	struct out *o;

	if (!s || s->is_detached || s->is_closing) { /* too late: it goes back */
		if (e->count && message_returns(e->stanza)) {
			return_message(r, e->stanza, e->from, e->to, e->entry, e->count);
			e->stanza = NULL;
			e->from = e->to = NULL;
		}
		return;
	}
	o = out_of_stanza(e->stanza, e->from, e->to);
	o->entry = e->entry;
	o->copies = e->count;
	e->stanza = NULL;
	e->from = e->to = NULL;
	stream_queue(s, o);
}

static void stream_take_mark(struct stream *s, struct envelope *e)
{
	struct out *o = mem_alloc(sizeof *o);

	*o = (struct out){ .kind = OUT_MARK, .to = jid_ref(e->to), .session = e->session };
	stream_queue(s, o);
}

void stream_take(struct reactor *r, struct envelope *e)
{
	struct stream *s = stream_find(r, e->stream);

	if (e->kind == ENV_WRITE)
		stream_take_write(r, s, e);
	else if (!s || s->is_closing)
		; /* nobody is there to be told */
	else if (e->kind == ENV_SETTLE)
		stream_take_mark(s, e);
	else if (e->kind == ENV_CLOSE)
		stream_close(s, e->condition, e->text);
	else
		s->protocol->take(s, e);
	envelope_free(r, e);
}

/* ---- the beginning, and the end of all */

struct stream *stream_accept(struct reactor *r, uv_stream_t *listener, const struct stream_protocol *protocol,
			     bool direct)
{
	struct stream *s = mem_zalloc(protocol->size);

	s->reactor = r;
	s->protocol = protocol;
	s->is_direct = direct;
	out_init(&s->queue);
	out_init(&s->written);
	list_init(&s->dirty_node);
	list_init(&s->paused_node);
	timer_init(&s->timer, on_timer);
	ASSERT(uv_tcp_init(&r->loop, &s->tcp) == 0);
	s->tcp.data = s;
	s->id = r->next_id++;
	hash_add(&r->streams, &s->node, id_hash(s->id));
	r->counts.streams++;
	r->counts.connections++;
	if (uv_accept(listener, (uv_stream_t *)&s->tcp) != 0 || !listener_admit(r, s)) {
		s->is_detached = true; /* the protocol has not begun */
		stream_kill(s);
		return NULL;
	}
	uv_tcp_nodelay(&s->tcp, 1);
	stream_set_timer(s, (uint64_t)r->conf->limits.login_time);
	if (direct)
		stream_begin_tls(s);
	stream_resume(s);
	return s->is_dead ? NULL : s;
}

void streams_shutdown(struct reactor *r)
{
	struct hash_node *n = NULL;

	while ((n = hash_walk(&r->streams, n)))
		stream_close(CONTAINER_OF(n, struct stream, node), STREAM_SYSTEM_SHUTDOWN,
			     "The server is going down.");
}

void streams_cut(struct reactor *r)
{
	struct hash_node *n;

	while ((n = hash_walk(&r->streams, NULL)))
		stream_kill(CONTAINER_OF(n, struct stream, node));
}
