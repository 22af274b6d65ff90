/* action.c - what clients do, and administrators: ten or twenty lines each, and a row in a table that
 * says how often. What an action does must be known to check.c, if it changes what is promised: a message
 * that nobody need get, two users who need not agree any more. */
#include "account.h"
#include "home.h"
#include "sim.h"

#define ADDRESS 40

static void address_of(char out[ADDRESS], unsigned user, unsigned slot)
{
	if (slot < SLOTS)
		snprintf(out, ADDRESS, "u%u@" SIM_HOST "/r%u", user, slot);
	else
		snprintf(out, ADDRESS, "u%u@" SIM_HOST, user);
}

static unsigned draw_other(const struct play *p)
{
	return (p->user + 1 + draw(USERS - 1)) % USERS;
}

/* ---- requests: each gets one answer */

struct stanza *question_new(struct play *p, enum stanza_type type)
{
	char id[16];
	unsigned n = sim->question_count;

	if (n == QUESTIONS)
		return stanza_new(STANZA_IQ, type, "one too many");
	sim->questions[n] = (struct question){ .play = p->number, .to = USERS };
	sim->question_count++;
	snprintf(id, sizeof id, "q%u.", n);
	return stanza_new(STANZA_IQ, type, id);
}

static struct stanza *simple_question(struct play *p, enum stanza_type type, const char *name,
                                      const char *ns, struct element **payload)
{
	struct stanza *st = question_new(p, type);
	struct element *e = element_add(st, st->root, name, ns);

	if (payload)
		*payload = e;
	tell("u%u/r%u asks %s: %s", p->user, p->slot, st->id, ns);
	return st;
}

void action_get_roster(struct play *p)
{
	client_send(p, simple_question(p, IQ_GET, "query", "jabber:iq:roster", NULL), NULL);
}

static void get_blocks(struct play *p)
{
	client_send(p, simple_question(p, IQ_GET, "blocklist", "urn:xmpp:blocking", NULL), NULL);
}

static void ask_about(struct play *p)
{
	static const struct {
		const char *name, *ns;
	} what[] = { { "query", "http://jabber.org/protocol/disco#info" },
		     { "query", "http://jabber.org/protocol/disco#items" },
		     { "query", "jabber:iq:last" },
		     { "vCard", "vcard-temp" },
		     { "ping", "urn:xmpp:ping" } };
	unsigned i = draw(COUNT_OF(what)), slot = draw(SLOTS + 2), user = draw(USERS);
	char to[ADDRESS] = SIM_HOST;
	struct stanza *st;

	if (slot <= SLOTS)
		address_of(to, user, slot);
	st = simple_question(p, IQ_GET, what[i].name, what[i].ns, NULL);
	if (slot <= SLOTS)
		sim->questions[sim->question_count - 1].to = user;
	client_send(p, st, to);
}

static void store_privately(struct play *p)
{
	bool is_set = draw(2);
	struct element *query;
	struct stanza *st =
	    simple_question(p, is_set ? IQ_SET : IQ_GET, "query", "jabber:iq:private", &query);

	element_add_text(st, query, "storage", "storage:bookmarks", is_set ? "kept" : "");
	client_send(p, st, NULL);
}

/* The same as before: what is on its way meanwhile must not see that they are written anew. */
static void set_wishes(struct play *p)
{
	struct element *prefs;
	struct stanza *st = simple_question(p, IQ_SET, "prefs", "urn:xmpp:mam:2", &prefs);

	element_set(st, prefs, "default", sim->keeps_not[p->user] ? "never" : "always");
	client_send(p, st, NULL);
}

static void set_vcard(struct play *p)
{
	struct element *card;
	struct stanza *st = simple_question(p, IQ_SET, "vCard", "vcard-temp", &card);

	element_add_text(st, card, "FN", "vcard-temp", "Somebody");
	client_send(p, st, NULL);
}

static void set_password(struct play *p)
{
	struct element *query;
	struct stanza *st;
	char name[8];

	if (draw(4)) /* deriving its keys takes a while */
		return;
	st = simple_question(p, IQ_SET, "query", "jabber:iq:register", &query);
	snprintf(name, sizeof name, "u%u", p->user % USERS);
	element_add_text(st, query, "username", "jabber:iq:register", name);
	element_add_text(st, query, "password", "jabber:iq:register", "another secret");
	client_send(p, st, NULL);
}

/* ---- presence */

