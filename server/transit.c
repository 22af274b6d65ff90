/* transit.c - rows of what is on its way between two homes: written with the first step, deleted with the
 * second, and routed again when the server starts (ARCHITECTURE, section 2). */
#include <string.h>

#include "home.h"
#include "log.h"
#include "router.h"
#include "server.h"
#include "xml.h"

static const struct sql sql_insert = {
	.name = "transit_insert",
	.text = "insert into transit (id, sender, recipient, record, stanza) values ($1, $2, $3, $4, $5)"
		" on conflict (id) do nothing",
};
static const struct sql sql_delete = {
	.name = "transit_delete",
	.text = "delete from transit where id = $1",
};
static const struct sql sql_page = {
	.name = "transit_page",
	.text =
	    "select t.id, t.sender, t.recipient, t.record, coalesce(t.stanza, r.stanza),"
	    " case when t.stanza is null then 0 else 1 end"
	    " from transit t left join record r on r.id = t.record where t.id > $1 order by t.id limit 200",
};

/* A recorded stanza is in its record already; one that is to be recorded where it arrives is here, with that record's
 * id: by it transit_sweep knows that it has arrived. */
void transit_insert(struct write *w, const struct envelope *e)
{
	struct buffer text = { 0 };
	bool is_recorded = e->record && !e->is_unrecorded;

	if (!is_recorded)
		stanza_write(&text, e->stanza, NULL, NULL);
	write_add_tagged(w, (uint64_t)e->transit, &sql_insert,
	                 PARAMS(P_INT(e->transit), P_TEXT(e->from->text), P_TEXT(e->to->text),
	                        e->record ? P_INT(e->record) : P_NULL,
	                        is_recorded ? P_NULL : P_TEXT(text.data)));
	buffer_free(&text);
}

void transit_delete(struct write *w, int64_t id)
{
	write_add(w, &sql_delete, PARAMS(P_INT(id)));
}

/* ---- a row that the table may get from a spool when what it is about has come to its end elsewhere */

struct transit_late {
	struct reactor *reactor;
	unsigned source; /* the reactor whose spool may have it */
	int64_t id;
};

struct transit_late *transit_late_new(struct reactor *r, const struct envelope *e, int64_t id)
{
	struct transit_late *late;

	if (!e->is_spooled)
		return NULL;
	late = mem_alloc(sizeof *late);
	*late = (struct transit_late){ .reactor = r, .source = e->stream_reactor, .id = id };
	return late;
}

/* On the source: behind the row, be it in its spool or in the table. */
static void remove_late(struct reactor *r, void *arg)
{
	struct transit_late *late = arg;
	struct write *w = write_new(r->store, 0);

	transit_delete(w, late->id);
	write_set_away(w, AWAY_SPOOL);
	write_submit(w, NULL, NULL);
	mem_free(late);
}

/* Not before it is certain here: until then the row is all that survives a crash. */
void transit_on_late(void *arg, const struct rows *rows)
{
	struct transit_late *late = arg;

	if (rows_status(rows) == STORE_OK)
		reactor_post_run(late->reactor, late->source, remove_late, late);
	else
		mem_free(late);
}

void transit_end(struct reactor *r, struct envelope *e)
{
	int64_t id = e->transit;
	struct transit_late *late;
	struct write *w;

	e->transit = 0;
	if (!id || store_take_back(r->store, (uint64_t)id))
		return;
	late = transit_late_new(r, e, id);
	w = write_new(r->store, (uint64_t)e->record);
	transit_delete(w, id);
	write_set_away(w, AWAY_SPOOL);
	write_submit(w, late ? transit_on_late : NULL, late);
}

/* Rows of what has arrived: its entry is there. It happens when step one waited in the spool of one reactor
 * while another one had a database for step two, so the two were made within moments; ids are times. One range
 * of entries is read per recipient (offset 0 keeps it so), however many rows there are. */
static const struct sql sql_sweep = {
	.name = "transit_sweep",
	.text =
	    "delete from transit where (record, split_part(recipient, '/', 1)) in ("
	    "select e.record, bare from (select split_part(recipient, '/', 1) as bare,"
	    " min(record) - 10240000000 as low, max(record) + 61440000000 as high"
	    " from transit where record is not null group by 1 offset 0) as t"
	    " join host h on h.name = split_part(bare, '@', 2)"
	    " join account a on a.host = h.id and a.name = split_part(bare, '@', 1)"
	    " cross join lateral (select record from entry where owner = a.id and id between low and high"
	    " and is_out = 0 offset 0) as e)",
	.sqlite = "delete from transit where"
		  " (record, substr(recipient || '/', 1, instr(recipient || '/', '/') - 1)) in ("
		  "select e.record, bare from (select"
		  " substr(recipient || '/', 1, instr(recipient || '/', '/') - 1) as bare,"
		  " min(record) - 10240000000 as low, max(record) + 61440000000 as high"
		  " from transit where record is not null group by 1) as t"
		  " cross join host h cross join account a cross join entry e"
		  " where h.name = substr(bare, instr(bare, '@') + 1)"
		  " and a.host = h.id and a.name = substr(bare, 1, instr(bare, '@') - 1)"
		  " and e.owner = a.id and e.id between low and high and e.is_out = 0)",
};

uint64_t transit_sweep(struct reactor *r)
{
	struct write *w = write_new(r->store, 0);

	write_add(w, &sql_sweep, NO_PARAMS);
	write_set_away(w, AWAY_SPOOL);
	return write_submit(w, NULL, NULL);
}

static const struct sql sql_left = {
	.name = "transit_left",
	.text = "select count(*) from transit where id <= $1",
};

