/* store.c - the half of the database that knows no engine: it gathers writes (store_write.c) into groups,
 * gives out tickets, keeps reads until what they must see has been committed, and owes every caller one
 * callback. Whoever uses the database calls this file; the engines (store_engine.h) report to it.
 *
 * A group's life: open (being gathered) -> sent -> committed. At most one is sent. When the database
 * refuses a statement in it, it is sent once more in units: writes of one key together, all others
 * alone, so that only the bad ones fail. When the connection is lost it stays sent and is carried over
 * again as soon as there is a new one. */
#include "store_engine.h"

#include "log.h"

static void close_step(struct store *s);

/* ---- the database of the node */

struct database *database_open(const struct database_options *o, char **error)
{
	struct database *db = mem_zalloc(sizeof *db);
	db->options = *o;
	db->engine = o->is_postgresql ? &engine_postgresql : &engine_sqlite;
	if (!db->engine->open(db, error)) {
		mem_free(db);
		return NULL;
	}
	if (!o->keeps_schema &&
	    (!migrate(db, error) || (db->engine->claim && !db->engine->claim(db, error)) ||
	     !away_open(db, error))) {
		database_close(db);
		return NULL;
	}
	return db;
}

void database_close(struct database *db)
{
	if (db->spool)
		spool_dir_close(db->spool);
	db->engine->close(db);
	mem_free(db);
}

bool database_is_postgresql(const struct database *db)
{
	return db->options.is_postgresql;
}

char *database_durability(struct database *db)
{
	return db->engine->durability(db);
}

/* ---- callbacks that cannot run at once run on the next turn */

static void run_away(store_rows_fn *fn, void *arg)
{
	const struct rows away = { .status = STORE_AWAY };
	if (fn)
		fn(arg, &away);
}

static void read_free(struct read *r)
{
	struct arena a = r->arena; /* holds the read itself */
	arena_free(&a);
}

static void on_next_turn(uv_idle_t *idle)
{
	struct store *s = idle->data;
	struct write *refused = s->refused;
	s->refused = NULL;
	s->refused_end = &s->refused;
	struct list failed;
	list_init(&failed);
	if (!list_is_empty(&s->failed)) {
		/* Takes over the whole list: what fails meanwhile waits for the turn after. */
		list_add_before(&s->failed, &failed);
		list_remove(&s->failed);
	}
	uv_idle_stop(idle);
	while (refused) {
		struct write *w = refused;
		refused = w->next;
		run_away(w->fn, w->arg);
		write_free(w);
	}
	struct read *r;
	while ((r = LIST_FIRST(&failed, struct read, node))) {
		list_remove(&r->node);
		s->counts.waiting_reads--;
		run_away(r->fn, r->arg);
		read_free(r);
	}
	close_step(s);
}

void store_read_failed(struct store *s, struct read *r)
{
	list_append(&s->failed, &r->node);
	uv_idle_start(&s->next_turn, on_next_turn);
}

static void write_refuse(struct store *s, struct write *w)
{
	w->next = NULL;
	*s->refused_end = w;
	s->refused_end = &w->next;
	uv_idle_start(&s->next_turn, on_next_turn);
}

/* ---- reads */

void store_read(struct store *s, uint64_t after, const struct sql *sql, const struct param *params,
                unsigned count, store_rows_fn *fn, void *arg)
{
	ASSERT(count <= PARAMS_MAX);
	struct arena a = { 0 };
	struct read *r = arena_zalloc(&a, sizeof *r);
	struct param *copy = arena_alloc(&a, sizeof *copy * (count ? count : 1));
	params_copy(&a, copy, params, count);
	r->after = after;
	r->sql = sql;
	r->params = copy;
	r->count = count;
	r->fn = fn;
	r->arg = arg;
	r->arena = a;
	list_init(&r->node);

	bool is_full = s->counts.waiting_reads >= s->reads_max;
	s->counts.reads++;
	s->counts.waiting_reads++;
	if (is_full || s->is_closing || store_is_away(s) || after == STORE_NO_TICKET)
		store_read_failed(s, r);
	else if (!s->can_read || !store_is_committed(s, after))
		list_append(&s->waiting, &r->node);
	else
		s->db->engine->send_read(s, r);
}

