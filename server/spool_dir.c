/* spool_dir.c - the directory of the spool: its lock, its bound, and what an earlier process has left in it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "spool_dir.h"

/* ---- files */

char *segment_path(const struct spool_dir *d, uint32_t number, const char *end)
{
	return mem_printf("%s/%010u.%s", d->path, number, end);
}

struct segment *segment_new(struct list *to, uint32_t number, uint64_t bytes)
{
	struct segment *seg = mem_zalloc(sizeof *seg);

	seg->number = number;
	seg->bytes = bytes;
	seg->read = SPOOL_HEADER;
	list_append(to, &seg->node);
	return seg;
}

void segments_free(struct list *segments)
{
	struct segment *seg;

	while ((seg = LIST_FIRST(segments, struct segment, node))) {
		list_remove(&seg->node);
		mem_free(seg);
	}
}

bool spool_file_read(int fd, char *to, size_t n, uint64_t at, size_t *got)
{
	*got = 0;
	while (*got < n) {
		ssize_t r = pread(fd, to + *got, n - *got, (off_t)(at + *got));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return false;
		if (r == 0)
			break;
		*got += (size_t)r;
	}
	return true;
}

/* ---- opening */

const char *spool_dir_path(const struct spool_dir *d)
{
	return d->path;
}

/* With the directories above it. */
static bool dir_make(const char *path)
{
	char *part = mem_strdup(path);
	bool ok = true;

	for (char *slash = strchr(part + 1, '/'); slash && ok; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		ok = mkdir(part, 0755) == 0 || errno == EEXIST || errno == EROFS || errno == EACCES;
		*slash = '/';
	}
	mem_free(part);
	return ok && (mkdir(path, 0700) == 0 || errno == EEXIST);
}

static bool dir_open(struct spool_dir *d, char **error)
{
	char *lock = mem_printf("%s/lock", d->path);

	if (!dir_make(d->path) || (d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
	    (d->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
		*error = mem_printf("the spool %s cannot be opened: %s: let `spool` of the store name a "
		                    "directory where musterd is allowed to write",
		                    d->path, strerror(errno));
	else if (flock(d->lock, LOCK_EX | LOCK_NB) != 0)
		*error = mem_printf("the spool %s is in use by another musterd: stop it, or let `spool` of "
		                    "the store name another directory",
		                    d->path);
	mem_free(lock);
	return !*error;
}

/* The size of a file that was written for this database; 0: nothing is in it. */
static bool file_check(const struct spool_dir *d, const char *path, uint64_t *bytes, char **error)
{
	char head[SPOOL_HEADER];
	size_t n = 0;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0 || !spool_file_read(fd, head, sizeof head, 0, &n))
		*error =
		    mem_printf("%s cannot be read: %s: it has messages that are not in the database yet",
		               path, strerror(errno));
	else if (n == SPOOL_HEADER && memcmp(head, SPOOL_MAGIC, sizeof SPOOL_MAGIC) != 0)
		*error = mem_printf("%s is no spool that this musterd understands: start the musterd that "
		                    "wrote it, or move it away if you can do without its messages",
		                    path);
	else if (n == SPOOL_HEADER && memcmp(head + sizeof SPOOL_MAGIC, d->identity, SPOOL_IDENTITY) != 0)
		*error =
		    mem_printf("%s has messages for another database than this one: let the store name "
		               "the database that it was written for, or let `spool` name another "
		               "directory",
		               path);
	else
		*bytes = n == SPOOL_HEADER ? (uint64_t)st.st_size : 0;
	if (fd >= 0)
		close(fd);
	return !*error;
}

static int by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The numbers of the files with this ending, in their order. */
static uint32_t *numbers_find(const struct spool_dir *d, const char *ending, unsigned *count)
{
	DIR *dir = opendir(d->path);
	uint32_t *numbers = NULL;

	*count = 0;
	for (struct dirent *e; dir && (e = readdir(dir));) {
		char *end;
		unsigned long number = strtoul(e->d_name, &end, 10);

		if (end == e->d_name || *end != '.' || strcmp(end + 1, ending) != 0)
			continue;
		numbers = mem_realloc(numbers, sizeof *numbers * (*count + 1));
		numbers[(*count)++] = (uint32_t)number;
	}
	if (dir)
		closedir(dir);
	if (*count)
		qsort(numbers, *count, sizeof *numbers, by_number);
	return numbers;
}

static bool files_find(struct spool_dir *d, char **error)
{
	unsigned count, kept;
	uint32_t *numbers = numbers_find(d, "refused", &kept);
	uint32_t newest = kept ? numbers[kept - 1] : 0;

	mem_free(numbers);
	numbers = numbers_find(d, "spool", &count);
	for (unsigned i = 0; i < count && !*error; i++) {
		char *path = segment_path(d, numbers[i], "spool");
		uint64_t bytes = 0;

		if (file_check(d, path, &bytes, error) && bytes > SPOOL_HEADER)
			segment_new(&d->left, numbers[i], bytes)->is_found = true;
		else if (!*error)
			unlink(path); /* its first frame was never written */
		if (numbers[i] > newest)
			newest = numbers[i];
		if (bytes > SPOOL_HEADER)
			atomic_fetch_add(&d->bytes, bytes);
		mem_free(path);
	}
	mem_free(numbers);
	atomic_store(&d->newest, newest);
	if (kept)
		log_warn("spool", NULL,
		         "%u files in %s end in .refused: the database refused some of what is in them, or "
		         "they are damaged",
		         kept, d->path);
	return !*error;
}

struct spool_dir *spool_dir_open(const char *path, uint64_t bound,
                                 const unsigned char identity[SPOOL_IDENTITY], char **error)
{
	struct spool_dir *d = mem_zalloc(sizeof *d);

	d->path = mem_strdup(path);
	d->fd = d->lock = -1;
	d->bound = bound;
	memcpy(d->identity, identity, SPOOL_IDENTITY);
	list_init(&d->left);
	*error = NULL;
	if (dir_open(d, error) && files_find(d, error))
		return d;
	spool_dir_close(d);
	return NULL;
}

void spool_dir_close(struct spool_dir *d)
{
	segments_free(&d->left);
	if (d->lock >= 0)
		close(d->lock);
	if (d->fd >= 0)
		close(d->fd);
	mem_free(d->path);
	mem_free(d);
}
