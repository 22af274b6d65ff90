/* server.c - start, reload and end of the node. */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin.h"
#include "control.h"
#include "home.h"
#include "listener.h"
#include "log.h"
#include "stream.h"

#define SIGNAL_TERM 0
#define SIGNAL_INT 1
#define SIGNAL_HUP 2

const char *muster_version(void)
{
	return MUSTER_VERSION;
}

/* ---- something on every reactor, in turn */

struct each {
	void (*step)(struct reactor *r, void *arg);
	void (*done)(struct server *srv, void *arg);
	void *arg;
};

static void each_done(struct reactor *r, void *arg)
{
	struct each *each = arg;

	each->done(r->server, each->arg);
	mem_free(each);
}

static void each_step(struct reactor *r, void *arg)
{
	struct each *each = arg;
	unsigned next = r->index + 1;

	each->step(r, each->arg);
	if (next < r->server->reactor_count)
		reactor_post_run(r, next, each_step, each);
	else
		reactor_post_run(r, 0, each_done, each);
}

void server_each(struct server *srv, void (*step)(struct reactor *r, void *arg),
		 void (*done)(struct server *srv, void *arg), void *arg)
{
	struct each *each = mem_alloc(sizeof *each);

	*each = (struct each){ .step = step, .done = done, .arg = arg };
	reactor_post_run(srv->reactors[0], 0, each_step, each);
}

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
	(void)srv;
	rehost_end(arg, true);
}

static void on_hosts(void *arg, const struct rows *rows)
{
	struct rehost *rehost = arg;
	struct server *srv = rehost->server;

	if (rows_status(rows) != STORE_OK) {
		rehost_end(rehost, false);
		return;
	}
	rehost->hosts = hosts_new(rows, srv->reactors[0]->conf->node.certificates, &rehost->problems);
	server_each(srv, rehost_step, rehost_done, rehost);
}

void server_reload_hosts(struct server *srv, void (*done)(void *arg, bool ok, const char *problems), void *arg)
{
	struct rehost *rehost = mem_zalloc(sizeof *rehost);

	rehost->server = srv;
	rehost->done = done;
	rehost->arg = arg;
	store_read(srv->reactors[0]->store, 0, &hosts_sql, NO_PARAMS, on_hosts, rehost);
}

/* ---- configuration */

