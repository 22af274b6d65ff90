/* sim.c - many homes on one loop, under a clock and a chance of their own.
 *
 * One process, one real reactor, the real modules, a real SQLite database. The linker gives us what leaves a
 * home (reactor_post), its reads, the sending of groups, its timers and the time: all of it waits here, and the
 * seed chooses what goes on next. Only what one sender says to one receiver keeps its order. Streams are
 * played; some die with messages that they have not written, some reads find no database. At the end all
 * clients come back, everything drains, and what they have seen is compared with the database.
 *
 *   tests/sim/sim [--seeds N] [--first SEED] [--verbose] */
#include <sqlite3.h>
#include <sys/time.h>

#include "../lib/small_server.h"
#include "home.h"
#include "stream.h"

#define USERS 6
#define SLOTS 2
#define MESSAGES 400
#define STREAMS 512
#define EPOCHS 4
#define EPOCH_ACTIONS 60
#define READS 256
#define LANES 1024
#define FROM_STREAM (UINT64_C(1) << 63) /* in a lane's `from`: a stream's id, else an address's hash */
#define ROSTER_NS "jabber:iq:roster"

/* Envelopes of one sender to one receiver. */
struct lane {
	uint64_t from, to;
	struct envelope_queue queue;
};

struct held_read {
	uint64_t after;
	const struct sql *sql;
	struct param *params;
	unsigned count;
	store_rows_fn *fn;
	void *arg;
	bool is_answered;
};

struct contact {
	bool is_in, asks;
	unsigned subscription;
};

enum play_state { UNUSED, BINDING, BOUND, DEAD };

/* A stream and its client. */
struct play {
	enum play_state state;
	uint64_t id, session;
	unsigned user, slot;
	bool is_replaced; /* its session may have ended before what it sent arrived */
	bool has_roster;
	unsigned presence;           /* the number it sent last; 0: unavailable */
	struct envelope_queue queue; /* delivered, and not written yet */
	unsigned newest[STREAMS];    /* message + 1, by the stream that sent it */
	bool seen[MESSAGES];
	unsigned view[USERS][SLOTS];
	struct contact roster[USERS];
};

struct sent {
	unsigned from, to, play;
	unsigned delivered;
	bool is_refused, was_returned;
};

struct sim {
	uint64_t seed, chance;
	struct small_server *small;
	struct reactor *reactor;
	sqlite3 *db; /* a second connection: sees what is committed */
	int64_t now; /* microseconds */
	struct list timers;
	struct lane lanes[LANES];
	unsigned lane_count;
	struct held_read *reads[READS];
	unsigned read_count;
	struct play plays[STREAMS];
	unsigned play_count;
	struct play *at[USERS][SLOTS]; /* the latest of each client */
	struct sent sent[MESSAGES];
	unsigned sent_count, presences, deliveries, steps;
	bool touched[USERS][USERS]; /* whose subscription has been changed in this epoch */
	bool in_handler, has_faults, is_verbose;
	char failure[256];
};

static struct sim *sim;

/* ---- chance, and what is said about a run */

static unsigned draw(unsigned below)
{
	sim->chance ^= sim->chance << 13;
	sim->chance ^= sim->chance >> 7;
	sim->chance ^= sim->chance << 17;
	return (unsigned)((sim->chance * UINT64_C(2685821657736338717) >> 33) % below);
}

PRINTF(1, 2) static void fail(const char *format, ...)
{
	va_list args;

	if (*sim->failure)
		return; /* the first one counts */
	va_start(args, format);
	vsnprintf(sim->failure, sizeof sim->failure, format, args);
	va_end(args);
}

#define TELL(...)                                                                                          \
	do {                                                                                               \
		if (sim->is_verbose) {                                                                     \
			printf("%6u ", sim->steps);                                                        \
			printf(__VA_ARGS__);                                                               \
			putchar('\n');                                                                     \
		}                                                                                          \
	} while (0)

/* ---- what the linker gives us */

void __real_reactor_post(struct reactor *from, unsigned target, struct envelope *e);
void __wrap_reactor_post(struct reactor *from, unsigned target, struct envelope *e);
void __real_store_read(struct store *s, uint64_t after, const struct sql *sql, const struct param *params,
                       unsigned count, store_rows_fn *fn, void *arg);
void __wrap_store_read(struct store *s, uint64_t after, const struct sql *sql, const struct param *params,
                       unsigned count, store_rows_fn *fn, void *arg);
