/* sm.c - the two counts of stream management: see sm.h. Knows no session and no stream. */
#include "sm.h"

#define RING_MIN 8

/* ---- in */

static uint64_t *slot_of(const struct sm_in *in, uint64_t n)
{
	return &in->ring[n & (in->cap - 1)];
}

static void ring_grow(struct sm_in *in)
{
	struct sm_in bigger = *in;

	bigger.cap = in->cap ? 2 * in->cap : RING_MIN;
	bigger.ring = mem_zalloc(bigger.cap * sizeof *bigger.ring);
	for (uint64_t n = in->handled + 1; n <= in->arrived; n++)
		*slot_of(&bigger, n) = *slot_of(in, n);
	mem_free(in->ring);
	*in = bigger;
}

uint64_t sm_in_arrive(struct sm_in *in)
{
	if (in->arrived - in->handled >= in->cap)
		ring_grow(in);
	*slot_of(in, ++in->arrived) = 0;
	return in->arrived;
}

static void counts_go_on(struct sm_in *in)
{
	while (in->kept < in->arrived && *slot_of(in, in->kept + 1))
		in->kept++;
	while (in->done < in->kept && *slot_of(in, in->done + 1) != SM_KEPT)
		in->done++;
}

static bool is_done(const struct sm_in *in, uint64_t n)
{
	return n <= in->done || (*slot_of(in, n) && *slot_of(in, n) != SM_KEPT);
}

void sm_in_kept(struct sm_in *in, uint64_t n)
{
	ASSERT(n <= in->arrived && !is_done(in, n));
	*slot_of(in, n) = SM_KEPT;
	counts_go_on(in);
}

void sm_in_done(struct sm_in *in, uint64_t n, uint64_t ticket)
{
	ASSERT(n <= in->arrived && !is_done(in, n));
	*slot_of(in, n) = ticket + 1;
	counts_go_on(in);
}

/* A ring that has grown goes when nothing is in it. */
uint64_t sm_in_handled(struct sm_in *in, uint64_t committed)
{
	while (in->handled < in->done && *slot_of(in, in->handled + 1) <= committed + 1)
		in->handled++;
	if (in->handled == in->arrived && in->cap > RING_MIN) {
		mem_free(in->ring);
		in->ring = NULL;
		in->cap = 0;
	}
	return in->handled;
}

/* ---- out */

struct unacked *sm_out_add(struct sm_out *out, const struct envelope *e, int64_t now)
{
	struct unacked *u = mem_alloc(sizeof *u);

	*u = (struct unacked){
		.stanza = stanza_ref(e->stanza),
		.from = e->from ? jid_ref(e->from) : NULL,
		.to = e->to ? jid_ref(e->to) : NULL,
		.entry = e->entry,
		.since = now,
		.copies = e->count,
	};
	if (out->last)
		out->last->next = u;
	else
		out->head = u;
	out->last = u;
	out->sent++;
	out->bytes += u->stanza->bytes_len + UNACKED_OVERHEAD;
	return u;
}

enum sm_verdict sm_out_judge(const struct sm_out *out, uint32_t h)
{
	uint32_t more = h - (uint32_t)out->acked;

	if (more <= sm_out_count(out))
		return SM_ACKS;
	return more > UINT32_MAX / 2 ? SM_GOES_BACK : SM_TOO_HIGH;
}

struct unacked *sm_out_take(struct sm_out *out)
{
	struct unacked *u = out->head;

	if (!u)
		return NULL;
	out->head = u->next;
	if (!out->head)
		out->last = NULL;
	out->acked++;
	out->bytes -= u->stanza->bytes_len + UNACKED_OVERHEAD;
	return u;
}

void unacked_free(struct unacked *u)
{
	stanza_unref(u->stanza);
	jid_unref(u->from);
	jid_unref(u->to);
	mem_free(u);
}
