/* spool.c - the files of the spool: what is in them, and who may touch them when. store_away.c calls it.
 *
 * A file begins with MAGIC and the identity of the database; then come frames: the length of the payload and
 * its CRC-32, four bytes each, and the payload. That is a sequence of
 *
 *   'S' id(2) name text              a statement, before its first use in this file
 *   'W' key(8) count(2)              a write; then per statement:
 *       id(2) count(1)               and per parameter:
 *           type(1) [number(8) | bytes]
 *
 * where `name`, `text` and `bytes` have their length (4) in front; numbers are little-endian. The text of each
 * statement is kept, so that a spool can be read by a server whose modules have changed meanwhile.
 *
 * A frame counts once it and the name of its file have been synced. After a failure nothing more is
 * written to that file, so only the end of a file can be unreadable. */
#include "spool.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "store_engine.h"

#define MAGIC "muster spool 1\n" /* with its NUL: 16 bytes */
#define HEADER (sizeof MAGIC + SPOOL_IDENTITY)
#define FRAME_HEADER 8
#define FRAME_MAX ((uint32_t)1 << 30)
#define SEGMENT_BYTES (16 << 20) /* then the next file begins */
#define STATEMENTS_MAX 4096      /* different ones in one file */

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
	bool is_ended;  /* what is left cannot be read */
	bool is_refused;
};

/* A statement as it was read from a file. Lives as long as the spool: engines know it by its address. */
struct known {
	struct hash_node node;
	struct sql sql;
};

struct used { /* a statement in the file being written */
	struct hash_node node;
	const struct sql *sql;
	uint16_t id;
};

