/* backup_sqlite.c - a SQLite database copied as it is at one moment, while musterd goes on
 * writing. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "backup.h"

#define PAGES_AT_ONCE 1024
#define BUSY_MS 10000

static bool complain_sqlite(struct call *c, sqlite3 *db, const char *path)
{
	return complain(c, CONTROL_BROKEN, NULL, "%s: SQLite says: %s.", path, sqlite3_errmsg(db));
}

static sqlite3 *open_file(struct call *c, const char *path, int flags)
{
	sqlite3 *db = NULL;

	if (sqlite3_open_v2(path, &db, flags, NULL) == SQLITE_OK) {
		sqlite3_busy_timeout(db, BUSY_MS);
		return db;
	}
	complain_sqlite(c, db, path);
	sqlite3_close(db);
	return NULL;
}

/* All steps read the moment at which the transaction has begun, so writers never make them start again. */
static bool copy_pages(struct call *c, sqlite3 *from, sqlite3 *to)
{
	sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
	struct progress p;
	int rc = SQLITE_OK;

	if (!b)
		return false;
	progress_begin(&p, c, "Copying", 0);
	while ((rc = sqlite3_backup_step(b, PAGES_AT_ONCE)) == SQLITE_OK) {
		p.total = (uint64_t)sqlite3_backup_pagecount(b);
		progress_show(&p, p.total - (uint64_t)sqlite3_backup_remaining(b));
	}
	progress_end(&p);
	return sqlite3_backup_finish(b) == SQLITE_OK && rc == SQLITE_DONE;
}

bool backup_sqlite(struct call *c, const char *from, const char *to)
{
	sqlite3 *source = open_file(c, from, SQLITE_OPEN_READWRITE);
	sqlite3 *target = source ? open_file(c, to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) : NULL;
	bool ok = false;

	if (target) {
		if (sqlite3_exec(source, "begin; select count(*) from schema_version", NULL, NULL, NULL))
			complain_sqlite(c, source, from);
		else if (!copy_pages(c, source, target) ||
		         sqlite3_exec(target, "pragma journal_mode = delete", NULL, NULL, NULL))
			complain_sqlite(c, target, to);
		else
			ok = true;
	}
	sqlite3_close(target);
	sqlite3_close(source);
	return ok;
}

/* The number that a statement of one row gives; -1: it failed. */
static json_int_t number_of(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *statement = NULL;
	json_int_t n = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		n = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return n;
}

static bool count_tables(sqlite3 *db, json_t *tables)
{
	sqlite3_stmt *names = NULL;
	bool ok = sqlite3_prepare_v2(db,
	                             "select name from sqlite_master where type = 'table'"
	                             " and name not like 'sqlite!_%' escape '!' order by name",
	                             -1, &names, NULL) == SQLITE_OK;

	while (ok && sqlite3_step(names) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(names, 0);
		char *sql = mem_printf("select count(*) from \"%s\"", name);
		json_int_t n = number_of(db, sql);

		mem_free(sql);
		json_object_set_new(tables, name, json_integer(n));
		ok = n >= 0;
	}
	sqlite3_finalize(names);
	return ok;
}

static bool is_whole(struct call *c, sqlite3 *db, const char *path)
{
	sqlite3_stmt *check = NULL;
	bool ok = sqlite3_prepare_v2(db, "pragma integrity_check(1)", -1, &check, NULL) == SQLITE_OK &&
	          sqlite3_step(check) == SQLITE_ROW;
	const char *answer = ok ? (const char *)sqlite3_column_text(check, 0) : sqlite3_errmsg(db);

	if (!ok || strcmp(answer, "ok") != 0)
		ok = complain(c, CONTROL_REFUSED, "Take an older backup.", "%s is damaged: %s.", path,
		              answer);
	sqlite3_finalize(check);
	return ok;
}

bool backup_sqlite_look(struct call *c, const char *path, json_t *tables, json_int_t *schema)
{
	sqlite3 *db = open_file(c, path, SQLITE_OPEN_READWRITE);

	if (!db)
		return false;
	bool ok = is_whole(c, db, path);
	if (ok) {
		*schema = number_of(db, "select max(number) from schema_version");
		ok = count_tables(db, tables) || complain_sqlite(c, db, path);
	}
	sqlite3_close(db);
	return ok;
}
