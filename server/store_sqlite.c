/* store_sqlite.c - the embedded engine. One writer thread per database commits the groups of all
 * reactors, one after the other; each store has a reader thread. They are the named exception to
 * "reactors share nothing": what crosses between threads are whole groups and reads, each owned by one
 * side at a time, handed over under a mutex; the way back wakes the loop once per batch.
 *
 * The file is Muster's alone while an flock on PATH.lock is held. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "log.h"
#include "store_sqlite.h"

struct sqlite_node {
	int lock; /* of PATH.lock */
	char *durability;
	unsigned commit_delay_ms;
	uv_thread_t writer;
	struct link link; /* the writer's, once it runs */
	uv_mutex_t mutex; /* guards what follows */
	uv_cond_t cond;
	struct list todo; /* of struct sqlite_store, by `writer_node`: whose group waits for the writer */
	bool is_stopping;
};

struct sqlite_store {
	struct store *store;
	struct sqlite_node *node;
	uv_async_t async; /* something is done */
	uv_timer_t timer; /* looks for what is late; or the pause before the next attempt */
	unsigned open_handles;
	bool is_late;
	unsigned pause_ms;                     /* the last pause, 0 after a commit; the writer reads it */
	struct list flight;                    /* of struct read, oldest first: sent and not answered */
	struct read *gathered, **gathered_end; /* in this turn: handed over together */
	/* A group on its way through the writer. */
	struct list writer_node;
	struct group *todo;  /* handed over with writer_node */
	struct group *group; /* the same while the writer has it, else NULL; the loop's */
	bool is_closing;
	/* The reader. */
	uv_thread_t reader;
	struct link link;
	uv_cond_t cond;
	uv_mutex_t mutex; /* guards what follows */
	struct read *reads, **reads_end;
	struct read *answered, **answered_end;
	bool is_group_done;
	enum outcome outcome;
	bool is_stopping;
};

static const struct sql sql_begin = { .name = "begin", .text = "begin immediate" };
static const struct sql sql_begin_reads = { .name = "begin_reads", .text = "begin" };
static const struct sql sql_commit = { .name = "commit", .text = "commit" };
static const struct sql sql_rollback = { .name = "rollback", .text = "rollback" };
static const struct sql sql_unit = { .name = "unit", .text = "savepoint unit" };
static const struct sql sql_unit_end = { .name = "unit_end", .text = "release unit" };
static const struct sql sql_unit_undo = { .name = "unit_undo", .text = "rollback to unit" };

/* ---- the writer thread */

static int write_run(struct link *l, struct write *w, bool is_split)
{
	w->rows = (struct rows){ .status = STORE_OK };
	STATEMENT_EACH (st, w) {
		int rc = link_run(l, st->sql, st->params, st->count, &w->rows, &w->arena);
		if (is_split && outcome_of(rc) == OUTCOME_REFUSED)
			link_log_refused(l, st->sql);
		if (rc != SQLITE_OK)
			return rc;
	}
	return SQLITE_OK;
}

/* Runs the writes from `first` to the end of its unit in a savepoint, and returns the first write of
 * the next unit. */
static struct write *unit_run(struct link *l, struct write *first, int *rc)
{
	struct write *end = first;
	while (!end->ends_unit)
		end = end->next_sent;
	struct write *after = end->next_sent;

	*rc = link_do(l, &sql_unit);
	for (struct write *w = first; w != after && *rc == SQLITE_OK; w = w->next_sent)
		*rc = write_run(l, w, true);
	if (outcome_of(*rc) == OUTCOME_REFUSED) {
		*rc = link_do(l, &sql_unit_undo);
		for (struct write *w = first; w != after; w = w->next_sent)
			w->rows = (struct rows){ .status = STORE_FAILED };
	}
	if (*rc == SQLITE_OK)
		*rc = link_do(l, &sql_unit_end);
	return after;
}

static int group_run(struct link *l, struct group *g)
{
	int rc = link_do(l, &sql_begin);
	if (rc != SQLITE_OK)
		return rc;
	for (struct write *w = g->first_sent; w && rc == SQLITE_OK;) {
		if (g->is_split) {
			w = unit_run(l, w, &rc);
		} else {
			rc = write_run(l, w, false);
			w = w->next_sent;
		}
	}
	return rc;
}