struct spool {
	struct spool_dir *dir;
	uv_loop_t *loop;
	bool is_postgresql;
	struct list segments;              /* of struct segment, oldest first */
	struct segment *current;           /* being written, or NULL: the next frame begins a new one */
	int fd;                            /* of current */
	struct hash used;                  /* of struct used, by the address of the statement */
	struct hash known;                 /* of struct known, by the text */
	struct known *ids[STATEMENTS_MAX]; /* of the file being read */

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

/* ---- bytes */

static uint32_t crc32_of(const char *data, size_t n)
{
	static const uint32_t table[16] = { 0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
		                            0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		                            0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		                            0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c };
	uint32_t crc = ~(uint32_t)0;

	for (size_t i = 0; i < n; i++) {
		crc ^= (unsigned char)data[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

static void add_8(struct buffer *b, unsigned v)
{
	char c = (char)v;

	buffer_add(b, &c, 1);
}

static void add_16(struct buffer *b, unsigned v)
{
	uint16_t le = htole16((uint16_t)v);

	buffer_add(b, &le, sizeof le);
}

static void add_32(struct buffer *b, uint32_t v)
{
	uint32_t le = htole32(v);

	buffer_add(b, &le, sizeof le);
}

static void add_64(struct buffer *b, uint64_t v)
{
	uint64_t le = htole64(v);

	buffer_add(b, &le, sizeof le);
}

static void add_bytes(struct buffer *b, const char *data, size_t n)
{
	ASSERT(n < FRAME_MAX);
	add_32(b, (uint32_t)n);
	buffer_add(b, data, n);
}

/* What is left to read; `is_bad` once something was not there. */
struct reading {
	const char *at, *end;
	bool is_bad;
};

static uint64_t take_number(struct reading *r, unsigned bytes)
{
	uint64_t v = 0;

	if ((size_t)(r->end - r->at) < bytes) {
		r->is_bad = true;
		return 0;
	}
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)(unsigned char)r->at[i] << 8 * i;
	r->at += bytes;
	return v;
}

static const char *take_bytes(struct reading *r, size_t *n)
{
	const char *data;

	*n = (size_t)take_number(r, 4);
	if (r->is_bad || (size_t)(r->end - r->at) < *n) {
		r->is_bad = true;
		*n = 0;
		return "";
	}
	data = r->at;
	r->at += *n;
	return data;
}

/* ---- writing a frame */

static const char *text_of(const struct spool *sp, const struct sql *sql)
{
	return !sp->is_postgresql && sql->sqlite ? sql->sqlite : sql->text;
}

static void used_forget(struct spool *sp)
{
	struct hash_node *n;

	while ((n = hash_walk(&sp->used, NULL))) {
		hash_remove(&sp->used, n);
		mem_free(CONTAINER_OF(n, struct used, node));
	}
}

/* The number of a statement in this file; the first time it is written down. */
static uint16_t statement_id(struct spool *sp, struct buffer *b, const struct sql *sql)
{
	uint32_t hash = pointer_hash(sql);
	struct used *u;

	for (struct hash_node *n = hash_first(&sp->used, hash); n; n = hash_next(n)) {
		u = CONTAINER_OF(n, struct used, node);
		if (u->sql == sql)
			return u->id;
	}
	u = mem_alloc(sizeof *u);
	*u = (struct used){ .sql = sql, .id = (uint16_t)sp->used.count };
	ASSERT(u->id < STATEMENTS_MAX);
	hash_add(&sp->used, &u->node, hash);
	add_8(b, 'S');
	add_16(b, u->id);
	add_bytes(b, sql->name, strlen(sql->name));
	add_bytes(b, text_of(sp, sql), strlen(text_of(sp, sql)));
	return u->id;
}

static void encode_statement(struct spool *sp, struct buffer *b, const struct statement *st)
{
	struct buffer none = { 0 };

	add_16(b, statement_id(sp, &none, st->sql));
	ASSERT(none.len == 0);
	add_8(b, st->count);
	for (unsigned i = 0; i < st->count; i++) {
		const struct param *p = &st->params[i];

		add_8(b, p->type);
		if (p->type == PARAM_INT)
			add_64(b, (uint64_t)p->number);
		else if (p->type != PARAM_NULL)
			add_bytes(b, p->data, p->len);
	}
}

static void encode_write(struct spool *sp, struct buffer *b, const struct write *w)
{
	unsigned count = 0;

	STATEMENT_EACH (st, w) {
		statement_id(sp, b, st->sql);
		count++;
	}
	ASSERT(count <= UINT16_MAX);
	add_8(b, 'W');
	add_64(b, w->key);
	add_16(b, count);
	STATEMENT_EACH (st, w)
		encode_statement(sp, b, st);
}

/* False: it is more than the spool may ever hold. */
static bool encode_group(struct spool *sp, struct buffer *b, const struct group *g)
{
	uint64_t most = sp->dir->bound < FRAME_MAX ? sp->dir->bound : FRAME_MAX;
	uint32_t head[2];

	add_64(b, 0); /* the frame's header */
	for (const struct write *w = g->first; w; w = w->next) {
		if (w->away == AWAY_SPOOL)
			encode_write(sp, b, w);
		if (b->len > most)
			return false;
	}
	head[0] = htole32((uint32_t)(b->len - FRAME_HEADER));
	head[1] = htole32(crc32_of(b->data + FRAME_HEADER, b->len - FRAME_HEADER));
	memcpy(b->data, head, sizeof head);
	return true;
}

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
	    (!sp->append.is_new || (write_all(sp->append.fd, MAGIC, sizeof MAGIC) &&
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

static char *segment_path(const struct spool_dir *d, uint32_t number, const char *end)
{
	return mem_printf("%s/%010u.%s", d->path, number, end);
}

static void current_close(struct spool *sp)
{
	if (sp->fd >= 0)
		close(sp->fd);
	sp->fd = -1;
	sp->current = NULL;
	used_forget(sp);
}

static void append_failed(struct spool *sp)
{
	log_error("spool", NULL, "cannot write %s: %s: trying again", sp->append.path,
	          strerror(sp->append.error));
	atomic_fetch_sub(&sp->dir->bytes, sp->append.frame.len + (sp->append.is_new ? HEADER : 0));
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

static struct segment *segment_new(struct spool_dir *d, uint32_t number, uint64_t bytes)
{
	struct segment *seg = mem_zalloc(sizeof *seg);

	seg->number = number;
	seg->bytes = bytes;
	seg->read = HEADER;
	list_append(&d->left, &seg->node);
	return seg;
}

/* The frame, and room for it; it stays reserved. */
static bool append_prepare(struct spool *sp, const struct group *g)
{
	uint64_t wanted;

	if (!encode_group(sp, &sp->append.frame, g))
		return false;
	wanted = sp->append.frame.len + (sp->append.is_new ? HEADER : 0);
	if (atomic_fetch_add(&sp->dir->bytes, wanted) + wanted <= sp->dir->bound)
		return true;
	atomic_fetch_sub(&sp->dir->bytes, wanted);
	return false;
}

bool spool_append(struct spool *sp, const struct group *g, spool_done_fn *done, void *arg)
{
	struct spool_dir *d = sp->dir;

	ASSERT(!sp->append.is_busy);
	if (sp->current && (sp->current->bytes >= SEGMENT_BYTES || sp->used.count > STATEMENTS_MAX / 2))
		current_close(sp);
	sp->append.is_new = !sp->current;
	if (!append_prepare(sp, g)) {
		buffer_free(&sp->append.frame);
		current_close(sp); /* what this frame would have made known is not in the file */
		return false;
	}
	if (sp->append.is_new) {
		sp->current = segment_new(d, atomic_fetch_add(&d->newest, 1) + 1, 0);
		list_remove(&sp->current->node);
		list_append(&sp->segments, &sp->current->node);
	}
	sp->append.path = segment_path(d, sp->current->number, "spool");
	sp->append.fd = sp->fd;
	sp->append.at = sp->append.is_new ? HEADER : sp->current->bytes;
	sp->append.done = done;
	sp->append.arg = arg;
	sp->append.is_busy = true;
	sp->append.work.data = sp;
	ASSERT(uv_queue_work(sp->loop, &sp->append.work, append_work, on_append_done) == 0);
	return true;
}

/* ---- reading frames */

static struct known *known_find(struct spool *sp, const char *name, size_t name_len, const char *text,
                                size_t text_len)
{
	uint32_t hash = hash_bytes(text, text_len);
	struct known *k;

	for (struct hash_node *n = hash_first(&sp->known, hash); n; n = hash_next(n)) {
		k = CONTAINER_OF(n, struct known, node);
		if (strlen(k->sql.text) == text_len && memcmp(k->sql.text, text, text_len) == 0)
			return k;
	}
	k = mem_zalloc(sizeof *k);
	k->sql.name = mem_strndup(name, name_len);
	k->sql.text = mem_strndup(text, text_len);
	hash_add(&sp->known, &k->node, hash);
	return k;
}

static void decode_definition(struct spool *sp, struct reading *r)
{
	size_t id = (size_t)take_number(r, 2), name_len, text_len;
	const char *name = take_bytes(r, &name_len), *text = take_bytes(r, &text_len);

	if (r->is_bad || id >= STATEMENTS_MAX)
		r->is_bad = true;
	else
		sp->ids[id] = known_find(sp, name, name_len, text, text_len);
}

static void decode_statement(struct spool *sp, struct reading *r, struct write *w)
{
	struct param params[PARAMS_MAX];
	size_t id = (size_t)take_number(r, 2);
	unsigned count = (unsigned)take_number(r, 1);

	if (id >= STATEMENTS_MAX || !sp->ids[id] || count > PARAMS_MAX)
		r->is_bad = true;
	for (unsigned i = 0; i < count && !r->is_bad; i++) {
		params[i] = (struct param){ .type = (enum param_type)take_number(r, 1) };
		if (params[i].type == PARAM_INT)
			params[i].number = (int64_t)take_number(r, 8);
		else if (params[i].type == PARAM_TEXT || params[i].type == PARAM_BYTES)
			params[i].data = take_bytes(r, &params[i].len);
		else if (params[i].type != PARAM_NULL)
			r->is_bad = true;
	}
	if (!r->is_bad)
		write_add(w, &sp->ids[id]->sql, params, count);
}

static void decode_write(struct spool *sp, struct reading *r, struct group *g)
{
	uint64_t key = take_number(r, 8);
	unsigned count = (unsigned)take_number(r, 2);
	struct write *w = write_new(NULL, key);

	for (unsigned i = 0; i < count && !r->is_bad; i++)
		decode_statement(sp, r, w);
	w->is_settled = true;
	group_add(g, w);
}

static bool decode_frame(struct spool *sp, const char *data, size_t n, struct group *g)
{
	struct reading r = { .at = data, .end = data + n };

	while (r.at < r.end && !r.is_bad) {
		uint64_t kind = take_number(&r, 1);

		if (kind == 'S')
			decode_definition(sp, &r);
		else if (kind == 'W')
			decode_write(sp, &r, g);
		else
			r.is_bad = true;
	}
	return !r.is_bad;
}

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

static bool read_at(int fd, char *to, size_t n, uint64_t at, size_t *got)
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

static uint32_t number_at(const char *data)
{
	uint32_t le;

	memcpy(&le, data, sizeof le);
	return le32toh(le);
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
	ok = ok && read_at(fd, sp->read.data, want, sp->read.at, &sp->read.len);
	if (ok && sp->read.len == want && want >= FRAME_HEADER) {
		uint64_t frame = (uint64_t)number_at(sp->read.data) + FRAME_HEADER;

		if (frame > want && frame <= left) {
			sp->read.data = mem_realloc(sp->read.data, (size_t)frame);
			ok = read_at(fd, sp->read.data, (size_t)frame, sp->read.at, &sp->read.len);
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
	size_t at = 0;

	g->is_replay = g->is_spooled = true;
	for (;;) {
		size_t rest = sp->read.len - at, n;

		if (rest == 0 && at > 0)
			return g;
		n = rest < FRAME_HEADER ? 0 : number_at(sp->read.data + at);
		if (rest < FRAME_HEADER || n > rest - FRAME_HEADER) {
			if (at == 0) /* even alone it is not there */
				segment_end(sp, seg, false);
			return g;
		}
		if (n == 0 ||
		    crc32_of(sp->read.data + at + FRAME_HEADER, n) != number_at(sp->read.data + at + 4) ||
		    !decode_frame(sp, sp->read.data + at + FRAME_HEADER, n, g)) {
			segment_end(sp, seg, n > 0);
			return g;
		}
		at += FRAME_HEADER + n;
		seg->read += FRAME_HEADER + n;
	}
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
	if (seg->read == HEADER)
		memset(sp->ids, 0, sizeof sp->ids);
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
	sp->is_postgresql = is_postgresql;
	sp->fd = -1;
	list_init(&sp->segments);
	if (!list_is_empty(&d->left)) {
		list_add_before(&d->left, &sp->segments);
		list_remove(&d->left);
	}
	return sp;
}

static void segments_free(struct list *segments)
{
	struct segment *seg;

	while ((seg = LIST_FIRST(segments, struct segment, node))) {
		list_remove(&seg->node);
		mem_free(seg);
	}
}

void spool_close(struct spool *sp)
{
	struct hash_node *n;

	ASSERT(!spool_is_busy(sp));
	current_close(sp);
	hash_free(&sp->used);
	segments_free(&sp->segments);
	while ((n = hash_walk(&sp->known, NULL))) {
		struct known *k = CONTAINER_OF(n, struct known, node);

		hash_remove(&sp->known, n);
		mem_free((char *)(uintptr_t)k->sql.name);
		mem_free((char *)(uintptr_t)k->sql.text);
		mem_free(k);
	}
	hash_free(&sp->known);
	mem_free(sp);
}

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
	char head[HEADER];
	size_t n = 0;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0 || !read_at(fd, head, sizeof head, 0, &n))
		*error =
		    mem_printf("%s cannot be read: %s: it has messages that are not in the database yet",
		               path, strerror(errno));
	else if (n == HEADER && memcmp(head, MAGIC, sizeof MAGIC) != 0)
		*error = mem_printf("%s is no spool that this musterd understands: start the musterd that "
		                    "wrote it, or move it away if you can do without its messages",
		                    path);
	else if (n == HEADER && memcmp(head + sizeof MAGIC, d->identity, SPOOL_IDENTITY) != 0)
		*error =
		    mem_printf("%s has messages for another database than this one: let the store name "
		               "the database that it was written for, or let `spool` name another "
		               "directory",
		               path);
	else
		*bytes = n == HEADER ? (uint64_t)st.st_size : 0;
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

		if (file_check(d, path, &bytes, error) && bytes > HEADER)
			segment_new(d, numbers[i], bytes);
		else if (!*error)
			unlink(path); /* its first frame was never written */
		if (numbers[i] > newest)
			newest = numbers[i];
		if (bytes > HEADER)
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
