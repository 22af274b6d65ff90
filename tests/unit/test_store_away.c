/* test_store_away.c - what a store does while its database is away, on SQLite and on a real PostgreSQL: each way
 * in which a database fails, the spool, and what the next process finds in it. */
#include <glob.h>
#include <sys/resource.h>

#include "store_world.h"

/* The last one wins, so it shows the order in which writes arrived. */
static const struct sql sql_last = {
	.name = "item_last",
	.text = "insert into item (id, n) values ($1, $2) on conflict (id) do update set n = excluded.n",
};

static void with_spool(struct database_options *o)
{
	static char path[128];

	snprintf(path, sizeof path, "%.*s/spool", (int)(strrchr(o->path, '/') - o->path), o->path);
	run_shell("rm -rf %s", path);
	o->timeout_ms = 300;
	o->spool = path;
	o->spool_bytes = 64 << 20;
}

static unsigned files(const struct world *w, const char *pattern)
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
static uint64_t put_away(struct world *w, enum away away, int64_t n, struct seen *seen)
{
	struct write *write = write_new(w->store, 0);

	write_add(write, &sql_put, PARAMS(P_INT(n), P_INT(n)));
	write_add(write, &sql_last, PARAMS(P_INT(0), P_INT(n)));
	write_set_away(write, away);
	return write_commit(write, seen ? on_rows : NULL, seen);
}

static int64_t last_item(struct world *w)
{
	static const struct sql sql = { .name = "last", .text = "select n from item where id = 0" };
	struct seen seen = { 0 };

	must_run(w, &sql, on_rows, &seen);
	return seen.number;
}

/* Goes on writing: a server that was killed may finish what it has. */
static void run_until_spooling(struct world *w, int64_t *n, struct seen *seen)
{
	while (!store_is_spooling(w->store)) {
		put_away(w, AWAY_SPOOL, (*n)++, seen);
		run_for(w, 5);
	}
	run_until(w, &seen->calls, (unsigned)*n - 1);
}

static void run_until_back(struct world *w)
{
	while (store_is_away(w->store))
		uv_run(&w->loop, UV_RUN_ONCE);
}

/* ---- ways to take a database away and give it back */

static sqlite3 *lock_sqlite(struct world *w)
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

static void query_elsewhere(struct world *w, const char *sql)
{
	char *conninfo = mem_printf("%s dbname=template1", w->conninfo);

	query(conninfo, sql);
	mem_free(conninfo);
}

/* No new connection is let in: as when there are too many, or the password was changed. */
static void take_connections(struct world *w, struct trouble *t)
{
	(void)t;
	query_elsewhere(w, "alter database postgres with allow_connections false");
	query_elsewhere(w, "select pg_terminate_backend(pid) from pg_stat_activity where application_name "
	                   "like 'musterd%'");
}

static void give_connections(struct world *w, struct trouble *t)
{
	(void)t;
	query_elsewhere(w, "alter database postgres with allow_connections true");
}

/* The usual way, as it is quick: another process locks the file; the server lets nobody in. */
static void database_take(struct world *w, struct trouble *t)
{
	if (w->is_postgresql)
		take_connections(w, t);
	else
		t->other = lock_sqlite(w);
}

static void database_give(struct world *w, struct trouble *t)
{
	if (w->is_postgresql) {
		give_connections(w, t);
	} else {
		sqlite3_exec(t->other, "commit", NULL, NULL, NULL);
		sqlite3_close(t->other);
	}
}

