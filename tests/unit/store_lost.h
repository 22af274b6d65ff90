/* store_lost.h - what the tests of a store without database share: ways to take the database away and to
 * give it back, and what is in the spool. The machine may be slow: they wait for what is seen, and a
 * database that is there may seem lost for a moment. */
#ifndef STORE_LOST_H
#define STORE_LOST_H

#include <glob.h>
#include <sys/resource.h>

#include "store_world.h"

/* The last one wins, so it shows the order in which writes arrived. */
static const struct sql sql_last = {
	.name = "item_last",
	.text = "insert into item (id, n) values ($1, $2) on conflict (id) do update set n = excluded.n",
};

static inline void with_spool(struct database_options *o)
{
	static char path[128];

	snprintf(path, sizeof path, "%.*s/spool", (int)(strrchr(o->path, '/') - o->path), o->path);
	run_shell("rm -rf %s", path);
	o->timeout_ms = 300;
	o->spool = path;
	o->spool_bytes = 64 << 20;
}

static inline unsigned files(const struct world *w, const char *pattern)
{
	char *path = mem_printf("%s/spool/%s", w->dir, pattern);
	glob_t found;
	int rc = glob(path, 0, NULL, &found);
	unsigned n = rc == 0 ? (unsigned)found.gl_pathc : 0;

	globfree(&found);
	mem_free(path);
	return n;
}

/* `away` says what becomes of it. Item 0 is the last number that was written. */
static inline uint64_t put_away(struct world *w, enum away away, int64_t n, struct seen *seen)
{
	struct write *write = write_new(w->store, 0);

	write_add(write, &sql_put, PARAMS(P_INT(n), P_INT(n)));
	write_add(write, &sql_last, PARAMS(P_INT(0), P_INT(n)));
	write_set_away(write, away);
	return write_submit(write, seen ? on_rows : NULL, seen);
}

static inline int64_t last_item(struct world *w)
{
	static const struct sql sql = { .name = "last", .text = "select n from item where id = 0" };
	struct seen seen = { 0 };

	must_run(w, &sql, on_rows, &seen);
	return seen.number;
}

/* Goes on writing: a server that was killed may finish what it has. */
static inline void run_until_spooling(struct world *w, int64_t *n, struct seen *seen)
{
	while (!store_is_spooling(w->store)) {
		put_away(w, AWAY_SPOOL, (*n)++, seen);
		run_for(w, 5);
	}
	run_until(w, &seen->calls, (unsigned)*n - 1);
}

static inline void run_until_back(struct world *w)
{
	while (store_is_away(w->store))
		uv_run(&w->loop, UV_RUN_ONCE);
}

/* ---- ways to take a database away and give it back */

static inline sqlite3 *lock_sqlite(struct world *w)
{
	sqlite3 *other;

	assert_int_equal(sqlite3_open(w->options.path, &other), SQLITE_OK);
	sqlite3_busy_timeout(other, 5000);
	assert_int_equal(sqlite3_exec(other, "begin exclusive", NULL, NULL, NULL), SQLITE_OK);
	return other;
}

struct trouble {
	sqlite3 *other;
	PGconn *pg;
	struct rlimit files;
	pid_t pid;
};

static inline void query_elsewhere(struct world *w, const char *sql)
{
	char *conninfo = mem_printf("%s dbname=template1", w->conninfo);

	query(conninfo, sql);
	mem_free(conninfo);
}

/* No new connection is let in: as when there are too many, or the password was changed. */
static inline void take_connections(struct world *w, struct trouble *t)
{
	(void)t;
	query_elsewhere(w, "alter database postgres with allow_connections false");
	query_elsewhere(w, "select pg_terminate_backend(pid) from pg_stat_activity where application_name "
	                   "like 'musterd%'");
}

static inline void give_connections(struct world *w, struct trouble *t)
{
	(void)t;
	query_elsewhere(w, "alter database postgres with allow_connections true");
}

/* The usual way, as it is quick: another process locks the file; the server lets nobody in. */
static inline void database_take(struct world *w, struct trouble *t)
{
	if (w->is_postgresql)
		take_connections(w, t);
	else
		t->other = lock_sqlite(w);
}

static inline void database_give(struct world *w, struct trouble *t)
{
	if (w->is_postgresql) {
		give_connections(w, t);
	} else {
		sqlite3_exec(t->other, "commit", NULL, NULL, NULL);
		sqlite3_close(t->other);
	}
}

/* Spools `count` writes, beginning with number `first`, and ends with the database still away. */
static inline void leave_spool(struct world *w, struct trouble *t, int64_t first, unsigned count)
{
	struct seen seen = { 0 };

	database_take(w, t);
	while (!store_is_away(w->store)) {
		put_away(w, AWAY_SPOOL, 0, NULL);
		run_for(w, 5);
	}
	for (unsigned i = 0; i < count; i++) {
		put_away(w, AWAY_SPOOL, first + i, &seen);
		if (i == count / 2) /* several frames */
			run_until(w, &seen.calls, i + 1);
		if (i % 10 == 0)
			uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	run_until(w, &seen.calls, count);
	assert_int_equal(seen.ok, count);
	world_close(w);
	database_give(w, t);
	assert_true(files(w, "*.spool") > 0);
}

#define RUN_TESTS(sqlite, postgresql)                                                                      \
	(cmocka_set_test_filter(getenv("STORE_ONLY")), /* a pattern of tests, or none */                   \
	 cmocka_run_group_tests_name("SQLite", sqlite, setup_sqlite, world_teardown) +                     \
	     (getenv("STORE_ONLY_SQLITE")                                                                  \
	          ? 0                                                                                      \
	          : cmocka_run_group_tests_name("PostgreSQL", postgresql, setup_postgresql,                \
	                                        world_teardown)))

#endif
