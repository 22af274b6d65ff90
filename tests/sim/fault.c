/* fault.c - in the place of a database engine (store_engine.h), and what goes wrong there. The statements
 * are run by real SQLite, over connections that store_sqlite_link.c makes; but when a group is run, when
 * its answer comes, and whether any comes, the seed says. store.c and store_away.c, which decide what
 * follows from that, are the server's own.
 *
 * What can become of a group: it is committed; the connection is lost before that, or after it (nobody
 * knows which); it takes longer than store.timeout; one of its writes is refused. Of a read: rows; none,
 * as the connection is lost; an error. */
#include <signal.h>

#include "sim.h"
#include "store_sqlite.h"

#define TIMEOUT_MS 2000

enum fate { FATE_GOOD, FATE_LOST_BEFORE, FATE_LOST_AFTER, FATE_SLOW, FATE_REFUSED };

/* Of one store. */
struct part {
	struct store *store;
	struct link writer, reader;
	struct group *group; /* in the hands of the database, or NULL */
	bool is_run;         /* and it has an outcome, which the store does not know yet */
	enum outcome outcome;
	bool is_repeated;  /* and has been run before */
	struct write *bad; /* refuses it, also when it is alone */
	struct list reads;
	bool is_stuck, is_late; /* the group takes its time */
	bool is_down, is_reader_down;
	struct timer up, late, unstuck;
};

static struct part *parts[SIM_REACTORS]; /* of the stores that are open */
static unsigned part_count;

/* ---- every continuation runs once, and not in the turn of its call */

struct owed {
	store_rows_fn *fn;
	void *arg;
	bool is_asking;
};

static unsigned owed_count;

void __real_store_read(struct store *s, uint64_t after, const struct sql *sql, const struct param *params,
                       unsigned count, store_rows_fn *fn, void *arg);
void __wrap_store_read(struct store *s, uint64_t after, const struct sql *sql, const struct param *params,
                       unsigned count, store_rows_fn *fn, void *arg);
uint64_t __real_write_submit(struct write *w, store_rows_fn *fn, void *arg);
uint64_t __wrap_write_submit(struct write *w, store_rows_fn *fn, void *arg);

static void on_owed(void *arg, const struct rows *rows)
{
	struct owed owed = *(struct owed *)arg;

	if (owed.is_asking)
		fail("a continuation ran in the turn in which it was asked for");
	mem_free(arg);
	owed_count--;
	owed.fn(owed.arg, rows);
}

static struct owed *owe(store_rows_fn *fn, void *arg)
{
	struct owed *o = mem_alloc(sizeof *o);

	*o = (struct owed){ .fn = fn, .arg = arg, .is_asking = true };
	owed_count++;
	return o;
}

void __wrap_store_read(struct store *s, uint64_t after, const struct sql *sql, const struct param *params,
                       unsigned count, store_rows_fn *fn, void *arg)
{
	struct owed *o = owe(fn, arg);

	__real_store_read(s, after, sql, params, count, on_owed, o);
	o->is_asking = false;
}

uint64_t __wrap_write_submit(struct write *w, store_rows_fn *fn, void *arg)
{
	struct owed *o = fn ? owe(fn, arg) : NULL;
	uint64_t ticket = __real_write_submit(w, fn ? on_owed : NULL, o);

	if (o)
		o->is_asking = false;
	return ticket;
}

unsigned fault_owed(void)
{
	return owed_count;
}

/* ---- a group in the database: as store_sqlite.c does it */

static const struct sql sql_begin = { .name = "begin", .text = "begin immediate" };
static const struct sql sql_commit = { .name = "commit", .text = "commit" };
static const struct sql sql_rollback = { .name = "rollback", .text = "rollback" };
static const struct sql sql_unit = { .name = "unit", .text = "savepoint unit" };
static const struct sql sql_unit_end = { .name = "unit_end", .text = "release unit" };
static const struct sql sql_unit_undo = { .name = "unit_undo", .text = "rollback to unit" };

static int run_write(struct part *p, struct write *w)
{
	w->rows = (struct rows){ .status = STORE_OK };
	if (w == p->bad)
		return SQLITE_CONSTRAINT;
	STATEMENT_EACH (st, w) {
		int rc = link_run(&p->writer, st->sql, st->params, st->count, &w->rows, &w->arena);

		tell("    %s %lld %lld", st->sql->name, st->count > 0 ? (long long)st->params[0].number : 0,
		     st->count > 1 ? (long long)st->params[1].number : 0);
		if (rc != SQLITE_OK) {
			fail("SQLite says to %s: %s", st->sql->name, sqlite3_errmsg(p->writer.db));
			return rc;
		}
	}
	return SQLITE_OK;
}

static struct write *run_unit(struct part *p, struct write *first)
{
	struct write *w, *end = first;
	int rc = SQLITE_OK;

