/* check.c - what must be so. Each invariant is a function that calls fail() with a sentence; what a run
 * may leave open (a sender who was killed, two who block each other) is asked for first. */
#include "home.h"
#include "sim.h"

/* ---- at each delivery */

/* Nothing is delivered that is not on record: not when it is handed to a stream, which is before any
 * client has it. */
void check_delivery(const struct play *p, const struct envelope *e)
{
	const struct stanza *st = e->stanza;
	bool is_sent;
	unsigned n;

	if (copy_number(st, &n, &is_sent) && !sim->sent[n].may_vanish &&
	    !(is_sent ? world_has_record(n) : world_has_entry(p->account, e->entry, n)))
		fail("m%u is copied to u%u/r%u, and is not on record", n, p->user, p->slot);
	if (st->kind != STANZA_MESSAGE || st->type == MESSAGE_ERROR || !st->id ||
	    sscanf(st->id, "m%u.", &n) != 1 || sim->sent[n].may_vanish)
		return;
	if (!e->entry)
		fail("m%u is delivered to u%u/r%u without an entry", n, p->user, p->slot);
	else if (p->account && !world_has_entry(p->account, e->entry, n))
		fail("m%u is delivered to u%u/r%u, and its entry is not on record", n, p->user, p->slot);
}

/* ---- after a kill */

void check_lost(void)
{
	for (unsigned n = 0; n < sim->sent_count; n++) {
		struct sent *m = &sim->sent[n];

		if (m->is_refused || m->is_lost || m->may_vanish || world_has_record(n))
			continue;
		m->is_lost = true;
		if (m->delivered)
			fail("m%u was read, and is not on record after the kill", n);
		if (m->is_acked)
			fail("m%u was acknowledged, and is not on record after the kill", n);
	}
}

/* ---- between epochs */

void check_rest(void)
{
	if (*sim->failure)
		return;
	if (ask("select count(*) from transit") != 0)
		fail("%d stanzas are still in transit, the first to u%d",
		     (int)ask("select count(*) from transit"),
		     (int)ask("select cast(substr(recipient, 2, 1) as int) from transit"));
	if (fault_owed() != 0)
		fail("%u continuations have not run", fault_owed());
}

/* ---- messages */

static bool may_have_vanished(const struct sent *m)
{
	return m->may_vanish || m->epoch < sim->gone_until[m->to] || !ask_account(m->to) ||
	       sim->had_block[m->to][m->from];
}

/* The sender's and the recipient's, which says by `passing` who does not keep it. */
static void check_entries(unsigned n, unsigned records)
{
	const struct sent *m = &sim->sent[n];
	bool is_own = m->from == m->to, was_kept = !sim->keeps_not[m->from];
	int64_t passing = !sim->keeps_not[m->to] ? 0 : was_kept && !is_own ? 1 : 2;
	int64_t sent = ask("select count(*) from entry e join record r on r.id = e.record"
	                   " join account a on a.id = e.owner where instr(r.stanza, '>m%u.<') and"
	                   " a.name = 'u%u' and is_out = 1 and passing = 0",
	                   n, m->from);
	int64_t got = ask("select count(*) from entry e join record r on r.id = e.record"
	                  " join account a on a.id = e.owner where instr(r.stanza, '>m%u.<') and"
	                  " a.name = 'u%u' and is_out = 0 and passing = %d",
	                  n, m->to, (int)passing);

	if (records != 1 || sent != (was_kept && !is_own) || got != 1)
		fail("m%u has %u records, and the entries of %d who sent and %d who got it", n, records,
		     (int)sent, (int)got);
}

