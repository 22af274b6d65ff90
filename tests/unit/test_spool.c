/* test_spool.c - what a process leaves in its spool, and what the next one makes of it, on SQLite and on a real
 * PostgreSQL: also when the files are cut, damaged, or another database's. */
#include "store_lost.h"

#define FILE_HEADER 32

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

/* What was being written when the machine stopped was never counted as written. */
static void test_torn_end(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct trouble t = { 0 };

	leave_spool(w, &t, 1, 100);
	run_shell("cd %s/spool && dd if=0000000001.spool bs=1 skip=%d count=40 2>/dev/null >beginning && "
	          "cat beginning "
	          ">>0000000001.spool && rm beginning",
	          w->dir, FILE_HEADER);
	world_continue(w);
	run_until_back(w);
	assert_int_equal(count_items(w), 101);
	assert_int_equal(files(w, "*"), 1); /* the lock */

	/* The file was made longer, and nothing written there. */
	leave_spool(w, &t, 200, 1);
	run_shell("truncate -s +1000 %s/spool/*.spool", w->dir);
	world_continue(w);
	run_until_back(w);
	assert_int_equal(count_items(w), 102);
	assert_int_equal(files(w, "*"), 1);

	/* Only the beginning of the first frame was written. */
	leave_spool(w, &t, 300, 1);
	run_shell("truncate -s 40 %s/spool/*.spool", w->dir);
	world_continue(w);
	run_until_back(w);
	assert_int_equal(count_items(w), 102);
	assert_int_equal(files(w, "*"), 1);
	world_close(w);
}

/* Alters one byte of the only file: counted from its end, if negative. */
static void file_damage(struct world *w, const char *name, long at)
{
	char *path = mem_printf("%s/spool/%s", w->dir, name);
	FILE *f = fopen(path, "r+e");
	int c;

	fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
	c = fgetc(f);
	fseek(f, -1, SEEK_CUR);
	fputc(c ^ 0x40, f);
	fclose(f);
	mem_free(path);
}

/* Files that were altered on the disk: what is before the damage arrives, and the file is kept. */
static void test_damage(void **state)
{
	struct world *w = world_open(state, with_spool);
	struct trouble t = { 0 };
	int64_t before;

	leave_spool(w, &t, 1, 100);
	file_damage(w, "0000000001.spool", -3);
	world_continue(w);
	run_until_back(w);
	before = count_items(w);
	assert_in_range(before, 2, 100);
	assert_int_equal(files(w, "*.spool"), 0);
	assert_int_equal(files(w, "0000000001.refused"), 1);

	leave_spool(w, &t, 200, 10);                         /* under another number */
	file_damage(w, "0000000002.spool", FILE_HEADER + 1); /* the first frame's length */
	world_continue(w);
	run_until_back(w);
	assert_int_equal(count_items(w), before);
	assert_int_equal(files(w, "*.spool"), 0);
	assert_int_equal(files(w, "0000000002.refused"), 1);
	world_close(w);
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

#define TESTS_OF_BOTH                                                                                      \
	cmocka_unit_test(test_next_process), cmocka_unit_test(test_close_while_away),                      \
	    cmocka_unit_test(test_torn_end), cmocka_unit_test(test_damage),                                \
	    cmocka_unit_test(test_other_database), cmocka_unit_test(test_refused_later)

int main(void)
{
	const struct CMUnitTest sqlite[] = { TESTS_OF_BOTH };
	const struct CMUnitTest postgresql[] = { TESTS_OF_BOTH };

	return RUN_TESTS(sqlite, postgresql);
}