void action_presence(struct play *p, bool is_available, int priority)
{
	struct stanza *st =
	    stanza_new(STANZA_PRESENCE, is_available ? PRESENCE_AVAILABLE : PRESENCE_UNAVAILABLE, NULL);
	char text[16];

	p->presence = is_available ? ++sim->presences : 0;
	copies_presence(p, is_available, priority);
	tell("u%u/r%u presence %u priority %d", p->user, p->slot, p->presence, priority);
	if (is_available) {
		snprintf(text, sizeof text, "%u", p->presence);
		element_add_text(st, st->root, "status", NULL, text);
		snprintf(text, sizeof text, "%d", priority);
		element_add_text(st, st->root, "priority", NULL, text);
	}
	client_send(p, st, NULL);
}

static void say_presence(struct play *p)
{
	action_presence(p, draw(4) != 0, (int)draw(4) - 1);
}

/* The same as all others see: so that it does not matter whether the two are contacts. */
static void direct_presence(struct play *p)
{
	struct stanza *st;
	char text[16], to[ADDRESS];
	unsigned user = draw_other(p);

	if (!p->presence)
		return;
	tell("u%u/r%u shows presence %u to u%u", p->user, p->slot, p->presence, user);
	sim->had_directed[p->user][p->slot][user] = true;
	address_of(to, user, draw(SLOTS + 1));
	st = stanza_new(STANZA_PRESENCE, PRESENCE_AVAILABLE, NULL);
	snprintf(text, sizeof text, "%u", p->presence);
	element_add_text(st, st->root, "status", NULL, text);
	client_send(p, st, to);
}

/* ---- messages */

static struct sent *message_new(struct play *p, unsigned to, char id[16])
{
	unsigned n = sim->sent_count;

	if (n == MESSAGES)
		return NULL;
	sim->sent_count++;
	sim->sent[n] = (struct sent){ .from = p->user, .to = to, .play = p->number, .life = sim->life };
	snprintf(id, 16, "m%u.", n);
	return &sim->sent[n];
}

struct sent *action_message(struct play *p, unsigned to, unsigned slot, enum stanza_type type)
{
	struct stanza *st;
	struct sent *m;
	char id[16], address[ADDRESS];

	m = message_new(p, to, id);
	if (!m)
		return NULL;
	m->epoch = sim->epoch;
	m->sent_at = sim->steps;
	m->slot = slot;
	m->may_vanish = type == MESSAGE_HEADLINE || type == MESSAGE_GROUPCHAT;
	address_of(address, to, slot);
	tell("u%u/r%u sends %s to %s, type %u", p->user, p->slot, id, address, type);
	st = stanza_new(STANZA_MESSAGE, type, id);
	element_add_text(st, st->root, "body", NULL, id);
	client_send(p, st, address);
	return m;
}

static void send_message(struct play *p)
{
	static const enum stanza_type types[] = { MESSAGE_CHAT,   MESSAGE_CHAT,     MESSAGE_CHAT,
		                                  MESSAGE_NORMAL, MESSAGE_HEADLINE, MESSAGE_GROUPCHAT };
	unsigned to = ONE_IN(20) ? p->user : draw_other(p), slot = draw(5) ? SLOTS : draw(SLOTS);

	action_message(p, to, slot, types[draw(COUNT_OF(types))]);
}

/* To nobody, to the host, or without content. */
static void send_odd_message(struct play *p)
{
	struct stanza *st = stanza_new(STANZA_MESSAGE, MESSAGE_CHAT, "t");
	char address[ADDRESS];

	address_of(address, draw_other(p), SLOTS);
	if (draw(2)) {
		element_add(st, st->root, "composing", "http://jabber.org/protocol/chatstates");
		client_send(p, st, address);
		return;
	}
	element_add_text(st, st->root, "body", NULL, "to nobody");
	client_send(p, st, draw(2) ? "nobody@" SIM_HOST : SIM_HOST);
}

/* ---- contacts */

/* One change of a subscription in an epoch: two that cross on their way leave, by RFC 6121 itself, the
 * one side with a subscription that the other has not. */
static bool touch(unsigned a, unsigned b)
{
	if (sim->touched[a][b] || sim->touched[b][a])
		return false;
	sim->touched[a][b] = true;
	return true;
}

static void change_subscription(struct play *p)
{
	static const enum stanza_type types[] = { PRESENCE_SUBSCRIBE, PRESENCE_SUBSCRIBED,
		                                  PRESENCE_SUBSCRIBED, PRESENCE_UNSUBSCRIBE,
		                                  PRESENCE_UNSUBSCRIBED };
	unsigned to = draw_other(p), type = draw(COUNT_OF(types));
	char address[ADDRESS];

	if (!touch(p->user, to))
		return;
	tell("u%u/r%u subscription %u to u%u", p->user, p->slot, types[type], to);
	address_of(address, to, SLOTS);
	client_send(p, stanza_new(STANZA_PRESENCE, types[type], NULL), address);
}

