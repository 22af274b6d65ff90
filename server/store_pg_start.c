/* store_pg_start.c - PostgreSQL apart from the loop: values and errors as libpq has them, how every
 * connection is made, and what the node does once at start, where blocking is allowed. */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "store_pg.h"

/* PostgreSQL's own numbers for types, from its pg_type.dat; libpq has no header for them. */
enum { OID_BOOL = 16, OID_BYTEA = 17, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_TEXT = 25 };

#define PASSWORD_BYTES 1024
#define CONNECT_WORDS 6

/* ---- values on the wire: binary, with declared types */

Oid pg_param_oid(const struct param *p)
{
	static const Oid oids[] = {
		[PARAM_NULL] = 0, [PARAM_INT] = OID_INT8, [PARAM_TEXT] = OID_TEXT, [PARAM_BYTES] = OID_BYTEA
	};
	return oids[p->type];
}

size_t pg_params_encode(struct wire *w, const struct param *params, unsigned count)
{
	size_t bytes = 0;
	for (unsigned i = 0; i < count; i++) {
		const struct param *p = &params[i];
		w->formats[i] = 1;
		w->values[i] = p->data;
		w->lengths[i] = (int)p->len;
		if (p->type == PARAM_INT) {
			w->numbers[i] = htobe64((uint64_t)p->number);
			w->values[i] = (const char *)&w->numbers[i];
			w->lengths[i] = sizeof w->numbers[i];
		} else if (p->type == PARAM_NULL) {
			w->values[i] = NULL;
			w->lengths[i] = 0;
		}
		bytes += 8 + (size_t)w->lengths[i];
	}
	return bytes;
}

static int64_t int_decode(const char *data, int len)
{
	uint64_t n = 0;
	for (int i = 0; i < len; i++)
		n = n << 8 | (unsigned char)data[i];
	unsigned shift = 64 - 8 * (unsigned)len;
	return (int64_t)(n << shift) >> shift;
}

static bool is_number(Oid type)
{
	return type == OID_INT8 || type == OID_INT4 || type == OID_INT2 || type == OID_BOOL;
}

void pg_rows_fill(struct rows *rows, const PGresult *result, struct arena *a, bool is_kept)
{
	unsigned count = (unsigned)PQntuples(result), columns = (unsigned)PQnfields(result);
	*rows = (struct rows){ .status = STORE_OK, .count = count, .columns = columns };
	if (count == 0)
		return;
	struct cell *c = rows->cells = arena_zalloc(a, sizeof *c * count * columns);
	for (int row = 0; row < (int)count; row++)
		for (int col = 0; col < (int)columns; col++, c++) {
			if (PQgetisnull(result, row, col))
				continue;
			const char *data = PQgetvalue(result, row, col);
			int len = PQgetlength(result, row, col);
			c->is_number = is_number(PQftype(result, col));
			if (c->is_number) {
				c->number = int_decode(data, len);
			} else {
				c->len = (size_t)len;
				c->data = is_kept ? arena_strndup(a, data, c->len) : data;
			}
		}
}

/* Classes and codes of PostgreSQL's manual, appendix A. */
bool pg_is_transient(const PGresult *result)
{
	static const char *const classes[] = { "08",    "40",    "53",    "57",    "58",
		                               "25006", "55P03", "42501", "XX001", "XX002" };
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (!state)
		return true; /* libpq's own: the connection */
	for (unsigned i = 0; i < COUNT_OF(classes); i++)
		if (strncmp(state, classes[i], strlen(classes[i])) == 0)
			return true;
	return false;
}

/* Only the first line: details may quote values. */
const char *pg_error_text(const PGresult *result)
{
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	return text ? text : PQresultErrorMessage(result);
}

void pg_log_refused(const struct sql *sql, const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (state && strcmp(state, "26000") == 0)
		return; /* "prepared statement does not exist": why not was said when it was prepared */
	log_error("store", NULL, "statement %s was refused: %s (%s)", sql->name, pg_error_text(result),
	          sql->text);
}

/* ---- making a connection */

/* The first line of the file, without its end. */
static bool password_read(const char *path, char password[PASSWORD_BYTES], char **error)
{
	struct stat st;
	FILE *f = fopen(path, "re");
	if (!f) {
		*error = mem_printf("cannot read the password of the store in %s: %s: musterd must be "
		                    "allowed to (store.password_file)",
		                    path, strerror(errno));
		return false;
	}
	bool is_private = fstat(fileno(f), &st) == 0 && !(st.st_mode & S_IRWXO);
	setvbuf(f, NULL, _IONBF, 0); /* leaves no copy behind */
	bool is_ok =
	    is_private && fgets(password, PASSWORD_BYTES, f) && (strchr(password, '\n') || feof(f));
	if (!is_private)
		*error =
		    mem_printf("the password of the store in %s can be read by everybody: chmod o= it, "
		               "and change the password",
		               path);
	else if (!is_ok)
		*error = mem_printf("the first line of %s must be the password of the store, of at most %d "
		                    "bytes",
		                    path, PASSWORD_BYTES - 2);
	fclose(f);
	password[strcspn(password, "\r\n")] = '\0';
	return is_ok;
}

