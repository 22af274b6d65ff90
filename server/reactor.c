/* reactor.c - the turn, the queue and the inbox. What an envelope does is home.c's and stream.c's. */
#include "reactor.h"

#include <string.h>
#include <sys/time.h>

#include "home.h"
#include "listener.h"
#include "relay.h"
#include "server.h"
#include "stream.h"

#define FREE_ENVELOPES 1024
#define TRACE_SHIFT 52      /* microseconds since 1970 are fewer bits */
#define TURN_ENVELOPES 4096 /* handled between two looks at the sockets */
#define PARSERS 16 /* kept; one is lent for a read, and for longer only where a stanza came in pieces */

/* ---- envelopes */

struct envelope *envelope_new(struct reactor *r, enum envelope_kind kind)
{
	struct envelope *e = r->free_envelopes;

	if (e) {
		r->free_envelopes = e->next;
		r->free_count--;
	} else {
		e = mem_alloc(sizeof *e);
	}
	*e = (struct envelope){ .kind = (uint8_t)kind };
	return e;
}

void envelope_free(struct reactor *r, struct envelope *e)
{
	jid_unref(e->from);
	jid_unref(e->to);
	stanza_unref(e->stanza);
	if (r->free_count >= FREE_ENVELOPES) {
		mem_free(e);
		return;
	}
	e->next = r->free_envelopes;
	r->free_envelopes = e;
	r->free_count++;
}

void reactor_random(struct reactor *r, void *out, size_t n)
{
	ASSERT(n <= sizeof r->random);
	if (r->random_left < n) {
		ASSERT(uv_random(NULL, NULL, r->random, sizeof r->random, 0, NULL) == 0);
		r->random_left = sizeof r->random;
	}
	r->random_left -= (unsigned)n;
	memcpy(out, r->random + r->random_left, n);
	memset(r->random + r->random_left, 0, n);
}

/* ---- between reactors
 *
 * An envelope for another reactor goes into outbound[target] first. At the end of a turn as much of it as the
 * target's inbox has room for is pushed there, with one wake-up. The rest is the overflow. While there is any,
 * streams here are not read from (is_blocked), but all else goes on, above all the emptying of the own inbox:
 * so two reactors that flood each other both go on.
 *
 * With an overflow a reactor sleeps like any other. It has left its bit in the inbox (`blocked`), and the owner
 * wakes all whose bits it finds when it has emptied the inbox. No wake-up is lost:
 *
 *     sender   1 sets its bit       2 reads `waiting`   full: sleeps; else: takes another turn
 *     owner    3 lowers `waiting`   4 reads the bits    wakes whoever is there
 *
 * All four are sequentially consistent, so there is one order of them. When 2 has read "full", the envelopes
 * that it saw counted have not been subtracted yet: they lie in the inbox, or are being pushed by whoever has
 * reserved room for them, which wakes the owner, so a 3 is still to come. It comes behind 2 and so behind 1,
 * and its 4 sees the bit. Whether others fill the inbox again before the sender is awake does not matter: he
 * sets his bit anew.
 *
 * uv_async_send reads first, without any order, whether the target has a wake-up pending already. The fence in
 * reactor_wake keeps that read behind the push (or the 3): when it finds one pending, the target has not begun
 * to handle it, and will see the push when it does.
 *
 * The overflow is bounded because its sources dry up. Above OVERFLOW_BOUND the reactor counts itself in
 * server->flooding, and then nobody reads from sockets, not only those who have an overflow themselves: what
 * this one takes from its inbox and sends on came from other reactors' sockets. What is left is what was under
 * way: the inboxes and queues, at most READ_BUFFER of each connection, and what comes of them; the portions of
 * timers, of database answers and of administrators' commands are bounded each by itself. Whoever is last to
 * get rid of his overflow wakes all. */

static void reactor_wake(struct reactor *r)
{
	atomic_thread_fence(memory_order_seq_cst);
	uv_async_send(&r->inbox.wake);
}

void reactor_post(struct reactor *from, unsigned target, struct envelope *e)
{
	if (target == from->index) {
		queue_append(&from->queue, e);
		return;
	}
	queue_append(&from->outbound[target], e);
	from->has_posted = true;
}

void reactor_post_run(struct reactor *from, unsigned target, void (*run)(struct reactor *r, void *arg),
                      void *arg)
{
	struct envelope *e = envelope_new(from, ENV_RUN);

	e->run = run;
	e->arg = arg;
	reactor_post(from, target, e);
}

