/* fuzz_spool.c - any bytes as a file of the spool, as a start finds it. Nothing may crash; all of it is
 * read, in bounded memory, or kept under another name. The first byte says what the rest is: a file as it
 * is, or the payloads of frames (each behind its length, two bytes), whose checksums are made here, as no
 * fuzzer guesses them. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "spool_dir.h"
#include "spool_frame.h"
#include "store_engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	IS_FILE = 1,
	IS_CUT = 2
}; /* else digits: '0' frames, '1' a file, '2' frames without the last byte */

static const unsigned char identity[SPOOL_IDENTITY];

static void frames_build(struct buffer *file, const uint8_t *data, size_t size)
{
	static const char header[FRAME_HEADER];

	buffer_add(file, SPOOL_MAGIC, sizeof SPOOL_MAGIC);
	buffer_add(file, identity, sizeof identity);
	while (size >= 2) {
		size_t n = data[0] | (size_t)data[1] << 8, at = file->len;

		data += 2;
		size -= 2;
		n = n < size ? n : size;
		buffer_add(file, header, sizeof header);
		buffer_add(file, data, n);
		frame_seal(file->data + at, file->len - at);
		data += n;
		size -= n;
	}
}

static void file_write(const char *path, const void *data, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ASSERT(fd >= 0 && write(fd, data, n) == (ssize_t)n);
	close(fd);
}

static void on_read(void *arg, struct group *g)
{
	uint64_t *writes = arg;
	struct write *w;

	ASSERT(g);
	while ((w = group_take(g))) {
		ASSERT(w->first && w->is_settled);
		++*writes;
		write_drop(w);
	}
	mem_free(g);
}

static void on_forgotten(void *arg, bool ok)
{
	(void)arg;
	ASSERT(ok);
}

/* As a store does at its start. Each write takes some of the file. */
static void spool_drain(struct spool_dir *d, size_t size)
{
	uv_loop_t loop;
	struct spool *sp;
	uint64_t writes = 0;

	ASSERT(uv_loop_init(&loop) == 0);
	sp = spool_open(d, &loop, false);
	while (!spool_is_empty(sp)) {
		uint64_t unread = spool_unread(sp);

		if (unread)
			spool_read(sp, on_read, &writes);
		else
			spool_forget(sp, false, on_forgotten, NULL);
		uv_run(&loop, UV_RUN_DEFAULT);
		ASSERT(!unread || spool_unread(sp) < unread);
	}
	ASSERT(writes <= size);
	spool_close(sp);
	ASSERT(uv_loop_close(&loop) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char dir[] = "/tmp/muster-fuzz-XXXXXX", *path, *kept, *lock, *error = NULL;
	struct buffer file = { 0 };
	struct spool_dir *d;

	if (!size || !log_open("/dev/null", LOG_ERROR, false))
		return 0;
	ASSERT(mkdtemp(dir));
	path = mem_printf("%s/0000000001.spool", dir);
	kept = mem_printf("%s/0000000001.refused", dir);
	lock = mem_printf("%s/lock", dir);
	if (data[0] & IS_FILE)
		buffer_add(&file, data + 1, size - 1);
	else
		frames_build(&file, data + 1, size - 1);
	file_write(path, file.data, file.len - (data[0] & IS_CUT && file.len ? 1 : 0));

	d = spool_dir_open(dir, UINT64_MAX, identity, &error);
	ASSERT(!d == !!error);
	if (d) {
		spool_drain(d, file.len);
		spool_dir_close(d);
		ASSERT(access(path, F_OK) != 0);
	}
	unlink(path);
	unlink(kept);
	unlink(lock);
	ASSERT(rmdir(dir) == 0);
	mem_free(error);
	mem_free(path);
	mem_free(kept);
	mem_free(lock);
	buffer_free(&file);
	return 0;
}
