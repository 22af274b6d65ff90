/* store_pg.c - the PostgreSQL engine: per store one writing and one reading connection, both libpq in
 * pipeline mode on the store's own loop; nothing here blocks but what runs at start.
 *
 * All between two syncs of a pipeline is one transaction, so a group is its statements and one sync, and
 * a read is one statement and a sync. What was asked stands in `expects` in the order of the answers.
 * A statement is prepared when it is first used, before the group, with a sync of its own: its failure
 * must not take anything else with it.
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

#define FEED_BYTES 65536 /* as much of a group goes into libpq's buffer before it must have left */

struct prepared {
	struct hash_node node;
	const struct sql *sql; /* the key is the address, then the types */
	bool is_sent;
	char name[48];
	unsigned count;
	Oid types[PARAMS_MAX]; /* 0: it was NULL when the statement was prepared */
};

enum expect_kind {
	EXPECT_PREPARED,  /* what: struct prepared */
	EXPECT_STATEMENT, /* what: struct write */
	EXPECT_READ,      /* what: struct read */
	EXPECT_FENCE,
	EXPECT_STILL,      /* no row: the database is still this node's */
	EXPECT_WATCH,      /* may fail */
	EXPECT_SYNC,       /* behind a prepared statement or a read */
	EXPECT_SYNC_FENCE, /* then the writer is up */
	EXPECT_SYNC_UNIT   /* what: the first write of the transaction that ends here */
};

struct expect {
	enum expect_kind kind;
	void *what;
	const struct sql *sql; /* for the log */
};

enum conn_state {
	CONN_DOWN,     /* the timer runs: the pause before the next attempt */
	CONN_STARTING, /* the timer runs: the time it may take */
	CONN_UP,       /* the timer runs while an answer is expected */
	CONN_TAKEN,    /* the database is another musterd's; nothing runs */
	CONN_CLOSED
};

struct conn {
	struct pg_store *owner;
	struct store *store;
	bool is_writer;
	bool is_reported; /* the log knows that it is away */
	uint32_t reason;  /* a hash of what it was reported with: another one is reported again */
	enum conn_state state;
	PGconn *pg;
	uv_poll_t *poll; /* on the heap: an old one may be closing while the next is open */
	int events;
	uv_timer_t timer, delay;
	unsigned pause_ms;    /* the last pause; 0 when something has worked since */
	uint64_t progress_at; /* uv_now of the last answer, or of asking when nothing was expected */
	struct hash prepared; /* of struct prepared */
	unsigned prepared_count;
	struct expect *expects; /* a ring: `cap` is a power of two */
	unsigned head, count, cap;
	/* The writer's. */
	struct write *feed; /* the next to be sent, or NULL */
	struct write *unit; /* the first of the transaction being sent */
	size_t fed;         /* bytes since the last flush */
	bool has_error;     /* the transaction being answered was refused */
};

struct pg_store {
	struct conn writer, reader;
	int64_t fence; /* the number of our advisory lock */
	unsigned open_handles;
};

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

static void conn_lost(struct conn *c, const char *why);
static void conn_shut(struct conn *c);
static void on_poll(uv_poll_t *poll, int status, int events);
static void group_feed(struct conn *c);

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

static struct expect expect_take(struct conn *c)
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

static bool conn_sync(struct conn *c, enum expect_kind kind, void *what)
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

