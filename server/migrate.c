/* migrate.c - brings the tables up to date when the server starts: runs the numbered files of the
 * schema directory (001_core.sql, 002_...) that the database has not seen yet, each in a transaction,
 * and refuses a database that a newer Muster has been at. Called by database_open. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "store_engine.h"

struct migration {
	unsigned number;
	char *name; /* of its file */
};

struct migrations {
	char *dir;
	struct migration *list; /* by number */
	unsigned count;
};

static const struct sql sql_table = {
	.name = "migrate_table",
	.text = "create table if not exists schema_version ("
		"number bigint primary key, name text not null, applied bigint not null)",
	.sqlite = "create table if not exists schema_version ("
		  "number integer primary key, name text not null, applied integer not null) strict",
};
static const struct sql sql_newest = {
	.name = "migrate_newest",
	.text = "select coalesce(max(number), 0) from schema_version",
};
static const struct sql sql_applied = {
	.name = "migrate_applied",
	.text = "insert into schema_version (number, name, applied)"
		" values ($1, $2, (extract(epoch from now()) * 1000000)::bigint)",
	.sqlite =
	    "insert into schema_version (number, name, applied) values ($1, $2, unixepoch() * 1000000)",
};

static int by_number(const void *a, const void *b)
{
	const struct migration *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static void migrations_free(struct migrations *m)
{
	for (unsigned i = 0; i < m->count; i++)
		mem_free(m->list[i].name);
	mem_free(m->list);
	mem_free(m->dir);
}

/* "001_core.sql" is number 1; other files are none of ours. */
static unsigned number_of(const char *file)
{
	size_t len = strlen(file);

	if (len < 8 || strcmp(file + len - 4, ".sql") != 0 || file[3] != '_')
		return 0;
	for (int i = 0; i < 3; i++)
		if (!isdigit((unsigned char)file[i]))
			return 0;
	return (unsigned)strtoul(file, NULL, 10);
}

static bool migrations_find(struct migrations *m, const struct database *db, char **error)
{
	m->dir = mem_printf("%s/%s", db->options.schema_dir, db->engine->name);
	DIR *d = opendir(m->dir);
	if (!d) {
		*error = mem_printf("cannot read the schema in %s: %s: let `schema_dir` name the folder "
		                    "that was installed with this musterd",
		                    m->dir, strerror(errno));
		return false;
	}
	for (struct dirent *e; (e = readdir(d));) {
		unsigned number = number_of(e->d_name);

		if (number == 0)
			continue;
		m->list = mem_realloc(m->list, sizeof *m->list * (m->count + 1));
		m->list[m->count++] = (struct migration){ number, mem_strdup(e->d_name) };
	}
	closedir(d);
	if (m->count == 0) {
		*error = mem_printf("no schema in %s (001_core.sql and so on): let `schema_dir` name the "
		                    "folder that was installed with this musterd",
		                    m->dir);
		return false;
	}
	qsort(m->list, m->count, sizeof *m->list, by_number);
	return true;
}

static void on_newest(void *arg, const struct rows *rows)
{
	*(int64_t *)arg = rows_int(rows, 0, 0);
}

static bool newest_applied(const struct engine *e, void *session, int64_t *newest, char **error)
{
	return e->session_run(session, &sql_newest, NO_PARAMS, on_newest, newest, error);
}

static bool file_read(const char *path, struct buffer *text, char **error)
{
	FILE *f = fopen(path, "re");
	size_t n = 0;

	if (f)
		do {
			text->len += n;
			n = fread(buffer_reserve(text, 4096), 1, 4096, f);
		} while (n > 0);
	bool is_ok = f && !ferror(f);
	if (!is_ok)
		*error = mem_printf("cannot read %s: %s", path, strerror(errno));
	if (f)
		fclose(f);
	if (is_ok)
		buffer_adds(text, "");
	return is_ok;
}

static bool migration_run(const struct engine *e, void *session, const struct migration *m,
                          const char *text, char **error)
{
	int64_t newest = 0;

	if (!e->session_script(session, e->begin, error) || !newest_applied(e, session, &newest, error))
		return false;
	/* Another process may have been faster. */
	if (newest >= m->number)
		return e->session_script(session, "rollback", error);
	return e->session_script(session, text, error) &&
	       e->session_run(session, &sql_applied, PARAMS(P_INT(m->number), P_TEXT(m->name)), NULL, NULL,
	                      error) &&
	       e->session_script(session, "commit", error);
}

static bool migration_apply(const struct engine *e, void *session, const char *dir,
                            const struct migration *m, char **error)
{
	struct buffer text = { 0 };
	char *path = mem_printf("%s/%s", dir, m->name), *why = NULL;
	bool is_ok = file_read(path, &text, &why) && migration_run(e, session, m, text.data, &why);

	if (is_ok)
		log_info("store", NULL, "schema %s applied", m->name);
	else
		*error = mem_printf("the schema change %s failed and was undone: %s", path, why);
	mem_free(why);
	mem_free(path);
	buffer_free(&text);
	return is_ok;
}

static bool migrate_in(const struct engine *e, void *session, const struct migrations *m, char **error)
{
	int64_t newest = 0;
	unsigned known = m->list[m->count - 1].number;

	if ((e->lock && !e->session_script(session, e->lock, error)) ||
	    !e->session_run(session, &sql_table, NO_PARAMS, NULL, NULL, error) ||
	    !newest_applied(e, session, &newest, error))
		return false;
	if (newest > known) {
		*error = mem_printf("the database has schema %03d, and this musterd knows none beyond %03u "
		                    "(%s): start the newer musterd, or restore the backup from before it",
		                    (int)newest, known, m->dir);
		return false;
	}
	for (unsigned i = 0; i < m->count; i++)
		if (m->list[i].number > newest && !migration_apply(e, session, m->dir, &m->list[i], error))
			return false;
	return true;
}

bool migrate(struct database *db, char **error)
{
	struct migrations m = { 0 };
	bool is_ok = migrations_find(&m, db, error);

	if (is_ok) {
		void *session = db->engine->session_open(db, error);

		is_ok = session && migrate_in(db->engine, session, &m, error);
		if (session)
			db->engine->session_close(session);
	}
	migrations_free(&m);
	return is_ok;
}

/* ---- for whoever only looks */

static const struct sql sql_has_table = {
	.name = "migrate_has_table",
	.text = "select count(*) from pg_tables where tablename = 'schema_version'"
		" and schemaname = any (current_schemas(false))",
	.sqlite = "select count(*) from sqlite_master where name = 'schema_version'",
};

bool database_migrations(struct database *db,
                         void (*fn)(void *arg, unsigned number, const char *name, bool is_applied),
                         void *arg, char **error)
{
	struct migrations m = { 0 };
	int64_t has_table = 0, newest = 0;
	bool is_ok = migrations_find(&m, db, error) &&
	             database_run(db, &sql_has_table, NO_PARAMS, on_newest, &has_table, error) &&
	             (!has_table || database_run(db, &sql_newest, NO_PARAMS, on_newest, &newest, error));

	for (unsigned i = 0; is_ok && i < m.count; i++)
		fn(arg, m.list[i].number, m.list[i].name, m.list[i].number <= newest);
	migrations_free(&m);
	return is_ok;
}