void __real_store_flush(struct store *s);
void __wrap_store_flush(struct store *s);
void __wrap_timer_set(struct wheel *w, struct timer *t, uint64_t ms);
int __wrap_gettimeofday(struct timeval *tv, void *zone);

static void lane_add(uint64_t from, uint64_t to, struct envelope *e)
{
	unsigned i = 0;

	while (i < sim->lane_count && (sim->lanes[i].from != from || sim->lanes[i].to != to))
		i++;
	if (i == sim->lane_count) {
		ASSERT(i < LANES);
		sim->lane_count++;
		sim->lanes[i].from = from;
		sim->lanes[i].to = to;
		queue_init(&sim->lanes[i].queue);
	}
	queue_append(&sim->lanes[i].queue, e);
}

static void note_refused(const struct envelope *e)
{
	unsigned n;

	if (e->stanza && e->stanza->type == MESSAGE_ERROR && e->stanza->id &&
	    sscanf(e->stanza->id, "m%u.", &n) == 1 && n < sim->sent_count)
		sim->sent[n].is_refused = true;
}

void __wrap_reactor_post(struct reactor *from, unsigned target, struct envelope *e)
{
	(void)target;
	if (e->kind == ENV_RUN) {
		__real_reactor_post(from, target, e);
		return;
	}
	note_refused(e);
	if (!ENVELOPE_IS_HOME(e))
		lane_add(0, e->stream, e);
	else
		lane_add(e->from ? e->from->hash : 0, e->to->hash, e);
}

void __wrap_store_read(struct store *s, uint64_t after, const struct sql *sql, const struct param *params,
                       unsigned count, store_rows_fn *fn, void *arg)
{
	struct held_read *r = mem_zalloc(sizeof *r);

	(void)s;
	*r = (struct held_read){ .after = after, .sql = sql, .count = count, .fn = fn, .arg = arg };
	r->params = mem_zalloc((count + 1) * sizeof *r->params);
	for (unsigned i = 0; i < count; i++) {
		r->params[i] = params[i];
		if (params[i].data)
			r->params[i].data = mem_strndup(params[i].data, params[i].len);
	}
	ASSERT(sim->read_count < READS);
	sim->reads[sim->read_count++] = r;
}

/* The reactor sends no group of its own accord. */
void __wrap_store_flush(struct store *s)
{
	(void)s;
}

void __wrap_timer_set(struct wheel *w, struct timer *t, uint64_t ms)
{
	timer_stop(w, t);
	w->count++; /* timer_stop takes it back */
	t->due = (uint64_t)sim->now / 1000 + ms;
	list_append(&sim->timers, &t->node);
}

int __wrap_gettimeofday(struct timeval *tv, void *zone)
{
	(void)zone;
	*tv = (struct timeval){ .tv_sec = sim->now / 1000000, .tv_usec = sim->now % 1000000 };
	return 0;
}

/* ---- the database, as others see it */

static int64_t ask(const char *format, ...) PRINTF(1, 2);
static int64_t ask(const char *format, ...)
{
	char text[512];
	sqlite3_stmt *q;
	int64_t n = -1;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	ASSERT(sqlite3_prepare_v2(sim->db, text, -1, &q, NULL) == SQLITE_OK);
	if (sqlite3_step(q) == SQLITE_ROW)
		n = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return n;
}

static int64_t ask_contact(unsigned user, unsigned contact, const char *what)
{
	int64_t n = ask("select %s from roster where owner = (select id from account where name = 'u%u')"
	                " and contact = 'u%u@" SMALL_HOST "' and in_roster = 1",
	                what, user, contact);

	return n < 0 ? 0 : n;
}

/* ---- what clients see */

/* False: none of our clients. */
static bool who(const struct jid *j, unsigned *user, unsigned *slot)
{
	*slot = SLOTS;
	if (!j || sscanf(j->text, "u%u@", user) != 1 || *user >= USERS)
		return false;
	return !jid_has_resource(j) || (sscanf(jid_resource(j), "r%u", slot) == 1 && *slot < SLOTS);
}

