/* derive.c - the keys of many passwords, on all processors: slow on purpose (PBKDF2), and done here
 * so that no password leaves this process. */
#define _DEFAULT_SOURCE /* nice */
#include <stdatomic.h>
#include <unistd.h>
#include <uv.h>

#include "parts.h"
#include "sasl.h"

#define THREADS_MAX 64
#define NICE 10

struct derive {
	const char *const *passwords;
	struct sasl_keys *keys;
	size_t count;
	atomic_size_t next; /* the one to be taken */
	atomic_bool is_over;
	uv_mutex_t lock;
	uv_cond_t some_done;
	bool *is_done; /* under the lock */
	size_t done;   /* under the lock: without a gap */
	unsigned threads;
	uv_thread_t thread[THREADS_MAX];
};

static void note_done(struct derive *d, size_t i)
{
	uv_mutex_lock(&d->lock);
	d->is_done[i] = true;
	while (d->done < d->count && d->is_done[d->done])
		d->done++;
	uv_cond_signal(&d->some_done);
	uv_mutex_unlock(&d->lock);
}

static void work(void *arg)
{
	struct derive *d = arg;
	size_t i;

	(void)!nice(NICE); /* of this thread alone: the server and its database come first */
	while (!atomic_load(&d->is_over) && (i = atomic_fetch_add(&d->next, 1)) < d->count) {
		if (d->passwords[i])
			ASSERT(sasl_keys_derive(&d->keys[i], d->passwords[i])); /* it was prepared before */
		note_done(d, i);
	}
}

struct derive *derive_start(const char *const *passwords, struct sasl_keys *keys, size_t count)
{
	struct derive *d = mem_zalloc(sizeof(*d));
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	d->passwords = passwords;
	d->keys = keys;
	d->count = count;
	d->is_done = mem_zalloc(count + 1);
	d->threads = processors < 1 ? 1 : processors > THREADS_MAX ? THREADS_MAX : (unsigned)processors;
	ASSERT(uv_mutex_init(&d->lock) == 0);
	ASSERT(uv_cond_init(&d->some_done) == 0);
	for (unsigned i = 0; i < d->threads; i++)
		ASSERT(uv_thread_create(&d->thread[i], work, d) == 0);
	return d;
}

bool derive_wait(struct derive *d, size_t end, unsigned ms)
{
	uv_mutex_lock(&d->lock);
	if (d->done < end)
		uv_cond_timedwait(&d->some_done, &d->lock, (uint64_t)ms * 1000000);
	bool is_done = d->done >= end;
	uv_mutex_unlock(&d->lock);
	return is_done;
}

size_t derive_done(struct derive *d)
{
	uv_mutex_lock(&d->lock);
	size_t done = d->done;
	uv_mutex_unlock(&d->lock);
	return done;
}

void derive_end(struct derive *d)
{
	atomic_store(&d->is_over, true);
	for (unsigned i = 0; i < d->threads; i++)
		uv_thread_join(&d->thread[i]);
	uv_cond_destroy(&d->some_done);
	uv_mutex_destroy(&d->lock);
	mem_free(d->is_done);
	mem_free(d);
}
