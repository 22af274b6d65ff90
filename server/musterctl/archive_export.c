/* archive_export.c - "archive export": what the server reads out, page by page, becomes files in a folder. Each is
 * written under another name, synced and renamed; the manifest comes last, so a folder that has one is whole. When
 * it fails, or a signal ends it, what it has written is removed again. */
#include "archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INDEX "server-data.xml"
#define NAME_MAX_BYTES 200 /* a longer name of an account is none of a file */
#define MAKE_ROOM "Make room, or name a folder elsewhere with --to."

struct out {
	FILE *f; /* NULL: closed */
	char *path, *part;
};

struct exporter {
	struct call *call;
	const char *dir;
	const struct archive_form *form;
	struct out manifest, hosts, host, account;
	char *host_name, *account_name, *file; /* of the present account: its file within the folder */
	struct buffer made;                    /* files and folders in it, each with a NUL behind */
	uint64_t files, messages, bytes, in_file;
	const char *until;           /* what is recorded from then on is not in it */
	char oldest[40], newest[40]; /* in the file */
	struct progress progress;
	bool has_failed;
	bool is_made; /* the folder is ours */
};

/* ---- one file */

static bool complain_write(struct exporter *x, const char *path, int failure)
{
	x->has_failed = true;
	return complain(x->call, CONTROL_BROKEN, MAKE_ROOM, "%s cannot be written: %s.", path,
	                strerror(failure));
}

static bool out_open(struct exporter *x, struct out *o, const char *name)
{
	*o = (struct out){ .path = mem_printf("%s/%s", x->dir, name) };
	o->part = mem_printf("%s" ARCHIVE_PART, o->path);
	int fd = open(o->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	o->f = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!o->f)
		return complain_write(x, o->part, errno);
	buffer_add(&x->made, name, strlen(name) + 1);
	return true;
}

static void out_free(struct out *o)
{
	mem_free(o->path);
	mem_free(o->part);
	*o = (struct out){ 0 };
}

/* It is on the disk under its own name then. */
static bool out_finish(struct exporter *x, struct out *o)
{
	int failure = ferror(o->f) ? EIO : 0;

	if (!failure && (fflush(o->f) != 0 || fsync(fileno(o->f)) != 0))
		failure = errno;
	if (fclose(o->f) != 0 && !failure)
		failure = errno;
	o->f = NULL;
	if (!failure && rename(o->part, o->path) != 0)
		failure = errno;
	if (failure) {
		unlink(o->part);
		complain_write(x, o->path, failure);
	}
	out_free(o);
	return !failure;
}

static void out_drop(struct out *o)
{
	if (o->f)
		fclose(o->f);
	if (o->part)
		unlink(o->part);
	out_free(o);
}

static void sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd); /* where a file system does not know that, there is nothing more to be done */
	close(fd);
}

/* ---- the manifest */

static bool manifest_add(struct exporter *x, json_t *line)
{
	bool ok = json_dumpf(line, x->manifest.f, JSON_COMPACT) == 0 && fputc('\n', x->manifest.f) != EOF;
	int failure = errno;

	json_decref(line);
	return ok || complain_write(x, x->manifest.part, failure);
}

static json_t *text_or_null(const char *text)
{
	return text && *text ? json_string(text) : json_null();
}

static bool manifest_begin(struct exporter *x)
{
	char stamp[32], machine[256] = "";
	struct tm utc;
	time_t now = time(NULL);
	const struct call *c = x->call;

	gmtime_r(&now, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);
	gethostname(machine, sizeof(machine) - 1);
	return out_open(x, &x->manifest, ARCHIVE_MANIFEST) &&
	       manifest_add(x,
	                    json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "muster", MUSTER_VERSION,
	                              "made", stamp, "machine", machine, "format", x->form->name, "of",
	                              text_or_null(c->word_count ? c->words[0] : NULL), "with",
	                              text_or_null(call_flag(c, "--with")), "since",
	                              text_or_null(call_flag(c, "--since")), "until",
	                              text_or_null(call_flag(c, "--until"))));
}

/* Notes a file that is finished; `account` NULL: one that brings others in. */
static bool manifest_note(struct exporter *x, const char *file, const char *account)
{
	char sum[65], *path = mem_printf("%s/%s", x->dir, file);
	uint64_t bytes = 0;
	bool ok = file_sum(path, sum, &bytes);
	int failure = errno;

	x->files += ok;
	x->bytes += bytes;
	if (!ok)
		complain(x->call, CONTROL_BROKEN, NULL, "%s cannot be read again: %s.", path,
		         strerror(failure));
	else
		ok = manifest_add(x, json_pack("{s:s, s:o, s:I, s:I, s:s, s:o, s:o}", "file", file,
		                               "account", text_or_null(account), "messages",
		                               (json_int_t)(account ? x->in_file : 0), "bytes",
		                               (json_int_t)bytes, "sha256", sum, "oldest",
		                               text_or_null(account ? x->oldest : NULL), "newest",
		                               text_or_null(account ? x->newest : NULL)));
	x->has_failed = x->has_failed || !ok;
	mem_free(path);
	return ok;
}