static void see_message(struct play *p, const struct stanza *st)
{
	struct sent *m;
	unsigned n;

	if (st->type == MESSAGE_ERROR)
		return;
	if (!st->id || sscanf(st->id, "m%u.", &n) != 1 || n >= sim->sent_count) {
		fail("a message that nobody sent");
		return;
	}
	TELL("u%u/r%u receives m%u on stream %u", p->user, p->slot, n, (unsigned)(p - sim->plays));
	m = &sim->sent[n];
	m->delivered++;
	if (m->to != p->user)
		fail("m%u for u%u was delivered to u%u", n, m->to, p->user);
	if (p->seen[n])
		fail("m%u was delivered twice to one session of u%u", n, p->user);
	p->seen[n] = true;
	if (m->was_returned) /* others may have overtaken it meanwhile */
		return;
	if (n + 1 < p->newest[m->play])
		fail("m%u was delivered after m%u", n, p->newest[m->play] - 1);
	p->newest[m->play] = n + 1;
}

static void see_presence(struct play *p, const struct jid *from, const struct stanza *st)
{
	const struct element *status = element_child(st->root, "status", NULL);
	struct arena a = { 0 };
	unsigned user, slot;

	if ((st->type != PRESENCE_AVAILABLE && st->type != PRESENCE_UNAVAILABLE) ||
	    !who(from, &user, &slot) || slot == SLOTS)
		return;
	TELL("u%u/r%u sees u%u/r%u %s on stream %u", p->user, p->slot, user, slot,
	     st->type == PRESENCE_AVAILABLE ? "available" : "unavailable", (unsigned)(p - sim->plays));
	/* While it is unavailable it may see answers to its last probes, but nobody goes on telling it. */
	if (user == p->user && slot == p->slot &&
	    (st->type == PRESENCE_UNAVAILABLE || !p->view[user][slot]))
		memset(p->view, 0, sizeof p->view);
	p->view[user][slot] =
	    st->type == PRESENCE_AVAILABLE && status ? (unsigned)atoi(element_get_text(status, &a)) : 0;
	arena_free(&a);
}

static void see_item(struct play *p, const struct element *item)
{
	const char *jid = element_get(item, "jid"), *subscription = element_get(item, "subscription");
	unsigned user;

	if (!jid || sscanf(jid, "u%u@", &user) != 1 || user >= USERS)
		return;
	p->roster[user] = (struct contact){ 0 };
	if (strcmp(subscription, "remove") == 0)
		return;
	p->roster[user].is_in = true;
	p->roster[user].asks = element_get(item, "ask") != NULL;
	while (strcmp(roster_subscription_name((uint8_t)p->roster[user].subscription), subscription) != 0)
		p->roster[user].subscription++;
}

static void see_iq(struct play *p, const struct stanza *st)
{
	const struct element *query = element_child(st->root, "query", ROSTER_NS), *item;

	if (!query)
		return;
	if (st->type == IQ_RESULT) {
		memset(p->roster, 0, sizeof p->roster);
		p->has_roster = true;
	}
	for (item = element_child(query, "item", ROSTER_NS); item;
	     item = element_next(item, "item", ROSTER_NS))
		see_item(p, item);
}

/* ---- streams */

static struct envelope *to_home(const struct play *p, enum envelope_kind kind)
{
	char name[8];
	struct envelope *e = envelope_new(sim->reactor, kind);

	snprintf(name, sizeof name, "u%u", p->user % USERS);
	e->home_kind = HOME_USER;
	e->session = p->session;
	e->stream = p->id;
	e->to = jid_make(name, SMALL_HOST, NULL);
	return e;
}

static void post_home(const struct play *p, struct envelope *e)
{
	lane_add(p->id | FROM_STREAM, 0, e);
}

/* As stream_write.c does it: a message goes back, all else is gone. */
static void give_back(const struct play *p, struct envelope *w)
{
	struct envelope *e;
	unsigned n;

	if (w->kind == ENV_WRITE && w->count &&
	    (w->stanza->type == MESSAGE_CHAT || w->stanza->type == MESSAGE_NORMAL)) {
		if (w->stanza->id && sscanf(w->stanza->id, "m%u.", &n) == 1 && n < sim->sent_count)
			sim->sent[n].was_returned = true;
		TELL("stream %u returns %s", (unsigned)(p - sim->plays), w->stanza->id);
		e = to_home(p, ENV_RETURNED);
		jid_unref(e->to);
		e->dir = IN;
		e->from = jid_ref(w->from);
		e->to = jid_ref(w->to);
		e->stanza = stanza_ref(w->stanza);
		e->entry = w->entry;
		e->count = w->count;
		e->session = 0;
		post_home(p, e);
	}
	envelope_free(sim->reactor, w);
}

