/* parts.h - what the larger commands of musterctl share: CSV, progress, files. */
#ifndef MUSTER_MUSTERCTL_PARTS_H
#define MUSTER_MUSTERCTL_PARTS_H

#include "musterctl.h"

/* ---- csv.c: comma-separated values, RFC 4180 */

#define CSV_COLUMNS 16

/* The text of a file, which is changed while it is read: fields point into it. */
struct csv {
	char *at, *end;
	unsigned line; /* at which the record that csv_next gave begins */
	unsigned next_line;
	const char *problem; /* of that record; NULL: none */
};

/* Begins with `text` of n bytes (and a NUL behind), without a byte order mark. */
void csv_begin(struct csv *csv, char *text, size_t n);
/* The fields of the next record that is not an empty line, at most CSV_COLUMNS; their number, or 0 at the
 * end. With csv->problem set they are not to be used. */
unsigned csv_next(struct csv *csv, char *fields[CSV_COLUMNS]);

/* ---- progress.c: how far a long command is, on standard error */

struct progress {
	const char *title; /* "Importing" */
	uint64_t total;    /* 0: not known */
	uint64_t shown;    /* percent or, without total, done; what was shown last */
	bool is_terminal, is_silent;
	int64_t began, drawn; /* milliseconds */
};

void progress_begin(struct progress *p, const struct call *c, const char *title, uint64_t total);
/* A bar on a terminal, else a line each 10 %. */
void progress_show(struct progress *p, uint64_t done);
void progress_end(struct progress *p); /* the bar is taken away */

/* ---- file.c */

/* The whole file and a NUL; NULL: it has complained. At most `max` bytes. */
char *file_load(struct call *c, const char *path, size_t max, size_t *len);
/* Its SHA-256 in hexadecimal and its size; false with errno set. */
bool file_sum(const char *path, char sum[65], uint64_t *size) MUST_CHECK;

/* ---- derive.c: keys of many passwords, on all processors */

struct derive;
struct sasl_keys;
/* Starts on `count` passwords; those that are NULL are skipped. keys[i] is filled for passwords[i]. */
struct derive *derive_start(const char *const *passwords, struct sasl_keys *keys, size_t count);
/* Waits at most `ms` until all before `end` are done. */
bool derive_wait(struct derive *d, size_t end, unsigned ms);
size_t derive_done(struct derive *d); /* how many are, from the first on without a gap */
void derive_end(struct derive *d);    /* stops what is not done */

#endif
