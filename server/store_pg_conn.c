/* store_pg_conn.c - one connection of a store to PostgreSQL, on the store's own loop: libpq in pipeline mode,
 * what is expected on it, how it is made, watched and lost. store_pg.c says what is sent over it and takes
 * the answers.
 *
 * What was asked stands in `expects` in the order of the answers. A statement is prepared when it is first
 * used, before the group, with a sync of its own: its failure must not take anything else with it.
 *
 * Every doubt ends in one way, conn_lost: the connection is dropped, made anew after a pause, and the
 * group is sent again. The old backend may still be busy with that group, even commit it, and must not
 * do so behind our newer groups: so each writing connection holds an advisory lock with the number of its
 * store, and the next one ends its predecessor and waits for that lock before it writes (the fence). What a
 * process that was killed has left, the next start waits for; and no other process may write to this database
 * (store_pg_claim.c). */
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "store_pg.h"

static const struct sql sql_fence_end = {
	.name = "fence_end",
	.text =
	    "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objsubid = 1 "
	    "and (classid::bigint << 32 | objid::bigint) = $1 and pid <> pg_backend_pid()",
};
/* What the server writes itself it knows already: its triggers stay silent (schema, 006_live). */
static const struct sql sql_quiet = {
	.name = "quiet",
	.text = "select set_config('muster.quiet', 'on', false)",
};
static const struct sql sql_fence = { .name = "fence", .text = "select 1 from pg_advisory_lock($1)" };

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_timer(uv_timer_t *timer);

/* ---- what is expected */

static void expect_add(struct conn *c, enum expect_kind kind, void *what, const struct sql *sql)
{
	if (c->count == c->cap) {
		unsigned cap = c->cap ? c->cap * 2 : 64;
		struct expect *ring = mem_alloc(sizeof *ring * cap);
		for (unsigned i = 0; i < c->count; i++)
			ring[i] = c->expects[(c->head + i) & (c->cap - 1)];
		mem_free(c->expects);
		c->expects = ring;
		c->head = 0;
		c->cap = cap;
	}
	if (c->count == 0)
		c->progress_at = uv_now(c->store->loop);
	c->expects[(c->head + c->count++) & (c->cap - 1)] = (struct expect){ kind, what, sql };
}

struct expect expect_take(struct conn *c)
{
	struct expect e = c->expects[c->head];
	c->head = (c->head + 1) & (c->cap - 1);
	c->count--;
	return e;
}

/* ---- sending. False when the connection was lost over it. */

static bool conn_ok(struct conn *c, int sent)
{
	if (sent)
		return true;
	conn_lost(c, PQerrorMessage(c->pg));
	return false;
}

bool conn_sync(struct conn *c, enum expect_kind kind, void *what)
{
	if (!conn_ok(c, PQpipelineSync(c->pg)))
		return false;
	expect_add(c, kind, what, NULL);
	return true;
}

static bool prepared_fits(const struct prepared *p, const struct sql *sql, const struct param *params,
                          unsigned count)
{
	if (p->sql != sql || p->count != count)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (params[i].type != PARAM_NULL && p->types[i] != pg_param_oid(&params[i]))
			return false;
	return true;
}

/* The statement for these types; a NULL fits any. */
static struct prepared *prepared_find(struct conn *c, const struct sql *sql, const struct param *params,
                                      unsigned count)
{
	uint32_t hash = pointer_hash(sql);
	for (struct hash_node *n = hash_first(&c->prepared, hash); n; n = hash_next(n)) {
		struct prepared *p = CONTAINER_OF(n, struct prepared, node);
		if (prepared_fits(p, sql, params, count))
			return p;
	}
	struct prepared *p = mem_zalloc(sizeof *p);
	p->sql = sql;
	p->count = count;
	for (unsigned i = 0; i < count; i++)
		p->types[i] = pg_param_oid(&params[i]);
	snprintf(p->name, sizeof p->name, "%.32s_%u", sql->name, ++c->prepared_count);
	hash_add(&c->prepared, &p->node, hash);
	return p;
}

