/* store_write.c - what goes into the database and what comes out of it: parameters, rows, and a write with
 * its statements, from write_new until write_submit (store.c) puts it into a group. Who uses the database
 * calls it. The tags by which a statement can still be taken back are here too. */
#include <string.h>

#include "store_engine.h"

struct tag {
	struct hash_node node; /* in store.tags while its group is open */
	struct tag *next;      /* of the same write */
	uint64_t tag;
	struct statement *statement;
};

/* ---- values */

struct param param_text(const char *text)
{
	return text ? P_TEXTN(text, strlen(text)) : P_NULL;
}

void params_copy(struct arena *a, struct param *to, const struct param *from, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		to[i] = from[i];
		if (from[i].type == PARAM_TEXT || from[i].type == PARAM_BYTES)
			to[i].data = arena_strndup(a, from[i].data ? from[i].data : "", from[i].len);
	}
}

/* ---- rows */

enum store_status rows_status(const struct rows *r)
{
	return r->status;
}

unsigned rows_count(const struct rows *r)
{
	return r->count;
}

static const struct cell *rows_cell(const struct rows *r, unsigned row, unsigned column)
{
	ASSERT(row < r->count && column < r->columns);
	return &r->cells[(size_t)row * r->columns + column];
}

bool rows_is_null(const struct rows *r, unsigned row, unsigned column)
{
	const struct cell *c = rows_cell(r, row, column);
	return !c->is_number && !c->data;
}

int64_t rows_int(const struct rows *r, unsigned row, unsigned column)
{
	const struct cell *c = rows_cell(r, row, column);
	ASSERT(c->is_number || !c->data);
	return c->is_number ? c->number : 0;
}

const char *rows_bytes(const struct rows *r, unsigned row, unsigned column, size_t *len)
{
	const struct cell *c = rows_cell(r, row, column);
	ASSERT(!c->is_number);
	*len = c->data ? c->len : 0;
	return c->data;
}

const char *rows_text(const struct rows *r, unsigned row, unsigned column)
{
	size_t len;
	return rows_bytes(r, row, column, &len);
}

/* ---- writes */

void write_free(struct write *w)
{
	struct arena a = w->arena; /* holds the write itself */
	arena_free(&a);
}

struct write *write_new(struct store *s, uint64_t key)
{
	struct arena a = { 0 };
	struct write *w = arena_zalloc(&a, sizeof *w);
	w->arena = a;
	w->store = s;
	w->key = key;
	return w;
}

static struct statement *statement_add(struct write *w, const struct sql *sql, const struct param *params,
                                       unsigned count)
{
	ASSERT(count <= PARAMS_MAX);
	struct statement *st = arena_alloc(&w->arena, sizeof *st + sizeof *params * count);
	st->next = NULL;
	st->sql = sql;
	st->is_taken_back = false;
	st->count = count;
	params_copy(&w->arena, st->params, params, count);
	if (w->last)
		w->last->next = st;
	else
		w->first = st;
	w->last = st;
	return st;
}

void write_add(struct write *w, const struct sql *sql, const struct param *params, unsigned count)
{
	statement_add(w, sql, params, count);
}

void write_add_tagged(struct write *w, uint64_t tag, const struct sql *sql, const struct param *params,
                      unsigned count)
{
	struct tag *t = arena_alloc(&w->arena, sizeof *t);
	t->tag = tag;
	t->statement = statement_add(w, sql, params, count);
	t->next = w->tags;
	w->tags = t;
}

void write_drop(struct write *w)
{
	write_free(w);
}

const struct statement *statement_skip(const struct statement *st)
{
	while (st && st->is_taken_back)
		st = st->next;
	return st;
}

void write_set_away(struct write *w, enum away away)
{
	w->away = away;
}

/* ---- tags: what of the open group can be taken back */

void tags_add(struct store *s, struct write *w)
{
	for (struct tag *t = w->tags; t; t = t->next)
		hash_add(&s->tags, &t->node, number_hash(t->tag));
}

bool store_take_back(struct store *s, uint64_t tag)
{
	for (struct hash_node *n = hash_first(&s->tags, number_hash(tag)); n; n = hash_next(n)) {
		struct tag *t = CONTAINER_OF(n, struct tag, node);
		if (t->tag != tag)
			continue;
		hash_remove(&s->tags, n);
		t->statement->is_taken_back = true;
		t->tag = 0;
		t->statement = NULL;
		return true;
	}
	return false;
}

/* From now on nothing in the group can be taken back. */
void tags_forget(struct store *s, struct group *g)
{
	if (s->tags.count == 0)
		return;
	for (struct write *w = g->first; w; w = w->next)
		for (struct tag *t = w->tags; t; t = t->next)
			if (t->statement)
				hash_remove(&s->tags, &t->node);
}