static bool conn_prepare(struct conn *c, const struct sql *sql, const struct param *params, unsigned count)
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
static bool conn_send(struct conn *c, const struct sql *sql, const struct param *params, unsigned count,
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
static bool conn_flush(struct conn *c)
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

static void on_timer(uv_timer_t *timer);

/* Sees that the timer runs while an answer is expected. */
static void conn_watch(struct conn *c)
{
	if (c->state == CONN_UP && c->count > 0 && !uv_is_active((uv_handle_t *)&c->timer))
		uv_timer_start(&c->timer, on_timer, c->store->db->options.timeout_ms, 0);
}

static void pg_send_read(struct store *s, struct read *r)
{
	struct pg_store *p = s->part;
	struct conn *c = &p->reader;
	if (!conn_prepare(c, r->sql, r->params, r->count) ||
	    !conn_send(c, r->sql, r->params, r->count, EXPECT_READ, NULL)) {
		store_read_failed(s, r);
		return;
	}
	c->expects[(c->head + c->count - 1) & (c->cap - 1)].what = r; /* now conn_lost answers for it */
	if (conn_sync(c, EXPECT_SYNC, NULL) && conn_flush(c))
		conn_watch(c);
}

static void on_delay(uv_timer_t *timer)
{
	struct conn *c = timer->data;
	c->progress_at = uv_now(c->store->loop);
	if (conn_sync(c, EXPECT_SYNC_UNIT, c->unit) && conn_flush(c))
		conn_watch(c);
}

static bool write_send(struct conn *c, struct write *w)
{
	if (!c->unit)
		c->unit = w;
	w->rows = (struct rows){ .status = STORE_OK };
	STATEMENT_EACH (st, w)
		if (!conn_send(c, st->sql, st->params, st->count, EXPECT_STATEMENT, w))
			return false;
	return true;
}

/* Sends on until libpq's buffer is full; the poll calls again. */
static void group_feed(struct conn *c)
{
	bool is_split = c->store->sent->is_split;
	unsigned delay = c->store->db->options.test_commit_delay_ms;
	while (c->feed) {
		if (c->fed > FEED_BYTES && (!conn_flush(c) || c->events & UV_WRITABLE))
			return;
		struct write *w = c->feed;
		if (!write_send(c, w))
			return;
		c->feed = w->next_sent;
		if (is_split && w->ends_unit) {
			if (!conn_sync(c, EXPECT_SYNC_UNIT, c->unit))
				return;
			c->unit = NULL;
		}
	}
	if (!is_split && delay)
		uv_timer_start(&c->delay, on_delay, delay, 0);
	else if (!is_split && !conn_sync(c, EXPECT_SYNC_UNIT, c->unit))
		return;
	conn_flush(c);
}

static void pg_send_group(struct store *s, struct group *g)
{
	struct pg_store *p = s->part;
	struct conn *c = &p->writer;
	c->unit = NULL;
	c->has_error = false;
	for (struct write *w = g->first_sent; w; w = w->next_sent)
		STATEMENT_EACH (st, w)
			if (!conn_prepare(c, st->sql, st->params, st->count))
				return;
	c->feed = g->first_sent;
	group_feed(c);
	conn_watch(c);
}

/* ---- receiving */

static void on_read_result(struct conn *c, struct read *r, const struct sql *sql, const PGresult *result)
{
	if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK) {
		pg_rows_fill(&r->rows, result, &r->arena, false);
	} else if (pg_is_transient(result)) {
		r->rows = (struct rows){ .status = STORE_AWAY };
	} else {
		r->rows = (struct rows){ .status = STORE_FAILED };
		pg_log_refused(sql, result);
	}
	store_read_done(c->store, r);
}

static void on_write_result(struct conn *c, struct write *w, const struct sql *sql, const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	if (status == PGRES_TUPLES_OK) {
		pg_rows_fill(&w->rows, result, &w->arena, true);
	} else if (status == PGRES_COMMAND_OK) {
		w->rows = (struct rows){ .status = STORE_OK };
	} else {
		c->has_error = true;
		if (status == PGRES_FATAL_ERROR && c->store->sent->is_split)
			pg_log_refused(sql, result);
	}
}

/* It works again. A writer does not when it is merely connected: the disk may be full. */
static void conn_back(struct conn *c)
{
	c->pause_ms = 0;
	if (c->is_reported)
		log_info("store", NULL, "PostgreSQL is back for %s", c->is_writer ? "writing" : "reading");
	c->is_reported = false;
}

/* The transaction that began with `first` has ended. */
static void on_unit(struct conn *c, struct write *first)
{
	struct store *s = c->store;
	bool has_error = c->has_error;
	c->has_error = false;
	conn_back(c);
	if (!s->sent->is_split && has_error) {
		store_group_refused(s);
		return;
	}
	struct write *w = first;
	while (w) {
		bool is_end = s->sent->is_split && w->ends_unit;
		if (has_error)
			w->rows = (struct rows){ .status = STORE_FAILED };
		w = w->next_sent;
		if (is_end)
			break;
	}
	if (!w)
		store_group_committed(s);
}