/* Writes of all three kinds before, while and after the database is away; what each must come to. */
static void play(struct world *w, void (*take)(struct world *w, struct trouble *t),
                 void (*give)(struct world *w, struct trouble *t))
{
	struct seen spooled = { 0 }, refused = { 0 }, waiting = { 0 }, reads = { 0 };
	struct trouble t = { 0 };
	struct store_counts c;
	uint64_t ticket = 0;
	int64_t n = 1;

	run_until_committed(w, put_away(w, AWAY_SPOOL, n++, &spooled));
	take(w, &t);
	for (int i = 0; i < 100; i++)
		ticket = put_away(w, AWAY_SPOOL, n++, &spooled);
	run_until_spooling(w, &n, &spooled);
	assert_true(store_is_committed(w->store, ticket));

	for (int i = 0; i < 50; i++) {
		put_away(w, AWAY_REFUSE, 5000 + i, &refused);
		put_away(w, AWAY_WAIT, 6000 + i, &waiting);
		put_away(w, AWAY_SPOOL, n++, &spooled);
		uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &reads);
	run_until(w, &spooled.calls, (unsigned)n - 1);
	run_until(w, &refused.calls, 50);
	run_until(w, &reads.calls, 1);
	assert_int_equal(refused.away, 50);
	assert_int_equal(reads.away, 1);
	assert_int_equal(waiting.calls, 0);
	store_counts(w->store, &c);
	assert_true(c.spooled >= 50 && c.spool_bytes > 50 * 20 && c.spool_since > 0);

	give(w, &t);
	run_until(w, &waiting.calls, 50);
	assert_int_equal(waiting.ok, 50);
	run_until_back(w);
	assert_int_equal(last_item(w), 6049); /* what was held comes behind the spool */
	run_until_committed(w, put_away(w, AWAY_SPOOL, n, &spooled));
	assert_int_equal(spooled.ok, n);
	assert_int_equal(last_item(w), n);
	assert_int_equal(count_items(w), n + 50 + 1);
	store_read(w->store, ticket, &sql_count, NO_PARAMS, on_rows, &reads);
	run_until(w, &reads.calls, 2);
	assert_int_equal(reads.number, n + 50 + 1);
	store_counts(w->store, &c);
	assert_int_equal(c.failed, 0);
	assert_int_equal(c.spool_bytes, 0);
	assert_int_equal(c.spool_since, 0);
	assert_int_equal(files(w, "*.spool") + files(w, "*.refused"), 0);
	world_close(w);
}

static void test_away_and_back(void **state)
{
	play(world_open(state, with_spool), database_take, database_give);
}

/* ---- PostgreSQL's other ways */

static void take_frozen(struct world *w, struct trouble *t)
{
	char *pid = postgres("pid", w->dir);

	/* The server process with all its children: a machine that hangs. */
	t->pid = (pid_t)atol(pid);
	mem_free(pid);
	run_shell("kill -STOP $(pgrep -P %d) %d", (int)t->pid, (int)t->pid);
}

static void give_frozen(struct world *w, struct trouble *t)
{
	(void)w;
	run_shell("kill -CONT $(pgrep -P %d) %d", (int)t->pid, (int)t->pid);
}

static void take_lock(struct world *w, struct trouble *t)
{
	t->pg = PQconnectdb(w->conninfo);
	PQclear(PQexec(t->pg, "begin; lock table item in exclusive mode"));
}

static void give_lock(struct world *w, struct trouble *t)
{
	(void)w;
	PQfinish(t->pg);
}

static void take_disk(struct world *w, struct trouble *t)
{
	(void)t;
	query(w->conninfo,
	      "create function disk_is_full() returns trigger language plpgsql as "
	      "$$begin raise exception 'No space left on device' using errcode = '53100'; end$$;"
	      "create trigger disk before insert on item execute function disk_is_full()");
}

static void give_disk(struct world *w, struct trouble *t)
{
	(void)t;
	query(w->conninfo, "drop trigger disk on item; drop function disk_is_full()");
}

static void take_read_only(struct world *w, struct trouble *t)
{
	(void)t;
	query(w->conninfo, "alter database postgres set default_transaction_read_only = on");
	query(w->conninfo, "select pg_terminate_backend(pid) from pg_stat_activity where application_name "
	                   "like 'musterd%'");
}

static void give_read_only(struct world *w, struct trouble *t)
{
	(void)t;
	query_elsewhere(w, "alter database postgres reset default_transaction_read_only");
}

static void take_privilege(struct world *w, struct trouble *t)
{
	(void)t;
	query(w->conninfo,
	      "create function no_privilege() returns trigger language plpgsql as "
	      "$$begin raise exception 'permission denied for table item' using errcode = '42501'; end$$;"
	      "create trigger privilege before insert on item execute function no_privilege()");
}

static void give_privilege(struct world *w, struct trouble *t)
{
	(void)t;
	query(w->conninfo, "drop trigger privilege on item; drop function no_privilege()");
}

static void test_frozen(void **state)
{
	play(world_open(state, with_spool), take_frozen, give_frozen);
}

static void test_locked_table(void **state)
{
	play(world_open(state, with_spool), take_lock, give_lock);
}

static void test_disk_full_postgresql(void **state)
{
	play(world_open(state, with_spool), take_disk, give_disk);
}

static void test_read_only(void **state)
{
	play(world_open(state, with_spool), take_read_only, give_read_only);
}

static void take_killed(struct world *w, struct trouble *t)
{
	(void)t;
	server_kill(w);
}