static void change_roster(struct play *p)
{
	unsigned contact = draw_other(p);
	bool is_remove = draw(4) == 0 && touch(p->user, contact);
	struct element *query, *item;
	struct stanza *st = simple_question(p, IQ_SET, "query", "jabber:iq:roster", &query);

	tell("u%u/r%u roster %s u%u", p->user, p->slot, is_remove ? "remove" : "set", contact);
	item = element_add(st, query, "item", "jabber:iq:roster");
	element_setf(st, item, "jid", "u%u@" SIM_HOST, contact);
	if (is_remove)
		element_set(st, item, "subscription", "remove");
	else
		element_setf(st, item, "name", "name %u", draw(1000));
	client_send(p, st, NULL);
}

static void change_block(struct play *p)
{
	unsigned contact = draw_other(p);
	bool is_block = draw(2);
	struct element *list;
	struct stanza *st;

	if (!sim->profile.has_blocks)
		return;
	st = simple_question(p, IQ_SET, is_block ? "block" : "unblock", "urn:xmpp:blocking", &list);
	tell("u%u/r%u %s u%u", p->user, p->slot, is_block ? "blocks" : "unblocks", contact);
	sim->had_block[p->user][contact] |= is_block;
	if (is_block || draw(4)) /* else all of them */
		element_setf(st, element_add(st, list, "item", "urn:xmpp:blocking"), "jid", "u%u@" SIM_HOST,
		             contact);
	client_send(p, st, NULL);
}

/* ---- coming and going */

static void take_over(struct play *p)
{
	client_connect(p->user, p->slot);
}

void action_come_back(struct play *p)
{
	if (!p->has_roster)
		action_get_roster(p);
	get_blocks(p);
	action_presence(p, true, 0);
}

/* ---- administrators */

/* The account goes, comes, or is switched: for a while it may not be there. */
static bool alter_account(unsigned user)
{
	for (unsigned i = 0; i < USERS; i++)
		if (i != user && (sim->touched[user][i] || sim->touched[i][user]))
			return false;
	for (unsigned i = 0; i < USERS; i++)
		if (i != user)
			sim->touched[user][i] = true;
	sim->was_gone[user] = true;
	sim->gone_until[user] = sim->epoch + 1;
	return true;
}

static void job_end(struct account_job *job)
{
	tell("%s: done, %u", job->jid->text, job->result);
	jid_unref((struct jid *)(uintptr_t)job->jid);
	mem_free(job);
}

static struct account_job *job_new(unsigned user)
{
	struct account_job *job = mem_zalloc(sizeof *job);
	char name[8];

	snprintf(name, sizeof name, "u%u", user % USERS);
	*job = (struct account_job){ .reactor = world->reactors[0],
		                     .jid = jid_make(name, SIM_HOST, NULL),
		                     .farewell = "The administrator says so.",
		                     .done = job_end };
	return job;
}

static void on_account_written(void *arg, const struct rows *rows)
{
	struct account_job *job = arg;

	if (rows_status(rows) == STORE_OK)
		account_forget(job);
	else
		job_end(job);
}

static void write_account(unsigned user, const struct sql *sql)
{
	struct account_job *job = job_new(user);
	struct write *w = write_new(world->reactors[0]->store, 0);

	write_add(w, sql, PARAMS(P_TEXTN(job->jid->text, job->jid->local_len)));
	write_submit(w, on_account_written, job);
}

static const struct sql sql_add = { .name = "sim_add",
	                            .text = "insert into account (host, name) values (1, $1)"
	                                    " on conflict (host, name) do update set disabled = 0" };
static const struct sql sql_disable = { .name = "sim_disable",
	                                .text = "update account set disabled = 1 where name = $1" };

static void admin_account(void)
{
	unsigned user = draw(USERS);

	if (!alter_account(user))
		return;
	if (!ask_account(user)) {
		tell("the administrator adds or enables u%u", user);
		write_account(user, &sql_add);
	} else if (draw(2)) {
		tell("the administrator disables u%u", user);
		write_account(user, &sql_disable);
	} else {
		tell("the administrator removes u%u", user);
		account_remove(job_new(user));
	}
}

/* As its user does. */
static void remove_own_account(struct play *p)
{
	struct element *query;
	struct stanza *st;

	if (!sim->profile.has_admin || !alter_account(p->user))
		return;
	st = simple_question(p, IQ_SET, "query", "jabber:iq:register", &query);
	element_add(st, query, "remove", "jabber:iq:register");
	client_send(p, st, NULL);
}

