/* offline.c - XEP-0160 without a second copy: what is offline is the entries of the owner's index that no
 * session has taken. A mark per account says up to where all is taken. It is exact in memory; stored is what of
 * it the clients have acknowledged (XEP-0198), or else the sessions' streams have really written: at once, or
 * where more keeps coming every half second. So after kill -9 nobody gets again what he has acknowledged
 * earlier than that.
 *
 * The first session that can be reached gets what waits, a page at a time: the next one when its stream has
 * written the last. What arrives meanwhile waits its turn, so that all of it comes in order. A session that does
 * not read keeps back only who would get nothing but through it. */
#include <stdlib.h>
#include <string.h>

#include "message.h"

#define PAGE 50
#define PAGE_BYTES 262144 /* beyond it the rest of a page is left to the next one */
#define TICK_MS 500
#define READER_TICKS 10 /* then another session gets the rest */
#define IDS_MAX 1000    /* single entries remembered beside the mark */

struct partial {
	struct partial *next;
	int64_t entry;
	unsigned left; /* copies that have not come back */
};

struct restored {
	struct offline *offline;
	int64_t mark; /* below all that is not acknowledged */
};

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

static bool is_waiting(const struct offline *o, int64_t entry)
{
	return entry > o->taken ? !ids_has(&o->skipped, entry) : ids_has(&o->returned, entry);
}

/* Something for this session alone has been left to a replay, which has not come to it. */
static bool is_left(const struct offline *o, const struct session *s)
{
	return s->left && is_waiting(o, s->left);
}

static bool has_left(const struct ctx *c, const struct offline *o)
{
	struct session *s;

	SESSION_EACH (s, c->home)
		if (is_left(o, s))
			return true;
	return false;
}

/* The highest mark that leaves nothing out: below every entry that came back. */
static int64_t mark_of(const struct offline *o)
{
	return ids_least(&o->returned, o->taken);
}

/* ---- loading and storing the mark */

const struct sql offline_sql_load = {
	.name = "offline_load",
	.text =
	    "select coalesce((select m.taken from mark m where m.owner = $1), 0),"
	    " coalesce((select e.id from entry e where e.owner = $1 and e.is_out = 0 order by e.id "
	    "desc limit 1), 0),"
	    " coalesce((select e.id from entry e where e.owner = $1 and e.passing > 0 and e.id >"
	    " coalesce((select m.taken from mark m where m.owner = $1), 0) order by e.id desc limit 1), 0)",
};
/* The account may have been removed meanwhile. */
static const struct sql sql_mark = {
	.name = "offline_mark",
	.text = "insert into mark (taken, owner) select $1, id from account where id = $2"
		" on conflict (owner) do update set taken = excluded.taken",
};

enum verdict offline_loaded(struct ctx *c, const struct rows *r)
{
	struct offline *o = home_data(c);

	o->taken = o->stored = o->written = rows_int(r, 0, 0);
	o->newest = rows_int(r, 0, 1);
	o->passing = rows_int(r, 0, 2);
	o->has_older = o->newest > o->taken;
	return DONE;
}

void offline_free(void *data)
{
	struct offline *o = data;
	struct partial *p;

	while ((p = o->partial)) {
		o->partial = p->next;
		mem_free(p);
	}
	ids_clear(&o->returned);
	ids_clear(&o->skipped);
	mem_free(o->copied);
}

static void mark_store(struct ctx *c, struct offline *o, int64_t mark)
{
	struct write *w;

	if (mark == o->stored)
		return;
	o->stored = mark;
	w = begin_write(c);
	write_add(w, &sql_mark, PARAMS(P_INT(mark), P_INT(home_account(c->home))));
	later(c, w);
}

static enum verdict on_tick(struct ctx *c);

static void tick_soon(struct ctx *c, struct offline *o)
{
	if (o->is_timing)
		return;
	o->is_timing = true;
	home_timer(c, on_tick, TICK_MS);
}