static void on_sync(struct conn *c)
{
	struct expect e = expect_take(c);
	if (e.kind == EXPECT_SYNC_UNIT) {
		on_unit(c, e.what);
	} else if (e.kind == EXPECT_SYNC_FENCE) {
		store_writer_up(c->store);
		if (c->state == CONN_UP && !c->store->sent && !store_is_spooling(c->store))
			conn_back(c);
	} else {
		ASSERT(e.kind == EXPECT_SYNC);
		if (!c->is_writer)
			c->pause_ms = 0;
	}
}

/* Another musterd has the database. */
static void conn_taken(struct conn *c, const PGresult *result)
{
	char *who = mem_strndup(PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));

	conn_shut(c);
	c->state = CONN_TAKEN;
	store_writer_down(c->store);
	store_taken(c->store, who);
	mem_free(who);
}

static void on_result(struct conn *c, const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	bool is_error = status == PGRES_FATAL_ERROR;
	struct expect e = c->expects[c->head];
	c->progress_at = uv_now(c->store->loop);
	if (status == PGRES_PIPELINE_SYNC) {
		on_sync(c);
		return;
	}
	if (is_error && c->is_writer && pg_is_transient(result)) {
		conn_lost(c, pg_error_text(result));
		return;
	}
	switch (e.kind) {
	case EXPECT_PREPARED:
		expect_take(c);
		if (status != PGRES_COMMAND_OK)
			((struct prepared *)e.what)->is_sent = false;
		if (is_error)
			pg_log_refused(e.sql, result);
		break;
	case EXPECT_STATEMENT:
		expect_take(c);
		on_write_result(c, e.what, e.sql, result);
		break;
	case EXPECT_READ:
		expect_take(c);
		on_read_result(c, e.what, e.sql, result);
		break;
	case EXPECT_FENCE:
		expect_take(c);
		if (is_error)
			conn_lost(c, pg_error_text(result));
		break;
	case EXPECT_STILL:
		expect_take(c);
		if (is_error)
			conn_lost(c, pg_error_text(result));
		else if (PQntuples(result) > 0)
			conn_taken(c, result);
		break;
	case EXPECT_WATCH:
		expect_take(c);
		break;
	case EXPECT_SYNC_UNIT: /* the commit itself was refused; the sync still follows */
		c->has_error = true;
		log_error("store", NULL, "a commit was refused: %s", pg_error_text(result));
		break;
	case EXPECT_SYNC:
	case EXPECT_SYNC_FENCE:
		break;
	}
}

