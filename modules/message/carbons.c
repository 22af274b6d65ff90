/* carbons.c - XEP-0280: what one of a user's clients sends or gets, his others get as a copy, if they have asked
 * for that. A copy is made where the message is delivered, of what is delivered, and for one session: it is never
 * put on record and never copied. */
#include "offline.h"

#include <string.h>

#define MUC_NS "http://jabber.org/protocol/muc#user"

/* ---- who wants copies */

/* Section 4: `not-allowed` for anybody but the account's own clients. */
static enum verdict carbons_set(struct ctx *c, bool wants)
{
	struct session *s;

	if (!is_from_owner(c))
		return refuse(c, NOT_ALLOWED, NULL);
	s = jid_has_resource(c->from) ? session_find(c->home, jid_resource(c->from)) : NULL;
	if (s)
		s->wants_carbons = wants;
	return reply(c, NULL);
}

enum verdict carbons_enable(struct ctx *c)
{
	return carbons_set(c, true);
}

enum verdict carbons_disable(struct ctx *c)
{
	return carbons_set(c, false);
}

/* A message to oneself is no news to the client that has sent it. */
static bool is_due(const struct session *s, const struct takers *takers, const struct jid *from)
{
	return s->wants_carbons && !takes(takers, s) && !jid_is(s->full, from);
}

/* ---- which messages are copied: section 6.1 */

/* What was copied lately, by its id and with whom: an error that answers it is copied too (section 6.1). That
 * is told by nothing else, as errors need not repeat what they are about (section 11.3). A wrong guess costs an
 * error message for a client too many. */
static uint32_t copied_key(const char *id, const struct jid *peer)
{
	uint32_t key = peer->hash;

	for (; *id; id++)
		key = (key ^ (unsigned char)*id) * 16777619; /* FNV-1a */
	return key;
}

static void copied_note(struct ctx *c, const struct stanza *st, const struct jid *peer)
{
	struct offline *o = home_data(c);

	if (!st->id)
		return;
	if (!o->copied)
		o->copied = mem_zalloc(sizeof *o->copied);
	o->copied->keys[o->copied->at++ % COUNT_OF(o->copied->keys)] = copied_key(st->id, peer);
}

static bool was_copied(struct ctx *c, const struct jid *peer)
{
	const struct offline *o = home_data(c);

	if (!o->copied || !c->stanza->id)
		return false;
	for (unsigned i = 0; i < COUNT_OF(o->copied->keys) && i < o->copied->at; i++)
		if (o->copied->keys[i] == copied_key(c->stanza->id, peer))
			return true;
	return false;
}

/* What people say to each other beside a body, or what clients say for them while they do. `name` NULL: any. */
static const struct payload {
	const char *ns, *name;
} payloads[] = {
	{ "http://jabber.org/protocol/chatstates", NULL }, /* XEP-0085 */
	{ "urn:xmpp:receipts", NULL },                     /* XEP-0184 */
	{ "urn:xmpp:chat-markers:0", NULL },               /* XEP-0333 */
	{ "jabber:x:conference", "x" },                    /* XEP-0249: into a room */
	{ "urn:xmpp:jingle-message:0", NULL },             /* XEP-0353: a call rings everywhere */
	{ "urn:xmpp:call-invites:0", NULL },               /* XEP-0482 */
	{ "urn:xmpp:message-correct:0", NULL },            /* XEP-0308 */
	{ "urn:xmpp:message-retract:1", NULL },            /* XEP-0424 */
	{ "urn:xmpp:reactions:0", NULL },                  /* XEP-0444 */
	{ "urn:xmpp:attention:0", "attention" },           /* XEP-0224 */
};

static bool has_payload(const struct stanza *st)
{
	for (const struct element *e = st->root->children; e; e = e->next)
		for (unsigned i = 0; e->ns && i < COUNT_OF(payloads); i++)
			if (strcmp(e->ns, payloads[i].ns) == 0 &&
			    (!payloads[i].name || strcmp(e->name, payloads[i].name) == 0))
				return true;
	return false;
}

/* A room has told all of an occupant's clients already; what goes to an occupant it has not. An invitation
 * (XEP-0045 section 7.8.2) comes from the room itself, and once. */
static bool is_from_occupant(const struct ctx *c)
{
	const struct element *x = element_child(c->stanza->root, "x", MUC_NS);

	return x && c->dir == IN && jid_has_resource(c->from) && !element_child(x, "invite", MUC_NS);
}

