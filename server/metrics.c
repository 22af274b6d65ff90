/* metrics.c - see metrics.h: gathering, and the counts that need a line more than an increment. Asked for
 * by the administrator's commands (admin_metrics.c) and by nobody else. */
#include "metrics.h"

#include <dirent.h>
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "envelope.h"
#include "home.h"
#include "server.h"

/* Measured with these libraries: an idle connection's share of TLS, and an Expat parser at rest. */
#define TLS_BYTES 14500
#define PARSER_BYTES 10500

/* ---- counting */

#define X(name) name,
static const char *const sasl_conditions[] = { SASL_ERRORS(X) };
#undef X

unsigned count_sasl_error(const char *condition)
{
	unsigned i = 0;

	while (i < COUNT_SASL_ERRORS - 1 && strcmp(sasl_conditions[i], condition) != 0)
		i++;
	return i;
}

struct host_counts *host_counts_of(struct reactor *r, const struct jid *address)
{
	uint32_t hash = hash_bytes(jid_domain(address), jid_domain_len(address));
	struct host_counts *c;

	for (struct hash_node *n = hash_first(&r->host_counts, hash); n; n = hash_next(n)) {
		c = CONTAINER_OF(n, struct host_counts, node);
		if (strlen(c->domain) == jid_domain_len(address) &&
		    memcmp(c->domain, jid_domain(address), jid_domain_len(address)) == 0)
			return c;
	}
	c = mem_zalloc(sizeof *c);
	c->domain = mem_strndup(jid_domain(address), jid_domain_len(address));
	hash_add(&r->host_counts, &c->node, hash);
	return c;
}

void host_counts_free(struct reactor *r)
{
	struct hash_node *n;

	while ((n = hash_walk(&r->host_counts, NULL))) {
		struct host_counts *c = CONTAINER_OF(n, struct host_counts, node);

		hash_remove(&r->host_counts, n);
		mem_free(c->domain);
		mem_free(c);
	}
	hash_free(&r->host_counts);
}

/* ---- gathering */

/* Structs that are made of uint64_t. */
static void sum(void *to, const void *from, size_t size)
{
	uint64_t *t = to;
	const uint64_t *f = from;

	for (size_t i = 0; i < size / sizeof *t; i++)
		t[i] += f[i];
}

static void gather_hosts(struct metrics *m, struct reactor *r)
{
	struct hash_node *n = NULL;

	while ((n = hash_walk(&r->host_counts, n))) {
		const struct host_counts *c = CONTAINER_OF(n, struct host_counts, node);
		const struct host *h = hosts_find(m->hosts, c->domain, strlen(c->domain));
		struct host_counts *to;

		if (!h) /* not served any more */
			continue;
		to = &m->host_counts[h - m->hosts->list];
		to->sessions += c->sessions;
		sum(to->stanzas, c->stanzas, sizeof c->stanzas);
	}
}

static uint64_t clock_us(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t) != 0)
		return 0;
	return (uint64_t)t.tv_sec * US_PER_SECOND + (uint64_t)t.tv_nsec / 1000;
}

/* The oldest one says since when. */
static void gather_spool(struct present *p, struct store_counts *s)
{
	uint64_t since = (uint64_t)s->spool_since;

	if (since && (!p->spool_since || since < p->spool_since))
		p->spool_since = since;
	s->spool_since = 0;
}

/* Runs on each reactor, one after the other. */
static void gather_step(struct reactor *r, void *arg)
{
	struct metrics *m = arg;
	struct store_counts store;

	store_counts(r->store, &store);
	sum(&m->counts, &r->counts, sizeof m->counts);
	gather_spool(&m->present, &store);
	sum(&m->store, &store, sizeof store);
	m->present.queued += r->queue.count;
	for (unsigned i = 0; i < r->server->reactor_count; i++)
		m->present.outbound += r->outbound[i].count;
	m->present.inbox += atomic_load_explicit(&r->inbox.waiting, memory_order_relaxed);
	m->present.waking += r->waking_homes;
	m->present.absent += r->absent_homes;
	m->present.hashing += r->hashing;
	m->present.parsers += xml_pool_count(r->xml);
	m->present.away += store_is_away(r->store);
	m->present.buffers += READ_BUFFER + PLAIN_BUFFER + r->plain.cap;
	m->reactor_cpu_us[r->index] = clock_us(CLOCK_THREAD_CPUTIME_ID);
	gather_hosts(m, r);
}

/* What the process has in memory; 0 when the system does not say. */
static uint64_t memory_resident(void)
{
	unsigned long long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return 0;
	if (fscanf(f, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t files_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* itself, and the two dots */
}

static void gather_process(struct metrics *m)
{
	struct present *p = &m->present;
	const struct server *srv = m->server;
	struct mallinfo2 heap = mallinfo2();

	for (unsigned i = 0; i < m->hosts->count; i++)
		m->host_counts[i].certificate_expires =
		    (uint64_t)tls_certs_expiry(m->hosts->certs, m->hosts->list[i].jid->text);
	p->info = 1;
	p->spool_age =
	    p->spool_since ? (uint64_t)(srv->reactors[0]->now / US_PER_SECOND) - p->spool_since : 0;
	p->served = m->hosts->count;
	p->draining = srv->is_draining;
	p->started = (uint64_t)srv->started;
	p->uptime = (uint64_t)(srv->reactors[0]->now / US_PER_SECOND - srv->started);
	p->cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
	p->memory = memory_resident();
	p->allocated = heap.uordblks + heap.hblkhd;
	p->files = files_open();
	p->write_queues = m->counts.unwritten;
	p->homes = m->counts.homes * sizeof(struct home);
	p->sessions = m->counts.sessions * sizeof(struct session);
	p->envelopes =
	    (p->queued + p->outbound + p->inbox + m->counts.mailboxed) * sizeof(struct envelope) +
	    m->counts.outboxed * sizeof(struct outgoing);
	p->parsers_estimate = p->parsers * PARSER_BYTES;
	p->tls_estimate = m->counts.tls * TLS_BYTES;
}

/* What there is at present. The visits come one after the other: a stream that was accepted on a reactor behind
 * its visit, has moved and ended before that of the other one, is seen to fall and not to rise. */
static void keep_above_zero(struct reactor_counts *counts)
{
	uint64_t *n = (uint64_t *)(void *)counts;

	for (size_t i = 0; i < offsetof(struct reactor_counts, connections) / sizeof *n; i++)
		if (n[i] > INT64_MAX)
			n[i] = 0;
}

static void gathered(struct server *srv, void *arg)
{
	struct metrics *m = arg;

	(void)srv;
	keep_above_zero(&m->counts);
	gather_process(m);
	m->done(m, m->arg);
	hosts_unref(m->hosts);
	mem_free(m->host_counts);
	mem_free(m);
}

void metrics_gather(struct server *srv, void (*done)(struct metrics *m, void *arg), void *arg)
{
	struct metrics *m = mem_zalloc(sizeof *m);

	m->server = srv;
	m->reactors = srv->reactor_count;
	m->hosts = hosts_ref(srv->reactors[0]->hosts);
	m->host_counts = mem_zalloc(m->hosts->count * sizeof *m->host_counts);
	m->done = done;
	m->arg = arg;
	server_each(srv, gather_step, gathered, m);
}
