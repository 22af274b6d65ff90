/* relay.c - see relay.h. A side is one connection, a transfer the two that named one hash. A side reads only
 * while what waits for the other one is little, so what is in flight is bounded by RELAY_QUEUE and one read. */
#include "relay.h"

#include <string.h>

#include "gate.h"
#include "listener.h"
#include "log.h"
#include "pass_parts.h"
#include "server.h"
#include "socks5.h"
#include "store_engine.h"

#define RELAY_QUEUE 65536   /* waits for one side; above it the other one is not read */
#define RELAY_IGNORED 65536 /* what a side may send before its transfer is active; nobody gets it */
#define BURST_SECONDS 5     /* of the pace that the configuration allows may come at once */

struct relay {
	struct reactor *reactor;
	struct list sides;
	unsigned count;
	struct hash transfers; /* by `hash` */
};

struct transfer {
	struct hash_node node;
	struct relay *relay;
	char hash[SOCKS5_HASH + 1];
	struct side *sides[2];
	bool is_active;
	bool is_paced;                   /* too fast: neither side is read */
	bool is_failing;                 /* one side is lost; the other gets what it has not got yet */
	unsigned shut;                   /* sides that have got the end of what the other one sent */
	struct jid *requester, *service; /* once active */
	int64_t bytes;
	int64_t fine; /* microseconds of uv_hrtime: when what has come would have come at the pace */
	struct timer idle, pace;
};

enum side_state { SIDE_GREETING, SIDE_REQUEST, SIDE_WAITING, SIDE_RELAYING };

struct side {
	struct list node; /* in relay->sides */
	struct relay *relay;
	struct transfer *transfer; /* once it has named a hash */
	uv_tcp_t tcp;
	uv_shutdown_t shutdown;
	struct timer wait; /* until its transfer is active */
	struct network_address counted;
	char peer[NETWORK_TEXT];
	uint8_t state; /* enum side_state */
	bool is_admitted, is_addressed;
	bool is_closing;
	bool has_ended; /* nothing more comes from it */
	bool is_reading;
	size_t unwritten, ignored;
	size_t have; /* bytes of `in` */
	char in[SOCKS5_GREETING_MAX + SOCKS5_REQUEST_SIZE];
};

/* What the socket did not take at once. */
struct chunk {
	uv_write_t request;
	struct side *to;
	size_t n;
	char data[];
};

static const struct proxy65_conf *conf_of(const struct relay *relay)
{
	return &relay->reactor->conf->proxy65;
}

static struct side *other_of(const struct side *s)
{
	return s->transfer->sides[s->transfer->sides[0] == s];
}

/* ---- the end */

static void on_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

static void transfer_leave(struct side *s)
{
	struct transfer *t = s->transfer;

	t->sides[t->sides[1] == s] = NULL;
	s->transfer = NULL;
	if (t->sides[0] || t->sides[1])
		return;
	timer_stop(&t->relay->reactor->wheel, &t->idle);
	timer_stop(&t->relay->reactor->wheel, &t->pace);
	hash_remove(&t->relay->transfers, &t->node);
	jid_unref(t->requester);
	jid_unref(t->service);
	mem_free(t);
}

/* Of a transfer that is active both sides end together: transfer_end. */
static void side_end(struct side *s, const char *why)
{
	struct relay *relay = s->relay;

	ASSERT(!s->is_closing);
	s->is_closing = true;
	if (why)
		log_debug("proxy65", s->peer, "%s", why);
	if (s->is_admitted)
		gate_leave(relay->reactor->server->gate, s->is_addressed ? &s->counted : NULL,
		           s->state == SIDE_RELAYING);
	timer_stop(&relay->reactor->wheel, &s->wait);
	if (s->transfer)
		transfer_leave(s);
	list_remove(&s->node);
	relay->count--;
	uv_close((uv_handle_t *)&s->tcp, on_closed);
}

static void transfer_end(struct transfer *t, const char *why)
{
	struct side *sides[2] = { t->sides[0], t->sides[1] };

	log_info("proxy65", t->requester->text, "a transfer between %s and %s, %lld bytes, has ended: %s",
	         sides[0]->peer, sides[1]->peer, (long long)t->bytes, why);
	side_end(sides[0], NULL);
	side_end(sides[1], NULL);
}

