/* resumable_restart.c - sessions that outlive a stop of the server in good order: stored whole when all streams have
 * ended, and put back into their homes before anybody can connect. Nobody learns that they were away.
 *
 * What they have not been acknowledged is in table resumable_stanza as long as the server does not run. The home
 * that gets a session back says in its own tables what of it still has to arrive (EVENT_SESSION_RESTORED), and only
 * then removes these rows: so kill -9 at any moment loses nothing that is on record. */
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "resumable.h"
#include "router.h"
#include "server.h"
#include "xml.h"

#define PAGE "50"        /* sessions that are read at a time */
#define RESTORE_MS 30000 /* then the listeners open all the same */

enum { WANTS_ROSTER = 1, WANTS_BLOCKS = 2, WANTS_CARBONS = 4 };

/* ---- stored */

static const struct sql sql_store = {
	.name = "resumable_store",
	.text =
	    "update resumable set h = $1, stopped = $2, acked = $3, wait = $4, presence = $5, priority = $6,"
	    " flags = $7, directed = $8 where id = $9",
};
static const struct sql sql_store_stanza = {
	.name = "resumable_store_stanza",
	.text =
	    "insert into resumable_stanza (session, number, sender, recipient, entry, copies, since, stanza)"
	    " values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (session, number) do nothing",
};

static int64_t flags_of(const struct session *s)
{
	return (s->wants_roster ? WANTS_ROSTER : 0) | (s->wants_blocks ? WANTS_BLOCKS : 0) |
	       (s->wants_carbons ? WANTS_CARBONS : 0);
}

static void store_stanza(struct write *w, const struct sm *sm, uint64_t number, const struct unacked *u)
{
	struct buffer text = { 0 };

	stanza_write(&text, u->stanza, NULL, NULL);
	write_add(w, &sql_store_stanza,
	          PARAMS(P_INT(sm->row), P_INT(number), P_TEXT(u->from ? u->from->text : NULL),
	                 P_TEXT(u->to ? u->to->text : NULL), P_INT(u->entry), P_INT(u->copies),
	                 P_INT(u->since), P_TEXTN(text.data, text.len)));
	buffer_free(&text);
}

static void store_session(struct session *s)
{
	struct reactor *r = s->home->reactor;
	struct sm *sm = s->sm;
	struct buffer presence = { 0 }, directed = { 0 };
	struct write *w = write_new(r->store, 0);
	uint64_t number = sm->out.acked;

	if (s->presence)
		stanza_write(&presence, s->presence, NULL, NULL);
	for (const struct directed *d = s->directed; d; d = d->next)
		buffer_addf(&directed, "%s\n", d->to->text);
	write_add(w, &sql_store,
	          PARAMS(P_INT(sm->in.done), P_INT(r->now), P_INT(sm->out.acked), P_INT(sm->max),
	                 P_TEXT(presence.data), P_INT(s->priority), P_INT(flags_of(s)),
	                 P_TEXT(directed.data), P_INT(sm->row)));
	for (const struct unacked *u = sm->out.head; u; u = u->next)
		store_stanza(w, sm, ++number, u);
	resumable_write(s, w);
	buffer_free(&presence);
	buffer_free(&directed);
}

unsigned resumable_store(struct home *h)
{
	struct session *s;
	unsigned stored = 0;

	SESSION_EACH (s, h) {
		if (session_is_waiting(s))
			csi_flush(s); /* what has waited gets its number now */
		if (!session_is_waiting(s) || s->sm->is_final)
			continue;
		store_session(s);
		stored++;
	}
	return stored;
}

/* ---- read */

/* A session on its way back; its unacked ones are in `out`. */
struct restored {
	struct restored *next;
	struct restore *restore;
	struct jid *full;
	int64_t row, stopped;
	uint64_t h, wait;
	struct stanza *presence; /* or NULL */
	int8_t priority;
	int64_t flags;
	char *directed; /* or NULL */
	struct sm_out out;
	bool is_broken;
};

struct restore {
	struct reactor *reactor;
	void (*done)(struct reactor *r, bool ok); /* NULL: it does not wait any more */
	struct timer timer;
	int64_t last;          /* row that has been read */
	struct restored *page; /* sessions whose stanzas are being read */
	unsigned left;         /* of this page, on their way to their homes */
	unsigned count;
};

static const struct sql sql_lost = {
	/* by a process that was killed; h can still be asked for */
	.name = "resumable_lost",
	.text = "update resumable set expires = $1 where expires is null and stopped is null",
};
static const struct sql sql_old = {
	.name = "resumable_old",
	.text = "delete from resumable where expires < $1",
};
static const struct sql sql_page = {
	.name = "resumable_page",
	.text =
	    "select r.id, a.name, h.name, r.resource, r.h, r.stopped, r.acked, r.wait, r.presence,"
	    " r.priority, r.flags, r.directed from resumable r join account a on a.id = r.account"
	    " join host h on h.id = a.host where r.stopped is not null and r.id > $1 order by r.id limit " PAGE,
};
static const struct sql sql_stanzas = {
	.name = "resumable_stanzas",
	.text = "select session, sender, recipient, entry, copies, since, stanza from resumable_stanza"
		" where session >= $1 and session <= $2 order by session, number",
};