static void write_one(struct play *p)
{
	struct envelope *e = queue_take(&p->queue);

	if (e->kind == ENV_SETTLE)
		post_home(p, to_home(p, ENV_SETTLED));
	else if (e->stanza->kind == STANZA_MESSAGE)
		see_message(p, e->stanza);
	else if (e->stanza->kind == STANZA_PRESENCE)
		see_presence(p, e->from, e->stanza);
	else if (e->stanza->kind == STANZA_IQ)
		see_iq(p, e->stanza);
	envelope_free(sim->reactor, e);
}

static void write_all(struct play *p)
{
	while (p->queue.head)
		write_one(p);
}

static void die(struct play *p)
{
	struct envelope *e;

	TELL("stream %u of u%u/r%u dies, %u unwritten", (unsigned)(p - sim->plays), p->user, p->slot,
	     p->queue.count);
	p->state = DEAD;
	post_home(p, to_home(p, ENV_DETACH));
	while ((e = queue_take(&p->queue)))
		give_back(p, e);
}

/* Told by its home to close: what is queued still leaves. */
static void close_told(struct play *p)
{
	write_all(p);
	die(p);
}

static void check_on_record(const struct stanza *st)
{
	if (st->kind != STANZA_MESSAGE || st->type == MESSAGE_ERROR || ++sim->deliveries % 16 != 0)
		return;
	if (ask("select count(*) from record where instr(stanza, '''%s''')", st->id) != 1)
		fail("%s is delivered, and not on record", st->id);
}

static struct play *play_find(uint64_t id)
{
	for (unsigned i = 0; i < sim->play_count; i++)
		if (sim->plays[i].id == id)
			return &sim->plays[i];
	return NULL;
}

static void play_take(struct envelope *e)
{
	struct play *p = play_find(e->stream);

	ASSERT(p);
	if (e->kind == ENV_WRITE)
		check_on_record(e->stanza);
	if (p->state == DEAD) {
		give_back(p, e);
		return;
	}
	if (e->kind == ENV_WRITE || e->kind == ENV_SETTLE) {
		queue_append(&p->queue, e);
		return;
	}
	if (e->kind == ENV_BOUND)
		p->state = BOUND;
	else if (e->kind == ENV_CLOSE || e->kind == ENV_UNBOUND)
		close_told(p);
	envelope_free(sim->reactor, e);
}

/* ---- what clients do */

static void client_send(struct play *p, struct stanza *st, const char *to)
{
	struct envelope *e = to_home(p, ENV_STANZA);

	e->dir = OUT;
	e->from = jid_with_resource(e->to, p->slot ? "r1" : "r0", 2);
	if (to) { /* else it is for the account */
		st->to = arena_strdup(&st->arena, to);
		jid_unref(e->to);
		e->to = jid_parse(to, strlen(to));
	}
	e->stanza = stanza_seal(st);
	e->trace = ++sim->reactor->trace;
	post_home(p, e);
}

static void client_presence(struct play *p, bool is_available, int priority)
{
	struct stanza *st =
	    stanza_new(STANZA_PRESENCE, is_available ? PRESENCE_AVAILABLE : PRESENCE_UNAVAILABLE, NULL);
	char text[16];

	p->presence = is_available ? ++sim->presences : 0;
	TELL("u%u/r%u presence %u priority %d", p->user, p->slot, p->presence, priority);
	if (is_available) {
		snprintf(text, sizeof text, "%u", p->presence);
		element_add_text(st, st->root, "status", NULL, text);
		snprintf(text, sizeof text, "%d", priority);
		element_add_text(st, st->root, "priority", NULL, text);
	}
	client_send(p, st, NULL);
}

static void client_roster_get(struct play *p)
{
	struct stanza *st = stanza_new(STANZA_IQ, IQ_GET, "roster");

	element_add(st, st->root, "query", ROSTER_NS);
	client_send(p, st, NULL);
}

static void client_message(struct play *p)
{
	unsigned n = sim->sent_count, to = (p->user + 1 + draw(USERS - 1)) % USERS;
	struct stanza *st;
	char id[16], address[32];

	if (n == MESSAGES)
		return;
	sim->sent_count++;
	sim->sent[n] = (struct sent){ .from = p->user, .to = to, .play = (unsigned)(p - sim->plays) };
	snprintf(id, sizeof id, "m%u.", n);
	snprintf(address, sizeof address, "u%u@" SMALL_HOST, to);
	TELL("u%u/r%u sends %s to u%u", p->user, p->slot, id, to);
	st = stanza_new(STANZA_MESSAGE, MESSAGE_CHAT, id);
	element_add_text(st, st->root, "body", NULL, id);
	client_send(p, st, address);
}

