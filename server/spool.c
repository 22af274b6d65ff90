/* spool.c - a store's spool: appends frames to its files, reads them back and removes them, in the worker pool.
 * store_away.c calls it; spool_dir.h says what a file looks like, spool_frame.h what a frame does. */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "spool_dir.h"
#include "spool_frame.h"
#include "store_engine.h"

#define SEGMENT_BYTES (16 << 20) /* then the next file begins */

struct spool {
	struct spool_dir *dir;
	uv_loop_t *loop;
	struct list segments;    /* of struct segment, oldest first */
	struct segment *current; /* being written, or NULL: the next frame begins a new one */
	int fd;                  /* of current */
	struct frame_writing writing;
	struct frame_reading reading;

	struct {
		uv_work_t work;
		bool is_busy, is_new, ok;
		struct buffer frame;
		char *path;
		int fd, error;
		uint64_t at;
		spool_done_fn *done;
		void *arg;
	} append;
	struct {
		uv_work_t work;
		bool is_busy;
		struct segment *segment; /* of the last call */
		char *path;
		uint64_t at, end;
		char *data;
		size_t len; /* read */
		int error;
		spool_read_fn *done;
		void *arg;
	} read;
	struct {
		uv_work_t work;
		bool is_busy, is_refused;
		struct segment *segment; /* or NULL */
		char *path;
		spool_done_fn *done;
		void *arg;
	} forget;
};

/* ---- appending */

static bool write_all(int fd, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, data, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return false;
		data += w;
		n -= (size_t)w;
	}
	return true;
}

