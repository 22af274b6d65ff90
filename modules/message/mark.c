/* mark.c - which of a user's incoming entries a session has taken. A mark per account says up to where all is taken;
 * beside it there are single ones that were taken out of order, or that came back. It is exact in memory; stored is
 * what of it the clients have acknowledged (XEP-0198), or else the sessions' streams have really written: at once,
 * or where more keeps coming every half second. So after kill -9 nobody gets again what he has acknowledged earlier
 * than that. */
#include <string.h>

#include "offline.h"

#define IDS_MAX 1000 /* single entries remembered beside the mark */

/* ---- small sets of entries */

static bool ids_has(const struct ids *ids, int64_t id)
{
	for (unsigned i = 0; i < ids->count; i++)
		if (ids->list[i] == id)
			return true;
	return false;
}

/* False: no room. */
static bool ids_add(struct ids *ids, int64_t id)
{
	if (ids_has(ids, id))
		return true;
	if (ids->count == IDS_MAX)
		return false;
	if (!ids->list)
		ids->list = mem_alloc(IDS_MAX * sizeof *ids->list);
	ids->list[ids->count++] = id;
	return true;
}

static void ids_remove(struct ids *ids, int64_t id)
{
	for (unsigned i = 0; i < ids->count; i++)
		if (ids->list[i] == id) {
			memmove(ids->list + i, ids->list + i + 1, (ids->count - i - 1) * sizeof *ids->list);
			ids->count--;
			return;
		}
}

/* Those behind `since` and up to `last`. */
static void ids_drop(struct ids *ids, int64_t since, int64_t last)
{
	for (unsigned i = 0; i < ids->count;)
		if (ids->list[i] > since && ids->list[i] <= last)
			ids_remove(ids, ids->list[i]);
		else
			i++;
}

static void ids_clear(struct ids *ids)
{
	mem_free(ids->list);
	*ids = (struct ids){ 0 };
}

static int64_t ids_least(const struct ids *ids, int64_t above)
{
	int64_t least = above;

	for (unsigned i = 0; i < ids->count; i++)
		if (ids->list[i] <= least)
			least = ids->list[i] - 1;
	return least;
}

/* ---- what is taken */

bool mark_is_waiting(const struct offline *o, int64_t entry)
{
	return entry > o->taken ? !ids_has(&o->skipped, entry) : ids_has(&o->returned, entry);
}

int64_t mark_of(const struct offline *o)
{
	return ids_least(&o->returned, o->taken);
}

/* Where too many have come back the mark goes back before them all: what was taken above it comes twice then, but
 * nothing is lost. */
void mark_waiting(struct offline *o, int64_t entry)
{
	o->has_older = true;
	ids_remove(&o->skipped, entry);
	if (entry <= o->written)
		o->written = entry - 1;
	if (entry > o->taken || ids_add(&o->returned, entry))
		return;
	o->taken = mark_of(o) < entry ? mark_of(o) : entry - 1;
	ids_clear(&o->returned);
}

void mark_taken(struct offline *o, int64_t entry, bool is_next)
{
	ids_remove(&o->returned, entry);
	if (entry <= o->taken)
		return;
	if (is_next)
		o->taken = entry;
	else
		(void)ids_add(&o->skipped, entry);
}

bool mark_is_all_taken(struct offline *o)
{
	if (o->newest > o->taken || o->returned.count)
		return false;
	o->has_older = false;
	return true;
}

void mark_all_taken(struct offline *o)
{
	o->has_older = false;
	ids_clear(&o->skipped);
	ids_clear(&o->returned);
	ids_clear(&o->owed);
}

void mark_read(struct offline *o, int64_t since, int64_t read)
{
	ids_drop(&o->returned, since, read);
	ids_drop(&o->owed, since, read);
	if (since <= o->taken && read > o->taken)
		o->taken = read;
}

bool mark_owe(struct offline *o, int64_t entry)
{
	return ids_add(&o->owed, entry);
}

