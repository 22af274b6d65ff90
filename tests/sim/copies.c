/* copies.c - clients that have asked for copies of what their user's other client sends and gets (XEP-0280): each
 * message is there once, as itself or as a copy, and in the order in which it was sent. */
#include "home.h"
#include "sim.h"

#define FORWARD_NS "urn:xmpp:forward:0"

void copies_begin(struct play *p)
{
	struct stanza *st;

	if (!sim->profile.has_copies || ONE_IN(4) || sim->question_count == QUESTIONS)
		return;
	st = question_new(p, IQ_SET);
	element_add(st, st->root, "enable", CARBONS_NS);
	p->copies_asked = sim->question_count;
	client_send(p, st, NULL);
}

void copies_answered(struct play *p, unsigned question)
{
	if (p->copies_asked == question + 1)
		p->copies_since = sim->steps;
}

void copies_presence(struct play *p, bool is_available, int priority)
{
	p->may_be_reached = is_available && priority >= 0;
	if (!p->may_be_reached)
		p->reached_since = 0;
}

void copies_reached(struct play *p)
{
	if (p->may_be_reached && !p->reached_since && p->view[p->user][p->slot] == p->presence)
		p->reached_since = sim->steps;
}

/* ---- what they see */

static const struct element *copy_of(const struct stanza *st, bool *is_sent)
{
	const struct element *sent, *copy;

	if (st->kind != STANZA_MESSAGE)
		return NULL;
	sent = element_child(st->root, "sent", CARBONS_NS);
	copy = sent ? sent : element_child(st->root, "received", CARBONS_NS);
	*is_sent = sent != NULL;
	return copy ? element_first(element_child(copy, "forwarded", FORWARD_NS)) : NULL;
}

bool copy_number(const struct stanza *st, unsigned *n, bool *is_sent)
{
	const struct element *message = copy_of(st, is_sent);
	const char *id = message ? element_get(message, "id") : NULL,
		   *type = message ? element_get(message, "type") : NULL;

	return id && sscanf(id, "m%u.", n) == 1 && *n < sim->sent_count &&
	       !(type && strcmp(type, "error") == 0);
}

/* Who cannot be reached gets a copy of what waits, perhaps before older ones, and gets that when he can be. What a
 * replay has given to one session others have as a copy already; when that session's stream gives it back they may
 * get it all the same. */
bool copies_may_repeat(const struct play *p, unsigned n)
{
	return p->may_repeat[n] || (sim->profile.has_copies && sim->sent[n].was_returned);
}

bool copies_see(struct play *p, const struct stanza *st)
{
	struct sent *m;
	bool is_sent;
	unsigned n;

	if (!copy_number(st, &n, &is_sent))
		return copy_of(st, &is_sent) != NULL; /* of an error, or a typing notice */
	is_sent = is_sent && sim->sent[n].to != p->user;
	tell("u%u/r%u reads a copy of m%u on stream %u", p->user, p->slot, n, p->number);
	m = &sim->sent[n];
	if ((is_sent ? m->from : m->to) != p->user || m->play == p->number)
		fail("a copy of m%u was delivered to u%u/r%u", n, p->user, p->slot);
	if (!p->copies_asked)
		fail("u%u/r%u has a copy of m%u, and has not asked for any", p->user, p->slot, n);
	if (p->seen[n] && !m->was_returned)
		fail("m%u was delivered twice to u%u/r%u, and this is a copy", n, p->user, p->slot);
	p->seen[n] = true;
	p->may_repeat[n] = !is_sent && !p->reached_since;
	m->delivered += !is_sent;
	if (!p->may_repeat[n] && is_out_of_order(p, n, is_sent ? SLOTS + 1 : m->slot))
		fail("a copy of m%u was delivered after m%u", n,
		     p->newest[m->play][is_sent ? SLOTS + 1 : m->slot] - 1);
	return true;
}

/* ---- the end */

/* What was for its user while it could not be reached waits for one of the sessions, and only that one gets it; so does
 * what a database that fails has kept back. */
static bool is_due(const struct play *p, const struct sent *m)
{
	if (m->life != sim->life || !m->is_recorded || m->is_refused || m->may_vanish ||
	    m->play == p->number || m->sent_at <= p->copies_since)
		return false;
	if (m->to == p->user)
		return !sim->profile.has_faults && p->reached_since && m->sent_at > p->reached_since &&
		       !sim->had_block[m->to][m->from];
	return m->from == p->user;
}

void check_copies(struct play *p)
{
	for (unsigned n = 0; p->copies_since && n < sim->sent_count; n++)
		if (is_due(p, &sim->sent[n]) && !p->seen[n])
			fail("u%u/r%u has asked for copies, and has none of m%u", p->user, p->slot, n);
}