/* One change of a subscription in an epoch: two that cross on their way leave, by RFC 6121 itself, the one side
 * with a subscription that the other has not. */
static bool touch(unsigned a, unsigned b)
{
	if (sim->touched[a][b] || sim->touched[b][a])
		return false;
	sim->touched[a][b] = true;
	return true;
}

static void client_subscription(struct play *p)
{
	static const enum stanza_type types[] = { PRESENCE_SUBSCRIBE, PRESENCE_SUBSCRIBED,
		                                  PRESENCE_SUBSCRIBED, PRESENCE_UNSUBSCRIBE,
		                                  PRESENCE_UNSUBSCRIBED };
	unsigned to = (p->user + 1 + draw(USERS - 1)) % USERS, type = draw(COUNT_OF(types));
	char address[32];

	if (!touch(p->user, to))
		return;
	TELL("u%u/r%u subscription %u to u%u", p->user, p->slot, types[type], to);
	snprintf(address, sizeof address, "u%u@" SMALL_HOST, to);
	client_send(p, stanza_new(STANZA_PRESENCE, types[type], NULL), address);
}

static void client_roster_set(struct play *p)
{
	struct stanza *st = stanza_new(STANZA_IQ, IQ_SET, "set");
	unsigned contact = (p->user + 1 + draw(USERS - 1)) % USERS;
	bool is_remove = draw(4) == 0 && touch(p->user, contact);
	struct element *item;

	TELL("u%u/r%u roster %s u%u", p->user, p->slot, is_remove ? "remove" : "set", contact);
	item = element_add(st, element_add(st, st->root, "query", ROSTER_NS), "item", ROSTER_NS);
	element_setf(st, item, "jid", "u%u@" SMALL_HOST, contact);
	if (is_remove)
		element_set(st, item, "subscription", "remove");
	else
		element_setf(st, item, "name", "name %u", draw(1000));
	client_send(p, st, NULL);
}

/* What it sent has not all arrived: the newcomer may overtake it, and end its session. */
static bool is_on_its_way(const struct play *p)
{
	for (unsigned i = 0; i < sim->lane_count; i++)
		if (sim->lanes[i].from == (p->id | FROM_STREAM))
			return true;
	return false;
}

static void client_connect(unsigned user, unsigned slot)
{
	struct play *p = &sim->plays[sim->play_count++], *old = sim->at[user][slot];
	struct envelope *e;

	ASSERT(sim->play_count < STREAMS);
	if (old && (old->state != DEAD || is_on_its_way(old)))
		old->is_replaced = true;
	TELL("u%u/r%u connects as stream %u", user, slot, sim->play_count - 1);
	*p = (struct play){ .state = BINDING, .user = user, .slot = slot };
	p->id = sim->reactor->next_id++;
	p->session = sim->reactor->next_id++;
	queue_init(&p->queue);
	sim->at[user][slot] = p;
	e = to_home(p, ENV_BIND);
	e->from = jid_with_resource(e->to, slot ? "r1" : "r0", 2);
	post_home(p, e);
}

static void client_act(struct play *p)
{
	unsigned what = draw(100);

	if (what < 50)
		client_message(p);
	else if (what < 66)
		client_presence(p, draw(4) != 0, (int)draw(4) - 1);
	else if (what < 76)
		client_subscription(p);
	else if (what < 83)
		client_roster_set(p);
	else if (what < 88)
		client_roster_get(p);
	else if (what < 97)
		die(p);
	else
		client_connect(p->user, p->slot); /* takes the resource over */
}

static void act(void)
{
	unsigned user = draw(USERS), slot = draw(3) == 0;
	struct play *p = sim->at[user][slot];

	if (!p || p->state == DEAD) {
		client_connect(user, slot);
	} else if (p->state == BOUND && !p->has_roster && !p->presence && draw(3)) {
		client_roster_get(p);
		client_presence(p, true, 0);
	} else if (p->state == BOUND) {
		client_act(p);
	} else if (draw(10) == 0) {
		die(p);
	}
}

/* ---- what goes on by itself */

