/* roster.c - RFC 6121 section 2: the contact list as the client reads and edits it. The table in memory is
 * the core's (server/roster.h); it is loaded when the home wakes (load.c), and changed after the change is
 * committed. */
#include <string.h>

#include "roster_parts.h"

#define ROSTER_NS "jabber:iq:roster"
#define GROUPS_MAX 100    /* of one contact */
#define GROUPS_BYTES 4096 /* and all their names: thousands of contacts lie in memory */

static const struct option options[] = {
	{ "items", OPT_INT, offsetof(struct roster_options, items), "5000",
	  "How many contacts an account may have, with those who ask to become one.", 1, 1000000, NULL },
	OPTIONS_END,
};

/* ---- reading */

/* Section 2: only the account's own sessions. Section 2.6.3: whoever holds the present version gets an
 * empty result; of any other one nothing is known here but that it is not this, so the whole roster
 * follows. */
static enum verdict on_get(struct ctx *c)
{
	struct session *s = is_from_owner(c) && jid_has_resource(c->from)
	                        ? session_find(c->home, jid_resource(c->from))
	                        : NULL;
	const char *known = element_get(element_first(c->stanza->root), "ver");
	const struct roster_item *item = NULL;
	char version[ROSTER_VERSION_SIZE];
	struct stanza *result;
	struct element *query;

	if (!s)
		return refuse(c, FORBIDDEN, NULL);
	s->wants_roster = true;
	roster_version(home_roster(c->home), version);
	if (known && strcmp(known, version) == 0)
		return reply(c, NULL);
	result = reply_new(c);
	query = element_add(result, result->root, "query", ROSTER_NS);
	element_set(result, query, "ver", version);
	while ((item = roster_walk(home_roster(c->home), item)))
		if (roster_is_shown(item))
			roster_item_write(result, query, home_roster(c->home), item);
	return reply(c, result);
}

/* ---- editing */

struct edit {
	struct jid *jid;
	const char *name;
	char *groups; /* as stored */
	bool is_remove;
	bool in_roster; /* false: a group shows it, and the user has only given it a name and groups */
};

static const struct sql sql_edit = {
	.name = "roster_edit",
	.text =
	    "insert into roster (owner, contact, name, groups, in_roster) values ($1, $2, $3, $4, $5)"
	    " on conflict (owner, contact) do update set name = excluded.name, groups = excluded.groups,"
	    " in_roster = excluded.in_roster",
};
static const struct sql sql_remove = {
	.name = "roster_remove",
	.text = "delete from roster where owner = $1 and contact = $2 and pending_in = 0",
};
/* The contact's own request is not answered by that: it goes on waiting. */
static const struct sql sql_empty = {
	.name = "roster_empty",
	.text = "update roster set name = null, groups = null, subscription = 0, ask = 0, approved = 0,"
		" in_roster = 0 where owner = $1 and contact = $2 and pending_in = 1",
};

static enum verdict edit_end(struct edit *e, enum verdict v)
{
	if (v != HELD) {
		jid_unref(e->jid);
		mem_free(e->groups);
	}
	return v;
}

/* A client sends back what it was shown: the titles of administrators' groups are not the user's own. */
static bool is_title(struct ctx *c, const struct jid *contact, const char *group)
{
	const char *title;

	for (unsigned n = 0; (title = roster_title(home_roster(c->home), contact, n)); n++)
		if (strcmp(title, group) == 0)
			return true;
	return false;
}

/* The groups of an item (section 2.1.2.6) as stored; NULL, and why: there are too many, one is empty or too
 * long, or two are the same. */
static char *read_groups(struct ctx *c, const struct element *item, const struct jid *contact,
                         enum stanza_condition *why)
{
	unsigned n = 0, kept = 0;
	size_t bytes = 0;
	struct element *e;
	char **groups;

	for (e = element_child(item, "group", ROSTER_NS); e; e = element_next(e, "group", ROSTER_NS))
		n++;
	*why = NOT_ACCEPTABLE;
	if (n > GROUPS_MAX)
		return NULL;
	groups = ctx_new(c, (n + 1) * sizeof *groups);
	n = 0;
	for (e = element_child(item, "group", ROSTER_NS); e; e = element_next(e, "group", ROSTER_NS)) {
		const char *group = element_get_text(e, &c->scratch);

		*why = BAD_REQUEST;
		for (unsigned i = 0; i < n; i++)
			if (strcmp(groups[i], group) == 0)
				return NULL;
		*why = NOT_ACCEPTABLE;
		if (!*group || strlen(group) > 1023)
			return NULL;
		groups[n++] = arena_strdup(&c->scratch, group);
	}
	for (unsigned i = 0; i < n; i++) {
		if (is_title(c, contact, groups[i]))
			continue;
		bytes += strlen(groups[i]);
		groups[kept++] = groups[i];
	}
	groups[kept] = NULL;
	return bytes > GROUPS_BYTES ? NULL : roster_groups_text(groups);
}

/* Section 2.3.3: each refusal with its condition. PASS: it is a valid edit. */
static enum verdict read_edit(struct ctx *c, struct edit *e)
{
	const struct element *query = element_first(c->stanza->root);
	const struct element *item = element_child(query, "item", ROSTER_NS);
	const char *jid = item ? element_get(item, "jid") : NULL, *subscription;
	enum stanza_condition why = BAD_REQUEST;

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	if (!item || element_next(item, "item", ROSTER_NS) || !jid)
		return refuse(c, BAD_REQUEST, "A roster set has one item with a jid.");
	e->jid = jid_parse(jid, strlen(jid));
	if (!e->jid)
		return refuse(c, JID_MALFORMED, NULL);
	e->name = element_get(item, "name");
	if (e->name && strlen(e->name) > 1023)
		return refuse(c, NOT_ACCEPTABLE, "The name is too long.");
	subscription = element_get(item, "subscription");
	e->is_remove = subscription && strcmp(subscription, "remove") == 0;
	e->groups = read_groups(c, item, e->jid, &why);
	if (!e->groups)
		return refuse(c, why,
		              "Groups are neither too many, nor empty, nor too long, nor twice the same.");
	return PASS;
}

