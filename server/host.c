/* host.c - see host.h. */
#include "host.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"

const struct sql hosts_sql = {
	.name = "hosts",
	.text = "select id, name, records from host order by name",
};

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct host *)a)->jid->text, ((const struct host *)b)->jid->text);
}

struct hosts *hosts_new(const struct rows *rows, const char *certificates, char **problems)
{
	struct hosts *h = mem_zalloc(sizeof *h);
	unsigned n = rows_count(rows);
	const char **names = mem_alloc((n + 1) * sizeof *names);

	h->refs = 1;
	h->list = mem_zalloc((n + 1) * sizeof *h->list);
	for (unsigned i = 0; i < n; i++) {
		const char *name = rows_text(rows, i, 1);
		struct jid *j = jid_parse(name, strlen(name));

		if (!j || jid_has_local(j) || jid_has_resource(j)) {
			log_error("host", name,
			          "row %lld of table host is not the name of a domain; left out",
			          (long long)rows_int(rows, i, 0));
			jid_unref(j);
			continue;
		}
		names[h->count] = j->text;
		h->list[h->count++] = (struct host){ .id = rows_int(rows, i, 0),
			                             .jid = j,
			                             .records = rows_int(rows, i, 2) != 0 };
	}
	h->certs = tls_certs_load(certificates, names, h->count, problems);
	qsort(h->list, h->count, sizeof *h->list, compare);
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
	tls_certs_unref(h->certs);
	mem_free(h->list);
	mem_free(h);
}

const struct host *hosts_find(const struct hosts *h, const char *domain, size_t n)
{
	unsigned low = 0, high = h->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct jid *j = h->list[middle].jid;
		int order = strncmp(domain, j->text, n);

		if (order == 0 && j->len == n)
			return &h->list[middle];
		if (order < 0 || (order == 0 && j->len > n))
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}
