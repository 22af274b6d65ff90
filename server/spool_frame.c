/* spool_frame.c - groups of writes as frames, and back (spool_frame.h says how they look). */
#include "spool_frame.h"

#include <endian.h>
#include <string.h>

#include "store_engine.h"

/* A statement as it was read from a file. */
struct known {
	struct hash_node node;
	struct sql sql;
};

struct used { /* a statement in the file being written */
	struct hash_node node;
	const struct sql *sql;
	uint16_t id;
};

/* ---- bytes */

static uint32_t crc32_of(const char *data, size_t n)
{
	static const uint32_t table[16] = { 0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
		                            0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		                            0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		                            0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c };
	uint32_t crc = ~(uint32_t)0;

	for (size_t i = 0; i < n; i++) {
		crc ^= (unsigned char)data[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

static uint32_t number_at(const char *data)
{
	uint32_t le;

	memcpy(&le, data, sizeof le);
	return le32toh(le);
}

static void add_8(struct buffer *b, unsigned v)
{
	char c = (char)v;

	buffer_add(b, &c, 1);
}

static void add_16(struct buffer *b, unsigned v)
{
	uint16_t le = htole16((uint16_t)v);

	buffer_add(b, &le, sizeof le);
}

static void add_32(struct buffer *b, uint32_t v)
{
	uint32_t le = htole32(v);

	buffer_add(b, &le, sizeof le);
}

static void add_64(struct buffer *b, uint64_t v)
{
	uint64_t le = htole64(v);

	buffer_add(b, &le, sizeof le);
}

static void add_bytes(struct buffer *b, const char *data, size_t n)
{
	ASSERT(n < FRAME_MAX);
	add_32(b, (uint32_t)n);
	buffer_add(b, data, n);
}

/* What is left to read; `is_bad` once something was not there. */
struct reading {
	const char *at, *end;
	bool is_bad;
};

static uint64_t take_number(struct reading *r, unsigned bytes)
{
	uint64_t v = 0;

	if ((size_t)(r->end - r->at) < bytes) {
		r->is_bad = true;
		return 0;
	}
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)(unsigned char)r->at[i] << 8 * i;
	r->at += bytes;
	return v;
}

static const char *take_bytes(struct reading *r, size_t *n)
{
	const char *data;

	*n = (size_t)take_number(r, 4);
	if (r->is_bad || (size_t)(r->end - r->at) < *n) {
		r->is_bad = true;
		*n = 0;
		return "";
	}
	data = r->at;
	r->at += *n;
	return data;
}

/* ---- writing */

static const char *text_of(const struct frame_writing *f, const struct sql *sql)
{
	return !f->is_postgresql && sql->sqlite ? sql->sqlite : sql->text;
}

void frame_writing_end(struct frame_writing *f)
{
	struct hash_node *n;

	while ((n = hash_walk(&f->used, NULL))) {
		hash_remove(&f->used, n);
		mem_free(CONTAINER_OF(n, struct used, node));
	}
	hash_free(&f->used);
	f->used = (struct hash){ 0 };
}

/* The number of a statement in this file; the first time it is written down. */
static uint16_t statement_id(struct frame_writing *f, struct buffer *b, const struct sql *sql)
{
	uint32_t hash = pointer_hash(sql);
	struct used *u;

	for (struct hash_node *n = hash_first(&f->used, hash); n; n = hash_next(n)) {
		u = CONTAINER_OF(n, struct used, node);
		if (u->sql == sql)
			return u->id;
	}
	u = mem_alloc(sizeof *u);
	*u = (struct used){ .sql = sql, .id = (uint16_t)f->used.count };
	ASSERT(u->id < STATEMENTS_MAX);
	hash_add(&f->used, &u->node, hash);
	add_8(b, 'S');
	add_16(b, u->id);
	add_bytes(b, sql->name, strlen(sql->name));
	add_bytes(b, text_of(f, sql), strlen(text_of(f, sql)));
	return u->id;
}

static void encode_statement(struct frame_writing *f, struct buffer *b, const struct statement *st)
{
	struct buffer none = { 0 };

	add_16(b, statement_id(f, &none, st->sql));
	ASSERT(none.len == 0);
	add_8(b, st->count);
	for (unsigned i = 0; i < st->count; i++) {
		const struct param *p = &st->params[i];

		add_8(b, p->type);
		if (p->type == PARAM_INT)
			add_64(b, (uint64_t)p->number);
		else if (p->type != PARAM_NULL)
			add_bytes(b, p->data, p->len);
	}
}

static void encode_write(struct frame_writing *f, struct buffer *b, const struct write *w)
{
	unsigned count = 0;

	STATEMENT_EACH (st, w) {
		statement_id(f, b, st->sql);
		count++;
	}
	ASSERT(count <= UINT16_MAX);
	if (count == 0)
		return;
	add_8(b, 'W');
	add_64(b, w->key);
	add_16(b, count);
	STATEMENT_EACH (st, w)
		encode_statement(f, b, st);
}

void frame_seal(char *frame, size_t bytes)
{
	uint32_t head[3];

	head[0] = htole32((uint32_t)(bytes - FRAME_HEADER));
	head[1] = htole32(crc32_of(frame + FRAME_HEADER, bytes - FRAME_HEADER));
	head[2] = htole32(crc32_of((const char *)head, sizeof head[0] * 2));
	memcpy(frame, head, sizeof head);
}

bool frame_encode(struct frame_writing *f, struct buffer *b, const struct group *g, uint64_t most)
{
	static const char header[FRAME_HEADER];

	buffer_add(b, header, sizeof header);
	for (const struct write *w = g->first; w; w = w->next) {
		if (w->away == AWAY_SPOOL)
			encode_write(f, b, w);
		if (b->len > most || b->len > FRAME_MAX)
			return false;
	}
	frame_seal(b->data, b->len);
	return true;
}

/* ---- reading */

uint64_t frame_bytes(const char header[FRAME_HEADER])
{
	uint32_t n = number_at(header);

	if (n == 0 || n > FRAME_MAX || crc32_of(header, FRAME_HEADER - 4) != number_at(header + 8))
		return 0;
	return (uint64_t)n + FRAME_HEADER;
}

/* A file may have been made longer on the disk, and not been filled. */
static bool is_blank(const char *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (data[i])
			return false;
	return true;
}

enum frame_found frame_look(const char *data, size_t n, size_t *bytes)
{
	*bytes = 0;
	if (n < FRAME_HEADER || is_blank(data, FRAME_HEADER))
		return FRAME_CUT;
	*bytes = (size_t)frame_bytes(data);
	if (*bytes == 0)
		return FRAME_DAMAGED;
	if (*bytes > n)
		return FRAME_CUT;
	return crc32_of(data + FRAME_HEADER, *bytes - FRAME_HEADER) == number_at(data + 4) ? FRAME_WHOLE
	                                                                                   : FRAME_DAMAGED;
}

static struct known *known_find(struct frame_reading *f, const char *name, size_t name_len,
                                const char *text, size_t text_len)
{
	uint32_t hash = hash_bytes(text, text_len);
	struct known *k;

	for (struct hash_node *n = hash_first(&f->known, hash); n; n = hash_next(n)) {
		k = CONTAINER_OF(n, struct known, node);
		if (strlen(k->sql.text) == text_len && memcmp(k->sql.text, text, text_len) == 0)
			return k;
	}
	k = mem_zalloc(sizeof *k);
	k->sql.name = mem_strndup(name, name_len);
	k->sql.text = mem_strndup(text, text_len);
	hash_add(&f->known, &k->node, hash);
	return k;
}

static void decode_definition(struct frame_reading *f, struct reading *r)
{
	size_t id = (size_t)take_number(r, 2), name_len, text_len;
	const char *name = take_bytes(r, &name_len), *text = take_bytes(r, &text_len);

	if (r->is_bad || id >= STATEMENTS_MAX)
		r->is_bad = true;
	else
		f->ids[id] = known_find(f, name, name_len, text, text_len);
}

static void decode_statement(struct frame_reading *f, struct reading *r, struct write *w)
{
	struct param params[PARAMS_MAX];
	size_t id = (size_t)take_number(r, 2);
	unsigned count = (unsigned)take_number(r, 1);

	if (id >= STATEMENTS_MAX || !f->ids[id] || count > PARAMS_MAX)
		r->is_bad = true;
	for (unsigned i = 0; i < count && !r->is_bad; i++) {
		params[i] = (struct param){ .type = (enum param_type)take_number(r, 1) };
		if (params[i].type == PARAM_INT)
			params[i].number = (int64_t)take_number(r, 8);
		else if (params[i].type == PARAM_TEXT || params[i].type == PARAM_BYTES)
			params[i].data = take_bytes(r, &params[i].len);
		else if (params[i].type != PARAM_NULL)
			r->is_bad = true;
	}
	if (!r->is_bad)
		write_add(w, &f->ids[id]->sql, params, count);
}

static void decode_write(struct frame_reading *f, struct reading *r, struct group *g)
{
	uint64_t key = take_number(r, 8);
	unsigned count = (unsigned)take_number(r, 2);
	struct write *w = write_new(NULL, key);

	for (unsigned i = 0; i < count && !r->is_bad; i++)
		decode_statement(f, r, w);
	r->is_bad |= count == 0;
	w->is_settled = true;
	group_add(g, w);
}

bool frame_decode(struct frame_reading *f, const char *frame, size_t bytes, struct group *g)
{
	struct reading r = { .at = frame + FRAME_HEADER, .end = frame + bytes };
	struct group found = { 0 };
	struct write *w;

	while (r.at < r.end && !r.is_bad) {
		uint64_t kind = take_number(&r, 1);

		if (kind == 'S')
			decode_definition(f, &r);
		else if (kind == 'W')
			decode_write(f, &r, &found);
		else
			r.is_bad = true;
	}
	while ((w = group_take(&found)))
		if (r.is_bad)
			write_drop(w);
		else
			group_add(g, w);
	return !r.is_bad;
}

void frame_reading_next(struct frame_reading *f)
{
	memset(f->ids, 0, sizeof f->ids);
}

void frame_reading_end(struct frame_reading *f)
{
	struct hash_node *n;

	while ((n = hash_walk(&f->known, NULL))) {
		struct known *k = CONTAINER_OF(n, struct known, node);

		hash_remove(&f->known, n);
		mem_free((char *)(uintptr_t)k->sql.name);
		mem_free((char *)(uintptr_t)k->sql.text);
		mem_free(k);
	}
	hash_free(&f->known);
}
