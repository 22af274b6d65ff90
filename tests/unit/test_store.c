/* test_store.c - every promise of store.h, on SQLite and on a real PostgreSQL that this program starts
 * for itself (tests/postgres). Without an installed PostgreSQL server only SQLite is tested. */
#include "store_world.h"

/* ---- the tests */

static void on_values(void *arg, const struct rows *rows)
{
	static const char bytes[] = { 0, 1, (char)255, 0, 'x' };
	unsigned *calls = arg;
	size_t len;
	assert_int_equal(rows_status(rows), STORE_OK);
	assert_int_equal(rows_count(rows), 1);
	assert_true(rows_int(rows, 0, 0) == INT64_MAX - 7);
	if (*calls == 0) {
		assert_string_equal(rows_text(rows, 0, 1), "Nur \xc3\xa4 & '\"$1");
		assert_memory_equal(rows_bytes(rows, 0, 2, &len), bytes, sizeof bytes);
		assert_int_equal(len, sizeof bytes);
	} else if (*calls == 1) {
		assert_true(rows_is_null(rows, 0, 1));
		assert_null(rows_text(rows, 0, 1));
		assert_null(rows_bytes(rows, 0, 2, &len));
	} else {
		assert_string_equal(rows_text(rows, 0, 1), "");
		assert_non_null(rows_bytes(rows, 0, 2, &len));
		assert_int_equal(len, 0);
	}
	++*calls;
}

static void on_returning(void *arg, const struct rows *rows)
{
	int64_t *last = arg;
	assert_int_equal(rows_status(rows), STORE_OK);
	assert_int_equal(rows_count(rows), 1);
	assert_true(rows_int(rows, 0, 0) == *last + 1);
	assert_true(rows_int(rows, 0, 1) == INT64_MAX - 7);
	++*last;
}

/* Also NULL where a value came first, and the other way round. */
static void test_values(void **state)
{
	static const char bytes[] = { 0, 1, (char)255, 0, 'x' };
	struct world *w = world_open(state, NULL);
	const int64_t n = INT64_MAX - 7;
	int64_t last = 0;
	unsigned calls = 0;
	uint64_t ticket = 0;
	for (int i = 1; i <= 3; i++) {
		struct write *write = write_new(w->store, 0);
		if (i == 1)
			write_add(write, &sql_add,
			          PARAMS(P_INT(i), P_INT(n), P_TEXT("Nur \xc3\xa4 & '\"$1"),
			                 P_BYTES(bytes, sizeof bytes)));
		else if (i == 2)
			write_add(write, &sql_add, PARAMS(P_INT(i), P_INT(n), P_TEXT(NULL), P_NULL));
		else
			write_add(write, &sql_add,
			          PARAMS(P_INT(i), P_INT(n), P_TEXTN("abc", 0), P_BYTES("", 0)));
		ticket = write_submit(write, on_returning, &last);
	}
	for (int i = 1; i <= 3; i++)
		store_read(w->store, ticket, &sql_get, PARAMS(P_INT(i)), on_values, &calls);
	run_until(w, &calls, 3);
	assert_int_equal(last, 3);

	struct write *write = write_new(w->store, 0);
	write_add(write, &sql_put_text, PARAMS(P_INT(8), P_INT(n), P_NULL));
	run_until_committed(w, write_submit(write, NULL, NULL));
	write = write_new(w->store, 0);
	write_add(write, &sql_put_text, PARAMS(P_INT(9), P_INT(n), P_TEXT("")));
	store_read(w->store, write_submit(write, NULL, NULL), &sql_get, PARAMS(P_INT(8)), on_values,
	           (calls = 1, &calls));
	run_until(w, &calls, 2);
	world_close(w);
}

struct order {
	struct world *w;
	int64_t next;
	uint64_t ticket;
	unsigned groups;
};

