/* store_away.c - what a store does while the database does not answer, and when it is back. store.c calls it
 * where groups would be sent.
 *
 * When a group has waited for the database longer than its timeout, spooling begins: what may be spooled of
 * it, and of each later group, is written to files (spool.c) and counts as committed then. What may not is
 * refused; but what the database may have got already waits (`held`), as nobody knows whether it happened.
 *
 * When the database can be written to again, the spool is read back group by group, oldest first, and new
 * groups go on joining it at the end, half as fast at most. When little is left they wait in memory; then the
 * files are removed, what was held is sent, and all is as before. Everything so arrives in the order in
 * which it counted as committed. It may arrive twice (a write that was in flight, or after a restart in
 * mid-way), but never once more after something newer: so it is enough that each write is safe to repeat. */
#include <string.h>
#include <time.h>

#include "log.h"
#include "store_engine.h"

#define RETRY_MS 500 /* after a full disk, and the like */

static const struct sql sql_identity_draw = {
	.name = "identity_draw",
	.text = "insert into setting (name, value) values ('service id', $1) on conflict (name) do nothing",
};
static const struct sql sql_identity = {
	.name = "identity",
	.text = "select value from setting where name = 'service id'",
};

static void keep_identity(void *arg, const struct rows *rows)
{
	size_t n = 0;
	const char *bytes = rows_count(rows) ? rows_bytes(rows, 0, 0, &n) : NULL;

	memcpy(arg, bytes, n < SPOOL_IDENTITY ? n : SPOOL_IDENTITY);
}

bool away_open(struct database *db, char **error)
{
	unsigned char drawn[SPOOL_IDENTITY], identity[SPOOL_IDENTITY] = { 0 };

	if (!db->options.spool)
		return true;
	ASSERT(uv_random(NULL, NULL, drawn, sizeof drawn, 0, NULL) == 0);
	if (!database_run(db, &sql_identity_draw, PARAMS(P_BYTES((char *)drawn, sizeof drawn)), NULL, NULL,
	                  error) ||
	    !database_run(db, &sql_identity, NO_PARAMS, keep_identity, identity, error))
		return false;
	db->spool = spool_dir_open(db->options.spool, db->options.spool_bytes, identity, error);
	return db->spool != NULL;
}

void away_store_open(struct store *s)
{
	if (!s->db->spool)
		return;
	s->spool = spool_open(s->db->spool, s->loop, s->db->options.is_postgresql);
	if (spool_is_empty(s->spool))
		return;
	log_info("store", NULL, "the spool %s has %llu bytes that are not in the database yet",
	         s->db->options.spool, (unsigned long long)spool_bytes(s->spool));
	s->is_spooling = true;
	s->ceiling = UINT64_MAX;
	s->counts.spool_since = (int64_t)time(NULL);
}

bool away_is_busy(const struct store *s)
{
	return s->spool && spool_is_busy(s->spool);
}

/* ---- when it begins */

static bool is_late(const struct store *s, const struct group *g)
{
	return (uv_hrtime() - g->sent_at) / 1000000 >= s->db->options.timeout_ms;
}

static void on_watch(uv_timer_t *timer)
{
	struct store *s = timer->data;

	if (s->is_spooling) {
		away_flush(s);
		away_replay(s);
	} else if (s->sent ? is_late(s, s->sent) : s->open && !s->can_write) {
		away_begin(s);
		away_flush(s);
	}
	if (s->sent || s->open || s->is_spooling)
		away_watch(s);
}

void away_watch(struct store *s)
{
	if (!s->spool || uv_is_active((uv_handle_t *)&s->watch) || s->is_engine_closing)
		return;
	uv_timer_start(&s->watch, on_watch, s->is_spooling ? RETRY_MS : s->db->options.timeout_ms, 0);
}

void away_begin(struct store *s)
{
	if (!s->spool || s->is_spooling)
		return;
	s->is_spooling = true;
	s->ceiling = UINT64_MAX;
	s->counts.spool_since = (int64_t)time(NULL);
	log_warn("store", NULL,
	         "the database does not answer: messages are kept in %s until it does, changes are refused",
	         spool_dir_path(s->db->spool));
	reads_fail(s);
	away_watch(s);
}

/* ---- to the spool */

static void group_hold(struct store *s, struct write *w)
{
	if (!s->held) {
		s->held = mem_zalloc(sizeof *s->held);
		s->held->is_spooled = true;
	}
	group_add(s->held, w);
}

/* What may be spooled has been: its callbacks. The group itself stays as long as the engine may use it. */
static void sent_settle(struct store *s)
{
	static const struct rows none = { .status = STORE_OK };

	s->sent->is_spooled = true;
	for (struct write *w = s->sent->first; w; w = w->next) {
		if (w->away != AWAY_SPOOL)
			continue;
		w->is_settled = true;
		s->counts.waiting_writes--;
		s->counts.spooled++;
		if (w->fn)
			w->fn(w->arg, &none);
	}
	away_strip(s);
}

void away_strip(struct store *s)
{
	struct group *g = s->sent;
	struct write *w;

	s->ceiling = UINT64_MAX; /* of the next attempt */
	if (!g || !g->is_spooled || g->is_replay || s->can_write)
		return;
	s->sent = NULL;
	while ((w = group_take(g)))
		if (w->is_settled)
			write_finish(s, w);
		else
			group_hold(s, w);
	mem_free(g);
}

