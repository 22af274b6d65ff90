/* stream.c - the life of a stream: accepted, paused and resumed, closed in every state, freed; and the
 * envelopes for it. */
#include "stream.h"

#include <string.h>

#include "gate.h"
#include "listener.h"
#include "log.h"
#include "server.h"
#include "stream_parts.h"

#define STREAM_ERROR_NS "urn:ietf:params:xml:ns:xmpp-streams"

#define X(id, name) name,
static const char *const condition_names[] = { "", STREAM_ERRORS(X) };
#undef X

/* ---- counting */

static unsigned kind_of(const struct stream_protocol *protocol)
{
	static const char *const names[COUNT_OTHER] = {
		[COUNT_C2S] = "c2s", [COUNT_S2S] = "s2s", [COUNT_COMPONENT] = "component"
	};
	unsigned i = 0;

	while (i < COUNT_OTHER && strncmp(protocol->name, names[i], strlen(names[i])) != 0)
		i++;
	return i;
}

static void stream_count(struct stream *s, enum count_state state)
{
	uint64_t *counts = s->reactor->counts.streams_by[s->kind];

	counts[s->state]--;
	counts[state]++;
	s->state = (uint8_t)state;
}

/* ---- reading or not */

bool stream_may_read(const struct stream *s)
{
	return !s->is_dead && !s->is_eof && !s->is_moving && (s->is_closing || s->pauses == 0);
}

/* Most pauses end before the peer says anything: so the loop goes on watching the socket of a paused stream,
 * and is told to leave it only when something comes (stream_on_alloc). */
void stream_update_reading(struct stream *s)
{
	if (s->is_reading || !stream_may_read(s))
		return;
	s->is_reading = true;
	/* A connected socket that is not closing can be read. */
	ASSERT(uv_read_start((uv_stream_t *)&s->tcp, stream_on_alloc, stream_on_read) == 0);
}

void stream_stop_reading(struct stream *s)
{
	if (s->is_reading)
		uv_read_stop((uv_stream_t *)&s->tcp);
	s->is_reading = false;
}

void stream_pause(struct stream *s, enum stream_pause why)
{
	if (why == PAUSE_REACTOR && list_is_empty(&s->paused_node))
		list_append(&s->reactor->paused, &s->paused_node);
	s->pauses |= (uint8_t)why;
}

void stream_resume(struct stream *s, enum stream_pause why)
{
	if (why == PAUSE_REACTOR)
		list_remove(&s->paused_node);
	s->pauses &= (uint8_t)~why;
	stream_update_reading(s);
}

void streams_unpause(struct reactor *r)
{
	struct stream *s;

	LIST_EACH (s, &r->paused, struct stream, paused_node)
		stream_resume(s, PAUSE_REACTOR);
}

/* ---- the end */

void stream_free(struct stream *s)
{
	struct reactor *r = s->reactor;

	s->protocol->free(s);
	r->counts.tls -= s->ssl != NULL;
	r->counts.unwritten -= s->queued_bytes;
	r->counts.streams_by[s->kind][s->state]--;
	tls_free(s->ssl);
	xml_free(s->xml);
	mem_free(s->lang);
	stream_end_proxy(s);
	mem_free(s);
	r->counts.streams--;
}

void stream_entomb(struct stream *s)
{
	list_remove(&s->dirty_node);
	list_append(&s->reactor->graveyard, &s->dirty_node);
}

static void on_closed(uv_handle_t *handle)
{
	stream_entomb(handle->data);
}

void streams_bury(struct reactor *r)
{
	struct stream *s;

	LIST_EACH (s, &r->graveyard, struct stream, dirty_node) {
		list_remove(&s->dirty_node);
		stream_free(s);
	}
}

/* From now on the home delivers elsewhere. Before anything is returned to it: else it would send that here
 * again. */
static void stream_detach(struct stream *s)
{
	if (s->is_detached)
		return;
	s->is_detached = true;
	s->protocol->detach(s);
}

void stream_kill(struct stream *s)
{
	struct reactor *r = s->reactor;

	if (s->is_dead)
		return;
	s->is_dead = true;
	s->is_closing = true;
	stream_count(s, COUNT_CLOSING);
	stream_stop_reading(s);
	stream_detach(s);
	stream_return_queues(s);
	timer_stop(&r->wheel, &s->timer);
	list_remove(&s->dirty_node);
	list_remove(&s->paused_node);
	stream_unlist(s);
	listener_forget(s);
	timer_stop(&r->wheel, &s->pace.timer);
	if (!s->is_moving) /* else it is being closed */
		uv_close((uv_handle_t *)&s->tcp, on_closed);
}