static void on_in_order(void *arg, const struct rows *rows)
{
	struct order *o = arg;
	assert_int_equal(rows_status(rows), STORE_OK);
	assert_int_equal(rows_int(rows, 0, 0), o->next++);
}

static void on_group(void *arg, uint64_t ticket)
{
	struct order *o = arg;
	assert_true(ticket == o->ticket + 1);
	assert_true(store_committed(o->w->store) == ticket);
	o->ticket = ticket;
	o->groups++;
}

static void test_order_and_tickets(void **state)
{
	struct world *w = world_open(state, NULL);
	struct order o = { .w = w, .next = 1 };
	store_on_commit(w->store, on_group, &o);
	assert_true(store_is_committed(w->store, 0));
	assert_false(store_is_committed(w->store, STORE_NO_TICKET));
	uint64_t before = 0;
	for (int i = 1; i <= 1000; i++) {
		struct write *write = write_new(w->store, 0);
		write_add(write, &sql_put, PARAMS(P_INT(i + 100000), P_INT(i)));
		write_add(write, &sql_add, PARAMS(P_INT(i), P_INT(i), P_NULL, P_NULL));
		uint64_t ticket = write_submit(write, on_in_order, &o);
		assert_true(ticket >= before && ticket > 0);
		assert_false(store_is_committed(w->store, ticket));
		before = ticket;
		if (i % 50 == 0)
			uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	run_until_committed(w, before);
	assert_int_equal(o.next, 1001);
	assert_true(o.ticket == before);
	struct store_counts c;
	store_counts(w->store, &c);
	assert_int_equal(c.writes, 1000);
	assert_int_equal(c.statements, 2000);
	assert_int_equal(c.groups, o.groups);
	assert_int_equal(c.failed, 0);
	assert_int_equal(c.waiting_writes, 0);
	assert_int_equal(count_items(w), 2000);
	world_close(w);
}

static void test_slow_commits_gather(void **state)
{
	struct world *w = world_open(state, delay_50);
	struct seen seen = { 0 };
	uint64_t start = uv_hrtime(), ticket = 0;
	unsigned sent = 0;
	while (seen.calls < 5000) {
		for (int i = 0; i < 20 && sent < 5000; i++, sent++)
			ticket = put(w, 0, sent, 1, &seen);
		uv_run(&w->loop, sent < 5000 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
	}
	uint64_t ms = (uv_hrtime() - start) / 1000000;
	assert_int_equal(seen.ok, 5000);
	assert_true(ticket <= 5);
	assert_true(ms >= 50);
	assert_int_equal(count_items(w), 5000);
	world_close(w);
}

static void test_take_back(void **state)
{
	struct world *w = world_open(state, delay_50);
	struct seen seen = { 0 };
	for (int i = 1; i <= 2; i++) {
		struct write *write = write_new(w->store, 0);
		write_add_tagged(write, 70 + (uint64_t)i, &sql_put, PARAMS(P_INT(i), P_INT(1)));
		write_add_tagged(write, 80 + (uint64_t)i, &sql_put, PARAMS(P_INT(i + 10), P_INT(1)));
		write_submit(write, on_rows, &seen);
	}
	assert_false(store_take_back(w->store, 99));
	assert_true(store_take_back(w->store, 71));
	assert_false(store_take_back(w->store, 71));
	assert_true(store_take_back(w->store, 82));
	assert_true(store_take_back(w->store, 72)); /* now the second write is empty */
	run_until(w, &seen.calls, 2);
	assert_int_equal(seen.ok, 2);
	assert_int_equal(count_items(w), 1);
	assert_false(store_take_back(w->store, 81)); /* committed */

	struct write *write = write_new(w->store, 0);
	write_add_tagged(write, 90, &sql_put, PARAMS(P_INT(90), P_INT(1)));
	uint64_t ticket = write_submit(write, on_rows, &seen);
	store_flush(w->store);
	assert_false(store_take_back(w->store, 90)); /* sent */
	run_until_committed(w, ticket);
	assert_int_equal(count_items(w), 2);
	world_close(w);
}

static void test_bad_write_fails_alone(void **state)
{
	struct world *w = world_open(state, NULL);
	struct order o = { .w = w, .next = 1 };
	struct seen bad = { 0 };
	store_on_commit(w->store, on_group, &o);
	uint64_t ticket = 0;
	for (int i = 1; i <= 100; i++) {
		struct write *write = write_new(w->store, 0);
		write_add(write, &sql_add, PARAMS(P_INT(i), P_INT(i), P_NULL, P_NULL));
		write_submit(write, on_in_order, &o);
		if (i % 30 == 0) {
			write = write_new(w->store, 0);
			write_add(write, &sql_put, PARAMS(P_INT(i + 1000), P_INT(1)));
			if (i == 60)
				write_add(write, &sql_bad, PARAMS(P_INT(1)));
			write_add(write, &sql_put, PARAMS(P_INT(i + 2000), P_INT(-1)));
			ticket = write_submit(write, on_rows, &bad);
		}
	}
	run_until_committed(w, ticket);
	assert_int_equal(o.next, 101);
	assert_int_equal(bad.calls, 3);
	assert_int_equal(bad.failed, 3);
	assert_int_equal(o.groups, 1);
	assert_int_equal(count_items(w), 100);
	struct store_counts c;
	store_counts(w->store, &c);
	assert_int_equal(c.failed, 3);
	assert_false(store_is_away(w->store));
	world_close(w);
}

static void test_one_key_fails_together(void **state)
{
	struct world *w = world_open(state, NULL);
	struct seen with_bad = { 0 }, others = { 0 };
	put(w, 5, 1, 1, &with_bad);
	put(w, 0, 2, 1, &others);
	put(w, 6, 3, 1, &others);
	put(w, 5, 4, -1, &with_bad);
	put(w, 6, 5, 1, &others);
	put(w, 5, 6, 1, &with_bad);
	put(w, 0, 7, 1, &others);
	uint64_t ticket = put(w, 7, 8, 1, &others);
	run_until_committed(w, ticket);
	assert_int_equal(with_bad.failed, 3);
	assert_int_equal(with_bad.calls, 3);
	assert_int_equal(others.ok, 5);
	assert_int_equal(count_items(w), 5);
	world_close(w);
}

/* What only the commit finds out. PostgreSQL then fails the culprit alone, SQLite the whole group. */
static void test_commit_refused(void **state)
{
	static const struct sql create = {
		.name = "child_create",
		.text = "create table child (id bigint primary key, "
			"item bigint references item deferrable initially deferred)",
		.sqlite = "create table child (id integer primary key, "
			  "item integer references item deferrable initially deferred) strict",
	};
	static const struct sql add = { .name = "child_add",
		                        .text = "insert into child (id, item) values ($1, $2)" };
	struct world *w = world_open(state, NULL);
	struct seen good = { 0 }, bad = { 0 };
	must_run(w, &create, NULL, NULL);
	put(w, 0, 1, 1, &good);
	struct write *write = write_new(w->store, 0);
	write_add(write, &add, PARAMS(P_INT(1), P_INT(77)));
	write_submit(write, on_rows, &bad);
	uint64_t ticket = put(w, 0, 2, 1, &good);
	run_until_committed(w, ticket);
	assert_int_equal(bad.failed, 1);
	assert_int_equal(good.calls, 2);
	assert_int_equal(good.ok, w->is_postgresql ? 2 : 0);
	ticket = put(w, 0, 3, 1, &good);
	run_until_committed(w, ticket);
	assert_int_equal(count_items(w), good.ok);
	assert_int_equal(good.ok, w->is_postgresql ? 3 : 1);
	world_close(w);
}

static void test_read_after_ticket(void **state)
{
	struct world *w = world_open(state, delay_50);
	struct seen first = { 0 }, second = { 0 }, at_once = { 0 }, never = { 0 };
	uint64_t one = put(w, 0, 1, 1, NULL);
	store_flush(w->store);
	while (!store_is_committed(w->store, one - 1))
		uv_run(&w->loop, UV_RUN_ONCE);
	uint64_t two = put(w, 0, 2, 1, NULL);
	store_read(w->store, two, &sql_count, NO_PARAMS, on_rows, &second);
	store_read(w->store, one, &sql_count, NO_PARAMS, on_rows, &first);
	store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &at_once);
	store_read(w->store, STORE_NO_TICKET, &sql_count, NO_PARAMS, on_rows, &never);
	run_until(w, &second.calls, 1);
	run_until(w, &first.calls, 1);
	assert_int_equal(at_once.number, 0);
	assert_true(first.number >= 1);
	assert_int_equal(second.number, 2);
	assert_int_equal(never.away, 1);
	world_close(w);
}

static void test_bad_read(void **state)
{
	struct world *w = world_open(state, NULL);
	struct seen good = { 0 }, bad = { 0 };
	for (int i = 0; i < 10; i++) {
		store_read(w->store, 0, &sql_bad, PARAMS(P_INT(1)), on_rows, &bad);
		store_read(w->store, 0, &sql_all, NO_PARAMS, on_rows, &good);
	}
	assert_int_equal(good.calls + bad.calls, 0); /* never at once */
	run_until(w, &good.calls, 10);
	run_until(w, &bad.calls, 10);
	assert_int_equal(good.ok, 10);
	assert_int_equal(bad.failed, 10);
	assert_false(store_is_away(w->store));
	world_close(w);
}

static void on_many(void *arg, const struct rows *rows)
{
	unsigned *calls = arg;
	assert_int_equal(rows_count(rows), 3000);
	for (unsigned i = 0; i < 3000; i++) {
		assert_int_equal(rows_int(rows, i, 0), i);
		assert_int_equal(rows_int(rows, i, 1), i * 2);
	}
	++*calls;
}

static void test_many_rows(void **state)
{
	struct world *w = world_open(state, NULL);
	unsigned calls = 0;
	uint64_t ticket = 0;
	for (int i = 0; i < 3000; i++)
		ticket = put(w, 0, i, i * 2, NULL);
	for (int i = 0; i < 3; i++)
		store_read(w->store, ticket, &sql_all, NO_PARAMS, on_many, &calls);
	run_until(w, &calls, 3);
	world_close(w);
}

static void narrow(struct database_options *o)
{
	o->waiting_reads = 10;
	o->waiting_writes = 10;
	o->test_commit_delay_ms = 50;
}

static void test_bounds(void **state)
{
	struct world *w = world_open(state, narrow);
	struct seen reads = { 0 }, writes = { 0 };
	for (int i = 0; i < 15; i++) {
		uint64_t ticket = put(w, 0, i, 1, &writes);
		assert_true(i < 10 ? ticket == 1 : ticket == STORE_NO_TICKET);
		store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &reads);
	}
	assert_int_equal(reads.calls + writes.calls, 0);
	run_until(w, &reads.calls, 15);
	run_until(w, &writes.calls, 15);
	assert_int_equal(reads.ok, 10);
	assert_int_equal(reads.away, 5);
	assert_int_equal(writes.ok, 10);
	assert_int_equal(writes.away, 5);
	assert_int_equal(count_items(w), 10);
	put(w, 0, 20, 1, &writes);
	run_until(w, &writes.calls, 16);
	assert_int_equal(writes.ok, 11);
	world_close(w);
}

