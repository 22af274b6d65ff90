/* admin_group.c - the administrator's commands about contact groups (group.h). What is there is said from the
 * snapshot in memory; a change is written, then the group is read again, and is in the contact lists of all
 * who see it when the command is answered. */
#include "admin.h"

#include <string.h>

#include "directory.h"
#include "group.h"

#define NAME_MAX_BYTES 1023
#define PAGE 1000

/* ---- statements, each safe to repeat */

static const struct sql sql_add = {
	.name = "group_add",
	.text = "insert into contact_group (name, title, host) select $1, $2, id from host where name = $3"
		" on conflict (host, name) do update set title = excluded.title"
		" where contact_group.title = excluded.title returning id",
};
static const struct sql sql_remove = {
	.name = "group_remove",
	.text = "delete from contact_group where id = $1 returning id",
};
static const struct sql sql_title = {
	.name = "group_title",
	.text = "update contact_group set title = $1 where id = $2 returning id",
};
static const struct sql sql_show = {
	.name = "group_show",
	.text = "insert into contact_group_shows (contact_group, shown) values ($1, $2)"
		" on conflict (contact_group, shown) do update set shown = excluded.shown"
		" returning contact_group",
};
static const struct sql sql_hide = {
	.name = "group_hide",
	.text = "delete from contact_group_shows where contact_group = $1 and shown = $2",
};
static const struct sql sql_join = {
	.name = "group_join",
	.text = "insert into contact_group_member (contact_group, account)"
		" select g.id, a.id from contact_group g join account a on a.host = g.host"
		" where g.id = $1 and a.name = $2"
		" on conflict (contact_group, account) do update set account = excluded.account"
		" returning account",
};
static const struct sql sql_leave = {
	.name = "group_leave",
	.text = "delete from contact_group_member where contact_group = $1 and account ="
		" (select a.id from account a join contact_group g on g.host = a.host"
		" where g.id = contact_group_member.contact_group and a.name = $2) returning account",
};

/* ---- one group */

struct group_job {
	struct request *request;
	const char *domain, *name; /* of the group */
	const struct jid *jid;     /* of a member that joins or leaves */
	int64_t id;                /* 0: a new one, or all are concerned */
};

/* The group that the arguments `host` and `name` name; NULL: it has complained. */
static const struct contact_group *group_named(struct request *r, const char *name)
{
	const struct host *h = admin_host(r, request_arg(r, "host"));
	const struct server *srv = request_server(r);
	const struct contact_group *g = h ? groups_find_name(srv->groups, h->jid->text, name) : NULL;

	if (h && !g)
		request_failf(r, CONTROL_REFUSED, "\"musterctl group list\" shows the groups.",
		              "There is no group \"%.200s\" on %s.", name, h->jid->text);
	return g;
}

static struct group_job *job_new(struct request *r, const struct contact_group *g)
{
	struct group_job *job = arena_zalloc(request_arena(r), sizeof *job);

	job->request = r;
	if (!g)
		return job;
	job->id = g->id;
	job->domain = arena_strdup(request_arena(r), g->domain);
	job->name = arena_strdup(request_arena(r), g->name);
	return job;
}

static void on_reloaded(void *arg, bool ok)
{
	struct group_job *job = arg;

	if (ok)
		request_done(job->request, json_pack("{s:s*, s:s*, s:s*}", "name", job->name, "host",
		                                     job->domain, "jid", job->jid ? job->jid->text : NULL));
	else
		request_fail(
		    job->request, CONTROL_AWAY,
		    "The change is stored, but the database did not answer when the group was read again.",
		    "It is in the contact lists when the server is started again, or the group is changed "
		    "again.");
}

static void job_reload(struct group_job *job)
{
	server_reload_group(request_server(job->request), job->id, on_reloaded, job);
}

static void on_written(void *arg, const struct rows *rows)
{
	struct group_job *job = arg;

	if (admin_store_ok(job->request, rows))
		job_reload(job);
}

static bool text_is_valid(struct request *r, const char *what, const char *text)
{
	size_t n = strlen(text);
	bool ok = n > strspn(text, " ") && n <= NAME_MAX_BYTES;

	for (size_t i = 0; i < n; i++)
		ok = ok && (unsigned char)text[i] >= ' ' && text[i] != 0x7f;
	if (!ok)
		request_failf(
		    r, CONTROL_USAGE, NULL,
		    "The %s of a group has 1 to %d bytes, not only spaces, and no control characters.",
		    what, NAME_MAX_BYTES);
	return ok;
}

/* ---- group add, group remove */