/* When the peer's side is closed already, that was all; else its end of file, or the timer, does
 * the rest. */
static void on_shutdown(uv_shutdown_t *request, int status)
{
	struct stream *s = request->handle->data;

	mem_free(request);
	if (!s->is_dead && (s->is_eof || status < 0))
		stream_kill(s);
}

void stream_shut(struct stream *s)
{
	uv_shutdown_t *request;

	if (s->is_shut)
		return;
	s->is_shut = true;
	stream_detach(s);
	request = mem_alloc(sizeof *request);
	if (uv_shutdown(request, (uv_stream_t *)&s->tcp, on_shutdown) == 0) {
		stream_set_timer(s, GOODBYE_MS);
		return;
	}
	mem_free(request);
	stream_kill(s);
}

static void write_error(struct buffer *b, enum stream_condition condition, const char *text,
                        const struct stanza *own)
{
	buffer_addf(b, "<stream:error><%s xmlns='" STREAM_ERROR_NS "'/>", condition_names[condition]);
	if (text) {
		buffer_adds(b, "<text xmlns='" STREAM_ERROR_NS "' xml:lang='en'>");
		xml_escape_text(b, text, strlen(text));
		buffer_adds(b, "</text>");
	}
	if (own)
		stanza_write(b, own, NULL, NULL);
	buffer_adds(b, "</stream:error>");
}

/* May be called from anywhere, also while the stream is parsed; it is still alive afterwards. Where there is no
 * stream that could be closed only the connection ends: between a peer's end of file and its header, and behind
 * <success/> and <proceed/>. There a header of ours would come unasked, RFC 6120 section 4.3.3, and a peer that
 * has not read our last word yet would take it for a part of the stream before. */
static void stream_end(struct stream *s, enum stream_condition condition, const char *text,
                       const struct stanza *own)
{
	struct buffer b = { 0 };

	if (s->is_closing)
		return;
	s->is_closing = true; /* first: the goodbye itself may overflow the write queue */
	stream_count(s, COUNT_CLOSING);
	s->reactor->counts.stream_errors[condition]++;
	/* The session will want to know what was written before the farewell: soon that is all. */
	if (!s->is_farewell || s->managed_taken == s->managed_written)
		stream_detach(s);
	if (condition != STREAM_FINE) {
		log_debug(s->protocol->name, s->peer, "stream error %s: %s", condition_names[condition],
		          text ? text : "");
		if (s->is_between)
			condition = STREAM_FINE;
	}
	if (condition != STREAM_FINE) {
		s->protocol->open(s);
		write_error(&b, condition, text, own);
	}
	if (s->has_header || condition != STREAM_FINE)
		buffer_adds(&b, "</stream:stream>");
	if (b.len)
		stream_write_text(s, b.data, b.len);
	buffer_free(&b);
	stream_dirty(s);
	stream_set_timer(s, GOODBYE_MS);
	list_remove(&s->paused_node);
	stream_update_reading(s);
}

void stream_close(struct stream *s, enum stream_condition condition, const char *text)
{
	stream_end(s, condition, text, NULL);
}

/* ---- silence: RFC 6120 section 4.6. That a connection is dead is TCP's to find out (listener.c);
 * here it is a peer that lives and answers nothing any more. Whoever is quiet and answers stays. */

#define ANSWER_MS 30000

static uint64_t answer_time(const struct stream *s)
{
	int64_t idle = s->reactor->conf->limits.idle_stream;

	return (uint64_t)(idle < ANSWER_MS ? idle : ANSWER_MS);
}

static void stream_ask(struct stream *s, uint64_t ms)
{
	s->is_asked = true;
	stream_set_timer(s, ms);
	s->protocol->ask(s);
}

/* The timer of a watched stream. What we do not read for reasons of our own is no silence. */
static void stream_check_silence(struct stream *s)
{
	int64_t idle = s->reactor->conf->limits.idle_stream;
	int64_t silent = (s->reactor->now - s->heard) / 1000;

	if (s->is_asked && s->pauses == 0) {
		stream_close(s, STREAM_CONNECTION_TIMEOUT, "You do not answer.");
		return;
	}
	s->is_asked = false;
	if (idle == 0)
		stream_set_timer(s, 0);
	else if (silent < idle || s->pauses)
		stream_set_timer(s, (uint64_t)(silent < idle ? idle - silent : idle));
	else
		stream_ask(s, answer_time(s));
}