/* ---- accounts and hosts: the server gives them in order, so one of each is open */

static bool account_end(struct exporter *x)
{
	if (!x->account.f)
		return true;
	x->form->end(x->account.f);
	char *account = mem_printf("%s@%s", x->account_name, x->host_name);
	bool ok = out_finish(x, &x->account) && manifest_note(x, x->file, account);
	if (ok && x->form->has_index)
		archive_index_add(x->host.f, x->host_name, strchr(x->file, '/') + 1);
	mem_free(account);
	return ok;
}

static bool host_end(struct exporter *x)
{
	if (!account_end(x) || !x->host_name)
		return !x->has_failed;
	char *folder = mem_printf("%s/%s", x->dir, x->host_name),
	     *file = mem_printf("%s.xml", x->host_name);
	sync_folder(folder);
	bool ok = true;
	if (x->form->has_index) {
		archive_index_end(x->host.f, true);
		ok = out_finish(x, &x->host) && manifest_note(x, file, NULL);
		archive_index_add(x->hosts.f, NULL, file);
	}
	mem_free(folder);
	mem_free(file);
	mem_free(x->host_name);
	x->host_name = NULL;
	return ok;
}

static bool host_begin(struct exporter *x, const char *host)
{
	if (!host_end(x))
		return false;
	char *folder = mem_printf("%s/%s", x->dir, host), *file = mem_printf("%s.xml", host);
	x->host_name = mem_strdup(host);
	bool ok = mkdir(folder, 0700) == 0 || complain_write(x, folder, errno);
	if (ok)
		buffer_add(&x->made, host, strlen(host) + 1);
	if (ok && x->form->has_index) {
		ok = out_open(x, &x->host, file);
		if (ok)
			archive_index_begin(x->host.f, host);
	}
	mem_free(folder);
	mem_free(file);
	return ok;
}

static bool account_begin(struct exporter *x, const char *host, const char *name)
{
	if (!account_end(x) || ((!x->host_name || strcmp(x->host_name, host) != 0) && !host_begin(x, host)))
		return false;
	mem_free(x->account_name);
	mem_free(x->file);
	x->account_name = mem_strdup(name);
	/* A number where the name is too long: no account's name has an '@' in it. */
	x->file = strlen(name) > NAME_MAX_BYTES
	              ? mem_printf("%s/@%llu%s", host, (unsigned long long)x->files, x->form->suffix)
	              : mem_printf("%s/%s%s", host, name, x->form->suffix);
	x->in_file = 0;
	if (!out_open(x, &x->account, x->file))
		return false;
	x->form->begin(x->account.f, host, name);
	return true;
}

static bool message_add(struct exporter *x, const json_t *message)
{
	const char *time = json_string_value(json_object_get(message, "time"));
	FILE *f = x->account.f;

	errno = 0;
	bool is_added = x->form->message(f, x->host_name, message);
	if (ferror(f))
		return complain_write(x, x->account.part, errno ? errno : EIO);
	if (!is_added) {
		complain_detail(
		    x->call, "Message %s of %s@%s is damaged in the database, and was left out.",
		    json_string_value(json_object_get(message, "id")), x->account_name, x->host_name);
		return true;
	}
	x->messages++;
	snprintf(x->newest, sizeof(x->newest), "%s", time);
	if (x->in_file++ == 0)
		snprintf(x->oldest, sizeof(x->oldest), "%s", time);
	return true;
}

static bool part_add(struct exporter *x, const json_t *part)
{
	const char *host = json_string_value(json_object_get(part, "host"));
	const char *name = json_string_value(json_object_get(part, "name"));
	const json_t *messages = json_object_get(part, "messages");
	bool is_same =
	    x->account.f && strcmp(x->account_name, name) == 0 && strcmp(x->host_name, host) == 0;

	if (!is_same && !account_begin(x, host, name))
		return false;
	for (size_t i = 0; i < json_array_size(messages); i++) {
		if (!message_add(x, json_array_get(messages, i)))
			return false;
	}
	return true;
}

static bool on_page(struct call *c, const json_t *page, void *arg)
{
	struct exporter *x = arg;
	const json_t *part;
	bool ok = true;
	size_t i;

	(void)c;
	json_array_foreach(json_object_get(page, "parts"), i, part) ok = ok && part_add(x, part);
	x->progress.total = (uint64_t)json_integer_value(json_object_get(page, "total"));
	progress_show(&x->progress, (uint64_t)json_integer_value(json_object_get(page, "done")));
	return ok;
}