static void give_killed(struct world *w, struct trouble *t)
{
	(void)t;
	mem_free(postgres("start", w->dir));
}

static void test_killed(void **state)
{
	play(world_open(state, with_spool), take_killed, give_killed);
}

static void test_no_privilege(void **state)
{
	play(world_open(state, with_spool), take_privilege, give_privilege);
}

/* ---- SQLite's other way */

/* The kernel lets no file grow beyond a megabyte, where SQLite's log has come to; the spool is smaller. */
static void take_disk_sqlite(struct world *w, struct trouble *t)
{
	struct rlimit now;
	struct seen filled = { 0 };
	static char big[600000];

	for (int i = 0; i < 2; i++) {
		struct write *write = write_new(w->store, 0);

		write_add(write, &sql_put_text, PARAMS(P_INT(-1), P_INT(1), P_TEXTN(big, sizeof big)));
		write_add(
		    write,
		    (const struct sql[]){ { .name = "drop", .text = "delete from item where id = -1" } },
		    NO_PARAMS);
		write_commit(write, on_rows, &filled);
		run_until(w, &filled.calls, (unsigned)i + 1);
	}
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &t->files), 0);
	now = t->files;
	now.rlim_cur = 1 << 20;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
}

static void give_disk_sqlite(struct world *w, struct trouble *t)
{
	(void)w;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &t->files), 0);
}

static void test_disk_full_sqlite(void **state)
{
	play(world_open(state, with_spool), take_disk_sqlite, give_disk_sqlite);
}

/* ---- the next process */

/* Spools `count` writes, beginning with number `first`, and ends with the database still away. */
static void leave_spool(struct world *w, struct trouble *t, int64_t first, unsigned count)
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

static void on_replayed(void *arg)
{
	++*(unsigned *)arg;
}

static void test_next_process(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct trouble t = { 0 };
	unsigned replayed = 0;

	leave_spool(w, &t, 1, 1000);
	world_continue(w);
	assert_true(store_is_spooling(w->store));
	store_on_replayed(w->store, on_replayed, &replayed);
	run_until(w, &replayed, 1);
	assert_false(store_is_spooling(w->store));
	assert_int_equal(count_items(w), 1001);
	assert_int_equal(last_item(w), 1000);
	assert_int_equal(files(w, "*.spool"), 0);

	/* The database goes away again before all of it is in: nothing is lost, nothing comes back later. */
	leave_spool(w, &t, 2000, 5000);
	world_continue(w);
	while (count_items(w) < 1500)
		uv_run(&w->loop, UV_RUN_ONCE);
	leave_spool(w, &t, 30000, 100);
	world_continue(w);
	run_until_back(w);
	assert_int_equal(count_items(w), 1001 + 5000 + 100);
	assert_int_equal(last_item(w), 30099);
	world_close(w);
}

/* A stop while the database is away keeps what was not committed yet. */
static void test_close_while_away(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct seen seen = { 0 };
	struct trouble t = { 0 };
	int64_t n = 2;

	run_until_committed(w, put_away(w, AWAY_SPOOL, 1, &seen));
	database_take(w, &t);
	while (!store_is_away(w->store)) {
		put_away(w, AWAY_SPOOL, n++, &seen);
		run_for(w, 5);
	}
	put_away(w, AWAY_SPOOL, n, &seen);
	world_close(w);
	assert_int_equal(seen.calls, n);
	database_give(w, &t);
	world_continue(w);
	run_until_back(w);
	assert_int_equal(count_items(w), n + 1);
	world_close(w);
}

static void test_torn_end(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct trouble t = { 0 };

	leave_spool(w, &t, 1, 100);
	run_shell("printf '\\377\\000\\000\\000abcdefgh' >>%s/spool/0000000001.spool", w->dir);
	world_continue(w);
	run_until_back(w);
	assert_int_equal(count_items(w), 101);
	assert_int_equal(files(w, "*"), 1); /* the lock */

	/* Only the beginning of the first frame was written. */
	leave_spool(w, &t, 200, 1);
	run_shell("truncate -s 40 %s/spool/*.spool", w->dir);
	world_continue(w);
	run_until_back(w);
	assert_int_equal(count_items(w), 101);
	assert_int_equal(files(w, "*"), 1);
	world_close(w);
}

