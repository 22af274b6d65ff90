/* cert_watch.c - see cert_watch.h. The files are looked at in the worker pool, because their disk may be a
 * network's; a link that was set to another target (certbot, Kubernetes) is a change as well. */
#include "cert_watch.h"

#include <inttypes.h>
#include <time.h>

#include "log.h"
#include "server.h"

struct cert_watch {
	struct server *server;
	struct timer timer;
	int64_t warned; /* when the ends were last looked at, Unix seconds */
	uv_work_t work;
	bool is_working, is_closed;
	/* of the look under way: references */
	struct hosts *hosts;
	struct conf *conf;
	uint64_t mark;
};

static struct reactor *watch_reactor(const struct cert_watch *w)
{
	return w->server->reactors[0];
}

/* ---- the ends */

static void warn_of_end(const struct tls_cert *cert, int64_t before, int64_t now)
{
	if (!cert->until || tls_cert_age(cert->until, now) == tls_cert_age(cert->until, before))
		return;
	if (cert->until <= now)
		log_error("certs", cert->domain, "the certificate in %s has ended: clients refuse it",
		          cert->file ? cert->file : "use");
	else
		log_warn("certs", cert->domain, "the certificate in %s ends in %" PRId64 " days; renew it",
		         cert->file ? cert->file : "use", (cert->until - now + 86399) / 86400);
}

/* Those that have come nearer their end by a step: a line for each, once. */
static void warn_of_ends(struct cert_watch *w)
{
	int64_t now = (int64_t)time(NULL);
	unsigned count;
	const struct tls_cert *list = tls_certs_list(watch_reactor(w)->hosts->certs, &count);

	for (unsigned i = 0; i < count; i++)
		warn_of_end(&list[i], w->warned, now);
	w->warned = now;
}

/* ---- the files */

static void watch_again(struct cert_watch *w)
{
	struct reactor *r = watch_reactor(w);

	timer_set(&r->wheel, &w->timer, (uint64_t)r->conf->node.certificate_check);
}

static void look_in_pool(uv_work_t *work)
{
	struct cert_watch *w = CONTAINER_OF(work, struct cert_watch, work);
	const char **names = mem_alloc((w->hosts->count + 1) * sizeof *names);
	unsigned count;
	const struct tls_cert *list = tls_certs_list(w->hosts->certs, &count);

	for (unsigned i = 0; i < count; i++) /* in the order in which they were loaded */
		names[i] = list[i].domain;
	w->mark = tls_files_mark(&(struct tls_sources){ .dir = w->conf->node.certificates,
	                                                .client_ca = w->conf->node.client_ca },
	                         names, count);
	mem_free(names);
}

static void on_reread(void *arg, bool ok, const char *problems)
{
	(void)arg;
	server_log_lines(problems);
	if (ok)
		log_info("certs", NULL, "files of certificates have changed: they have been read again");
}

static void on_looked(uv_work_t *work, int status)
{
	struct cert_watch *w = CONTAINER_OF(work, struct cert_watch, work);
	bool has_changed = status == 0 && w->mark != tls_certs_mark(w->hosts->certs);
	bool is_present = w->hosts == watch_reactor(w)->hosts; /* else somebody has reloaded meanwhile */

	hosts_unref(w->hosts);
	conf_unref(w->conf);
	w->is_working = false;
	if (w->is_closed) {
		mem_free(w);
		return;
	}
	if (has_changed && is_present && !w->server->is_stopping)
		server_reload_hosts(w->server, on_reread, w);
	watch_again(w);
}

static void on_timer(struct timer *t)
{
	struct cert_watch *w = CONTAINER_OF(t, struct cert_watch, timer);
	struct reactor *r = watch_reactor(w);

	warn_of_ends(w);
	w->hosts = hosts_ref(r->hosts);
	w->conf = conf_ref(r->conf);
	w->is_working = true;
	ASSERT(uv_queue_work(&r->loop, &w->work, look_in_pool, on_looked) == 0);
}

struct cert_watch *cert_watch_open(struct server *srv)
{
	struct cert_watch *w = mem_zalloc(sizeof *w);

	w->server = srv;
	w->warned = (int64_t)time(NULL); /* the load has told what there was to tell */
	timer_init(&w->timer, on_timer);
	watch_again(w);
	return w;
}

void cert_watch_close(struct cert_watch *w)
{
	if (!w)
		return;
	timer_stop(&watch_reactor(w)->wheel, &w->timer);
	w->is_closed = true;
	if (!w->is_working)
		mem_free(w);
}