static void restored_free(struct restored *rs)
{
	struct unacked *u;

	while ((u = sm_out_take(&rs->out)))
		unacked_free(u);
	stanza_unref(rs->presence);
	jid_unref(rs->full);
	mem_free(rs->directed);
	mem_free(rs);
}

static void restore_end(struct restore *rt, bool ok)
{
	void (*done)(struct reactor * r, bool ok) = rt->done;
	struct restored *rs;

	while ((rs = rt->page)) {
		rt->page = rs->next;
		restored_free(rs);
	}
	timer_stop(&rt->reactor->wheel, &rt->timer);
	rt->done = NULL;
	if (rt->count)
		log_info("session", NULL, "%u sessions wait for their clients", rt->count);
	if (done)
		done(rt->reactor, ok);
}

static void read_page(struct restore *rt);

/* On reactor 0: a session of this page is in its home. */
static void on_taken(struct reactor *r, void *arg)
{
	struct restore *rt = arg;

	(void)r;
	if (--rt->left == 0)
		read_page(rt);
}

static void on_late(struct timer *t)
{
	struct restore *rt = CONTAINER_OF(t, struct restore, timer);

	log_warn("session", NULL, "some sessions are not back yet; not waiting for them any longer");
	restore_end(rt, true);
}

static struct restored *read_session(struct restore *rt, const struct rows *rows, unsigned i)
{
	struct restored *rs = mem_zalloc(sizeof *rs);
	const char *presence = rows_text(rows, i, 8), *directed = rows_text(rows, i, 11);

	rs->restore = rt;
	rs->row = rows_int(rows, i, 0);
	rs->full = jid_make(rows_text(rows, i, 1), rows_text(rows, i, 2), rows_text(rows, i, 3));
	rs->h = (uint64_t)rows_int(rows, i, 4);
	rs->stopped = rows_int(rows, i, 5);
	rs->out.acked = rs->out.sent = (uint64_t)rows_int(rows, i, 6);
	rs->wait = (uint64_t)rows_int(rows, i, 7);
	rs->presence = presence ? xml_parse_stanza(presence, strlen(presence)) : NULL;
	rs->priority = (int8_t)rows_int(rows, i, 9);
	rs->flags = rows_int(rows, i, 10);
	rs->directed = directed ? mem_strdup(directed) : NULL;
	rs->is_broken = !rs->full || (presence && !rs->presence);
	return rs;
}

static void read_stanza(struct restored *rs, const struct rows *rows, unsigned i)
{
	const char *from = rows_text(rows, i, 1), *to = rows_text(rows, i, 2),
		   *text = rows_text(rows, i, 6);
	struct envelope e = {
		.from = from ? jid_parse(from, strlen(from)) : NULL,
		.to = to ? jid_parse(to, strlen(to)) : NULL,
		.stanza = xml_parse_stanza(text, strlen(text)),
		.entry = rows_int(rows, i, 3),
		.count = (uint32_t)rows_int(rows, i, 4),
	};

	if (e.stanza && !(from && !e.from) && !(to && !e.to))
		sm_out_add(&rs->out, &e, rows_int(rows, i, 5));
	else
		rs->is_broken = true; /* the numbers would be wrong behind it */
	stanza_unref(e.stanza);
	jid_unref(e.from);
	jid_unref(e.to);
}

static void send_home(struct restore *rt, struct restored *rs)
{
	struct envelope *e;

	if (rs->is_broken) {
		log_warn("session", rs->full ? rs->full->text : NULL,
		         "row %lld of table resumable cannot be read; the session is gone",
		         (long long)rs->row);
		restored_free(rs);
		return;
	}
	e = envelope_new(rt->reactor, ENV_RESTORE);
	e->to = jid_ref(rs->full);
	e->arg = rs;
	if (!router_post(rt->reactor, e)) { /* its host is not served any more */
		envelope_free(rt->reactor, e);
		restored_free(rs);
		return;
	}
	rt->left++;
	rt->count++;
}

static void on_stanzas(void *arg, const struct rows *rows)
{
	struct restore *rt = arg;
	struct restored *rs = rt->page;

	if (rows_status(rows) != STORE_OK) {
		restore_end(rt, false);
		return;
	}
	for (unsigned i = 0; i < rows_count(rows); i++) {
		while (rs && rs->row < rows_int(rows, i, 0))
			rs = rs->next;
		if (rs && rs->row == rows_int(rows, i, 0))
			read_stanza(rs, rows, i);
	}
	while ((rs = rt->page)) {
		rt->page = rs->next;
		send_home(rt, rs);
	}
	if (rt->left == 0)
		read_page(rt);
}

