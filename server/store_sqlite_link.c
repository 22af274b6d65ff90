/* store_sqlite_link.c - one SQLite connection: opening it, running statements that are prepared once, and
 * the blocking session for start-up. Used by one thread at a time. */
#include <string.h>

#include "log.h"
#include "store_sqlite.h"

struct prepared {
	struct hash_node node;
	const struct sql *sql;     /* the key is the address */
	sqlite3_stmt *stmt, *then; /* `then`: or NULL */
};

void link_close(struct link *l)
{
	struct hash_node *n;
	while ((n = hash_walk(&l->prepared, NULL))) {
		struct prepared *p = CONTAINER_OF(n, struct prepared, node);
		hash_remove(&l->prepared, n);
		sqlite3_finalize(p->stmt);
		sqlite3_finalize(p->then);
		mem_free(p);
	}
	hash_free(&l->prepared);
	sqlite3_close(l->db);
	l->db = NULL;
}

bool link_open(struct link *l, const struct database_options *o, const char *pragmas, char **error)
{
	memset(l, 0, sizeof *l);
	int rc = sqlite3_open_v2(o->path, &l->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(l->db, 1);
		sqlite3_busy_timeout(l->db, (int)o->timeout_ms);
		rc = sqlite3_exec(l->db, pragmas, NULL, NULL, NULL);
	}
	if (rc == SQLITE_OK)
		return true;
	*error =
	    mem_printf("cannot open the SQLite database %s: %s: musterd needs to read and write it and "
	               "its folder, and the file must be a SQLite database",
	               o->path, l->db ? sqlite3_errmsg(l->db) : sqlite3_errstr(rc));
	link_close(l);
	return false;
}

enum outcome outcome_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
		return OUTCOME_GOOD;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_FULL:
	case SQLITE_IOERR:
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_PROTOCOL:
	case SQLITE_INTERRUPT:
	case SQLITE_NOMEM:
	case SQLITE_PERM:
	case SQLITE_NOLFS:
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return OUTCOME_AWAY;
	default:
		return OUTCOME_REFUSED;
	}
}

/* What the text holds, prepared, or NULL with the reason in *rc. */
static struct prepared *link_prepare(struct link *l, const struct sql *sql, int *rc)
{
	uint32_t hash = pointer_hash(sql);
	for (struct hash_node *n = hash_first(&l->prepared, hash); n; n = hash_next(n)) {
		struct prepared *p = CONTAINER_OF(n, struct prepared, node);
		if (p->sql == sql)
			return p;
	}
	sqlite3_stmt *stmt, *then = NULL;
	const char *rest;
	*rc = sqlite3_prepare_v3(l->db, sql->sqlite ? sql->sqlite : sql->text, -1,
	                         SQLITE_PREPARE_PERSISTENT, &stmt, &rest);
	if (*rc == SQLITE_OK && *rest)
		*rc = sqlite3_prepare_v3(l->db, rest, -1, SQLITE_PREPARE_PERSISTENT, &then, NULL);
	if (*rc != SQLITE_OK) {
		sqlite3_finalize(stmt);
		return NULL;
	}
	struct prepared *p = mem_zalloc(sizeof *p);
	p->sql = sql;
	p->stmt = stmt;
	p->then = then;
	hash_add(&l->prepared, &p->node, hash);
	return p;
}

static int params_bind(sqlite3_stmt *stmt, const struct param *params, unsigned count)
{
	int rc = SQLITE_OK;
	for (unsigned i = 0; i < count && rc == SQLITE_OK; i++) {
		const struct param *p = &params[i];
		int at = (int)i + 1;
		if (p->type == PARAM_INT)
			rc = sqlite3_bind_int64(stmt, at, p->number);
		else if (p->type == PARAM_TEXT)
			rc = sqlite3_bind_text64(stmt, at, p->data, p->len, SQLITE_STATIC, SQLITE_UTF8);
		else if (p->type == PARAM_BYTES)
			rc = sqlite3_bind_blob64(stmt, at, p->data, p->len, SQLITE_STATIC);
		else
			rc = sqlite3_bind_null(stmt, at);
	}
	return rc;
}

