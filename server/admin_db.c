/* admin_db.c - the administrator's commands about the database itself: what state it is in, and bringing its
 * tables up to date. They also run before that has been done, where no server runs: then nothing is open but
 * the control connection (`musterd --admin-database`).
 *
 * All of it blocks, on sessions of its own: in the worker pool while the server runs. */
#include "admin.h"

#include <string.h>
#include <unistd.h>

#define COUNTED_MAX 100000 /* rows that are of no use: more are "more" */

/* ---- statements */

static const struct sql sql_entries = {
	.name = "db_entries",
	.text = "select count(*) from (select 1 from entry e left join account a on a.id = e.owner"
		" where a.id is null limit 100000) x",
};
static const struct sql sql_transit = {
	.name = "db_transit",
	.text = "select count(*) from (select 1 from transit limit 100000) x",
};
static const struct sql sql_import = {
	.name = "db_import",
	.text = "select count(*) from (select 1 from import limit 100000) x",
};
static const struct sql sql_unusable = {
	.name = "db_unusable",
	.text = "select count(*) from (select 1 from account where salt is null limit 100000) x",
};

/* What is looked at, and what to do about it. */
static const struct look {
	const struct sql *sql;
	const char *what, *advice;
	bool is_leftover; /* only where no server runs: then nobody is at it */
} looks[] = {
	{ &sql_entries, "archive rows of accounts that are gone",
	  "They go by themselves within a day, when musterd runs.", true },
	{ &sql_transit, "stanzas on their way", "They go on when musterd starts.", true },
	{ &sql_import, "rows of imports that did not end", "They are removed when musterd starts.", true },
	{ &sql_unusable, "accounts without keys, which cannot log in",
	  "Give them one with \"musterctl user passwd\".", false },
};

/* ---- the report */

struct report {
	struct request *request;
	const struct database_options *options;
	struct database *open; /* the server's; NULL where it does not run */
	bool migrates, is_offline;
	json_t *result;
	char *error;
	uv_work_t work;
};

static void on_count(void *arg, const struct rows *rows)
{
	*(int64_t *)arg = rows_int(rows, 0, 0);
}

static void note_migration(void *arg, unsigned number, const char *name, bool is_applied)
{
	json_t *result = arg;

	if (is_applied)
		json_object_set_new(result, "schema", json_integer(number));
	else
		json_array_append_new(json_object_get(result, "pending"), json_string(name));
}

static void advise(struct report *p, const char *finding, const char *advice)
{
	json_array_append_new(json_object_get(p->result, "findings"),
	                      json_pack("{s:s, s:s}", "finding", finding, "advice", advice));
}

static void note_durability(struct report *p, struct database *db)
{
	char *text = database_durability(db);

	json_object_set_new(p->result, "durability", json_string(text));
	if (strncmp(text, "synchronous_commit=off", 22) == 0)
		advise(p, "PostgreSQL may lose what it has confirmed",
		       "Set synchronous_commit and fsync to on, for this database or its user.");
	mem_free(text);
}

static bool look_at(struct report *p, struct database *db, const struct look *look)
{
	int64_t count = 0;

	if (look->is_leftover && !p->is_offline)
		return true;
	if (!database_run(db, look->sql, NO_PARAMS, on_count, &count, &p->error))
		return false;
	if (count == 0)
		return true;
	char *finding =
	    mem_printf("%lld%s %s", (long long)count, count == COUNTED_MAX ? " or more" : "", look->what);
	advise(p, finding, look->advice);
	mem_free(finding);
	return true;
}

static void examine(struct report *p, struct database *db)
{
	if (!database_migrations(db, note_migration, p->result, &p->error))
		return;
	note_durability(p, db);
	if (json_array_size(json_object_get(p->result, "pending"))) {
		advise(p, "the tables are not up to date",
		       "Make a backup, then \"musterctl db migrate\", or "
		       "start musterd, which does the same.");
		return;
	}
	for (unsigned i = 0; i < COUNT_OF(looks); i++) {
		if (!look_at(p, db, &looks[i]))
			return;
	}
}

/* False: with SQLite, opening it would make it. */
static bool database_is_there(struct report *p)
{
	const struct database_options *o = p->options;

	if (o->is_postgresql || p->migrates || access(o->path, F_OK) == 0)
		return true;
	advise(p, "the database is not there yet",
	       "\"musterctl db migrate\" makes it, or the start of musterd.");
	return false;
}

static void work(uv_work_t *w)
{
	struct report *p = w->data;
	struct database_options o = *p->options;

	p->result = json_pack(
	    "{s:s, s:s, s:i, s:[], s:[]}", "engine", o.is_postgresql ? "postgresql" : "sqlite", "place",
	    o.is_postgresql ? "(store.conninfo)" : o.path, "schema", 0, "pending", "findings");
	if (p->open) {
		examine(p, p->open);
		return;
	}
	o.keeps_schema = !p->migrates;
	struct database *db = database_is_there(p) ? database_open(&o, &p->error) : NULL;
	if (!db)
		return;
	examine(p, db);
	database_close(db);
}

static void on_examined(uv_work_t *w, int status)
{
	struct report *p = w->data;
	char *error = p->error; /* the report ends with its request */

	(void)status;
	if (error) {
		json_decref(p->result);
		request_fail(p->request, CONTROL_AWAY, error, NULL);
	} else {
		request_done(p->request, p->result);
	}
	mem_free(error);
}

static void report_start(struct request *r, bool migrates)
{
	const struct server *srv = request_server(r);
	struct report *p = arena_zalloc(request_arena(r), sizeof(*p));

	p->request = r;
	p->options = &srv->database_options;
	p->open = srv->db;
	p->is_offline = srv->admin_fd >= 0;
	p->migrates = migrates && p->is_offline;
	p->work.data = p;
	if (srv->reactors) {
		ASSERT(uv_queue_work(&admin_reactor(r)->loop, &p->work, work, on_examined) == 0);
	} else {
		work(&p->work);
		on_examined(&p->work, 0);
	}
}

void admin_db_check(struct request *r)
{
	report_start(r, false);
}

void admin_db_migrate(struct request *r)
{
	report_start(r, !request_bool(r, "dry_run", false));
}

/* ---- where no server runs and the tables may be old */

static const struct argument migrate_arguments[] = {
	{ "dry_run", ARGUMENT_BOOL, false, "whether to say only what would be done; false" },
	{ 0 },
};
static const struct command commands[] = {
	{ "db check", "Examines the database.", NULL, admin_db_check },
	{ "db migrate", "Brings the tables up to date.", migrate_arguments, admin_db_migrate },
	{ 0 },
};

static void on_closed(void *arg)
{
	((struct server *)arg)->control = NULL;
}

static void on_ended(void *arg)
{
	struct server *srv = arg;

	control_close(srv->control, on_closed, srv);
}

void admin_db_serve(struct server *srv)
{
	uv_loop_t loop;

	ASSERT(uv_loop_init(&loop) == 0);
	srv->control = control_adopt(&loop, srv->admin_fd, commands, srv, on_ended);
	uv_run(&loop, UV_RUN_DEFAULT);
	ASSERT(uv_loop_close(&loop) == 0);
}
