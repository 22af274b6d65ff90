/* store_pg.c - the PostgreSQL engine: per store one writing and one reading connection, both libpq in
 * pipeline mode on the store's own loop; nothing here blocks but what runs at start.
 *
 * All between two syncs of a pipeline is one transaction, so a group is its statements and one sync, and
 * a read is one statement and a sync. A connection's own affairs, the queue of what is expected among them, are
 * in store_pg_conn.c. */
#include "log.h"
#include "store_pg.h"

#define FEED_BYTES 65536 /* as much of a group goes into libpq's buffer before it must have left */

/* ---- sending */

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
void group_feed(struct conn *c)
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
void conn_receive(struct conn *c)
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

/* ---- a store */

static void pg_store_open(struct store *s)
{
	struct pg_store *p = mem_zalloc(sizeof *p);
	s->part = p;
	int rc = uv_random(NULL, NULL, &p->fence, sizeof p->fence, 0, NULL);
	ASSERT(rc == 0);
	if (!s->is_long)
		conn_init(&p->writer, p, s, true);
	conn_init(&p->reader, p, s, false);
}

static void pg_store_close(struct store *s)
{
	struct pg_store *p = s->part;
	if (!s->is_long)
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
