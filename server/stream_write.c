/* stream_write.c - the write queue of a stream and what goes out: stanzas by reference until they are
 * encoded, then bytes. Encoded is only as much as the socket may take at once; what it does not take waits
 * for it. */
#include <string.h>

#include "log.h"
#include "module.h"
#include "router.h"
#include "stream_parts.h"

#define ENCODE_BYTES 65536 /* encoded before one look whether the socket takes it */
#define KEEP_BYTES 262144  /* a buffer of the reactor that has grown beyond is given back */
#define LATE_BYTES 65536   /* TLS's own words to a peer that does not read */
#define OUT_OVERHEAD 100   /* what anything in the queue counts beside its text */

/* Stanzas by reference, text by copy, and marks that ask for ENV_SETTLED. */
enum out_kind { OUT_STANZA, OUT_TEXT, OUT_MARK };

struct out {
	struct out *next;
	uint8_t kind;
	uint32_t bytes;
	struct stanza *stanza; /* OUT_STANZA */
	struct jid *from, *to; /* OUT_STANZA; OUT_MARK: whose home asked, in `to` */
	int64_t entry;
	uint64_t session; /* OUT_MARK */
	uint32_t copies;
	bool is_managed; /* as in the envelope */
	char text[];     /* OUT_TEXT */
};

/* What the socket did not take. */
struct unsent {
	uv_write_t request;
	struct buffer bytes;
	struct buffer late; /* what TLS had to say of its own accord meanwhile */
};

/* ---- the queue */

void stream_init_queues(struct stream *s)
{
	s->queue = (struct out_queue){ .tail = &s->queue.head };
	s->written = (struct out_queue){ .tail = &s->written.head };
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

void stream_dirty(struct stream *s)
{
	if (list_is_empty(&s->dirty_node))
		list_append(&s->reactor->dirty, &s->dirty_node);
}

/* Bounded: a peer that does not read is closed, and has GOODBYE_MS to take anything at all. The bound is on what
 * waits already: one answer that is longer (the contact list of a large group) is no sign of a slow reader. */
static void stream_queue(struct stream *s, struct out *o)
{
	size_t before = s->queued_bytes;

	s->queued_bytes += o->bytes + OUT_OVERHEAD;
	s->reactor->counts.unwritten += o->bytes + OUT_OVERHEAD;
	out_append(&s->queue, o);
	stream_dirty(s);
	if (before <= (size_t)s->reactor->conf->limits.write_queue_bytes || s->is_closing)
		return;
	log_info(s->protocol->name, s->peer, "does not read: %zu bytes wait for it; closing",
	         s->queued_bytes);
	stream_close(s, STREAM_RESOURCE_CONSTRAINT, "You do not read what is sent to you.");
}

void stream_write_text(struct stream *s, const char *text, size_t n)
{
	struct out *o;

	if (s->is_shut || s->is_dead)
		return;
	o = mem_alloc(sizeof *o + n);
	*o = (struct out){ .kind = OUT_TEXT, .bytes = (uint32_t)n };
	memcpy(o->text, text, n);
	stream_queue(s, o);
}

static struct out *out_of_stanza(struct stanza *st, struct jid *from, struct jid *to)
{
	struct out *o = mem_alloc(sizeof *o);

	*o = (struct out){
		.kind = OUT_STANZA, .stanza = st, .from = from, .to = to, .bytes = st->bytes_len
	};
	return o;
}

void stream_write(struct stream *s, struct stanza *st, const struct jid *from, const struct jid *to)
{
	if (s->is_closing)
		stanza_unref(st);
	else
		stream_queue(s, out_of_stanza(st, from ? jid_ref(from) : NULL, to ? jid_ref(to) : NULL));
}

void stream_take_mark(struct stream *s, struct envelope *e)
{
	struct out *o = mem_alloc(sizeof *o);

	*o = (struct out){ .kind = OUT_MARK, .to = jid_ref(e->to), .session = e->session };
	stream_queue(s, o);
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
static void return_message(struct reactor *r, struct stanza *st, struct jid *from, struct jid *to,
                           int64_t entry, unsigned copies)
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

void stream_return_queues(struct stream *s)
{
	struct out *o;

	while ((o = out_take(&s->written)))
		out_return(s->reactor, o);
	while ((o = out_take(&s->queue)))
		out_return(s->reactor, o);
}

void stream_take_write(struct reactor *r, struct stream *s, struct envelope *e)
{
	struct out *o;

	if (s && !s->is_closing) {
		o = out_of_stanza(e->stanza, e->from, e->to);
		o->entry = e->entry;
		o->copies = e->count;
		o->is_managed = e->is_managed;
		s->managed_taken += e->is_managed;
		stream_queue(s, o);
	} else if (e->count && message_returns(e->stanza)) { /* too late */
		return_message(r, e->stanza, e->from, e->to, e->entry, e->count);
	} else {
		return;
	}
	e->stanza = NULL;
	e->from = e->to = NULL;
}

/* ---- bytes to the socket */

static void out_settle(struct reactor *r, struct out *o)
{
	struct envelope *e = envelope_new(r, ENV_SETTLED);

	e->to = jid_ref(o->to);
	e->session = o->session;
	e->count = 1;
	to_home(r, e);
}

static void stream_count_written(struct stream *s, unsigned kind)
{
	s->reactor->counts.stanzas[1][kind]++;
	if (s->host)
		s->host->stanzas[1][kind]++;
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
			stream_count_written(s, o->stanza->kind);
		s->managed_written += o->is_managed;
		s->queued_bytes -= o->bytes + OUT_OVERHEAD;
		r->counts.unwritten -= o->bytes + OUT_OVERHEAD;
		out_free(o);
	}
}

static void stream_send(struct stream *s, const char *data, size_t n);

static void unsent_free(struct unsent *u)
{
	buffer_free(&u->bytes);
	buffer_free(&u->late);
	mem_free(u);
}

static void on_written(uv_write_t *request, int status)
{
	struct stream *s = request->handle->data;
	struct unsent *u = s->unsent;

	s->unsent = NULL;
	if (!s->is_dead && status < 0)
		stream_kill(s);
	if (!s->is_dead) {
		stream_wrote(s);
		if (u->late.len)
			stream_send(s, u->late.data, u->late.len);
		stream_dirty(s);
		if (s->is_closing && !s->is_dead)
			stream_set_timer(s, GOODBYE_MS); /* it reads, so it may have more time */
	}
	unsent_free(u);
}

/* Gives bytes to the socket; what it does not take now is kept and sent later. */
static void stream_send(struct stream *s, const char *data, size_t n)
{
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)n);
	int taken = uv_try_write((uv_stream_t *)&s->tcp, &buf, 1);
	struct unsent *u;

	ASSERT(!s->unsent);
	if (taken == UV_EAGAIN)
		taken = 0;
	if (taken < 0) {
		stream_kill(s);
		return;
	}
	if ((size_t)taken == n)
		return;
	u = mem_zalloc(sizeof *u);
	buffer_add(&u->bytes, data + taken, n - (size_t)taken);
	buf = uv_buf_init(u->bytes.data, (unsigned)u->bytes.len);
	if (uv_write(&u->request, (uv_stream_t *)&s->tcp, &buf, 1, on_written) == 0) {
		s->unsent = u;
		return;
	}
	unsent_free(u);
	stream_kill(s);
}

