/* offline.c - XEP-0160 without a second copy: what is offline is the entries of the owner's index that no session
 * has taken. A mark per account says up to where all is taken; it is exact in memory, and stored at most a second
 * later, when the sessions' streams have really written what it covers. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "message.h"

#define PAGE 50
#define MARK_MS 1000
#define RETRY_MS 1000
#define IDS_MAX 1000 /* single entries remembered beside the mark */

struct partial {
	struct partial *next;
	int64_t entry;
	unsigned left; /* copies that have not come back */
};

/* ---- small sets of entries */

static bool ids_has(const struct ids *ids, int64_t id)
{
	for (unsigned i = 0; i < ids->count; i++)
		if (ids->list[i] == id)
			return true;
	return false;
}

/* Beyond the bound the oldest is dropped: it is then seen as what the mark says of it. */
static void ids_add(struct ids *ids, int64_t id)
{
	if (ids_has(ids, id))
		return;
	if (!ids->list)
		ids->list = mem_alloc(IDS_MAX * sizeof *ids->list);
	if (ids->count == IDS_MAX)
		memmove(ids->list, ids->list + 1, --ids->count * sizeof *ids->list);
	ids->list[ids->count++] = id;
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

/* The highest mark that leaves nothing out: below every entry that came back. */
static int64_t mark_of(const struct offline *o)
{
	return ids_least(&o->returned, o->taken);
}

/* ---- loading and storing the mark */

const struct sql offline_sql_load = {
	.name = "offline_load",
	.text = "select coalesce((select m.taken from mark m where m.owner = $1), 0),"
		" coalesce((select e.id from entry e where e.owner = $1 and e.is_out = 0 order by e.id desc limit 1), 0)",
};
static const struct sql sql_mark = {
	.name = "offline_mark",
	.text = "insert into mark (owner, taken) values ($1, $2) on conflict (owner) do update set taken = excluded.taken",
};

enum verdict offline_loaded(struct ctx *c, const struct rows *r)
{
	struct offline *o = home_data(c);

	o->taken = o->stored = rows_int(r, 0, 0);
	o->newest = rows_int(r, 0, 1);
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
}

static void mark_store(struct ctx *c, struct offline *o, int64_t mark)
{
	struct write *w;

	if (mark == o->stored)
		return;
	o->stored = mark;
	w = begin_write(c);
	write_add(w, &sql_mark, PARAMS(P_INT(home_account(c->home)), P_INT(mark)));
	later(c, w);
}

static enum verdict on_mark_timer(struct ctx *c);

static void mark_soon(struct ctx *c, struct offline *o)
{
	if (!o->is_settling && mark_of(o) != o->stored)
		home_timer(c, on_mark_timer, MARK_MS);
}

/* All sessions have written what was delivered before they were asked, or are gone. */
static void settle_check(struct ctx *c, struct offline *o, const struct session *leaving)
{
	struct session *s;

	if (!o->is_settling)
		return;
	SESSION_EACH (s, c->home)
		if (s != leaving && s->is_unsettled)
			return;
	o->is_settling = false;
	mark_store(c, o, ids_least(&o->returned, o->settling));
	mark_soon(c, o);
}

static enum verdict on_mark_timer(struct ctx *c)
{
	struct offline *o = home_data(c);
	struct session *s;

	o->is_settling = true;
	o->settling = mark_of(o);
	SESSION_EACH (s, c->home)
		session_settle(c, s);
	settle_check(c, o, NULL);
	return DONE;
}

enum verdict offline_on_settled(struct ctx *c)
{
	settle_check(c, home_data(c), NULL);
	return PASS;
}

enum verdict offline_on_gone(struct ctx *c)
{
	settle_check(c, home_data(c), c->session);
	return PASS;
}

/* No session is left: what they did not write has come back before they went. */
enum verdict offline_on_sleep(struct ctx *c)
{
	struct offline *o = home_data(c);

	mark_store(c, o, mark_of(o));
	return PASS;
}

/* ---- live messages */

bool offline_may_deliver(struct ctx *c)
{
	struct offline *o = home_data(c);

	if (c->entry > o->newest)
		o->newest = c->entry;
	return !o->is_replaying;
}

static void note_taken(struct offline *o, int64_t entry, bool is_next)
{
	ids_remove(&o->returned, entry);
	if (entry <= o->taken)
		return;
	if (is_next)
		o->taken = entry;
	else
		ids_add(&o->skipped, entry);
}

/* The mark moves on only if nothing older waits above it. */
void offline_note(struct ctx *c, unsigned copies)
{
	struct offline *o = home_data(c);

	if (copies) {
		note_taken(o, c->entry, !o->has_older);
		mark_soon(c, o);
	} else {
		o->has_older = true;
		if (c->entry <= o->taken)
			ids_add(&o->returned, c->entry);
		else
			ids_remove(&o->skipped, c->entry);
	}
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
	.text = "select e.id, e.record, r.sender, r.recipient, r.stanza from entry e join record r on r.id = e.record"
		" where e.owner = $1 and e.id > $2 and e.is_out = 0 order by e.id limit 50",
};

/* XEP-0203: when the message entered the server, said by the host. */
static struct stanza *with_delay(struct ctx *c, struct stanza *base, int64_t record)
{
	struct stanza *st = stanza_derive(base);
	struct element *delay = element_add(st, st->root, "delay", "urn:xmpp:delay");
	const struct jid *own = home_jid(c->home);
	int64_t us = record >> ID_TIME_SHIFT;
	time_t seconds = (time_t)(us / 1000000);
	struct tm tm;
	char stamp[32];

	gmtime_r(&seconds, &tm);
	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
	element_setf(st, delay, "from", "%.*s", (int)jid_domain_len(own), jid_domain(own));
	element_setf(st, delay, "stamp", "%s.%03dZ", stamp, (int)(us / 1000 % 1000));
	return stanza_seal(st);
}

static bool is_waiting(const struct offline *o, int64_t entry)
{
	return entry > o->taken ? !ids_has(&o->skipped, entry) : ids_has(&o->returned, entry);
}

/* To the session it names, if that is here, else to the one that came. */
static void replay_row(struct ctx *c, struct session *s, const struct rows *r, unsigned i)
{
	const char *from = rows_text(r, i, 2), *to = rows_text(r, i, 3), *text = rows_text(r, i, 4);
	struct jid *sender = jid_parse(from, strlen(from)), *recipient = jid_parse(to, strlen(to));
	struct stanza *st = stanza_parse(text, strlen(text));
	struct session *named;

	if (sender && recipient && st) {
		named = jid_has_resource(recipient) ? session_find(c->home, jid_resource(recipient)) : NULL;
		deliver(c, named ? named : s, sender, recipient, with_delay(c, st, rows_int(r, i, 1)),
			rows_int(r, i, 0), 1);
	}
	stanza_unref(st);
	jid_unref(sender);
	jid_unref(recipient);
}

static enum verdict replay_stop(struct ctx *c, struct offline *o)
{
	o->is_replaying = false;
	mark_soon(c, o);
	return PASS;
}

static enum verdict replay_next(struct ctx *c, struct offline *o);
static enum verdict on_retry(struct ctx *c);

static enum verdict on_page(struct ctx *c, const struct rows *r)
{
	struct offline *o = home_data(c);
	struct session *s = c->session && !c->session->is_ending ? c->session : message_best(c->home);
	unsigned n = rows_count(r);

	if (rows_status(r) != STORE_OK) {
		home_timer(c, on_retry, RETRY_MS);
		return PASS;
	}
	for (unsigned i = 0; i < n && s; i++) {
		int64_t entry = rows_int(r, i, 0);

		if (is_waiting(o, entry)) {
			replay_row(c, s, r, i);
			note_taken(o, entry, true);
		} else if (entry > o->taken) {
			o->taken = entry;
		}
		o->replayed = entry;
	}
	if (!s)
		return replay_stop(c, o);
	if (n == PAGE || o->replayed < o->newest)
		return n ? replay_next(c, o) : replay_stop(c, o);
	o->has_older = false;
	ids_clear(&o->skipped);
	return replay_stop(c, o);
}

static enum verdict replay_next(struct ctx *c, struct offline *o)
{
	return fetch(c, on_page, &sql_page, PARAMS(P_INT(home_account(c->home)), P_INT(o->replayed)));
}

static enum verdict replay_start(struct ctx *c, struct offline *o)
{
	if (o->is_replaying || (o->newest <= o->taken && !o->returned.count))
		return PASS;
	o->is_replaying = true;
	o->replayed = mark_of(o);
	return replay_next(c, o);
}

/* The database did not answer: another try, as long as somebody is there. */
static enum verdict on_retry(struct ctx *c)
{
	struct offline *o = home_data(c);

	o->is_replaying = false;
	return message_best(c->home) ? replay_start(c, o) : PASS;
}

enum verdict offline_on_available(struct ctx *c)
{
	return replay_start(c, home_data(c));
}