static void on_wait(struct timer *timer)
{
	side_end(CONTAINER_OF(timer, struct side, wait), "was not activated in time");
}

static void on_idle(struct timer *timer)
{
	transfer_end(CONTAINER_OF(timer, struct transfer, idle), "nothing has moved for too long");
}

/* ---- what goes from one side to the other */

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf);

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	const struct side *s = handle->data;

	(void)suggested;
	*buf = uv_buf_init(s->relay->reactor->read_buffer, READ_BUFFER);
}

/* Reads if it may. */
static void side_update(struct side *s)
{
	const struct transfer *t = s->transfer;
	bool reads = !s->has_ended;

	if (s->state == SIDE_RELAYING)
		reads = reads && !t->is_paced && !t->is_failing && other_of(s)->unwritten <= RELAY_QUEUE;
	if (reads == s->is_reading)
		return;
	s->is_reading = reads;
	if (reads)
		ASSERT(uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read) == 0);
	else
		uv_read_stop((uv_stream_t *)&s->tcp);
}

static void transfer_update(struct transfer *t)
{
	side_update(t->sides[0]);
	side_update(t->sides[1]);
}

static void on_pace(struct timer *timer)
{
	struct transfer *t = CONTAINER_OF(timer, struct transfer, pace);

	t->is_paced = false;
	transfer_update(t);
}

/* Both sides pause until what has come would have been fine. */
static void pace_add(struct transfer *t, int64_t n)
{
	int64_t now = (int64_t)(uv_hrtime() / 1000), ahead;

	t->fine = (t->fine > now ? t->fine : now) + n * 1000000 / conf_of(t->relay)->bytes_per_second;
	ahead = t->fine - now - BURST_SECONDS * 1000000;
	if (ahead <= 0)
		return;
	t->is_paced = true;
	timer_set(&t->relay->reactor->wheel, &t->pace, (uint64_t)ahead / 1000);
}

static void transfer_moves(struct transfer *t)
{
	timer_set(&t->relay->reactor->wheel, &t->idle, (uint64_t)conf_of(t->relay)->idle_time);
}

static void on_written(uv_write_t *request, int status)
{
	struct chunk *chunk = CONTAINER_OF(request, struct chunk, request);
	struct side *to = chunk->to;

	to->unwritten -= chunk->n;
	mem_free(chunk);
	if (to->is_closing || to->state != SIDE_RELAYING)
		return;
	if (status < 0) {
		transfer_end(to->transfer, uv_strerror(status));
		return;
	}
	transfer_moves(to->transfer);
	side_update(other_of(to));
}

/* Zero, or libuv's error. */
static int side_write(struct side *to, const char *data, size_t n)
{
	uv_buf_t buf = uv_buf_init((char *)data, (unsigned)n);
	int written = uv_try_write((uv_stream_t *)&to->tcp, &buf, 1);
	struct chunk *chunk;

	if (written < 0 && written != UV_EAGAIN)
		return written;
	if (written > 0) {
		data += written;
		n -= (size_t)written;
	}
	if (n == 0)
		return 0;
	chunk = mem_alloc(sizeof *chunk + n);
	chunk->to = to;
	chunk->n = n;
	memcpy(chunk->data, data, n);
	buf = uv_buf_init(chunk->data, (unsigned)n);
	ASSERT(uv_write(&chunk->request, (uv_stream_t *)&to->tcp, &buf, 1, on_written) == 0);
	to->unwritten += n;
	return 0;
}