/* All that has arrived. Each statement has one result, then PQgetResult says NULL once. */
static void conn_receive(struct conn *c)
{
	unsigned nulls = 0;
	while (c->state == CONN_UP && c->count > 0 && nulls < 2 && !PQisBusy(c->pg)) {
		PGresult *result = PQgetResult(c->pg);
		if (!result) {
			nulls++;
			continue;
		}
		nulls = 0;
		if (PQstatus(c->pg) == CONNECTION_BAD)
			conn_lost(c, PQerrorMessage(c->pg));
		else
			on_result(c, result);
		PQclear(result);
	}
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

/* ---- a connection's life */

static void on_poll_closed(uv_handle_t *handle)
{
	mem_free(handle);
}

/* Before PQfinish, and before libpq may close the socket itself: else the loop goes on watching a file
 * descriptor that is somebody else's. */
static void poll_close(struct conn *c)
{
	if (c->poll)
		uv_close((uv_handle_t *)c->poll, on_poll_closed);
	c->poll = NULL;
	c->events = 0;
}

static bool poll_open(struct conn *c, int events)
{
	c->poll = mem_alloc(sizeof *c->poll);
	if (uv_poll_init(c->store->loop, c->poll, PQsocket(c->pg)) != 0) {
		mem_free(c->poll);
		c->poll = NULL;
		return false;
	}
	c->poll->data = c;
	poll_want(c, events);
	return true;
}

static void conn_shut(struct conn *c)
{
	uv_timer_stop(&c->timer);
	uv_timer_stop(&c->delay);
	poll_close(c);
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

static void conn_lost(struct conn *c, const char *why)
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

/* What conninfo names as `host` is looked up here, and that blocks: the manual says to use `hostaddr` or
 * the unix socket. */
static void conn_start(struct conn *c)
{
	char *error = NULL;
	c->state = CONN_STARTING;
	c->pg = pg_connect(c->store->db, c->is_writer ? PG_WRITING : "musterd reading", NULL, &error);
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
	uv_timer_start(&c->timer, on_timer, c->store->db->options.timeout_ms, 0);
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

static void conn_up(struct conn *c)
{
	uv_timer_stop(&c->timer);
	c->state = CONN_UP;
	if (PQsetnonblocking(c->pg, 1) != 0 || !PQenterPipelineMode(c->pg)) {
		conn_lost(c, PQerrorMessage(c->pg));
		return;
	}
	if (!c->is_writer) {
		conn_back(c);
		store_reader_up(c->store);
		return;
	}
	if (conn_prepare(c, &sql_pg_watch, NO_PARAMS) &&
	    conn_send(c, &sql_pg_watch, NO_PARAMS, EXPECT_WATCH, NULL) && conn_sync(c, EXPECT_SYNC, NULL) &&
	    conn_enter(c) && conn_flush(c))
		conn_watch(c);
}

static void conn_continue(struct conn *c)
{
	poll_close(c);
	PostgresPollingStatusType next = PQconnectPoll(c->pg);
	if (next == PGRES_POLLING_FAILED ||
	    !poll_open(c, next == PGRES_POLLING_WRITING ? UV_WRITABLE : UV_READABLE)) {
		conn_lost(c, PQerrorMessage(c->pg));
		return;
	}
	if (next == PGRES_POLLING_OK)
		conn_up(c);
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
	uint64_t limit = c->store->db->options.timeout_ms;
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

/* ---- a store */

static void conn_init(struct conn *c, struct pg_store *p, struct store *s, bool is_writer)
{
	c->owner = p;
	c->store = s;
	c->is_writer = is_writer;
	uv_timer_init(s->loop, &c->timer);
	uv_timer_init(s->loop, &c->delay);
	c->timer.data = c->delay.data = c;
	p->open_handles += 2;
}

static void pg_store_open(struct store *s)
{
	struct pg_store *p = mem_zalloc(sizeof *p);
	s->part = p;
	int rc = uv_random(NULL, NULL, &p->fence, sizeof p->fence, 0, NULL);
	ASSERT(rc == 0);
	conn_init(&p->writer, p, s, true);
	conn_init(&p->reader, p, s, false);
	/* Not conn_start at once: nothing may be reported before store_open has returned. */
	uv_timer_start(&p->writer.timer, on_timer, 0, 0);
	uv_timer_start(&p->reader.timer, on_timer, 0, 0);
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

static void conn_close(struct conn *c)
{
	conn_shut(c);
	c->state = CONN_CLOSED;
	uv_close((uv_handle_t *)&c->timer, on_closed);
	uv_close((uv_handle_t *)&c->delay, on_closed);
}

static void pg_store_close(struct store *s)
{
	struct pg_store *p = s->part;
	conn_close(&p->writer);
	conn_close(&p->reader);
}

/* "Muster" in ASCII: one process at a time changes the schema. */
#define LOCK_SQL "set lock_timeout = '60s'; select pg_advisory_lock(85166843520370)"

const struct engine engine_postgresql = {
	.name = "postgresql",
	.open = pg_open,
	.claim = pg_claim,
	.close = pg_close,
	.durability = pg_durability,
	.session_open = pg_session_open,
	.session_run = pg_session_run,
	.session_script = pg_session_script,
	.session_close = pg_session_close,
	.lock = LOCK_SQL,
	.begin = "begin",
	.store_open = pg_store_open,
	.store_close = pg_store_close,
	.send_group = pg_send_group,
	.send_read = pg_send_read,
};
