/* spool_dir.h - between spool_dir.c and spool.c: the directory and the files in it. Nobody else includes it.
 *
 * A file begins with SPOOL_MAGIC and the identity of the database; then come frames (spool_frame.h). A frame
 * counts once it and the name of its file have been synced. After a failure nothing more is written to that
 * file, so only the end of a file that an earlier process has left can be cut. */
#ifndef MUSTER_SPOOL_DIR_H
#define MUSTER_SPOOL_DIR_H

#include <stdatomic.h>

#include "list.h"
#include "spool.h"

#define SPOOL_MAGIC "muster spool 1\n" /* with its NUL: 16 bytes */
#define SPOOL_HEADER (sizeof SPOOL_MAGIC + SPOOL_IDENTITY)

struct spool_dir {
	char *path;
	int fd, lock;
	uint64_t bound;
	_Atomic uint64_t bytes;  /* of all files */
	_Atomic uint32_t newest; /* number of the newest file */
	unsigned char identity[SPOOL_IDENTITY];
	struct list left; /* of struct segment: found at the start, oldest first */
};

struct segment {
	struct list node;
	uint32_t number;
	uint64_t bytes; /* of which all is synced, but for those found at the start */
	uint64_t read;  /* up to here */
	bool is_found;  /* at the start */
	bool is_ended;  /* what is left cannot be read */
	bool is_refused;
};

/* The path of a file: `end` is what its name ends with. The caller frees it. */
char *segment_path(const struct spool_dir *d, uint32_t number, const char *end);
/* At the end of the list, which owns it. */
struct segment *segment_new(struct list *to, uint32_t number, uint64_t bytes);
void segments_free(struct list *segments);

/* Reads `n` bytes from offset `at`; *got is less at the end of the file. False: an error, in errno. */
bool spool_file_read(int fd, char *to, size_t n, uint64_t at, size_t *got) MUST_CHECK;

#endif