void store_flush_reads(struct store *s)
{
	if (s->db->engine->flush_reads && s->can_read)
		s->db->engine->flush_reads(s);
}

/* Sends the reads that waited for a commit or for the first connection. */
static void reads_start(struct store *s)
{
	struct read *r;
	if (!s->can_read)
		return;
	LIST_EACH (r, &s->waiting, struct read, node) {
		if (!store_is_committed(s, r->after))
			continue;
		list_remove(&r->node);
		s->db->engine->send_read(s, r);
	}
}

void reads_fail(struct store *s)
{
	struct read *r;
	while ((r = LIST_FIRST(&s->waiting, struct read, node))) {
		list_remove(&r->node);
		store_read_failed(s, r);
	}
}

void store_read_done(struct store *s, struct read *r)
{
	if (r->fn) {
		s->counts.waiting_reads--;
		if (r->rows.status == STORE_FAILED)
			s->counts.failed++;
		r->fn(r->arg, &r->rows);
	}
	read_free(r);
	close_continue(s);
}

void store_read_abandoned(struct store *s, struct read *r)
{
	store_rows_fn *fn = r->fn;
	r->fn = NULL;
	s->counts.waiting_reads--;
	run_away(fn, r->arg);
	close_continue(s);
}

/* ---- writes */

static struct group *group_open(struct store *s)
{
	if (!s->open) {
		s->open = mem_zalloc(sizeof *s->open);
		s->open->ticket = ++s->last_ticket;
	}
	return s->open;
}

void group_add(struct group *g, struct write *w)
{
	w->next = w->next_sent = NULL;
	w->ends_unit = false;
	if (g->last)
		g->last->next = g->last->next_sent = w;
	else
		g->first = g->first_sent = w;
	g->last = w;
	g->writes++;
}

struct write *group_take(struct group *g)
{
	struct write *w = g->first;
	if (w)
		g->first = w->next;
	return w;
}

uint64_t write_submit(struct write *w, store_rows_fn *fn, void *arg)
{
	struct store *s = w->store;
	w->fn = fn;
	w->arg = arg;
	if (s->is_closing || s->counts.waiting_writes >= s->db->options.waiting_writes) {
		write_refuse(s, w);
		return STORE_NO_TICKET;
	}
	struct group *g = group_open(s);
	group_add(g, w);
	s->counts.waiting_writes++;
	tags_add(s, w);
	return g->ticket;
}

bool store_is_committed(const struct store *s, uint64_t ticket)
{
	return ticket <= s->committed;
}

uint64_t store_committed(const struct store *s)
{
	return s->committed;
}

void store_on_commit(struct store *s, void (*fn)(void *arg, uint64_t ticket), void *arg)
{
	s->on_commit = fn;
	s->on_commit_arg = arg;
}

/* ---- groups */

void group_send(struct store *s)
{
	s->sent->sent_at = uv_hrtime();
	if (s->can_write)
		s->db->engine->send_group(s, s->sent);
}

void store_flush(struct store *s)
{
	store_flush_reads(s);
	if (!s->open && !s->is_spooling)
		return;
	away_watch(s);
	if (s->is_spooling) {
		away_flush(s);
		return;
	}
	if (s->sent || !s->can_write)
		return;
	s->sent = s->open;
	s->open = NULL;
	tags_forget(s, s->sent);
	s->counts.groups++;
	group_send(s);
}

/* Runs the callback that is owed and frees the write. */
void write_finish(struct store *s, struct write *w)
{
	if (!w->is_settled) {
		s->counts.waiting_writes--;
		if (w->rows.status == STORE_FAILED)
			s->counts.failed++;
		if (w->fn)
			w->fn(w->arg, &w->rows);
	}
	write_free(w);
}