void stream_send_tls(struct stream *s)
{
	struct buffer *out = &s->reactor->tls.out;

	if (out->len > 0 && !s->is_dead) {
		if (!s->unsent)
			stream_send(s, out->data, out->len);
		else if (s->unsent->late.len + out->len <= LATE_BYTES)
			buffer_add(&s->unsent->late, out->data, out->len);
		else
			stream_kill(s);
	}
	out->len = 0;
}

/* ---- the flush */

static void out_encode(struct buffer *b, const struct out *o)
{
	if (o->kind == OUT_TEXT)
		buffer_add(b, o->text, o->bytes);
	else if (o->kind == OUT_STANZA)
		stanza_write(b, o->stanza, o->from, o->to);
}

/* False: nothing is queued. */
static bool stream_encode(struct stream *s)
{
	struct buffer *plain = &s->reactor->plain;
	struct out *o;

	plain->len = 0;
	while (plain->len < ENCODE_BYTES && (o = out_take(&s->queue))) {
		out_encode(plain, o);
		out_append(&s->written, o);
	}
	return s->written.head != NULL;
}

/* All that was queued has left: what was to follow that? */
static void stream_after_all(struct stream *s)
{
	if (s->is_closing) {
		if (s->ssl) {
			ASSERT(s->reactor->tls.out.len == 0);
			tls_shutdown(s->ssl);
			stream_send_tls(s);
		}
		/* libuv ends our side when the last byte has left. */
		if (!s->is_dead)
			stream_shut(s);
	} else if (s->is_starting_tls) {
		stream_begin_tls(s);
	} else if (s->is_to_move) {
		stream_depart(s);
	}
}

static void stream_send_encoded(struct stream *s)
{
	struct buffer *plain = &s->reactor->plain;
	const char *why;

	if (plain->len == 0)
		return;
	if (!s->ssl) {
		stream_send(s, plain->data, plain->len);
		return;
	}
	ASSERT(s->reactor->tls.out.len == 0);
	if (tls_write(s->ssl, plain->data, plain->len, &why) != TLS_OK) {
		log_info(s->protocol->name, s->peer, "TLS failed: %s", why);
		stream_send_tls(s);
		stream_kill(s);
		return;
	}
	stream_send_tls(s);
}

static void stream_flush(struct stream *s)
{
	if (s->is_dead || s->is_shut || s->unsent || s->is_moving)
		return;
	if (s->ssl && !s->is_encrypted) {
		if (s->is_closing) /* nothing can be said to it */
			stream_kill(s);
		return;
	}
	if (!stream_encode(s)) {
		stream_after_all(s);
		return;
	}
	stream_send_encoded(s);
	if (s->is_dead || s->unsent)
		return;
	stream_wrote(s);
	if (s->queue.head || s->is_starting_tls || s->is_to_move || s->is_closing)
		stream_dirty(s);
}

static void buffer_shrink(struct buffer *b)
{
	if (b->cap > KEEP_BYTES)
		buffer_free(b);
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
	buffer_shrink(&r->plain);
	buffer_shrink(&r->tls.out);
}
