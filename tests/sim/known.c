/* known.c - what has gone wrong once, or was thought of, and takes too much luck to be left to seeds: played step by
 * step, without faults. What must be so at the end is looked at as behind any seed. */
#include "sim.h"

static struct play *come(unsigned user, unsigned slot, bool is_stuck)
{
	struct play *p;

	client_connect(user, slot);
	p = client_at(user, slot);
	p->is_slow = false;
	p->is_stuck = is_stuck;
	loop_turn();
	action_presence(p, true, 0);
	loop_turn();
	return p;
}

static void chat(struct play *p, unsigned to, unsigned slot)
{
	action_message(p, to, slot, MESSAGE_CHAT);
	loop_turn();
}

static void die(struct play *p)
{
	p->is_stuck = false;
	client_die(p);
	loop_turn();
}

static void pass(unsigned ms)
{
	int64_t until = sim->now + (int64_t)ms * 1000;

	loop_turn();
	while (sim->now < until && loop_time((uint64_t)(until - sim->now) / 1000))
		loop_turn();
}

/* Two sessions give back the same message, the second when another one waits for its record and the mark has been
 * stored meanwhile. It had to wait, and was taken for the first one that comes back. */
static void back_behind_a_record(void)
{
	struct play *from = come(0, 0, false), *one = come(1, 0, true), *other = come(1, 1, true);

	chat(from, 1, SLOTS);
	die(one);
	sim->is_holding = true;
	chat(from, 1, SLOTS);
	die(other);
	pass(5000);
	sim->is_holding = false;
}

/* A message for one session alone is left to the replay that it reads; then it does not want to be reached. The next
 * one must not come before that. */
static void left_to_a_replay(void)
{
	struct play *from = come(0, 0, false), *to;

	for (unsigned i = 0; i < 60; i++) /* more than a page */
		chat(from, 1, SLOTS);
	to = come(1, 0, true);
	chat(from, 1, 0);
	action_presence(to, true, -1);
	loop_turn();
	chat(from, 1, 0);
	to->is_stuck = false;
}

const struct known known[] = {
	{ "back-behind-a-record", 1, false, back_behind_a_record },
	{ "left-to-a-replay", 1, false, left_to_a_replay },
	{ 0 },
};