static enum outcome group_commit(struct sqlite_node *node, struct sqlite_store *p)
{
	struct link *l = &node->link;
	struct group *g = p->todo;
	int rc = group_run(l, g);
	if (rc == SQLITE_OK) {
		if (node->commit_delay_ms)
			uv_sleep(node->commit_delay_ms);
		rc = link_do(l, &sql_commit);
	}
	if (rc == SQLITE_OK)
		return OUTCOME_GOOD;
	if (outcome_of(rc) == OUTCOME_AWAY && p->pause_ms == 0)
		log_warn("store", NULL, "SQLite cannot commit: %s: trying again", sqlite3_errmsg(l->db));
	if (!sqlite3_get_autocommit(l->db))
		link_do(l, &sql_rollback);
	if (outcome_of(rc) == OUTCOME_REFUSED && g->is_split) {
		/* Not a statement but the commit itself (a deferred constraint): trying again is no use. */
		link_log_refused(l, &sql_commit);
		for (struct write *w = g->first; w; w = w->next)
			w->rows = (struct rows){ .status = STORE_FAILED };
		return OUTCOME_GOOD;
	}
	return outcome_of(rc);
}

static void writer_main(void *arg)
{
	struct sqlite_node *node = arg;
	uv_mutex_lock(&node->mutex);
	for (;;) {
		struct sqlite_store *p = LIST_FIRST(&node->todo, struct sqlite_store, writer_node);
		if (!p && node->is_stopping)
			break;
		if (!p) {
			uv_cond_wait(&node->cond, &node->mutex);
			continue;
		}
		list_remove(&p->writer_node);
		uv_mutex_unlock(&node->mutex);

		enum outcome outcome = group_commit(node, p);
		uv_mutex_lock(&p->mutex);
		p->outcome = outcome;
		p->is_group_done = true;
		uv_async_send(&p->async);
		uv_mutex_unlock(&p->mutex);

		uv_mutex_lock(&node->mutex);
	}
	uv_mutex_unlock(&node->mutex);
}

/* ---- a store's reader thread */

/* All reads of one turn see one snapshot: its locks are taken once. The transaction must end, or later reads
 * would not see what was committed meanwhile; an interrupt is the only reason to try that twice. */
static void batch_run(struct link *l, struct read *batch)
{
	if (batch->next)
		link_do(l, &sql_begin_reads);
	for (struct read *r = batch; r; r = r->next) {
		int rc = link_run(l, r->sql, r->params, r->count, &r->rows, &r->arena);
		if (outcome_of(rc) == OUTCOME_REFUSED)
			link_log_refused(l, r->sql);
	}
	while (!sqlite3_get_autocommit(l->db))
		link_do(l, &sql_commit);
}

static void reader_main(void *arg)
{
	struct sqlite_store *p = arg;
	uv_mutex_lock(&p->mutex);
	while (p->reads || !p->is_stopping) {
		if (!p->reads) {
			uv_cond_wait(&p->cond, &p->mutex);
			continue;
		}
		struct read *batch = p->reads, **batch_end = p->reads_end;
		p->reads = NULL;
		p->reads_end = &p->reads;
		uv_mutex_unlock(&p->mutex);

		batch_run(&p->link, batch);
		uv_mutex_lock(&p->mutex);
		*p->answered_end = batch;
		p->answered_end = batch_end;
		uv_async_send(&p->async);
	}
	uv_mutex_unlock(&p->mutex);
}

/* ---- on the loop */

static void on_timer(uv_timer_t *timer);
static void store_finish_close(struct sqlite_store *p);

static void timer_set(struct sqlite_store *p, uint64_t ms)
{
	if (!uv_is_active((uv_handle_t *)&p->timer))
		uv_timer_start(&p->timer, on_timer, ms, 0);
}

static void sqlite_send_group(struct store *s, struct group *g)
{
	struct sqlite_store *p = s->part;
	p->todo = p->group = g;
	uv_mutex_lock(&p->node->mutex);
	list_append(&p->node->todo, &p->writer_node);
	uv_cond_signal(&p->node->cond);
	uv_mutex_unlock(&p->node->mutex);
	timer_set(p, s->timeout_ms);
}

static void sqlite_send_read(struct store *s, struct read *r)
{
	struct sqlite_store *p = s->part;

	r->next = NULL;
	*p->gathered_end = r;
	p->gathered_end = &r->next;
}

/* One lock and one wake-up for all that a turn has asked. Until now the thread knew of nothing: so it is not
 * before now that an answer can be late. */
static void sqlite_flush_reads(struct store *s)
{
	struct sqlite_store *p = s->part;

	if (!p->gathered)
		return;
	for (struct read *r = p->gathered; r; r = r->next) {
		r->sent_at = uv_now(s->loop);
		list_append(&p->flight, &r->node);
	}
	uv_mutex_lock(&p->mutex);
	*p->reads_end = p->gathered;
	p->reads_end = p->gathered_end;
	uv_cond_signal(&p->cond);
	uv_mutex_unlock(&p->mutex);
	p->gathered = NULL;
	p->gathered_end = &p->gathered;
	timer_set(p, s->timeout_ms);
}

