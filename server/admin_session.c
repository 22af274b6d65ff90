/* admin_session.c - the administrator's commands about sessions: they are in the homes, so each reactor is
 * asked for its own. */
#include "admin.h"

#include <stdlib.h>
#include <string.h>

#include "home.h"
#include "router.h"
#include "stream.h"

#define PAGE 1000

/* ---- session list: copied from all reactors, then sorted, then shown page by page */

struct session_row {
	struct jid *jid; /* a reference */
	int64_t since;
	int8_t priority;
	bool is_available, is_waiting;
	char peer[sizeof(((struct session *)0)->peer)];
	const char *mechanism, *tls;
};

struct session_list {
	struct request *request;
	const char *domain; /* only this one; NULL: all */
	struct session_row *rows;
	size_t count, cap, shown;
};

static void on_list_end(void *arg)
{
	struct session_list *list = arg;

	for (size_t i = 0; i < list->count; i++)
		jid_unref(list->rows[i].jid);
	mem_free(list->rows);
}

static struct session_row *row_add(struct session_list *list)
{
	if (list->count == list->cap) {
		list->cap = list->cap ? 2 * list->cap : 64;
		list->rows = mem_realloc(list->rows, list->cap * sizeof(*list->rows));
	}
	return &list->rows[list->count++];
}

static bool is_of_domain(const struct jid *j, const char *domain)
{
	return !domain || (strlen(domain) == jid_domain_len(j) &&
	                   memcmp(domain, jid_domain(j), jid_domain_len(j)) == 0);
}

/* Runs on each reactor, one after the other. */
static void list_add(struct reactor *r, void *arg)
{
	struct session_list *list = arg;
	struct hash_node *n = NULL;

	while ((n = hash_walk(&r->homes, n))) {
		struct home *h = CONTAINER_OF(n, struct home, node);
		struct session *s;

		if (!is_of_domain(h->jid, list->domain))
			continue;
		SESSION_EACH (s, h) {
			struct session_row *row = row_add(list);
			*row = (struct session_row){
				.jid = jid_ref(s->full),
				.since = s->since,
				.priority = s->priority,
				.is_available = s->presence != NULL,
				.is_waiting = session_is_waiting(s),
				.mechanism = s->mechanism,
				.tls = s->tls,
			};
			memcpy(row->peer, s->peer, sizeof(row->peer));
		}
	}
}

static int row_compare(const void *a, const void *b)
{
	const struct session_row *x = a, *y = b;

	return strcmp(x->jid->text, y->jid->text);
}

/* Of a session that waits `peer` is where its client was. */
json_t *admin_session_json(const char *jid, int64_t since, const char *peer, const char *mechanism,
                           const char *tls, bool is_available, bool is_waiting, int priority)
{
	return json_pack("{s:s, s:o, s:s, s:b, s:b, s:i, s:o}", "jid", jid, "since",
	                 admin_time(since / 1000000), "peer", peer, "connected", (int)!is_waiting,
	                 "available", (int)is_available, "priority", priority, "login",
	                 json_sprintf("%s%s%s", mechanism, tls ? ", " : "", tls ? tls : ""));
}

static json_t *row_json(const struct session_row *row)
{
	return admin_session_json(row->jid->text, row->since, row->peer, row->mechanism, row->tls,
	                          row->is_available, row->is_waiting, row->priority);
}

static void list_show(void *arg)
{
	struct session_list *list = arg;
	json_t *page = json_array();

	for (size_t end = list->shown + PAGE; list->shown < list->count && list->shown < end; list->shown++)
		json_array_append_new(page, row_json(&list->rows[list->shown]));
	if (list->shown == list->count)
		request_done(list->request, json_pack("{s:o}", "sessions", page));
	else if (!request_progress(list->request, json_pack("{s:o}", "sessions", page), list_show, list))
		request_done(list->request, NULL);
}

static void on_listed(struct server *srv, void *arg)
{
	struct session_list *list = arg;

	(void)srv;
	if (list->count)
		qsort(list->rows, list->count, sizeof(*list->rows), row_compare);
	list_show(list);
}

void admin_session_list(struct request *r)
{
	const char *name = request_arg(r, "host");
	const struct host *only = name ? admin_host(r, name) : NULL;

	if (name && !only)
		return;
	struct session_list *list = arena_zalloc(request_arena(r), sizeof(*list));
	list->request = r;
	list->domain = only ? arena_strdup(request_arena(r), only->jid->text) : NULL;
	request_at_end(r, on_list_end, list);
	server_each(request_server(r), list_add, on_listed, list);
}

/* ---- session kick */

struct kick {
	struct request *request;
	const struct jid *jid;
	unsigned ended;
};

static void on_kicked(struct reactor *r, void *arg)
{
	struct kick *k = arg;

	(void)r;
	if (k->ended)
		request_done(k->request,
		             json_pack("{s:s, s:i}", "jid", k->jid->text, "ended", (int)k->ended));
	else
		request_failf(k->request, CONTROL_REFUSED,
		              "\"musterctl session list\" shows who is connected.",
		              "There is no session of %s.", k->jid->text);
}

/* Runs in the home's reactor. The sessions end when their streams have closed. */
static void kick_home(struct reactor *r, void *arg)
{
	struct kick *k = arg;
	struct home *h = home_find(r, k->jid);
	struct session *s;

	if (h) {
		SESSION_EACH (s, h) {
			if (jid_has_resource(k->jid) && !jid_is(s->full, k->jid))
				continue;
			session_close_stream(s, STREAM_POLICY_VIOLATION,
			                     "An administrator has ended this session.");
			k->ended++;
		}
	}
	reactor_post_run(r, 0, on_kicked, k);
}

void admin_session_kick(struct request *r)
{
	struct jid *j = admin_account(r, true);

	if (!j)
		return;
	struct kick *k = arena_zalloc(request_arena(r), sizeof(*k));
	enum home_kind kind;
	*k = (struct kick){ .request = r, .jid = j };
	reactor_post_run(admin_reactor(r), router_home_of(admin_reactor(r), j, &kind), kick_home, k);
}