/* ---- the folder */

/* It is made, or there and empty. */
static bool folder_begin(struct exporter *x)
{
	x->is_made = mkdir(x->dir, 0700) == 0;
	if (x->is_made)
		return true;
	DIR *d = errno == EEXIST ? opendir(x->dir) : NULL;
	int failure = errno;
	unsigned found = 0;

	for (const struct dirent *e; d && (e = readdir(d));)
		found += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	if (d)
		closedir(d);
	if (!d)
		return complain(x->call, CONTROL_REFUSED, "Name a folder that you may write with --to.",
		                "%s cannot be made: %s.", x->dir, strerror(failure));
	return !found ||
	       complain(x->call, CONTROL_REFUSED, "Name a folder that is not there yet, or is empty.",
	                "%s is not empty.", x->dir);
}

static void remove_made(const struct exporter *x, int (*how)(const char *path))
{
	for (size_t at = 0; at < x->made.len; at += strlen(x->made.data + at) + 1) {
		char *path = mem_printf("%s/%s", x->dir, x->made.data + at);

		how(path);
		mem_free(path);
	}
}

/* What there is of an export that failed is of no use. */
static void folder_undo(struct exporter *x)
{
	out_drop(&x->account);
	out_drop(&x->host);
	out_drop(&x->hosts);
	out_drop(&x->manifest);
	remove_made(x, unlink);
	remove_made(x, rmdir);
	if (x->is_made)
		rmdir(x->dir);
}

static json_t *sums_json(const struct exporter *x)
{
	return json_pack("{s:I, s:I, s:I, s:s}", "files", (json_int_t)x->files, "messages",
	                 (json_int_t)x->messages, "bytes", (json_int_t)x->bytes, "until", x->until);
}

static bool folder_end(struct exporter *x)
{
	if (!host_end(x))
		return false;
	if (x->form->has_index) {
		archive_index_end(x->hosts.f, false);
		if (!out_finish(x, &x->hosts) || !manifest_note(x, INDEX, NULL))
			return false;
	}
	sync_folder(x->dir);
	bool ok = manifest_add(x, sums_json(x)) && out_finish(x, &x->manifest);
	sync_folder(x->dir);
	return ok;
}

/* ---- the command */

static void show_export(const struct exporter *x)
{
	if (x->call->is_json) {
		json_t *result = sums_json(x);

		json_object_set_new(result, "dir", json_string(x->dir));
		show_json(x->call, result);
		json_decref(result);
		return;
	}
	printf("%s: %llu messages in %llu files, %.1f MB.\n\"musterctl archive verify %s\" checks them.\n",
	       x->dir, (unsigned long long)x->messages, (unsigned long long)x->files,
	       (double)x->bytes / (1024 * 1024), x->dir);
}

/* What the files are like is not the server's business. */
bool archive_export_args(struct call *c)
{
	if (!flags_to_args(c))
		return false;
	json_object_del(c->args, "all");
	json_object_del(c->args, "to");
	json_object_del(c->args, "format");
	return true;
}

static bool export_args(struct call *c, struct exporter *x)
{
	const char *form = call_flag(c, "--format");

	x->form = archive_form_find(form ? form : "xml");
	x->dir = call_flag(c, "--to");
	if (!c->word_count == !call_flag(c, "--all"))
		return complain_usage(c, "Name an account or a domain, or say --all.",
		                      "Whose archives are to be exported?", NULL);
	if (!x->dir)
		return complain_usage(c, "Name it with --to.", "A folder for the files is needed.", NULL);
	return x->form || complain_usage(c, "It is " ARCHIVE_FORMS ".", "There is no such format:", form);
}

int archive_export(struct call *c)
{
	struct exporter x = { .call = c };

	if (!export_args(c, &x))
		return c->status;
	mode_t mask = umask(0077);
	talk_hold_signals(c, "Interrupted: nothing stays of the export.");
	if (folder_begin(&x)) {
		bool ok = manifest_begin(&x) && (!x.form->has_index || out_open(&x, &x.hosts, INDEX));

		if (ok && x.form->has_index)
			archive_index_begin(x.hosts.f, NULL);
		progress_begin(&x.progress, c, "Exporting", 0);
		json_t *result = ok ? talk(c, c->verb->name, json_incref(c->args), on_page, &x) : NULL;
		progress_end(&x.progress);
		x.until = json_string_value(json_object_get(result, "until"));
		if (result && folder_end(&x))
			show_export(&x);
		else
			folder_undo(&x);
		json_decref(result);
	}
	umask(mask);
	mem_free(x.host_name);
	mem_free(x.account_name);
	mem_free(x.file);
	buffer_free(&x.made);
	return c->status;
}
