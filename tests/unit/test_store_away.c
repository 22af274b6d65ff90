/* test_store_away.c - what a store does while its database is away, on SQLite and on a real PostgreSQL:
 * each way in which a database fails, and the bounds. test_spool.c: what the next process finds. */
#include "store_lost.h"

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
	run_until_back(w);
	assert_int_equal(spooled.ok, n);
	assert_int_equal(last_item(w), n);
	assert_int_equal(count_items(w), n + 50 + 1);
	while (!reads.ok) { /* the first may be late */
		store_read(w->store, ticket, &sql_count, NO_PARAMS, on_rows, &reads);
		run_until(w, &reads.calls, reads.ok + reads.away + 1);
	}
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
		write_submit(write, on_rows, &filled);
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
		write_submit(write, on_rows, &seen);
	}
	assert_true(store_take_back(w->store, 102));
	run_until(w, &seen.calls, before + 6);
	database_give(w, &t);
	run_until_back(w);
	assert_int_equal(count_items(w), first + 5); /* 1002, 1004, 1006, 1104, 1106 */
	world_close(w);
}

static void patient(struct database_options *o)
{
	with_spool(o);
	o->timeout_ms = 60000;
}

/* Away before anything was ever connected, and for a short time only: then nothing is spooled. */
static void test_short(void **state)
{
	struct world *w = world_open(state, patient);
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
	cmocka_unit_test(test_away_and_back), cmocka_unit_test(test_bound),                                \
	    cmocka_unit_test(test_spool_fails), cmocka_unit_test(test_keys), cmocka_unit_test(test_short), \
	    cmocka_unit_test(test_catches_up)

int main(void)
{
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
	return RUN_TESTS(sqlite, postgresql);
}
