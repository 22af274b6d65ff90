/* backup.c - "backup": the database, the configuration and a manifest in a folder of their own;
 * "backup verify": whether all of it is there, unchanged, and can really be restored. */
#include "backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_BYTES_MAX (1U << 20)
#define MANIFEST_BYTES_MAX (16U << 20)
#define PARTS_MAX 4096

struct backup {
	struct call *call;
	const char *dir;
	struct conf *conf; /* when one is made */
	json_t *manifest;
	unsigned problems; /* when one is verified */
};

static char *path_in(const struct backup *b, const char *name)
{
	return mem_printf("%s/%s", b->dir, name);
}

/* ---- making one: parts */

/* Notes a file of the folder in the manifest, with its sum. It is on the disk then. */
static bool note_part(struct backup *b, const char *name)
{
	char sum[65], *path = path_in(b, name);
	uint64_t size = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0 && file_sum(path, sum, &size);

	if (fd >= 0)
		close(fd);
	if (ok)
		json_array_append_new(
		    json_object_get(b->manifest, "parts"),
		    json_pack("{s:s, s:I, s:s}", "name", name, "bytes", (json_int_t)size, "sha256", sum));
	else
		complain(b->call, CONTROL_BROKEN, NULL, "%s cannot be read again: %s.", path,
		         strerror(errno));
	mem_free(path);
	return ok;
}

static bool write_file(struct call *c, const char *path, const char *text, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
	bool ok = f && fwrite(text, 1, n, f) == n && fflush(f) == 0 && fsync(fd) == 0;
	int failure = errno;

	if (f && fclose(f) != 0)
		ok = false;
	return ok ||
	       complain(c, CONTROL_BROKEN, NULL, "%s cannot be written: %s.", path, strerror(failure));
}

static bool copy_file(struct backup *b, const char *from, const char *name)
{
	size_t n;
	char *text = file_load(b->call, from, CONFIG_BYTES_MAX, &n), *to = path_in(b, name);
	bool ok = text && write_file(b->call, to, text, n) && note_part(b, name);

	if (text)
		mem_free_secret(text, n);
	mem_free(to);
	return ok;
}

static bool take_database(struct backup *b)
{
	const struct store_conf *store = &b->conf->store;
	bool is_pg = store->engine == ENGINE_POSTGRESQL;
	const char *name = is_pg ? BACKUP_POSTGRESQL : BACKUP_SQLITE;
	json_t *tables = json_object_get(b->manifest, "tables");
	json_int_t schema = 0;
	char *path = path_in(b, name);
	bool ok = is_pg ? backup_pg(b->call, store, path, tables, &schema)
	                : backup_sqlite(b->call, store->path, path) &&
	                      backup_sqlite_look(b->call, path, tables, &schema);

	mem_free(path);
	json_object_set_new(b->manifest, "engine", json_string(is_pg ? "postgresql" : "sqlite"));
	json_object_set_new(b->manifest, "schema", json_integer(schema));
	return ok && note_part(b, name);
}

/* The files of the certificates' folder: listed, and copied only with their keys. */
static bool take_certificates(struct backup *b)
{
	const char *from = b->conf->node.certificates;
	bool with_keys = call_flag(b->call, "--with-keys"), ok = true;
	DIR *d = opendir(from);
	char *to = path_in(b, "certs");

	if (d && with_keys && mkdir(to, 0700) != 0)
		ok = complain(b->call, CONTROL_BROKEN, NULL, "%s cannot be made: %s.", to, strerror(errno));
	for (struct dirent *e; ok && d && (e = readdir(d));) {
		const char *dot = strrchr(e->d_name, '.');

		if (!dot ||
		    (strcmp(dot, ".crt") != 0 && strcmp(dot, ".key") != 0 && strcmp(dot, ".pem") != 0))
			continue;
		json_array_append_new(json_object_get(b->manifest, "certificates"), json_string(e->d_name));
		char *source = mem_printf("%s/%s", from, e->d_name),
		     *name = mem_printf("certs/%s", e->d_name);
		ok = !with_keys || copy_file(b, source, name);
		mem_free(source);
		mem_free(name);
	}
	if (d)
		closedir(d);
	mem_free(to);
	return ok;
}

/* ---- making one: the whole */

static bool write_manifest(struct backup *b)
{
	size_t n = json_dumpb(b->manifest, NULL, 0, JSON_INDENT(2));
	char *text = mem_alloc(n), *path = path_in(b, BACKUP_MANIFEST);

	json_dumpb(b->manifest, text, n, JSON_INDENT(2));
	bool ok = write_file(b->call, path, text, n);
	mem_free(path);
	mem_free(text);
	return ok;
}