/* In the worker pool. */
static void append_work(uv_work_t *work)
{
	struct spool *sp = work->data;
	struct spool_dir *d = sp->dir;

	if (sp->append.is_new)
		sp->append.fd =
		    open(sp->append.path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	sp->append.ok =
	    sp->append.fd >= 0 &&
	    (!sp->append.is_new || (write_all(sp->append.fd, SPOOL_MAGIC, sizeof SPOOL_MAGIC) &&
	                            write_all(sp->append.fd, (const char *)d->identity, SPOOL_IDENTITY))) &&
	    write_all(sp->append.fd, sp->append.frame.data, sp->append.frame.len) &&
	    fdatasync(sp->append.fd) == 0 && (!sp->append.is_new || fsync(d->fd) == 0);
	sp->append.error = sp->append.ok ? 0 : errno;
	if (sp->append.ok || sp->append.fd < 0)
		return;
	/* Nobody may take it for written, and it may be the room that was lacking. */
	if (sp->append.is_new)
		unlink(sp->append.path);
	else if (ftruncate(sp->append.fd, (off_t)sp->append.at) != 0)
		log_warn("spool", NULL, "%s cannot be cut: %s", sp->append.path, strerror(errno));
}

static void current_close(struct spool *sp)
{
	if (sp->fd >= 0)
		close(sp->fd);
	sp->fd = -1;
	sp->current = NULL;
	frame_writing_end(&sp->writing);
}

static void append_failed(struct spool *sp)
{
	log_error("spool", NULL, "cannot write %s: %s: trying again", sp->append.path,
	          strerror(sp->append.error));
	atomic_fetch_sub(&sp->dir->bytes, sp->append.frame.len + (sp->append.is_new ? SPOOL_HEADER : 0));
	if (sp->append.is_new) {
		list_remove(&sp->current->node);
		mem_free(sp->current);
	}
	current_close(sp);
}

static void on_append_done(uv_work_t *work, int status)
{
	struct spool *sp = work->data;
	bool ok = status == 0 && sp->append.ok;

	sp->fd = sp->append.fd;
	if (ok)
		sp->current->bytes = sp->append.at + sp->append.frame.len;
	else
		append_failed(sp);
	buffer_free(&sp->append.frame);
	mem_free(sp->append.path);
	sp->append.is_busy = false;
	sp->append.done(sp->append.arg, ok);
}

/* The frame, and room for it; it stays reserved. */
static bool append_prepare(struct spool *sp, const struct group *g)
{
	uint64_t wanted;

	if (!frame_encode(&sp->writing, &sp->append.frame, g, sp->dir->bound))
		return false;
	wanted = sp->append.frame.len + (sp->append.is_new ? SPOOL_HEADER : 0);
	if (atomic_fetch_add(&sp->dir->bytes, wanted) + wanted <= sp->dir->bound)
		return true;
	atomic_fetch_sub(&sp->dir->bytes, wanted);
	return false;
}

bool spool_append(struct spool *sp, const struct group *g, spool_done_fn *done, void *arg)
{
	struct spool_dir *d = sp->dir;

	ASSERT(!sp->append.is_busy);
	if (sp->current &&
	    (sp->current->bytes >= SEGMENT_BYTES || sp->writing.used.count > STATEMENTS_MAX / 2))
		current_close(sp);
	sp->append.is_new = !sp->current;
	if (!append_prepare(sp, g)) {
		buffer_free(&sp->append.frame);
		current_close(sp); /* what this frame would have made known is not in the file */
		return false;
	}
	if (sp->append.is_new) {
		sp->current = segment_new(&sp->segments, atomic_fetch_add(&d->newest, 1) + 1, 0);
	}
	sp->append.path = segment_path(d, sp->current->number, "spool");
	sp->append.fd = sp->fd;
	sp->append.at = sp->append.is_new ? SPOOL_HEADER : sp->current->bytes;
	sp->append.done = done;
	sp->append.arg = arg;
	sp->append.is_busy = true;
	sp->append.work.data = sp;
	ASSERT(uv_queue_work(sp->loop, &sp->append.work, append_work, on_append_done) == 0);
	return true;
}

/* ---- reading frames */

/* The oldest segment that has something to be read. */
static struct segment *segment_unread(const struct spool *sp)
{
	struct segment *seg;

	LIST_EACH (seg, &sp->segments, struct segment, node)
		if (seg->read < seg->bytes && !seg->is_ended)
			return seg;
	return NULL;
}

uint64_t spool_unread(const struct spool *sp)
{
	const struct segment *seg;
	uint64_t bytes = 0;

	LIST_EACH (seg, &sp->segments, struct segment, node)
		if (seg->read < seg->bytes && !seg->is_ended)
			bytes += seg->bytes - seg->read;
	return bytes;
}

/* In the worker pool: SPOOL_READ, or the whole of the first frame. */
static void read_work(uv_work_t *work)
{
	struct spool *sp = work->data;
	uint64_t left = sp->read.end - sp->read.at;
	size_t want = left < SPOOL_READ ? (size_t)left : SPOOL_READ;
	int fd = open(sp->read.path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0;

	sp->read.data = mem_alloc(want);
	ok = ok && spool_file_read(fd, sp->read.data, want, sp->read.at, &sp->read.len);
	if (ok && sp->read.len == want && want >= FRAME_HEADER) {
		uint64_t frame = frame_bytes(sp->read.data);

		if (frame > want && frame <= left) {
			sp->read.data = mem_realloc(sp->read.data, (size_t)frame);
			ok = spool_file_read(fd, sp->read.data, (size_t)frame, sp->read.at, &sp->read.len);
		}
	}
	sp->read.error = ok ? 0 : errno;
	if (fd >= 0)
		close(fd);
}

/* What cannot be read is the rest of this file. Torn off it was never counted as written: the machine or the
 * process stopped meanwhile. Whole but wrong it has been damaged, and the file is kept. */
static void segment_end(struct spool *sp, struct segment *seg, bool is_damaged)
{
	uint64_t rest = seg->bytes - seg->read;

	seg->is_ended = true;
	seg->is_refused |= is_damaged;
	if (is_damaged)
		log_error("spool", NULL,
		          "%s/%010u.spool is damaged at byte %llu: %llu bytes cannot be read; the file is "
		          "kept as %010u.refused",
		          sp->dir->path, seg->number, (unsigned long long)seg->read,
		          (unsigned long long)rest, seg->number);
	else
		log_info("spool", NULL, "%s/%010u.spool ends with %llu bytes whose writing was interrupted",
		         sp->dir->path, seg->number, (unsigned long long)rest);
}

/* The frames that have been read whole, as a group. */
static struct group *decode_frames(struct spool *sp, struct segment *seg)
{
	struct group *g = mem_zalloc(sizeof *g);
	size_t at = 0, bytes;

	g->is_replay = g->is_spooled = true;
	while (at == 0 || at < sp->read.len) {
		const char *data = sp->read.data + at;
		enum frame_found found = frame_look(data, sp->read.len - at, &bytes);

		if (found == FRAME_CUT && at > 0)
			return g; /* the next call begins with it */
		if (found != FRAME_WHOLE || !frame_decode(&sp->reading, data, bytes, g)) {
			segment_end(sp, seg, found != FRAME_CUT || !seg->is_found);
			return g;
		}
		at += bytes;
		seg->read += bytes;
	}
	return g;
}

static void on_read_done(uv_work_t *work, int status)
{
	struct spool *sp = work->data;
	struct group *g = NULL;

	if (status == 0 && sp->read.error == 0)
		g = decode_frames(sp, sp->read.segment);
	else
		log_error("spool", NULL, "cannot read %s: %s: trying again", sp->read.path,
		          status ? uv_strerror(status) : strerror(sp->read.error));
	mem_free(sp->read.data);
	mem_free(sp->read.path);
	sp->read.is_busy = false;
	sp->read.done(sp->read.arg, g);
}

void spool_read(struct spool *sp, spool_read_fn *done, void *arg)
{
	struct segment *seg = segment_unread(sp);

	ASSERT(seg && !sp->read.is_busy);
	if (seg->read == SPOOL_HEADER)
		frame_reading_next(&sp->reading);
	sp->read.segment = seg;
	sp->read.path = segment_path(sp->dir, seg->number, "spool");
	sp->read.at = seg->read;
	sp->read.end = seg->bytes;
	sp->read.len = 0;
	sp->read.done = done;
	sp->read.arg = arg;
	sp->read.is_busy = true;
	sp->read.work.data = sp;
	ASSERT(uv_queue_work(sp->loop, &sp->read.work, read_work, on_read_done) == 0);
}

/* ---- forgetting */

static void forget_work(uv_work_t *work)
{
	struct spool *sp = work->data;
	char *path = sp->forget.path, *kept;

	if (!path)
		return;
	kept = segment_path(sp->dir, sp->forget.segment->number, "refused");
	if ((sp->forget.is_refused ? rename(path, kept) : unlink(path)) != 0)
		log_error("spool", NULL, "%s cannot be removed: %s: remove it before the next start", path,
		          strerror(errno));
	/* It must not come back after newer writes have been committed. */
	if (fsync(sp->dir->fd) != 0)
		log_error("spool", NULL, "%s cannot be synced: %s", sp->dir->path, strerror(errno));
	mem_free(kept);
}

static void on_forget_done(uv_work_t *work, int status)
{
	struct spool *sp = work->data;
	struct segment *seg = sp->forget.segment;

	if (seg) {
		atomic_fetch_sub(&sp->dir->bytes, seg->bytes);
		list_remove(&seg->node);
		mem_free(seg);
	}
	mem_free(sp->forget.path);
	sp->forget.is_busy = false;
	sp->forget.done(sp->forget.arg, status == 0);
}

void spool_forget(struct spool *sp, bool is_refused, spool_done_fn *done, void *arg)
{
	struct segment *seg = LIST_FIRST(&sp->segments, struct segment, node);

	ASSERT(seg && !sp->forget.is_busy);
	if (is_refused)
		sp->read.segment->is_refused = true;
	sp->forget.segment = NULL;
	sp->forget.path = NULL;
	if ((seg->read == seg->bytes || seg->is_ended) && !(seg == sp->current && sp->append.is_busy)) {
		if (seg == sp->current)
			current_close(sp);
		sp->forget.segment = seg;
		sp->forget.path = segment_path(sp->dir, seg->number, "spool");
		sp->forget.is_refused = seg->is_refused;
	}
	sp->forget.done = done;
	sp->forget.arg = arg;
	sp->forget.is_busy = true;
	sp->forget.work.data = sp;
	ASSERT(uv_queue_work(sp->loop, &sp->forget.work, forget_work, on_forget_done) == 0);
}

bool spool_is_reading(const struct spool *sp)
{
	return sp->read.is_busy || sp->forget.is_busy;
}

bool spool_is_empty(const struct spool *sp)
{
	return list_is_empty(&sp->segments);
}

uint64_t spool_bytes(const struct spool *sp)
{
	const struct segment *seg;
	uint64_t bytes = 0;

	LIST_EACH (seg, &sp->segments, struct segment, node)
		bytes += seg->bytes;
	return bytes;
}

/* ---- opening */

bool spool_is_busy(const struct spool *sp)
{
	return sp->append.is_busy || sp->read.is_busy || sp->forget.is_busy;
}

struct spool *spool_open(struct spool_dir *d, uv_loop_t *loop, bool is_postgresql)
{
	struct spool *sp = mem_zalloc(sizeof *sp);

	sp->dir = d;
	sp->loop = loop;
	sp->writing.is_postgresql = is_postgresql;
	sp->fd = -1;
	list_init(&sp->segments);
	if (!list_is_empty(&d->left)) {
		list_add_before(&d->left, &sp->segments);
		list_remove(&d->left);
	}
	return sp;
}

void spool_close(struct spool *sp)
{
	ASSERT(!spool_is_busy(sp));
	current_close(sp);
	segments_free(&sp->segments);
	frame_reading_end(&sp->reading);
	mem_free(sp);
}