static void prepared_free_all(struct conn *c)
{
	struct hash_node *n;
	while ((n = hash_walk(&c->prepared, NULL))) {
		hash_remove(&c->prepared, n);
		mem_free(CONTAINER_OF(n, struct prepared, node));
	}
	hash_free(&c->prepared);
	c->prepared = (struct hash){ 0 };
}

bool conn_prepare(struct conn *c, const struct sql *sql, const struct param *params, unsigned count)
{
	struct prepared *p = prepared_find(c, sql, params, count);
	if (p->is_sent)
		return true;
	if (!conn_ok(c, PQsendPrepare(c->pg, p->name, sql->text, (int)count, p->types)))
		return false;
	p->is_sent = true;
	expect_add(c, EXPECT_PREPARED, p, sql);
	return conn_sync(c, EXPECT_SYNC, NULL);
}

/* A statement that was prepared. */
bool conn_send(struct conn *c, const struct sql *sql, const struct param *params, unsigned count,
               enum expect_kind kind, void *what)
{
	struct wire w;
	const struct prepared *p = prepared_find(c, sql, params, count);
	c->fed += 64 + pg_params_encode(&w, params, count);
	if (!conn_ok(c, PQsendQueryPrepared(c->pg, p->name, (int)count, w.values, w.lengths, w.formats, 1)))
		return false;
	expect_add(c, kind, what, sql);
	return true;
}

static void poll_want(struct conn *c, int events)
{
	if (c->events == events)
		return;
	c->events = events;
	uv_poll_start(c->poll, events, on_poll);
}

/* PQflush says 1 when the socket took only a part. */
bool conn_flush(struct conn *c)
{
	int rest = PQflush(c->pg);
	if (rest < 0) {
		conn_lost(c, PQerrorMessage(c->pg));
		return false;
	}
	c->fed = 0;
	poll_want(c, rest ? UV_READABLE | UV_WRITABLE : UV_READABLE);
	return true;
}

/* Sees that the timer runs while an answer is expected. */
void conn_watch(struct conn *c)
{
	if (c->state == CONN_UP && c->count > 0 && !uv_is_active((uv_handle_t *)&c->timer))
		uv_timer_start(&c->timer, on_timer, c->store->timeout_ms, 0);
}

/* ---- a connection's life */

static bool poll_open(struct conn *c, int events)
{
	c->poll = pg_poll_open(c->store->loop, c->pg, events, on_poll, c);
	c->events = events;
	return c->poll;
}

static void conn_shut(struct conn *c)
{
	uv_timer_stop(&c->timer);
	uv_timer_stop(&c->delay);
	pg_poll_close(&c->poll);
	PQfinish(c->pg);
	c->pg = NULL;
	c->feed = NULL;
	prepared_free_all(c);
	while (c->count > 0) {
		struct expect e = expect_take(c);
		if (e.kind == EXPECT_READ && e.what)
			store_read_failed(c->store, e.what);
	}
	mem_free(c->expects);
	c->expects = NULL;
	c->cap = c->head = 0;
}

/* It works again. A writer does not when it is merely connected: the disk may be full. */
void conn_back(struct conn *c)
{
	c->pause_ms = 0;
	if (c->is_reported)
		log_info("store", NULL, "PostgreSQL is back for %s", c->is_writer ? "writing" : "reading");
	c->is_reported = false;
}

void conn_lost(struct conn *c, const char *why)
{
	const char *use = c->is_writer ? "writing" : "reading";
	uint32_t reason = hash_bytes(why, strlen(why));
	if (!c->is_reported || c->reason != reason)
		log_warn("store", NULL, "PostgreSQL is away for %s: %.*s: trying again", use,
		         (int)strcspn(why, "\n"), why);
	c->is_reported = true;
	c->reason = reason;
	conn_shut(c);
	c->state = CONN_DOWN;
	c->pause_ms = c->pause_ms ? c->pause_ms * 2 : PAUSE_MIN_MS;
	if (c->pause_ms > PAUSE_MAX_MS)
		c->pause_ms = PAUSE_MAX_MS;
	uv_timer_start(&c->timer, on_timer, c->pause_ms, 0);
	if (c->is_writer)
		store_writer_down(c->store);
	else
		store_reader_down(c->store);
}

