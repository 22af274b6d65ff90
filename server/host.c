/* host.c - see host.h. */
#include "host.h"

#include <stdlib.h>
#include <string.h>

#include "hook.h"
#include "log.h"

/* A row for each policy, one for a host that has none. */
const struct sql hosts_sql = {
	.name = "hosts",
	.text = "select h.id, h.name, p.name, p.value from host h left join policy p on p.host = h.id"
		" order by h.id, p.name",
};

enum { ROW_ID, ROW_NAME, ROW_POLICY, ROW_VALUE };

static int compare_hosts(const void *a, const void *b)
{
	return strcmp(((const struct host *)a)->jid->text, ((const struct host *)b)->jid->text);
}

static int compare_services(const void *a, const void *b)
{
	return strcmp(((const struct service *)a)->jid->text, ((const struct service *)b)->jid->text);
}

static void read_policy(struct hosts *h, struct host *host, const struct hooks *hooks,
                        const struct rows *rows, unsigned row)
{
	const char *name = rows_text(rows, row, ROW_POLICY), *value = rows_text(rows, row, ROW_VALUE);
	char *problem = name ? host_policy_read(host, hooks, name, value, &h->arena) : NULL;

	if (problem)
		log_warn("host", host->jid->text, "table policy: %s; left out", problem);
	mem_free(problem);
}

static struct host *read_host(struct hosts *h, const struct hooks *hooks, const struct rows *rows,
                              unsigned row)
{
	const char *name = rows_text(rows, row, ROW_NAME);
	struct jid *j = jid_parse(name, strlen(name));
	struct host *host;

	if (!j || jid_has_local(j) || jid_has_resource(j)) {
		log_error("host", name, "row %lld of table host is not the name of a domain; left out",
		          (long long)rows_int(rows, row, ROW_ID));
		jid_unref(j);
		return NULL;
	}
	host = &h->list[h->count++];
	*host = (struct host){ .id = rows_int(rows, row, ROW_ID), .jid = j };
	host_policy_default(host, hooks, &h->arena);
	return host;
}

static void read_hosts(struct hosts *h, const struct hooks *hooks, const struct rows *rows)
{
	struct host *host = NULL;

	for (unsigned i = 0; i < rows_count(rows); i++) {
		if (i == 0 || rows_int(rows, i, ROW_ID) != rows_int(rows, i - 1, ROW_ID))
			host = read_host(h, hooks, rows, i);
		if (host)
			read_policy(h, host, hooks, rows, i);
	}
	qsort(h->list, h->count, sizeof *h->list, compare_hosts);
}

/* A host that is served under the name of another one's service keeps it. */
static void add_services(struct hosts *h, const struct hooks *hooks)
{
	h->services = mem_zalloc(((size_t)h->count * hooks->module_count + 1) * sizeof *h->services);
	for (unsigned i = 0; i < h->count; i++) {
		for (unsigned m = 0; m < hooks->module_count; m++) {
			const char *prefix = hooks->modules[m]->service;
			char *name;
			struct jid *j;

			if (!prefix)
				continue;
			name = mem_printf("%s.%s", prefix, h->list[i].jid->text);
			j = jid_parse(name, strlen(name));
			mem_free(name);
			if (j && !hosts_find(h, j->text, j->len))
				h->services[h->service_count++] =
				    (struct service){ .jid = j, .host = &h->list[i], .module = m };
			else
				jid_unref(j);
		}
	}
	qsort(h->services, h->service_count, sizeof *h->services, compare_services);
}

struct hosts *hosts_new(const struct rows *rows, const struct hooks *hooks,
                        const struct tls_sources *certificates, char **problems)
{
	struct hosts *h = mem_zalloc(sizeof *h);
	const char **names;

	h->refs = 1;
	h->list = mem_zalloc((rows_count(rows) + 1) * sizeof *h->list);
	host_policy_default(&h->none, hooks, &h->arena);
	read_hosts(h, hooks, rows);
	add_services(h, hooks);
	names = mem_alloc((h->count + 1) * sizeof *names);
	for (unsigned i = 0; i < h->count; i++)
		names[i] = h->list[i].jid->text;
	h->certs = tls_certs_load(certificates, names, h->count, problems);
	mem_free(names);
	return h;
}

struct hosts *hosts_ref(struct hosts *h)
{
	atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
	return h;
}

void hosts_unref(struct hosts *h)
{
	if (!h || atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < h->count; i++)
		jid_unref(h->list[i].jid);
	for (unsigned i = 0; i < h->service_count; i++)
		jid_unref(h->services[i].jid);
	arena_free(&h->arena);
	mem_free(h->services);
	tls_certs_unref(h->certs);
	mem_free(h->list);
	mem_free(h);
}

/* Like strcmp, for a name that does not end with a zero. */
struct wanted {
	const char *domain;
	size_t n;
};

static int compare_name(const struct wanted *wanted, const struct jid *j)
{
	int order = strncmp(wanted->domain, j->text, wanted->n);

	return order == 0 && j->len > wanted->n ? -1 : order;
}

static int compare_host(const void *wanted, const void *host)
{
	return compare_name(wanted, ((const struct host *)host)->jid);
}

static int compare_service(const void *wanted, const void *service)
{
	return compare_name(wanted, ((const struct service *)service)->jid);
}

const struct host *hosts_find(const struct hosts *h, const char *domain, size_t n)
{
	return bsearch(&(struct wanted){ domain, n }, h->list, h->count, sizeof *h->list, compare_host);
}

const struct service *hosts_find_service(const struct hosts *h, const char *domain, size_t n)
{
	return bsearch(&(struct wanted){ domain, n }, h->services, h->service_count, sizeof *h->services,
	               compare_service);
}