static bool step_lane(void)
{
	struct lane *l;
	struct envelope *e;

	if (sim->lane_count == 0)
		return false;
	l = &sim->lanes[draw(sim->lane_count)];
	e = queue_take(&l->queue);
	if (!l->queue.head) /* the last one takes its place */
		*l = sim->lanes[--sim->lane_count];
	if (e->stanza && e->stanza->kind == STANZA_MESSAGE)
		TELL("%s arrives: envelope %u, entry %lld", e->stanza->id, e->kind, (long long)e->entry);
	sim->in_handler = true;
	if (ENVELOPE_IS_HOME(e))
		home_take(sim->reactor, e);
	else
		play_take(e);
	sim->in_handler = false;
	return true;
}

static void on_read(void *arg, const struct rows *rows)
{
	struct held_read *r = arg;

	if (sim->in_handler)
		fail("%s: its rows came in the same turn", r->sql->name);
	r->is_answered = true;
	r->fn(r->arg, rows);
}

static bool step_read(void)
{
	unsigned i, tries = sim->read_count;
	struct held_read *r;

	if (sim->read_count == 0)
		return false;
	for (i = draw(sim->read_count); tries > 0; tries--, i = (i + 1) % sim->read_count)
		if (sim->reads[i]->after == STORE_NO_TICKET ||
		    store_is_committed(sim->reactor->store, sim->reads[i]->after))
			break;
	if (tries == 0)
		return false;
	r = sim->reads[i];
	memmove(&sim->reads[i], &sim->reads[i + 1], (--sim->read_count - i) * sizeof sim->reads[0]);
	if (sim->has_faults && draw(25) == 0) {
		TELL("%s finds no database", r->sql->name);
		r->after = STORE_NO_TICKET;
	}
	TELL("%s", r->sql->name);
	sim->in_handler = true;
	__real_store_read(sim->reactor->store, r->after, r->sql, r->params, r->count, on_read, r);
	store_flush_reads(sim->reactor->store);
	sim->in_handler = false;
	while (!r->is_answered)
		uv_run(&sim->reactor->loop, UV_RUN_ONCE);
	for (unsigned n = 0; n < r->count; n++)
		mem_free((char *)(uintptr_t)r->params[n].data);
	mem_free(r->params);
	mem_free(r);
	return true;
}

static unsigned waiting_writes(void)
{
	struct store_counts counts;

	store_counts(sim->reactor->store, &counts);
	return counts.waiting_writes;
}

/* A few more envelopes are handled while the group is on its way. */
static bool step_commit(void)
{
	if (waiting_writes() == 0)
		return false;
	TELL("commit");
	sim->in_handler = true;
	__real_store_flush(sim->reactor->store);
	sim->in_handler = false;
	for (unsigned n = draw(6); n > 0; n--)
		(void)step_lane();
	while (waiting_writes() > 0)
		uv_run(&sim->reactor->loop, UV_RUN_ONCE);
	return true;
}

static bool step_write(void)
{
	unsigned first = draw(sim->play_count + 1);

	for (unsigned i = 0; i < sim->play_count; i++) {
		struct play *p = &sim->plays[(first + i) % sim->play_count];

		if (!p->queue.head)
			continue;
		for (unsigned n = 1 + draw(8); n > 0 && p->queue.head; n--)
			write_one(p);
		return true;
	}
	return false;
}

/* Time passes until the next timer; but not beyond `ms`. */
static bool step_timer(uint64_t ms)
{
	uint64_t until = (uint64_t)sim->now / 1000 + ms;
	struct timer *t, *next = NULL;

	LIST_EACH (t, &sim->timers, struct timer, node)
		if (!next || t->due < next->due)
			next = t;
	if (!next || next->due > until)
		return false;
	if (sim->now < (int64_t)next->due * 1000)
		sim->now = (int64_t)next->due * 1000;
	sim->reactor->now = sim->now;
	list_remove(&next->node);
	sim->reactor->wheel.count--;
	next->fire(next);
	return true;
}

/* A second or two in which neither the database nor any client does anything: envelopes take no such time. */
static bool step_time(void)
{
	while (step_lane())
		;
	return step_timer(2000);
}

static bool step(void)
{
	unsigned what = draw(100);

	sim->steps++;
	sim->now += 1 + draw(2000);
	sim->reactor->now = sim->now;
	if (what < 4 && step_commit())
		return true;
	if (what < 30 && step_read())
		return true;
	if (what < 45 && step_write())
		return true;
	if (what < 46 && sim->has_faults && step_time())
		return true;
	return step_lane() || step_read() || step_write() || step_commit();
}