static const struct sql sql_join = {
	.name = "sim_join",
	.text = "insert into contact_group_member select 1, id from account where name = $1"
		" on conflict (contact_group, account) do nothing",
};
static const struct sql sql_leave = {
	.name = "sim_leave",
	.text = "delete from contact_group_member where account = (select id from account where name = $1)",
};

static void on_group_read(void *arg, bool ok);

static void on_group_again(struct timer *t)
{
	mem_free(t);
	server_reload_group(world, 0, on_group_read, NULL);
}

/* Until the database has told. */
static void on_group_read(void *arg, bool ok)
{
	struct timer *t;

	if (ok)
		return;
	t = mem_alloc(sizeof *t);
	timer_init(t, on_group_again);
	timer_set(&world->reactors[0]->wheel, t, 1000);
	(void)arg;
}

static void on_group_written(void *arg, const struct rows *rows)
{
	(void)rows;
	server_reload_group(world, 1, on_group_read, arg);
}

static void admin_group(void)
{
	struct write *w = write_new(world->reactors[0]->store, 0);
	bool joins = draw(2);
	unsigned user = draw(USERS);
	char name[8];

	sim->had_group[user] |= joins;
	snprintf(name, sizeof name, "u%u", user);
	tell("the administrator: %s %s the group", name, joins ? "joins" : "leaves");
	write_add(w, joins ? &sql_join : &sql_leave, PARAMS(P_TEXT(name)));
	write_submit(w, on_group_written, NULL);
}

static const struct sql sql_befriend = {
	.name = "sim_befriend",
	.text =
	    "insert into roster (owner, contact, subscription) select a.id, b.name || '@" SIM_HOST "', 3"
	    " from account a, account b where (a.name = $1 and b.name = $2) or (a.name = $2 and b.name = "
	    "$1) on conflict (owner, contact) do update set subscription = 3, ask = 0, pending_in = 0,"
	    " in_roster = 1, request = null",
};

static void reload_all(struct reactor *r, void *arg)
{
	(void)arg;
	homes_reload(r, &(struct homes_changed){ .all = true });
}

static void on_befriended(void *arg, const struct rows *rows)
{
	(void)arg, (void)rows;
	for (unsigned i = 0; i < world->reactor_count; i++)
		reactor_post_run(world->reactors[0], i, reload_all, NULL);
}

/* By plain SQL: what live.c would do then. */
static void admin_befriend(void)
{
	struct write *w;
	unsigned a = draw(USERS), b = (a + 1 + draw(USERS - 1)) % USERS;
	char one[8], other[8];

	if (sim->was_gone[a] || sim->was_gone[b] || !touch(a, b))
		return;
	tell("the administrator makes u%u and u%u contacts", a, b);
	sim->had_sql[a][b] = sim->had_sql[b][a] = true;
	snprintf(one, sizeof one, "u%u", a);
	snprintf(other, sizeof other, "u%u", b);
	w = write_new(world->reactors[0]->store, 0);
	write_add(w, &sql_befriend, PARAMS(P_TEXT(one), P_TEXT(other)));
	write_submit(w, on_befriended, NULL);
}

static void admin_any(void)
{
	static void (*const acts[])(void) = { admin_account, admin_group, admin_group, admin_befriend };

	acts[draw(COUNT_OF(acts))]();
}

/* ---- which one */

static const struct {
	unsigned share; /* of 100 */
	void (*act)(struct play *p);
} acts[] = {
	{ 42, send_message },
	{ 3, send_odd_message },
	{ 13, say_presence },
	{ 3, direct_presence },
	{ 10, change_subscription },
	{ 6, change_roster },
	{ 4, action_get_roster },
	{ 4, ask_about },
	{ 1, store_privately },
	{ 1, set_wishes },
	{ 1, set_vcard },
	{ 1, set_password },
	{ 4, change_block },
	{ 1, remove_own_account },
	{ 4, client_die },
	{ 2, take_over },
};

void action_any(void)
{
	unsigned user = draw(USERS), slot = ONE_IN(3), what = draw(100);
	struct play *p = client_at(user, slot);

	sim->actions++;
	if (sim->profile.has_admin && ONE_IN(15)) {
		admin_any();
		return;
	}
	if (sim->profile.has_sm && p && p->state == BOUND && ONE_IN(12)) {
		client_die(p);
		return;
	}
	if (!p || p->state == DEAD) {
		client_connect(user, slot);
	} else if (p->state != BOUND) {
		if (ONE_IN(10))
			client_die(p);
	} else if (!p->has_roster && !p->presence && draw(3)) {
		action_come_back(p);
	} else {
		for (unsigned i = 0; i < COUNT_OF(acts); i++) {
			if (what < acts[i].share) {
				acts[i].act(p);
				return;
			}
			what -= acts[i].share;
		}
	}
}