/* Pushes the chain newest ... oldest (linked by next) in front of the inbox. Whoever finds it empty wakes its
 * owner; whoever does not comes behind somebody who did. Returns how many it has woken. */
static unsigned inbox_push(struct reactor *to, struct envelope *newest, struct envelope *oldest)
{
	struct envelope *head = atomic_load_explicit(&to->inbox.newest, memory_order_relaxed);

	do {
		oldest->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&to->inbox.newest, &head, newest,
	                                                memory_order_release, memory_order_relaxed));
	if (head)
		return 0;
	reactor_wake(to);
	return 1;
}

void reactor_post_outside(struct reactor *to, struct envelope *e)
{
	atomic_fetch_add(&to->inbox.waiting, 1);
	inbox_push(to, e, e);
}

/* Room for so many of `count`: counted as waiting from now on. */
static unsigned inbox_reserve(struct inbox *in, unsigned count)
{
	unsigned waiting = atomic_load_explicit(&in->waiting, memory_order_relaxed), room;

	do {
		room = waiting < INBOX_BOUND ? INBOX_BOUND - waiting : 0;
		if (room > count)
			room = count;
	} while (room > 0 && !atomic_compare_exchange_weak(&in->waiting, &waiting, waiting + room));
	return room;
}

/* Hands over what is for `target`, as far as its inbox has room; one wake-up for all of it. */
static void outbound_flush(struct reactor *r, unsigned target)
{
	struct reactor *to = r->server->reactors[target];
	struct envelope_queue *q = &r->outbound[target];
	struct envelope *newest = NULL, *oldest = NULL;

	for (unsigned n = inbox_reserve(&to->inbox, q->count); n > 0; n--) {
		struct envelope *e = queue_take(q);

		e->next = newest;
		newest = e;
		if (!oldest)
			oldest = e;
	}
	if (newest)
		r->counts.wakeups += inbox_push(to, newest, oldest);
	if (!q->head)
		return;
	atomic_fetch_or(&to->inbox.blocked[r->index / 64], UINT64_C(1) << r->index % 64); /* 1 */
	if (atomic_load(&to->inbox.waiting) < INBOX_BOUND)                                /* 2 */
		r->has_posted = true;
}

/* The inbox has room again. */
static void blocked_wake(struct reactor *r)
{
	for (unsigned i = 0; i < COUNT_OF(r->inbox.blocked); i++) {
		uint64_t bits = atomic_load(&r->inbox.blocked[i]); /* 4 */

		if (!bits)
			continue;
		bits = atomic_exchange(&r->inbox.blocked[i], 0);
		for (unsigned n = 0; n < 64; n++)
			if (bits >> n & 1)
				reactor_wake(r->server->reactors[i * 64 + n]);
	}
}

static void inbox_empty(struct reactor *r)
{
	struct envelope *e = atomic_exchange_explicit(&r->inbox.newest, NULL, memory_order_acquire);
	struct envelope *oldest = NULL;
	unsigned count = 0;

	while (e) { /* newest first: turn it round */
		struct envelope *next = e->next;

		e->next = oldest;
		oldest = e;
		e = next;
		count++;
	}
	while (oldest) {
		struct envelope *next = oldest->next;

		queue_append(&r->queue, oldest);
		oldest = next;
	}
	atomic_fetch_sub(&r->inbox.waiting, count); /* 3 */
}

static void flooding_begin(struct reactor *r)
{
	r->is_flooding = true;
	atomic_fetch_add(&r->server->flooding, 1);
	r->counts.floods++;
}

/* Whoever sleeps with streams that are not read from has read `flooding` before it was 0 again. */
static void flooding_end(struct reactor *r)
{
	r->is_flooding = false;
	if (atomic_fetch_sub(&r->server->flooding, 1) > 1)
		return;
	for (unsigned i = 0; i < r->server->reactor_count; i++)
		reactor_wake(r->server->reactors[i]);
}

/* What an inbox cannot take stays, and streams stop reading. */
static void outbounds_flush(struct reactor *r)
{
	if (!r->has_posted && r->overflow == 0)
		return;
	r->has_posted = false;
	r->overflow = 0;
	for (unsigned i = 0; i < r->server->reactor_count; i++) {
		if (r->outbound[i].head)
			outbound_flush(r, i);
		r->overflow += r->outbound[i].count;
	}
	if (!r->is_flooding && r->overflow > OVERFLOW_BOUND)
		flooding_begin(r);
	else if (r->is_flooding && r->overflow == 0)
		flooding_end(r);
}