static void on_added(void *arg, const struct rows *rows)
{
	struct group_job *job = arg;

	if (!admin_store_ok(job->request, rows))
		return;
	if (rows_count(rows) == 0) {
		request_failf(job->request, CONTROL_REFUSED, "\"musterctl group list\" shows the groups.",
		              "The database has a group \"%.200s\" on %s already.", job->name, job->domain);
		return;
	}
	job->id = rows_int(rows, 0, 0);
	job_reload(job);
}

void admin_group_add(struct request *r)
{
	const struct server *srv = request_server(r);
	const char *name = request_arg(r, "name"), *title = request_arg(r, "title");
	const struct host *h = admin_host(r, request_arg(r, "host")); /* NULL: `r` is gone */
	struct group_job *job;
	struct write *w;

	title = title ? title : name;
	if (!h || !text_is_valid(r, "name", name) || !text_is_valid(r, "title", title) ||
	    !admin_may_write(r))
		return;
	if (strchr(name, ';')) {
		request_fail(r, CONTROL_USAGE,
		             "A group's name has no \";\": in lists of accounts it stands between two.",
		             NULL);
		return;
	}
	if (groups_find_name(srv->groups, h->jid->text, name)) {
		request_failf(r, CONTROL_REFUSED, "\"musterctl group set\" changes it.",
		              "There is a group \"%.200s\" on %s already.", name, h->jid->text);
		return;
	}
	job = job_new(r, NULL);
	job->domain = arena_strdup(request_arena(r), h->jid->text);
	job->name = name;
	w = write_new(admin_reactor(r)->store, 0);
	write_add(w, &sql_add, PARAMS(P_TEXT(name), P_TEXT(title), P_TEXT(job->domain)));
	write_submit(w, on_added, job);
}

void admin_group_remove(struct request *r)
{
	const struct contact_group *g = group_named(r, request_arg(r, "name"));
	struct write *w;

	if (!g || !admin_may_write(r))
		return;
	w = write_new(admin_reactor(r)->store, 0);
	write_add(w, &sql_remove, PARAMS(P_INT(g->id)));
	write_submit(w, on_written, job_new(r, g));
}

/* ---- group set */

/* Whose members the group's members see, or see no longer. */
static bool write_sight(struct request *r, struct write *w, const struct contact_group *g,
                        const char *argument, const struct sql *sql)
{
	const char *name = request_arg(r, argument);
	const struct contact_group *other = name ? group_named(r, name) : NULL;

	if (name && !other)
		return false;
	if (other)
		write_add(w, sql, PARAMS(P_INT(g->id), P_INT(other->id)));
	return true;
}

void admin_group_set(struct request *r)
{
	const char *title = request_arg(r, "title");
	bool is_sight = request_arg(r, "shows") || request_arg(r, "hides");
	const struct contact_group *g = group_named(r, request_arg(r, "name")); /* NULL: `r` is gone */
	struct group_job *job;
	struct write *w;

	if (!g || (title && !text_is_valid(r, "title", title)) || !admin_may_write(r))
		return;
	if (!title && !is_sight) {
		request_fail(r, CONTROL_USAGE, "Say what is to be changed: --title, --shows or --hides.",
		             NULL);
		return;
	}
	w = write_new(admin_reactor(r)->store, 0);
	if (title)
		write_add(w, &sql_title, PARAMS(P_TEXT(title), P_INT(g->id)));
	if (!write_sight(r, w, g, "shows", &sql_show) || !write_sight(r, w, g, "hides", &sql_hide)) {
		write_drop(w);
		return;
	}
	job = job_new(r, g);
	if (is_sight)
		job->id = 0; /* the other group is concerned, too */
	write_submit(w, on_written, job);
}

/* ---- members */

static void on_moved(void *arg, const struct rows *rows)
{
	struct group_job *job = arg;

	if (!admin_store_ok(job->request, rows))
		return;
	if (rows_count(rows) == 0)
		request_failf(job->request, CONTROL_REFUSED,
		              "\"musterctl user list\" shows the accounts, \"group show\" the members.",
		              "There is no account %s, or it is no member.", job->jid->text);
	else
		job_reload(job);
}

static void move_member(struct request *r, const struct sql *sql)
{
	const struct jid *j = admin_account(r, false);
	const struct contact_group *g = j ? group_named(r, request_arg(r, "name")) : NULL;
	struct group_job *job;
	struct write *w;

	if (!g)
		return;
	if (strlen(g->domain) != jid_domain_len(j) || strcmp(g->domain, jid_domain(j)) != 0) {
		request_failf(r, CONTROL_REFUSED, NULL,
		              "%s is not of %s: a group has accounts of its own domain only.", j->text,
		              g->domain);
		return;
	}
	if (!admin_may_write(r))
		return;
	job = job_new(r, g);
	job->jid = j;
	w = write_new(admin_reactor(r)->store, 0);
	write_add(w, sql, PARAMS(P_INT(g->id), P_TEXTN(j->text, j->local_len)));
	write_submit(w, on_moved, job);
}

