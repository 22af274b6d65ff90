/* pass_absent.c - a stanza for an account that does not exist, or that is disabled. The home has loaded
 * nothing and no module sees the stanza. Called by pass.c at the end of such a pass. */
#include "pass_parts.h"

/* ---- subscriptions of a disabled account
 *
 * Contacts end subscriptions and answer requests while it is disabled (RFC 6121 appendix A.3). Its contact
 * list follows in the database, so that it is true when the account is enabled again. A new request is
 * ignored, as for an address that does not exist (section 8.5.1): nobody could answer it. */

#define ITEM                                                                                               \
	" where contact = $1 and owner = (select a.id from account a join host h on h.id = a.host"         \
	" where h.name = $2 and a.name = $3)"

static const struct sql sql_unsubscribe = {
	/* A.3.2 */
	.name = "absent_unsubscribe",
	.text = "update roster set subscription = subscription & 1, pending_in = 0, request = null" ITEM,
};
static const struct sql sql_subscribed = {
	/* A.3.3 */
	.name = "absent_subscribed",
	.text = "update roster set subscription = subscription | 1, ask = 0" ITEM " and ask = 1",
};
static const struct sql sql_unsubscribed = {
	/* A.3.4 */
	.name = "absent_unsubscribed",
	.text = "update roster set subscription = subscription & 2, ask = 0" ITEM,
};
/* An item that says nothing any more is no item: modules/subscription.c. */
static const struct sql sql_forget = {
	.name = "absent_forget",
	.text = "delete from roster" ITEM " and subscription = 0 and ask = 0 and pending_in = 0"
		" and approved = 0 and in_roster = 0",
};

static const struct sql *sql_of(const struct stanza *st)
{
	switch ((enum stanza_type)st->type) {
	case PRESENCE_UNSUBSCRIBE:
		return &sql_unsubscribe;
	case PRESENCE_SUBSCRIBED:
		return &sql_subscribed;
	case PRESENCE_UNSUBSCRIBED:
		return &sql_unsubscribed;
	default:
		return NULL;
	}
}

static enum verdict on_followed(struct ctx *c, const struct rows *r)
{
	(void)c;
	(void)r; /* the log has why not; nobody waits for an answer to such presence */
	return DONE;
}

static enum verdict follow_contact(struct ctx *c, const struct sql *sql)
{
	const struct jid *own = home_jid(c->home);
	const struct param of_item[] = {
		P_TEXTN(c->from->text, c->from->bare_len),
		P_TEXTN(jid_domain(own), jid_domain_len(own)),
		P_TEXTN(own->text, own->local_len),
	};
	struct write *w = begin_write(c);

	write_add(w, sql, of_item, COUNT_OF(of_item));
	write_add(w, &sql_forget, of_item, COUNT_OF(of_item));
	transit_done(c, w);
	return change(c, w, on_followed);
}

/* ---- what becomes of the others: RFC 6121 section 8.5.1 */

enum verdict pass_to_absent(struct ctx *c)
{
	const struct stanza *st = c->stanza;
	const struct sql *sql = c->home->is_disabled ? sql_of(st) : NULL;

	if (sql)
		return follow_contact(c, sql);
	/* As from somebody whom the prober may not see; not from a disabled account: its contacts would lose
	 * it for ever. */
	if (st->type == PRESENCE_PROBE && !c->home->is_disabled)
		route(c, home_jid(c->home), c->from,
		      stanza_seal(stanza_new(STANZA_PRESENCE, PRESENCE_UNSUBSCRIBED, st->id)));
	return st->kind == STANZA_PRESENCE || st->type == MESSAGE_HEADLINE
	           ? DONE
	           : refuse(c, SERVICE_UNAVAILABLE, NULL);
}
