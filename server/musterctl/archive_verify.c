/* archive_verify.c - "archive verify": whether each file of an exported folder is as it was written, has as many
 * messages as it had, and whether all of them are there. */
#include "archive.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define PROBLEMS_SHOWN 100

struct verify {
	struct call *call;
	const char *dir;
	const struct archive_form *form;
	uint64_t files, messages, bytes; /* seen */
	uint64_t problems;
	json_t *first, *last; /* lines of the manifest: what it is of; the sums */
	struct progress progress;
};

static void problem(struct verify *v, const char *format, ...) PRINTF(2, 3);
static void problem(struct verify *v, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	char *line = mem_vprintf(format, args);
	va_end(args);
	if (v->problems++ < PROBLEMS_SHOWN)
		complain_detail(v->call, "%s", line);
	mem_free(line);
}

static uint64_t number_of(const json_t *note, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(note, key));
}

/* How many messages are in it, by what each begins with. */
static bool count_messages(const struct verify *v, const char *path, uint64_t *count)
{
	size_t size = 0, n = strlen(v->form->counted);
	char *line = NULL;
	FILE *f = fopen(path, "re");

	*count = 0;
	while (f && getline(&line, &size, f) > 0)
		*count += strncmp(line, v->form->counted, n) == 0;
	bool ok = f && !ferror(f);
	if (f)
		fclose(f);
	mem_free(line);
	return ok;
}

static void verify_file(struct verify *v, const json_t *note)
{
	const char *file = json_string_value(json_object_get(note, "file"));
	const char *wanted = json_string_value(json_object_get(note, "sha256"));
	uint64_t size = 0, count = 0;
	char sum[65];

	if (!wanted || *file == '/' || strncmp(file, "../", 3) == 0 || strstr(file, "/../")) {
		problem(v, "The manifest is not as it must be: %s.", file);
		return;
	}
	char *path = mem_printf("%s/%s", v->dir, file);
	if (!file_sum(path, sum, &size))
		problem(v, "%s cannot be read: %s.", path, strerror(errno));
	else if (size != number_of(note, "bytes") || strcmp(sum, wanted) != 0)
		problem(v, "%s is not what was written: its SHA-256 differs.", path);
	else if (json_is_string(json_object_get(note, "account")) && !count_messages(v, path, &count))
		problem(v, "%s cannot be read: %s.", path, strerror(errno));
	else if (count != number_of(note, "messages"))
		problem(v, "%s has %llu messages, and should have %llu.", path, (unsigned long long)count,
		        (unsigned long long)number_of(note, "messages"));
	v->files++;
	v->messages += count;
	v->bytes += size;
	progress_show(&v->progress, v->bytes);
	mem_free(path);
}

/* A line: what was exported, a file, or the end. */
static bool verify_line(struct verify *v, json_t *note)
{
	const char *format = json_string_value(json_object_get(note, "format"));

	if (!v->first) {
		v->first = json_incref(note);
		v->form = format ? archive_form_find(format) : NULL;
	} else if (json_is_string(json_object_get(note, "file")) && !v->last) {
		verify_file(v, note);
	} else if (json_is_integer(json_object_get(note, "files")) && !v->last) {
		v->last = json_incref(note);
	} else {
		return false;
	}
	return v->form;
}

/* False: it is no manifest, or not a whole one. */
static bool read_manifest(struct verify *v)
{
	char *path = mem_printf("%s/" ARCHIVE_MANIFEST, v->dir), *line = NULL;
	FILE *f = fopen(path, "re");
	bool ok = f;
	size_t size = 0;

	while (ok && getline(&line, &size, f) > 0) {
		json_t *note = json_loads(line, 0, NULL);

		ok = verify_line(v, note);
		json_decref(note);
	}
	if (f)
		fclose(f);
	mem_free(line);
	mem_free(path);
	return ok && v->last;
}

/* Files in it and in its folders. */
static uint64_t count_files(const char *dir, bool has_folders)
{
	DIR *d = opendir(dir);
	uint64_t count = 0;

	for (const struct dirent *e; d && (e = readdir(d));) {
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		char *path = mem_printf("%s/%s", dir, e->d_name);
		if (lstat(path, &st) == 0)
			count += S_ISDIR(st.st_mode) && has_folders ? count_files(path, false) : 1;
		mem_free(path);
	}
	if (d)
		closedir(d);
	return count;
}

static void verify_sums(struct verify *v)
{
	uint64_t files = number_of(v->last, "files"), messages = number_of(v->last, "messages");
	uint64_t found = count_files(v->dir, true);

	if (v->files != files || v->messages != messages)
		problem(v, "There are %llu files with %llu messages, and should be %llu with %llu.",
		        (unsigned long long)v->files, (unsigned long long)v->messages,
		        (unsigned long long)files, (unsigned long long)messages);
	else if (found > files + 1) /* and the manifest */
		problem(v, "%llu files in %s are none of the export.",
		        (unsigned long long)(found - files - 1), v->dir);
}

static void show_verified(const struct verify *v, const json_t *first)
{
	const char *made = json_string_value(json_object_get(first, "made"));

	if (v->call->is_json)
		show_json(v->call, v->last);
	else
		printf("%s, made %s: whole; %llu messages in %llu files.\n", v->dir,
		       made ? made : "at an unknown time", (unsigned long long)v->messages,
		       (unsigned long long)v->files);
}

int archive_verify(struct call *c)
{
	struct verify v = { .call = c, .dir = c->words[0] };

	progress_begin(&v.progress, c, "Verifying", 0);
	bool is_whole = read_manifest(&v);
	progress_end(&v.progress);
	if (is_whole)
		verify_sums(&v);
	if (!is_whole)
		complain(c, CONTROL_REFUSED, "Name a folder that \"musterctl archive export\" has made.",
		         "%s is no whole export: its " ARCHIVE_MANIFEST " is missing or damaged.", v.dir);
	else if (v.problems)
		complain(c, CONTROL_REFUSED, "Export again.", "%s cannot be relied on.", v.dir);
	else
		show_verified(&v, v.first);
	json_decref(v.first);
	json_decref(v.last);
	return c->status;
}
