/* test_store_pg.c - a store whose PostgreSQL is killed, hangs, or ends connections: nothing is lost, nothing is
 * there twice. Without an installed PostgreSQL server nothing is tested. */
#include "store_world.h"

struct load {
	struct world *w;
	unsigned acknowledged, next;
	bool *is_acknowledged;
};

static void on_loaded(void *arg, const struct rows *rows)
{
	struct load *l = arg;
	assert_int_equal(rows_status(rows), STORE_OK);
	/* In the order of the writes: nothing is left out. */
	assert_int_equal(rows_int(rows, 0, 0), l->acknowledged++);
}

/* The server is killed in mid-load, and comes back: nothing lost, nothing double, order kept. */
static void test_server_killed(void **state)
{
	struct world *w = world_open(state, hurry);
	struct load l = { .w = w };
	struct seen reads = { 0 };
	for (int round = 0; round < 3; round++) {
		unsigned goal = l.next + 2000;
		while (l.acknowledged < goal) {
			for (int i = 0; i < 20 && l.next < goal + 1000; i++) {
				struct write *write = write_new(w->store, 0);
				write_add(write, &sql_add,
				          PARAMS(P_INT(l.next), P_INT(l.next), P_NULL, P_NULL));
				write_submit(write, on_loaded, &l);
				l.next++;
			}
			uv_run(&w->loop, UV_RUN_ONCE);
		}
		server_kill(w);
		for (int i = 0; i < 500; i++, l.next++) {
			struct write *write = write_new(w->store, 0);
			write_add(write, &sql_add, PARAMS(P_INT(l.next), P_INT(l.next), P_NULL, P_NULL));
			write_submit(write, on_loaded, &l);
		}
		while (!store_is_away(w->store))
			uv_run(&w->loop, UV_RUN_ONCE);
		unsigned before = reads.away;
		store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &reads);
		run_until(w, &reads.away, before + 1);
		mem_free(postgres("start", w->dir));
	}
	run_until(w, &l.acknowledged, l.next);
	assert_int_equal(count_items(w), l.next);
	while (store_is_away(w->store))
		uv_run(&w->loop, UV_RUN_ONCE);
	store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &reads);
	run_until(w, &reads.ok, 1);
	assert_int_equal(reads.number, l.next);
	world_close(w);
}

/* The administrator ends our connections; a group and reads are under way. */
static void test_connections_ended(void **state)
{
	struct world *w = world_open(state, delay_50);
	struct seen seen = { 0 };
	for (int i = 0; i < 5; i++) {
		struct seen reads = { 0 };
		unsigned before = seen.calls;
		for (int n = 0; n < 100; n++)
			put(w, 0, i * 100 + n, 1, &seen);
		store_flush(w->store);
		store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &reads);
		uv_run(&w->loop, UV_RUN_NOWAIT);
		query(w->conninfo, "select pg_terminate_backend(pid) from pg_stat_activity "
		                   "where application_name like 'musterd%'");
		run_until(w, &seen.calls, before + 100);
		run_until(w, &reads.calls, 1);
		while (store_is_away(w->store))
			uv_run(&w->loop, UV_RUN_ONCE);
	}
	assert_int_equal(seen.ok, 500);
	assert_int_equal(count_items(w), 500);
	world_close(w);
}

/* The process id of the newest backend that writes. */
static pid_t writer_pid(struct world *w)
{
	char *command =
	    mem_printf("psql -X -A -t -c \"select pid from pg_stat_activity where application_name "
	               "= 'musterd writing' order by backend_start desc limit 1\" '%s'",
	               w->conninfo);
	char *line = shell(command);
	long pid = atol(line);
	assert_true(pid > 1);
	mem_free(line);
	mem_free(command);
	return (pid_t)pid;
}

static uint64_t set_n(struct world *w, int64_t n, struct seen *seen)
{
	static const struct sql set = { .name = "item_set", .text = "update item set n = $1" };
	struct write *write = write_new(w->store, 0);
	write_add(write, &set, PARAMS(P_INT(n)));
	return write_submit(write, on_rows, seen);
}