static void mark_soon(struct ctx *c, struct offline *o)
{
	if (!o->is_settling && mark_of(o) != o->stored)
		tick_soon(c, o);
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

/* All that have been asked have written what was delivered to them before. */
static void settle_check(struct ctx *c, struct offline *o)
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

static void settle_ask(struct ctx *c, struct offline *o)
{
	struct session *s;

	o->is_settling = true;
	o->settling = mark_of(o);
	SESSION_EACH (s, c->home)
		if (!session_acknowledges(s))
			session_settle(c, s);
	settle_check(c, o);
}

/* As far as it is known to have arrived. */
static void mark_move(struct ctx *c, struct offline *o)
{
	int64_t mark = home_unacknowledged(c) - 1;

	if (mark > o->written)
		mark = o->written;
	if (mark > mark_of(o))
		mark = mark_of(o);
	partials_drop(o, mark);
	if (mark != o->stored || (!o->is_settling && o->written < mark_of(o)))
		tick_soon(c, o);
	mark_store(c, o, mark);
}

static void note_waiting(struct offline *o, int64_t entry);

/* No session is left: what they did not write has come back before they went. Or the server stops, and what is
 * left is stored with what it has not been acknowledged: then what has come back in part waits, as nobody would
 * know any more when the rest of it does. */
enum verdict offline_on_sleep(struct ctx *c)
{
	struct offline *o = home_data(c);

	if (!list_is_empty(home_sessions(c->home)))
		for (const struct partial *p = o->partial; p; p = p->next)
			note_waiting(o, p->entry);
	mark_store(c, o, mark_of(o));
	return PASS;
}

/* ---- live messages */

/* Nobody has it yet. Where too many have come back the mark goes back before them all: what was taken above
 * it comes twice then, but nothing is lost. */
static void note_waiting(struct offline *o, int64_t entry)
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

/* The mark moves on only if nothing older waits above it. An entry that `skipped` has no room for comes
 * twice. */
static void note_taken(struct offline *o, int64_t entry, bool is_next)
{
	ids_remove(&o->returned, entry);
	if (entry <= o->taken)
		return;
	if (is_next)
		o->taken = entry;
	else
		(void)ids_add(&o->skipped, entry);
}

bool offline_may_deliver(struct ctx *c, struct session *s)
{
	struct offline *o = home_data(c);

	/* A replay may have read it between its commit and now; then it has been delivered already. */
	if (!c->is_returned && c->entry <= o->taken && !ids_has(&o->returned, c->entry))
		return false;
	if (c->entry > o->newest)
		o->newest = c->entry;
	if (c->is_passing)
		o->passing = c->entry;
	if (s && !session_is_reachable(s) ? c->is_returned || !is_left(o, s) : !o->is_replaying)
		return true;
	o->must_repeat |= c->is_returned; /* the replay may have passed it */
	if (s && !c->is_returned)
		s->left = c->entry;
	note_waiting(o, c->entry);
	return false;
}

void offline_note(struct ctx *c, unsigned copies)
{
	struct offline *o = home_data(c);

	if (copies)
		note_taken(o, c->entry, !o->has_older);
	else
		note_waiting(o, c->entry);
	mark_soon(c, o);
}

bool offline_all_returned(struct ctx *c)
{
	struct offline *o = home_data(c);
	struct partial **at = &o->partial, *p;

	if (c->copies <= 1)
		return true;
	if (!c->entry)
		return false; /* another session has it, most likely, and nobody kept count */
	while (*at && (*at)->entry != c->entry)
		at = &(*at)->next;
	if (!*at) {
		*at = mem_alloc(sizeof **at);
		**at = (struct partial){ .entry = c->entry, .left = c->copies };
	}
	p = *at;
	if (--p->left > 0)
		return false;
	*at = p->next;
	mem_free(p);
	return true;
}

/* ---- replay */

static const struct sql sql_page = {
	.name = "offline_page",
	.text =
	    "select e.id, e.record, r.sender, r.recipient, r.stanza, e.retraction, e.passing from entry e"
	    " join record r on r.id = e.record"
	    " where e.owner = $1 and e.id > $2 and e.is_out = 0 order by e.id limit 50",
};

/* XEP-0203: when the message entered the server, said by the host; and its id in the archive, if it has one (0). */
static struct stanza *with_delay(struct ctx *c, struct stanza *base, int64_t entry, int64_t record)
{
	struct stanza *st = stanza_derive(base);
	struct element *delay = element_add(st, st->root, "delay", "urn:xmpp:delay");
	const struct jid *own = home_jid(c->home);
	char stamp[STAMP_SIZE];

	element_setf(st, delay, "from", "%.*s", (int)jid_domain_len(own), jid_domain(own));
	element_set(st, delay, "stamp", stamp_write(record >> ID_TIME_SHIFT, stamp));
	if (entry)
		stanza_id_add(c, st, st->root, entry);
	return stanza_seal(st);
}

static bool has_read(const struct session *s, int64_t entry)
{
	return entry > s->archive_since && entry <= s->archive_read;
}

/* What all sessions have read in the archive, or are reading there, waits for nobody; but where something waits that
 * is in no archive, all of it is looked at. */
static void replay_pass_over(struct ctx *c, struct offline *o)
{
	bool is_none = list_is_empty(home_sessions(c->home)) || o->passing > o->stored;
	int64_t since = 0, read = is_none ? 0 : o->newest;
	struct session *s;

	SESSION_EACH (s, c->home) {
		if (s->archive_since > since)
			since = s->archive_since;
		if (s->archive_read < read)
			read = s->archive_read;
	}
	for (unsigned i = 0; i < o->returned.count;)
		if (o->returned.list[i] > since && o->returned.list[i] <= read)
			ids_remove(&o->returned, o->returned.list[i]);
		else
			i++;
	if (since <= o->taken && read > o->taken)
		o->taken = read;
	if (since <= o->replayed && read > o->replayed)
		o->replayed = read;
}

/* To the session it names, if that is here, else to the one that reads; false: there is none. Not if its client has
 * it from the archive. Who has been blocked meanwhile is not heard any more (XEP-0191 section 3.3), and what was
 * taken back is not said any more (XEP-0424 section 6): both stay in the record. */
static bool replay_deliver(struct ctx *c, struct session *s, const struct rows *r, unsigned i)
{
	const char *from = rows_text(r, i, 2), *to = rows_text(r, i, 3), *text = rows_text(r, i, 4);
	struct jid *sender = jid_parse(from, strlen(from)), *recipient = jid_parse(to, strlen(to));
	struct stanza *st = stanza_parse(text, strlen(text));
	int64_t id = rows_int(r, i, 0);
	bool is_passing = rows_int(r, i, 6) != 0;
	struct session *named;
	bool has_taker = true;

	if (sender && recipient && st && rows_is_null(r, i, 5) && !is_blocked(c->home, sender)) {
		st = strip_forged(c, st);
		named = jid_has_resource(recipient) ? session_find(c->home, jid_resource(recipient)) : NULL;
		s = named ? named : s;
		has_taker = s != NULL;
		if (s && (is_passing || !has_read(s, id)))
			deliver(c, s, sender, recipient,
			        with_delay(c, st, is_passing ? 0 : id, rows_int(r, i, 1)), id, 1);
	}
	stanza_unref(st);
	jid_unref(sender);
	jid_unref(recipient);
	return has_taker;
}

/* How many bytes that were. */
static size_t replay_row(struct ctx *c, struct offline *o, struct session *s, const struct rows *r,
                         unsigned i)
{
	int64_t entry = rows_int(r, i, 0);

	o->replayed = entry;
	if (!is_waiting(o, entry)) {
		if (entry > o->taken && !o->has_passed)
			o->taken = entry;
		return 0;
	}
	if (!replay_deliver(c, s, r, i)) {
		o->has_passed = true;
		return 0;
	}
	note_taken(o, entry, !o->has_passed);
	return strlen(rows_text(r, i, 4));
}

static enum verdict on_page(struct ctx *c, const struct rows *r);

static enum verdict replay_next(struct ctx *c, struct offline *o)
{
	replay_pass_over(c, o);
	o->known = o->newest;
	return fetch(c, on_page, &sql_page, PARAMS(P_INT(home_account(c->home)), P_INT(o->replayed)));
}

/* Nothing waits any more, also where a replay has stopped before it could see that: else what follows would
 * be noted beside the mark, and come twice when the home has slept. */
static bool is_all_taken(struct offline *o)
{
	if (o->newest > o->taken || o->returned.count)
		return false;
	o->has_older = false;
	return true;
}

/* To whom a replay goes: always the same one, as long as it can be reached and reads. The others get copies of what
 * arrives meanwhile, which it must not get twice. */
static struct session *replay_getter(struct ctx *c, struct offline *o)
{
	struct session *s;

	SESSION_EACH (s, c->home)
		if (s->id == o->getter && s->id != o->stuck && session_is_reachable(s))
			return s;
	s = c->session && session_is_reachable(c->session) ? c->session : message_best(c->home, o->stuck);
	if (!s)
		s = message_best(c->home, 0);
	o->getter = s ? s->id : 0;
	return s;
}

static enum verdict replay_start(struct ctx *c, struct offline *o)
{
	if (o->is_replaying || is_all_taken(o))
		return PASS;
	o->getter = o->reader = o->stuck = 0;
	if (!replay_getter(c, o) && !has_left(c, o))
		return PASS;
	replay_pass_over(c, o);
	if (is_all_taken(o)) {
		mark_soon(c, o);
		return PASS;
	}
	o->is_replaying = true;
	o->must_repeat = o->has_passed = false;
	o->replayed = mark_of(o);
	return replay_next(c, o);
}

static enum verdict replay_stop(struct ctx *c, struct offline *o)
{
	o->is_replaying = false;
	(void)is_all_taken(o);
	mark_soon(c, o);
	return PASS;
}

static enum verdict replay_done(struct ctx *c, struct offline *o)
{
	o->is_replaying = false;
	if (o->must_repeat)
		return replay_start(c, o);
	o->has_older = false;
	ids_clear(&o->skipped);
	ids_clear(&o->returned);
	return replay_stop(c, o);
}

static void replay_stall(struct ctx *c, struct offline *o)
{
	o->is_stalled = true;
	tick_soon(c, o);
}

/* The next page when this session has written the last. */
static enum verdict replay_wait(struct ctx *c, struct offline *o, struct session *s)
{
	o->reader = s->id;
	o->waited = 0;
	session_settle(c, s);
	tick_soon(c, o);
	return PASS;
}

/* Where nobody can be reached any more it goes on for what was left to it, and passes the rest; from the beginning
 * when somebody can be reached again. */
static enum verdict on_page(struct ctx *c, const struct rows *r)
{
	struct offline *o = home_data(c);
	struct session *s = replay_getter(c, o);
	unsigned n = rows_count(r), i;
	size_t bytes = 0;

	if (rows_status(r) != STORE_OK) {
		replay_stall(c, o);
		return PASS;
	}
	if (!s && !has_left(c, o))
		return replay_stop(c, o);
	if (s && o->has_passed) {
		o->is_replaying = false;
		return replay_start(c, o);
	}
	deliver_first(c);
	for (i = 0; i < n && bytes < PAGE_BYTES; i++)
		bytes += replay_row(c, o, s, r, i);
	if (i == n && n < PAGE && o->known == o->newest)
		return s ? replay_done(c, o) : replay_stop(c, o);
	return s && bytes ? replay_wait(c, o, s) : replay_next(c, o);
}

enum verdict offline_again(struct ctx *c)
{
	struct offline *o = home_data(c);

	note_waiting(o, c->entry);
	mark_soon(c, o);
	o->must_repeat |= o->is_replaying;
	return replay_start(c, o) == HELD ? HELD : DONE;
}

struct session *offline_reader(struct ctx *c)
{
	struct offline *o = home_data(c);
	struct session *s;

	if (is_waiting(o, c->entry)) /* else it has been read */
		return replay_getter(c, o);
	SESSION_EACH (s, c->home)
		if (s->id == o->getter)
			return s;
	return message_best(c->home, o->stuck);
}

enum verdict offline_on_reachable(struct ctx *c)
{
	return replay_start(c, home_data(c));
}

static void on_unacknowledged(void *arg, int64_t entry)
{
	struct restored *restored = arg;

	note_taken(restored->offline, entry, false);
	if (entry <= restored->mark)
		restored->mark = entry - 1;
}

/* A session is there again, as it was when the server stopped: what its client has not acknowledged is
 * delivered, but the stored mark must not cover it until it is. */
enum verdict offline_on_restored(struct ctx *c)
{
	struct offline *o = home_data(c);
	struct restored restored = { o, o->stored };

	session_unacknowledged(c->session, on_unacknowledged, &restored);
	mark_store(c, o, restored.mark);
	mark_soon(c, o);
	return session_is_reachable(c->session) ? replay_start(c, o) : PASS;
}

enum verdict offline_on_settled(struct ctx *c)
{
	struct offline *o = home_data(c);

	settle_check(c, o);
	if (!o->is_timing)
		mark_move(c, o);
	if (o->reader != c->session->id || c->session->unsettled)
		return PASS;
	o->reader = 0;
	return replay_next(c, o);
}

enum verdict offline_on_gone(struct ctx *c)
{
	struct offline *o = home_data(c);

	/* What has not arrived comes back behind this: the mark stays where it is until that is here. */
	o->is_settling = false;
	o->is_timing = true;
	home_timer(c, on_tick, TICK_MS);
	if (o->reader != c->session->id)
		return PASS;
	o->reader = 0;
	replay_stall(c, o);
	return PASS;
}

/* One session does not read. Another one that gets what arrives as well gets the rest of what waits; where there is
 * none, what arrives would only follow what this session has not read: so it waits too. */
static enum verdict replay_watch(struct ctx *c, struct offline *o)
{
	struct session *s, *other = message_best(c->home, o->reader);

	SESSION_EACH (s, c->home)
		if (s->id == o->reader && session_is_reachable(s) && other && other->priority < s->priority)
			other = NULL;
	if (++o->waited < READER_TICKS || !other) {
		tick_soon(c, o);
		return DONE;
	}
	o->stuck = o->reader;
	o->reader = 0;
	return replay_next(c, o);
}

/* Stores the mark, and looks after a replay that stands still. */
static enum verdict on_tick(struct ctx *c)
{
	struct offline *o = home_data(c);

	o->is_timing = false;
	if (!o->is_settling && o->written < mark_of(o))
		settle_ask(c, o);
	mark_move(c, o);
	if (o->reader)
		return replay_watch(c, o);
	if (!o->is_stalled)
		return DONE;
	o->is_stalled = o->is_replaying = false;
	return replay_start(c, o);
}