static void on_page(void *arg, const struct rows *rows)
{
	struct restore *rt = arg;
	struct restored **at = &rt->page;
	unsigned n = rows_count(rows);

	if (rows_status(rows) != STORE_OK || n == 0) {
		restore_end(rt, rows_status(rows) == STORE_OK);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		*at = read_session(rt, rows, i);
		at = &(*at)->next;
	}
	store_read(rt->reactor->store, 0, &sql_stanzas,
	           PARAMS(P_INT(rows_int(rows, 0, 0)), P_INT(rows_int(rows, n - 1, 0))), on_stanzas, rt);
	rt->last = rows_int(rows, n - 1, 0);
}

static void read_page(struct restore *rt)
{
	if (!rt->reactor->is_stopping)
		store_read(rt->reactor->store, 0, &sql_page, PARAMS(P_INT(rt->last)), on_page, rt);
	else
		restore_end(rt, true);
}

static void on_pruned(void *arg, const struct rows *rows)
{
	struct restore *rt = arg;

	if (rows_status(rows) == STORE_OK)
		read_page(rt);
	else
		restore_end(rt, false);
}

void resumable_restore(struct reactor *r, void (*done)(struct reactor *r, bool ok))
{
	struct server *srv = r->server;
	struct restore *rt = srv->restore = mem_zalloc(sizeof *rt);
	struct write *w = write_new(r->store, 0);

	rt->reactor = r;
	rt->done = done;
	rt->last = -1;
	timer_init(&rt->timer, on_late);
	timer_set(&r->wheel, &rt->timer, RESTORE_MS);
	write_add(w, &sql_old, PARAMS(P_INT(r->now)));
	write_add(w, &sql_lost, PARAMS(P_INT(r->now + RESUMABLE_KEEP)));
	write_submit(w, on_pruned, rt);
}

/* ---- back in the home */

static const struct sql sql_back = {
	.name = "resumable_back",
	.text = "update resumable set stopped = null, presence = null, directed = null where id = $1",
};
static const struct sql sql_back_stanzas = {
	.name = "resumable_back_stanzas",
	.text = "delete from resumable_stanza where session = $1",
};

static void restore_directed(struct session *s, const char *lines)
{
	while (lines && *lines) {
		size_t n = strcspn(lines, "\n");
		struct jid *to = jid_parse(lines, n);
		struct directed *d;

		if (to) {
			d = mem_alloc(sizeof *d);
			*d = (struct directed){ .next = s->directed, .to = to };
			s->directed = d;
		}
		lines += n + (lines[n] == '\n');
	}
}

static void restore_sm(struct session *s, struct restored *rs)
{
	struct reactor *r = s->home->reactor;
	int64_t away = (r->now - rs->stopped) / 1000;

	sm_new(s);
	s->sm->row = rs->row;
	s->sm->max = (uint32_t)rs->wait;
	s->sm->in = (struct sm_in){ .arrived = rs->h, .done = rs->h, .kept = rs->h, .handled = rs->h };
	s->sm->told = s->sm->stored = rs->h;
	s->sm->out = rs->out;
	rs->out = (struct sm_out){ 0 };
	for (const struct unacked *u = s->sm->out.head; u; u = u->next)
		if (u->from && stanza_is_request(u->stanza) && u->stanza->id)
			session_asked(s, u->from, u->stanza->id);
	/* Its client has had no server to come to: it gets the whole time, unless that was over long ago. */
	timer_set(&r->wheel, &s->sm->timer, away > (int64_t)rs->wait ? 1 : rs->wait);
}

static void restore_session(struct home *h, struct restored *rs)
{
	struct session *s = mem_zalloc(sizeof *s);
	struct write *w;

	s->full = jid_ref(rs->full);
	s->id = h->reactor->next_id++;
	s->since = h->reactor->now;
	s->mechanism = "before the start";
	s->presence = rs->presence;
	rs->presence = NULL;
	s->priority = rs->priority;
	s->wants_roster = rs->flags & WANTS_ROSTER;
	s->wants_blocks = rs->flags & WANTS_BLOCKS;
	s->wants_carbons = rs->flags & WANTS_CARBONS;
	session_add(h, s);
	restore_directed(s, rs->directed);
	restore_sm(s, rs);
	pass_event(h, EVENT_SESSION_RESTORED, s);
	w = write_new(h->reactor->store, 0);
	write_add(w, &sql_back, PARAMS(P_INT(rs->row)));
	write_add(w, &sql_back_stanzas, PARAMS(P_INT(rs->row)));
	resumable_write(s, w);
}

void resumable_take(struct home *h, struct envelope *e)
{
	struct restored *rs = e->arg;

	if (h->state != HOME_ABSENT && !session_find(h, jid_resource(rs->full)))
		restore_session(h, rs);
	reactor_post_run(h->reactor, 0, on_taken, rs->restore);
	restored_free(rs);
	envelope_free(h->reactor, e);
}
