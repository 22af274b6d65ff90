/* store_world.h - what the tests of the store share: a database of their own (SQLite, or a real PostgreSQL that
 * tests/postgres starts), a loop and a store on it, and what callbacks saw. */
#ifndef STORE_WORLD_H
#define STORE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "store.h"

static const struct sql sql_create = {
	.name = "item_create",
	.text =
	    "create table item (id bigint primary key, n bigint not null check (n >= 0), t text, b bytea)",
	.sqlite = "create table item (id integer primary key, n integer not null check (n >= 0), t text, "
		  "b blob) strict",
};
static const struct sql sql_add = {
	.name = "item_add",
	.text = "insert into item (id, n, t, b) values ($1, $2, $3, $4) on conflict (id) do update "
		"set n = item.n returning id, n",
};
static const struct sql sql_put = {
	.name = "item_put",
	.text = "insert into item (id, n) values ($1, $2) on conflict (id) do nothing",
};
static const struct sql sql_put_text = {
	.name = "item_put_text",
	.text = "insert into item (id, n, t) values ($1, $2, $3) on conflict (id) do nothing",
};
static const struct sql sql_get = { .name = "item_get", .text = "select n, t, b from item where id = $1" };
static const struct sql sql_all = { .name = "item_all", .text = "select id, n from item order by id" };
static const struct sql sql_count = { .name = "item_count", .text = "select count(*) from item" };
static const struct sql sql_bad = { .name = "bad", .text = "select nonsense from nowhere where id = $1" };
static const struct sql sql_slow = {
	.name = "slow",
	.text = "select 1 from (select pg_sleep(3)) as nap",
	.sqlite = "with recursive c(n) as (select 1 union all select n + 1 from c where n < 1000000000) "
		  "select count(*) from c",
};

/* ---- a database, a loop and a store */

struct world {
	bool is_postgresql;
	char dir[64];   /* temporary */
	char *conninfo; /* of the server in it */
	struct database_options options;
	struct database *db;
	uv_loop_t loop;
	uv_prepare_t turn; /* flushes at the end of each turn, as a reactor does */
	uv_timer_t guard;
	struct store *store;
	bool is_closed;
};

static inline const char *source_dir(void)
{
	const char *dir = getenv("srcdir");
	return dir ? dir : ".";
}

static inline void run_shell(const char *format, ...) PRINTF(1, 2);
static inline char *shell(const char *command)
{
	char line[512] = "";
	FILE *f = popen(command, "re");
	assert_non_null(f);
	if (!fgets(line, sizeof line, f))
		line[0] = '\0';
	pclose(f);
	line[strcspn(line, "\n")] = '\0';
	return mem_strdup(line);
}

static inline void run_shell(const char *format, ...)
{
	char command[512];
	va_list args;
	va_start(args, format);
	vsnprintf(command, sizeof command, format, args);
	va_end(args);
	mem_free(shell(command));
}

static inline char *postgres(const char *what, const char *dir)
{
	char *command = mem_printf("%s/tests/postgres %s %s", source_dir(), what, dir);
	char *line = shell(command);
	mem_free(command);
	return line;
}

static inline void query(const char *conninfo, const char *text)
{
	PGconn *c = PQconnectdb(conninfo);
	PGresult *r = PQexec(c, text);
	if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", text, PQerrorMessage(c));
	PQclear(r);
	PQfinish(c);
}

static inline int world_setup(void **state, bool is_postgresql)
{
	struct world *w = mem_zalloc(sizeof *w);
	w->is_postgresql = is_postgresql;
	snprintf(w->dir, sizeof w->dir, "/tmp/muster-store-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	if (is_postgresql) {
		w->conninfo = postgres("start", w->dir);
		assert_true(w->conninfo[0]);
	}
	*state = w;
	return 0;
}

static inline int setup_sqlite(void **state)
{
	return world_setup(state, false);
}

static inline int setup_postgresql(void **state)
{
	return world_setup(state, true);
}

static inline int world_teardown(void **state)
{
	struct world *w = *state;
	if (w->is_postgresql)
		mem_free(postgres("stop", w->dir));
	run_shell("rm -rf %s", w->dir);
	mem_free(w->conninfo);
	mem_free(w);
	return 0;
}

static inline void on_turn(uv_prepare_t *turn)
{
	struct world *w = turn->data;
	if (w->store)
		store_flush(w->store);
}

static inline void on_guard(uv_timer_t *timer)
{
	(void)timer;
	fail_msg("the test waits for something that does not come");
}

