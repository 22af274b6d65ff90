/* live.c - what follows from a change by SQL. Notices are gathered for a moment, then one job after the
 * other is done: the hosts are read again; the accounts that were named get their addresses, and their homes on
 * all reactors read themselves again; groups are read again. What was named while a job ran is in the next one.
 *
 * After a gap in listening, and when a statement has changed many rows, everything of that kind is read
 * again: each home that is awake once. */
#include "live.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "directory.h"
#include "home.h"
#include "log.h"
#include "server.h"

#define GATHER_MS 50
#define RETRY_MS 1000   /* the database did not answer */
#define KEYS_BOUND 1000 /* named one by one; more of them are "all" */

/* Which rows of a kind. */
struct keys {
	bool all;
	unsigned count;
	int64_t ids[KEYS_BOUND];
};

struct live {
	struct server *server;
	struct listening *listening;
	struct timer timer;
	bool is_busy; /* a job is under way: its end starts the next one */
	bool is_closing;
	bool hosts;           /* to be read again */
	struct keys accounts; /* added, changed or removed */
	struct keys rosters;  /* of these accounts */
	struct keys groups;
};

/* The homes that one job is about. */
struct job {
	struct live *live;
	struct homes_changed changed;
	struct keys keys;
	struct jid **names;
	unsigned name_count;
};

static void live_go_on(struct live *l);

/* ---- keys */

static void keys_add(struct keys *k, int64_t id)
{
	for (unsigned i = 0; i < k->count; i++)
		if (k->ids[i] == id)
			return;
	if (k->count == KEYS_BOUND)
		k->all = true;
	else
		k->ids[k->count++] = id;
}

static bool keys_any(const struct keys *k)
{
	return k->all || k->count > 0;
}

static void keys_clear(struct keys *k)
{
	k->all = false;
	k->count = 0;
}

/* As PostgreSQL writes an array. */
static char *keys_text(const struct keys *k)
{
	struct buffer b = { 0 };

	for (unsigned i = 0; i < k->count; i++)
		buffer_addf(&b, "%s%" PRId64, i ? "," : "{", k->ids[i]);
	buffer_adds(&b, "}");
	return b.data;
}

/* ---- the homes */

static void job_free(struct job *j)
{
	for (unsigned i = 0; i < j->name_count; i++)
		jid_unref(j->names[i]);
	mem_free(j->names);
	mem_free(j);
}

static void job_end(struct live *l)
{
	l->is_busy = false;
	live_go_on(l);
}

static void homes_step(struct reactor *r, void *arg)
{
	struct job *j = arg;

	homes_reload(r, &j->changed);
}

static void homes_done(struct server *srv, void *arg)
{
	struct job *j = arg;
	struct live *l = j->live;

	(void)srv;
	job_free(j);
	job_end(l);
}

static void job_homes(struct job *j)
{
	j->changed = (struct homes_changed){
		.all = j->keys.all,
		.accounts = j->keys.ids,
		.account_count = j->keys.count,
		.names = j->names,
		.name_count = j->name_count,
	};
	server_each(j->live->server, homes_step, homes_done, j);
}

static const struct sql sql_names = {
	.name = "live_names",
	.text = "select a.id, a.name, h.name, a.display, a.email, m.contact_group"
		" from account a join host h on h.id = a.host"
		" left join contact_group_member m on m.account = a.id"
		" where a.id = any ($1::bigint[]) order by a.id",
};

static void on_words(void *arg, const struct rows *rows)
{
	(void)arg;
	if (rows_status(rows) != STORE_OK)
		log_warn("live", NULL,
		         "names that were changed by SQL could not be made known to the search; "
		         "\"musterctl user name\" does it again");
}

/* An account: its address, and the words by which the search finds it. */
static void job_account(struct job *j, const struct rows *rows, unsigned i, struct write *words)
{
	const char *name = rows_text(rows, i, 1), *domain = rows_text(rows, i, 2);
	struct jid *jid = jid_make(name, domain, NULL);

	if (!jid) {
		log_error("live", NULL, "the account '%s' of %s has no valid name, and cannot be used",
		          name, domain);
		return;
	}
	j->names[j->name_count++] = jid;
	directory_set_name(words, jid, rows_text(rows, i, 3));
	directory_set_email(words, jid, rows_text(rows, i, 4));
}

static void on_names(void *arg, const struct rows *rows)
{
	struct job *j = arg;
	struct live *l = j->live;
	struct write *words;
	int64_t last = 0;

	if (rows_status(rows) != STORE_OK) {
		for (unsigned i = 0; i < j->keys.count; i++)
			keys_add(&l->accounts, j->keys.ids[i]);
		timer_set(&l->server->reactors[0]->wheel, &l->timer, RETRY_MS);
		job_free(j);
		job_end(l);
		return;
	}
	words = write_new(l->server->reactors[0]->store, 0);
	j->names = mem_alloc((rows_count(rows) + 1) * sizeof *j->names);
	for (unsigned i = 0; i < rows_count(rows); i++) { /* one for each group that an account is in */
		if (rows_int(rows, i, 0) != last)
			job_account(j, rows, i, words);
		last = rows_int(rows, i, 0);
		if (!rows_is_null(rows, i, 5))
			keys_add(&l->groups, rows_int(rows, i, 5)); /* its name stands there too */
	}
	write_submit(words, on_words, NULL);
	job_homes(j);
}