/* Runs the callbacks of a group, in the order of its writes, and frees it. */
static void group_finish(struct store *s, struct group *g)
{
	struct write *w;
	while ((w = group_take(g)))
		write_finish(s, w);
	mem_free(g);
}

void group_away(struct store *s, struct group *g)
{
	for (struct write *w = g->first; w; w = w->next)
		w->rows = (struct rows){ .status = STORE_AWAY };
	group_finish(s, g);
}

static void group_count(struct store *s, const struct group *g)
{
	histogram_add(&s->counts.commits, (uv_hrtime() - g->sent_at) / 1000);
	for (const struct write *w = g->first; w; w = w->next) {
		s->counts.writes++;
		STATEMENT_EACH (st, w)
			s->counts.statements++;
	}
}

void store_group_committed(struct store *s)
{
	struct group *g = s->sent;
	uint64_t ticket = g->ticket;
	s->sent = NULL;
	if (g->is_replay) {
		away_replayed(s, g);
		return;
	}
	group_count(s, g);
	if (ticket > s->committed)
		s->committed = ticket;
	group_finish(s, g);
	reads_start(s);
	if (s->on_commit)
		s->on_commit(s->on_commit_arg, s->committed);
	if (s->is_spooling)
		away_replay(s);
	else
		store_flush(s);
	close_continue(s);
}

static struct write *unit_find(const struct hash *keys, uint64_t key)
{
	for (struct hash_node *n = hash_first(keys, number_hash(key)); n; n = hash_next(n)) {
		struct write *w = CONTAINER_OF(n, struct write, node);
		if (w->key == key)
			return w;
	}
	return NULL;
}

/* Makes units: each write moves behind the last one of the same key. */
static void group_split(struct group *g)
{
	struct hash keys = { 0 }; /* of the last write of each key so far */
	struct write *end = NULL; /* of the order of sending, so far */
	g->is_split = true;
	g->first_sent = NULL;
	for (struct write *w = g->first; w; w = w->next) {
		struct write *before = w->key ? unit_find(&keys, w->key) : NULL;
		w->ends_unit = true;
		if (before) {
			hash_remove(&keys, &before->node);
			before->ends_unit = false;
		}
		if (w->key)
			hash_add(&keys, &w->node, number_hash(w->key));
		struct write *at = before ? before : end;
		struct write **link = at ? &at->next_sent : &g->first_sent;
		w->next_sent = before ? *link : NULL;
		*link = w;
		if (at == end)
			end = w;
	}
	hash_free(&keys);
}

void store_group_refused(struct store *s)
{
	ASSERT(!s->sent->is_split);
	group_split(s->sent);
	s->db->engine->send_group(s, s->sent);
}

/* ---- up and down */

void store_writer_up(struct store *s)
{
	s->can_write = true;
	s->counts.reconnects += s->is_write_away;
	s->is_write_away = false;
	if (s->sent)
		s->db->engine->send_group(s, s->sent);
	else if (s->is_spooling)
		away_replay(s);
	else
		store_flush(s);
}

void store_writer_down(struct store *s)
{
	s->can_write = false;
	s->is_write_away = true;
	reads_fail(s);
	away_strip(s);
}

void store_reader_up(struct store *s)
{
	s->can_read = true;
	s->counts.reconnects += s->is_read_away;
	s->is_read_away = false;
	reads_start(s);
}

void store_reader_down(struct store *s)
{
	s->can_read = false;
	s->is_read_away = true;
	reads_fail(s);
}

void store_late(struct store *s, bool is_late)
{
	s->is_write_away = is_late;
	if (is_late)
		reads_fail(s);
}

bool store_is_away(const struct store *s)
{
	return s->is_write_away || s->is_read_away || s->is_spooling;
}

bool store_is_spooling(const struct store *s)
{
	return s->is_spooling;
}

void store_on_replayed(struct store *s, void (*fn)(void *arg), void *arg)
{
	s->on_replayed = fn;
	s->on_replayed_arg = arg;
}

