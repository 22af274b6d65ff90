/* gate.c - see gate.h. server.c makes the one gate; listener.c and c2s_login.c ask it. */
#include "gate.h"

#include <openssl/evp.h>
#include <string.h>
#include <uv.h>

#include "hash.h"
#include "list.h"

#define HOUR ((int64_t)3600 * 1000000)
#define DAY (24 * HOUR)

/* Connections from one network address; there is one while there are any. */
struct from {
	struct hash_node node;
	struct network_address address;
	unsigned count;
};

enum subject { OF_ADDRESS, OF_ACCOUNT, OF_BOTH, OF_REGISTRATION, OF_GUEST };

/* What is remembered about a subject. Names are kept as a digest, so that all are of one size. */
struct memory {
	struct hash_node node;
	struct list recent; /* in gate->recent */
	unsigned char key[16];
	/* Failures, what costs: when the bucket is empty again; OF_BOTH: when it is forgotten. */
	int64_t until;
	int64_t failed; /* OF_BOTH: when the bucket of its own failures is empty again */
};

struct gate {
	uv_mutex_t lock; /* of all below */
	unsigned connections, before_login;
	struct hash froms;
	struct hash memories;
	struct list recent; /* what was touched last is at the end */
};

struct gate *gate_new(void)
{
	struct gate *g = mem_zalloc(sizeof *g);

	ASSERT(uv_mutex_init(&g->lock) == 0);
	list_init(&g->recent);
	return g;
}

static void memory_free(struct gate *g, struct memory *m)
{
	hash_remove(&g->memories, &m->node);
	list_remove(&m->recent);
	mem_free(m);
}

void gate_free(struct gate *g)
{
	struct hash_node *n;
	struct memory *m;

	if (!g)
		return;
	while ((n = hash_walk(&g->froms, NULL))) {
		hash_remove(&g->froms, n);
		mem_free(CONTAINER_OF(n, struct from, node));
	}
	LIST_EACH (m, &g->recent, struct memory, recent)
		memory_free(g, m);
	hash_free(&g->froms);
	hash_free(&g->memories);
	uv_mutex_destroy(&g->lock);
	mem_free(g);
}

/* ---- connections */

const char *gate_limit(enum gate_answer answer)
{
	static const char *const keys[] = {
		[GATE_OPEN] = "",
		[GATE_FULL] = "limits.connections",
		[GATE_LOGINS] = "limits.connections_before_login",
		[GATE_ADDRESS] = "limits.connections_per_address",
	};

	return keys[answer];
}

enum gate_answer gate_enter(struct gate *g, const struct limits_conf *limits)
{
	enum gate_answer answer = GATE_OPEN;

	uv_mutex_lock(&g->lock);
	if (g->connections >= limits->connections)
		answer = GATE_FULL;
	else if (g->before_login >= limits->connections_before_login)
		answer = GATE_LOGINS;
	if (answer == GATE_OPEN) {
		g->connections++;
		g->before_login++;
	}
	uv_mutex_unlock(&g->lock);
	return answer;
}

static struct from *from_find(const struct gate *g, const struct network_address *a)
{
	struct hash_node *n = hash_first(&g->froms, hash_bytes(a->bytes, sizeof a->bytes));

	for (; n; n = hash_next(n)) {
		struct from *from = CONTAINER_OF(n, struct from, node);

		if (memcmp(&from->address, a, sizeof *a) == 0)
			return from;
	}
	return NULL;
}

enum gate_answer gate_enter_address(struct gate *g, const struct network_address *counted,
                                    const struct limits_conf *limits)
{
	enum gate_answer answer = GATE_ADDRESS;
	struct from *from;

	uv_mutex_lock(&g->lock);
	from = from_find(g, counted);
	if (!from) {
		from = mem_zalloc(sizeof *from);
		from->address = *counted;
		hash_add(&g->froms, &from->node, hash_bytes(counted->bytes, sizeof counted->bytes));
	}
	if (from->count < limits->connections_per_address) { /* the limit is 1 at least */
		from->count++;
		answer = GATE_OPEN;
	}
	uv_mutex_unlock(&g->lock);
	return answer;
}

void gate_logged_in(struct gate *g)
{
	uv_mutex_lock(&g->lock);
	ASSERT(g->before_login > 0);
	g->before_login--;
	uv_mutex_unlock(&g->lock);
}

static void from_leave(struct gate *g, const struct network_address *counted)
{
	struct from *from = from_find(g, counted);

	ASSERT(from && from->count > 0);
	if (--from->count > 0)
		return;
	hash_remove(&g->froms, &from->node);
	mem_free(from);
}

void gate_leave(struct gate *g, const struct network_address *counted, bool is_logged_in)
{
	uv_mutex_lock(&g->lock);
	ASSERT(g->connections > 0 && (is_logged_in || g->before_login > 0));
	g->connections--;
	if (!is_logged_in)
		g->before_login--;
	if (counted)
		from_leave(g, counted);
	uv_mutex_unlock(&g->lock);
}

struct gate_counts gate_counts(struct gate *g)
{
	struct gate_counts counts;

	uv_mutex_lock(&g->lock);
	counts = (struct gate_counts){ g->connections, g->before_login, g->froms.count, g->memories.count };
	uv_mutex_unlock(&g->lock);
	return counts;
}

/* ---- failed logins */

