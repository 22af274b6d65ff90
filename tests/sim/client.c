/* client.c - streams and the clients at their ends. A stream queues what it is given, writes some of it
 * now and then, and what it has not written when it dies goes back, as stream_write.c does it. A client
 * believes what it is told: who is there, who is in its contact list, whom its user blocks. check.c asks
 * it later. */
#include "home.h"
#include "router.h"
#include "sim.h"

#define ROSTER_NS "jabber:iq:roster"
#define BLOCKING_NS "urn:xmpp:blocking"

struct play *client_at(unsigned user, unsigned slot)
{
	return sim->at[user][slot] < 0 ? NULL : &sim->plays[sim->at[user][slot]];
}

/* False: none of our clients. *slot is SLOTS in an address without resource. */
static bool who(const char *address, unsigned *user, unsigned *slot)
{
	const char *slash = address ? strchr(address, '/') : NULL;

	*slot = SLOTS;
	if (!address || sscanf(address, "u%u@", user) != 1 || *user >= USERS)
		return false;
	return !slash || (sscanf(slash, "/r%u", slot) == 1 && *slot < SLOTS);
}

/* The number in the id of a message or request: "m17." */
static bool number_of(const struct stanza *st, char letter, unsigned bound, unsigned *n)
{
	return st && st->id && *st->id == letter && sscanf(st->id + 1, "%u.", n) == 1 && *n < bound;
}

/* ---- what a client sees */

bool is_out_of_order(struct play *p, unsigned n, unsigned whom)
{
	struct sent *m = &sim->sent[n];
	unsigned *newest = &p->newest[m->play][whom];

	/* Others may have overtaken it meanwhile; it may have overtaken what had to wait. What was for a
	 * session that had gone waits until there is one that is available. */
	if (m->was_returned || m->may_vanish || (m->slot < SLOTS && m->sent_at < p->came_at))
		return false;
	if (n + 1 < *newest)
		return true;
	*newest = n + 1;
	return false;
}

static void see_message(struct play *p, const struct jid *from, const struct stanza *st)
{
	unsigned n, user, slot;
	struct sent *m;

	if (st->type == MESSAGE_ERROR || copies_see(p, st))
		return;
	if (who(from->text, &user, &slot) && p->is_blocked[user])
		fail("u%u/r%u has a message from u%u, whom it blocks", p->user, p->slot, user);
	if (st->id && *st->id == 't') /* somebody is typing */
		return;
	if (!number_of(st, 'm', sim->sent_count, &n)) {
		fail("u%u/r%u has a message that nobody sent", p->user, p->slot);
		return;
	}
	tell("u%u/r%u reads m%u on stream %u", p->user, p->slot, n, p->number);
	m = &sim->sent[n];
	m->delivered++;
	if (m->to != p->user)
		fail("m%u for u%u was delivered to u%u", n, m->to, p->user);
	if (p->seen[n] && !copies_may_repeat(p, n))
		fail("m%u was delivered twice to one session of u%u", n, p->user);
	p->seen[n] = true;
	/* What went to a session while older messages waited for another one is forgotten when the home
	 * sleeps; the last second's mark, when the account is disabled. A message that came back takes
	 * the mark back. */
	if (m->seen_in_life == sim->life && p->came_at > m->seen_at && m->slot == SLOTS &&
	    !sim->was_gone[p->user] && !sim->had_returned[p->user])
		fail("m%u was delivered to u%u/r%u, which came when it had been read", n, p->user, p->slot);
	if (!m->seen_in_life || m->seen_in_life != sim->life)
		m->seen_at = sim->steps;
	m->seen_in_life = sim->life;
	if (!copies_may_repeat(p, n) && is_out_of_order(p, n, m->slot))
		fail("m%u was delivered after m%u", n, p->newest[m->play][m->slot] - 1);
}

