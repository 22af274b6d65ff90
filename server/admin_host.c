/* admin_host.c - the administrator's commands about the served domains and their policies: rows of tables
 * `host` and `policy`. Each is answered when every reactor has the new snapshot. */
#include <string.h>

#include "admin.h"

/* Safe to repeat: a row of ours has our time of creation, and is given back again. */
static const struct sql sql_host_add = {
	.name = "host_add",
	.text =
	    "insert into host (name, created) values ($1, $2)"
	    " on conflict (name) do update set name = excluded.name where host.created = excluded.created"
	    " returning id",
};

static const struct sql sql_host_remove = {
	.name = "host_remove",
	.text = "delete from host where name = $1",
};

static const struct sql sql_policy_set = {
	.name = "policy_set",
	.text = "insert into policy (host, name, value) values ($1, $2, $3)"
		" on conflict (host, name) do update set value = excluded.value",
};

static const struct sql sql_policy_reset = {
	.name = "policy_reset",
	.text = "delete from policy where host = $1 and name = $2",
};

struct host_job {
	struct request *request;
	const char *name; /* prepared */
	bool is_new;
};

static void on_hosts_reloaded(void *arg, bool ok, const char *problems)
{
	struct host_job *job = arg;

	if (!ok) {
		request_fail(
		    job->request, CONTROL_AWAY,
		    "The change is stored, but the database did not answer when it was read again.",
		    "Run \"musterctl reload\" when \"musterctl status\" says that it is back.");
		return;
	}
	request_done(job->request, json_pack("{s:s, s:o}", "name", job->name, "warnings",
	                                     admin_lines(job->is_new ? problems : NULL, job->name)));
}

static void on_host_written(void *arg, const struct rows *rows)
{
	struct host_job *job = arg;

	if (!admin_store_ok(job->request, rows))
		return;
	if (job->is_new && rows_count(rows) == 0)
		request_failf(job->request, CONTROL_REFUSED,
		              "\"musterctl reload\" makes the server read it.",
		              "The database has a host %s already.", job->name);
	else
		server_reload_hosts(request_server(job->request), on_hosts_reloaded, job);
}

static void host_job_write(struct request *r, const char *name, bool is_new)
{
	if (!admin_may_write(r))
		return;
	struct host_job *job = arena_zalloc(request_arena(r), sizeof(*job));
	struct reactor *reactor = admin_reactor(r);
	*job = (struct host_job){ .request = r, .name = name, .is_new = is_new };
	struct write *w = write_new(reactor->store, 0);
	if (is_new)
		write_add(w, &sql_host_add, PARAMS(P_TEXT(name), P_INT(reactor->now)));
	else
		write_add(w, &sql_host_remove, PARAMS(P_TEXT(name)));
	write_submit(w, on_host_written, job);
}

void admin_host_add(struct request *r)
{
	const char *name = request_arg(r, "name");
	char *prepared = arena_alloc(request_arena(r), JID_PART_MAX + 1);

	if (!jid_prepare_domain(name, strlen(name), prepared))
		request_failf(r, CONTROL_USAGE, "A domain is something like \"example.org\".",
		              "\"%.200s\" is no valid domain.", name);
	else if (hosts_find(admin_reactor(r)->hosts, prepared, strlen(prepared)))
		request_failf(r, CONTROL_REFUSED, "\"musterctl host list\" shows the served domains.",
		              "The domain %s is served already.", prepared);
	else
		host_job_write(r, prepared, true);
}

/* Tried on a host of its own first, so that nothing is stored that the server would not take. */
static bool policy_is_valid(struct request *r, const char *policy, const char *value)
{
	const struct hooks *hooks = ((struct server *)request_server(r))->hooks;
	struct host trial = { 0 };
	struct arena a = { 0 };
	char *problem;

	host_policy_default(&trial, hooks, &a);
	problem = host_policy_read(&trial, hooks, policy, value, &a);
	if (problem)
		request_failf(r, CONTROL_USAGE,
		              "\"musterctl host show\" lists the policies and what they take.", "%s.",
		              problem);
	arena_free(&a);
	mem_free(problem);
	return !problem;
}

void admin_host_set(struct request *r)
{
	const struct host *h = admin_host(r, request_arg(r, "name"));
	const char *policy, *value;
	struct host_job *job;
	struct write *w;

	if (!h)
		return;
	policy = request_arg(r, "policy");
	value = request_arg(r, "value");
	if (!policy_is_valid(r, policy, value) || !admin_may_write(r))
		return;
	job = arena_zalloc(request_arena(r), sizeof *job);
	*job = (struct host_job){ .request = r, .name = arena_strdup(request_arena(r), h->jid->text) };
	w = write_new(admin_reactor(r)->store, 0);
	if (value)
		write_add(w, &sql_policy_set, PARAMS(P_INT(h->id), P_TEXT(policy), P_TEXT(value)));
	else
		write_add(w, &sql_policy_reset, PARAMS(P_INT(h->id), P_TEXT(policy)));
	write_submit(w, on_host_written, job);
}

static void policy_add(void *arg, const char *name, const struct option *option, const void *base)
{
	json_t *rows = arg;
	struct buffer value = { 0 }, wants = { 0 };

	option_write(&value, option, base);
	option_describe(&wants, option);
	json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s}", "policy", name, "value",
	                                      value.len ? value.data : "", "wants", wants.data, "about",
	                                      option->help));
	buffer_free(&value);
	buffer_free(&wants);
}

void admin_host_show(struct request *r)
{
	const struct host *h = admin_host(r, request_arg(r, "name"));
	json_t *rows;

	if (!h)
		return;
	rows = json_array();
	host_policy_each(h, ((struct server *)request_server(r))->hooks, policy_add, rows);
	request_done(r, json_pack("{s:s, s:o}", "name", h->jid->text, "policies", rows));
}

void admin_host_remove(struct request *r)
{
	const struct host *h = admin_host(r, request_arg(r, "name"));

	if (h)
		host_job_write(r, arena_strdup(request_arena(r), h->jid->text), false);
}

void admin_host_list(struct request *r)
{
	const struct hosts *hosts = admin_reactor(r)->hosts;
	json_t *rows = json_array();

	for (unsigned i = 0; i < hosts->count; i++) {
		const struct host *h = &hosts->list[i];
		int64_t expiry = tls_certs_expiry(hosts->certs, h->jid->text);

		json_array_append_new(rows, json_pack("{s:s, s:s, s:o}", "name", h->jid->text, "record",
		                                      record_policy_names[h->policy.record],
		                                      "certificate_expires",
		                                      expiry ? admin_time(expiry) : json_null()));
	}
	request_done(r, json_pack("{s:o}", "hosts", rows));
}
