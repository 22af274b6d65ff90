/* tell.c - who is told of a change that others have made: clients by a push, contacts by presence.
 *
 * A greeting waits for a moment. Most such changes have two sides, a friendship or a group's new member,
 * and each home learns of its own: clients should have the contact before they get his presence. And
 * whoever joins a group of thousands gets them, and greets them, in portions: that his clients can take it,
 * and that others do not wait for it. */
#include "roster_parts.h"

#define GREET_MS 300
#define PORTION 500 /* and the next one after GREET_MS */

void roster_data_free(void *data)
{
	struct roster_data *d = data;

	for (unsigned i = d->told_at; i < d->told_count; i++)
		jid_unref(d->told[i].jid);
	mem_free(d->told);
	*d = (struct roster_data){ 0 };
}

void roster_push_contact(struct ctx *c, struct jid *contact)
{
	struct roster_item gone = { .jid = contact }, *item = roster_find(home_roster(c->home), contact);

	roster_push(c, item ? item : &gone);
}

void roster_take_leave(struct ctx *c, const struct jid *contact)
{
	struct session *s;

	SESSION_EACH (s, c->home)
		if (s->presence)
			route(c, s->full, contact, stanza_presence(PRESENCE_UNAVAILABLE));
}

static void tell(struct ctx *c, const struct told *t)
{
	struct session *s;

	if (t->is_push)
		roster_push_contact(c, t->jid);
	if (!roster_sees_us(roster_find(home_roster(c->home), t->jid)))
		return;
	SESSION_EACH (s, c->home)
		if (s->presence)
			route(c, s->full, t->jid, stanza_ref(s->presence));
}

bool roster_has_pushes(struct ctx *c)
{
	return ((struct roster_data *)home_data(c))->pushes > 0;
}

static enum verdict on_tell(struct ctx *c)
{
	struct roster_data *d = home_data(c);

	for (unsigned n = 0; n < PORTION && d->told_at < d->told_count; n++) {
		struct told t = d->told[d->told_at++];

		d->pushes -= t.is_push;
		home_roster(c->home)->is_partial = d->pushes > 0;
		tell(c, &t);
		jid_unref(t.jid);
	}
	if (d->told_at < d->told_count)
		home_timer(c, on_tell, GREET_MS);
	else
		roster_data_free(d);
	return DONE;
}

static void tell_later(struct ctx *c, const struct jid *contact, bool is_push)
{
	struct roster_data *d = home_data(c);

	if (d->told_count == 0)
		home_timer(c, on_tell, GREET_MS);
	if ((d->told_count & (d->told_count - 1)) == 0) /* full: it grows by doubling */
		d->told =
		    mem_realloc(d->told, (d->told_count ? 2 * (size_t)d->told_count : 1) * sizeof *d->told);
	d->told[d->told_count++] = (struct told){ jid_ref(contact), is_push };
	d->pushes += is_push;
}

/* Whoever becomes available later tells his contacts anyway. */
void roster_greet(struct ctx *c, const struct jid *contact)
{
	struct session *s;

	SESSION_EACH (s, c->home)
		if (s->presence) {
			tell_later(c, contact, false);
			return;
		}
}

void roster_push_later(struct ctx *c, const struct jid *contact)
{
	tell_later(c, contact, true);
}
