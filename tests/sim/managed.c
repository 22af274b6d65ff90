/* managed.c - clients with stream management (XEP-0198): they count, answer when they are asked, and resume the
 * sessions of streams that have died, sending again what the server had not got. What it has acknowledged is on
 * record. */
#include "home.h"
#include "sim.h"
#include "sm.h"

/* Something it has sent, as long as that is not acknowledged. */
struct saying {
	struct saying *next;
	struct stanza *stanza;
	char to[48]; /* "": it had none */
};

static struct stanza *h_new(const char *name, uint32_t h)
{
	struct stanza *st = stanza_new_other(name, SM_NS);

	element_setf(st, st->root, "h", "%u", h);
	return st;
}

static void manage(struct play *p, struct stanza *st)
{
	struct envelope *e = client_to_home(p, ENV_MANAGE);

	e->stanza = stanza_seal(st);
	client_post_home(p, e);
}

void managed_begin(struct play *p)
{
	struct stanza *enable;

	if (!sim->profile.has_sm || ONE_IN(3))
		return;
	enable = stanza_new_other("enable", SM_NS);
	element_set(enable, enable->root, "resume", "true");
	p->is_counting = true;
	p->last = &p->first;
	manage(p, enable);
}

void managed_answer(struct play *p)
{
	if (!p->is_slow || draw(2))
		manage(p, h_new("a", p->handled));
}

void managed_say(struct play *p, struct stanza *st, const char *to)
{
	struct saying *s = mem_zalloc(sizeof *s);

	s->stanza = stanza_ref(st);
	if (to)
		snprintf(s->to, sizeof s->to, "%s", to);
	*p->last = s;
	p->last = &s->next;
}

static void saying_drop(struct play *p)
{
	struct saying *s = p->first;

	p->first = s->next;
	if (!p->first)
		p->last = &p->first;
	stanza_unref(s->stanza);
	mem_free(s);
}

void managed_end(struct play *p)
{
	while (p->first && p->is_counting)
		saying_drop(p);
	p->is_counting = p->may_resume = false;
	*p->previd = 0;
}

/* Nothing is acknowledged that is not on record, but what is refused; of what goes to somebody whom its sender blocks
 * the error may still be on its way. */
static void check_acked(const struct stanza *st)
{
	struct sent *m;
	unsigned n;

	if (!st->id || sscanf(st->id, "m%u.", &n) != 1 || st->kind != STANZA_MESSAGE)
		return;
	m = &sim->sent[n];
	m->is_acked = true;
	if (!m->may_vanish && !m->is_refused && !sim->had_block[m->from][m->to] && !world_has_record(n))
		fail("m%u is acknowledged, and is not on record", n);
}

static void see_h(struct play *p, const struct stanza *st)
{
	uint32_t h;

	ASSERT(sm_read_h(st, &h));
	for (; p->acked != h && p->first; p->acked++) {
		check_acked(p->first->stanza);
		saying_drop(p);
	}
	if (p->acked != h)
		fail("u%u/r%u has sent %u stanzas, and %u are acknowledged", p->user, p->slot, p->acked, h);
}

void managed_see(struct play *p, const struct stanza *st)
{
	tell("u%u/r%u gets %.*s", p->user, p->slot, (int)st->bytes_len, st->bytes);
	if (element_is(st->root, "enabled", SM_NS)) {
		snprintf(p->previd, sizeof p->previd, "%s", element_get(st->root, "id"));
		p->handled = 0;
	} else if (element_is(st->root, "a", SM_NS)) {
		see_h(p, st);
	} else if (element_is(st->root, "resumed", SM_NS)) {
		see_h(p, st);
		p->state = BOUND;
		for (const struct saying *s = p->first; s; s = s->next)
			client_say(p, stanza_ref(s->stanza), *s->to ? s->to : NULL);
	}
	if (p->is_counting && ONE_IN(4))
		manage(p, stanza_new_other("r", SM_NS));
}

bool managed_resume(struct play *p)
{
	struct reactor *r;
	struct envelope *e;
	struct stanza *resume;

	if (p->state != DEAD) /* another takes its resource */
		return false;
	if (!p->may_resume || ONE_IN(4)) {
		managed_end(p);
		return false;
	}
	p->reactor = draw(world->reactor_count);
	r = world->reactors[p->reactor];
	p->state = RESUMING;
	p->id = r->next_id++;
	p->session = r->next_id++;
	tell("u%u/r%u resumes on stream %u", p->user, p->slot, p->number);
	resume = h_new("resume", p->handled);
	element_set(resume, resume->root, "previd", p->previd);
	e = client_to_home(p, ENV_RESUME);
	e->stanza = stanza_seal(resume);
	e->count = p->handled;
	client_post_home(p, e);
	return true;
}
