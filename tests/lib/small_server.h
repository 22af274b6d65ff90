/* small_server.h - a whole node in a test's own process: reactors over a SQLite database in a temporary
 * directory, one host, one account, no modules. Nothing listens unless the test does. */
#ifndef MUSTER_TESTS_SMALL_SERVER_H
#define MUSTER_TESTS_SMALL_SERVER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gate.h"
#include "hash.h"
#include "log.h"
#include "sasl.h"
#include "server.h"

#define SMALL_HOST "verona.example"
#define SMALL_USER "juliet"
#define SMALL_PASSWORD "secret"

struct small_server {
	char dir[64];
	struct server server;
};

static void small_write_conf(const struct small_server *s, const char *path, unsigned reactors)
{
	FILE *f = fopen(path, "w");

	ASSERT(f);
	fprintf(f,
	        "node:\n  run_dir: %s\n  certificates: %s\n  schema_dir: %s\n  reactors: %u\n"
	        "store:\n  path: %s/muster.db\n"
	        "log:\n  level: error\n"
	        /* A fuzzer guesses a million passwords. */
	        "limits:\n  failures_per_address: 1000000\n  failures_per_account: 1000000\n  "
	        "failure_time: 1s\n",
	        s->dir, s->dir, SCHEMA_DIR, reactors, s->dir);
	fclose(f);
}

static void small_ignore(void *arg, const struct rows *rows)
{
	(void)arg;
	(void)rows;
}

static void small_keep_hosts(void *arg, const struct rows *rows)
{
	struct server *srv = arg;
	char *problems = NULL;

	srv->hosts = hosts_new(rows, srv->hooks,
	                       &(struct tls_sources){ .dir = srv->conf->node.certificates }, &problems);
	mem_free(problems); /* there is no certificate */
}

static void small_run(struct server *srv, const struct sql *sql, const struct param *params, unsigned count,
                      store_rows_fn *fn)
{
	char *error = NULL;

	if (database_run(srv->db, sql, params, count, fn, srv, &error))
		return;
	fprintf(stderr, "%s\n", error);
	abort();
}

static void small_fill(struct server *srv)
{
	static const struct sql host = { .name = "host",
		                         .text = "insert into host (name) values ('" SMALL_HOST "')" };
	static const struct sql account = {
		.name = "account",
		.text = "insert into account (host, name, salt, iterations, stored_sha1, server_sha1, "
			"stored_sha256,"
			" server_sha256) values (1, '" SMALL_USER "', $1, $2, $3, $4, $5, $6)",
	};
	struct sasl_keys k = { .iterations = 1 };

	ASSERT(sasl_keys_derive(&k, SMALL_PASSWORD));
	small_run(srv, &host, NO_PARAMS, small_ignore);
	small_run(srv, &account,
	          PARAMS(P_BYTES((char *)k.salt, k.salt_len), P_INT(k.iterations),
	                 P_BYTES((char *)k.stored_sha1, 20), P_BYTES((char *)k.server_sha1, 20),
	                 P_BYTES((char *)k.stored_sha256, 32), P_BYTES((char *)k.server_sha256, 32)),
	          small_ignore);
	small_run(srv, &hosts_sql, NO_PARAMS, small_keep_hosts);
	ASSERT(srv->hosts->count == 1);
	srv->groups = groups_new(0, NULL, 0, NULL, 0);
}

/* Reactors that do not run yet. */
static struct small_server *small_server_new(unsigned reactors)
{
	struct small_server *s = mem_zalloc(sizeof *s);
	struct server *srv = &s->server;
	char *path, *error = NULL;

	snprintf(s->dir, sizeof s->dir, "/tmp/muster-small-XXXXXX");
	ASSERT(mkdtemp(s->dir));
	path = mem_printf("%s/muster.conf", s->dir);
	small_write_conf(s, path, reactors);
	srv->gate = gate_new();
	srv->conf = conf_load(path, &error);
	ASSERT(srv->conf && log_open(NULL, LOG_ERROR, false));
	mem_free(path);
	srv->hooks = hooks_load(".", NULL, 0, &error);
	ASSERT(srv->hooks && conf_read_modules(srv->conf, NULL, 0, &error));
	srv->database_options = (struct database_options){
		.path = srv->conf->store.path,
		.schema_dir = srv->conf->node.schema_dir,
		.timeout_ms = 2000,
		.waiting_writes = 10000,
		.waiting_reads = 10000,
	};
	srv->db = database_open(&srv->database_options, &error);
	ASSERT(srv->db);
	small_fill(srv);
	notify_open(&srv->notify, false);
	srv->reactor_count = reactors;
	srv->reactors = mem_zalloc(reactors * sizeof *srv->reactors);
	for (unsigned i = 0; i < reactors; i++)
		srv->reactors[i] = reactor_new(srv, i);
	return s;
}

/* When the loops have ended. */
static void small_server_free(struct small_server *s)
{
	struct server *srv = &s->server;
	static const char *const files[] = { "muster.conf", "muster.db", "muster.db-wal", "muster.db-shm",
		                             "muster.db.lock" };

	for (unsigned i = 0; i < srv->reactor_count; i++)
		reactor_free(srv->reactors[i]);
	mem_free(srv->reactors);
	database_close(srv->db);
	hosts_unref(srv->hosts);
	groups_unref(srv->groups);
	hooks_free((struct hooks *)(uintptr_t)srv->hooks);
	conf_unref(srv->conf);
	gate_free(srv->gate);
	for (unsigned i = 0; i < COUNT_OF(files); i++) {
		char *path = mem_printf("%s/%s", s->dir, files[i]);

		unlink(path);
		mem_free(path);
	}
	rmdir(s->dir);
	mem_free(s);
}

#endif
