/* group_load.c - administrators' groups, from the tables into the snapshot that all reactors share. At the
 * start all of them, later the one that has changed; the others stay the same objects. Reactor 0 only. */
#include <string.h>

#include "group.h"
#include "home.h"
#include "log.h"
#include "server.h"

#define RETRY_MS 1000

static const struct sql sql_groups = {
	.name = "groups",
	.text = "select g.id, h.name, g.name, g.title from contact_group g join host h on h.id = g.host",
};
static const struct sql sql_group = {
	.name = "group",
	.text = "select g.id, h.name, g.name, g.title from contact_group g join host h on h.id = g.host"
		" where g.id = $1",
};
/* Members are of the group's own host, whatever the rows say. */
#define MEMBERS                                                                                            \
	"select g.id, a.name, h.name, a.display from contact_group g"                                      \
	" join contact_group_member m on m.contact_group = g.id"                                           \
	" join account a on a.id = m.account and a.host = g.host and a.disabled = 0"                       \
	" join host h on h.id = g.host"
static const struct sql sql_members_of_all = { .name = "group_members_of_all",
	                                       .text = MEMBERS " order by g.id" };
static const struct sql sql_members = { .name = "group_members", .text = MEMBERS " where g.id = $1" };
static const struct sql sql_sights = {
	.name = "group_sights",
	.text = "select contact_group, shown from contact_group_shows order by contact_group, shown",
};

struct title { /* a row of contact_group */
	int64_t id;
	char *domain, *name, *title;
};

struct load {
	struct server *server;
	int64_t id; /* 0: all */
	void (*done)(void *arg, bool ok);
	void *arg;
	struct title *titles;
	unsigned title_count;
	struct group_sight *sights;
	unsigned sight_count;
	struct groups *groups; /* the result */
};

/* ---- rows */

static void read_titles(struct load *l, const struct rows *rows)
{
	l->title_count = rows_count(rows);
	l->titles = mem_zalloc((l->title_count + 1) * sizeof *l->titles);
	for (unsigned i = 0; i < l->title_count; i++)
		l->titles[i] = (struct title){ .id = rows_int(rows, i, 0),
			                       .domain = mem_strdup(rows_text(rows, i, 1)),
			                       .name = mem_strdup(rows_text(rows, i, 2)),
			                       .title = mem_strdup(rows_text(rows, i, 3)) };
}

static void read_sights(struct load *l, const struct rows *rows)
{
	l->sight_count = rows_count(rows);
	l->sights = mem_zalloc((l->sight_count + 1) * sizeof *l->sights);
	for (unsigned i = 0; i < l->sight_count; i++)
		l->sights[i] = (struct group_sight){ rows_int(rows, i, 0), rows_int(rows, i, 1) };
}

static void load_free(struct load *l)
{
	for (unsigned i = 0; i < l->title_count; i++) {
		mem_free(l->titles[i].domain);
		mem_free(l->titles[i].name);
		mem_free(l->titles[i].title);
	}
	mem_free(l->titles);
	mem_free(l->sights);
	groups_unref(l->groups);
	mem_free(l);
}

/* ---- groups */

/* How others see its members: there are no more views than are needed. */
static unsigned views_of(int64_t id, const struct group_sight *sights, unsigned count)
{
	unsigned views = SUB_NONE;

	for (unsigned i = 0; i < count; i++)
		views |= (sights[i].group == id ? SUB_FROM : 0) | (sights[i].shown == id ? SUB_TO : 0);
	return views;
}

