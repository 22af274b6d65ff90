/* spool.h - files that keep writes while the database is away. What is in them counts as committed, survives
 * the end of the process, and is read back in its order when the database is there again.
 *
 * `struct spool_dir` is the node's: the directory, its lock, the bound. `struct spool` is one store's and
 * belongs to its loop; files are written and read in libuv's worker pool. A spool is a list of segments, a
 * segment a file of frames, a frame one group of writes with a checksum: it is read back whole or, when the
 * machine stopped while it was being written, not at all.
 *
 * store_away.c decides what is spooled and when it is read back. */
#ifndef MUSTER_SPOOL_H
#define MUSTER_SPOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "mem.h"

struct group;
struct spool;
struct spool_dir;

#define SPOOL_IDENTITY 16
#define SPOOL_READ (256 << 10) /* bytes read at a time, or one frame: the next transaction */

/* Makes the directory when it is missing, locks it, and looks at what an earlier process has left. False,
 * with a sentence, when that cannot be done, or when it was written for another database. `bound`: bytes, of
 * all spools in it together. */
struct spool_dir *spool_dir_open(const char *path, uint64_t bound,
                                 const unsigned char identity[SPOOL_IDENTITY], char **error) MUST_CHECK;
void spool_dir_close(struct spool_dir *d); /* after every spool in it is closed */
const char *spool_dir_path(const struct spool_dir *d);

/* The first one that is opened takes over what was left. */
struct spool *spool_open(struct spool_dir *d, uv_loop_t *loop, bool is_postgresql);
void spool_close(struct spool *sp); /* not while it is busy; the files stay */
bool spool_is_busy(const struct spool *sp);
bool spool_is_reading(const struct spool *sp); /* spool_read or spool_forget is under way */

/* Keeps those writes of the group that may be spooled. `done` runs later, once: `ok` when they are on disk,
 * for good. False at once: the bound is reached. One call at a time; the group is not used afterwards. */
typedef void spool_done_fn(void *arg, bool ok);
bool spool_append(struct spool *sp, const struct group *g, spool_done_fn *done, void *arg) MUST_CHECK;

/* Reads the next frames as one group, in order; `done` gets it to own. NULL: nothing could be read this time;
 * look at spool_unread and try again. One call at a time. */
typedef void spool_read_fn(void *arg, struct group *g);
uint64_t spool_unread(const struct spool *sp); /* bytes */
void spool_read(struct spool *sp, spool_read_fn *done, void *arg);
/* What was read is in the database: the oldest file is removed when it is done with. `is_refused`: the
 * database refused some of it for good, so the file is kept under another name. `done` runs later. */
void spool_forget(struct spool *sp, bool is_refused, spool_done_fn *done, void *arg);

bool spool_is_empty(const struct spool *sp);  /* no file is left */
uint64_t spool_bytes(const struct spool *sp); /* on disk */

#endif