static inline void options_set(struct world *w)
{
	static char path[128], schema[256];
	snprintf(path, sizeof path, "%s/muster.db", w->dir);
	snprintf(schema, sizeof schema, "%s/schema", source_dir());
	w->options = (struct database_options){
		.is_postgresql = w->is_postgresql,
		.path = path,
		.conninfo = w->conninfo,
		.schema_dir = schema,
		.timeout_ms = 2000,
		.waiting_writes = 100000,
		.waiting_reads = 10000,
	};
}

static inline void database_empty(struct world *w)
{
	options_set(w);
	if (w->is_postgresql)
		query(w->conninfo, "set client_min_messages = error; drop schema if exists public cascade; "
		                   "create schema public");
	else
		run_shell("rm -f %s/muster.db*", w->dir);
}

static inline struct database *must_open(struct world *w)
{
	char *error = NULL;
	struct database *db = database_open(&w->options, &error);
	if (!db)
		fail_msg("%s", error);
	return db;
}

static inline void must_run(struct world *w, const struct sql *sql, store_rows_fn *fn, void *arg)
{
	char *error = NULL;
	if (!database_run(w->db, sql, NO_PARAMS, fn, arg, &error))
		fail_msg("%s", error);
}

/* Also again, with what is there. */
static inline void world_continue(struct world *w)
{
	w->db = must_open(w);
	uv_loop_init(&w->loop);
	uv_prepare_init(&w->loop, &w->turn);
	uv_timer_init(&w->loop, &w->guard);
	w->turn.data = w;
	uv_prepare_start(&w->turn, on_turn);
	uv_timer_start(&w->guard, on_guard, 300000, 0);
	w->is_closed = false;
	w->store = store_open(w->db, &w->loop);
}

static inline void world_start(struct world *w)
{
	w->db = must_open(w);
	must_run(w, &sql_create, NULL, NULL);
	database_close(w->db);
	world_continue(w);
}

/* A fresh database, with `change` made to the default options first. */
static inline struct world *world_open(void **state, void (*change)(struct database_options *o))
{
	struct world *w = *state;
	database_empty(w);
	if (change)
		change(&w->options);
	world_start(w);
	return w;
}

static inline void on_store_closed(void *arg)
{
	struct world *w = arg;
	w->is_closed = true;
	w->store = NULL;
}

static inline void world_close(struct world *w)
{
	if (w->store)
		store_close(w->store, on_store_closed, w);
	while (!w->is_closed)
		uv_run(&w->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&w->turn, NULL);
	uv_close((uv_handle_t *)&w->guard, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	database_close(w->db);
}

static inline void run_until(struct world *w, unsigned *counter, unsigned value)
{
	while (*counter < value)
		uv_run(&w->loop, UV_RUN_ONCE);
}

static inline void run_until_committed(struct world *w, uint64_t ticket)
{
	while (!store_is_committed(w->store, ticket))
		uv_run(&w->loop, UV_RUN_ONCE);
}

static inline void run_for(struct world *w, unsigned ms)
{
	for (unsigned waited = 0; waited < ms; waited += 5) {
		uv_run(&w->loop, UV_RUN_NOWAIT);
		uv_sleep(5);
	}
}

/* ---- what the callbacks saw */

struct seen {
	unsigned calls;
	unsigned ok, away, failed;
	int64_t number;
	unsigned rows;
};

static inline void on_rows(void *arg, const struct rows *rows)
{
	struct seen *seen = arg;
	seen->calls++;
	seen->ok += rows_status(rows) == STORE_OK;
	seen->away += rows_status(rows) == STORE_AWAY;
	seen->failed += rows_status(rows) == STORE_FAILED;
	seen->rows = rows_count(rows);
	seen->number = rows_count(rows) && !rows_is_null(rows, 0, 0) ? rows_int(rows, 0, 0) : -1;
}

static inline int64_t count_items(struct world *w)
{
	struct seen seen = { 0 };
	must_run(w, &sql_count, on_rows, &seen);
	return seen.number;
}

static inline uint64_t put(struct world *w, uint64_t key, int64_t id, int64_t n, struct seen *seen)
{
	struct write *write = write_new(w->store, key);
	write_add(write, &sql_put, PARAMS(P_INT(id), P_INT(n)));
	return write_submit(write, seen ? on_rows : NULL, seen);
}

static inline void server_kill(struct world *w)
{
	char *pid = postgres("pid", w->dir);
	assert_true(atol(pid) > 1);
	kill((pid_t)atol(pid), SIGKILL);
	mem_free(pid);
}

static inline void delay_50(struct database_options *o)
{
	o->test_commit_delay_ms = 50;
}

static inline void hurry(struct database_options *o)
{
	o->timeout_ms = 200;
}

#endif
