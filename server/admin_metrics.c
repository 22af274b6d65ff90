/* admin_metrics.c - the administrator's questions about how the server is doing: status, metrics, top; and
 * drain, which is what one asks them for. */
#define _GNU_SOURCE /* memrchr */
#include "admin.h"

#include <stdlib.h>
#include <string.h>

#include "metrics.h"

#define PAGE_BYTES 262144 /* of metrics in one line */
#define TOP_HOSTS 1000    /* the busiest ones since the start */

/* ---- status */

static json_t *kinds_json(const uint64_t counts[STANZA_OTHER])
{
	return json_pack("{s:I, s:I, s:I}", "message", (json_int_t)counts[STANZA_MESSAGE], "presence",
	                 (json_int_t)counts[STANZA_PRESENCE], "iq", (json_int_t)counts[STANZA_IQ]);
}

static json_t *stanzas_json(const uint64_t counts[2][STANZA_OTHER])
{
	return json_pack("{s:o, s:o}", "in", kinds_json(counts[0]), "out", kinds_json(counts[1]));
}

static json_t *store_json(const struct metrics *m)
{
	const struct server *srv = m->server;
	const struct store_counts *s = &m->store;
	double commit_ms = s->groups ? (double)s->commits.sum_us / (double)s->groups / 1000 : 0;

	return json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
	                 "engine", database_is_postgresql(srv->db) ? "postgresql" : "sqlite", "durability",
	                 srv->durability, "state", m->present.away ? "AWAY" : "reachable", "away",
	                 m->present.away > 0, "reads", (json_int_t)s->reads, "writes",
	                 (json_int_t)s->writes, "groups", (json_int_t)s->groups, "commit_ms", commit_ms,
	                 "commit_us", (json_int_t)s->commits.sum_us, "failed", (json_int_t)s->failed,
	                 "reconnects", (json_int_t)s->reconnects, "waiting_reads",
	                 (json_int_t)s->waiting_reads, "waiting_writes", (json_int_t)s->waiting_writes,
	                 "spooled", (json_int_t)s->spooled, "spool_bytes", (json_int_t)s->spool_bytes,
	                 "spool_age", (json_int_t)m->present.spool_age);
}

static json_t *queues_json(const struct metrics *m)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "reactor", (json_int_t)m->present.queued,
	                 "outbound", (json_int_t)m->present.outbound, "inbox", (json_int_t)m->present.inbox,
	                 "mailboxes", (json_int_t)m->counts.mailboxed, "outboxes",
	                 (json_int_t)m->counts.outboxed, "unwritten_bytes",
	                 (json_int_t)m->counts.unwritten);
}

static json_t *status_json(const struct metrics *m)
{
	const struct server *srv = m->server;
	const struct reactor_counts *n = &m->counts;
	json_t *result = json_pack(
	    "{s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "version", muster_version(),
	    "state", srv->is_draining ? "draining" : "serving", "started", admin_time(srv->started),
	    "uptime", (json_int_t)m->present.uptime, "hosts", (json_int_t)m->hosts->count, "reactors",
	    (json_int_t)m->reactors, "sessions", (json_int_t)n->sessions, "homes", (json_int_t)n->homes,
	    "bounced", (json_int_t)n->bounced, "queued",
	    (json_int_t)(m->present.queued + m->present.outbound), "memory", (json_int_t)m->present.memory,
	    "cpu_us", (json_int_t)m->present.cpu_us);

	json_object_set_new(
	    result, "connections",
	    json_pack("{s:I, s:I}", "open", (json_int_t)n->streams, "total", (json_int_t)n->connections));
	json_object_set_new(result, "logins",
	                    json_pack("{s:I, s:I}", "total", (json_int_t)n->logins, "failed",
	                              (json_int_t)n->login_failures));
	json_object_set_new(result, "stanzas", stanzas_json(n->stanzas));
	json_object_set_new(result, "store", store_json(m));
	json_object_set_new(result, "queues", queues_json(m));
	return result;
}

static void on_status(struct metrics *m, void *arg)
{
	request_done(arg, status_json(m));
}

void admin_status(struct request *r)
{
	metrics_gather(request_server(r), on_status, r);
}

/* ---- top: the status with the hosts, for whoever asks again and looks at what has changed */

struct busy {
	const char *name;
	const struct host_counts *counts;
	uint64_t stanzas;
};

static int busy_compare(const void *a, const void *b)
{
	const struct busy *x = a, *y = b;

	return x->stanzas < y->stanzas ? 1 : x->stanzas > y->stanzas ? -1 : strcmp(x->name, y->name);
}

static json_t *hosts_json(const struct metrics *m)
{
	unsigned count = m->hosts->count;
	struct busy *busy = mem_zalloc(count * sizeof *busy);
	json_t *rows = json_array();

	for (unsigned i = 0; i < count; i++) {
		busy[i].name = m->hosts->list[i].jid->text;
		busy[i].counts = &m->host_counts[i];
		for (unsigned kind = 0; kind < STANZA_OTHER; kind++)
			busy[i].stanzas +=
			    m->host_counts[i].stanzas[0][kind] + m->host_counts[i].stanzas[1][kind];
	}
	if (count)
		qsort(busy, count, sizeof *busy, busy_compare);
	for (unsigned i = 0; i < count && i < TOP_HOSTS; i++)
		json_array_append_new(rows, json_pack("{s:s, s:I, s:o}", "name", busy[i].name, "sessions",
		                                      (json_int_t)busy[i].counts->sessions, "stanzas",
		                                      stanzas_json(busy[i].counts->stanzas)));
	mem_free(busy);
	return rows;
}

static void on_top(struct metrics *m, void *arg)
{
	json_t *result = status_json(m);

	json_object_set_new(result, "hosts", hosts_json(m));
	json_object_set_new(result, "now_us", json_integer(m->server->reactors[0]->now));
	request_done(arg, result);
}

void admin_top(struct request *r)
{
	metrics_gather(request_server(r), on_top, r);
}

/* ---- metrics: the text, in pieces that end at a line */

struct metrics_job {
	struct request *request;
	struct buffer text;
	size_t sent;
};

static void on_metrics_end(void *arg)
{
	struct metrics_job *job = arg;

	buffer_free(&job->text);
}

static void metrics_send(void *arg)
{
	struct metrics_job *job = arg;
	const char *at = job->text.data + job->sent;
	size_t n = job->text.len - job->sent;
	json_t *piece;

	if (n > PAGE_BYTES)
		n = (size_t)((const char *)memrchr(at, '\n', PAGE_BYTES) - at) + 1;
	job->sent += n;
	piece = json_pack("{s:s%}", "text", at, n);
	if (job->sent == job->text.len)
		request_done(job->request, piece);
	else if (!request_progress(job->request, piece, metrics_send, job))
		request_done(job->request, NULL);
}

static void on_metrics(struct metrics *m, void *arg)
{
	struct metrics_job *job = arg;

	metrics_write(m, &job->text);
	metrics_send(job);
}

void admin_metrics(struct request *r)
{
	struct metrics_job *job = arena_zalloc(request_arena(r), sizeof *job);

	job->request = r;
	request_at_end(r, on_metrics_end, job);
	metrics_gather(request_server(r), on_metrics, job);
}

/* ---- drain */

static void on_drained(void *arg, const char *error)
{
	if (error)
		request_fail(arg, CONTROL_REFUSED, error,
		             "It goes on without taking connections; stop it and start it again.");
	else
		request_done(arg, NULL);
}

void admin_drain(struct request *r)
{
	server_drain(request_server(r), !request_bool(r, "cancel", false), on_drained, r);
}