static void live_reload_homes(struct live *l)
{
	struct job *j = mem_zalloc(sizeof *j);
	char *ids;

	j->live = l;
	j->keys = l->accounts;
	for (unsigned i = 0; i < l->rosters.count; i++)
		keys_add(&j->keys, l->rosters.ids[i]);
	j->keys.all = j->keys.all || l->rosters.all;
	if (j->keys.all || l->accounts.count == 0) {
		job_homes(j);
	} else {
		ids = keys_text(&l->accounts);
		store_read(l->server->reactors[0]->store, 0, &sql_names, PARAMS(P_TEXT(ids)), on_names, j);
		mem_free(ids);
	}
	keys_clear(&l->accounts);
	keys_clear(&l->rosters);
}

/* ---- the groups, one after the other */

static void on_group(void *arg, bool ok)
{
	struct live *l = arg;

	if (ok) {
		job_end(l);
		return;
	}
	l->groups.all = true;
	l->is_busy = false;
	timer_set(&l->server->reactors[0]->wheel, &l->timer, RETRY_MS);
	live_go_on(l);
}

static void live_reload_group(struct live *l)
{
	int64_t id = 0;

	if (l->groups.all)
		keys_clear(&l->groups);
	else
		id = l->groups.ids[--l->groups.count];
	server_reload_group(l->server, id, on_group, l);
}

/* ---- the hosts */

static void on_hosts(void *arg, bool ok, const char *problems)
{
	struct live *l = arg;

	server_log_lines(problems);
	if (ok) {
		job_end(l);
		return;
	}
	l->hosts = true;
	l->is_busy = false;
	timer_set(&l->server->reactors[0]->wheel, &l->timer, RETRY_MS);
	live_go_on(l);
}

/* ---- one job after the other */

static void live_free(struct live *l)
{
	if (!l->is_busy && !l->listening)
		mem_free(l);
}

static void live_go_on(struct live *l)
{
	if (l->is_closing) {
		timer_stop(&l->server->reactors[0]->wheel, &l->timer);
		live_free(l);
		return;
	}
	if (l->is_busy || timer_is_set(&l->timer))
		return;
	if (l->hosts) {
		l->hosts = false;
		l->is_busy = true;
		server_reload_hosts(l->server, on_hosts, l);
	} else if (keys_any(&l->accounts) || keys_any(&l->rosters)) {
		l->is_busy = true;
		live_reload_homes(l);
	} else if (keys_any(&l->groups)) {
		l->is_busy = true;
		live_reload_group(l);
	}
}

static void on_timer(struct timer *t)
{
	live_go_on(CONTAINER_OF(t, struct live, timer));
}

static void live_gather(struct live *l)
{
	if (!l->is_busy && !timer_is_set(&l->timer))
		timer_set(&l->server->reactors[0]->wheel, &l->timer, GATHER_MS);
}

/* ---- what is heard */

static struct keys *keys_of(struct live *l, const char *kind, size_t n)
{
	if (n == 7 && memcmp(kind, "account", n) == 0)
		return &l->accounts;
	if (n == 6 && memcmp(kind, "roster", n) == 0)
		return &l->rosters;
	return n == 5 && memcmp(kind, "group", n) == 0 ? &l->groups : NULL;
}

static void on_notice(void *arg, const char *notice)
{
	struct live *l = arg;
	size_t n = strcspn(notice, " ");
	const char *key = notice + n;
	struct keys *keys = keys_of(l, notice, n);

	log_debug("live", NULL, "changed by SQL: %s", notice);
	if (n == 4 && memcmp(notice, "host", n) == 0)
		l->hosts = true;
	else if (n == 4 && memcmp(notice, "show", n) == 0)
		l->groups.all = true; /* which groups show each other */
	else if (keys && strcmp(key, " *") == 0)
		keys->all = true;
	else if (keys)
		keys_add(keys, strtoll(key, NULL, 10));
	if (keys == &l->accounts && keys->all)
		l->groups.all = true;
	live_gather(l);
}

static void on_gap(void *arg)
{
	struct live *l = arg;

	l->hosts = l->accounts.all = l->groups.all = true;
	live_gather(l);
}

static void on_closed(void *arg)
{
	struct live *l = arg;

	l->listening = NULL;
	live_free(l);
}

struct live *live_open(struct server *srv)
{
	struct live *l = mem_zalloc(sizeof *l);
	struct listening_calls calls = {
		.notice = on_notice, .gap = on_gap, .closed = on_closed, .arg = l
	};

	l->server = srv;
	timer_init(&l->timer, on_timer);
	l->listening = listening_open(srv, &calls);
	return l;
}

void live_close(struct live *l)
{
	l->is_closing = true;
	timer_stop(&l->server->reactors[0]->wheel, &l->timer);
	listening_close(l->listening);
}