static void check_message(unsigned n)
{
	struct sent *m = &sim->sent[n];
	int64_t records = ask("select count(*) from record where instr(stanza, '>m%u.<')", n);
	bool was_gone = sim->was_gone[m->from] || sim->was_gone[m->to];

	m->is_recorded = records == 1;
	if (m->is_refused && m->delivered && !m->was_returned && sim->life == 1)
		fail("m%u was refused, and u%u has read it", n, m->to);
	/* What its sender's session had sent when the account went, or was disabled, was never taken. */
	if (records == 0 && m->epoch < sim->gone_until[m->from])
		return;
	if (m->is_refused || m->is_lost || m->may_vanish ||
	    (sim->plays[m->play].is_replaced && records == 0))
		return;
	if (!was_gone && !may_have_vanished(m))
		check_entries(n, (unsigned)records);
	else if (records > 1 || (records == 0 && !sim->keeps_not[m->from]))
		fail("m%u has %d records", n, (int)records);
	if (m->delivered == 0 && !may_have_vanished(m))
		fail("m%u has not been delivered to u%u", n, m->to);
}

static void check_question(unsigned n)
{
	const struct question *q = &sim->questions[n];
	const struct play *p = &sim->plays[q->play];

	if (q->to < USERS && (sim->had_block[q->to][p->user] || sim->had_block[p->user][q->to]))
		return; /* whose answers it does not get any more */
	if (!q->is_answered && p->state == BOUND && p->life == sim->life)
		fail("q%u of u%u/r%u has not been answered", n, p->user, p->slot);
}

/* ---- contacts: RFC 6121 appendix A, both sides */

static unsigned given(unsigned a, unsigned b)
{
	return a != b &&
	               ask("select count(*) from contact_group_member m join account a on a.id = m.account"
	                   " where a.name in ('u%u', 'u%u') and a.disabled = 0",
	                   a, b) == 2
	           ? SUB_BOTH
	           : SUB_NONE;
}

/* What is too much for a mailbox is dropped; a request, or its answer, when a group makes it needless
 * meanwhile; and of two who are made contacts by SQL one may hear a probe before he knows. */
static bool may_disagree(unsigned a, unsigned b)
{
	return sim->profile.has_small_mailbox || (sim->had_group[a] && sim->had_group[b]) ||
	       sim->had_sql[a][b];
}

static void check_pair(unsigned a, unsigned b)
{
	unsigned mine = (unsigned)ask_contact(a, b, "subscription");
	unsigned theirs = (unsigned)ask_contact(b, a, "subscription");
	bool asks = ask_contact(a, b, "ask") == 1, waits = ask_contact(b, a, "pending_in") == 1;

	if (sim->had_block[a][b] || sim->had_block[b][a] || may_disagree(a, b))
		return;
	if (!(mine & SUB_TO) != !(theirs & SUB_FROM))
		fail("u%u has subscription %u to u%u, who has %u", a, mine, b, theirs);
	if (asks != waits && !sim->was_gone[a] && !sim->was_gone[b])
		fail("u%u %s for u%u, where %s", a, asks ? "waits" : "does not wait", b,
		     waits ? "a request waits" : "no request waits");
	if ((asks && mine & SUB_TO) || (waits && theirs & SUB_FROM))
		fail("u%u waits for u%u, and has it already", a, b);
}

static void check_roster(const struct play *p, unsigned contact)
{
	const struct contact *seen = &p->roster[contact];
	unsigned group = given(p->user, contact);
	unsigned subscription = (unsigned)ask_contact(p->user, contact, "subscription") | group;
	bool is_in = ask_contact(p->user, contact, "in_roster") == 1 || group;
	bool asks = ask_contact(p->user, contact, "ask") == 1 && !group;

	if (is_in != seen->is_in)
		fail("u%u/r%u %s shown u%u, which %s in its roster", p->user, p->slot,
		     seen->is_in ? "was" : "was not", contact, is_in ? "is" : "is not");
	else if (is_in && (seen->subscription != subscription || seen->asks != asks))
		fail("u%u/r%u was shown u%u with %u%s, and has %u%s", p->user, p->slot, contact,
		     seen->subscription, seen->asks ? " asked" : "", subscription, asks ? " asked" : "");
}

/* ---- presence */