/* Appends the row the statement stands at. `cap` is the room in rows->cells, in rows. */
static void rows_add(struct rows *rows, unsigned *cap, sqlite3_stmt *stmt, struct arena *a)
{
	rows->columns = (unsigned)sqlite3_column_count(stmt);
	if (rows->count == *cap) {
		struct cell *old = rows->cells;
		*cap = *cap ? *cap * 2 : 1;
		rows->cells = arena_alloc(a, sizeof *old * rows->columns * *cap);
		if (old)
			memcpy(rows->cells, old, sizeof *old * rows->columns * rows->count);
	}
	struct cell *c = &rows->cells[(size_t)rows->columns * rows->count++];
	for (int i = 0; i < (int)rows->columns; i++, c++) {
		int type = sqlite3_column_type(stmt, i);
		*c = (struct cell){ 0 };
		if (type == SQLITE_INTEGER) {
			c->is_number = true;
			c->number = sqlite3_column_int64(stmt, i);
		} else if (type != SQLITE_NULL) {
			const void *data = type == SQLITE_BLOB ? sqlite3_column_blob(stmt, i)
			                                       : sqlite3_column_text(stmt, i);
			c->len = (size_t)sqlite3_column_bytes(stmt, i);
			c->data = arena_strndup(a, data ? data : "", c->len);
		}
	}
}

/* SQLITE_DONE or an error. */
static int statement_run(sqlite3_stmt *stmt, const struct param *params, unsigned count, struct rows *rows,
                         struct arena *a)
{
	unsigned cap = 0;
	int rc = params_bind(stmt, params, count);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW)
			rows_add(rows, &cap, stmt, a);
	}
	sqlite3_reset(stmt);
	return rc;
}

/* It has no rows, and may not use the last of the parameters. */
static int then_run(sqlite3_stmt *then, const struct param *params, unsigned count)
{
	unsigned used = (unsigned)sqlite3_bind_parameter_count(then);

	return statement_run(then, params, used < count ? used : count, NULL, NULL);
}

int link_run(struct link *l, const struct sql *sql, const struct param *params, unsigned count,
             struct rows *rows, struct arena *a)
{
	int rc = SQLITE_OK;
	*rows = (struct rows){ .status = STORE_OK };
	struct prepared *p = link_prepare(l, sql, &rc);
	if (p)
		rc = statement_run(p->stmt, params, count, rows, a);
	if (rc == SQLITE_DONE && p->then)
		rc = then_run(p->then, params, count);
	if (rc == SQLITE_DONE)
		return SQLITE_OK;
	*rows = (struct rows){ .status = outcome_of(rc) == OUTCOME_AWAY ? STORE_AWAY : STORE_FAILED };
	return rc;
}

int link_do(struct link *l, const struct sql *sql)
{
	struct rows none;
	return link_run(l, sql, NO_PARAMS, &none, NULL);
}

void link_log_refused(struct link *l, const struct sql *sql)
{
	log_error("store", NULL, "statement %s was refused: %s (%s)", sql->name, sqlite3_errmsg(l->db),
	          sql->sqlite ? sql->sqlite : sql->text);
}

char *link_durability(struct link *l)
{
	static const struct sql sync = { .name = "synchronous", .text = "pragma synchronous" };
	static const struct sql mode = { .name = "journal_mode", .text = "pragma journal_mode" };
	struct arena a = { 0 };
	struct rows r1, r2;
	char *text = NULL;
	if (link_run(l, &sync, NO_PARAMS, &r1, &a) == SQLITE_OK &&
	    link_run(l, &mode, NO_PARAMS, &r2, &a) == SQLITE_OK)
		text = mem_printf("synchronous=%d journal_mode=%s", (int)rows_int(&r1, 0, 0),
		                  rows_text(&r2, 0, 0));
	arena_free(&a);
	return text ? text : mem_strdup("unknown");
}

/* ---- a session */

void *sqlite_session_open(struct database *db, char **error)
{
	struct link *l = mem_zalloc(sizeof *l);
	if (link_open(l, &db->options, PRAGMAS_WRITER, error))
		return l;
	mem_free(l);
	return NULL;
}

void sqlite_session_close(void *session)
{
	link_close(session);
	mem_free(session);
}

bool sqlite_session_run(void *session, const struct sql *sql, const struct param *params, unsigned count,
                        store_rows_fn *fn, void *arg, char **error)
{
	struct link *l = session;
	struct arena a = { 0 };
	struct rows rows;
	bool is_ok = link_run(l, sql, params, count, &rows, &a) == SQLITE_OK;
	if (!is_ok)
		*error = mem_printf("SQLite refused statement %s: %s", sql->name, sqlite3_errmsg(l->db));
	else if (fn)
		fn(arg, &rows);
	arena_free(&a);
	return is_ok;
}

bool sqlite_session_script(void *session, const char *text, char **error)
{
	struct link *l = session;
	if (sqlite3_exec(l->db, text, NULL, NULL, NULL) == SQLITE_OK)
		return true;
	*error = mem_strdup(sqlite3_errmsg(l->db));
	return false;
}