static void drain(void)
{
	unsigned before = sim->steps;

	do {
		while (step())
			if (sim->steps - before > 100000) {
				fail("it does not come to rest");
				return;
			}
	} while (step_timer(0));
}

/* Also what waits for a tick. */
static void drain_timers(void)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t until = (uint64_t)sim->now / 1000 + 1100;

		drain();
		while ((uint64_t)sim->now / 1000 < until && step_timer(until - (uint64_t)sim->now / 1000))
			drain();
		if (sim->now < (int64_t)until * 1000)
			sim->now = (int64_t)until * 1000;
	}
}

/* ---- a run: the beginning */

static void add_user(struct server *srv, unsigned user)
{
	static const struct sql account = {
		.name = "account",
		.text = "insert into account (host, name) values (1, $1)",
	};
	char name[8];

	snprintf(name, sizeof name, "u%u", user);
	small_run(srv, &account, PARAMS(P_TEXT(name)), small_ignore);
}

/* Half of the pairs see each other. */
static void add_contact(struct server *srv, unsigned user, unsigned contact)
{
	static const struct sql both = {
		.name = "both",
		.text = "insert into roster (owner, contact, subscription)"
			" select id, $1, 3 from account where name = $2",
	};
	char name[8], address[32];

	snprintf(name, sizeof name, "u%u", user);
	snprintf(address, sizeof address, "u%u@" SMALL_HOST, contact);
	small_run(srv, &both, PARAMS(P_TEXT(address), P_TEXT(name)), small_ignore);
}

static void load_modules(struct server *srv)
{
	const char *build = getenv("MUSTER_BUILD");
	char *dir = mem_printf("%s/modules", build ? build : "."), *error = NULL;

	hooks_free((struct hooks *)(uintptr_t)srv->hooks);
	srv->conf->module_options = NULL; /* they were read for no modules */
	srv->hooks = hooks_load(dir, srv->conf->modules, srv->conf->module_count, &error);
	if (!srv->hooks ||
	    !conf_read_modules(srv->conf, srv->hooks->modules, srv->hooks->module_count, &error)) {
		fprintf(stderr, "%s\n", error);
		abort();
	}
	srv->reactors[0]->hooks = srv->hooks;
	hosts_unref(srv->hosts); /* they have the policies of no modules */
	hosts_unref(srv->reactors[0]->hosts);
	small_run(srv, &hosts_sql, NO_PARAMS, small_keep_hosts);
	srv->reactors[0]->hosts = hosts_ref(srv->hosts);
	mem_free(dir);
}

static void begin(uint64_t seed, bool is_verbose)
{
	struct server *srv;
	char *path;

	sim = mem_zalloc(sizeof *sim);
	sim->seed = seed;
	sim->chance = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
	sim->is_verbose = is_verbose;
	sim->now = INT64_C(1700000000000000);
	list_init(&sim->timers);
	sim->small = small_server_new(1);
	srv = &sim->small->server;
	sim->reactor = srv->reactors[0];
	srv->conf->limits.idle_home = 500;
	load_modules(srv);
	for (unsigned i = 0; i < USERS; i++)
		add_user(srv, i);
	for (unsigned i = 0; i < USERS; i++)
		for (unsigned j = 0; j < i; j++)
			if (draw(2)) {
				add_contact(srv, i, j);
				add_contact(srv, j, i);
			}
	path = mem_printf("%s/muster.db", sim->small->dir);
	ASSERT(sqlite3_open_v2(path, &sim->db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK);
	mem_free(path);
	while (uv_run(&sim->reactor->loop, UV_RUN_NOWAIT) && store_is_away(sim->reactor->store))
		;
}

/* ---- a run: the end */

static void come_back(void)
{
	drain_timers(); /* a home that found no database tries again later */
	for (unsigned i = 0; i < USERS * SLOTS; i++) {
		struct play *p = sim->at[i / SLOTS][i % SLOTS];

		if (!p || p->state == DEAD)
			client_connect(i / SLOTS, i % SLOTS);
	}
	drain();
	for (unsigned i = 0; i < USERS * SLOTS; i++) {
		struct play *p = sim->at[i / SLOTS][i % SLOTS];

		if (p->state != BOUND)
			fail("u%u/r%u cannot come back", p->user, p->slot);
		if (!p->has_roster)
			client_roster_get(p);
		client_presence(p, true, 0);
	}
	drain_timers();
}

static void check_message(unsigned n)
{
	const struct sent *m = &sim->sent[n];
	int64_t records = ask("select count(*) from record where instr(stanza, '''m%u.''')", n);
	int64_t entries = ask("select count(*) from entry e join record r on r.id = e.record"
	                      " join account a on a.id = e.owner where instr(r.stanza, '''m%u.''') and"
	                      " ((a.name = 'u%u' and is_out = 1) or (a.name = 'u%u' and is_out = 0))",
	                      n, m->from, m->to);

	if (m->is_refused || (sim->plays[m->play].is_replaced && records == 0))
		return;
	if (records != 1 || entries != 2)
		fail("m%u has %d records and %d entries", n, (int)records, (int)entries);
	if (m->delivered == 0)
		fail("m%u has not been delivered to u%u", n, m->to);
}

static void check_contact(const struct play *p, unsigned contact)
{
	const struct contact *seen = &p->roster[contact];
	unsigned subscription = (unsigned)ask_contact(p->user, contact, "subscription");
	unsigned mirror = (unsigned)ask_contact(contact, p->user, "subscription");
	bool sees = contact == p->user || (subscription & SUB_TO);

	if (!(subscription & SUB_TO) != !(mirror & SUB_FROM))
		fail("u%u has subscription %u to u%u, who has %u", p->user, subscription, contact, mirror);
	if (seen->is_in != (ask_contact(p->user, contact, "1") == 1) ||
	    seen->subscription != subscription || seen->asks != (ask_contact(p->user, contact, "ask") == 1))
		fail("u%u/r%u was shown another u%u than its roster has", p->user, p->slot, contact);
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		unsigned truth = sees ? sim->at[contact][slot]->presence : 0;

		if (p->view[contact][slot] != truth)
			fail("u%u/r%u sees presence %u of u%u/r%u, which is %u", p->user, p->slot,
			     p->view[contact][slot], contact, slot, truth);
	}
}

