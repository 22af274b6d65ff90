/* backup_pg.c - a PostgreSQL database by its own tools, pg_dump and pg_restore, with the rows counted
 * at the very moment that is dumped. */
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backup.h"

#define CANNOT_RUN 127
#define LOOK_MS 200
#define PASSWORD_BYTES 1024

/* ---- the tools */

/* In the child. The password goes by its environment, which only this user and root can read. */
static void become_tool(const char *const *argv, const char *password, bool is_silent)
{
	int null = is_silent ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;

	if (null >= 0)
		dup2(null, STDOUT_FILENO);
	if (password)
		setenv("PGPASSWORD", password, 1);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(CANNOT_RUN);
}

/* Shows how large the file has become while the tool runs. */
static int wait_for(pid_t child, struct progress *p, const char *grows)
{
	struct timespec pause = { .tv_nsec = LOOK_MS * 1000000L };
	struct stat st;
	int status = 0;
	pid_t ended;

	while ((ended = waitpid(child, &status, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) {
		if (grows && stat(grows, &st) == 0)
			progress_show(p, (uint64_t)st.st_size);
		nanosleep(&pause, NULL);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Runs it; what it says on standard error is seen. */
static bool run_tool(struct call *c, const char *const *argv, const char *password, const char *title,
                     const char *grows)
{
	struct progress p;

	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		become_tool(argv, password, true);
	if (child < 0)
		return complain(c, CONTROL_BROKEN, NULL, "No process can be started: %s.", strerror(errno));
	progress_begin(&p, c, title, 0);
	int status = wait_for(child, &p, grows);
	progress_end(&p);
	if (status == CANNOT_RUN)
		return complain(c, CONTROL_BROKEN, "Install PostgreSQL's client tools (postgresql-client).",
		                "The program %s cannot be run.", argv[0]);
	return status == 0 || complain(c, CONTROL_REFUSED, NULL, "%s failed.", argv[0]);
}

/* ---- the database */

static bool complain_pg(struct call *c, PGconn *pg)
{
	const char *text = PQerrorMessage(pg);

	return complain(c, CONTROL_AWAY, "Does it run, and does it let this user in?",
	                "PostgreSQL says: %.*s", (int)strcspn(text, "\n"), text);
}

static PGconn *pg_connect(struct call *c, const char *conninfo, const char *password)
{
	const char *words[] = { "dbname", "application_name", "client_encoding",
		                password ? "password" : NULL, NULL };
	const char *values[] = { conninfo, "musterctl", "UTF8", password, NULL };
	PGconn *pg = PQconnectdbParams(words, values, 1);

	if (PQstatus(pg) == CONNECTION_OK)
		return pg;
	complain_pg(c, pg);
	PQfinish(pg);
	return NULL;
}

static PGresult *query(struct call *c, PGconn *pg, const char *sql)
{
	PGresult *result = PQexec(pg, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return result;
	complain_pg(c, pg);
	PQclear(result);
	return NULL;
}

/* The first value of the first row, which the caller frees; NULL: it has complained. */
static char *query_text(struct call *c, PGconn *pg, const char *sql)
{
	PGresult *result = query(c, pg, sql);
	char *text = result && PQntuples(result) ? mem_strdup(PQgetvalue(result, 0, 0)) : NULL;

	PQclear(result);
	return text;
}

static bool query_number(struct call *c, PGconn *pg, const char *sql, json_int_t *number)
{
	char *text = query_text(c, pg, sql);

	*number = text ? strtoll(text, NULL, 10) : 0;
	bool ok = text != NULL;
	mem_free(text);
	return ok;
}

static bool count_tables(struct call *c, PGconn *pg, json_t *tables, json_int_t *schema)
{
	PGresult *names = query(c, pg,
	                        "select relname, quote_ident(relname) from pg_class"
	                        " where relkind in ('r', 'p') and not relispartition"
	                        " and relnamespace::regnamespace::text = any (current_schemas(false))"
	                        " order by 1");
	bool ok = names != NULL;

	for (int i = 0; ok && i < PQntuples(names); i++) {
		char *sql = mem_printf("select count(*) from %s", PQgetvalue(names, i, 1));
		json_int_t n;

		ok = query_number(c, pg, sql, &n);
		json_object_set_new(tables, PQgetvalue(names, i, 0), json_integer(n));
		mem_free(sql);
	}
	PQclear(names);
	return ok && query_number(c, pg, "select max(number) from schema_version", schema);
}

/* ---- making one */

/* The first line of the file; NULL: it has complained. */
static char *load_password(struct call *c, const char *path)
{
	size_t n;
	char *text = file_load(c, path, PASSWORD_BYTES, &n);

	if (text)
		text[strcspn(text, "\r\n")] = '\0';
	return text;
}

static bool dump(struct call *c, PGconn *pg, const char *conninfo, const char *password, const char *to)
{
	char *moment = query_text(c, pg, "select pg_export_snapshot()");

	if (!moment)
		return false;
	const char *const argv[] = {
		"pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--snapshot",
		moment,    "--file",          to,           "--dbname",        conninfo,
		NULL
	};
	bool ok = run_tool(c, argv, password, "Dumping", to);
	mem_free(moment);
	return ok;
}

bool backup_pg(struct call *c, const struct store_conf *store, const char *to, json_t *tables,
               json_int_t *schema)
{
	char *password = store->password_file ? load_password(c, store->password_file) : NULL;

	if (store->password_file && !password)
		return false;
	PGconn *pg = pg_connect(c, store->conninfo, password);
	PGresult *begun =
	    pg ? query(c, pg, "begin transaction isolation level repeatable read, read only") : NULL;
	bool ok =
	    begun && dump(c, pg, store->conninfo, password, to) && count_tables(c, pg, tables, schema);
	PQclear(begun);
	PQfinish(pg);
	if (password)
		mem_free_secret(password, strlen(password));
	return ok;
}

/* ---- looking at one */

static bool restore(struct call *c, const char *path, const char *into, json_t *tables, json_int_t *schema)
{
	const char *const argv[] = {
		"pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--dbname", into,
		path,         NULL
	};
	json_int_t there = 0;
	PGconn *pg = pg_connect(c, into, NULL);
	bool ok = pg && query_number(c, pg,
	                             "select count(*) from pg_tables"
	                             " where schemaname = any (current_schemas(false))",
	                             &there);

	if (ok && there)
		ok = complain(c, CONTROL_REFUSED, "Name an empty database, made for this by createdb.",
		              "The database to restore into has %lld tables already.", (long long)there);
	ok = ok && run_tool(c, argv, NULL, "Restoring", NULL) && count_tables(c, pg, tables, schema);
	PQfinish(pg);
	return ok;
}

bool backup_pg_look(struct call *c, const char *path, const char *into, json_t *tables, json_int_t *schema)
{
	const char *const argv[] = { "pg_restore", "--list", path, NULL };

	return run_tool(c, argv, NULL, "Reading", NULL) &&
	       (!into || restore(c, path, into, tables, schema));
}