/* A file that was altered on the disk: what is before the damage arrives, and the file is kept. */
static void test_damage(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct trouble t = { 0 };
	char *path = mem_printf("%s/spool/0000000001.spool", w->dir);
	FILE *f;

	leave_spool(w, &t, 1, 100);
	f = fopen(path, "r+e");
	fseek(f, -3, SEEK_END);
	fputc('!', f);
	fclose(f);
	world_continue(w);
	run_until_back(w);
	assert_in_range(count_items(w), 2, 100);
	assert_int_equal(files(w, "*.spool"), 0);
	assert_int_equal(files(w, "0000000001.refused"), 1);

	leave_spool(w, &t, 200, 10); /* under another number */
	assert_int_equal(files(w, "0000000002.spool"), 1);
	mem_free(path);
}

/* Without PRINTF: the sentence of a start that is refused. */
static void refused_start(struct world *w, const char *words)
{
	char *error = NULL;

	assert_null(database_open(&w->options, &error));
	if (!strstr(error, words))
		fail_msg("'%s' does not say '%s'", error, words);
	mem_free(error);
}

static void test_other_database(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct trouble t = { 0 };
	const char *spool = w->options.spool;

	leave_spool(w, &t, 1, 10);
	database_empty(w);
	w->options.spool = spool;
	w->options.spool_bytes = 1 << 20;
	refused_start(w, "has messages for another database");
	assert_int_equal(files(w, "*.spool"), 1);
	run_shell("echo something else entirely, and long enough >%s/spool/0000000001.spool", w->dir);
	refused_start(w, "is no spool that this musterd understands");
	w->options.spool = "/proc/nowhere/spool";
	refused_start(w, "cannot be opened");
	w->options.spool = spool;
	run_shell("rm %s/spool/0000000001.spool", w->dir);
	world_start(w);
	if (w->is_postgresql) /* SQLite: the lock of its file is met first */
		refused_start(w, "in use by another musterd");
	world_close(w);
}

/* ---- bounds and bad writes */

static void small_spool(struct database_options *o)
{
	with_spool(o);
	o->spool_bytes = 10000;
}

