/* mem.c - memory: allocation that cannot fail, arenas, growing strings, and the assertion.
 *
 * Everybody calls it; it owns nothing. The only file that may call malloc and free. When the system
 * has no memory left the process ends here with a sentence, so no caller checks for NULL. */
#include "mem.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In front of a chunk's payload: 16 bytes, so that the payload is aligned for any type. The first two chunks
 * (528 and 1024 bytes, enough for nearly every stanza) come from malloc's per-thread cache. */
struct arena_chunk {
	alignas(max_align_t) struct arena_chunk *next;
	size_t size; /* of the payload */
};

#define BUFFER_FIRST 64

_Noreturn static void die(const char *what, size_t size)
{
	dprintf(STDERR_FILENO, "muster: %s (%zu bytes asked for); ending\n", what, size);
	abort();
}

_Noreturn void mem_assert_failed(const char *expr, const char *file, int line, const char *func)
{
	dprintf(STDERR_FILENO, "muster: bug: %s:%d: %s: not true: %s\n", file, line, func, expr);
	abort();
}

static size_t size_sum(size_t a, size_t b)
{
	size_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		die("a size is out of bounds", b);
	return sum;
}

/* ---- plain allocation. A size of 0 gets a byte: malloc may answer it with NULL. */

void *mem_alloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	if (!p)
		die("out of memory", size);
	return p;
}

void *mem_zalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		die("out of memory", size);
	return p;
}

void *mem_realloc(void *old, size_t size)
{
	void *p = realloc(old, size ? size : 1);

	if (!p)
		die("out of memory", size);
	return p;
}

char *mem_strdup(const char *s)
{
	size_t size = strlen(s) + 1;

	return memcpy(mem_alloc(size), s, size);
}

char *mem_strndup(const char *s, size_t n)
{
	n = strnlen(s, n);
	char *copy = mem_alloc(n + 1);
	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

/* The length of the formatted text. A format that cannot be printed is our own bug. */
static size_t PRINTF(1, 0) format_length(const char *format, va_list args)
{
	int n = vsnprintf(NULL, 0, format, args);

	ASSERT(n >= 0);
	return (size_t)n;
}

char *mem_vprintf(const char *format, va_list args)
{
	va_list again;

	va_copy(again, args);
	size_t size = format_length(format, args) + 1;
	char *s = mem_alloc(size);
	vsnprintf(s, size, format, again);
	va_end(again);
	return s;
}

char *mem_printf(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	char *s = mem_vprintf(format, args);
	va_end(args);
	return s;
}

void mem_free(void *p)
{
	free(p);
}

void mem_free_secret(void *p, size_t size)
{
	if (p)
		explicit_bzero(p, size);
	free(p);
}

/* ---- arenas */

static struct arena_chunk *chunk_new(size_t size, struct arena_chunk *next)
{
	struct arena_chunk *c = mem_alloc(size_sum(sizeof(*c), size));

	c->next = next;
	c->size = size;
	return c;
}

static char *chunk_start(struct arena_chunk *c)
{
	return (char *)(c + 1);
}

static void arena_grow(struct arena *a, size_t size)
{
	a->chunks = chunk_new(size, a->chunks);
	a->at = chunk_start(a->chunks);
	a->end = a->at + size;
}

void arena_begin(struct arena *a, size_t size)
{
	ASSERT(!a->chunks);
	arena_grow(a, size);
}

/* A piece for which the chunk in use has no room. It needs no padding: a chunk's start is aligned. */
static void *arena_take_new(struct arena *a, size_t size)
{
	if (!a->chunks)
		arena_grow(a, ARENA_FIRST);
	size_t next = 2 * a->chunks->size - sizeof(struct arena_chunk);
	/* A big piece goes behind the first chunk, whose free space stays in use. */
	if (size > next) {
		a->chunks->next = chunk_new(size, a->chunks->next);
		return chunk_start(a->chunks->next);
	}
	if (size > (size_t)(a->end - a->at) || a->at != chunk_start(a->chunks))
		arena_grow(a, next);
	char *p = a->at;
	a->at = p + size;
	return p;
}

/* `align` is a power of two, at most that of a chunk's start. */
static inline void *arena_take(struct arena *a, size_t size, size_t align)
{
	size_t pad = -(uintptr_t)a->at & (align - 1), room = (size_t)(a->end - a->at);

	if (!a->chunks || pad > room || size > room - pad)
		return arena_take_new(a, size);
	char *p = a->at + pad;
	a->at = p + size;
	return p;
}

void *arena_alloc(struct arena *a, size_t size)
{
	return arena_take(a, size, alignof(max_align_t));
}

void *arena_zalloc(struct arena *a, size_t size)
{
	return memset(arena_alloc(a, size), 0, size);
}

char *arena_strdup(struct arena *a, const char *s)
{
	size_t size = strlen(s) + 1;

	return memcpy(arena_take(a, size, 1), s, size);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *copy = arena_take(a, size_sum(n, 1), 1);

	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	va_list args, again;

	va_start(args, format);
	va_copy(again, args);
	size_t size = format_length(format, args) + 1;
	char *s = arena_take(a, size, 1);
	vsnprintf(s, size, format, again);
	va_end(again);
	va_end(args);
	return s;
}

size_t arena_size(const struct arena *a)
{
	size_t size = 0;

	for (const struct arena_chunk *c = a->chunks; c; c = c->next)
		size += sizeof(*c) + c->size;
	return size;
}

void arena_free(struct arena *a)
{
	struct arena_chunk *next;

	for (struct arena_chunk *c = a->chunks; c; c = next) {
		next = c->next;
		mem_free(c);
	}
	*a = (struct arena){ 0 };
}

/* ---- growing strings */

void buffer_grow(struct buffer *b, size_t n)
{
	size_t need = size_sum(size_sum(b->len, n), 1);
	size_t cap = b->cap ? b->cap : BUFFER_FIRST;

	while (cap < need)
		cap = size_sum(cap, cap);
	b->data = mem_realloc(b->data, cap);
	b->cap = cap;
}

void buffer_addf(struct buffer *b, const char *format, ...)
{
	va_list args, again;

	va_start(args, format);
	va_copy(again, args);
	char *at = buffer_reserve(b, 1);
	size_t room = b->cap - b->len; /* mostly enough: then it is formatted once */
	int n = vsnprintf(at, room, format, args);
	ASSERT(n >= 0);
	if ((size_t)n >= room)
		vsnprintf(buffer_reserve(b, (size_t)n), (size_t)n + 1, format, again);
	b->len += (size_t)n;
	va_end(again);
	va_end(args);
}

void buffer_free(struct buffer *b)
{
	mem_free(b->data);
	*b = (struct buffer){ 0 };
}
