/* blocks.h - whom an account blocks (XEP-0191), in memory: loaded when the home wakes, the truth from then
 * on. What is stored and when is modules/blocking's business; this is only the table. */
#ifndef MUSTER_BLOCKS_H
#define MUSTER_BLOCKS_H

#include "hash.h"
#include "jid.h"

struct block {
	struct hash_node node; /* by the bare address */
	struct jid *jid;       /* an address of any kind */
};

/* A zeroed struct blocks nobody. */
struct blocks {
	struct hash items; /* of struct block */
};

struct block *blocks_find(const struct blocks *b, const struct jid *j); /* this very address */
void blocks_add(struct blocks *b, const struct jid *j);                 /* unless it is there */
void blocks_remove(struct blocks *b, struct block *item);
void blocks_free(struct blocks *b); /* leaves an empty one */
/* Walks all: for (i = NULL; (i = blocks_walk(b, i)); ) */
struct block *blocks_walk(const struct blocks *b, const struct block *after);

/* Whether one of them covers `j` (XEP-0191 section 6): that very address, its account, or its domain. */
bool blocks_cover(const struct blocks *b, const struct jid *j);

#endif