/* What finds no room waits in memory, in its order; nothing is lost. */
static void test_bound(void **state)
{
	struct world *w = world_open(state, small_spool);
	struct seen seen = { 0 };
	struct trouble t = { 0 };
	struct store_counts c;
	int64_t n = 1;

	database_take(w, &t);
	run_until_spooling(w, &n, &seen);
	for (int i = 0; i < 1000; i++) {
		put_away(w, AWAY_SPOOL, n++, &seen);
		uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	run_for(w, 1000);
	store_counts(w->store, &c);
	assert_true(c.spool_bytes <= 10000);
	assert_true(seen.calls < n - 1);
	assert_int_equal(c.waiting_writes, n - 1 - seen.calls);
	database_give(w, &t);
	run_until(w, &seen.calls, (unsigned)n - 1);
	run_until_back(w);
	assert_int_equal(seen.ok, n - 1);
	assert_int_equal(count_items(w), n);
	assert_int_equal(last_item(w), n - 1);
	world_close(w);
}

/* The disk of the spool fails, and mends. */
static void test_spool_fails(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct seen seen = { 0 };
	struct trouble t = { 0 };
	unsigned before;
	int64_t n = 1;

	run_shell("mv %s/spool %s/elsewhere", w->dir, w->dir);
	database_take(w, &t);
	while (!store_is_spooling(w->store)) {
		put_away(w, AWAY_SPOOL, n++, &seen);
		run_for(w, 5);
	}
	before = seen.calls;
	run_for(w, 700);
	assert_int_equal(seen.calls, before);
	run_shell("mv %s/elsewhere %s/spool", w->dir, w->dir);
	run_until(w, &seen.calls, (unsigned)n - 1);
	put_away(w, AWAY_SPOOL, n, &seen);
	run_until(w, &seen.calls, (unsigned)n);
	database_give(w, &t);
	run_until_back(w);
	assert_int_equal(seen.ok, n);
	assert_int_equal(count_items(w), n + 1);
	world_close(w);
}

/* The database refuses one of them when it is read back: the others arrive, and its file is kept. */
static void test_refused_later(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct seen seen = { 0 };
	struct trouble t = { 0 };
	struct store_counts c;
	int64_t n = 1;

	database_take(w, &t);
	run_until_spooling(w, &n, &seen);
	for (int i = 0; i < 20; i++)
		put_away(w, AWAY_SPOOL, i == 10 ? -1 : n++, &seen);
	run_until(w, &seen.calls, (unsigned)n);
	database_give(w, &t);
	run_until_back(w);
	assert_int_equal(count_items(w), n);
	assert_int_equal(files(w, "*.refused"), 1);
	store_counts(w->store, &c);
	assert_int_equal(c.failed, 1);
	world_close(w);
}

/* What is in one group stands or falls together after the detour too. */
static void test_keys(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct seen seen = { 0 };
	struct trouble t = { 0 };
	int64_t first = 1;
	unsigned before;

	database_take(w, &t);
	run_until_spooling(w, &first, &seen);
	before = seen.calls;
	for (int n = 1; n <= 6; n++) {
		struct write *write = write_new(w->store, (uint64_t)n % 2 + 1);

		write_add_tagged(write, (uint64_t)n, &sql_put,
		                 PARAMS(P_INT(1000 + n), P_INT(n == 3 ? -1 : n)));
		write_add_tagged(write, 100 + (uint64_t)n, &sql_put, PARAMS(P_INT(1100 + n), P_INT(n)));
		write_set_away(write, AWAY_SPOOL);
		write_commit(write, on_rows, &seen);
	}
	assert_true(store_take_back(w->store, 102));
	run_until(w, &seen.calls, before + 6);
	database_give(w, &t);
	run_until_back(w);
	assert_int_equal(count_items(w), first + 5); /* 1002, 1004, 1006, 1104, 1106 */
	world_close(w);
}

/* Away before anything was ever connected, and for a short time only: then nothing is spooled. */
static void test_short(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct seen seen = { 0 };
	struct store_counts c;

	put_away(w, AWAY_SPOOL, 1, &seen);
	if (w->is_postgresql) {
		run_until(w, &seen.calls, 1);
		query(w->conninfo, "select pg_terminate_backend(pid) from pg_stat_activity where "
		                   "application_name like 'musterd%'");
		put_away(w, AWAY_SPOOL, 2, &seen);
		run_until(w, &seen.calls, 2);
	}
	run_until(w, &seen.calls, 1);
	store_counts(w->store, &c);
	assert_int_equal(c.spooled, 0);
	assert_int_equal(seen.ok, seen.calls);
	world_close(w);
}

/* Written to without end while it is read back: it comes to an end all the same. */
static void test_catches_up(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct seen seen = { 0 };
	struct trouble t = { 0 };
	int64_t n = 1;

	run_until_committed(w, put_away(w, AWAY_SPOOL, n++, &seen));
	database_take(w, &t);
	while (n < 5000) {
		for (int i = 0; i < 50; i++)
			put_away(w, AWAY_SPOOL, n++, &seen);
		uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	run_until_spooling(w, &n, &seen);
	database_give(w, &t);
	while (store_is_away(w->store)) {
		if (seen.calls + 1000 > (unsigned)n)
			put_away(w, AWAY_SPOOL, n++, &seen);
		uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	run_until(w, &seen.calls, (unsigned)n - 1);
	run_until_back(w);
	assert_int_equal(seen.ok, n - 1);
	assert_int_equal(count_items(w), n);
	assert_int_equal(last_item(w), n - 1);
	world_close(w);
}

#define TESTS_OF_BOTH                                                                                      \
	cmocka_unit_test(test_away_and_back), cmocka_unit_test(test_next_process),                         \
	    cmocka_unit_test(test_close_while_away), cmocka_unit_test(test_torn_end),                      \
	    cmocka_unit_test(test_damage), cmocka_unit_test(test_other_database),                          \
	    cmocka_unit_test(test_bound), cmocka_unit_test(test_spool_fails),                              \
	    cmocka_unit_test(test_refused_later), cmocka_unit_test(test_keys),                             \
	    cmocka_unit_test(test_short), cmocka_unit_test(test_catches_up)

int main(void)
{
	cmocka_set_test_filter(getenv("STORE_ONLY")); /* a pattern of tests, or none */
	const struct CMUnitTest sqlite[] = {
		TESTS_OF_BOTH,
		cmocka_unit_test(test_disk_full_sqlite),
	};
	const struct CMUnitTest postgresql[] = {
		TESTS_OF_BOTH,
		cmocka_unit_test(test_frozen),
		cmocka_unit_test(test_locked_table),
		cmocka_unit_test(test_disk_full_postgresql),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_no_privilege),
	};
	int failed = cmocka_run_group_tests_name("SQLite", sqlite, setup_sqlite, world_teardown);
	if (getenv("STORE_ONLY_SQLITE"))
		return failed;
	return failed +
	       cmocka_run_group_tests_name("PostgreSQL", postgresql, setup_postgresql, world_teardown);
}