/* A backend that stood still comes to life when its group has long been sent again, and newer ones after
 * it: it must not bring the old state back. */
static void test_backend_stopped(void **state)
{
	struct world *w = world_open(state, hurry);
	struct seen seen = { 0 }, read = { 0 };
	put(w, 0, 1, 1, &seen);
	run_until(w, &seen.calls, 1);
	pid_t backend = writer_pid(w);
	kill(backend, SIGSTOP);
	set_n(w, 2, &seen);
	while (!store_is_away(w->store))
		uv_run(&w->loop, UV_RUN_ONCE);
	set_n(w, 3, &seen);
	run_for(w, 1000);
	assert_int_equal(seen.calls, 1);
	kill(backend, SIGCONT);
	run_until(w, &seen.calls, 3);
	assert_int_equal(seen.ok, 3);
	store_read(w->store, 0, &sql_get, PARAMS(P_INT(1)), on_rows, &read);
	run_until(w, &read.calls, 1);
	assert_int_equal(read.number, 3);
	world_close(w);
}

/* Another transaction holds what the group needs. */
static void test_no_answer(void **state)
{
	struct world *w = world_open(state, hurry);
	struct seen seen = { 0 };
	put(w, 0, 1, 1, &seen);
	run_until(w, &seen.calls, 1);
	PGconn *c = PQconnectdb(w->conninfo);
	PQclear(PQexec(c, "begin; lock table item"));
	put(w, 0, 2, 1, &seen);
	while (!store_is_away(w->store))
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_int_equal(seen.calls, 1);
	PQfinish(c);
	run_until(w, &seen.calls, 2);
	assert_int_equal(seen.ok, 2);
	assert_false(store_is_away(w->store));
	assert_int_equal(count_items(w), 2);
	world_close(w);
}

/* Closing while the database is gone: every callback comes, in the time that was allowed. */
static void test_close_while_away(void **state)
{
	struct world *w = world_open(state, hurry);
	struct seen seen = { 0 };
	put(w, 0, 1, 1, &seen);
	run_until(w, &seen.calls, 1);
	mem_free(postgres("stop", w->dir));
	put(w, 0, 2, 1, &seen);
	while (!store_is_away(w->store))
		uv_run(&w->loop, UV_RUN_ONCE);
	put(w, 0, 3, 1, &seen);
	store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &seen);
	store_close(w->store, on_store_closed, w);
	while (!w->is_closed)
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_int_equal(seen.away, 3);
	mem_free(postgres("start", w->dir));
	world_close(w);
}

/* The first connection cannot be made: reads fail, writes wait. */
static void test_starts_while_away(void **state)
{
	struct world *w = world_open(state, hurry);
	struct seen first = { 0 }, reads = { 0 };
	world_close(w);
	w->db = must_open(w);
	server_kill(w);
	uv_loop_init(&w->loop);
	uv_prepare_init(&w->loop, &w->turn);
	uv_timer_init(&w->loop, &w->guard);
	uv_prepare_start(&w->turn, on_turn);
	w->is_closed = false;
	w->store = store_open(w->db, &w->loop);
	put(w, 0, 1, 1, &first);
	store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &reads);
	run_until(w, &reads.calls, 1);
	assert_int_equal(reads.away, 1);
	assert_int_equal(first.calls, 0);
	mem_free(postgres("start", w->dir));
	run_until(w, &first.calls, 1);
	assert_int_equal(first.ok, 1);
	world_close(w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_server_killed),    cmocka_unit_test(test_connections_ended),
		cmocka_unit_test(test_backend_stopped),  cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_close_while_away), cmocka_unit_test(test_starts_while_away),
	};
	if (getenv("STORE_ONLY_SQLITE"))
		return 77;
	return cmocka_run_group_tests(tests, setup_postgresql, world_teardown);
}