	while (!end->ends_unit)
		end = end->next_sent;
	ASSERT(link_do(&p->writer, &sql_unit) == SQLITE_OK);
	for (w = first; w != end->next_sent && rc == SQLITE_OK; w = w->next_sent)
		rc = run_write(p, w);
	if (rc != SQLITE_OK) {
		ASSERT(link_do(&p->writer, &sql_unit_undo) == SQLITE_OK);
		for (w = first; w != end->next_sent; w = w->next_sent)
			w->rows = (struct rows){ .status = STORE_FAILED };
	}
	ASSERT(link_do(&p->writer, &sql_unit_end) == SQLITE_OK);
	return end->next_sent;
}

static void run_group(struct part *p)
{
	struct group *g = p->group;
	struct write *w = g->first_sent;
	int rc = SQLITE_OK;

	ASSERT(link_do(&p->writer, &sql_begin) == SQLITE_OK);
	while (w && rc == SQLITE_OK) {
		if (g->is_split) {
			w = run_unit(p, w);
		} else {
			rc = run_write(p, w);
			w = w->next_sent;
		}
	}
	ASSERT(link_do(&p->writer, rc == SQLITE_OK ? &sql_commit : &sql_rollback) == SQLITE_OK);
	p->outcome = rc == SQLITE_OK ? OUTCOME_GOOD : OUTCOME_REFUSED;
}

/* ---- what becomes of it */

static bool may_fail(void)
{
	return sim->is_failing_now && sim->profile.has_faults;
}

/* What a database may refuse without that something stays on its way for ever. */
static bool may_be_refused(const struct write *w)
{
	static const char *const names[] = { "record_insert", "entry_insert", "entry_insert_words",
		                             "roster_edit",   "block_add",    "private_set",
		                             "vcard_set",     "last_store" };

	STATEMENT_EACH (st, w)
		for (unsigned i = 0; i < COUNT_OF(names); i++)
			if (strcmp(st->sql->name, names[i]) == 0)
				return true;
	return false;
}

static struct write *draw_bad(const struct group *g)
{
	struct write *bad = NULL;

	for (struct write *w = g->first; w; w = w->next)
		if (may_be_refused(w) && (!bad || ONE_IN(3)))
			bad = w;
	return bad;
}

static enum fate draw_fate(const struct part *p)
{
	if (!may_fail() || p->bad || p->is_late)
		return FATE_GOOD;
	switch (draw(160)) {
	case 0:
	case 1:
	case 2:
		return FATE_LOST_BEFORE;
	case 3:
	case 4:
	case 5:
		return FATE_LOST_AFTER;
	case 6:
	case 7:
		return FATE_SLOW;
	case 8:
	case 9:
	case 10:
		/* It would be refused each time: also when it came from the spool. */
		return p->group->is_split || p->is_repeated || sim->profile.has_spool ? FATE_GOOD
		                                                                      : FATE_REFUSED;
	default:
		return FATE_GOOD;
	}
}

static void on_late(struct timer *t)
{
	struct part *p = CONTAINER_OF(t, struct part, late);

	tell("the database is late");
	p->is_late = true;
	store_late(p->store, true);
}

static void on_unstuck(struct timer *t)
{
	CONTAINER_OF(t, struct part, unstuck)->is_stuck = false;
}

static void be_slow(struct part *p)
{
	struct wheel *w = &world->reactors[0]->wheel;
	unsigned ms = 500 + draw(9000);

	tell("a group takes %u ms", ms);
	p->is_stuck = true;
	timer_set(w, &p->unstuck, ms);
	if (ms > TIMEOUT_MS)
		timer_set(w, &p->late, TIMEOUT_MS);
}

static void step_run(struct part *p)
{
	enum fate fate = draw_fate(p);

	if (fate == FATE_SLOW && !p->is_late) {
		be_slow(p);
		return;
	}
	if (fate == FATE_REFUSED)
		p->bad = draw_bad(p->group);
	p->is_run = true;
	p->outcome = OUTCOME_AWAY;
	if (fate != FATE_LOST_BEFORE)
		run_group(p);
	if (fate == FATE_LOST_BEFORE || fate == FATE_LOST_AFTER) {
		tell("the connection is lost %s a commit", fate == FATE_LOST_AFTER ? "after" : "before");
		p->outcome = OUTCOME_AWAY;
		p->is_repeated = true;
		p->bad = NULL;
	} else {
		tell("commit of %u writes%s", p->group->writes,
		     p->outcome == OUTCOME_GOOD ? "" : " is refused");
	}
}

/* ---- up and down */

static void fail_reads(struct part *p)
{
	struct read *r;

	LIST_EACH (r, &p->reads, struct read, node) {
		list_remove(&r->node);
		store_read_failed(p->store, r);
	}
}

static void on_up(struct timer *t)
{
	struct part *p = CONTAINER_OF(t, struct part, up);

	tell("the database is there again");
	p->is_down = false;
	if (p->is_reader_down)
		store_reader_up(p->store);
	p->is_reader_down = false;
	store_writer_up(p->store);
}