static void test_close_with_work(void **state)
{
	struct world *w = world_open(state, delay_50);
	struct seen writes = { 0 }, reads = { 0 };
	uint64_t ticket = put(w, 0, 1, 1, &writes);
	store_flush(w->store);
	for (int i = 2; i <= 100; i++)
		ticket = put(w, 0, i, 1, &writes);
	store_read(w->store, ticket, &sql_count, NO_PARAMS, on_rows, &reads);
	store_close(w->store, on_store_closed, w);
	struct seen late = { 0 };
	put(w, 0, 101, 1, &late);
	store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &late);
	while (!w->is_closed)
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_int_equal(writes.ok, 100);
	assert_int_equal(reads.number, 100);
	assert_int_equal(late.away, 2);
	world_close(w);
}

/* What takes too long is answered all the same, and the next ones work. */
static void test_slow_read(void **state)
{
	struct world *w = world_open(state, hurry);
	struct seen slow = { 0 }, next = { 0 };
	uint64_t start = uv_hrtime();
	store_read(w->store, 0, &sql_slow, NO_PARAMS, on_rows, &slow);
	run_until(w, &slow.calls, 1);
	assert_int_equal(slow.away, 1);
	assert_true((uv_hrtime() - start) / 1000000 < 1500);
	while (!next.ok) {
		store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &next);
		run_until(w, &next.calls, next.calls + 1);
	}
	assert_false(store_is_away(w->store));
	world_close(w);
}

