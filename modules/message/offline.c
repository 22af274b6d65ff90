/* offline.c - XEP-0160 without a second copy: what is offline is the entries of the owner's index that no session has
 * taken. mark.c knows which, replay.c sends them to the first session that can be reached; here is what both of them
 * learn: of messages that arrive or come back, of sessions that come, read and go. */
#include "offline.h"

#define TICK_MS 500

struct restored {
	struct offline *offline;
	int64_t mark; /* below all that is not acknowledged */
};

/* ---- its timer */

/* Stores the mark, and looks after a replay that stands still. */
static enum verdict on_tick(struct ctx *c)
{
	struct offline *o = home_data(c);

	o->is_timing = false;
	if (!o->is_settling && o->written < mark_of(o))
		mark_settle(c, o);
	mark_move(c, o);
	if (o->reader)
		return replay_watch(c, o);
	if (!o->is_stalled)
		return DONE;
	o->is_stalled = o->is_replaying = false;
	return replay_start(c, o);
}

void offline_tick_soon(struct ctx *c, struct offline *o)
{
	if (o->is_timing)
		return;
	o->is_timing = true;
	home_timer(c, on_tick, TICK_MS);
}

/* ---- messages */

bool offline_may_deliver(struct ctx *c, struct session *s)
{
	struct offline *o = home_data(c);

	/* A replay may have read it between its commit and now; then it has been delivered already. */
	if (!c->is_returned && c->entry <= o->taken && !mark_is_waiting(o, c->entry))
		return false;
	if (c->entry > o->newest)
		o->newest = c->entry;
	if (c->is_passing)
		o->passing = c->entry;
	if (s && !session_is_reachable(s) ? c->is_returned || !replay_is_left(o, s) : !o->is_replaying)
		return true;
	o->must_repeat |= c->is_returned; /* the replay may have passed it */
	if (s && !c->is_returned)
		s->left = c->entry;
	mark_waiting(o, c->entry);
	return false;
}

void offline_note(struct ctx *c, unsigned copies)
{
	struct offline *o = home_data(c);

	if (copies)
		mark_taken(o, c->entry, !o->has_older);
	else
		mark_waiting(o, c->entry);
	mark_soon(c, o);
}

bool offline_owes_copies(struct ctx *c)
{
	struct offline *o = home_data(c);

	return mark_is_waiting(o, c->entry) && mark_owe(o, c->entry);
}

bool offline_all_returned(struct ctx *c)
{
	if (c->copies <= 1)
		return true;
	if (!c->entry)
		return false; /* another session has it, most likely, and nobody kept count */
	return mark_is_last_copy(home_data(c), c->entry, c->copies);
}

enum verdict offline_again(struct ctx *c)
{
	struct offline *o = home_data(c);

	mark_waiting(o, c->entry);
	mark_soon(c, o);
	o->must_repeat |= o->is_replaying;
	return replay_start(c, o) == HELD ? HELD : DONE;
}

/* ---- sessions */

enum verdict offline_on_reachable(struct ctx *c)
{
	return replay_start(c, home_data(c));
}

static void on_unacknowledged(void *arg, int64_t entry)
{
	struct restored *restored = arg;

	mark_taken(restored->offline, entry, false);
	if (entry <= restored->mark)
		restored->mark = entry - 1;
}

/* A session is there again, as it was when the server stopped: what its client has not acknowledged is
 * delivered, but the stored mark must not cover it until it is. */
enum verdict offline_on_restored(struct ctx *c)
{
	struct offline *o = home_data(c);
	struct restored restored = { o, o->stored };

	session_unacknowledged(c->session, on_unacknowledged, &restored);
	mark_store(c, o, restored.mark);
	mark_soon(c, o);
	return session_is_reachable(c->session) ? replay_start(c, o) : PASS;
}

enum verdict offline_on_settled(struct ctx *c)
{
	struct offline *o = home_data(c);

	mark_settled(c, o);
	if (!o->is_timing)
		mark_move(c, o);
	if (o->reader != c->session->id || c->session->unsettled)
		return PASS;
	o->reader = 0;
	return replay_next(c, o);
}

enum verdict offline_on_gone(struct ctx *c)
{
	struct offline *o = home_data(c);

	/* What has not arrived comes back behind this: the mark stays where it is until that is here. */
	o->is_settling = false;
	o->is_timing = true;
	home_timer(c, on_tick, TICK_MS);
	if (o->reader != c->session->id)
		return PASS;
	o->reader = 0;
	replay_stall(c, o);
	return PASS;
}

/* No session is left: what they did not write has come back before they went. Or the server stops, and what is
 * left is stored with what it has not been acknowledged: then what has come back in part waits, as nobody would
 * know any more when the rest of it does. */
enum verdict offline_on_sleep(struct ctx *c)
{
	struct offline *o = home_data(c);

	if (!list_is_empty(home_sessions(c->home)))
		mark_partials_wait(o);
	mark_store(c, o, mark_of(o));
	return PASS;
}

void offline_free(void *data)
{
	struct offline *o = data;

	mark_free(o);
	mem_free(o->copied);
}