static bool log_configure(const struct conf *c, char **error)
{
	if (log_open(c->log.file, (enum log_level)c->log.level, c->log.format == LOG_FORMAT_JSON))
		return true;
	*error = mem_printf("%s: the log file %s cannot be opened: %s\n", c->path, c->log.file, strerror(errno));
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

static void log_problems(const char *problems)
{
	const char *at = problems;

	while (at && *at) {
		size_t n = strcspn(at, "\n");

		log_warn("server", NULL, "%.*s", (int)n, at);
		at += n + (at[n] == '\n');
	}
}

static void on_rehosted(void *arg, bool ok, const char *problems)
{
	(void)arg;
	if (!ok)
		log_error("server", NULL, "reload: the database did not answer; hosts and certificates are as before");
	log_problems(problems);
	log_info("server", NULL, "reloaded");
}

bool server_reload(struct server *srv, char **errors)
{
	struct conf *c = conf_load(srv->conf->path, errors);

	if (!c)
		return false;
	if (!conf_read_modules(c, srv->hooks->modules, srv->hooks->module_count, errors) ||
	    !log_configure(c, errors)) {
		conf_unref(c);
		return false;
	}
	server_each(srv, reconf_step, reconf_done, c);
	server_reload_hosts(srv, on_rehosted, srv);
	return true;
}

/* ---- the end */

static void stop_step(struct reactor *r, void *arg)
{
	(void)arg;
	reactor_stop(r);
}

static void cut_step(struct reactor *r, void *arg)
{
	(void)arg;
	streams_cut(r);
}

static void stop_done(struct server *srv, void *arg)
{
	(void)srv;
	(void)arg;
}

static void on_control_closed(void *arg)
{
	(void)arg;
}

void server_stop(struct server *srv)
{
	if (srv->is_stopping) {
		log_info("server", NULL, "told to stop again: not waiting for clients any more");
		server_each(srv, cut_step, stop_done, NULL);
		return;
	}
	log_info("server", NULL, "stopping");
	srv->is_stopping = true;
	for (unsigned i = 0; i < COUNT_OF(srv->signals); i++)
		uv_unref((uv_handle_t *)&srv->signals[i]);
	if (srv->control)
		control_close(srv->control, on_control_closed, srv);
	server_each(srv, stop_step, stop_done, NULL);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct server *srv = handle->data;
	char *errors = NULL;

	if (number != SIGHUP) {
		server_stop(srv);
		return;
	}
	if (!server_reload(srv, &errors))
		log_error("server", NULL, "reload refused; everything is as before");
	log_problems(errors);
	mem_free(errors);
}

/* ---- the start */

static bool fail(const char *format, ...) PRINTF(1, 2);
static bool fail(const char *format, ...)
{
	char line[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	line[strcspn(line, "\n") == strlen(line) - 1 ? strlen(line) - 1 : strlen(line)] = '\0';
	log_error("server", NULL, "%s", line);
	return false;
}

static bool fail_free(char *sentence)
{
	log_problems(sentence);
	fail("not started");
	mem_free(sentence);
	return false;
}

static bool load_modules(struct server *srv)
{
	const struct conf *c = srv->conf;
	const char **names = mem_zalloc((c->module_count + 1) * sizeof *names);
	char *errors = NULL;

	for (unsigned i = 0; i < c->module_count; i++)
		names[i] = c->modules[i].name;
	srv->hooks = hooks_load(c->node.module_dir, names, c->module_count, &errors);
	mem_free(names);
	if (!srv->hooks)
		return fail_free(errors);
	if (!conf_read_modules(srv->conf, srv->hooks->modules, srv->hooks->module_count, &errors))
		return fail_free(errors);
	return true;
}

/* One server per run directory; musterctl takes the same lock before it works without a server. */
static bool lock_run_dir(const struct conf *c, int *fd)
{
	char *path = mem_printf("%s/lock", c->node.run_dir);
	bool ok = false;

	if (mkdir(c->node.run_dir, 0750) != 0 && errno != EEXIST)
		fail("the run directory %s cannot be made: %s (node.run_dir)", c->node.run_dir, strerror(errno));
	else if ((*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
		fail("%s cannot be opened: %s", path, strerror(errno));
	else if (flock(*fd, LOCK_EX | LOCK_NB) != 0)
		fail("%s is locked: another musterd runs with this run directory", path);
	else
		ok = true;
	mem_free(path);
	return ok;
}

static void keep_hosts(void *arg, const struct rows *rows)
{
	struct server *srv = arg;
	char *problems = NULL;

	srv->hosts = hosts_new(rows, srv->conf->node.certificates, &problems);
	log_problems(problems);
	mem_free(problems);
}

static bool open_database(struct server *srv)
{
	const struct conf *c = srv->conf;
	struct database_options *o = &srv->database_options;
	char *error = NULL;

	*o = (struct database_options){
		.is_postgresql = c->store.engine == ENGINE_POSTGRESQL,
		.path = c->store.path,
		.conninfo = c->store.conninfo,
		.password_file = c->store.password_file,
		.schema_dir = c->node.schema_dir,
		.timeout_ms = (unsigned)c->store.timeout,
		.waiting_writes = 100000,
		.waiting_reads = 20000,
		.test_commit_delay_ms = (unsigned)c->store.test_commit_delay,
	};
	srv->db = database_open(o, &error);
	if (!srv->db)
		return fail_free(error);
	srv->durability = database_durability(srv->db);
	if (!database_run(srv->db, &hosts_sql, NO_PARAMS, keep_hosts, srv, &error))
		return fail_free(error);
	return true;
}

/* Behind the opening of ports below 1024 and of the log. */
static bool drop_privileges(const struct conf *c)
{
	const struct passwd *pw;

	if (!c->node.user || geteuid() != 0)
		return true;
	pw = getpwnam(c->node.user);
	if (!pw)
		return fail("there is no user '%s' to run as (node.user)", c->node.user);
	if (initgroups(pw->pw_name, pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0)
		return fail("cannot become user '%s': %s", pw->pw_name, strerror(errno));
	return true;
}

static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void start_listening(struct reactor *r, void *arg)
{
	struct server *srv = r->server;
	char *error = NULL;

	(void)arg;
	if (srv->is_stopping || listeners_open(r, &error))
		return;
	fail("%s", error);
	mem_free(error);
	srv->failed = true;
}

static void on_listening(struct server *srv, void *arg)
{
	char *error = NULL, *path;

	(void)arg;
	if (srv->is_stopping)
		return;
	if (!srv->failed && !drop_privileges(srv->conf))
		srv->failed = true;
	path = mem_printf("%s/" CONTROL_SOCKET, srv->conf->node.run_dir);
	if (!srv->failed)
		srv->control = control_open(&srv->reactors[0]->loop, path, admin_commands, srv, &error);
	mem_free(path);
	if (srv->control) {
		log_info("server", NULL, "Muster %s is ready: %u hosts, %u listeners, %s", muster_version(),
			 srv->hosts->count, srv->conf->listener_count, srv->durability);
		return;
	}
	if (error)
		fail_free(error);
	srv->failed = true;
	server_stop(srv);
}

/* What was on its way is routed before anybody can connect. */
static void on_replayed(struct reactor *r, bool ok)
{
	struct server *srv = r->server;

	if (!ok) {
		fail("the database did not answer at the start");
		srv->failed = true;
		server_stop(srv);
		return;
	}
	server_each(srv, start_listening, on_listening, NULL);
}

static void open_signals(struct server *srv)
{
	static const int numbers[] = { [SIGNAL_TERM] = SIGTERM, [SIGNAL_INT] = SIGINT, [SIGNAL_HUP] = SIGHUP };

	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < COUNT_OF(numbers); i++) {
		ASSERT(uv_signal_init(&srv->reactors[0]->loop, &srv->signals[i]) == 0);
		srv->signals[i].data = srv;
		ASSERT(uv_signal_start(&srv->signals[i], on_signal, numbers[i]) == 0);
		uv_unref((uv_handle_t *)&srv->signals[i]);
	}
}

static void close_signals(struct server *srv)
{
	for (unsigned i = 0; i < COUNT_OF(srv->signals); i++)
		uv_close((uv_handle_t *)&srv->signals[i], NULL);
	uv_run(&srv->reactors[0]->loop, UV_RUN_DEFAULT);
}

static void reactor_thread(void *arg)
{
	reactor_run(arg);
}

static void run_reactors(struct server *srv)
{
	srv->reactor_count = (unsigned)srv->conf->node.reactors;
	srv->reactors = mem_zalloc(srv->reactor_count * sizeof *srv->reactors);
	for (unsigned i = 0; i < srv->reactor_count; i++)
		srv->reactors[i] = reactor_new(srv, i);
	open_signals(srv);
	transit_replay(srv->reactors[0], on_replayed);
	for (unsigned i = 1; i < srv->reactor_count; i++)
		ASSERT(uv_thread_create(&srv->reactors[i]->thread, reactor_thread, srv->reactors[i]) == 0);
	reactor_run(srv->reactors[0]);
	for (unsigned i = 1; i < srv->reactor_count; i++)
		uv_thread_join(&srv->reactors[i]->thread);
	close_signals(srv);
	for (unsigned i = 0; i < srv->reactor_count; i++)
		reactor_free(srv->reactors[i]);
	mem_free(srv->reactors);
}

static void server_free(struct server *srv, int lock)
{
	database_close(srv->db);
	mem_free(srv->durability);
	hosts_unref(srv->hosts);
	hooks_free((struct hooks *)(uintptr_t)srv->hooks);
	conf_unref(srv->conf);
	close(lock);
	mem_free(srv);
}

int server_run(const char *path)
{
	struct server *srv = mem_zalloc(sizeof *srv);
	char *errors = NULL;
	int lock = -1;
	bool failed;

	srv->conf = conf_load(path, &errors);
	if (!srv->conf)
		return fail_free(errors) ? 0 : 2;
	if (!log_configure(srv->conf, &errors))
		return fail_free(errors) ? 0 : 2;
	if (!load_modules(srv) || !lock_run_dir(srv->conf, &lock) || !open_database(srv))
		return 1;
	raise_file_limit();
	ASSERT(uv_random(NULL, NULL, srv->secret, sizeof srv->secret, 0, NULL) == 0);
	srv->started = (int64_t)time(NULL);
	run_reactors(srv);
	failed = srv->failed;
	log_info("server", NULL, "stopped");
	server_free(srv, lock);
	log_close();
	uv_library_shutdown();
	return failed ? 1 : 0;
}
