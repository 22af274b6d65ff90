/* page.c - one page of an archive: its messages, then what page that was (XEP-0313 section 4.2 and 4.3). Pages
 * are found by key: the first and the last of a million messages cost the same. */
#include <string.h>

#include "archive.h"

#define PAGE_BYTES 98304 /* beyond it the rest of a page is left to the next one */

/* ---- the statements. One message more than a page has says whether there are more. The entries of the page come
 * first, and then what they name: so each plan is a good one, whether it is made with the values or without. A
 * record may have gone a day before its entry. What is only on its way to the owner (passing) is not in his archive,
 * and has no words. */

#define SHOWN(entries, order)                                                                              \
	"select e.id, r.sender, r.recipient, r.stanza, e.retraction, t.stanza from (" entries              \
	") as e left join record r on r.id = e.record left join record t on t.id = e.retraction"           \
	" order by e.id" order
#define ALL(order)                                                                                         \
	SHOWN("select id, record, retraction from entry where owner = $1 and passing = 0 and id > $2"      \
	      " and id < $3 order by id" order " limit 51",                                                \
	      order)
#define WITH(order)                                                                                        \
	SHOWN("select id, record, retraction from entry where owner = $1 and peer = $2 and passing = 0"    \
	      " and id > $3 and id < $4 order by id" order " limit 51",                                    \
	      order)
#define FULL(order)                                                                                        \
	SHOWN("select e.id, e.record, e.retraction from entry e join record r on r.id = e.record"          \
	      " where e.owner = $1 and e.peer = $2 and e.passing = 0 and e.id > $3 and e.id < $4"          \
	      " and $5 in (r.sender, r.recipient) order by e.id" order " limit 51",                        \
	      order)

static const struct sql sql_all[] = {
	{ .name = "archive_forward", .text = ALL("") },
	{ .name = "archive_backward", .text = ALL(" desc") },
};
static const struct sql sql_with[] = {
	{ .name = "archive_with_forward", .text = WITH("") },
	{ .name = "archive_with_backward", .text = WITH(" desc") },
};
static const struct sql sql_full[] = {
	{ .name = "archive_full_forward", .text = FULL("") },
	{ .name = "archive_full_backward", .text = FULL(" desc") },
};

/* By words. PostgreSQL's index knows no order, so 30 days after the other are looked at, as long as the page is
 * not full: a common word fills it with the first of them, and a rare one costs little anywhere. `owner + 0`
 * keeps it from reading all that an owner has instead. SQLite's index has the order of the entries' numbers,
 * which in each archive are in the order of its ids. */
#define WINDOW "2654208000000000"
#define OF_CLIENT                                                                                          \
	" and ($6 = '' or exists (select 1 from record c where c.id = e.record and $6 in (c.sender, c.recipient)))"
#define SOUGHT(windows, in_window, order)                                                                  \
	"select e.id, r.sender, r.recipient, r.stanza, e.retraction, t.stanza from (select f.* from"       \
	" (select coalesce((select id from entry where owner = $1 and id > $2 order by id limit 1), 0)"    \
	" as first, coalesce((select id from entry where owner = $1 and id < $3 order by id desc"          \
	" limit 1), -1) as last) as ends"                                                                  \
	" cross join lateral generate_series(" windows ") as at"                                           \
	" cross join lateral (select e.id, e.record, e.retraction from entry e where e.words @@"           \
	" (replace('''' || replace($4, ' ', ''' & ''') || '''', '*''', ''':*')::tsquery)"                  \
	" and e.owner + 0 = $1 and " in_window " and e.id > $2 and e.id < $3"                              \
	" and ($5 = '' or e.peer = $5)" OF_CLIENT " order by e.id " order " offset 0) as f limit 51) as e" \
	" left join record r on r.id = e.record left join record t on t.id = e.retraction order by e.id " order