/* The rows are in the order of their groups. */
static unsigned first_member(const struct rows *rows, int64_t group)
{
	unsigned low = 0, high = rows_count(rows);

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (rows_int(rows, middle, 0) < group)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct contact_group *make_group(const struct load *l, const struct title *t,
                                        const struct rows *rows, const struct groups *was,
                                        uint64_t *version)
{
	const struct group_sight *sights = l->sights ? l->sights : was->sights;
	unsigned count = 0, sight_count = l->sights ? l->sight_count : was->sight_count;
	struct group_member *members = mem_alloc((rows_count(rows) + 1) * sizeof *members);
	struct contact_group *g;

	for (unsigned i = first_member(rows, t->id); i < rows_count(rows) && rows_int(rows, i, 0) == t->id;
	     i++) {
		struct jid *j = jid_make(rows_text(rows, i, 1), rows_text(rows, i, 2), NULL);

		if (j)
			members[count++] = (struct group_member){ j, rows_text(rows, i, 3) };
		else
			log_error("group", t->domain, "member '%s' of group %s has no valid name; left out",
			          rows_text(rows, i, 1), t->name);
	}
	g = group_new(t->id, ++*version, t->domain, t->name, t->title, members, count,
	              views_of(t->id, sights, sight_count), groups_find(was, t->id));
	mem_free(members);
	return g;
}

/* What has been read, and what has not been. */
static void make_groups(struct load *l, const struct rows *rows)
{
	struct groups *was = l->server->groups;
	uint64_t version = was->version;
	struct contact_group **list = mem_alloc((was->count + l->title_count + 1) * sizeof *list);
	unsigned count = 0;

	for (unsigned i = 0; l->id && i < was->count; i++)
		if (was->list[i]->id != l->id)
			list[count++] = group_ref(was->list[i]);
	for (unsigned i = 0; i < l->title_count; i++)
		list[count++] = make_group(l, &l->titles[i], rows, was, &version);
	l->groups = groups_new(version, list, count, l->sights ? l->sights : was->sights,
	                       l->sights ? l->sight_count : was->sight_count);
	groups_unref(was);
	l->server->groups = groups_ref(l->groups);
}

/* ---- while the server runs */

static void load_end(struct load *l, bool ok)
{
	if (l->done)
		l->done(l->arg, ok);
	load_free(l);
}

static void regroup_step(struct reactor *r, void *arg)
{
	struct load *l = arg;

	groups_unref(r->groups);
	r->groups = groups_ref(l->groups);
	homes_regroup(r, l->id);
}

static void regroup_done(struct server *srv, void *arg)
{
	(void)srv;
	load_end(arg, true);
}

static bool load_goes_on(struct load *l, const struct rows *rows)
{
	if (rows_status(rows) == STORE_OK && !l->server->is_stopping)
		return true;
	load_end(l, false);
	return false;
}

static void on_members(void *arg, const struct rows *rows)
{
	struct load *l = arg;

	if (!load_goes_on(l, rows))
		return;
	make_groups(l, rows);
	server_each(l->server, regroup_step, regroup_done, l);
}

static void on_sights(void *arg, const struct rows *rows)
{
	struct load *l = arg;

	if (!load_goes_on(l, rows))
		return;
	read_sights(l, rows);
	store_read(l->server->reactors[0]->store, 0, &sql_members_of_all, NO_PARAMS, on_members, l);
}

static void on_titles(void *arg, const struct rows *rows)
{
	struct load *l = arg;

	if (!load_goes_on(l, rows))
		return;
	read_titles(l, rows);
	if (l->id)
		store_read(l->server->reactors[0]->store, 0, &sql_members, PARAMS(P_INT(l->id)), on_members,
		           l);
	else
		store_read(l->server->reactors[0]->store, 0, &sql_sights, NO_PARAMS, on_sights, l);
}

void server_reload_group(struct server *srv, int64_t group, void (*done)(void *arg, bool ok), void *arg)
{
	struct load *l = mem_zalloc(sizeof *l);

	*l = (struct load){ .server = srv, .id = group, .done = done, .arg = arg };
	if (group)
		store_read(srv->reactors[0]->store, 0, &sql_group, PARAMS(P_INT(group)), on_titles, l);
	else
		store_read(srv->reactors[0]->store, 0, &sql_groups, NO_PARAMS, on_titles, l);
}

static const struct sql sql_groups_of = {
	.name = "groups_of",
	.text = "select m.contact_group from contact_group_member m join account a on a.id = m.account"
		" join host h on h.id = a.host where h.name = $1 and a.name = $2",
};

struct of_account {
	struct server *server;
	unsigned left;
	bool ok;
	void (*done)(void *arg, bool ok);
	void *arg;
};

static void of_account_ended(void *arg, bool ok)
{
	struct of_account *of = arg;

	of->ok = of->ok && ok;
	if (--of->left > 0)
		return;
	if (of->done)
		of->done(of->arg, of->ok);
	mem_free(of);
}

static void of_account_reload(struct of_account *of, int64_t group)
{
	of->left++;
	server_reload_group(of->server, group, of_account_ended, of);
}

static void on_groups_of(void *arg, const struct rows *rows)
{
	for (unsigned i = 0; i < rows_count(rows); i++)
		of_account_reload(arg, rows_int(rows, i, 0));
	of_account_ended(arg, rows_status(rows) == STORE_OK);
}

void server_reload_groups_of(struct server *srv, const struct jid *account,
                             void (*done)(void *arg, bool ok), void *arg)
{
	const struct groups *g = srv->groups;
	struct of_account *of = mem_alloc(sizeof *of);

	*of = (struct of_account){ .server = srv, .left = 1, .ok = true, .done = done, .arg = arg };
	for (unsigned i = 0; i < g->count; i++)
		if (group_find(g->list[i], SUB_BOTH, account))
			of_account_reload(of, g->list[i]->id);
	store_read(srv->reactors[0]->store, 0, &sql_groups_of,
	           PARAMS(P_TEXTN(jid_domain(account), jid_domain_len(account)),
	                  P_TEXTN(account->text, account->local_len)),
	           on_groups_of, of);
}

struct follow {
	struct server *server;
	struct jid *account;
	struct timer timer;
};

static void follow_end(struct follow *f)
{
	jid_unref(f->account);
	mem_free(f);
}

/* An account that nobody would look at again: once more, when the database answers. */
static void on_followed(void *arg, bool ok)
{
	struct follow *f = arg;

	if (ok || f->server->is_stopping)
		follow_end(f);
	else
		timer_set(&f->server->reactors[0]->wheel, &f->timer, RETRY_MS);
}

static void on_follow_again(struct timer *t)
{
	struct follow *f = CONTAINER_OF(t, struct follow, timer);

	server_reload_groups_of(f->server, f->account, on_followed, f);
}

static void follow_account(struct reactor *r, void *arg)
{
	struct follow *f = mem_zalloc(sizeof *f);

	f->server = r->server;
	f->account = arg;
	timer_init(&f->timer, on_follow_again);
	server_reload_groups_of(f->server, f->account, on_followed, f);
}

void groups_follow_account(struct reactor *r, const struct jid *account)
{
	reactor_post_run(r, 0, follow_account, jid_ref(account));
}

/* A host's groups are gone with it. */
void server_check_groups(struct server *srv, const struct hosts *hosts)
{
	for (unsigned i = 0; i < srv->groups->count; i++) {
		const char *domain = srv->groups->list[i]->domain;

		if (!hosts_find(hosts, domain, strlen(domain))) {
			server_reload_group(srv, 0, NULL, NULL);
			return;
		}
	}
}

/* ---- at the start */

static void keep_titles(void *arg, const struct rows *rows)
{
	read_titles(arg, rows);
}

static void keep_sights(void *arg, const struct rows *rows)
{
	read_sights(arg, rows);
}

static void keep_members(void *arg, const struct rows *rows)
{
	make_groups(arg, rows);
}

bool groups_read(struct server *srv, char **error)
{
	struct load *l = mem_zalloc(sizeof *l);
	bool ok;

	l->server = srv;
	srv->groups = groups_new(0, NULL, 0, NULL, 0);
	ok = database_run(srv->db, &sql_groups, NO_PARAMS, keep_titles, l, error) &&
	     database_run(srv->db, &sql_sights, NO_PARAMS, keep_sights, l, error) &&
	     database_run(srv->db, &sql_members_of_all, NO_PARAMS, keep_members, l, error);
	load_free(l);
	return ok;
}