static void see_presence(struct play *p, const struct jid *from, const struct stanza *st)
{
	const struct element *status = element_child(st->root, "status", NULL);
	bool is_available = st->type == PRESENCE_AVAILABLE;
	struct arena a = { 0 };
	unsigned user, slot;

	if (!who(from ? from->text : NULL, &user, &slot))
		return;
	if (st->type == PRESENCE_SUBSCRIBE)
		p->was_asked[user] = true;
	if ((!is_available && st->type != PRESENCE_UNAVAILABLE) || slot == SLOTS)
		return;
	tell("u%u/r%u sees u%u/r%u %s on stream %u", p->user, p->slot, user, slot,
	     is_available ? "available" : "unavailable", p->number);
	if (is_available && p->is_blocked[user])
		fail("u%u/r%u sees u%u, whom it blocks", p->user, p->slot, user);
	/* While it is unavailable it may see answers to its last probes, but nobody goes on telling it. */
	if (user == p->user && slot == p->slot && (!is_available || !p->view[user][slot]))
		memset(p->view, 0, sizeof p->view);
	p->view[user][slot] = is_available && status ? (unsigned)atoi(element_get_text(status, &a)) : 0;
	if (user == p->user && slot == p->slot)
		copies_reached(p);
	arena_free(&a);
}

static void see_item(struct play *p, const struct element *item)
{
	const char *jid = element_get(item, "jid"), *subscription = element_get(item, "subscription");
	struct contact *seen;
	unsigned user, slot;

	if (!who(jid, &user, &slot))
		return;
	seen = &p->roster[user];
	*seen = (struct contact){ 0 };
	if (strcmp(subscription, "remove") == 0)
		return;
	seen->is_in = true;
	seen->asks = element_get(item, "ask") != NULL;
	while (strcmp(roster_subscription_name((uint8_t)seen->subscription), subscription) != 0)
		seen->subscription++;
}

static void see_roster(struct play *p, const struct stanza *st, const struct element *query)
{
	const struct element *item;

	if (st->type == IQ_RESULT) {
		memset(p->roster, 0, sizeof p->roster);
		p->has_roster = true;
	}
	for (item = element_child(query, "item", ROSTER_NS); item;
	     item = element_next(item, "item", ROSTER_NS))
		see_item(p, item);
}

/* A client takes whom its user blocks for offline. */
static void see_block(struct play *p, unsigned user, bool is_blocked)
{
	tell("u%u/r%u learns that it %s u%u", p->user, p->slot, is_blocked ? "blocks" : "does not block",
	     user);
	p->is_blocked[user] = is_blocked;
	if (is_blocked)
		memset(p->view[user], 0, sizeof p->view[user]);
}

static void see_blocks(struct play *p, const struct element *list, bool is_blocked)
{
	const struct element *item = element_child(list, "item", BLOCKING_NS);
	unsigned user, slot;

	if (!item && !is_blocked)
		memset(p->is_blocked, 0, sizeof p->is_blocked);
	for (; item; item = element_next(item, "item", BLOCKING_NS))
		if (who(element_get(item, "jid"), &user, &slot))
			see_block(p, user, is_blocked);
}

/* Answers what another client asks. */
static void answer(struct play *p, const struct jid *from, const struct stanza *st)
{
	if (from && st->id)
		client_send(p, stanza_new(STANZA_IQ, IQ_RESULT, st->id), from->text);
}

static void see_iq(struct play *p, const struct jid *from, const struct stanza *st)
{
	const struct element *e = element_first(st->root);
	unsigned n, user, slot;

	if (st->type == IQ_GET && who(from ? from->text : NULL, &user, &slot))
		answer(p, from, st);
	if ((st->type == IQ_RESULT || st->type == IQ_ERROR) &&
	    number_of(st, 'q', sim->question_count, &n)) {
		if (sim->questions[n].is_answered)
			fail("q%u was answered twice", n);
		sim->questions[n].is_answered = true;
		copies_answered(p, st->type == IQ_RESULT ? n : QUESTIONS);
		tell("u%u/r%u gets the answer to q%u%s", p->user, p->slot, n,
		     st->type == IQ_ERROR ? ": an error" : "");
	}
	if (!e || st->type == IQ_ERROR)
		return;
	if (element_is(e, "query", ROSTER_NS))
		see_roster(p, st, e);
	else if (element_is(e, "blocklist", BLOCKING_NS) || element_is(e, "block", BLOCKING_NS))
		see_blocks(p, e, true);
	else if (element_is(e, "unblock", BLOCKING_NS))
		see_blocks(p, e, false);
}

/* ---- streams */

struct envelope *client_to_home(const struct play *p, enum envelope_kind kind)
{
	char name[8];
	struct envelope *e = envelope_new(world->reactors[p->reactor], kind);

