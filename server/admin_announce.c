/* admin_announce.c - the administrator speaks to a host's users: to those who are there now, or to every
 * account, page by page, no faster than their homes wake. From the host's own address, and on record like
 * any other message. */
#include "admin.h"

#include <stdio.h>
#include <string.h>

#include "home.h"
#include "router.h"

#define PAGE 200
#define WAKING_ENOUGH 1000 /* homes that wake: the next page waits until there are fewer */
#define WAIT_MS 100

static const struct sql sql_names = {
	.name = "announce_names",
	.text = "select name from account where host = $1 and name > $2 and disabled = 0"
		" order by name limit $3",
};

struct announcement {
	struct request *request;
	struct jid *host; /* references */
	struct stanza *message;
	int64_t host_id;
	unsigned reached, waking;
	struct timer timer;
	char after[JID_PART_MAX + 1];
};

static void on_end(void *arg)
{
	struct announcement *a = arg;

	stanza_unref(a->message);
	jid_unref(a->host);
}

static void send_to(struct reactor *r, struct announcement *a, struct jid *account)
{
	struct envelope *e = envelope_new(r, ENV_STANZA);
	enum home_kind kind;
	unsigned target = router_home_of(r, account, &kind);

	e->dir = IN;
	e->home_kind = (uint8_t)kind;
	e->from = jid_ref(a->host);
	e->to = jid_ref(account);
	e->stanza = stanza_ref(a->message);
	e->trace = ++r->trace;
	reactor_post(r, target, e);
	a->reached++;
}

static void done(struct announcement *a)
{
	request_done(a->request,
	             json_pack("{s:s, s:i}", "host", a->host->text, "reached", (int)a->reached));
}

/* ---- to those who are there */

static bool is_available(struct home *h)
{
	const struct session *s;

	SESSION_EACH (s, h)
		if (s->presence)
			return true;
	return false;
}

/* Runs on each reactor, one after the other. */
static void tell_online(struct reactor *r, void *arg)
{
	struct announcement *a = arg;
	struct hash_node *n = NULL;

	while ((n = hash_walk(&r->homes, n))) {
		struct home *h = CONTAINER_OF(n, struct home, node);

		if (h->kind == HOME_USER && jid_domain_len(h->jid) == a->host->len &&
		    memcmp(jid_domain(h->jid), a->host->text, a->host->len) == 0 && is_available(h))
			send_to(r, a, h->jid);
	}
}

static void on_online_told(struct server *srv, void *arg)
{
	(void)srv;
	done(arg);
}

/* ---- to all */

static void on_page(void *arg, const struct rows *rows);

static void next_page(struct announcement *a)
{
	store_read(admin_reactor(a->request)->store, 0, &sql_names,
	           PARAMS(P_INT(a->host_id), P_TEXT(a->after), P_INT(PAGE)), on_page, a);
}

static void count_waking(struct reactor *r, void *arg)
{
	struct announcement *a = arg;

	a->waking += r->waking_homes;
}

static void on_waking_counted(struct server *srv, void *arg)
{
	struct announcement *a = arg;

	if (a->waking < WAKING_ENOUGH)
		next_page(a);
	else
		timer_set(&srv->reactors[0]->wheel, &a->timer, WAIT_MS);
}

static void wait_for_homes(struct announcement *a)
{
	a->waking = 0;
	server_each(request_server(a->request), count_waking, on_waking_counted, a);
}

static void on_timer(struct timer *t)
{
	wait_for_homes(CONTAINER_OF(t, struct announcement, timer));
}

static void on_progress_taken(void *arg)
{
	wait_for_homes(arg);
}

/* Who gives the command up does not stop it: nobody could say who has got the message. */
static void on_page(void *arg, const struct rows *rows)
{
	struct announcement *a = arg;
	unsigned count = rows_count(rows);

	if (!admin_store_ok(a->request, rows))
		return;
	for (unsigned i = 0; i < count; i++) {
		struct jid *account = jid_make(rows_text(rows, i, 0), a->host->text, NULL);

		if (account)
			send_to(admin_reactor(a->request), a, account);
		jid_unref(account);
	}
	if (count < PAGE) {
		done(a);
		return;
	}
	snprintf(a->after, sizeof a->after, "%s", rows_text(rows, count - 1, 0));
	if (!request_progress(a->request, json_pack("{s:i}", "reached", (int)a->reached), on_progress_taken,
	                      a))
		wait_for_homes(a);
}

/* ---- the command */

void admin_announce(struct request *r)
{
	const struct host *host = admin_host(r, request_arg(r, "host"));

	if (!host)
		return;
	const char *subject = request_arg(r, "subject");
	bool is_all = request_bool(r, "all", false);
	struct announcement *a;
	a = arena_zalloc(request_arena(r), sizeof *a);
	a->request = r;
	a->host = jid_ref(host->jid);
	a->host_id = host->id;
	a->message = stanza_new(STANZA_MESSAGE, is_all ? MESSAGE_NORMAL : MESSAGE_HEADLINE, NULL);
	timer_init(&a->timer, on_timer);
	request_at_end(r, on_end, a);
	if (subject)
		element_add_text(a->message, a->message->root, "subject", NULL, subject);
	element_add_text(a->message, a->message->root, "body", NULL, request_arg(r, "text"));
	stanza_seal(a->message);
	if (is_all)
		next_page(a);
	else
		server_each(request_server(r), tell_online, on_online_told, a);
}