static void test_durability(void **state)
{
	struct world *w = world_open(state, NULL);
	char *text = database_durability(w->db);
	assert_string_equal(text,
	                    w->is_postgresql ? "synchronous_commit=on" : "synchronous=2 journal_mode=wal");
	mem_free(text);
	assert_int_equal(database_is_postgresql(w->db), w->is_postgresql);
	world_close(w);
}

static void test_schema(void **state)
{
	static const struct sql newer = {
		.name = "newer",
		.text = "insert into schema_version (number, name, applied) values (999, '999_x.sql', 0)",
	};
	static const struct sql hosts = { .name = "hosts", .text = "select count(*) from host" };
	struct world *w = *state;
	struct seen seen = { 0 };
	char *error = NULL;
	database_empty(w);
	w->db = must_open(w);
	database_close(w->db);
	w->db = must_open(w); /* nothing left to do */
	must_run(w, &hosts, on_rows, &seen);
	assert_int_equal(seen.number, 0);
	assert_false(database_run(w->db, &sql_bad, PARAMS(P_INT(1)), NULL, NULL, &error));
	assert_non_null(strstr(error, "bad"));
	mem_free(error);
	must_run(w, &newer, NULL, NULL);
	database_close(w->db);
	assert_null(database_open(&w->options, &error));
	assert_non_null(strstr(error, "schema 999"));
	mem_free(error);
}