bool mark_repay(struct offline *o, int64_t entry)
{
	bool is_owed = ids_has(&o->owed, entry);

	ids_remove(&o->owed, entry);
	return is_owed;
}

/* ---- copies that have come back */

struct partial {
	struct partial *next;
	int64_t entry;
	unsigned left; /* copies that have not come back */
};

bool mark_is_last_copy(struct offline *o, int64_t entry, unsigned copies)
{
	struct partial **at = &o->partial, *p;

	while (*at && (*at)->entry != entry)
		at = &(*at)->next;
	if (!*at) {
		*at = mem_alloc(sizeof **at);
		**at = (struct partial){ .entry = entry, .left = copies };
	}
	p = *at;
	if (--p->left > 0)
		return false;
	*at = p->next;
	mem_free(p);
	return true;
}

void mark_partials_wait(struct offline *o)
{
	for (const struct partial *p = o->partial; p; p = p->next)
		mark_waiting(o, p->entry);
}

static void partials_drop(struct offline *o, int64_t up_to)
{
	struct partial **at = &o->partial, *p;

	while ((p = *at)) {
		if (p->entry > up_to) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		mem_free(p);
	}
}

/* ---- loading and storing it */

const struct sql mark_sql_load = {
	.name = "mark_load",
	.text =
	    "select coalesce((select m.taken from mark m where m.owner = $1), 0),"
	    " coalesce((select e.id from entry e where e.owner = $1 and e.is_out = 0 order by e.id "
	    "desc limit 1), 0),"
	    " coalesce((select e.id from entry e where e.owner = $1 and e.passing > 0 and e.id >"
	    " coalesce((select m.taken from mark m where m.owner = $1), 0) order by e.id desc limit 1), 0)",
};
/* The account may have been removed meanwhile. */
static const struct sql sql_mark = {
	.name = "mark_store",
	.text = "insert into mark (taken, owner) select $1, id from account where id = $2"
		" on conflict (owner) do update set taken = excluded.taken",
};

enum verdict mark_loaded(struct ctx *c, const struct rows *r)
{
	struct offline *o = home_data(c);

	o->taken = o->stored = o->written = rows_int(r, 0, 0);
	o->newest = rows_int(r, 0, 1);
	o->passing = rows_int(r, 0, 2);
	o->has_older = o->newest > o->taken;
	return DONE;
}

void mark_store(struct ctx *c, struct offline *o, int64_t mark)
{
	struct write *w;

	if (mark == o->stored)
		return;
	o->stored = mark;
	w = begin_write(c);
	write_add(w, &sql_mark, PARAMS(P_INT(mark), P_INT(home_account(c->home))));
	later(c, w);
}

void mark_soon(struct ctx *c, struct offline *o)
{
	if (!o->is_settling && mark_of(o) != o->stored)
		offline_tick_soon(c, o);
}

void mark_settled(struct ctx *c, struct offline *o)
{
	struct session *s;

	if (!o->is_settling)
		return;
	SESSION_EACH (s, c->home)
		if (s->unsettled && !session_acknowledges(s))
			return;
	o->is_settling = false;
	o->written = o->settling;
}

void mark_settle(struct ctx *c, struct offline *o)
{
	struct session *s;

	o->is_settling = true;
	o->settling = mark_of(o);
	SESSION_EACH (s, c->home)
		if (!session_acknowledges(s))
			session_settle(c, s);
	mark_settled(c, o);
}

void mark_move(struct ctx *c, struct offline *o)
{
	int64_t mark = home_unacknowledged(c) - 1;

	if (mark > o->written)
		mark = o->written;
	if (mark > mark_of(o))
		mark = mark_of(o);
	partials_drop(o, mark);
	if (mark != o->stored || (!o->is_settling && o->written < mark_of(o)))
		offline_tick_soon(c, o);
	mark_store(c, o, mark);
}

void mark_free(struct offline *o)
{
	partials_drop(o, INT64_MAX);
	ids_clear(&o->returned);
	ids_clear(&o->skipped);
	ids_clear(&o->owed);
}