static void make_key(enum subject subject, const struct network_address *counted, const char *account,
                     unsigned char key[16])
{
	static const struct network_address none = { 0 };
	unsigned char digest[EVP_MAX_MD_SIZE];
	struct buffer b = { 0 };

	buffer_addf(&b, "%d", (int)subject);
	buffer_add(&b, subject == OF_ACCOUNT ? none.bytes : counted->bytes, sizeof none.bytes);
	buffer_adds(&b, account ? account : "");
	ASSERT(EVP_Digest(b.data, b.len, digest, NULL, EVP_sha256(), NULL));
	memcpy(key, digest, 16);
	buffer_free(&b);
}

static struct memory *memory_find(const struct gate *g, const unsigned char key[16])
{
	struct hash_node *n = hash_first(&g->memories, hash_bytes(key, 16));

	for (; n; n = hash_next(n)) {
		struct memory *m = CONTAINER_OF(n, struct memory, node);

		if (memcmp(m->key, key, 16) == 0)
			return m;
	}
	return NULL;
}

/* The one with that key, made if there is none, as the last that was touched. */
static struct memory *memory_touch(struct gate *g, const unsigned char key[16])
{
	struct memory *m = memory_find(g, key);

	if (m) {
		list_remove(&m->recent);
	} else {
		if (g->memories.count >= GATE_REMEMBERED)
			memory_free(g, LIST_FIRST(&g->recent, struct memory, recent));
		m = mem_zalloc(sizeof *m);
		memcpy(m->key, key, 16);
		hash_add(&g->memories, &m->node, hash_bytes(key, 16));
	}
	list_append(&g->recent, &m->recent);
	return m;
}

static int64_t failure_step(const struct limits_conf *limits, int64_t limit)
{
	return limits->failure_time * 1000 / limit;
}

/* When that bucket is empty again. */
static int64_t empty_at(const struct gate *g, const unsigned char key[16])
{
	const struct memory *m = memory_find(g, key);

	return m ? m->until : 0;
}

/* Whether one more would still fit into a bucket. */
static bool has_room(int64_t empty, const struct limits_conf *limits, int64_t limit, int64_t now)
{
	return empty + failure_step(limits, limit) - now <= limits->failure_time * 1000;
}

static int64_t filled(int64_t empty, const struct limits_conf *limits, int64_t limit, int64_t now)
{
	empty = (empty > now ? empty : now) + failure_step(limits, limit);
	return empty < now + DAY ? empty : now + DAY;
}

static void add_failure(struct gate *g, const unsigned char key[16], const struct limits_conf *limits,
                        int64_t limit, int64_t now)
{
	struct memory *m = memory_touch(g, key);

	m->until = filled(m->until, limits, limit, now);
}

/* Who has logged in to that account from there within the last day; NULL: nobody. */
static struct memory *find_known(const struct gate *g, const struct network_address *counted,
                                 const char *account, int64_t now)
{
	unsigned char key[16];
	struct memory *m;

	make_key(OF_BOTH, counted, account, key);
	m = memory_find(g, key);
	return m && m->until > now ? m : NULL;
}

bool gate_may_try(struct gate *g, const struct network_address *counted, const char *account,
                  const struct limits_conf *limits, int64_t now)
{
	unsigned char of_address[16], of_account[16];
	const struct memory *known;
	bool may;

	make_key(OF_ADDRESS, counted, NULL, of_address);
	make_key(OF_ACCOUNT, NULL, account, of_account);
	uv_mutex_lock(&g->lock);
	may = has_room(empty_at(g, of_address), limits, limits->failures_per_address, now);
	known = find_known(g, counted, account, now);
	if (known)
		may = may || has_room(known->failed, limits, limits->login_failures, now);
	else
		may = may && has_room(empty_at(g, of_account), limits, limits->failures_per_account, now);
	uv_mutex_unlock(&g->lock);
	return may;
}

void gate_failed(struct gate *g, const struct network_address *counted, const char *account,
                 const struct limits_conf *limits, int64_t now)
{
	unsigned char of_address[16], of_account[16];
	struct memory *known;

	make_key(OF_ADDRESS, counted, NULL, of_address);
	make_key(OF_ACCOUNT, NULL, account, of_account);
	uv_mutex_lock(&g->lock);
	add_failure(g, of_address, limits, limits->failures_per_address, now);
	add_failure(g, of_account, limits, limits->failures_per_account, now);
	known = find_known(g, counted, account, now);
	if (known)
		known->failed = filled(known->failed, limits, limits->login_failures, now);
	uv_mutex_unlock(&g->lock);
}

void gate_succeeded(struct gate *g, const struct network_address *counted, const char *account, int64_t now)
{
	unsigned char both[16];

	make_key(OF_BOTH, counted, account, both);
	uv_mutex_lock(&g->lock);
	memory_touch(g, both)->until = now + DAY;
	uv_mutex_unlock(&g->lock);
}

/* As many as `an_hour` at once, then one in each part of it. */
static bool take_turn(struct gate *g, enum subject subject, const struct network_address *counted,
                      int64_t an_hour, int64_t now)
{
	int64_t step = HOUR / an_hour;
	struct memory *m;
	unsigned char key[16];
	bool may;

	make_key(subject, counted, NULL, key);
	uv_mutex_lock(&g->lock);
	may = empty_at(g, key) + step - now <= HOUR;
	if (may) {
		m = memory_touch(g, key);
		m->until = (m->until > now ? m->until : now) + step;
	}
	uv_mutex_unlock(&g->lock);
	return may;
}

bool gate_register(struct gate *g, const struct network_address *counted, const struct limits_conf *limits,
                   int64_t now)
{
	return take_turn(g, OF_REGISTRATION, counted, limits->registrations, now);
}

bool gate_guest(struct gate *g, const struct network_address *counted, const struct limits_conf *limits,
                int64_t now)
{
	return take_turn(g, OF_GUEST, counted, limits->guests, now);
}