/* Whether streams may be read from. */
static void reactor_judge(struct reactor *r)
{
	bool was_blocked = r->is_blocked;

	r->is_blocked =
	    r->overflow > 0 || r->queue.count >= INBOX_BOUND || atomic_load(&r->server->flooding) > 0;
	if (r->is_blocked && !was_blocked)
		r->counts.blocks++;
	if (!r->is_blocked)
		streams_unpause(r);
}

/* ---- the turn */

static void envelope_handle(struct reactor *r, struct envelope *e)
{
	if (e->kind == ENV_RUN) {
		e->run(r, e->arg);
		envelope_free(r, e);
		return;
	}
	r->counts.envelopes++;
	if (ENVELOPE_IS_HOME(e))
		home_take(r, e);
	else if (e->kind == ENV_MOVED)
		stream_arrive(r, e);
	else
		stream_take(r, e);
}

static void queue_drain(struct reactor *r)
{
	struct envelope *e;

	for (unsigned n = 0; n < TURN_ENVELOPES && (e = queue_take(&r->queue)); n++)
		envelope_handle(r, e);
}

static int64_t time_now(void)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	return (int64_t)tv.tv_sec * 1000000 + tv.tv_usec;
}

static void on_busy(uv_idle_t *handle)
{
	(void)handle; /* its being active is all it is for */
}

/* Everything between two polls. Callable twice a turn: it does nothing when nothing is to be done. The inbox is
 * not emptied while as much has been taken from it as it can hold: else that would be no bound. */
static void reactor_turn(struct reactor *r)
{
	r->now = time_now();
	if (r->queue.count < INBOX_BOUND && atomic_load_explicit(&r->inbox.newest, memory_order_relaxed)) {
		inbox_empty(r);
		blocked_wake(r);
	}
	queue_drain(r);
	store_flush(r->store);
	if (r->searches)
		store_flush_reads(r->searches);
	streams_flush(r);
	outbounds_flush(r);
	reactor_judge(r);
	streams_bury(r);
	if (r->queue.head || r->has_posted || !list_is_empty(&r->dirty))
		uv_idle_start(&r->busy, on_busy);
	else
		uv_idle_stop(&r->busy);
}

static void on_after_poll(uv_check_t *handle)
{
	struct reactor *r = handle->data;

	r->counts.turns++;
	reactor_turn(r);
}

/* Timers, closing handles and the database's callbacks may have posted since. */
static void on_before_poll(uv_prepare_t *handle)
{
	struct reactor *r = handle->data;

	if (r->queue.head || r->has_posted || !list_is_empty(&r->dirty) || !list_is_empty(&r->graveyard))
		reactor_turn(r);
	else
		store_flush(r->store);
	if (r->searches)
		store_flush_reads(r->searches);
}

static void on_wake(uv_async_t *handle)
{
	(void)handle; /* the inbox is emptied after the poll */
}

static void on_commit(void *arg, uint64_t ticket)
{
	(void)ticket;
	homes_release(arg);
}

static void on_spool_empty(void *arg)
{
	transit_sweep(arg);
}

static void end_taken(struct reactor *r, void *arg)
{
	server_end_taken(r->server, arg);
	mem_free(arg);
}

static void on_taken(void *arg, const char *who)
{
	reactor_post_run(arg, 0, end_taken, mem_strdup(who));
}

void reactor_configure(struct reactor *r)
{
	const struct limits_conf *l = &r->conf->limits;

	for (unsigned i = 0; i < COUNT_OF(r->xml_limits); i++)
		r->xml_limits[i] = (struct xml_limits){
			.stanza_bytes = (uint32_t)(i ? l->stanza_bytes : l->stanza_bytes_before),
			.depth = (uint32_t)l->depth,
			.attributes = (uint32_t)l->attributes,
			.children = (uint32_t)l->children,
			.token_bytes = (uint32_t)l->token_bytes,
		};
}

struct reactor *reactor_new(struct server *srv, unsigned index)
{
	struct reactor *r = mem_zalloc(sizeof *r);