#define SOUGHT_SQLITE(order)                                                                               \
	"select e.id, r.sender, r.recipient, r.stanza, e.retraction, t.stanza from entry_words f"          \
	" cross join entry e on e.n = f.rowid"                                                             \
	" left join record r on r.id = e.record left join record t on t.id = e.retraction"                 \
	" where e.owner = $1"                                                                              \
	" and f.rowid >= (select n from entry where owner = $1 and id > $2 order by id limit 1)"           \
	" and f.rowid <= (select n from entry where owner = $1 and id < $3 order by id desc limit 1)"      \
	" and entry_words match replace('\"' || replace($4, ' ', '\" AND \"') || '\"', '*\"', '\"*')"      \
	" and ($5 = '' or e.peer = $5) and ($6 = '' or $6 in (r.sender, r.recipient))"                     \
	" order by f.rowid " order " limit 51"

static const struct sql sql_sought[] = {
	{ .name = "archive_sought_forward",
	  .text = SOUGHT("ends.first, ends.last, " WINDOW, "e.id >= at and e.id < at + " WINDOW, ""),
	  .sqlite = SOUGHT_SQLITE("") },
	{ .name = "archive_sought_backward",
	  .text = SOUGHT("ends.last, ends.first, -" WINDOW, "e.id <= at and e.id > at - " WINDOW, "desc"),
	  .sqlite = SOUGHT_SQLITE("desc") },
};

/* Those that are named alone: no more than a page may have. */
#define IDS(are_named, order)                                                                              \
	"select e.id, r.sender, r.recipient, r.stanza, e.retraction, t.stanza from entry e"                \
	" left join record r on r.id = e.record left join record t on t.id = e.retraction"                 \
	" where e.owner = $1 and e.passing = 0 and e.id > $2 and e.id < $3 and e.id " are_named            \
	" and ($5 = '' or e.peer = $5) and ($6 = '' or $6 in (r.sender, r.recipient)) order by e.id" order
#define IDS_PG "= any (string_to_array($4, ',')::bigint[])"
#define IDS_SQLITE "in (select value from json_each('[' || $4 || ']'))"

static const struct sql sql_ids[] = {
	{ .name = "archive_ids_forward", .text = IDS(IDS_PG, ""), .sqlite = IDS(IDS_SQLITE, "") },
	{ .name = "archive_ids_backward",
	  .text = IDS(IDS_PG, " desc"),
	  .sqlite = IDS(IDS_SQLITE, " desc") },
};
static const struct sql sql_missing = {
	.name = "archive_missing",
	.text =
	    "select count(*) from unnest(string_to_array($1, ',')::bigint[]) n"
	    " where not exists (select 1 from entry e where e.owner = $2 and e.id = n and e.passing = 0)",
	.sqlite =
	    "select count(*) from json_each('[' || $1 || ']') n"
	    " where not exists (select 1 from entry e where e.owner = $2 and e.id = n.value and e.passing = 0)",
};

/* ---- answers */

/* The session that has asked, if it is still there. */
static struct session *find_asker(struct ctx *c)
{
	const struct query *q = c->own;
	struct session *s = session_find(c->home, jid_resource(c->from));

	return s && s->id == q->session ? s : NULL;
}

/* XEP-0424 section 5: all that is left of a message that was taken back. */
static void add_tombstone(struct stanza *st, struct element *message, const struct rows *r, unsigned i)
{
	struct element *e = element_add(st, message, "retracted", RETRACT_NS);
	const char *text = rows_text(r, i, 5);
	struct stanza *by = text ? stanza_parse(text, strlen(text)) : NULL;
	char stamp[STAMP_SIZE];

	if (by && by->id)
		element_set(st, e, "id", by->id);
	element_set(st, e, "stamp", stamp_write(rows_int(r, i, 4) >> ID_TIME_SHIFT, stamp));
	stanza_unref(by);
}