bool is_copy(const struct stanza *st)
{
	return element_child(st->root, "received", CARBONS_NS) ||
	       element_child(st->root, "sent", CARBONS_NS);
}

/* Section 9; XEP-0334 section 4.3. */
static bool is_private(const struct ctx *c)
{
	const struct element *root = c->stanza->root;

	return element_child(root, "private", CARBONS_NS) ||
	       (home_obeys(c->home, HINT_NO_COPY) && element_child(root, "no-copy", "urn:xmpp:hints"));
}

static bool is_eligible(struct ctx *c)
{
	const struct stanza *st = c->stanza;

	if (st->type == MESSAGE_ERROR)
		return was_copied(c, c->dir == OUT ? c->to : c->from);
	if (st->type == MESSAGE_GROUPCHAT || is_private(c) || is_from_occupant(c))
		return false;
	return st->type == MESSAGE_CHAT || message_is_content(st) || has_payload(st) ||
	       element_child(st->root, "x", MUC_NS);
}

/* ---- copying */

/* Section 7: the same for all who get it; their addresses are in the envelope. */
static struct stanza *copy_new(const struct ctx *c, const char *name, const struct jid *from,
                               const struct jid *to, const struct stanza *of)
{
	struct stanza *st = stanza_new(STANZA_MESSAGE, of->type, NULL);
	struct element *e = element_add(st, st->root, name, CARBONS_NS);

	e = element_add(st, e, "forwarded", "urn:xmpp:forward:0");
	e = element_copy(st, e, of->root);
	element_set(st, e, "from", from->text);
	element_set(st, e, "to", to->text);
	if (of == c->stanza && c->sent) /* XEP-0313 section 3.4 */
		stanza_id_add(c, st, e, c->sent);
	return stanza_seal(st);
}

static const char *name_of(const struct ctx *c, const struct jid *from)
{
	return jid_is_same_bare(from, home_jid(c->home)) ? "sent" : "received";
}

static unsigned count_due(struct ctx *c, const struct takers *takers, const struct jid *from, bool is_taken)
{
	unsigned n = 0;
	struct session *s;

	SESSION_EACH (s, c->home)
		n += is_due(s, takers, from) && (is_taken || s->presence);
	return n;
}

/* Takes the stanza. */
static void copy_to_due(struct ctx *c, const struct takers *takers, bool is_taken, struct stanza *copy,
                        const struct jid *from, int64_t entry, unsigned copies)
{
	struct session *s;

	SESSION_EACH (s, c->home)
		if (is_due(s, takers, from) && (is_taken || s->presence))
			deliver(c, s, home_jid(c->home), s->full, stanza_ref(copy), entry, copies);
	stanza_unref(copy);
}

unsigned carbons_due(struct ctx *c, const struct takers *takers, bool is_taken)
{
	unsigned n = count_due(c, takers, c->from, is_taken);

	return n > 0 && is_eligible(c) ? n : 0;
}

void carbons_received(struct ctx *c, const struct takers *takers, bool is_taken, unsigned copies)
{
	copied_note(c, c->stanza, c->from);
	copy_to_due(c, takers, is_taken, copy_new(c, name_of(c, c->from), c->from, c->to, c->stanza),
	            c->from, c->entry, copies);
}

unsigned carbons_owed(struct ctx *c, const struct session *taker, const struct jid *from, int64_t entry)
{
	return mark_repay(home_data(c), entry) ? count_due(c, &(struct takers){ .one = taker }, from, true)
	                                       : 0;
}

void carbons_replayed(struct ctx *c, const struct session *taker, const struct jid *from,
                      const struct jid *to, const struct stanza *st, int64_t entry, unsigned copies)
{
	copied_note(c, st, from);
	copy_to_due(c, &(struct takers){ .one = taker }, true, copy_new(c, name_of(c, from), from, to, st),
	            from, entry, copies);
}

/* What is for the own account is copied where it arrives, so that each client gets it once: as sent, since some
 * believe no other copy of what they have said themselves. */
enum verdict carbons_on_out(struct ctx *c)
{
	const struct takers nobody = TAKERS_NONE;

	if (is_alone(c->session) || jid_is_same_bare(c->to, home_jid(c->home)) ||
	    carbons_due(c, &nobody, true) == 0)
		return PASS;
	copied_note(c, c->stanza, c->to);
	copy_to_due(c, &nobody, true, copy_new(c, "sent", c->from, c->to, c->stanza), c->from, 0, 0);
	return PASS;
}
