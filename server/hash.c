/* hash.c - hash tables through a member of the stored struct, and the keyed hash.
 *
 * Everybody who looks something up by a name calls it. It owns the key of the hash, drawn once at start.
 * A table is an array of chains; it doubles when there is more than one node per bucket, and halves
 * when seven of eight buckets could be empty. */
#include "hash.h"

#include <errno.h>
#include <endian.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS_FIRST 16

/* Written once by hash_seed before any other thread exists, only read from then on. */
static uint64_t hash_key[2];

/* Any constant would do: measurements must repeat. */
static const uint64_t fixed_key[2] = { 0x6d75737465720001, 0x6d75737465720002 };

void hash_seed(bool fixed)
{
	if (fixed) {
		memcpy(hash_key, fixed_key, sizeof(hash_key));
		return;
	}
	ssize_t n;
	do
		n = getrandom(hash_key, sizeof(hash_key), 0);
	while (n < 0 && errno == EINTR);
	ASSERT(n == sizeof(hash_key)); /* so few bytes are never cut short */
}

/* ---- SipHash-1-3 (Aumasson and Bernstein, https://www.aumasson.jp/siphash/): one round per word and
 * three at the end, which is enough for tables whose hashes nobody outside sees. */

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v2 = rotate(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
	s->v3 ^= word;
	sip_round(s);
	s->v0 ^= word;
}

uint32_t hash_bytes(const void *data, size_t n)
{
	struct sip s = { hash_key[0] ^ 0x736f6d6570736575, hash_key[1] ^ 0x646f72616e646f6d,
		         hash_key[0] ^ 0x6c7967656e657261, hash_key[1] ^ 0x7465646279746573 };
	const unsigned char *at = data, *end = at + (n & ~(size_t)7);
	uint64_t word;

	for (; at < end; at += 8) {
		memcpy(&word, at, 8);
		sip_word(&s, le64toh(word));
	}
	/* The last word: what is left, and the length in its highest byte. */
	word = (uint64_t)n << 56;
	for (size_t i = 0; i < (n & 7); i++)
		word |= (uint64_t)at[i] << (8 * i);
	sip_word(&s, word);
	s.v2 ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(&s);
	return (uint32_t)(s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
}

/* ---- the table */

static void hash_resize(struct hash *h, uint32_t buckets)
{
	struct hash_node **old = h->buckets;
	uint32_t old_count = old ? h->mask + 1 : 0;

	h->buckets = mem_zalloc(buckets * sizeof(struct hash_node *));
	h->mask = buckets - 1;
	for (uint32_t i = 0; i < old_count; i++) {
		struct hash_node *next;

		for (struct hash_node *n = old[i]; n; n = next) {
			next = n->next;
			n->next = h->buckets[n->hash & h->mask];
			h->buckets[n->hash & h->mask] = n;
		}
	}
	mem_free(old);
}

void hash_add(struct hash *h, struct hash_node *node, uint32_t hash)
{
	if (!h->buckets)
		hash_resize(h, BUCKETS_FIRST);
	else if (h->count > h->mask && h->mask < UINT32_MAX / 2)
		hash_resize(h, 2 * (h->mask + 1));
	struct hash_node **bucket = &h->buckets[hash & h->mask];
	node->hash = hash;
	node->next = *bucket;
	*bucket = node;
	h->count++;
}

void hash_remove(struct hash *h, struct hash_node *node)
{
	ASSERT(h->buckets);
	struct hash_node **at = &h->buckets[node->hash & h->mask];
	while (*at != node) {
		ASSERT(*at);
		at = &(*at)->next;
	}
	*at = node->next;
	node->next = NULL;
	h->count--;
	if (h->mask >= BUCKETS_FIRST && h->count <= h->mask / 8)
		hash_resize(h, (h->mask + 1) / 2);
}

static struct hash_node *same_hash(struct hash_node *n, uint32_t hash)
{
	while (n && n->hash != hash)
		n = n->next;
	return n;
}

struct hash_node *hash_first(const struct hash *h, uint32_t hash)
{
	return h->buckets ? same_hash(h->buckets[hash & h->mask], hash) : NULL;
}

struct hash_node *hash_next(const struct hash_node *after)
{
	return same_hash(after->next, after->hash);
}

struct hash_node *hash_walk(const struct hash *h, const struct hash_node *after)
{
	if (after && after->next)
		return after->next;
	if (!h->buckets)
		return NULL;
	for (uint32_t i = after ? (after->hash & h->mask) + 1 : 0; i <= h->mask; i++)
		if (h->buckets[i])
			return h->buckets[i];
	return NULL;
}

void hash_free(struct hash *h)
{
	mem_free(h->buckets);
	*h = (struct hash){ 0 };
}