	r->index = index;
	r->server = srv;
	r->conf = conf_ref(srv->conf);
	r->hosts = hosts_ref(srv->hosts);
	r->groups = groups_ref(srv->groups);
	r->hooks = srv->hooks;
	ASSERT(uv_loop_init(&r->loop) == 0);
	r->loop.data = r;
	ASSERT(uv_check_init(&r->loop, &r->after_poll) == 0);
	ASSERT(uv_prepare_init(&r->loop, &r->before_poll) == 0);
	ASSERT(uv_idle_init(&r->loop, &r->busy) == 0);
	ASSERT(uv_async_init(&r->loop, &r->inbox.wake, on_wake) == 0);
	r->after_poll.data = r->before_poll.data = r;
	uv_check_start(&r->after_poll, on_after_poll);
	uv_prepare_start(&r->before_poll, on_before_poll);
	queue_init(&r->queue);
	r->outbound = mem_zalloc(srv->reactor_count * sizeof *r->outbound);
	for (unsigned i = 0; i < srv->reactor_count; i++)
		queue_init(&r->outbound[i]);
	list_init(&r->waiting_homes);
	list_init(&r->sleepers);
	list_init(&r->dirty);
	list_init(&r->paused);
	list_init(&r->graveyard);
	list_init(&r->logins);
	list_init(&r->listeners);
	wheel_init(&r->wheel, &r->loop);
	homes_init(r);
	tls_io_init(&r->tls);
	r->xml = xml_pool_new(PARSERS);
	r->read_buffer = mem_alloc(READ_BUFFER);
	r->plain_buffer = mem_alloc(PLAIN_BUFFER);
	reactor_configure(r);
	r->now = time_now();
	r->next_id = (uint64_t)index << 48 | 1;
	r->trace =
	    (uint64_t)index << TRACE_SHIFT | (uint64_t)r->now; /* nobody handles one each microsecond */
	r->store = store_open(srv->db, &r->loop);
	if (index == 0)
		r->relay = relay_new(r);
	store_on_commit(r->store, on_commit, r);
	store_on_replayed(r->store, on_spool_empty, r);
	store_on_taken(r->store, on_taken, r);
	return r;
}

void reactor_run(struct reactor *r)
{
	uv_run(&r->loop, UV_RUN_DEFAULT);
}

/* ---- the end: streams, then homes (server_stop.c), then the store, then the loop's own handles */

void reactor_stop(struct reactor *r)
{
	r->is_stopping = true;
	listeners_close(r);
	streams_shutdown(r);
	if (r->relay)
		relay_stop(r->relay);
}

bool reactor_is_quiet(const struct reactor *r)
{
	struct store_counts store, searches = { 0 };

	store_counts(r->store, &store);
	if (r->searches)
		store_counts(r->searches, &searches);
	if (r->streams.count > 0 || r->queue.head || !list_is_empty(&r->waiting_homes) ||
	    store.waiting_reads > 0 || searches.waiting_reads > 0 || store.waiting_writes > 0 ||
	    r->hashing > 0)
		return false;
	for (unsigned i = 0; i < r->server->reactor_count; i++)
		if (r->outbound[i].head)
			return false;
	return true;
}

static void on_store_closed(void *arg)
{
	struct reactor *r = arg;

	wheel_close(&r->wheel);
	uv_close((uv_handle_t *)&r->after_poll, NULL);
	uv_close((uv_handle_t *)&r->before_poll, NULL);
	uv_close((uv_handle_t *)&r->busy, NULL);
	uv_close((uv_handle_t *)&r->inbox.wake, NULL);
}

static void on_searches_closed(void *arg)
{
	struct reactor *r = arg;

	r->searches = NULL;
	store_close(r->store, on_store_closed, r);
}

void reactor_close(struct reactor *r)
{
	if (r->searches)
		store_close(r->searches, on_searches_closed, r);
	else
		on_searches_closed(r);
}

static void queue_drop(struct reactor *r, struct envelope_queue *q)
{
	struct envelope *e;

	while ((e = queue_take(q))) {
		if (e->kind == ENV_MOVED)
			stream_drop_moved(r, e);
		else
			envelope_free(r, e);
	}
}

void reactor_free(struct reactor *r)
{
	struct envelope *e;

	inbox_empty(r);
	queue_drop(r, &r->queue);
	for (unsigned i = 0; i < r->server->reactor_count; i++)
		queue_drop(r, &r->outbound[i]);
	homes_free(r);
	streams_bury(r);
	ASSERT(uv_loop_close(&r->loop) == 0);
	while ((e = r->free_envelopes)) {
		r->free_envelopes = e->next;
		mem_free(e);
	}
	hash_free(&r->streams);
	relay_free(r->relay);
	host_counts_free(r);
	tls_io_free(&r->tls);
	xml_pool_free(r->xml);
	buffer_free(&r->plain);
	mem_free(r->read_buffer);
	mem_free(r->plain_buffer);
	mem_free(r->outbound);
	conf_unref(r->conf);
	hosts_unref(r->hosts);
	groups_unref(r->groups);
	mem_free(r);
}