	snprintf(name, sizeof name, "u%u", p->user % USERS);
	e->home_kind = HOME_USER;
	e->session = p->session;
	e->stream = p->id;
	e->stream_reactor = p->reactor;
	e->to = jid_make(name, SIM_HOST, NULL);
	return e;
}

void client_post_home(const struct play *p, struct envelope *e)
{
	const struct jid *home = e->kind == ENV_STANZA && e->dir == OUT ? e->from : e->to;
	enum home_kind kind;

	loop_post(p->reactor, router_home_of(world->reactors[p->reactor], home, &kind), p->id, e);
}

/* A message goes back, all else is gone. `lane`: the stream that returns it. */
static void give_back(unsigned reactor, uint64_t lane, struct envelope *w)
{
	struct reactor *r = world->reactors[reactor];
	enum home_kind kind;
	struct envelope *e;
	unsigned n, user, slot;

	if (w->kind == ENV_WRITE && w->count &&
	    (w->stanza->type == MESSAGE_CHAT || w->stanza->type == MESSAGE_NORMAL)) {
		if (number_of(w->stanza, 'm', sim->sent_count, &n))
			sim->sent[n].was_returned = true;
		if (who(w->to->text, &user, &slot))
			sim->had_returned[user] = true;
		tell("%s is returned", w->stanza->id);
		e = envelope_new(r, ENV_RETURNED);
		e->home_kind = HOME_USER;
		e->dir = IN;
		e->from = jid_ref(w->from);
		e->to = jid_ref(w->to);
		e->stanza = stanza_ref(w->stanza);
		e->entry = w->entry;
		e->count = w->count;
		loop_post(reactor, router_home_of(r, e->to, &kind), lane, e);
	}
	envelope_free(r, w);
}

static void write_one(struct play *p)
{
	struct envelope *e = queue_take(&p->queue), *settled;

	if (e->kind == ENV_WRITE && e->stanza->kind != STANZA_OTHER)
		p->handled++;
	p->kept_written += e->is_managed;
	if (e->kind == ENV_SETTLE) {
		settled = client_to_home(p, ENV_SETTLED);
		settled->count = 1;
		client_post_home(p, settled);
	} else if (e->kind == ENV_ASK)
		managed_answer(p);
	else if (e->stanza->kind == STANZA_OTHER)
		managed_see(p, e->stanza);
	else if (e->stanza->kind == STANZA_MESSAGE)
		see_message(p, e->from, e->stanza);
	else if (e->stanza->kind == STANZA_PRESENCE)
		see_presence(p, e->from, e->stanza);
	else if (e->stanza->kind == STANZA_IQ)
		see_iq(p, e->from, e->stanza);
	envelope_free(world->reactors[p->reactor], e);
}

bool client_write_some(void)
{
	unsigned first = draw(sim->play_count + 1);

	for (unsigned i = 0; i < sim->play_count; i++) {
		struct play *p = &sim->plays[(first + i) % sim->play_count];

		if (p->state == DEAD || !p->queue.head || p->is_stuck ||
		    (p->is_slow && sim->is_failing_now && draw(30)))
			continue;
		for (unsigned n = 1 + draw(8); n > 0 && p->queue.head; n--)
			write_one(p);
		return true;
	}
	return false;
}

void client_die(struct play *p)
{
	struct envelope *e = client_to_home(p, ENV_DETACH);

	e->is_farewell = p->is_counting && p->state == BOUND && ONE_IN(3);
	while (e->is_farewell && p->queue.head)
		write_one(p);
	e->count = p->kept_written;
	tell("stream %u of u%u/r%u %s, %u unwritten", p->number, p->user, p->slot,
	     e->is_farewell ? "says goodbye" : "dies", p->queue.count);
	p->may_resume = p->state != BINDING && *p->previd;
	p->state = DEAD;
	if (e->is_farewell)
		managed_end(p);
	client_post_home(p, e);
	while ((e = queue_take(&p->queue)))
		give_back(p->reactor, p->id, e);
}

/* Told by its home to close: what is queued still leaves. */
static void close_told(struct play *p)
{
	p->is_replaced = true;
	while (p->queue.head)
		write_one(p);
	client_die(p);
	managed_end(p);
}

static struct play *play_find(uint64_t id)
{
	for (unsigned i = 0; i < sim->play_count; i++)
		if (sim->plays[i].id == id && sim->plays[i].life == sim->life)
			return &sim->plays[i];
	return NULL;
}