/* The same for a group that was never sent: what may not be spooled has certainly not happened. */
static void spooling_settle(struct store *s)
{
	struct group *g = s->spooling;
	struct write *w;

	s->spooling = NULL;
	while ((w = group_take(g))) {
		if (w->away == AWAY_WAIT) {
			group_hold(s, w);
			continue;
		}
		s->counts.spooled += w->away == AWAY_SPOOL;
		w->rows = (struct rows){ .status = w->away == AWAY_SPOOL ? STORE_OK : STORE_AWAY };
		write_finish(s, w);
	}
	mem_free(g);
}

/* The group with this ticket counts as committed. It may really be meanwhile: then it is gone. */
static void group_settle(struct store *s, uint64_t ticket)
{
	if (s->spooling && s->spooling->ticket == ticket)
		spooling_settle(s);
	else if (s->sent && !s->sent->is_spooled && s->sent->ticket == ticket)
		sent_settle(s);
	if (ticket > s->committed)
		s->committed = ticket;
	if (s->on_commit)
		s->on_commit(s->on_commit_arg, s->committed);
}

static void on_appended(void *arg, bool ok)
{
	struct store *s = arg;
	uint64_t ticket = s->appending;

	s->appending = 0;
	if (ok) {
		s->is_full = false;
		group_settle(s, ticket);
		away_flush(s);
	}
	away_replay(s);
	close_continue(s);
}

static bool group_has(const struct group *g, enum away away)
{
	for (const struct write *w = g->first; w; w = w->next)
		if (w->away == away)
			return true;
	return false;
}

/* The database answers: new groups wait for it in memory when the end of the spool is near, or when it does
 * not become shorter. */
static bool is_catching_up(const struct store *s)
{
	uint64_t unread = spool_unread(s->spool);

	return s->can_write && !s->is_write_away && !s->is_closing &&
	       (unread <= SPOOL_READ || unread >= s->ceiling);
}

/* The next group that belongs into the spool, or NULL. */
static struct group *group_next(struct store *s)
{
	if (s->sent && !s->sent->is_spooled && (s->is_write_away || is_late(s, s->sent)))
		return s->sent;
	if ((s->sent && !s->sent->is_spooled) || is_catching_up(s))
		return NULL;
	if (!s->spooling && s->open) {
		s->spooling = s->open;
		s->open = NULL;
		tags_forget(s, s->spooling);
	}
	return s->spooling;
}

void away_flush(struct store *s)
{
	struct group *g;

	while (s->is_spooling && !s->appending && (g = group_next(s))) {
		if (!group_has(g, AWAY_SPOOL)) {
			group_settle(s, g->ticket);
			continue;
		}
		s->appending = g->ticket;
		if (spool_append(s->spool, g, on_appended, s))
			return;
		s->appending = 0;
		if (!s->is_full)
			log_error("store", NULL,
			          "the spool is full (store.spool_bytes) and the database does not answer: "
			          "messages wait in memory, then their senders have to");
		s->is_full = true;
		return; /* the timer tries again */
	}
}

/* ---- back to the database */

static void on_forgotten(void *arg, bool ok)
{
	struct store *s = arg;

	(void)ok;
	away_replay(s);
	close_continue(s);
}

static void on_read(void *arg, struct group *g)
{
	struct store *s = arg;

	if (g && g->first) {
		s->sent = g;
		group_send(s);
	} else if (g) { /* the rest of a file could not be read */
		mem_free(g);
		spool_forget(s->spool, false, on_forgotten, s);
	}
	close_continue(s);
}

void away_replayed(struct store *s, struct group *g)
{
	struct write *w;
	bool is_refused = false;

	s->ceiling -= s->ceiling < SPOOL_READ / 2 ? s->ceiling : SPOOL_READ / 2;
	s->replayed += g->writes;
	while ((w = group_take(g))) {
		is_refused |= w->rows.status == STORE_FAILED;
		s->counts.failed += w->rows.status == STORE_FAILED;
		write_finish(s, w);
	}
	mem_free(g);
	spool_forget(s->spool, is_refused, on_forgotten, s);
}

static void away_end(struct store *s)
{
	s->is_spooling = s->is_full = false;
	s->counts.spool_since = 0;
	if (s->replayed)
		log_info("store", NULL, "the database is back: %llu writes from the spool are in it",
		         (unsigned long long)s->replayed);
	s->replayed = 0;
	if (s->on_replayed)
		s->on_replayed(s->on_replayed_arg);
	store_flush(s);
}

void away_replay(struct store *s)
{
	if (!s->is_spooling || !s->can_write || s->sent || s->is_closing || spool_is_reading(s->spool))
		return;
	if (spool_unread(s->spool)) {
		if (s->ceiling > spool_unread(s->spool))
			s->ceiling = spool_unread(s->spool);
		spool_read(s->spool, on_read, s);
	} else if (s->appending) {
		return; /* on_appended comes back */
	} else if (!spool_is_empty(s->spool)) {
		spool_forget(s->spool, false, on_forgotten, s);
	} else if (s->held || s->spooling) {
		s->sent = s->held ? s->held : s->spooling;
		*(s->held ? &s->held : &s->spooling) = NULL;
		group_send(s);
	} else {
		away_end(s);
	}
}
