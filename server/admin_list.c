/* admin_list.c - the administrator's views of accounts: one of them, lists of them, and all that is needed to
 * make them again elsewhere. */
#include "admin.h"

#include <stdio.h>
#include <string.h>

#include "base64.h"
#include "home.h"
#include "router.h"

#define PAGE 1000
#define ENTRIES_COUNTED 10000 /* of an archive: counting more takes too long */

/* ---- statements */

static const struct sql sql_list = {
	.name = "user_list",
	.text =
	    "select a.name, a.created, a.disabled, coalesce(a.display, v.full_name), a.email from account a"
	    " left join vcard v on v.owner = a.id where a.host = $1 and a.name > $2 order by a.name"
	    " limit $3",
};

/* A JSON array of the names of an account's groups. */
#define GROUPS(array)                                                                                      \
	" (select " array " from (select g.name from contact_group_member m join contact_group g"          \
	" on g.id = m.contact_group where m.account = a.id order by g.name) x)"

#define EXPORT(array)                                                                                      \
	"select a.name, a.created, a.disabled, a.display, a.email, a.iterations, a.salt, a.stored_sha1,"   \
	" a.server_sha1, a.stored_sha256, a.server_sha256," GROUPS(                                        \
	    array) " from account a where a.host = $1 and a.name > $2 and a.guest = 0 order by a.name "    \
		   "limit $3"

static const struct sql sql_export = {
	.name = "user_export",
	.text = EXPORT("json_agg(x.name)::text"),
	.sqlite = EXPORT("json_group_array(x.name)"),
};

#define SHOW(array)                                                                                        \
	"select a.created, a.disabled, a.iterations, a.stored_sha1 is not null, a.stored_sha256 is not"    \
	" null, l.since, a.display, a.email,"                                                              \
	" (select count(*) from roster r where r.owner = a.id and r.in_roster = 1),"                       \
	" (select count(*) from (select 1 from entry e where e.owner = a.id limit 10000) x), "             \
	"v.full_name," GROUPS(                                                                             \
	    array) " from account a join host h on h.id = a.host left join vcard v on v.owner = a.id"      \
		   " left join last_activity l on l.owner = a.id where h.name = $1 and a.name = $2"

static const struct sql sql_show = {
	.name = "user_show",
	.text = SHOW("json_agg(x.name)::text"),
	.sqlite = SHOW("json_group_array(x.name)"),
};

/* ---- user list and user export: host by host, a page after the other */

struct list_job {
	struct request *request;
	struct hosts *hosts; /* a reference */
	unsigned host, end;  /* in hosts: the present one, and behind the last */
	bool is_export, has_keys;
	char after[JID_PART_MAX + 1];
	struct arena page; /* texts until they are in JSON */
};

static void on_list_end(void *arg)
{
	struct list_job *job = arg;

	hosts_unref(job->hosts);
	arena_free(&job->page);
}

static void on_page(void *arg, const struct rows *rows);

static void list_read(struct list_job *job)
{
	store_read(admin_reactor(job->request)->store, 0, job->is_export ? &sql_export : &sql_list,
	           PARAMS(P_INT(job->hosts->list[job->host].id), P_TEXT(job->after), P_INT(PAGE)), on_page,
	           job);
}

static void list_go_on(void *arg)
{
	struct list_job *job = arg;
	const struct server *srv = request_server(job->request);

	if (srv->is_stopping || request_is_gone(job->request) || job->host == job->end)
		request_done(job->request, NULL);
	else
		list_read(job);
}

static json_t *text_or_null(const struct rows *rows, unsigned i, unsigned column)
{
	const char *text = rows_text(rows, i, column);

	return text ? json_string(text) : json_null();
}

static json_t *groups_json(const struct rows *rows, unsigned i, unsigned column)
{
	const char *text = rows_text(rows, i, column);
	json_t *groups = text ? json_loads(text, 0, NULL) : NULL;

	return groups ? groups : json_array();
}

static json_t *bytes_json(struct list_job *job, const struct rows *rows, unsigned i, unsigned column)
{
	size_t n = 0;
	const char *bytes = rows_bytes(rows, i, column, &n);

	return bytes ? json_string(base64_encode(&job->page, bytes, n)) : json_null();
}

static json_t *account_json(struct list_job *job, const struct rows *rows, unsigned i)
{
	static const char *const keys[] = { "salt", "stored_sha1", "server_sha1", "stored_sha256",
		                            "server_sha256" };
	char *jid = mem_printf("%s@%s", rows_text(rows, i, 0), job->hosts->list[job->host].jid->text);
	json_t *account =
	    json_pack("{s:s, s:o, s:b, s:o, s:o}", "jid", jid, "created",
	              admin_time(rows_int(rows, i, 1) / 1000000), "disabled", rows_int(rows, i, 2) != 0,
	              "name", text_or_null(rows, i, 3), "email", text_or_null(rows, i, 4));

	mem_free(jid);
	if (job->is_export)
		json_object_set_new(account, "groups", groups_json(rows, i, 11));
	if (!job->has_keys)
		return account;
	json_object_set_new(account, "iterations",
	                    rows_is_null(rows, i, 5) ? json_null() : json_integer(rows_int(rows, i, 5)));
	for (unsigned k = 0; k < COUNT_OF(keys); k++)
		json_object_set_new(account, keys[k], bytes_json(job, rows, i, 6 + k));
	return account;
}