/* Another musterd has the database. */
void conn_taken(struct conn *c, const PGresult *result)
{
	char *who = mem_strndup(PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));

	conn_shut(c);
	c->state = CONN_TAKEN;
	store_writer_down(c->store);
	store_taken(c->store, who);
	mem_free(who);
}

/* What conninfo names as `host` is looked up here, and that blocks: the manual says to use `hostaddr` or
 * the unix socket. */
static void conn_start(struct conn *c)
{
	char *error = NULL;
	c->state = CONN_STARTING;
	c->pg = pg_connect(c->store->db,
	                   c->is_writer        ? PG_WRITING
	                   : c->store->is_long ? "musterd searching"
	                                       : "musterd reading",
	                   NULL, &error);
	if (!c->pg) {
		conn_lost(c, error);
		mem_free(error);
		return;
	}
	PQsetNoticeProcessor(c->pg, pg_on_notice, NULL);
	if (PQstatus(c->pg) == CONNECTION_BAD || !poll_open(c, UV_WRITABLE)) {
		conn_lost(c, PQerrorMessage(c->pg));
		return;
	}
	uv_timer_start(&c->timer, on_timer, c->store->timeout_ms, 0);
}

/* What comes before the first group: the fence, the claim, and silent triggers, in one transaction. */
static bool conn_enter(struct conn *c)
{
	const struct pg_node *node = c->store->db->part;
	const char *ours = node->claim ? node->claim : "";
	const struct param fence[] = { P_INT(c->owner->fence) };
	const struct param claim[] = { P_BYTES(ours, strlen(ours)) };

	if (!conn_prepare(c, &sql_fence_end, fence, 1) || !conn_prepare(c, &sql_fence, fence, 1) ||
	    !conn_prepare(c, &sql_pg_hold, NO_PARAMS) || !conn_prepare(c, &sql_pg_still, claim, 1) ||
	    !conn_prepare(c, &sql_quiet, NO_PARAMS) ||
	    !conn_send(c, &sql_fence_end, fence, 1, EXPECT_FENCE, NULL) ||
	    !conn_send(c, &sql_fence, fence, 1, EXPECT_FENCE, NULL))
		return false;
	if (node->claim && (!conn_send(c, &sql_pg_hold, NO_PARAMS, EXPECT_FENCE, NULL) ||
	                    !conn_send(c, &sql_pg_still, claim, 1, EXPECT_STILL, NULL)))
		return false;
	return conn_send(c, &sql_quiet, NO_PARAMS, EXPECT_FENCE, NULL) &&
	       conn_sync(c, EXPECT_SYNC_FENCE, NULL);
}

/* What is read in an order is read a page at a time, and has an index for it. PostgreSQL cannot know how large a
 * page's owner is when it makes a plan without the values: rather than walk the index it would sort all he has. */
static const struct sql sql_by_index = {
	.name = "by_index",
	.text = "select set_config('enable_sort', 'off', false), set_config('jit', 'off', false)",
};
/* A long read is ended by PostgreSQL itself. */
static const struct sql sql_long = {
	.name = "long_reads",
	.text = "select set_config('statement_timeout', '5s', false)," /* LONG_READ_MS */
		" set_config('enable_sort', 'off', false), set_config('jit', 'off', false)",
};