static void begin_manifest(struct backup *b)
{
	char stamp[32], host[256] = "";
	struct tm utc;
	time_t now = time(NULL);

	gmtime_r(&now, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);
	gethostname(host, sizeof(host) - 1);
	b->manifest = json_pack("{s:s, s:s, s:s, s:{}, s:[], s:[]}", "muster", MUSTER_VERSION, "made",
	                        stamp, "machine", host, "tables", "parts", "certificates");
}

/* What there is of a backup that failed is of no use. */
static void remove_parts(const struct backup *b)
{
	static const char *const names[] = { BACKUP_SQLITE, BACKUP_SQLITE "-journal", BACKUP_POSTGRESQL,
		                             "muster.conf", BACKUP_MANIFEST };
	const json_t *part;
	size_t i;

	json_array_foreach(json_object_get(b->manifest, "parts"), i, part)
	{
		char *path = path_in(b, json_string_value(json_object_get(part, "name")));

		unlink(path);
		mem_free(path);
	}
	for (i = 0; i < COUNT_OF(names); i++) {
		char *path = path_in(b, names[i]);

		unlink(path);
		mem_free(path);
	}
	char *certs = path_in(b, "certs");
	rmdir(certs);
	mem_free(certs);
	rmdir(b->dir);
}

static struct conf *load_conf(struct call *c)
{
	char *errors = NULL;
	struct conf *conf = conf_load(talk_config(c), &errors);

	if (!conf)
		complain(c, CONTROL_USAGE, "Name the server's configuration file with --config.",
		         "The configuration cannot be read:\n%.*s", (int)strcspn(errors, "\n"), errors);
	mem_free(errors);
	return conf;
}

static void show_backup(const struct backup *b)
{
	json_int_t bytes = 0, rows = 0;
	const json_t *part, *count;
	const char *name;
	size_t i;

	if (b->call->is_json) {
		show_json(b->call, b->manifest);
		return;
	}
	json_array_foreach(json_object_get(b->manifest, "parts"), i, part) bytes +=
	    json_integer_value(json_object_get(part, "bytes"));
	json_object_foreach(json_object_get(b->manifest, "tables"), name, count) rows +=
	    json_integer_value(count);
	printf("%s: %zu tables with %lld rows, %.1f MB.\n", b->dir,
	       json_object_size(json_object_get(b->manifest, "tables")), (long long)rows,
	       (double)bytes / (1024 * 1024));
}

int backup_make(struct call *c)
{
	struct backup b = { .call = c, .dir = c->words[0], .conf = load_conf(c) };
	mode_t mask = umask(0077);

	if (b.conf && mkdir(b.dir, 0700) != 0) {
		complain(c, CONTROL_REFUSED, "Name a folder that is not there yet.",
		         "%s cannot be made: %s.", b.dir, strerror(errno));
	} else if (b.conf) {
		begin_manifest(&b);
		if (take_database(&b) && copy_file(&b, talk_config(c), "muster.conf") &&
		    take_certificates(&b) && write_manifest(&b))
			show_backup(&b);
		else
			remove_parts(&b);
	}
	umask(mask);
	json_decref(b.manifest);
	if (b.conf)
		conf_unref(b.conf);
	return c->status;
}

/* ---- verifying one */

static void problem(struct backup *b, const char *format, ...) PRINTF(2, 3);
static void problem(struct backup *b, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	char *line = mem_vprintf(format, args);
	va_end(args);
	complain_detail(b->call, "%s", line);
	mem_free(line);
	b->problems++;
}

static void verify_part(struct backup *b, const json_t *part)
{
	const char *name = json_string_value(json_object_get(part, "name"));
	const char *wanted = json_string_value(json_object_get(part, "sha256"));
	json_int_t bytes = json_integer_value(json_object_get(part, "bytes"));
	char sum[65], *path = name && !strstr(name, "..") && *name != '/' ? path_in(b, name) : NULL;
	uint64_t size = 0;

	if (!path || !wanted)
		problem(b, "The manifest is not as it must be.");
	else if (!file_sum(path, sum, &size))
		problem(b, "%s cannot be read: %s.", path, strerror(errno));
	else if (size != (uint64_t)bytes || strcmp(sum, wanted) != 0)
		problem(b, "%s is not what was written: its SHA-256 differs.", path);
	mem_free(path);
}