static void side_relay(struct side *s, const char *data, size_t n)
{
	struct transfer *t = s->transfer;
	int64_t limit = conf_of(t->relay)->transfer_bytes;
	int error;

	t->bytes += (int64_t)n;
	t->relay->reactor->counts.relayed_bytes += n;
	if (limit > 0 && t->bytes > limit) {
		transfer_end(t, "it is larger than proxy65.transfer_bytes");
		return;
	}
	error = side_write(other_of(s), data, n);
	if (error) {
		transfer_end(t, uv_strerror(error));
		return;
	}
	pace_add(t, (int64_t)n);
	transfer_moves(t);
	transfer_update(t);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
	struct side *s = CONTAINER_OF(request, struct side, shutdown);
	struct transfer *t = s->transfer;

	if (s->is_closing)
		return;
	if (status < 0 || t->is_failing || ++t->shut == COUNT_OF(t->sides))
		transfer_end(t, status < 0 ? uv_strerror(status) : "the peers have closed");
}

/* Nothing more comes from it: the other one gets what is under way, and then the end. */
static void side_ended(struct side *s, bool is_lost)
{
	struct transfer *t = s->transfer;
	struct side *other;
	int error;

	s->has_ended = true;
	if (s->state != SIDE_RELAYING) {
		side_end(s, "has gone before its transfer was active");
		return;
	}
	other = other_of(s);
	t->is_failing = t->is_failing || is_lost;
	transfer_update(t);
	error = uv_shutdown(&other->shutdown, (uv_stream_t *)&other->tcp, on_shutdown);
	if (error)
		transfer_end(t, uv_strerror(error));
}

/* ---- a connection comes and names its hash */

static void side_refuse(struct side *s, enum socks5_refusal code, const char *why)
{
	char answer[SOCKS5_REFUSAL_SIZE];
	uv_buf_t buf = uv_buf_init(answer, sizeof answer);

	socks5_refuse(code, answer);
	uv_try_write((uv_stream_t *)&s->tcp, &buf, 1); /* best effort: it goes in any case */
	side_end(s, why);
}

static struct transfer *transfer_find(const struct relay *relay, const char *hash)
{
	struct hash_node *n = hash_first(&relay->transfers, hash_bytes(hash, SOCKS5_HASH));

	for (; n; n = hash_next(n)) {
		struct transfer *t = CONTAINER_OF(n, struct transfer, node);

		if (memcmp(t->hash, hash, SOCKS5_HASH) == 0)
			return t;
	}
	return NULL;
}

static struct transfer *transfer_new(struct relay *relay, const char *hash)
{
	struct transfer *t = mem_zalloc(sizeof *t);

	t->relay = relay;
	memcpy(t->hash, hash, sizeof t->hash);
	timer_init(&t->idle, on_idle);
	timer_init(&t->pace, on_pace);
	hash_add(&relay->transfers, &t->node, hash_bytes(hash, SOCKS5_HASH));
	return t;
}

/* False: it has ended. */
static bool side_join(struct side *s, const char *hash)
{
	struct transfer *t = transfer_find(s->relay, hash);

	if (t && t->sides[0] && t->sides[1]) {
		side_refuse(s, SOCKS5_NOT_ALLOWED, "is the third one to name this hash");
		return false;
	}
	if (!t)
		t = transfer_new(s->relay, hash);
	t->sides[t->sides[0] != NULL] = s;
	s->transfer = t;
	s->state = SIDE_WAITING;
	return true;
}

/* False: it is not complete, or the side has ended. */
static bool side_greeting(struct side *s, size_t *size)
{
	enum socks5_result result = socks5_greeting(s->in, s->have, size);

	if (result == SOCKS5_MORE)
		return false;
	if (result == SOCKS5_DONE) {
		s->state = SIDE_REQUEST;
		if (side_write(s, SOCKS5_METHOD, 2) == 0)
			return true;
	} else if (result == SOCKS5_WRONG_METHOD) {
		char answer[] = SOCKS5_NO_METHOD;
		uv_buf_t buf = uv_buf_init(answer, 2);

		uv_try_write((uv_stream_t *)&s->tcp, &buf, 1); /* best effort */
	}
	side_end(s, "does not speak SOCKS5 without authentication");
	return false;
}

