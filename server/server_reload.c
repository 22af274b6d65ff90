/* server_reload.c - what changes while the node runs: the configuration, the hosts, their certificates.
 * Each is an immutable snapshot that every reactor replaces on its own thread. */
#include <errno.h>
#include <string.h>

#include "home.h"
#include "log.h"
#include "relay.h"
#include "server.h"

/* ---- hosts */

struct rehost {
	struct server *server;
	struct hosts *hosts;
	char *problems;
	void (*done)(void *arg, bool ok, const char *problems);
	void *arg;
};

static void rehost_step(struct reactor *r, void *arg)
{
	struct rehost *rehost = arg;

	hosts_unref(r->hosts);
	r->hosts = hosts_ref(rehost->hosts);
	homes_rehost(r);
	if (r->relay)
		relay_rehost(r->relay);
}

static void rehost_end(struct rehost *rehost, bool ok)
{
	rehost->done(rehost->arg, ok, rehost->problems);
	hosts_unref(rehost->hosts);
	mem_free(rehost->problems);
	mem_free(rehost);
}

static void rehost_done(struct server *srv, void *arg)
{
	struct rehost *rehost = arg;

	server_check_groups(srv, rehost->hosts);
	rehost_end(rehost, true);
}

static void on_hosts(void *arg, const struct rows *rows)
{
	struct rehost *rehost = arg;
	struct server *srv = rehost->server;
	const struct reactor *r;

	if (rows_status(rows) != STORE_OK || srv->is_stopping) {
		rehost_end(rehost, false);
		return;
	}
	r = srv->reactors[0];
	rehost->hosts = hosts_new(rows, srv->hooks,
	                          &(struct tls_sources){ .dir = r->conf->node.certificates,
	                                                 .client_ca = r->conf->node.client_ca,
	                                                 .previous = r->hosts->certs },
	                          &rehost->problems);
	server_each(srv, rehost_step, rehost_done, rehost);
}

void server_reload_hosts(struct server *srv, void (*done)(void *arg, bool ok, const char *problems),
                         void *arg)
{
	struct rehost *rehost = mem_zalloc(sizeof *rehost);

	rehost->server = srv;
	rehost->done = done;
	rehost->arg = arg;
	store_read(srv->reactors[0]->store, 0, &hosts_sql, NO_PARAMS, on_hosts, rehost);
}

/* ---- configuration */

bool server_open_log(const struct conf *c, char **error)
{
	if (log_open(c->log.file, (enum log_level)c->log.level, c->log.format == LOG_FORMAT_JSON))
		return true;
	*error =
	    mem_printf("%s: the log file %s cannot be opened: %s\n", c->path, c->log.file, strerror(errno));
	return false;
}

static void reconf_step(struct reactor *r, void *arg)
{
	conf_unref(r->conf);
	r->conf = conf_ref(arg);
	reactor_configure(r);
}

static void reconf_done(struct server *srv, void *arg)
{
	(void)srv;
	conf_unref(arg);
}

void server_log_lines(const char *problems)
{
	const char *at = problems;

	while (at && *at) {
		size_t n = strcspn(at, "\n");

		log_warn("server", NULL, "%.*s", (int)n, at);
		at += n + (at[n] == '\n');
	}
}

/* Who asked for the reload. */
struct asker {
	struct server *server;
	void (*done)(void *arg, bool ok, const char *problems);
	void *arg;
};

static void on_rehosted(void *arg, bool ok, const char *problems)
{
	struct asker *asker = arg;

	if (!ok)
		log_error("server", NULL,
		          "reload: the database did not answer; hosts and certificates are as before");
	server_log_lines(problems);
	log_info("server", NULL, "reloaded");
	if (!asker->server->is_stopping)
		server_say_ready(asker->server);
	if (asker->done)
		asker->done(asker->arg, ok, problems);
	mem_free(asker);
}

/* ---- what a reload cannot change */

static bool is_other(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") != 0;
}

static void note(struct buffer *b, const struct conf *c, const char *key)
{
	buffer_addf(b, "%s: %s has changed: that takes effect at the next start\n", c->path, key);
}

static void note_sections(struct buffer *b, const struct conf *was, const struct conf *c)
{
	if (is_other(was->node.run_dir, c->node.run_dir))
		note(b, c, "node.run_dir");
	if (is_other(was->node.module_dir, c->node.module_dir))
		note(b, c, "node.module_dir");
	if (is_other(was->node.schema_dir, c->node.schema_dir))
		note(b, c, "node.schema_dir");
	if (is_other(was->node.user, c->node.user))
		note(b, c, "node.user");
	if (was->node.reactors != c->node.reactors)
		note(b, c, "node.reactors");
	if (was->store.engine != c->store.engine || is_other(was->store.path, c->store.path) ||
	    is_other(was->store.conninfo, c->store.conninfo) ||
	    is_other(was->store.password_file, c->store.password_file) ||
	    was->store.timeout != c->store.timeout ||
	    was->store.test_commit_delay != c->store.test_commit_delay)
		note(b, c, "store");
}

static bool listener_is_other(const struct listener_conf *a, const struct listener_conf *b)
{
	return a->kind != b->kind || a->port != b->port || a->require_tls != b->require_tls ||
	       is_other(a->address, b->address) || is_other(a->proxy, b->proxy);
}

static void note_listeners(struct buffer *b, const struct conf *was, const struct conf *c)
{
	bool is_changed = was->listener_count != c->listener_count;

	for (unsigned i = 0; !is_changed && i < c->listener_count; i++)
		is_changed = listener_is_other(&was->listeners[i], &c->listeners[i]);
	if (is_changed)
		note(b, c, "the list of listeners");
}

static const struct module_conf *module_named(const struct conf *c, const char *name)
{
	for (unsigned i = 0; i < c->module_count; i++)
		if (strcmp(c->modules[i].name, name) == 0)
			return &c->modules[i];
	return NULL;
}

static void note_modules(struct buffer *b, const struct conf *was, const struct conf *c)
{
	for (unsigned i = 0; i < c->module_count; i++)
		if (!module_named(was, c->modules[i].name))
			buffer_addf(b,
			            "%s: module '%s' is not loaded: that takes effect at the next start\n",
			            c->modules[i].place, c->modules[i].name);
	for (unsigned i = 0; i < was->module_count; i++)
		if (!module_named(c, was->modules[i].name))
			buffer_addf(
			    b, "%s: module '%s' is no longer named, but goes on until the next start\n",
			    c->path, was->modules[i].name);
}

bool server_reload(struct server *srv, void (*done)(void *arg, bool ok, const char *problems), void *arg,
                   char **errors)
{
	struct conf *c;
	struct buffer notes = { 0 };
	struct asker *asker;

	notify_reloading(&srv->notify);
	c = conf_load(srv->conf->path, errors);
	if (!c || !conf_read_modules(c, srv->hooks->modules, srv->hooks->module_count, errors) ||
	    !server_open_log(c, errors)) {
		conf_unref(c);
		notify_ready(&srv->notify, "Reload refused, see the log; everything is as before");
		return false;
	}
	note_sections(&notes, srv->conf, c);
	note_listeners(&notes, srv->conf, c);
	note_modules(&notes, srv->conf, c);
	server_log_lines(notes.data);
	*errors = notes.data;
	server_each(srv, reconf_step, reconf_done, c);
	asker = mem_alloc(sizeof *asker);
	*asker = (struct asker){ .server = srv, .done = done, .arg = arg };
	server_reload_hosts(srv, on_rehosted, asker);
	return true;
}
