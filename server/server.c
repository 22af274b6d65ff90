/* server.c - the start of the node, in the order in which what it needs is opened; and its signals. Reload
 * and end are in server_reload.c and server_stop.c. */
#define _GNU_SOURCE /* pthread_setname_np */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin.h"
#include "cert_watch.h"
#include "control.h"
#include "gate.h"
#include "home.h"
#include "listener.h"
#include "live.h"
#include "log.h"
#include "privilege.h"
#include "resumable.h"
#include "upkeep.h"

#define REACTORS_AUTO_MAX 16
#define CLAIM_MS 30000 /* PostgreSQL notices within 20 s that a machine is gone */
#define CLAIM_TOOL_MS 5000

#define SIGNAL_TERM 0
#define SIGNAL_INT 1
#define SIGNAL_HUP 2
#define SIGNAL_USR1 3

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

/* ---- signals */

/* After a rotation: goes on in a new file of the same name. */
static void reopen_log(const struct server *srv)
{
	char *error = NULL;

	if (server_open_log(srv->reactors[0]->conf, &error))
		log_info("server", NULL, "log opened again");
	else
		server_log_lines(error);
	mem_free(error);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct server *srv = handle->data;
	char *errors = NULL;

	if (number == SIGUSR1) {
		reopen_log(srv);
		return;
	}
	if (number != SIGHUP) {
		server_stop(srv);
		return;
	}
	if (srv->is_stopping)
		return;
	if (!server_reload(srv, NULL, NULL, &errors)) {
		server_log_lines(errors);
		log_error("server", NULL, "reload refused; everything is as before");
	}
	mem_free(errors);
}

/* ---- the start */

/* Offline there is no log that musterctl's user looks at: he is told what is wrong. */
static void say(struct server *srv, const char *lines)
{
	if (srv->admin_fd < 0)
		server_log_lines(lines);
	else
		buffer_addf(&srv->complaints, "%s%s", srv->complaints.len ? "\n" : "", lines);
}