static bool side_request(struct side *s, size_t *size)
{
	char hash[SOCKS5_HASH + 1];

	switch (socks5_request(s->in, s->have, hash)) {
	case SOCKS5_MORE:
		return false;
	case SOCKS5_DONE:
		break;
	case SOCKS5_WRONG_COMMAND:
		side_refuse(s, SOCKS5_COMMAND_UNKNOWN, "wants another command than CONNECT");
		return false;
	case SOCKS5_WRONG_TYPE:
		side_refuse(s, SOCKS5_TYPE_UNKNOWN, "wants to be connected to an address");
		return false;
	case SOCKS5_WRONG_NAME:
		side_refuse(s, SOCKS5_NOT_ALLOWED, "wants to be connected to a host");
		return false;
	case SOCKS5_WRONG:
	case SOCKS5_WRONG_METHOD:
		side_end(s, "does not speak SOCKS5");
		return false;
	}
	if (!side_join(s, hash))
		return false;
	*size = SOCKS5_REQUEST_SIZE;
	s->in[1] =
	    0; /* its own words with "succeeded" in them: XEP-0065 section 6.3.2 wants DST.ADDR back */
	if (side_write(s, s->in, SOCKS5_REQUEST_SIZE) == 0)
		return true;
	side_end(s, "has gone");
	return false;
}

/* XEP-0065 section 10.1: bytes before the activation are ignored. */
static void side_ignore(struct side *s, size_t n)
{
	s->ignored += n;
	if (s->ignored > RELAY_IGNORED)
		side_end(s, "sends before its transfer is active");
}

/* Greeting and request together fit into `in`: what does not comes too early. */
static void side_negotiate(struct side *s, const char *data, size_t n)
{
	size_t taken = n < sizeof s->in - s->have ? n : sizeof s->in - s->have, size;

	memcpy(s->in + s->have, data, taken);
	s->have += taken;
	while (s->state == SIDE_GREETING || s->state == SIDE_REQUEST) {
		if (s->state == SIDE_GREETING ? !side_greeting(s, &size) : !side_request(s, &size))
			return;
		s->have -= size;
		memmove(s->in, s->in + size, s->have);
	}
	side_ignore(s, s->have + n - taken);
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf)
{
	struct side *s = tcp->data;

	if (n == 0)
		return;
	if (n < 0)
		side_ended(s, n != UV_EOF);
	else if (s->state == SIDE_RELAYING)
		side_relay(s, buf->base, (size_t)n);
	else if (s->state == SIDE_WAITING)
		side_ignore(s, (size_t)n);
	else
		side_negotiate(s, buf->base, (size_t)n);
}

/* ---- who may come */

static unsigned count_from(struct relay *relay, const struct network_address *counted)
{
	struct side *s;
	unsigned count = 0;

	LIST_EACH (s, &relay->sides, struct side, node)
		count += s->is_addressed && memcmp(&s->counted, counted, sizeof *counted) == 0;
	return count;
}

/* NULL, or the limit that keeps it out. */
static const char *side_admit(struct side *s)
{
	struct relay *relay = s->relay;
	struct gate *gate = relay->reactor->server->gate;
	const struct limits_conf *limits = &relay->reactor->conf->limits;
	struct network_address address = listener_peer(&s->tcp);
	enum gate_answer answer;

	s->counted = network_counted(&address);
	network_show(&address, s->peer);
	if (relay->count > conf_of(relay)->connections)
		return "proxy65.connections";
	if (count_from(relay, &s->counted) >= conf_of(relay)->connections_per_address)
		return "proxy65.connections_per_address";
	answer = gate_enter(gate, limits);
	if (answer != GATE_OPEN)
		return gate_limit(answer);
	s->is_admitted = true;
	answer = gate_enter_address(gate, &s->counted, limits);
	s->is_addressed = answer == GATE_OPEN;
	return s->is_addressed ? NULL : gate_limit(answer);
}

void relay_accept(struct relay *relay, uv_stream_t *listener)
{
	struct reactor *r = relay->reactor;
	struct side *s = mem_zalloc(sizeof *s);
	const char *limit;

	s->relay = relay;
	timer_init(&s->wait, on_wait);
	ASSERT(uv_tcp_init(&r->loop, &s->tcp) == 0);
	s->tcp.data = s;
	list_append(&relay->sides, &s->node);
	relay->count++;
	if (uv_accept(listener, (uv_stream_t *)&s->tcp) != 0) {
		side_end(s, "has gone before it was accepted");
		return;
	}
	limit = side_admit(s);
	if (limit) {
		log_warn("proxy65", s->peer, "refused: %s", limit);
		side_end(s, NULL);
		return;
	}
	timer_set(&r->wheel, &s->wait, (uint64_t)conf_of(relay)->wait_time);
	side_update(s);
}