static bool load_manifest(struct backup *b)
{
	size_t n;
	json_error_t error;
	char *path = path_in(b, BACKUP_MANIFEST);
	char *text = access(path, F_OK) == 0 ? file_load(b->call, path, MANIFEST_BYTES_MAX, &n) : NULL;

	if (text)
		b->manifest = json_loadb(text, n, 0, &error);
	if (!b->manifest || !json_is_array(json_object_get(b->manifest, "parts")) ||
	    json_array_size(json_object_get(b->manifest, "parts")) > PARTS_MAX)
		complain(b->call, CONTROL_REFUSED, "Name a folder that \"musterctl backup\" has made.",
		         "%s is no whole backup: its %s is missing or damaged.", b->dir, BACKUP_MANIFEST);
	mem_free(text);
	mem_free(path);
	return b->call->status == CONTROL_OK;
}

/* The counts of what was restored must be those of the moment of the backup. */
static void compare(struct backup *b, const json_t *restored, json_int_t schema)
{
	const json_t *wanted = json_object_get(b->manifest, "tables"), *count;
	const char *name;

	if (schema != json_integer_value(json_object_get(b->manifest, "schema")))
		problem(b, "The restored tables are of another version: %lld.", (long long)schema);
	json_object_foreach((json_t *)(uintptr_t)wanted, name, count)
	{
		const json_t *found = json_object_get(restored, name);

		if (!json_equal(found, count))
			problem(b, "Table %s has %lld rows restored, and had %lld.", name,
			        found ? (long long)json_integer_value(found) : -1LL,
			        (long long)json_integer_value(count));
	}
}

/* A copy in a folder of its own, as opening a database may write. */
static bool restore_sqlite(struct backup *b, json_t *tables, json_int_t *schema)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = mem_printf("%s/muster-verify.XXXXXX", tmp ? tmp : "/var/tmp");
	bool ok = mkdtemp(dir) || complain(b->call, CONTROL_BROKEN, "Set TMPDIR to a folder with room.",
	                                   "%s cannot be made: %s.", dir, strerror(errno));
	char *from = path_in(b, BACKUP_SQLITE), *to = mem_printf("%s/" BACKUP_SQLITE, dir);

	if (ok) {
		ok = backup_sqlite(b->call, from, to) && backup_sqlite_look(b->call, to, tables, schema);
		unlink(to);
		rmdir(dir);
	}
	mem_free(from);
	mem_free(to);
	mem_free(dir);
	return ok;
}

static bool verify_database(struct backup *b)
{
	const char *engine = json_string_value(json_object_get(b->manifest, "engine"));
	const char *into = call_flag(b->call, "--restore-into");
	bool is_pg = engine && strcmp(engine, "postgresql") == 0, ok;
	json_t *tables = json_object();
	json_int_t schema = 0;
	char *path = path_in(b, BACKUP_POSTGRESQL);

	if (into && !is_pg)
		ok = complain(b->call, CONTROL_USAGE, NULL, "--restore-into is for backups of PostgreSQL.");
	else if (is_pg)
		ok = backup_pg_look(b->call, path, into, tables, &schema);
	else
		ok = restore_sqlite(b, tables, &schema);
	if (ok && (!is_pg || into))
		compare(b, tables, schema);
	mem_free(path);
	json_decref(tables);
	return ok;
}

static void verify_parts(struct backup *b)
{
	const json_t *parts = json_object_get(b->manifest, "parts"), *part;
	struct progress p;
	size_t i;

	progress_begin(&p, b->call, "Verifying", json_array_size(parts));
	json_array_foreach(parts, i, part)
	{
		verify_part(b, part);
		progress_show(&p, i + 1);
	}
	progress_end(&p);
}

static void show_verified(const struct backup *b)
{
	const char *made = json_string_value(json_object_get(b->manifest, "made"));
	const char *engine = json_string_value(json_object_get(b->manifest, "engine"));
	bool is_restored = strcmp(engine, "sqlite") == 0 || call_flag(b->call, "--restore-into");

	if (b->call->is_json)
		show_json(b->call, b->manifest);
	else
		printf("%s, made %s: whole%s.\n", b->dir, made ? made : "at an unknown time",
		       is_restored ? "; restored, every table has its rows" : ", and its dump can be read");
}

int backup_verify(struct call *c)
{
	struct backup b = { .call = c, .dir = c->words[0] };

	if (load_manifest(&b)) {
		verify_parts(&b);
		if (!b.problems && verify_database(&b) && !b.problems)
			show_verified(&b);
		else if (b.problems)
			complain(c, CONTROL_REFUSED, "Take another backup.", "%s cannot be relied on.",
			         b.dir);
	}
	json_decref(b.manifest);
	return c->status;
}
