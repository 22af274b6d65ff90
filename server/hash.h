/* hash.h - a hash table through a member of the stored struct, and the keyed hash for names that
 * a peer may choose. The table owns nothing but its buckets. */
#ifndef MUSTER_HASH_H
#define MUSTER_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

struct hash_node {
	struct hash_node *next;
	uint32_t hash;
};

/* A zeroed struct is an empty table. Grows by itself, never shrinks below 16 buckets. */
struct hash {
	struct hash_node **buckets;
	uint32_t mask; /* number of buckets - 1; meaningless while buckets is NULL */
	uint32_t count;
};

/* Keyed with 128 random bits drawn at start (hash_seed), so that nobody can aim at one bucket. */
uint32_t hash_bytes(const void *data, size_t n);

/* Draws the key. Called once, before any other thread exists. `fixed` makes it constant, for
 * measurements that must repeat. */
void hash_seed(bool fixed);

void hash_add(struct hash *h, struct hash_node *node, uint32_t hash);
void hash_remove(struct hash *h, struct hash_node *node); /* must be in it */

/* The first node with this hash, or the next one after `after`; NULL when there is none. The caller
 * compares the key itself. */
struct hash_node *hash_first(const struct hash *h, uint32_t hash);
struct hash_node *hash_next(const struct hash_node *after);

/* Walks everything, in no order: start with NULL. The table must not change meanwhile, except that
 * the node last returned may be removed if the walk then ends. */
struct hash_node *hash_walk(const struct hash *h, const struct hash_node *after);

void hash_free(struct hash *h); /* the buckets; the stored structs are the caller's */

#endif