static void go_down(struct part *p)
{
	bool is_long = ONE_IN(3);

	p->is_down = true;
	if (draw(2)) {
		p->is_reader_down = true;
		fail_reads(p);
		store_reader_down(p->store);
	}
	timer_set(&world->reactors[0]->wheel, &p->up, is_long ? 2000 + draw(8000) : 50 + draw(800));
	store_writer_down(p->store);
}

bool fault_is_down(void)
{
	for (unsigned i = 0; i < part_count; i++)
		if (parts[i]->is_down || parts[i]->is_stuck)
			return true;
	return false;
}

/* ---- answers */

static void step_answer(struct part *p)
{
	p->group = NULL;
	if (p->is_late) {
		p->is_late = false;
		store_late(p->store, false);
	}
	timer_stop(&world->reactors[0]->wheel, &p->late);
	if (p->outcome == OUTCOME_AWAY) {
		go_down(p);
	} else if (p->outcome == OUTCOME_REFUSED) {
		store_group_refused(p->store);
	} else {
		p->bad = NULL;
		p->is_repeated = false;
		store_group_committed(p->store);
	}
}

static struct read *draw_read(struct part *p)
{
	struct list *at = p->reads.next;

	while (at->next != &p->reads && draw(2))
		at = at->next;
	return CONTAINER_OF(at, struct read, node);
}

static void step_read(struct part *p)
{
	struct read *r = draw_read(p);

	list_remove(&r->node);
	if (may_fail() && ONE_IN(30)) {
		tell("%s finds no database", r->sql->name);
		store_read_failed(p->store, r);
		return;
	}
	tell("%s %lld", r->sql->name, r->count > 0 ? (long long)r->params[0].number : 0);
	if (may_fail() && ONE_IN(150) &&
	    !strstr(r->sql->name, "_load")) /* what a home reads again it must know */
		r->rows = (struct rows){ .status = STORE_FAILED };
	else if (link_run(&p->reader, r->sql, r->params, r->count, &r->rows, &r->arena) != SQLITE_OK)
		fail("SQLite says to %s: %s", r->sql->name, sqlite3_errmsg(p->reader.db));
	store_read_done(p->store, r);
}

static bool step_part(struct part *p)
{
	bool has_group = p->group && !p->is_stuck && !sim->is_holding,
	     has_reads = !list_is_empty(&p->reads);

	if (has_reads && (!has_group || draw(2)))
		step_read(p);
	else if (has_group && p->is_run)
		step_answer(p);
	else if (has_group)
		step_run(p);
	else
		return false;
	return true;
}

bool fault_step(void)
{
	unsigned first = draw(part_count + 1);

	for (unsigned i = 0; i < part_count; i++)
		if (step_part(parts[(first + i) % part_count]))
			return true;
	return false;
}

/* kill -9, at any moment at which nothing else moves. */
void fault_maybe_kill(void)
{
	if (!sim->is_failing_now || !sim->profile.has_kills || sim->life >= LIVES_MAX || draw(800))
		return;
	tell("kill -9");
	fflush(stdout);
	sim->is_killed = true;
	raise(SIGKILL);
}

/* ---- the engine */

static void part_open(struct store *s)
{
	struct part *p = mem_zalloc(sizeof *p);
	char *error = NULL;

	s->part = parts[part_count++] = p;
	p->store = s;
	list_init(&p->reads);
	timer_init(&p->up, on_up);
	timer_init(&p->late, on_late);
	timer_init(&p->unstuck, on_unstuck);
	ASSERT(link_open(&p->writer, &s->db->options, PRAGMAS_WRITER, &error));
	ASSERT(link_open(&p->reader, &s->db->options, PRAGMAS_READER, &error));
	store_writer_up(s);
	store_reader_up(s);
}

static void part_close(struct store *s)
{
	struct part *p = s->part;
	unsigned i = 0;

	while (parts[i] != p)
		i++;
	parts[i] = parts[--part_count];
	ASSERT(!p->group && list_is_empty(&p->reads));
	link_close(&p->writer);
	link_close(&p->reader);
	mem_free(p);
	s->part = NULL;
	store_engine_closed(s);
}

static void part_send_group(struct store *s, struct group *g)
{
	struct part *p = s->part;

	p->group = g;
	p->is_run = false;
}

static void part_send_read(struct store *s, struct read *r)
{
	struct part *p = s->part;

	list_append(&p->reads, &r->node);
}

/* Puts this engine in the place of a database's own, for stores that are opened from then on. */
const struct engine *fault_engine(const struct engine *real, struct engine *out)
{
	*out = *real;
	out->store_open = part_open;
	out->store_close = part_close;
	out->send_group = part_send_group;
	out->send_read = part_send_read;
	out->flush_reads = NULL; /* each is answered by itself */
	return out;
}