static void add_message(struct ctx *c, struct stanza *st, struct element *forwarded, const struct rows *r,
                        unsigned i)
{
	const char *text = rows_text(r, i, 3);
	struct stanza *stored = stanza_parse(text, strlen(text));
	struct element *message = element_add(st, forwarded, "message", NULL);

	element_set(st, message, "from", rows_text(r, i, 1));
	element_set(st, message, "to", rows_text(r, i, 2));
	if (!stored)
		return;
	for (const struct attribute *a = stored->root->attributes; a; a = a->next)
		element_set(st, message, a->ns ? "xml:lang" : a->name, a->value);
	if (!rows_is_null(r, i, 4))
		add_tombstone(st, message, r, i);
	for (const struct element *e = rows_is_null(r, i, 4) ? stored->root->children : NULL; e;
	     e = e->next)
		if (!element_is_forged(c, e))
			element_copy(st, message, e);
	stanza_unref(stored);
}

static void send_result(struct ctx *c, struct session *s, const struct rows *r, unsigned i)
{
	const struct query *q = c->own;
	struct stanza *st = stanza_new(STANZA_MESSAGE, MESSAGE_NORMAL, NULL);
	struct element *result = element_add(st, st->root, "result", MAM_NS), *forwarded, *delay;
	int64_t id = rows_int(r, i, 0);
	char stamp[STAMP_SIZE];

	if (q->queryid)
		element_set(st, result, "queryid", q->queryid);
	element_setf(st, result, "id", "%lld", (long long)id);
	forwarded = element_add(st, result, "forwarded", "urn:xmpp:forward:0");
	delay = element_add(st, forwarded, "delay", "urn:xmpp:delay");
	element_set(st, delay, "stamp", stamp_write(id >> ID_TIME_SHIFT, stamp));
	add_message(c, st, forwarded, r, i);
	deliver(c, s, c->to, c->from, stanza_seal(st), 0, 0); /* 0: it is no message for another session */
}

static void add_id(struct ctx *c, struct stanza *st, struct element *set, const char *name, int64_t id)
{
	element_add_text(st, set, name, RSM_NS, arena_printf(&c->scratch, "%lld", (long long)id));
}

/* The first and the last of the page that were sent, in the archive's order, however it was turned: there are clients
 * that know no others. Where a page had nothing but messages that have gone, the next one begins behind these. */
static void add_ends(struct ctx *c, struct stanza *st, struct element *set, const struct rows *r,
                     unsigned n)
{
	int64_t first = INT64_MAX, last = 0, id;
	bool has_any = false;

	for (unsigned i = 0; i < n; i++)
		has_any |= !rows_is_null(r, i, 3);
	for (unsigned i = 0; i < n; i++) {
		if (has_any && rows_is_null(r, i, 3))
			continue;
		id = rows_int(r, i, 0);
		first = id < first ? id : first;
		last = id > last ? id : last;
	}
	add_id(c, st, set, "first", first);
	add_id(c, st, set, "last", last);
}

/* XEP-0313 section 4.3.2: which page that was. */
static enum verdict send_fin(struct ctx *c, const struct rows *r, unsigned n, bool is_complete)
{
	struct stanza *result = reply_new(c);
	struct element *fin = element_add(result, result->root, "fin", MAM_NS), *set;

	if (is_complete)
		element_set(result, fin, "complete", "true");
	set = element_add(result, fin, "set", RSM_NS);
	if (n > 0)
		add_ends(c, result, set, r, n);
	return reply(c, result);
}

/* How many of the rows are this page. */
static unsigned page_rows(const struct query *q, const struct rows *r)
{
	unsigned n = rows_count(r) < q->max ? rows_count(r) : q->max;
	size_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		bytes += rows_is_null(r, i, 3) ? 0 : strlen(rows_text(r, i, 3));
		if (bytes > PAGE_BYTES && i > 0)
			return i;
	}
	return n;
}