/* Migration 014: a database from before it, with all three kinds of row. */
static void test_record_policy(void **state)
{
	static const struct sql add = {
		.name = "old_policies",
		.text = "insert into policy (host, name, value) select h.id, p.name, p.value from host h"
			" join (select 'a.example' as host, 'record' as name, 'false' as value"
			" union all select 'b.example', 'record', 'true'"
			" union all select 'b.example', 'search.visible', 'false') as p on p.host = h.name",
	};
	static const struct sql hosts = {
		.name = "old_hosts",
		.text = "insert into host (name, created) values ('a.example', 1), ('b.example', 1)",
	};
	static const struct sql count = {
		.name = "new_policies",
		.text = "select count(*) from policy join host on host.id = policy.host where"
			" (host.name, policy.name, value) in (('a.example', 'record', 'off'),"
			" ('b.example', 'record', 'deliver-after-commit'),"
			" ('b.example', 'search.visible', 'false'))",
		.sqlite = "select count(*) from policy join host on host.id = policy.host where"
			  " (host.name, policy.name, value) in (values ('a.example', 'record', 'off'),"
			  " ('b.example', 'record', 'deliver-after-commit'),"
			  " ('b.example', 'search.visible', 'false'))",
	};
	struct world *w = *state;
	struct seen seen = { 0 };
	char *old = mem_printf("%s/schema", w->dir);
	const char *engine = w->is_postgresql ? "postgresql" : "sqlite";
	database_empty(w);
	run_shell("mkdir -p %s/%s && cp %s/schema/%s/0*.sql %s/%s && rm %s/%s/01[3-9]*", old, engine,
	          source_dir(), engine, old, engine, old, engine);
	w->options.schema_dir = old;
	w->db = must_open(w);
	must_run(w, &hosts, NULL, NULL);
	must_run(w, &add, NULL, NULL);
	database_close(w->db);
	options_set(w);
	w->db = must_open(w);
	must_run(w, &count, on_rows, &seen);
	assert_int_equal(seen.number, 3);
	database_close(w->db);
	mem_free(old);
}

