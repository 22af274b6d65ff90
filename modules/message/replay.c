/* replay.c - the first session that can be reached gets what waits, a page at a time: the next one when its stream has
 * written the last. What arrives meanwhile waits its turn, so that all of it comes in order. A session that does not
 * read keeps back only who would get nothing but through it. */
#include <string.h>

#include "offline.h"

#define PAGE 50
#define PAGE_BYTES 262144 /* beyond it the rest of a page is left to the next one */
#define READER_TICKS 10   /* then another session gets the rest */

/* ---- to whom */

bool replay_is_left(const struct offline *o, const struct session *s)
{
	return s->left && mark_is_waiting(o, s->left);
}

static bool has_left(const struct ctx *c, const struct offline *o)
{
	struct session *s;

	SESSION_EACH (s, c->home)
		if (replay_is_left(o, s))
			return true;
	return false;
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

struct session *replay_session(struct ctx *c)
{
	struct offline *o = home_data(c);
	struct session *s;

	if (mark_is_waiting(o, c->entry)) /* else it has been read */
		return replay_getter(c, o);
	SESSION_EACH (s, c->home)
		if (s->id == o->getter)
			return s;
	return message_best(c->home, o->stuck);
}

/* ---- what */

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
	mark_read(o, since, read);
	if (since <= o->replayed && read > o->replayed)
		o->replayed = read;
}

/* To one session, unless its client has it from the archive, and copies to the others where that is still to be done;
 * takes the stanza. */
static void replay_say(struct ctx *c, struct session *s, const struct jid *from, const struct jid *to,
                       struct stanza *st, int64_t entry, bool has_it)
{
	unsigned due = carbons_owed(c, s, from, entry), copies = due + !has_it;

	if (!has_it)
		deliver(c, s, from, to, stanza_ref(st), entry, copies);
	if (due)
		carbons_replayed(c, s, from, to, st, entry, copies);
	stanza_unref(st);
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
		if (s)
			replay_say(c, s, sender, recipient,
			           with_delay(c, st, is_passing ? 0 : id, rows_int(r, i, 1)), id,
			           !is_passing && has_read(s, id));
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
	if (!mark_is_waiting(o, entry)) {
		if (entry > o->taken && !o->has_passed)
			o->taken = entry;
		return 0;
	}
	if (!replay_deliver(c, s, r, i)) {
		o->has_passed = true;
		return 0;
	}
	mark_taken(o, entry, !o->has_passed);
	return strlen(rows_text(r, i, 4));
}

/* ---- page by page */

static enum verdict on_page(struct ctx *c, const struct rows *r);

enum verdict replay_next(struct ctx *c, struct offline *o)
{
	replay_pass_over(c, o);
	o->known = o->newest;
	return fetch(c, on_page, &sql_page, PARAMS(P_INT(home_account(c->home)), P_INT(o->replayed)));
}

enum verdict replay_start(struct ctx *c, struct offline *o)
{
	if (o->is_replaying || mark_is_all_taken(o))
		return PASS;
	o->getter = o->reader = o->stuck = 0;
	if (!replay_getter(c, o) && !has_left(c, o))
		return PASS;
	replay_pass_over(c, o);
	if (mark_is_all_taken(o)) {
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
	(void)mark_is_all_taken(o);
	mark_soon(c, o);
	return PASS;
}

static enum verdict replay_done(struct ctx *c, struct offline *o)
{
	o->is_replaying = false;
	if (o->must_repeat)
		return replay_start(c, o);
	mark_all_taken(o);
	return replay_stop(c, o);
}

void replay_stall(struct ctx *c, struct offline *o)
{
	o->is_stalled = true;
	offline_tick_soon(c, o);
}

/* The next page when this session has written the last. */
static enum verdict replay_wait(struct ctx *c, struct offline *o, struct session *s)
{
	o->reader = s->id;
	o->waited = 0;
	session_settle(c, s);
	offline_tick_soon(c, o);
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

/* One session does not read. Another one that gets what arrives as well gets the rest of what waits; where there is
 * none, what arrives would only follow what this session has not read: so it waits too. */
enum verdict replay_watch(struct ctx *c, struct offline *o)
{
	struct session *s, *other = message_best(c->home, o->reader);

	SESSION_EACH (s, c->home)
		if (s->id == o->reader && session_is_reachable(s) && other && other->priority < s->priority)
			other = NULL;
	if (++o->waited < READER_TICKS || !other) {
		offline_tick_soon(c, o);
		return DONE;
	}
	o->stuck = o->reader;
	o->reader = 0;
	return replay_next(c, o);
}
