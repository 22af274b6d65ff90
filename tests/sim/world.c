/* world.c - the node: its configuration, database, modules and reactors, as server.c would make them, but
 * that no loop runs and nothing listens; what is in its tables at the beginning; and what is in them now,
 * over a connection of its own. */
#define _GNU_SOURCE /* memmem */
#include <dirent.h>
#include <sqlite3.h>
#include <unistd.h>

#include "gate.h"
#include "hash.h"
#include "home.h"
#include "log.h"
#include "sim.h"
#include "store_engine.h"

struct server *world;

static const struct hooks *hooks; /* of all lives */
static struct engine engine;
static sqlite3 *eyes; /* sees what is committed */
static sqlite3_stmt *find_entry;
static bool was_replayed;

/* A kill takes no page from the system: nobody here, and in SQLite, waits for the disk. */
int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

/* ---- what the database holds */

int64_t ask(const char *format, ...)
{
	char text[512];
	sqlite3_stmt *q;
	int64_t n = -1;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	ASSERT(sqlite3_prepare_v2(eyes, text, -1, &q, NULL) == SQLITE_OK);
	if (sqlite3_step(q) == SQLITE_ROW)
		n = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return n;
}

int64_t ask_contact(unsigned user, unsigned contact, const char *what)
{
	int64_t n = ask("select %s from roster where owner = (select id from account where name = 'u%u')"
	                " and contact = 'u%u@" SIM_HOST "'",
	                what, user, contact);

	return n < 0 ? 0 : n;
}

int64_t ask_account(unsigned user)
{
	int64_t id = ask("select id from account where name = 'u%u' and disabled = 0", user);

	return id < 0 ? 0 : id;
}

/* A whole file of the spool, or part of one, as bytes. */
static bool file_has(const char *path, const char *what)
{
	char buffer[1 << 16];
	FILE *f = fopen(path, "r");
	bool has = false;
	size_t n;

	while (f && !has && (n = fread(buffer, 1, sizeof buffer, f)) > 0)
		has = memmem(buffer, n, what, strlen(what)) != NULL;
	if (f)
		fclose(f);
	return has;
}

static bool spool_has(const char *what)
{
	char path[400];
	bool has = false;
	struct dirent *entry;
	DIR *d;

	snprintf(path, sizeof path, "%s/spool", sim->dir);
	d = opendir(path);
	while (d && !has && (entry = readdir(d))) {
		snprintf(path, sizeof path, "%s/spool/%s", sim->dir, entry->d_name);
		has = strstr(entry->d_name, ".spool") && file_has(path, what);
	}
	if (d)
		closedir(d);
	return has;
}

/* Or on its way to where it will be. */
bool world_has_record(unsigned message)
{
	char text[16];

	snprintf(text, sizeof text, ">m%u.<", message);
	return ask("select count(*) from record where instr(stanza, '%s')", text) > 0 ||
	       ask("select count(*) from transit where instr(stanza, '%s')", text) > 0 || spool_has(text);
}

bool world_has_entry(int64_t account, int64_t entry, unsigned message)
{
	char text[16];
	bool has;

	snprintf(text, sizeof text, ">m%u.<", message);
	sqlite3_bind_int64(find_entry, 1, account);
	sqlite3_bind_int64(find_entry, 2, entry);
	has = sqlite3_step(find_entry) == SQLITE_ROW &&
	      strstr((const char *)sqlite3_column_text(find_entry, 0), text);
	sqlite3_reset(find_entry);
	return has || (sim->profile.has_spool && world_has_record(message));
}

bool world_is_busy(void)
{
	for (unsigned i = 0; i < world->reactor_count; i++) {
		const struct store *s = world->reactors[i]->store;

		if (s->counts.waiting_reads || s->counts.waiting_writes || store_is_away(s))
			return true;
	}
	return fault_is_down() || !was_replayed;
}

/* ---- the beginning */

static void run(const char *format, ...) PRINTF(1, 2);
static void run(const char *format, ...)
{
	struct sql sql = { .name = "sim" };
	char *error = NULL;
	va_list args;
	char text[400];

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	sql.text = text;
	if (!database_run(world->db, &sql, NO_PARAMS, NULL, NULL, &error)) {
		fprintf(stderr, "%s\n", error);
		abort();
	}
}

static void fill_contact(unsigned user, unsigned contact)
{
	run("insert into roster (owner, contact, subscription)"
	    " select id, 'u%u@" SIM_HOST "', 3 from account where name = 'u%u'",
	    contact, user);
}

/* Half of the pairs see each other; some are in a group. */
static void fill(void)
{
	run("insert into host (name) values ('" SIM_HOST "')");
	run("insert into policy (host, name, value) values (1, 'register.remove', 'true')");
	run("insert into contact_group (host, name, title) values (1, 'team', 'Team')");
	for (unsigned i = 0; i < USERS; i++)
		run("insert into account (host, name) values (1, 'u%u')", i);
	for (unsigned i = 0; i < USERS; i++)
		for (unsigned j = 0; j < i; j++)
			if (draw(2)) {
				fill_contact(i, j);
				fill_contact(j, i);
			}
	run("insert into policy (host, name, value) values (1, 'record.preferences', '%s')",
	    sim->profile.has_wishes ? "users" : "fixed");
	for (unsigned i = 0; sim->profile.has_wishes && i < USERS; i++)
		if ((sim->keeps_not[i] = draw(2)))
			run("insert into preference select id, '', 'never' from account where name = 'u%u'",
			    i);
	for (unsigned i = 0; sim->profile.has_admin && i < USERS; i++)
		if ((sim->had_group[i] = ONE_IN(3)))
			run("insert into contact_group_member values (1, (select id from account where name ="
			    " 'u%u'))",
			    i);
}

