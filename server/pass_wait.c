/* pass_wait.c - how a handler waits (fetch, hold, change) and writes (change, record, later). The
 * continuation runs once, on the same reactor, never before the handler has returned. */
#include "log.h"
#include "pass_parts.h"
#include "server.h"

void ctx_replace(struct ctx *c, struct stanza *st)
{
	struct pass *p = pass_of(c);

	ASSERT(st->sealed);
	stanza_unref(p->envelope->stanza);
	p->envelope->stanza = c->stanza = st;
}

void *ctx_new(struct ctx *c, size_t size)
{
	return arena_zalloc(&c->scratch, size);
}

/* What route_with and route_after have deferred: sent after the commit, dropped when there was none. */
static void pass_send_deferred(struct pass *p, bool is_committed)
{
	struct envelope *e;

	while ((e = p->after_commit)) {
		p->after_commit = e->next;
		if (is_committed)
			pass_send(p, e);
		else
			envelope_free(p->ctx.home->reactor, e);
	}
	p->after_tail = &p->after_commit;
}

/* The one continuation: gets the session looked up again, and its verdict goes on with the pass. A hold
 * ends with it, unless it waits again; then the mailbox goes on, behind whatever this pass has sent. */
void pass_on_rows(void *arg, const struct rows *rows)
{
	struct pass *p = arg;
	struct home *h = p->ctx.home;
	bool was_held = h->holder == p;
	rows_handler *then = p->then;
	enum verdict v;

	p->then = NULL;
	p->is_released = false; /* others have had their turn meanwhile */
	pass_find_session(p);
	pass_send_deferred(p, rows_status(rows) == STORE_OK);
	v = then(&p->ctx, rows);
	if (v == HELD)
		return;
	if (was_held)
		home_unhold(h);
	if (v == PASS)
		pass_go(p);
	else
		pass_end(p);
	if (was_held)
		home_drain(h);
}

enum verdict fetch(struct ctx *c, rows_handler *then, const struct sql *sql, const struct param *params,
                   unsigned count)
{
	struct pass *p = pass_of(c);

	ASSERT(!p->then && !p->after_commit);
	p->then = then;
	store_read(c->home->reactor->store, c->home->last_write, sql, params, count, pass_on_rows, p);
	return HELD;
}

enum verdict fetch_long(struct ctx *c, rows_handler *then, const struct sql *sql,
                        const struct param *params, unsigned count)
{
	struct pass *p = pass_of(c);
	struct reactor *r = c->home->reactor;

	ASSERT(!p->then && !p->after_commit);
	p->then = then;
	if (!r->searches)
		r->searches = store_open_long(r->server->db, &r->loop);
	store_read(r->searches, 0, sql, params, count, pass_on_rows, p);
	return HELD;
}

enum verdict hold(struct ctx *c, rows_handler *then, const struct sql *sql, const struct param *params,
                  unsigned count)
{
	home_hold(c->home, pass_of(c));
	return fetch(c, then, sql, params, count);
}

struct write *begin_write(struct ctx *c)
{
	return write_new(c->home->reactor->store, (uint64_t)c->record);
}

/* STORE_NO_TICKET: the store takes no more; `fn` will hear of it, and nothing else may wait for it. */
uint64_t home_write(struct home *h, struct write *w, store_rows_fn *fn, struct pass *p)
{
	uint64_t ticket = write_submit(w, fn, p);

	if (ticket != STORE_NO_TICKET)
		h->last_write = ticket;
	return ticket;
}

enum verdict change(struct ctx *c, struct write *w, rows_handler *then)
{
	struct pass *p = pass_of(c);
	struct home *h = c->home;

	ASSERT(!p->then);
	if (store_is_away(h->reactor->store) && !p->is_arriving) {
		write_drop(w);
		pass_send_deferred(p, false);
		return c->stanza ? refuse(c, RESOURCE_CONSTRAINT, "The database is away; try again later.")
		                 : DONE;
	}
	p->then = then;
	home_hold(h, p);
	write_set_away(w, p->is_arriving ? AWAY_WAIT : AWAY_REFUSE); /* what has arrived cannot go back */
	home_write(h, w, pass_on_rows, p);
	return HELD;
}

static void on_recorded(void *arg, const struct rows *rows)
{
	struct pass *p = arg;
	struct home *h = p->ctx.home;

	p->writes--;
	if (p->late)
		transit_on_late(p->late, rows);
	p->late = NULL;
	if (p->ctx.dir == OUT)
		h->uncommitted -= p->cost;
	if (rows_status(rows) != STORE_OK)
		p->stored = (uint8_t)rows_status(rows);
	if (rows_status(rows) == STORE_FAILED && p->is_ended && p->ctx.dir == OUT)
		record_note_failed(h->reactor, p->ctx.record);
	if (rows_status(rows) == STORE_FAILED && p->is_ended && h->record == RECORD_ACKNOWLEDGE_AFTER)
		log_traced(LOG_ERROR, "record", p->ctx.from->text, p->ctx.trace,
		           "a message could not be put on record, and was delivered: policy record");
	if (p->is_ended && p->writes == 0)
		pass_free(p);
	if (h->credits)
		home_credit_owed(h);
}

void record(struct ctx *c, struct write *w)
{
	struct pass *p = pass_of(c);
	uint64_t ticket;

	p->writes++;
	if (c->dir == OUT) {
		p->cost = stanza_cost(c->stanza);
		c->home->uncommitted += p->cost;
	}
	if (p->number)
		session_record(c->home, p->sender, w, p->number);
	write_set_away(w, AWAY_SPOOL);
	ticket = home_write(c->home, w, on_recorded, p);
	if (ticket == STORE_NO_TICKET)
		p->stored = STORE_AWAY;
	else if (c->dir == OUT || c->home->record == RECORD_DELIVER_AFTER)
		p->ticket = ticket;
}

void later(struct ctx *c, struct write *w)
{
	write_set_away(w, AWAY_SPOOL);
	home_write(c->home, w, NULL, NULL);
}
