/* roster_push.c - roster items as the protocol shows them, for every module that changes the roster; and the
 * version of all that it shows.
 *
 * The version is no count of changes, but the sum of the items' digests. So it is right whoever has changed the
 * roster and however: another module, an administrator with SQL, a group's new member while this account was
 * asleep. What has gone and come back has its old version again, and whoever still holds that is up to date. */
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "group.h"
#include "module.h"

#define ROSTER_NS "jabber:iq:roster"

static bool is_among(char *const *groups, const char *title)
{
	for (; groups && *groups; groups++)
		if (strcmp(*groups, title) == 0)
			return true;
	return false;
}

/* The own groups, then the titles of the administrators'. */
static void write_groups(struct stanza *st, struct element *e, const struct roster *r,
                         const struct roster_item *item)
{
	char *const *own = item->source == ROSTER_OWN ? item->groups : NULL;
	const char *title;

	for (char *const *group = own; group && *group; group++)
		element_add_text(st, e, "group", ROSTER_NS, *group);
	for (unsigned n = 0; (title = roster_title(r, item->jid, n)); n++)
		if (!is_among(own, title))
			element_add_text(st, e, "group", ROSTER_NS, title);
}

/* The name that the user gave, else that of the group's member. */
static const char *name_of(const struct roster *r, const struct roster_item *item)
{
	for (unsigned g = 0; !item->name && item->given && g < r->group_count; g++) {
		const struct roster_item *member =
		    group_find(r->groups[g].group, r->groups[g].subscription, item->jid);
		if (member && member->name)
			return member->name;
	}
	return item->name;
}

void roster_item_write(struct stanza *st, struct element *query, const struct roster *r,
                       const struct roster_item *item)
{
	struct element *e = element_add(st, query, "item", ROSTER_NS);
	const char *name;

	element_set(st, e, "jid", item->jid->text);
	if (!roster_is_shown(item)) {
		element_set(st, e, "subscription", "remove");
		return;
	}
	name = name_of(r, item);
	if (name)
		element_set(st, e, "name", name);
	element_set(st, e, "subscription", roster_subscription_name(item->subscription | item->given));
	if (item->ask && !roster_is_seen(item))
		element_set(st, e, "ask", "subscribe");
	if (item->approved)
		element_set(st, e, "approved", "true");
	write_groups(st, e, r, item);
}

/* ---- the version */

static void digest_add(struct buffer *b, const char *text)
{
	buffer_add(b, text ? text : "", text ? strlen(text) + 1 : 1); /* with its NUL */
}

uint64_t roster_item_digest(const struct roster_item *item)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	struct buffer b = { 0 };
	uint64_t digest;

	digest_add(&b, item->jid->text);
	digest_add(&b, item->name);
	buffer_addf(&b, "%u%u%u", item->subscription, item->ask, item->approved);
	for (char *const *group = item->groups; group && *group; group++)
		digest_add(&b, *group);
	SHA256((unsigned char *)b.data, b.len, hash);
	buffer_free(&b);
	memcpy(&digest, hash, sizeof digest);
	return digest ? digest : 1;
}

/* Of groups each view as a whole: what it shows differs only where one of these does. */
void roster_version(const struct roster *r, char out[ROSTER_VERSION_SIZE])
{
	struct roster_item *item = NULL;
	uint64_t sum = 0;

	while ((item = roster_walk_own(r, item))) {
		if (!roster_is_shown(item))
			continue;
		if (!item->digest)
			item->digest = roster_item_digest(item);
		sum += item->digest;
	}
	for (unsigned g = 0; g < r->group_count; g++)
		if (r->groups[g].subscription & SUB_TO)
			sum += r->groups[g].group->views[r->groups[g].subscription].digest;
	if (r->is_partial) /* no roster has this version: who holds it gets all */
		snprintf(out, ROSTER_VERSION_SIZE, "changing");
	else
		snprintf(out, ROSTER_VERSION_SIZE, "%016llx", (unsigned long long)sum);
}

/* ---- pushing */

static bool is_watched(struct home *h)
{
	struct session *s;

	SESSION_EACH (s, h)
		if (s->wants_roster)
			return true;
	return false;
}

/* Pushes come from the account itself (RFC 6121 section 2.1.6). */
void roster_push(struct ctx *c, struct roster_item *item)
{
	char id[24], version[ROSTER_VERSION_SIZE];
	struct element *query;
	struct stanza *push;
	struct session *s;

	if (item->source == ROSTER_OWN)
		item->digest = 0;
	if (!is_watched(c->home))
		return;
	snprintf(id, sizeof id, "push%llx", (unsigned long long)record_id_new(c));
	push = stanza_new(STANZA_IQ, IQ_SET, id);
	query = element_add(push, push->root, "query", ROSTER_NS);
	roster_version(home_roster(c->home), version);
	element_set(push, query, "ver", version);
	roster_item_write(push, query, home_roster(c->home), item);
	stanza_seal(push);
	SESSION_EACH (s, c->home)
		if (s->wants_roster)
			deliver(c, s, home_jid(c->home), s->full, stanza_ref(push), 0, 1);
	stanza_unref(push);
}

/* As in section 3.2.2 it sees the sessions go while it may still see them; one that is blocked has seen
 * that. */
void roster_cancel(struct ctx *c, struct write *w, const struct roster_item *item, bool is_all)
{
	const struct jid *own = home_jid(c->home);
	bool sees_us = item->subscription & SUB_FROM,
	     sees_sessions = sees_us && !(item->given & SUB_FROM) && !is_blocked(c->home, item->jid);
	struct session *s;

	if ((item->subscription & SUB_TO) || item->ask)
		route_with(c, w, own, item->jid, stanza_presence(PRESENCE_UNSUBSCRIBE));
	SESSION_EACH (s, c->home)
		if (s->presence && sees_sessions)
			route_after(c, s->full, item->jid, stanza_presence(PRESENCE_UNAVAILABLE));
	if (sees_us || (is_all && item->pending_in))
		route_with(c, w, own, item->jid, stanza_presence(PRESENCE_UNSUBSCRIBED));
}