static void write_conf(const char *path)
{
	FILE *f = fopen(path, "w");

	ASSERT(f);
	fprintf(f,
	        "node:\n  run_dir: %s\n  certificates: %s\n  schema_dir: %s\n  reactors: %u\n"
	        "store:\n  path: %s/muster.db\n  share_transactions: %s\n"
	        "log:\n  level: error\n"
	        "limits:\n  mailbox: %u\n",
	        sim->dir, sim->dir, SCHEMA_DIR, sim->profile.reactors, sim->dir,
	        sim->profile.shares ? "true" : "false", sim->profile.has_small_mailbox ? 3 : 1000);
	fclose(f);
}

void world_load_modules(void)
{
	const char *build = getenv("MUSTER_BUILD");
	char *dir = mem_printf("%s/modules", build ? build : "."), *error = NULL;
	char path[] = "/tmp/muster-sim-conf-XXXXXX";
	int fd = mkstemp(path);
	struct conf *conf;

	ASSERT(fd >= 0);
	dprintf(fd, "store:\n  path: muster.db\n");
	conf = conf_load(path, &error);
	if (conf)
		hooks = hooks_load(dir, conf->modules, conf->module_count, &error);
	if (!hooks) {
		fprintf(stderr, "%s\n", error);
		abort();
	}
	conf_unref(conf);
	close(fd);
	unlink(path);
	mem_free(dir);
}

static void keep_hosts(void *arg, const struct rows *rows)
{
	char *problems = NULL;

	(void)arg;
	world->hosts = hosts_new(rows, world->hooks,
	                         &(struct tls_sources){ .dir = world->conf->node.certificates }, &problems);
	mem_free(problems); /* there is no certificate */
}

static void open_database(void)
{
	char *error = NULL;

	world->database_options = (struct database_options){
		.path = world->conf->store.path,
		.schema_dir = world->conf->node.schema_dir,
		.timeout_ms = 2000,
		.waiting_writes = 10000,
		.waiting_reads = 10000,
		.spool = sim->profile.has_spool ? mem_printf("%s/spool", sim->dir) : NULL,
		.spool_bytes = 16 << 20,
	};
	world->db = database_open(&world->database_options, &error);
	if (!world->db) {
		fprintf(stderr, "%s\n", error);
		abort();
	}
	world->db->engine = fault_engine(world->db->engine, &engine);
}

static void open_eyes(void)
{
	ASSERT(sqlite3_open_v2(world->conf->store.path, &eyes, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK);
	ASSERT(sqlite3_prepare_v2(eyes,
	                          "select r.stanza from entry e join record r on r.id = e.record"
	                          " where e.owner = ?1 and e.id = ?2",
	                          -1, &find_entry, NULL) == SQLITE_OK);
}

static void on_replayed(struct reactor *r, bool ok)
{
	(void)r, (void)ok;
	was_replayed = true;
}

void world_begin(void)
{
	char *path = mem_printf("%s/muster.conf", sim->dir), *error = NULL;

	world = mem_zalloc(sizeof *world);
	write_conf(path);
	world->gate = gate_new();
	world->conf = conf_load(path, &error);
	ASSERT(world->conf && log_open(sim->is_verbose ? NULL : "/dev/null",
	                               sim->is_verbose ? LOG_DEBUG : LOG_ERROR, false));
	world->hooks = hooks;
	ASSERT(conf_read_modules(world->conf, hooks->modules, hooks->module_count, &error));
	world->conf->limits.idle_home = 500;
	world->conf->limits.resume_time = 4000;
	open_database();
	if (sim->life == 1)
		fill();
	ASSERT(database_run(world->db, &hosts_sql, NO_PARAMS, keep_hosts, NULL, &error));
	ASSERT(groups_read(world, &error));
	open_eyes();
	notify_open(&world->notify, false);
	world->reactor_count = sim->profile.reactors;
	world->reactors = mem_zalloc(world->reactor_count * sizeof *world->reactors);
	for (unsigned i = 0; i < world->reactor_count; i++)
		world->reactors[i] = reactor_new(world, i);
	transit_replay(world->reactors[0], on_replayed);
	mem_free(path);
}

/* ---- the end */

static void close_stores(void)
{
	bool is_open = true;

	for (unsigned i = 0; i < world->reactor_count; i++)
		reactor_close(world->reactors[i]);
	while (is_open) {
		is_open = false;
		while (loop_step())
			;
		for (unsigned i = 0; i < world->reactor_count; i++)
			is_open |= uv_run(&world->reactors[i]->loop, UV_RUN_NOWAIT) != 0;
	}
}

static void remove_files(const char *dir)
{
	char path[400];
	struct dirent *entry;
	DIR *d = opendir(dir);

	while (d && (entry = readdir(d))) {
		if (entry->d_name[0] == '.' && (!entry->d_name[1] || entry->d_name[1] == '.'))
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
		if (unlink(path) != 0)
			remove_files(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

void world_remove_files(void)
{
	remove_files(sim->dir);
}

void world_end(void)
{
	sqlite3_finalize(find_entry);
	sqlite3_close(eyes);
	close_stores();
	for (unsigned i = 0; i < world->reactor_count; i++)
		reactor_free(world->reactors[i]);
	mem_free(world->reactors);
	database_close(world->db);
	mem_free((char *)(uintptr_t)world->database_options.spool);
	hosts_unref(world->hosts);
	groups_unref(world->groups);
	conf_unref(world->conf);
	gate_free(world->gate);
	mem_free(world);
}