static void check(void)
{
	for (unsigned i = 0; i < sim->sent_count; i++)
		check_message(i);
	for (unsigned i = 0; i < USERS * SLOTS * USERS; i++)
		check_contact(sim->at[i / USERS / SLOTS][i / USERS % SLOTS], i % USERS);
	if (ask("select count(*) from transit") != 0)
		fail("something is still in transit");
}

static void end(void)
{
	struct reactor *r = sim->reactor;

	for (unsigned i = 0; i < sim->play_count; i++)
		if (sim->plays[i].state != DEAD)
			die(&sim->plays[i]);
	drain();
	homes_sleep_all(r);
	drain();
	sqlite3_close(sim->db);
	reactor_close(r);
	reactor_run(r);
	small_server_free(sim->small);
}

static bool run(uint64_t seed, bool is_verbose)
{
	bool is_good;

	begin(seed, is_verbose);
	for (unsigned epoch = 0; epoch < EPOCHS; epoch++) {
		sim->has_faults = true;
		for (unsigned i = 0; i < EPOCH_ACTIONS; i++) {
			act();
			for (unsigned n = draw(12); n > 0 && step(); n--)
				;
		}
		sim->has_faults = false;
		drain();
		memset(sim->touched, 0, sizeof sim->touched);
	}
	come_back();
	if (!*sim->failure)
		check();
	end();
	is_good = !*sim->failure;
	if (!is_good)
		printf("seed %llu: %s; again with: tests/sim/sim --first %llu --seeds 1 --verbose\n",
		       (unsigned long long)seed, sim->failure, (unsigned long long)seed);
	else if (is_verbose)
		printf("seed %llu: %u messages, %u steps\n", (unsigned long long)seed, sim->sent_count,
		       sim->steps);
	mem_free(sim);
	return is_good;
}

int main(int argc, char **argv)
{
	unsigned long long first = 1, seeds = 20, failed = 0;
	bool is_verbose = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--verbose") == 0) {
			is_verbose = true;
		} else if (i + 1 < argc && strcmp(argv[i], "--seeds") == 0) {
			seeds = strtoull(argv[++i], NULL, 10);
		} else if (i + 1 < argc && strcmp(argv[i], "--first") == 0) {
			first = strtoull(argv[++i], NULL, 10);
		} else {
			fprintf(stderr, "usage: sim [--seeds N] [--first SEED] [--verbose]\n");
			return 2;
		}
	}
	hash_seed(true);
	for (unsigned long long i = 0; i < seeds; i++)
		failed += !run(first + i, is_verbose);
	printf("%llu passed, %llu failed\n", seeds - failed, failed);
	return failed > 0;
}