/* ---- activation, asked for by a pass of the service's home on any reactor */

struct activation {
	struct reactor *reactor; /* of that home */
	struct pass *pass;
	const char *hash;
	struct jid *requester, *service; /* the pass has them */
	enum bytestream_result *result;
};

static void side_activate(struct side *s)
{
	timer_stop(&s->relay->reactor->wheel, &s->wait);
	gate_logged_in(s->relay->reactor->server->gate);
	s->state = SIDE_RELAYING;
}

static enum bytestream_result relay_activate(struct relay *relay, const struct activation *a)
{
	struct transfer *t = relay ? transfer_find(relay, a->hash) : NULL;

	if (!t)
		return BYTESTREAM_UNKNOWN;
	if (!t->sides[0] || !t->sides[1])
		return BYTESTREAM_ALONE;
	if (t->is_active)
		return BYTESTREAM_ACTIVE;
	t->is_active = true;
	t->requester = jid_ref(a->requester);
	t->service = jid_ref(a->service);
	side_activate(t->sides[0]);
	side_activate(t->sides[1]);
	relay->reactor->counts.relayed++;
	transfer_moves(t);
	return BYTESTREAM_STARTED;
}

static void on_activated(struct reactor *r, void *arg)
{
	static const struct rows none = { .status = STORE_OK };
	const struct activation *a = arg;

	(void)r;
	pass_on_rows(a->pass, &none);
}

static void on_activate(struct reactor *r, void *arg)
{
	const struct activation *a = arg;

	*a->result = relay_activate(r->relay, a);
	reactor_post_run(r, a->reactor->index, on_activated, arg);
}

enum verdict bytestream_activate(struct ctx *c, const char *hash, enum bytestream_result *result,
                                 rows_handler *then)
{
	struct activation *a = ctx_new(c, sizeof *a);
	struct pass *p = pass_of(c);
	struct reactor *r = c->home->reactor;

	ASSERT(!p->then);
	*a = (struct activation){ r, p, hash, c->from, c->home->jid, result };
	p->then = then;
	reactor_post_run(r, 0, on_activate, a);
	return HELD;
}

unsigned bytestream_port(const struct ctx *c)
{
	const struct conf *conf = c->home->reactor->server->conf; /* listeners are those of the start */

	for (unsigned i = 0; i < conf->listener_count; i++)
		if (conf->listeners[i].kind == LISTEN_PROXY65)
			return (unsigned)conf->listeners[i].port;
	return 0;
}

/* ---- the node's */

struct relay *relay_new(struct reactor *r)
{
	struct relay *relay = mem_zalloc(sizeof *relay);

	relay->reactor = r;
	list_init(&relay->sides);
	return relay;
}

void relay_free(struct relay *relay)
{
	if (!relay)
		return;
	ASSERT(relay->count == 0);
	hash_free(&relay->transfers);
	mem_free(relay);
}

void relay_stop(struct relay *relay)
{
	struct side *s;

	while ((s = LIST_FIRST(&relay->sides, struct side, node))) {
		if (s->state == SIDE_RELAYING)
			transfer_end(s->transfer, "the server stops");
		else
			side_end(s, "the server stops");
	}
}

static struct transfer *find_orphan(const struct relay *relay)
{
	const struct hosts *hosts = relay->reactor->hosts;
	struct hash_node *n = NULL;

	while ((n = hash_walk(&relay->transfers, n))) {
		struct transfer *t = CONTAINER_OF(n, struct transfer, node);

		if (t->is_active && !hosts_find_service(hosts, t->service->text, t->service->len))
			return t;
	}
	return NULL;
}

void relay_rehost(struct relay *relay)
{
	struct transfer *t;

	while ((t = find_orphan(relay)))
		transfer_end(t, "its host is no longer served");
}