static bool fail(struct server *srv, const char *format, ...) PRINTF(2, 3);
static bool fail(struct server *srv, const char *format, ...)
{
	char line[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	line[strcspn(line, "\n") == strlen(line) - 1 ? strlen(line) - 1 : strlen(line)] = '\0';
	if (srv->admin_fd < 0)
		log_error("server", NULL, "%s", line);
	else
		say(srv, line);
	return false;
}

static bool fail_free(struct server *srv, char *sentence)
{
	say(srv, sentence);
	if (srv->admin_fd < 0)
		fail(srv, "not started");
	mem_free(sentence);
	return false;
}

static bool load_modules(struct server *srv)
{
	struct conf *c = srv->conf;
	char *errors = NULL;

	srv->hooks = hooks_load(c->node.module_dir, c->modules, c->module_count, &errors);
	if (!srv->hooks || !conf_read_modules(c, srv->hooks->modules, srv->hooks->module_count, &errors))
		return fail_free(srv, errors);
	return true;
}

/* Who has the lock, in words; the caller frees them. */
static char *lock_holder(int fd)
{
	char text[128];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return mem_strdup(text[0] ? text : "another musterd");
}

static bool lock_is_held(struct server *srv, const char *path, int fd)
{
	char *holder = lock_holder(fd);

	fail(srv, "%s is locked by %s, which works with this run directory", path, holder);
	mem_free(holder);
	return false;
}

/* One server per run directory, or one musterctl that does a server's work. The file says which. */
static bool lock_run_dir(struct server *srv, int *fd)
{
	const char *dir = srv->conf->node.run_dir;
	char *path = mem_printf("%s/lock", dir);
	bool ok = false;

	if (mkdir(dir, 0750) != 0 && errno != EEXIST)
		fail(srv, "the run directory %s cannot be made: %s (node.run_dir)", dir, strerror(errno));
	else if ((*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
		fail(srv, "%s cannot be opened: %s", path, strerror(errno));
	else if (flock(*fd, LOCK_EX | LOCK_NB) != 0)
		lock_is_held(srv, path, *fd);
	else
		ok = ftruncate(*fd, 0) == 0 &&
		     dprintf(*fd, "%s, process %d\n",
		             srv->admin_fd < 0 ? "musterd" : "musterctl without a server",
		             (int)getpid()) > 0;
	mem_free(path);
	return ok;
}

static void keep_hosts(void *arg, const struct rows *rows)
{
	struct server *srv = arg;
	char *problems = NULL;

	srv->hosts = hosts_new(rows, srv->hooks,
	                       &(struct tls_sources){ .dir = srv->conf->node.certificates,
	                                              .client_ca = srv->conf->node.client_ca },
	                       &problems);
	if (srv->admin_fd < 0)
		server_log_lines(problems);
	mem_free(problems);
}

static const struct sql sql_secret_draw = {
	.name = "secret_draw",
	.text =
	    "insert into setting (name, value) values ('login secret', $1) on conflict (name) do nothing",
};
static const struct sql sql_secret = {
	.name = "secret",
	.text = "select value from setting where name = 'login secret'",
};

static void ignore_rows(void *arg, const struct rows *rows)
{
	(void)arg;
	(void)rows;
}

/* Guests whose sessions ended with the server. */
static const struct sql sql_guests_drop = {
	.name = "guests_drop",
	.text = "delete from account where guest = 1",
};

static void keep_secret(void *arg, const struct rows *rows)
{
	struct server *srv = arg;
	size_t n = 0;
	const char *bytes = rows_count(rows) ? rows_bytes(rows, 0, 0, &n) : NULL;

	if (n == sizeof srv->secret)
		memcpy(srv->secret, bytes, n);
	else
		log_warn("server", NULL,
		         "table setting: 'login secret' should be %zu bytes; delete it, then start again",
		         sizeof srv->secret);
}

/* Drawn once for this database: a salt that changed at each start would tell that there is no
 * such account. */
static bool read_secret(struct server *srv, char **error)
{
	ASSERT(uv_random(NULL, NULL, srv->secret, sizeof srv->secret, 0, NULL) == 0);
	return database_run(srv->db, &sql_secret_draw,
	                    PARAMS(P_BYTES((char *)srv->secret, sizeof srv->secret)), ignore_rows, NULL,
	                    error) &&
	       database_run(srv->db, &sql_secret, NO_PARAMS, keep_secret, srv, error);
}

static void choose_database(struct server *srv)
{
	const struct conf *c = srv->conf;

	srv->database_options = (struct database_options){
		.is_postgresql = c->store.engine == ENGINE_POSTGRESQL,
		.path = c->store.path,
		.conninfo = c->store.conninfo,
		.password_file = c->store.password_file,
		.schema_dir = c->node.schema_dir,
		.timeout_ms = (unsigned)c->store.timeout,
		.waiting_writes = 100000,
		.waiting_reads = 20000,
		.spool = srv->admin_fd < 0 ? c->store.spool : NULL, /* it belongs to who delivers */
		.spool_bytes = (uint64_t)c->store.spool_bytes,
		.claim_wait_ms = srv->admin_fd < 0 ? CLAIM_MS : CLAIM_TOOL_MS,
		.test_commit_delay_ms = (unsigned)c->store.test_commit_delay,
	};
}

static bool open_database(struct server *srv)
{
	char *error = NULL;

	srv->db = database_open(&srv->database_options, &error);
	if (!srv->db)
		return fail_free(srv, error);
	srv->durability = database_durability(srv->db);
	if (!database_run(srv->db, &hosts_sql, NO_PARAMS, keep_hosts, srv, &error) ||
	    !database_run(srv->db, &upkeep_parts, NO_PARAMS, ignore_rows, NULL, &error) ||
	    !database_run(srv->db, &sql_guests_drop, NO_PARAMS, ignore_rows, NULL, &error) ||
	    !groups_read(srv, &error) || !read_secret(srv, &error) || !admin_import_finish(srv->db, &error))
		return fail_free(srv, error);
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

/* Stops after a problem at the start. */
static void give_up(struct server *srv)
{
	srv->failed = true;
	server_stop(srv);
}

void server_end_taken(struct server *srv, const char *who)
{
	if (srv->failed)
		return;
	fail(srv,
	     "the database belongs to another musterd now (%s), which was started on it while this one "
	     "could "
	     "not reach it. This one ends: two servers must not work on one database",
	     who);
	give_up(srv);
}

static void start_listening(struct reactor *r, void *arg)
{
	char **error = arg;

	if (!r->is_stopping && !*error && !listeners_open(r, error))
		ASSERT(*error);
}

static bool open_control(struct server *srv)
{
	char *error = NULL, *path = mem_printf("%s/" CONTROL_SOCKET, srv->conf->node.run_dir);

	srv->control = control_open(&srv->reactors[0]->loop, path, admin_commands, srv, &error);
	mem_free(path);
	return srv->control || fail_free(srv, error);
}

void server_say_ready(const struct server *srv)
{
	char status[100];

	snprintf(status, sizeof status, "Serving %u hosts", srv->reactors[0]->hosts->count);
	notify_ready(&srv->notify, status);
}

static void on_listening(struct server *srv, void *arg)
{
	char **listening = arg, *error = *listening;

	mem_free(listening);
	if (srv->is_stopping) {
		mem_free(error);
		return;
	}
	if (error || !privilege_drop(srv->conf, &error)) {
		fail_free(srv, error);
		give_up(srv);
	} else if (!open_control(srv)) {
		give_up(srv);
	} else {
		if (database_is_postgresql(srv->db))
			srv->live = live_open(srv);
		srv->cert_watch = cert_watch_open(srv);
		srv->upkeep = upkeep_open(srv);
		log_info("server", NULL, "Muster %s is ready: %u hosts, %u listeners, %s", muster_version(),
		         srv->hosts->count, srv->conf->listener_count, srv->durability);
		server_say_ready(srv);
		notify_watch(srv);
	}
}

static void on_restored(struct reactor *r, bool ok)
{
	struct server *srv = r->server;

	if (srv->is_stopping)
		return;
	if (!ok) {
		fail(srv, "the database did not answer at the start");
		give_up(srv);
		return;
	}
	privilege_raise(srv->conf);
	server_each(srv, start_listening, on_listening, mem_zalloc(sizeof(char *)));
}

/* What was on its way is routed, and sessions that can be resumed are there, before anybody can connect. */
static void on_replayed(struct reactor *r, bool ok)
{
	if (ok && !r->server->is_stopping)
		resumable_restore(r, on_restored);
	else
		on_restored(r, ok);
}

static void open_signals(struct server *srv)
{
	static const int numbers[] = { [SIGNAL_TERM] = SIGTERM,
		                       [SIGNAL_INT] = SIGINT,
		                       [SIGNAL_HUP] = SIGHUP,
		                       [SIGNAL_USR1] = SIGUSR1 };

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

static void on_admin_ended(void *server)
{
	server_stop(server);
}

/* Instead of listeners and traffic: one control connection. */
static void serve_admin(struct server *srv)
{
	char *error = NULL;

	privilege_raise(srv->conf); /* only root can drop for good */
	if (!privilege_drop(srv->conf, &error)) {
		fail_free(srv, error);
		give_up(srv);
		return;
	}
	srv->control =
	    control_adopt(&srv->reactors[0]->loop, srv->admin_fd, admin_commands, srv, on_admin_ended);
}

static void reactor_thread(void *arg)
{
	struct reactor *r = arg;
	char name[16];

	snprintf(name, sizeof name, "reactor %u", r->index); /* for top -H; the first is musterd itself */
	pthread_setname_np(pthread_self(), name);
	reactor_run(r);
}

/* As many as there are processors for this process. Not more by itself than a PostgreSQL as it comes has
 * connections for (two each), and a machine with more of them is hardly this server's alone. */
static unsigned choose_reactors(const struct server *srv)
{
	unsigned processors = uv_available_parallelism();

	if (srv->admin_fd >= 0)
		return 1;
	if (srv->conf->node.reactors != OPTION_WORD)
		return (unsigned)srv->conf->node.reactors;
	return processors < REACTORS_AUTO_MAX ? processors : REACTORS_AUTO_MAX;
}

static void run_reactors(struct server *srv)
{
	srv->reactor_count = choose_reactors(srv);
	srv->reactors = mem_zalloc(srv->reactor_count * sizeof *srv->reactors);
	for (unsigned i = 0; i < srv->reactor_count; i++)
		srv->reactors[i] = reactor_new(srv, i);
	open_signals(srv);
	if (srv->admin_fd < 0)
		transit_replay(srv->reactors[0], on_replayed);
	else
		serve_admin(srv);
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
	if (srv->db)
		database_close(srv->db);
	buffer_free(&srv->complaints);
	mem_free(srv->durability);
	hosts_unref(srv->hosts);
	groups_unref(srv->groups);
	if (srv->hooks)
		hooks_free((struct hooks *)(uintptr_t)srv->hooks);
	conf_unref(srv->conf);
	mem_free(srv->restore);
	gate_free(srv->gate);
	if (lock >= 0)
		close(lock);
	notify_close(&srv->notify);
	mem_free(srv);
}

/* Who commands what is in the log also while no server runs; but not on the terminal. */
static bool open_log(const struct server *srv, char **error)
{
	if (srv->admin_fd >= 0 && !srv->conf->log.file)
		return log_open(NULL, LOG_ERROR, false);
	return server_open_log(srv->conf, error);
}

static bool open_all(struct server *srv, int *lock)
{
	char *error = NULL;

	if (!privilege_lower(srv->conf, &error) || !open_log(srv, &error))
		return fail_free(srv, error);
	if (privilege_is_kept(srv->conf) && srv->admin_fd < 0)
		log_warn("server", NULL,
		         "runs as root: name a user of its own (node.user) to give that up at the start");
	choose_database(srv);
	return load_modules(srv) && lock_run_dir(srv, lock) &&
	       (srv->is_database_only || open_database(srv));
}

static int run(const char *path, int admin_fd, bool is_database_only)
{
	struct server *srv = mem_zalloc(sizeof *srv);
	char *errors = NULL;
	int lock = -1, status = 2;

	srv->admin_fd = admin_fd;
	srv->is_database_only = is_database_only;
	signal(SIGUSR1, SIG_IGN); /* the log that is about to be opened is a new one */
	notify_open(&srv->notify, admin_fd < 0);
	srv->gate = gate_new();
	srv->conf = conf_load(path, &errors);
	if (!srv->conf) {
		fail_free(srv, errors);
	} else if (!open_all(srv, &lock)) {
		status = 1;
	} else if (srv->is_database_only) {
		admin_db_serve(srv);
		status = 0;
	} else {
		raise_file_limit();
		srv->started = (int64_t)time(NULL);
		run_reactors(srv);
		status = srv->failed ? 1 : 0;
		log_info("server", NULL, "stopped");
	}
	if (srv->complaints.len)
		control_decline(admin_fd, lock >= 0 ? CONTROL_AWAY : CONTROL_BROKEN, srv->complaints.data,
		                NULL);
	server_free(srv, lock);
	log_close();
	uv_library_shutdown();
	return status;
}

int server_run(const char *path)
{
	return run(path, -1, false);
}

int server_run_offline(const char *path, int fd, bool is_database_only)
{
	return run(path, fd, is_database_only);
}