static enum verdict on_edited(struct ctx *c, const struct rows *r)
{
	struct edit *e = c->own;
	struct roster_item *item;

	if (rows_status(r) != STORE_OK)
		return edit_end(e, refuse_unstored(c, r));
	item = roster_add(home_roster(c->home), e->jid);
	mem_free(item->name);
	item->name = e->name && *e->name ? mem_strdup(e->name) : NULL;
	mem_free(item->groups);
	item->groups = roster_groups_parse(e->groups);
	item->in_roster = e->in_roster;
	roster_push(c, item);
	return edit_end(e, reply(c, NULL));
}

static enum verdict start_edit(struct ctx *c, struct edit *e)
{
	const struct roster_item *own = roster_find_own(home_roster(c->home), e->jid);
	struct write *w;
	struct jid *bare;

	if (jid_is_same_bare(e->jid, home_jid(c->home))) /* section 2.3.3: not oneself */
		return refuse(c, NOT_ALLOWED, "You cannot be your own contact.");
	if (!own && roster_is_full(home_roster(c->home))) {
		module_log(c, LOG_INFO, "the contact list is full (roster.items)");
		return refuse(c, RESOURCE_CONSTRAINT, "The contact list is full.");
	}
	e->in_roster = (own && own->in_roster) || !(roster_given(home_roster(c->home), e->jid) & SUB_TO);
	bare = jid_bare(e->jid);
	w = begin_write(c);
	write_add(w, &sql_edit,
	          PARAMS(P_INT(home_account(c->home)), P_TEXT(bare->text), P_TEXT(e->name),
	                 P_TEXT(e->groups), P_INT(e->in_roster)));
	jid_unref(bare);
	return change(c, w, on_edited);
}

/* As in sql_empty. */
static void item_empty(struct roster_item *item)
{
	mem_free(item->name);
	mem_free(item->groups);
	item->name = NULL;
	item->groups = NULL;
	item->subscription = SUB_NONE;
	item->ask = item->approved = item->in_roster = false;
}

static enum verdict on_removed(struct ctx *c, const struct rows *r)
{
	struct edit *e = c->own;
	struct roster_item *item = roster_find_own(home_roster(c->home), e->jid);

	if (rows_status(r) != STORE_OK)
		return edit_end(e, refuse_unstored(c, r));
	if (item) {
		item_empty(item);
		roster_push(c, item); /* not in the roster: pushed as removed */
		if (!item->pending_in)
			roster_remove(home_roster(c->home), item);
	}
	return edit_end(e, reply(c, NULL));
}

static enum verdict start_remove(struct ctx *c, struct edit *e)
{
	const struct roster_item *item = roster_find_own(home_roster(c->home), e->jid);
	struct write *w;

	if (roster_given(home_roster(c->home), e->jid) & SUB_TO)
		return refuse(c, NOT_ALLOWED,
		              "This contact comes from a group of your administrator's, and stays in it.");
	if (!item || !item->in_roster) /* section 2.5.3 */
		return refuse(c, ITEM_NOT_FOUND, NULL);
	w = begin_write(c);
	write_add(w, &sql_empty, PARAMS(P_INT(home_account(c->home)), P_TEXT(item->jid->text)));
	write_add(w, &sql_remove, PARAMS(P_INT(home_account(c->home)), P_TEXT(item->jid->text)));
	roster_cancel(c, w, item, false);
	return change(c, w, on_removed);
}

static enum verdict on_set(struct ctx *c)
{
	struct edit *e = c->own = ctx_new(c, sizeof *e);
	enum verdict v = read_edit(c, e);

	if (v == PASS)
		v = e->is_remove ? start_remove(c, e) : start_edit(c, e);
	return edit_end(e, v);
}

static const char *const features[] = { ROSTER_NS, NULL };

static const char *const stream_features[] = {
	"<ver xmlns='urn:xmpp:features:rosterver'/>",
	NULL,
};

static const struct hook hooks[] = {
	ON_LOAD(HOME_USER, &roster_load_sql, roster_on_load),
	ON_RELOAD(HOME_USER, &roster_load_sql, roster_on_reload),
	ON_EVENT(EVENT_GROUPS, HOME_USER, roster_on_groups),
	AT_STAGE(OUT, GUARD, ON_PRESENCE, HOME_USER, roster_guard_out),
	AT_STAGE(IN, GUARD, ON_PRESENCE, HOME_USER, roster_guard_in),
	ON_IQ_GET(ROSTER_NS, "query", HOME_USER, on_get),
	ON_IQ_SET(ROSTER_NS, "query", HOME_USER, on_set),
	HOOKS_END,
};

const struct module mod_roster = {
	.api = MUSTER_API,
	.name = "roster",
	.about = "The contact list.",
	.spec = "RFC 6121 section 2",
	.features = features,
	.stream_features = stream_features,
	.hooks = hooks,
	.options = options,
	.options_size = sizeof(struct roster_options),
	.home_size = sizeof(struct roster_data),
	.home_free = roster_data_free,
};