static void on_page(void *arg, const struct rows *rows)
{
	struct list_job *job = arg;

	if (!admin_store_ok(job->request, rows))
		return;
	json_t *page = json_array();
	unsigned count = rows_count(rows);
	for (unsigned i = 0; i < count; i++)
		json_array_append_new(page, account_json(job, rows, i));
	arena_free(&job->page);
	snprintf(job->after, sizeof(job->after), "%s", count == PAGE ? rows_text(rows, count - 1, 0) : "");
	if (count < PAGE)
		job->host++;
	if (!request_progress(job->request, json_pack("{s:o}", "users", page), list_go_on, job))
		request_done(job->request, NULL);
}

static void list_start(struct request *r, bool is_export, bool has_keys)
{
	const char *name = request_arg(r, "host");
	const struct host *only = name ? admin_host(r, name) : NULL;

	if (name && !only)
		return;
	struct hosts *hosts = admin_reactor(r)->hosts;
	struct list_job *job = arena_zalloc(request_arena(r), sizeof(*job));
	job->request = r;
	job->is_export = is_export;
	job->has_keys = has_keys;
	job->hosts = hosts_ref(hosts);
	job->host = only ? (unsigned)(only - hosts->list) : 0;
	job->end = only ? job->host + 1 : hosts->count;
	request_at_end(r, on_list_end, job);
	list_go_on(job);
}

void admin_user_list(struct request *r)
{
	list_start(r, false, false);
}

void admin_user_export(struct request *r)
{
	list_start(r, true, request_bool(r, "keys", false));
}

/* ---- user show: what is stored, then what is connected */

struct show_job {
	struct request *request;
	const struct jid *jid;
	json_t *result;
};

static void on_shown(struct reactor *r, void *arg)
{
	struct show_job *job = arg;

	(void)r;
	request_done(job->request, job->result);
}

/* Runs in the home's reactor. */
static void show_sessions(struct reactor *r, void *arg)
{
	struct show_job *job = arg;
	struct home *h = home_find(r, job->jid);
	struct session *s;
	json_t *sessions = json_array();

	if (h) {
		SESSION_EACH (s, h)
			json_array_append_new(sessions,
			                      admin_session_json(s->full->text, s->since, s->peer,
			                                         s->mechanism, s->tls, s->presence != NULL,
			                                         session_is_waiting(s), s->priority));
	}
	json_object_set_new(job->result, "sessions", sessions);
	reactor_post_run(r, 0, on_shown, job);
}

/* "SCRAM-SHA-1, SCRAM-SHA-256, 10000 iterations" */
static json_t *keys_json(const struct rows *rows)
{
	char text[80];
	bool has_sha1 = rows_int(rows, 0, 3) != 0, has_sha256 = rows_int(rows, 0, 4) != 0;

	if (!has_sha1 && !has_sha256)
		return json_string("none: cannot log in");
	snprintf(text, sizeof(text), "%s%s%s, %lld iterations", has_sha1 ? "SCRAM-SHA-1" : "",
	         has_sha1 && has_sha256 ? ", " : "", has_sha256 ? "SCRAM-SHA-256" : "",
	         (long long)rows_int(rows, 0, 2));
	return json_string(text);
}

static void on_show(void *arg, const struct rows *rows)
{
	struct show_job *job = arg;
	struct reactor *r = admin_reactor(job->request);
	enum home_kind kind;

	if (!admin_store_ok(job->request, rows))
		return;
	if (rows_count(rows) == 0) {
		admin_refuse_unknown(job->request, job->jid->text);
		return;
	}
	int64_t since = rows_int(rows, 0, 5), entries = rows_int(rows, 0, 9);
	job->result =
	    json_pack("{s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:b}", "jid", job->jid->text,
	              "created", admin_time(rows_int(rows, 0, 0) / 1000000), "disabled",
	              rows_int(rows, 0, 1) != 0, "keys", keys_json(rows), "last_activity",
	              since ? admin_time(since / 1000000) : json_null(), "name", text_or_null(rows, 0, 6),
	              "email", text_or_null(rows, 0, 7), "card_name", text_or_null(rows, 0, 10), "groups",
	              groups_json(rows, 0, 11), "contacts", (json_int_t)rows_int(rows, 0, 8), "entries",
	              (json_int_t)entries, "more_entries", entries == ENTRIES_COUNTED);
	reactor_post_run(r, router_home_of(r, job->jid, &kind), show_sessions, job);
}

void admin_user_show(struct request *r)
{
	const struct jid *j = admin_account(r, false);

	if (!j)
		return;
	struct show_job *job = arena_zalloc(request_arena(r), sizeof(*job));
	*job = (struct show_job){ .request = r, .jid = j };
	store_read(admin_reactor(r)->store, 0, &sql_show,
	           PARAMS(P_TEXTN(jid_domain(j), jid_domain_len(j)), P_TEXTN(j->text, j->local_len)),
	           on_show, job);
}