/* A read that is late is answered now; the thread gives it back later. */
static void reads_abandon(struct sqlite_store *p, uint64_t limit)
{
	struct read *r;
	bool is_any = false;
	while ((r = LIST_FIRST(&p->flight, struct read, node)) &&
	       r->sent_at + limit <= uv_now(p->store->loop)) {
		list_remove(&r->node);
		is_any = true;
		store_read_abandoned(p->store, r);
	}
	if (!is_any)
		return;
	log_warn("store", NULL, "SQLite did not answer a read in time");
	sqlite3_interrupt(p->link.db);
}

static void reader_start(struct sqlite_store *p)
{
	char *error = NULL;
	if (!link_open(&p->link, &p->store->db->options, PRAGMAS_READER, &error)) {
		log_error("store", NULL, "%s", error);
		mem_free(error);
		store_reader_down(p->store);
		timer_set(p, PAUSE_MAX_MS);
		return;
	}
	int rc = uv_thread_create(&p->reader, reader_main, p);
	ASSERT(rc == 0);
	store_reader_up(p->store);
}

/* One timer looks for what is late, and ends the pause after a failure. */
static void on_timer(uv_timer_t *timer)
{
	struct sqlite_store *p = timer->data;
	struct store *s = p->store;
	uint64_t limit = s->timeout_ms;
	if (!s->can_read)
		reader_start(p);
	if (!s->can_write)
		store_writer_up(s);
	reads_abandon(p, limit);
	if (p->group && !p->is_late && (uv_hrtime() - p->group->sent_at) / 1000000 >= limit) {
		p->is_late = true;
		if (p->pause_ms == 0)
			log_warn("store", NULL,
			         "SQLite does not commit in time: the disk is slow or another process "
			         "holds the database");
		store_late(s, true);
	}
	if (p->group || !list_is_empty(&p->flight))
		timer_set(p, limit / 4 + 1);
}

static void group_done(struct sqlite_store *p, enum outcome outcome)
{
	struct store *s = p->store;
	p->group = NULL;
	if (p->is_late) {
		p->is_late = false;
		store_late(s, false);
	}
	if (outcome == OUTCOME_GOOD) {
		if (p->pause_ms)
			log_info("store", NULL, "SQLite commits again");
		p->pause_ms = 0;
		store_group_committed(s);
	} else if (outcome == OUTCOME_REFUSED) {
		store_group_refused(s);
	} else {
		p->pause_ms = p->pause_ms ? p->pause_ms * 2 : PAUSE_MIN_MS;
		if (p->pause_ms > PAUSE_MAX_MS)
			p->pause_ms = PAUSE_MAX_MS;
		store_writer_down(s);
		uv_timer_start(&p->timer, on_timer, p->pause_ms, 0);
	}
}

static void on_async(uv_async_t *async)
{
	struct sqlite_store *p = async->data;
	uv_mutex_lock(&p->mutex);
	struct read *next, *r = p->answered;
	bool is_group_done = p->is_group_done;
	p->answered = NULL;
	p->answered_end = &p->answered;
	p->is_group_done = false;
	uv_mutex_unlock(&p->mutex);

	for (; r; r = next) {
		next = r->next;
		list_remove(&r->node);
		store_read_done(p->store, r);
	}
	if (is_group_done)
		group_done(p, p->outcome);
	if (p->is_closing && !p->group)
		store_finish_close(p);
}

static void sqlite_store_open(struct store *s)
{
	struct sqlite_store *p = mem_zalloc(sizeof *p);
	s->part = p;
	p->store = s;
	p->node = s->db->part;
	list_init(&p->flight);
	list_init(&p->writer_node);
	p->gathered_end = &p->gathered;
	p->reads_end = &p->reads;
	p->answered_end = &p->answered;
	uv_async_init(s->loop, &p->async, on_async);
	uv_timer_init(s->loop, &p->timer);
	p->async.data = p->timer.data = p;
	p->open_handles = 2;
	uv_mutex_init(&p->mutex);
	uv_cond_init(&p->cond);
	store_writer_up(s);
	reader_start(p);
}

static void on_closed(uv_handle_t *handle)
{
	struct sqlite_store *p = handle->data;
	struct store *s = p->store;
	if (--p->open_handles > 0)
		return;
	uv_mutex_destroy(&p->mutex);
	uv_cond_destroy(&p->cond);
	mem_free(p);
	store_engine_closed(s);
}