void admin_group_join(struct request *r)
{
	move_member(r, &sql_join);
}

void admin_group_leave(struct request *r)
{
	move_member(r, &sql_leave);
}

/* ---- the name of an account in its groups */

static const struct sql sql_name = {
	.name = "user_name",
	.text = "update account set display = $1 where name = $2"
		" and host = (select id from host where name = $3) returning id",
};

static void on_named(void *arg, const struct rows *rows)
{
	struct group_job *job = arg;

	if (!admin_store_ok(job->request, rows))
		return;
	if (rows_count(rows) == 0) {
		admin_refuse_unknown(job->request, job->jid->text);
		return;
	}
	server_reload_groups_of(request_server(job->request), job->jid, on_reloaded, job);
}

void admin_user_name(struct request *r)
{
	const char *name = request_arg(r, "name");
	const struct jid *j = admin_account(r, false); /* NULL: `r` is gone */
	struct group_job *job;
	struct write *w;

	if (!j || (name && !text_is_valid(r, "name of a member", name)) || !admin_may_write(r))
		return;
	job = job_new(r, NULL);
	job->jid = j;
	w = write_new(admin_reactor(r)->store, 0);
	directory_set_name(w, j, name);
	write_add(w, &sql_name,
	          PARAMS(P_TEXT(name), P_TEXTN(j->text, j->local_len),
	                 P_TEXTN(jid_domain(j), jid_domain_len(j))));
	write_submit(w, on_named, job);
}

/* ---- what there is */

static json_t *sights_json(const struct groups *groups, const struct contact_group *g)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < groups->sight_count; i++)
		if (groups->sights[i].group == g->id)
			json_array_append_new(
			    names, json_string(groups_find(groups, groups->sights[i].shown)->name));
	return names;
}

static char *names_text(const json_t *names)
{
	struct buffer b = { 0 };
	const json_t *name;
	size_t i;

	json_array_foreach(names, i, name) buffer_addf(&b, "%s%s", i ? ", " : "", json_string_value(name));
	buffer_adds(&b, "");
	return b.data;
}

void admin_group_list(struct request *r)
{
	const struct groups *groups = ((struct server *)request_server(r))->groups;
	const char *name = request_arg(r, "host");
	const struct host *only = name ? admin_host(r, name) : NULL;
	json_t *rows;

	if (name && !only)
		return;
	rows = json_array();
	for (unsigned i = 0; i < groups->count; i++) {
		const struct contact_group *g = groups->list[i];
		json_t *shows;
		char *text;

		if (only && strcmp(only->jid->text, g->domain) != 0)
			continue;
		shows = sights_json(groups, g);
		text = names_text(shows);
		json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:i, s:s}", "host", g->domain,
		                                      "name", g->name, "title", g->title, "members",
		                                      (int)g->count, "shows", text));
		mem_free(text);
		json_decref(shows);
	}
	request_done(r, json_pack("{s:o}", "groups", rows));
}

struct show_job {
	struct request *request;
	struct contact_group *group; /* a reference */
	unsigned at;
};

static void on_show_end(void *arg)
{
	group_unref(arg);
}

static void show_go_on(void *arg)
{
	struct show_job *job = arg;
	const struct roster_item *list = job->group->views[SUB_BOTH].list;
	json_t *rows;

	if (request_is_gone(job->request) || job->at == job->group->count) {
		request_done(job->request, NULL);
		return;
	}
	rows = json_array();
	for (unsigned n = 0; n < PAGE && job->at < job->group->count; n++, job->at++)
		json_array_append_new(rows, json_pack("{s:s, s:s?}", "jid", list[job->at].jid->text, "name",
		                                      list[job->at].name));
	if (!request_progress(job->request, json_pack("{s:o}", "members", rows), show_go_on, job))
		request_done(job->request, NULL);
}

void admin_group_show(struct request *r)
{
	const struct contact_group *g = group_named(r, request_arg(r, "name"));
	struct show_job *job;

	if (!g)
		return;
	job = arena_zalloc(request_arena(r), sizeof *job);
	job->request = r;
	job->group = group_ref((struct contact_group *)(uintptr_t)g);
	request_at_end(r, on_show_end, job->group);
	show_go_on(job);
}