void stream_watch(struct stream *s)
{
	s->is_watched = true;
	stream_set_timer(s, (uint64_t)s->reactor->conf->limits.idle_stream);
}

static void on_timer(struct timer *t)
{
	struct stream *s = CONTAINER_OF(t, struct stream, timer);

	if (s->is_closing || s->proxy) /* whom a balancer would send is not known */
		stream_kill(s);
	else if (s->is_watched)
		stream_check_silence(s);
	else
		stream_close(s, STREAM_POLICY_VIOLATION, "You took too long to log in.");
}

void stream_set_timer(struct stream *s, uint64_t ms)
{
	if (ms == 0)
		timer_stop(&s->reactor->wheel, &s->timer);
	else
		timer_set(&s->reactor->wheel, &s->timer, ms);
}

/* ---- envelopes */

static uint32_t id_hash(uint64_t id)
{
	return (uint32_t)(id * 0x9e3779b97f4a7c15u >> 32);
}

void stream_list(struct stream *s)
{
	hash_add(&s->reactor->streams, &s->node, id_hash(s->id));
}

void stream_unlist(struct stream *s)
{
	hash_remove(&s->reactor->streams, &s->node);
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
		stream_end(s, e->condition, e->text, e->stanza);
	else if (e->kind == ENV_ASK)
		stream_ask(s, (uint64_t)r->conf->limits.ack_time);
	else
		s->protocol->take(s, e);
	envelope_free(r, e);
}

/* ---- the beginning, and the end of all */

void stream_logged_in(struct stream *s, struct host_counts *host)
{
	if (s->is_admitted && !s->is_logged_in)
		gate_logged_in(s->reactor->server->gate);
	s->is_logged_in = true;
	s->host = host;
	stream_count(s, COUNT_ESTABLISHED);
}

static struct stream *stream_new(struct reactor *r, const struct stream_protocol *protocol, bool direct)
{
	struct stream *s = mem_zalloc(protocol->size);

	s->reactor = r;
	s->protocol = protocol;
	s->is_direct = direct;
	stream_init_queues(s);
	list_init(&s->dirty_node);
	list_init(&s->paused_node);
	timer_init(&s->timer, on_timer);
	stream_init_pace(s);
	ASSERT(uv_tcp_init(&r->loop, &s->tcp) == 0);
	s->tcp.data = s;
	s->id = r->next_id++;
	stream_list(s);
	r->counts.streams++;
	s->kind = (uint8_t)kind_of(protocol);
	r->counts.streams_by[s->kind][s->state]++;
	r->counts.connections++;
	return s;
}

struct stream *stream_accept(struct reactor *r, uv_stream_t *listener,
                             const struct stream_protocol *protocol, bool direct, const char *balancers)
{
	struct stream *s = stream_new(r, protocol, direct);

	if (uv_accept(listener, (uv_stream_t *)&s->tcp) != 0 || !listener_admit(s, balancers)) {
		s->is_detached = true; /* the protocol has not begun */
		stream_kill(s);
		return NULL;
	}
	stream_set_timer(s, (uint64_t)r->conf->limits.login_time);
	if (balancers)
		stream_await_proxy(s);
	if (direct)
		stream_begin_tls(s);
	stream_update_reading(s);
	return s->is_dead ? NULL : s;
}

void stream_add_limits(const struct stream *s, struct buffer *b)
{
	const struct limits_conf *limits = &s->reactor->conf->limits;

	buffer_addf(b, "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>%lld</max-bytes>",
	            (long long)(s->is_logged_in ? limits->stanza_bytes : limits->stanza_bytes_before));
	if (s->is_logged_in && limits->idle_stream >= 1000) /* then it is asked whether it is there */
		buffer_addf(b, "<idle-seconds>%lld</idle-seconds>", (long long)limits->idle_stream / 1000);
	buffer_adds(b, "</limits>");
}

void stream_shutdown(struct stream *s)
{
	stream_close(s, STREAM_SYSTEM_SHUTDOWN, "The server is going down.");
}

void streams_shutdown(struct reactor *r)
{
	struct hash_node *n = NULL;

	while ((n = hash_walk(&r->streams, n)))
		stream_shutdown(CONTAINER_OF(n, struct stream, node));
}

void streams_cut(struct reactor *r)
{
	struct hash_node *n;

	while ((n = hash_walk(&r->streams, NULL)))
		stream_kill(CONTAINER_OF(n, struct stream, node));
}