static void store_finish_close(struct sqlite_store *p)
{
	p->is_closing = false; /* once is enough */
	sqlite_flush_reads(p->store);
	if (p->link.db) {
		uv_mutex_lock(&p->mutex);
		p->is_stopping = true;
		uv_cond_signal(&p->cond);
		uv_mutex_unlock(&p->mutex);
		uv_thread_join(&p->reader);
		link_close(&p->link);
	}
	struct read *next;
	for (struct read *r = p->answered; r; r = next) {
		next = r->next;
		list_remove(&r->node);
		store_read_done(p->store, r);
	}
	uv_close((uv_handle_t *)&p->async, on_closed);
	uv_close((uv_handle_t *)&p->timer, on_closed);
}

static void sqlite_store_close(struct store *s)
{
	struct sqlite_store *p = s->part;
	uv_timer_stop(&p->timer);
	if (p->link.db)
		sqlite3_interrupt(p->link.db); /* the deadline is over */
	p->is_closing = true;
	if (!p->group)
		store_finish_close(p);
}

/* ---- the node's part */

static bool lock_take(struct sqlite_node *node, const char *path, char **error)
{
	char *lock = mem_printf("%s.lock", path), holder[32] = "";
	node->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (node->lock < 0) {
		*error =
		    mem_printf("cannot open %s: %s: the folder must exist and musterd must be allowed to "
		               "write in it",
		               lock, strerror(errno));
	} else if (flock(node->lock, LOCK_EX | LOCK_NB) != 0) {
		ssize_t n = pread(node->lock, holder, sizeof holder - 1, 0);
		*error =
		    mem_printf("%s is in use by another musterd or musterctl (process %.*s): stop it, or "
		               "let `path` of the store name another file",
		               path, n > 0 ? (int)strcspn(holder, "\n") : 1, n > 0 ? holder : "?");
		close(node->lock);
		node->lock = -1;
	} else if (ftruncate(node->lock, 0) == 0) {
		/* Only for the sentence above: what counts is the lock. */
		dprintf(node->lock, "%ld\n", (long)getpid());
	}
	mem_free(lock);
	return node->lock >= 0;
}

/* The database and what SQLite puts beside it get their mode from the file as it is made here. */
static bool file_make(const char *path, char **error)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		*error =
		    mem_printf("cannot open the SQLite database %s: %s: musterd must be allowed to read "
		               "and write it",
		               path, strerror(errno));
		return false;
	}
	close(fd);
	return true;
}

static void node_free(struct sqlite_node *node)
{
	if (node->link.db)
		link_close(&node->link);
	if (node->lock >= 0)
		close(node->lock);
	mem_free(node->durability);
	mem_free(node);
}

static bool sqlite_open(struct database *db, char **error)
{
	struct sqlite_node *node = mem_zalloc(sizeof *node);
	if (!lock_take(node, db->options.path, error) || !file_make(db->options.path, error) ||
	    !link_open(&node->link, &db->options, PRAGMAS_WRITER, error)) {
		node_free(node);
		return false;
	}
	node->durability = link_durability(&node->link);
	node->commit_delay_ms = db->options.test_commit_delay_ms;
	list_init(&node->todo);
	uv_mutex_init(&node->mutex);
	uv_cond_init(&node->cond);
	db->part = node;
	int rc = uv_thread_create(&node->writer, writer_main, node);
	ASSERT(rc == 0);
	return true;
}

static void sqlite_close(struct database *db)
{
	struct sqlite_node *node = db->part;
	uv_mutex_lock(&node->mutex);
	node->is_stopping = true;
	uv_cond_signal(&node->cond);
	uv_mutex_unlock(&node->mutex);
	uv_thread_join(&node->writer);
	uv_mutex_destroy(&node->mutex);
	uv_cond_destroy(&node->cond);
	node_free(node);
}

static char *sqlite_durability(struct database *db)
{
	struct sqlite_node *node = db->part;
	return mem_strdup(node->durability);
}

const struct engine engine_sqlite = {
	.name = "sqlite",
	.open = sqlite_open,
	.close = sqlite_close,
	.durability = sqlite_durability,
	.session_open = sqlite_session_open,
	.session_run = sqlite_session_run,
	.session_script = sqlite_session_script,
	.session_close = sqlite_session_close,
	.begin = "begin exclusive",
	.store_open = sqlite_store_open,
	.store_close = sqlite_store_close,
	.send_group = sqlite_send_group,
	.send_read = sqlite_send_read,
	.flush_reads = sqlite_flush_reads,
};
