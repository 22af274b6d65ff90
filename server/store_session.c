/* store_session.c - what blocks: statements at the start, and sessions for long work in the worker pool, where a
 * slow answer makes nobody believe that the database is away. */
#include "store_engine.h"

struct database_session {
	struct database *db;
	void *part; /* the engine's */
};

/* PostgreSQL: nobody waits for ever; SQLite has no such limit, and no locks against those who read. */
static const char patience[] = "set statement_timeout = '100s'";
static const char one_moment[] = "begin transaction isolation level repeatable read, read only";

struct database_session *database_session_open(struct database *db, bool at_one_moment, char **error)
{
	const struct engine *engine = db->engine;
	void *part = engine->session_open(db, error);

	if (!part)
		return NULL;
	if (db->options.is_postgresql &&
	    (!engine->session_script(part, patience, error) ||
	     (at_one_moment && !engine->session_script(part, one_moment, error)))) {
		engine->session_close(part);
		return NULL;
	}
	struct database_session *s = mem_zalloc(sizeof(*s));
	*s = (struct database_session){ .db = db, .part = part };
	return s;
}

bool database_session_run(struct database_session *s, const struct sql *sql, const struct param *params,
                          unsigned count, store_rows_fn *fn, void *arg, char **error)
{
	return s->db->engine->session_run(s->part, sql, params, count, fn, arg, error);
}

void database_session_close(struct database_session *s)
{
	if (!s)
		return;
	s->db->engine->session_close(s->part);
	mem_free(s);
}

bool database_run(struct database *db, const struct sql *sql, const struct param *params, unsigned count,
                  store_rows_fn *fn, void *arg, char **error)
{
	void *part = db->engine->session_open(db, error);

	if (!part)
		return false;
	bool is_ok = db->engine->session_run(part, sql, params, count, fn, arg, error);
	db->engine->session_close(part);
	return is_ok;
}