/* Whoever asks for all there is, from somewhere on, reads his archive to its end: what has waited for him
 * need not be sent to him (section 6.1.1). The last page is not that, if there are others; nor is the
 * newest message alone, as some clients ask for it to learn its id. */
static bool reads_on(const struct query *q, bool is_complete)
{
	return !q->with && !q->ids && !q->sought && q->high > q->newest && q->max > 1 &&
	       (!q->is_backward || is_complete);
}

/* Where it begins in what was asked for before, it goes on. */
static void note_read(struct session *s, const struct query *q)
{
	if (q->since >= q->newest) /* there is nothing of that time */
		return;
	if (s->archive_read == 0 || q->low < s->archive_since || q->low > s->archive_read)
		s->archive_since = q->since;
	s->archive_read = q->newest;
}

static enum verdict on_page(struct ctx *c, const struct rows *r)
{
	const struct query *q = c->own;
	struct session *s = find_asker(c);
	bool is_complete;
	unsigned n;

	if (!s)
		return DONE;
	s->archive_queries--;
	if (rows_status(r) == STORE_AWAY && q->sought)
		return refuse(c, RESOURCE_CONSTRAINT,
		              "The search took too long, or too many are searching.");
	if (rows_status(r) != STORE_OK)
		return refuse_unstored(c, r);
	n = page_rows(q, r);
	is_complete = n == rows_count(r);
	if (reads_on(q, is_complete))
		note_read(s, q);
	for (unsigned i = 0; i < n; i++) {
		unsigned at = q->is_backward != q->is_flipped ? n - 1 - i : i;

		if (!rows_is_null(r, at, 3))
			send_result(c, s, r, at);
	}
	return send_fin(c, r, n, is_complete);
}

static enum verdict fetch_page(struct ctx *c)
{
	const struct query *q = c->own;
	int64_t owner = home_account(c->home);
	bool is_full = q->with && strcmp(q->with, q->with_bare) != 0;
	const char *bare = q->with ? q->with_bare : "", *full = is_full ? q->with : "";

	if (q->ids)
		return fetch(c, on_page, &sql_ids[q->is_backward],
		             PARAMS(P_INT(owner), P_INT(q->low), P_INT(q->high), P_TEXT(q->ids),
		                    P_TEXT(bare), P_TEXT(full)));
	if (q->sought && q->low < INT64_MAX)
		return fetch_long(c, on_page, &sql_sought[q->is_backward],
		                  PARAMS(P_INT(owner), P_INT(q->low), P_INT(q->high), P_TEXT(q->sought),
		                         P_TEXT(bare), P_TEXT(full)));
	if (!q->with)
		return fetch(c, on_page, &sql_all[q->is_backward],
		             PARAMS(P_INT(owner), P_INT(q->low), P_INT(q->high)));
	if (!is_full)
		return fetch(c, on_page, &sql_with[q->is_backward],
		             PARAMS(P_INT(owner), P_TEXT(q->with), P_INT(q->low), P_INT(q->high)));
	return fetch_long(
	    c, on_page, &sql_full[q->is_backward],
	    PARAMS(P_INT(owner), P_TEXT(q->with_bare), P_INT(q->low), P_INT(q->high), P_TEXT(q->with)));
}

static enum verdict on_missing(struct ctx *c, const struct rows *r)
{
	struct session *s = find_asker(c);

	if (!s)
		return DONE;
	if (rows_status(r) == STORE_OK && rows_int(r, 0, 0) == 0)
		return fetch_page(c);
	s->archive_queries--;
	return rows_status(r) == STORE_OK ? refuse(c, ITEM_NOT_FOUND, "There is no message with this id.")
	                                  : refuse_unstored(c, r);
}

enum verdict page_start(struct ctx *c)
{
	const struct query *q = c->own;

	if (!*q->named)
		return fetch_page(c);
	return fetch(c, on_missing, &sql_missing, PARAMS(P_TEXT(q->named), P_INT(home_account(c->home))));
}