void store_on_taken(struct store *s, void (*fn)(void *arg, const char *who), void *arg)
{
	s->on_taken = fn;
	s->on_taken_arg = arg;
}

void store_taken(struct store *s, const char *who)
{
	if (s->on_taken)
		s->on_taken(s->on_taken_arg, who);
}

void store_counts(const struct store *s, struct store_counts *out)
{
	*out = s->counts;
	out->spool_bytes = s->spool ? spool_bytes(s->spool) : 0;
}

/* ---- opening and closing */

static struct store *open_store(struct database *db, uv_loop_t *loop, bool is_long)
{
	struct store *s = mem_zalloc(sizeof *s);
	s->db = db;
	s->loop = loop;
	s->is_long = is_long;
	s->timeout_ms = is_long ? 2 * LONG_READ_MS : db->options.timeout_ms;
	s->reads_max = is_long ? LONG_READS_MAX : db->options.waiting_reads;
	s->refused_end = &s->refused;
	list_init(&s->waiting);
	list_init(&s->failed);
	uv_idle_init(loop, &s->next_turn);
	uv_timer_init(loop, &s->deadline);
	uv_timer_init(loop, &s->watch);
	s->next_turn.data = s->deadline.data = s->watch.data = s;
	s->open_handles = 3;
	if (!is_long)
		away_store_open(s);
	db->engine->store_open(s);
	return s;
}

struct store *store_open(struct database *db, uv_loop_t *loop)
{
	return open_store(db, loop, false);
}

struct store *store_open_long(struct database *db, uv_loop_t *loop)
{
	return open_store(db, loop, true);
}

static void on_deadline(uv_timer_t *timer)
{
	struct store *s = timer->data;
	s->is_past_deadline = true;
	close_continue(s);
}

void store_close(struct store *s, void (*closed)(void *arg), void *arg)
{
	ASSERT(!s->is_closing);
	s->is_closing = true;
	s->closed = closed;
	s->closed_arg = arg;
	uv_timer_start(&s->deadline, on_deadline, s->db->options.timeout_ms, 0);
	if (s->is_write_away)
		away_begin(s);
	store_flush(s);
	close_continue(s);
}

static bool is_owing(const struct store *s)
{
	return s->counts.waiting_reads || s->counts.waiting_writes || s->refused;
}

/* Closing goes on from the loop, never inside a callback or an engine's own work. */
void close_continue(struct store *s)
{
	if (s->is_closing && (s->is_engine_closed || !s->is_engine_closing))
		uv_idle_start(&s->next_turn, on_next_turn);
}

static void on_closed(uv_handle_t *handle)
{
	struct store *s = handle->data;
	if (--s->open_handles > 0)
		return;
	void (*closed)(void *arg) = s->closed;
	void *arg = s->closed_arg;
	hash_free(&s->tags);
	if (s->spool)
		spool_close(s->spool);
	mem_free(s);
	if (closed)
		closed(arg);
}

static void close_step(struct store *s)
{
	if (!s->is_closing)
		return;
	if (s->is_engine_closed) {
		if (is_owing(s)) {
			close_continue(s);
			return;
		}
		uv_close((uv_handle_t *)&s->next_turn, on_closed);
		uv_close((uv_handle_t *)&s->deadline, on_closed);
		uv_close((uv_handle_t *)&s->watch, on_closed);
	} else if (!s->is_engine_closing && (s->is_past_deadline || !is_owing(s)) && !away_is_busy(s)) {
		s->is_engine_closing = true;
		s->db->engine->store_close(s);
	}
}

void store_engine_closed(struct store *s)
{
	struct group *left[] = { s->held, s->sent, s->spooling, s->open };
	s->is_engine_closed = true;
	s->can_write = s->can_read = false;
	if (s->open)
		tags_forget(s, s->open);
	s->held = s->sent = s->spooling = s->open = NULL;
	reads_fail(s);
	for (unsigned i = 0; i < COUNT_OF(left); i++)
		if (left[i])
			group_away(s, left[i]);
	close_continue(s);
}