static void expect_bad_password_file(struct world *w, mode_t mode, const char *text, const char *said)
{
	char path[] = "/tmp/test_store_password.XXXXXX", *error = NULL;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	w->options.password_file = path;
	assert_null(database_open(&w->options, &error));
	unlink(path);
	assert_non_null(strstr(error, path));
	assert_non_null(strstr(error, said));
	mem_free(error);
	w->options.password_file = NULL;
}

static void test_cannot_open(void **state)
{
	struct world *w = *state;
	char *error = NULL;
	database_empty(w);
	w->options.schema_dir = "/nonexistent";
	assert_null(database_open(&w->options, &error));
	assert_non_null(strstr(error, "/nonexistent/"));
	mem_free(error);
	options_set(w);
	w->options.path = "/nonexistent/muster.db";
	w->options.conninfo = "host=/nonexistent user=muster";
	assert_null(database_open(&w->options, &error));
	assert_non_null(strstr(error, "/nonexistent"));
	mem_free(error);
	if (!w->is_postgresql)
		return;
	options_set(w);
	w->options.password_file = "/nonexistent/password";
	assert_null(database_open(&w->options, &error));
	assert_non_null(strstr(error, "/nonexistent/password"));
	mem_free(error);
	expect_bad_password_file(w, 0644, "juliet\n", "everybody");
	expect_bad_password_file(w, 0600, "", "first line");
}

/* ---- SQLite only */