static void reader_up(struct conn *c)
{
	const struct sql *how = c->store->is_long ? &sql_long : &sql_by_index;

	if (!conn_prepare(c, how, NO_PARAMS) || !conn_send(c, how, NO_PARAMS, EXPECT_WATCH, NULL) ||
	    !conn_sync(c, EXPECT_SYNC, NULL) || !conn_flush(c))
		return;
	conn_back(c);
	store_reader_up(c->store);
}

static void conn_up(struct conn *c)
{
	uv_timer_stop(&c->timer);
	c->state = CONN_UP;
	if (PQsetnonblocking(c->pg, 1) != 0 || !PQenterPipelineMode(c->pg)) {
		conn_lost(c, PQerrorMessage(c->pg));
		return;
	}
	if (!c->is_writer) {
		reader_up(c);
		return;
	}
	if (conn_prepare(c, &sql_pg_watch, NO_PARAMS) &&
	    conn_send(c, &sql_pg_watch, NO_PARAMS, EXPECT_WATCH, NULL) && conn_sync(c, EXPECT_SYNC, NULL) &&
	    conn_enter(c) && conn_flush(c))
		conn_watch(c);
}

static void conn_continue(struct conn *c)
{
	pg_poll_close(&c->poll);
	PostgresPollingStatusType next = PQconnectPoll(c->pg);
	if (next == PGRES_POLLING_FAILED ||
	    !poll_open(c, next == PGRES_POLLING_WRITING ? UV_WRITABLE : UV_READABLE)) {
		conn_lost(c, PQerrorMessage(c->pg));
		return;
	}
	if (next == PGRES_POLLING_OK)
		conn_up(c);
}

static bool conn_consume(struct conn *c)
{
	if (!PQconsumeInput(c->pg)) {
		conn_lost(c, PQerrorMessage(c->pg));
		return false;
	}
	conn_receive(c);
	return c->state == CONN_UP;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct conn *c = poll->data;
	if (c->state == CONN_STARTING) {
		conn_continue(c);
		return;
	}
	/* libuv calls a reset socket a bad descriptor; libpq knows better words for it. */
	if ((status < 0 || events & UV_READABLE) && !conn_consume(c))
		return;
	if (status < 0) {
		conn_lost(c, uv_strerror(status));
		return;
	}
	if (conn_flush(c) && c->feed && !(c->events & UV_WRITABLE))
		group_feed(c);
	conn_watch(c);
}

static void on_timer(uv_timer_t *timer)
{
	struct conn *c = timer->data;
	uint64_t limit = c->store->timeout_ms;
	if (c->state == CONN_DOWN) {
		conn_start(c);
		return;
	}
	if (c->state == CONN_STARTING) {
		conn_lost(c, "no connection in time");
		return;
	}
	/* Timers run before sockets: after a long turn of the loop the answer may be here already. */
	if (!conn_consume(c))
		return;
	uint64_t waited = uv_now(c->store->loop) - c->progress_at;
	if (c->count > 0 && waited >= limit)
		conn_lost(c, "no answer in time");
	else if (c->count > 0)
		uv_timer_start(&c->timer, on_timer, limit - waited, 0);
}

/* ---- its beginning and its end */

void conn_init(struct conn *c, struct pg_store *p, struct store *s, bool is_writer)
{
	c->owner = p;
	c->store = s;
	c->is_writer = is_writer;
	uv_timer_init(s->loop, &c->timer);
	uv_timer_init(s->loop, &c->delay);
	c->timer.data = c->delay.data = c;
	p->open_handles += 2;
	/* Not conn_start at once: nothing may be reported before store_open has returned. */
	uv_timer_start(&c->timer, on_timer, 0, 0);
}

static void on_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;
	struct pg_store *p = c->owner;
	struct store *s = c->store;
	if (--p->open_handles > 0)
		return;
	mem_free(p);
	store_engine_closed(s);
}

void conn_close(struct conn *c)
{
	conn_shut(c);
	c->state = CONN_CLOSED;
	uv_close((uv_handle_t *)&c->timer, on_closed);
	uv_close((uv_handle_t *)&c->delay, on_closed);
}