PGconn *pg_connect(const struct database *db, const char *name, const char *timeout_s, char **error)
{
	const char *words[CONNECT_WORDS], *values[CONNECT_WORDS], *file = db->options.password_file;
	char password[PASSWORD_BYTES] = "";
	unsigned n = 0;
	if (file && !password_read(file, password, error))
		return NULL;
	words[n] = "dbname", values[n++] = db->options.conninfo; /* libpq takes it apart */
	words[n] = "application_name", values[n++] = name;
	words[n] = "client_encoding", values[n++] = "UTF8";
	if (file)
		words[n] = "password", values[n++] = password;
	if (timeout_s)
		words[n] = "connect_timeout", values[n++] = timeout_s;
	words[n] = NULL, values[n] = NULL;
	PGconn *pg =
	    timeout_s ? PQconnectdbParams(words, values, 1) : PQconnectStartParams(words, values, 1);
	explicit_bzero(password, sizeof password);
	ASSERT(pg);
	return pg;
}

void pg_on_notice(void *arg, const char *message)
{
	(void)arg;
	log_debug("store", NULL, "PostgreSQL says: %.*s", (int)strcspn(message, "\n"), message);
}

uv_poll_t *pg_poll_open(uv_loop_t *loop, const PGconn *pg, int events, uv_poll_cb fn, void *arg)
{
	uv_poll_t *poll = mem_alloc(sizeof *poll);

	if (uv_poll_init(loop, poll, PQsocket(pg)) != 0) {
		mem_free(poll);
		return NULL;
	}
	poll->data = arg;
	if (uv_poll_start(poll, events, fn) != 0)
		pg_poll_close(&poll);
	return poll;
}

static void on_poll_closed(uv_handle_t *handle)
{
	mem_free(handle);
}

void pg_poll_close(uv_poll_t **poll)
{
	if (*poll)
		uv_close((uv_handle_t *)*poll, on_poll_closed);
	*poll = NULL;
}

/* ---- sessions, for start-up: these block */

void *pg_session_open(struct database *db, char **error)
{
	PGconn *pg = pg_connect(db, "musterd starting", "10", error);
	if (!pg)
		return NULL;
	PQsetNoticeProcessor(pg, pg_on_notice, NULL);
	if (PQstatus(pg) == CONNECTION_OK)
		return pg;
	*error =
	    mem_printf("cannot connect to PostgreSQL: %sCheck that it runs, that `conninfo` of the store "
	               "names it, and that it lets this user in (pg_hba.conf)",
	               PQerrorMessage(pg));
	PQfinish(pg);
	return NULL;
}

void pg_session_close(void *session)
{
	PQfinish(session);
}

bool pg_session_run(void *session, const struct sql *sql, const struct param *params, unsigned count,
                    store_rows_fn *fn, void *arg, char **error)
{
	struct wire w;
	Oid types[PARAMS_MAX];
	ASSERT(count <= PARAMS_MAX);
	for (unsigned i = 0; i < count; i++)
		types[i] = pg_param_oid(&params[i]);
	pg_params_encode(&w, params, count);
	PGresult *result =
	    PQexecParams(session, sql->text, (int)count, types, w.values, w.lengths, w.formats, 1);
	ExecStatusType status = PQresultStatus(result);
	bool is_ok = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
	if (!is_ok) {
		*error =
		    mem_printf("PostgreSQL refused statement %s: %s", sql->name, pg_error_text(result));
	} else if (fn) {
		struct arena a = { 0 };
		struct rows rows;
		pg_rows_fill(&rows, result, &a, false);
		fn(arg, &rows);
		arena_free(&a);
	}
	PQclear(result);
	return is_ok;
}

bool pg_session_script(void *session, const char *text, char **error)
{
	PGresult *result = PQexec(session, text); /* the call that takes several statements */
	ExecStatusType status = PQresultStatus(result);
	bool is_ok = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
	if (!is_ok)
		*error = mem_strdup(pg_error_text(result));
	PQclear(result);
	return is_ok;
}

/* ---- the node's part */

static void on_durability(void *arg, const struct rows *rows)
{
	char **text = arg;
	*text = mem_printf("synchronous_commit=%s", rows_text(rows, 0, 0));
}

char *pg_durability(struct database *db)
{
	static const struct sql show = {
		.name = "durability",
		.text = "select case current_setting('fsync') when 'on' then "
			"current_setting('synchronous_commit') "
			"else 'off (fsync=off)' end",
	};
	char *text = NULL, *error = NULL;
	if (!database_run(db, &show, NO_PARAMS, on_durability, &text, &error))
		text = mem_strdup("unknown");
	mem_free(error);
	return text;
}

void pg_close(struct database *db)
{
	struct pg_node *node = db->part;

	/* The connections belong to the stores. */
	if (node->session)
		pg_session_close(node->session);
	mem_free(node->claim);
	mem_free(node);
}

bool pg_open(struct database *db, char **error)
{
	void *session = pg_session_open(db, error);
	if (!session)
		return false;
	db->part = mem_zalloc(sizeof(struct pg_node));
	if (!db->options.claim_wait_ms) {
		pg_session_close(session);
	} else if (!pg_claim_open(db, session, error)) {
		pg_session_close(session);
		pg_close(db);
		return false;
	}
	char *durability = pg_durability(db);
	if (strncmp(durability, "synchronous_commit=off", 22) == 0)
		log_warn("store", NULL,
		         "PostgreSQL is set to %s: what Muster acknowledged may be lost when the "
		         "machine fails; set synchronous_commit and fsync to on",
		         durability);
	mem_free(durability);
	return true;
}