static void test_file_and_lock(void **state)
{
	struct world *w = world_open(state, NULL);
	struct stat st;
	struct seen seen = { 0 };
	put(w, 0, 1, 1, &seen);
	run_until(w, &seen.calls, 1);
	assert_int_equal(stat(w->options.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	char *wal = mem_printf("%s-wal", w->options.path);
	assert_int_equal(stat(wal, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	mem_free(wal);
	char *error = NULL;
	assert_null(database_open(&w->options, &error));
	char *pid = mem_printf("process %d", (int)getpid());
	assert_non_null(strstr(error, pid));
	assert_non_null(strstr(error, w->options.path));
	mem_free(pid);
	mem_free(error);
	world_close(w);
}

/* A text of two statements: both, or none of them. */
static void test_second_statement(void **state)
{
	static const struct sql two = {
		.name = "item_put_two",
		.text = "select 1",
		.sqlite = "insert into item (id, n, t) values ($1, $2, $3) on conflict (id) do nothing;"
			  "insert into item (id, n) values (?1 + 100, ?2 - 10)",
	};
	struct world *w = world_open(state, NULL);
	struct seen seen = { 0 };
	uint64_t ticket = 0;
	const int n[] = { 10, 5, 10 }; /* both; the second refuses; both, as if nothing had been */

	for (unsigned i = 0; i < COUNT_OF(n); i++) {
		struct write *write = write_new(w->store, 0);
		write_add(write, &two, PARAMS(P_INT(i > 0 ? 2 : 1), P_INT(n[i]), P_TEXT("first")));
		ticket = write_submit(write, on_rows, &seen);
	}
	run_until_committed(w, ticket);
	assert_int_equal(seen.calls, 3);
	assert_int_equal(seen.failed, 1);
	assert_int_equal(count_items(w), 4);
	world_close(w);
}

/* Somebody else holds the database longer than the timeout: away, then all is committed. */
static void test_locked_by_others(void **state)
{
	struct world *w = world_open(state, hurry);
	struct seen seen = { 0 };
	sqlite3 *other;
	assert_int_equal(sqlite3_open(w->options.path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "begin immediate", NULL, NULL, NULL), SQLITE_OK);
	for (int i = 0; i < 100; i++)
		put(w, 0, i, 1, &seen);
	while (!store_is_away(w->store))
		uv_run(&w->loop, UV_RUN_ONCE);
	struct seen read = { 0 };
	store_read(w->store, 0, &sql_count, NO_PARAMS, on_rows, &read);
	run_until(w, &read.calls, 1);
	assert_int_equal(read.away, 1);
	run_for(w, 500);
	assert_int_equal(seen.calls, 0);
	sqlite3_exec(other, "commit", NULL, NULL, NULL);
	sqlite3_close(other);
	run_until(w, &seen.calls, 100);
	assert_int_equal(seen.ok, 100);
	assert_false(store_is_away(w->store));
	struct store_counts c;
	store_counts(w->store, &c);
	assert_true(c.reconnects >= 1);
	world_close(w);
}

/* Two reactors' stores on one writer thread. */
static void test_two_stores(void **state)
{
	struct world *w = world_open(state, NULL);
	struct store *first = w->store, *second = store_open(w->db, &w->loop);
	struct seen seen = { 0 };
	for (int i = 0; i < 1000; i++) {
		w->store = i % 2 ? first : second;
		put(w, 0, i, 1, &seen);
		store_flush(w->store);
	}
	w->store = NULL;
	while (seen.calls < 1000) {
		uv_run(&w->loop, UV_RUN_ONCE);
		store_flush(first);
		store_flush(second);
	}
	assert_int_equal(seen.ok, 1000);
	store_close(second, on_store_closed, w);
	while (!w->is_closed)
		uv_run(&w->loop, UV_RUN_ONCE);
	w->is_closed = false;
	w->store = first;
	assert_int_equal(count_items(w), 1000);
	world_close(w);
}

#define TESTS_OF_BOTH                                                                                      \
	cmocka_unit_test(test_values), cmocka_unit_test(test_order_and_tickets),                           \
	    cmocka_unit_test(test_slow_commits_gather), cmocka_unit_test(test_take_back),                  \
	    cmocka_unit_test(test_bad_write_fails_alone), cmocka_unit_test(test_one_key_fails_together),   \
	    cmocka_unit_test(test_commit_refused), cmocka_unit_test(test_read_after_ticket),               \
	    cmocka_unit_test(test_bad_read), cmocka_unit_test(test_many_rows),                             \
	    cmocka_unit_test(test_bounds), cmocka_unit_test(test_close_with_work),                         \
	    cmocka_unit_test(test_slow_read), cmocka_unit_test(test_durability),                           \
	    cmocka_unit_test(test_schema), cmocka_unit_test(test_record_policy),                           \
	    cmocka_unit_test(test_cannot_open), cmocka_unit_test(test_two_stores)

int main(void)
{
	const struct CMUnitTest sqlite[] = {
		TESTS_OF_BOTH,
		cmocka_unit_test(test_second_statement),
		cmocka_unit_test(test_file_and_lock),
		cmocka_unit_test(test_locked_by_others),
	};
	const struct CMUnitTest postgresql[] = {
		TESTS_OF_BOTH,
	};
	int failed = cmocka_run_group_tests_name("SQLite", sqlite, setup_sqlite, world_teardown);
	if (getenv("STORE_ONLY_SQLITE"))
		return failed;
	return failed +
	       cmocka_run_group_tests_name("PostgreSQL", postgresql, setup_postgresql, world_teardown);
}
