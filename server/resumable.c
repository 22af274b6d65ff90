/* resumable.c - see resumable.h: the row of a session while it lives, and a while longer. */
#include "resumable.h"

#include <openssl/evp.h>
#include <string.h>

#include "pass_parts.h"

/* What is too old of this account goes at the same time. */
static const struct sql sql_prune = {
	.name = "resumable_prune",
	.text = "delete from resumable where account = $1 and expires < $2",
};
static const struct sql sql_insert = {
	.name = "resumable_insert",
	.text =
	    "insert into resumable (id, resource, h, account) select $1, $2, $3, id from account where id = $4"
	    " on conflict (id) do nothing",
};
static const struct sql sql_count = {
	.name = "resumable_count",
	.text = "update resumable set h = $1 where id = $2",
};
static const struct sql sql_expire = {
	.name = "resumable_expire",
	.text = "update resumable set h = $1, expires = $2 where id = $3",
};
static const struct sql sql_delete = {
	.name = "resumable_delete",
	.text = "delete from resumable where id = $1",
};
static const struct sql sql_find = {
	.name = "resumable_find",
	.text = "select h from resumable where id = $1 and account = $2",
};

int64_t resumable_key(const char *id)
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	int64_t key;

	ASSERT(EVP_Digest(id, strlen(id), hash, NULL, EVP_sha256(), NULL) == 1);
	memcpy(&key, hash, sizeof key);
	return key & INT64_MAX;
}

void resumable_write(struct session *s, struct write *w)
{
	write_set_away(w, AWAY_SPOOL);
	home_write(s->home, w, NULL, NULL);
}

void resumable_insert(struct session *s)
{
	struct reactor *r = s->home->reactor;
	struct write *w = write_new(r->store, 0);

	write_add(w, &sql_prune, PARAMS(P_INT(s->home->account), P_INT(r->now)));
	write_add(w, &sql_insert,
	          PARAMS(P_INT(s->sm->row), P_TEXT(jid_resource(s->full)), P_INT(s->sm->in.handled),
	                 P_INT(s->home->account)));
	resumable_write(s, w);
}

/* Groups commit in their order, so what was kept before is committed before. One statement per group is enough: the
 * last one. */
static void add_count(struct session *s, struct write *w, uint64_t h)
{
	struct sm *sm = s->sm;

	(void)store_take_back(s->home->reactor->store, (uint64_t)sm->row);
	write_add_tagged(w, (uint64_t)sm->row, &sql_count, PARAMS(P_INT(h), P_INT(sm->row)));
	sm->stored = h;
}

void resumable_count(struct session *s, struct write *w, uint64_t n)
{
	struct sm *sm = s->sm;

	if (!sm->row)
		return;
	if (sm->recorded < n)
		sm->recorded = n;
	add_count(s, w, sm->in.kept + 1 == n ? n : sm->in.kept);
}

void resumable_catch_up(struct session *s)
{
	struct sm *sm = s->sm;
	struct write *w;

	if (!sm->row || sm->stored >= sm->recorded || sm->in.kept <= sm->stored)
		return;
	w = write_new(s->home->reactor->store, 0);
	add_count(s, w, sm->in.kept);
	resumable_write(s, w);
}

void resumable_end(struct session *s, bool is_lost)
{
	struct reactor *r = s->home->reactor;
	struct sm *sm = s->sm;
	struct write *w;

	if (!sm->row)
		return;
	w = write_new(r->store, 0);
	if (is_lost)
		write_add(w, &sql_expire,
		          PARAMS(P_INT(sm->in.kept), P_INT(r->now + RESUMABLE_KEEP), P_INT(sm->row)));
	else
		write_add(w, &sql_delete, PARAMS(P_INT(sm->row)));
	resumable_write(s, w);
}

/* ---- a client that comes too late */

struct late {
	struct reactor *reactor;
	struct envelope *envelope;
};

static void on_found(void *arg, const struct rows *rows)
{
	struct late *late = arg;
	struct stanza *failed = sm_failed(ITEM_NOT_FOUND);

	if (rows_count(rows) > 0)
		element_setf(failed, failed->root, "h", "%u", (unsigned)rows_int(rows, 0, 0));
	session_refuse_resume(late->reactor, late->envelope, failed);
	mem_free(late);
}

void resumable_refuse(struct home *h, struct envelope *e)
{
	struct late *late = mem_alloc(sizeof *late);

	*late = (struct late){ .reactor = h->reactor, .envelope = e };
	store_read(h->reactor->store, h->last_write, &sql_find,
	           PARAMS(P_INT(resumable_key(element_get(e->stanza->root, "previd"))), P_INT(h->account)),
	           on_found, late);
}