#define ARRIVE_CHECK_MS 20
/* Then the listeners open all the same: an address that cannot load keeps its row. */
#define ARRIVE_MS 30000

struct replay {
	struct reactor *reactor;
	void (*done)(struct reactor *r, bool ok);
	struct timer timer;
	int64_t last;
	unsigned count, stuck; /* rows routed again, and rows that nobody understands */
	unsigned waited;       /* ms */
};

/* Ids of records and transit rows only grow, also when the clock has gone back since they were made. */
static const struct sql sql_newest = {
	.name = "record_newest",
	.text = "select max(id) from (select max(id) as id from record union all select max(id) from "
		"transit) as newest",
};

static void set_newest(struct reactor *r, void *arg)
{
	int64_t *newest = arg;

	if (r->newest_record < *newest)
		r->newest_record = *newest;
	mem_free(newest);
}

static void tell_newest(struct reactor *r, int64_t newest)
{
	for (unsigned i = 0; i < r->server->reactor_count; i++) {
		int64_t *copy = mem_alloc(sizeof *copy);

		*copy = newest;
		reactor_post_run(r, i, set_newest, copy);
	}
}

/* False: the row cannot be understood; it is logged and left where it is. */
static bool replay_row(struct reactor *r, const struct rows *rows, unsigned i)
{
	const char *from = rows_text(rows, i, 1), *to = rows_text(rows, i, 2),
		   *text = rows_text(rows, i, 4);
	struct envelope *e = envelope_new(r, ENV_STANZA);

	e->dir = IN;
	e->from = jid_parse(from, strlen(from));
	e->to = jid_parse(to, strlen(to));
	e->stanza = text ? xml_parse_stanza(text, strlen(text)) : NULL;
	e->transit = rows_int(rows, i, 0);
	e->record = rows_int(rows, i, 3);
	e->is_unrecorded = rows_int(rows, i, 5);
	e->is_replayed = true;
	if (!e->from || !e->to || !e->stanza) {
		log_warn("transit", to, "row %lld of table transit cannot be read and stays there",
		         (long long)e->transit);
		envelope_free(r, e);
		return false;
	}
	if (!router_post(r, e)) {
		log_warn("transit", to,
		         "a stanza from %s was on its way to a domain that is not served any more", from);
		transit_end(r, e);
		envelope_free(r, e);
	}
	return true;
}

static void replay_end(struct replay *replay, bool ok)
{
	if (replay->count)
		log_info("transit", NULL, "%u stanzas that were on their way have been routed again",
		         replay->count);
	replay->done(replay->reactor, ok);
	mem_free(replay);
}

static void on_left(void *arg, const struct rows *rows)
{
	struct replay *replay = arg;
	bool ok = rows_status(rows) == STORE_OK;
	int64_t left = ok ? rows_int(rows, 0, 0) - replay->stuck : 0;

	if (left <= 0 || replay->waited >= ARRIVE_MS || replay->reactor->is_stopping) {
		if (left > 0)
			log_warn("transit", NULL,
			         "%lld stanzas have not arrived yet; not waiting for them any longer",
			         (long long)left);
		replay_end(replay, ok);
		return;
	}
	replay->waited += ARRIVE_CHECK_MS;
	timer_set(&replay->reactor->wheel, &replay->timer, ARRIVE_CHECK_MS);
}

/* Asks the database whether all of it has arrived: so whoever connects finds no mailbox full of
 * the past. */
static void on_check(struct timer *t)
{
	struct replay *replay = CONTAINER_OF(t, struct replay, timer);

	store_read(replay->reactor->store, 0, &sql_left, PARAMS(P_INT(replay->last)), on_left, replay);
}

static void on_page(void *arg, const struct rows *rows)
{
	struct replay *replay = arg;
	struct reactor *r = replay->reactor;
	unsigned n = rows_count(rows);

	for (unsigned i = 0; i < n; i++) {
		replay->last = rows_int(rows, i, 0);
		if (replay_row(r, rows, i))
			replay->count++;
		else
			replay->stuck++;
	}
	if (rows_status(rows) != STORE_OK)
		replay_end(replay, false);
	else if (n > 0)
		store_read(r->store, 0, &sql_page, PARAMS(P_INT(replay->last)), on_page, replay);
	else
		on_check(&replay->timer);
}

static void on_newest(void *arg, const struct rows *rows)
{
	struct replay *replay = arg;
	struct reactor *r = replay->reactor;

	if (rows_status(rows) != STORE_OK) {
		replay_end(replay, false);
		return;
	}
	tell_newest(r, rows_int(rows, 0, 0));
	store_read(r->store, 0, &sql_page, PARAMS(P_INT(replay->last)), on_page, replay);
}

/* What an earlier process has left in the spool goes first. It may also have been killed when all of that was
 * in the database, and before the rows of what had arrived meanwhile were removed. */
static void on_spool(struct timer *t)
{
	struct replay *replay = CONTAINER_OF(t, struct replay, timer);
	struct reactor *r = replay->reactor;

	if (store_is_spooling(r->store) && !r->is_stopping) {
		timer_set(&r->wheel, t, ARRIVE_CHECK_MS);
		return;
	}
	timer_init(t, on_check);
	store_read(r->store, transit_sweep(r), &sql_newest, NO_PARAMS, on_newest, replay);
}

void transit_replay(struct reactor *r, void (*done)(struct reactor *r, bool ok))
{
	struct replay *replay = mem_zalloc(sizeof *replay);

	replay->reactor = r;
	replay->done = done;
	timer_init(&replay->timer, on_spool);
	on_spool(&replay->timer);
}
