/* mem.h - memory: allocation that cannot fail, arenas, and the assertion.
 *
 * Running out of memory ends the process (every size that a peer can choose is capped first), so no
 * caller checks for NULL. An arena is for what lives and dies together: a stanza's tree, the scratch
 * of one stanza in one home, the rows of one query. */
#ifndef MUSTER_MEM_H
#define MUSTER_MEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Our own bug: says where and aborts. Never compiled out. */
#define ASSERT(expr) ((expr) ? (void)0 : mem_assert_failed(#expr, __FILE__, __LINE__, __func__))
_Noreturn void mem_assert_failed(const char *expr, const char *file, int line, const char *func);

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args), nonnull(fmt)))

void *mem_alloc(size_t size);  /* uninitialised */
void *mem_zalloc(size_t size); /* zeroed */
void *mem_realloc(void *old, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
char *mem_printf(const char *format, ...) PRINTF(1, 2);
char *mem_vprintf(const char *format, va_list args) PRINTF(1, 0);
void mem_free(void *p); /* NULL is fine */

/* Overwrites before freeing: for passwords and keys. NULL is fine. */
void mem_free_secret(void *p, size_t size);

/* An arena: a chain of chunks, freed together. A zeroed struct is an empty arena. The first chunk
 * has ARENA_FIRST bytes; what does not fit gets a chunk of its own size or twice the last one. */
struct arena_chunk;
struct arena {
	struct arena_chunk *chunks; /* the one in use first */
	char *at, *end;             /* its free space */
};
#define ARENA_FIRST 512
#define ARENA_SECOND 1008 /* and its head: what malloc still keeps at hand per thread */

void arena_begin(struct arena *a, size_t size); /* an empty one, whose first chunk is to be larger */

void *arena_alloc(struct arena *a, size_t size);  /* aligned for any type, uninitialised */
void *arena_zalloc(struct arena *a, size_t size); /* the same, zeroed */
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n); /* adds the NUL */
char *arena_printf(struct arena *a, const char *format, ...) PRINTF(2, 3);
size_t arena_size(const struct arena *a); /* bytes taken from the system */
void arena_free(struct arena *a);         /* leaves an empty arena */

/* A growing string. A zeroed struct is an empty one. `data` is always NUL-terminated once written; `cap` counts
 * the place of the NUL. What every stanza is written with is inlined: most pieces are short and constant. */
struct buffer {
	char *data;
	size_t len, cap;
};

void buffer_grow(struct buffer *b, size_t n);
static inline char *buffer_reserve(struct buffer *b, size_t n) /* room for n more bytes: where they go */
{
	if (n >= b->cap - b->len)
		buffer_grow(b, n);
	return b->data + b->len;
}
static inline void buffer_add(struct buffer *b, const void *data, size_t n)
{
	char *at = buffer_reserve(b, n);
	if (n)
		memcpy(at, data, n);
	at[n] = '\0';
	b->len += n;
}
static inline void buffer_adds(struct buffer *b, const char *s)
{
	buffer_add(b, s, strlen(s));
}
void buffer_addf(struct buffer *b, const char *format, ...) PRINTF(2, 3);
void buffer_free(struct buffer *b); /* leaves an empty one */

#endif