static bool blocks(unsigned a, unsigned b)
{
	return ask("select count(*) from block where owner = (select id from account where name = 'u%u')"
	           " and address = 'u%u@" SIM_HOST "'",
	           a, b) == 1;
}

static unsigned presence_of(unsigned user, unsigned slot)
{
	const struct play *p = client_at(user, slot);

	return p && p->state == BOUND && p->life == sim->life ? p->presence : 0;
}

static void check_presence(const struct play *p, unsigned contact)
{
	unsigned to = (unsigned)ask_contact(p->user, contact, "subscription") | given(p->user, contact);
	bool sees = contact == p->user || (to & SUB_TO);

	if ((may_disagree(p->user, contact) || sim->had_block[p->user][contact]) && !(to & SUB_TO) &&
	    (ask_contact(contact, p->user, "subscription") & SUB_FROM))
		return;
	if (blocks(p->user, contact) || blocks(contact, p->user))
		sees = false;
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		unsigned seen = p->view[contact][slot], truth = sees ? presence_of(contact, slot) : 0;

		if (seen == truth)
			continue;
		if (!sees && sim->had_directed[contact][slot][p->user])
			continue; /* it need not be renewed; or taken back, where the other says it goes */
		if (!sees && sim->had_block[p->user][contact])
			continue; /* who has not asked for the list is not told that it changes */
		fail("u%u/r%u sees presence %u of u%u/r%u, which is %u", p->user, p->slot, seen, contact,
		     slot, truth);
	}
}

/* Requests that wait are shown to every session (section 3.1.3). */
static void check_asked(const struct play *p, unsigned contact)
{
	if (ask_contact(p->user, contact, "pending_in") == 1 && !p->was_asked[contact] &&
	    !sim->had_block[p->user][contact]) /* after an unblock it waits for the next session */
		fail("u%u/r%u was not shown that u%u asks", p->user, p->slot, contact);
}

/* ---- the whole */

static void each_client(void (*look)(struct play *p))
{
	for (unsigned i = 0; i < USERS * SLOTS; i++) {
		struct play *p = client_at(i / SLOTS, i % SLOTS);

		if (p && p->state == BOUND && !*sim->failure)
			look(p);
	}
}

static void look_at(struct play *p)
{
	for (unsigned i = 0; i < USERS; i++) {
		if (i != p->user)
			check_roster(p, i);
		if (sim->profile.has_small_mailbox)
			continue;
		check_presence(p, i);
		check_asked(p, i);
	}
}

static void look_at_roster(struct play *p)
{
	for (unsigned i = 0; i < USERS; i++)
		if (i != p->user)
			check_roster(p, i);
}

void check_end(void)
{
	for (unsigned i = 0; i < USERS * SLOTS; i++) {
		const struct play *p = client_at(i / SLOTS, i % SLOTS);

		if (ask_account(i / SLOTS) && (!p || p->state != BOUND))
			fail("u%u/r%u cannot come back", i / SLOTS, i % SLOTS);
	}
	check_rest();
	for (unsigned i = 0; i < sim->sent_count; i++)
		check_message(i);
	for (unsigned i = 0; i < sim->question_count; i++)
		check_question(i);
	for (unsigned i = 0; i < USERS * USERS; i++)
		if (i / USERS != i % USERS)
			check_pair(i / USERS, i % USERS);
	each_client(check_copies);
	each_client(look_at); /* what they were told by pushes */
	each_client(action_get_roster);
	loop_rest();
	each_client(look_at_roster); /* and what the homes say */
}

void check_homes_gone(void)
{
	for (unsigned i = 0; i < world->reactor_count; i++) {
		struct hash_node *n = NULL;

		while ((n = hash_walk(&world->reactors[i]->homes, n))) {
			const struct home *h = CONTAINER_OF(n, struct home, node);

			if (h->kind == HOME_USER)
				fail(
				    "the home of %s does not fall asleep: state %u, %u sessions, %u passes,"
				    " %u in its mailbox",
				    h->jid->text, h->state, h->session_count, h->passes, h->mailbox.count);
		}
	}
}