void client_take(struct envelope *e)
{
	struct play *p = play_find(e->stream);

	if (!p || p->state == DEAD) { /* p is NULL: it has resumed on another stream */
		give_back(e->stream_reactor, e->stream, e);
		return;
	}
	if (e->kind == ENV_WRITE)
		check_delivery(p, e);
	if (e->kind == ENV_WRITE || e->kind == ENV_SETTLE || e->kind == ENV_ASK) {
		queue_append(&p->queue, e);
		return;
	}
	if (e->kind == ENV_BOUND) {
		p->state = BOUND;
		p->account = ask_account(p->user);
		managed_begin(p);
		copies_begin(p);
	} else if (e->kind == ENV_RESUMED) {
		p->session = e->session;
		p->kept_written = 0;
	} else if (e->kind == ENV_UNBOUND && p->state == RESUMING) {
		client_die(p);
		managed_end(p);
		client_connect(p->user, p->slot);
	} else if (e->kind == ENV_CLOSE || e->kind == ENV_UNBOUND) {
		close_told(p);
	}
	envelope_free(world->reactors[p->reactor], e);
}

/* An error is made for whoever sent it, who may be gone. */
struct stanza *__real_stanza_error(const struct stanza *to_this, int condition, const char *text);
struct stanza *__wrap_stanza_error(const struct stanza *to_this, int condition, const char *text);
struct stanza *__wrap_stanza_error(const struct stanza *to_this, int condition, const char *text)
{
	unsigned n;

	if (to_this->kind == STANZA_MESSAGE && number_of(to_this, 'm', sim->sent_count, &n)) {
		tell("m%u is refused: %s", n, stanza_condition_name((enum stanza_condition)condition));
		sim->sent[n].is_refused = true;
	}
	return __real_stanza_error(to_this, condition, text);
}

/* The same for errors that modules make. */
void client_note_refused(const struct envelope *e)
{
	unsigned n;

	if (e->stanza && e->stanza->type == MESSAGE_ERROR && number_of(e->stanza, 'm', sim->sent_count, &n))
		sim->sent[n].is_refused = true;
}

void client_forget_all(void)
{
	for (unsigned i = 0; i < sim->play_count; i++) {
		sim->plays[i].state = DEAD;
		sim->plays[i].first = NULL; /* it was in the memory of the server's process */
		managed_end(&sim->plays[i]);
		queue_init(&sim->plays[i].queue);
	}
}

/* ---- coming, and speaking */

void client_say(struct play *p, struct stanza *st, const char *to)
{
	struct envelope *e = client_to_home(p, ENV_STANZA);

	e->dir = OUT;
	e->from = jid_with_resource(e->to, p->slot ? "r1" : "r0", 2);
	if (to) { /* else it is for the account */
		jid_unref(e->to);
		e->to = jid_parse(to, strlen(to));
	}
	e->stanza = st;
	e->trace = ++world->reactors[p->reactor]->trace;
	client_post_home(p, e);
}

void client_send(struct play *p, struct stanza *st, const char *to)
{
	if (to)
		st->to = arena_strdup(&st->arena, to);
	stanza_seal(st);
	if (p->is_counting)
		managed_say(p, st, to);
	client_say(p, st, to);
}

void client_connect(unsigned user, unsigned slot)
{
	struct play *p = &sim->plays[sim->play_count], *old = client_at(user, slot);
	struct reactor *r;
	struct envelope *e;

	if (old && old->life == sim->life && managed_resume(old))
		return;
	ASSERT(sim->play_count < STREAMS);
	/* What it sent has not all arrived: the newcomer may overtake it, and end its session. */
	if (old && old->life == sim->life && (old->state != DEAD || loop_has_from(old->id)))
		old->is_replaced = true;
	*p = (struct play){
		.state = BINDING, .user = user, .slot = slot, .life = sim->life, .came_at = sim->steps
	};
	p->number = sim->play_count++;
	p->is_slow = ONE_IN(5);
	p->reactor = draw(world->reactor_count);
	tell("u%u/r%u connects as stream %u", user, slot, p->number);
	r = world->reactors[p->reactor];
	p->id = r->next_id++;
	p->session = r->next_id++;
	queue_init(&p->queue);
	sim->at[user][slot] = (int)p->number;
	e = client_to_home(p, ENV_BIND);
	e->from = jid_with_resource(e->to, slot ? "r1" : "r0", 2);
	client_post_home(p, e);
}
