/* roster_push.c - roster items as the protocol shows them, for every module that changes the roster; and the
 * version of all that it shows.
 *
 * The version is no count of changes, but the sum of the items' digests. So it is right whoever has changed the
 * roster and however: another module, an administrator with SQL, a group's new member while this account was
 * asleep. What has gone and come back has its old version again, and whoever still holds that is up to date. */
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "module.h"

#define ROSTER_NS "jabber:iq:roster"

void roster_item_write(struct stanza *st, struct element *query, const struct roster_item *item)
{
	struct element *e = element_add(st, query, "item", ROSTER_NS);

	element_set(st, e, "jid", item->jid->text);
	if (!item->in_roster) {
		element_set(st, e, "subscription", "remove");
		return;
	}
	if (item->name)
		element_set(st, e, "name", item->name);
	element_set(st, e, "subscription", roster_subscription_name(item->subscription));
	if (item->ask)
		element_set(st, e, "ask", "subscribe");
	if (item->approved)
		element_set(st, e, "approved", "true");
	for (char *const *group = item->groups; group && *group; group++)
		element_add_text(st, e, "group", ROSTER_NS, *group);
}

/* ---- the version */

static void digest_add(struct buffer *b, const char *text)
{
	buffer_add(b, text ? text : "", text ? strlen(text) + 1 : 1); /* with its NUL */
}

static uint64_t item_digest(const struct roster_item *item)
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

void roster_version(const struct roster *r, char out[ROSTER_VERSION_SIZE])
{
	struct roster_item *item = NULL;
	uint64_t sum = 0;

	while ((item = roster_walk(r, item))) {
		if (!item->in_roster)
			continue;
		if (!item->digest)
			item->digest = item_digest(item);
		sum += item->digest;
	}
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

/* Pushes have no `from`: they come from the account itself (RFC 6121 section 2.1.6). */
void roster_push(struct ctx *c, struct roster_item *item)
{
	char id[24], version[ROSTER_VERSION_SIZE];
	struct element *query;
	struct stanza *push;
	struct session *s;

	item->digest = 0;
	if (!is_watched(c->home))
		return;
	snprintf(id, sizeof id, "push%llx", (unsigned long long)record_id_new(c));
	push = stanza_new(STANZA_IQ, IQ_SET, id);
	query = element_add(push, push->root, "query", ROSTER_NS);
	roster_version(home_roster(c->home), version);
	element_set(push, query, "ver", version);
	roster_item_write(push, query, item);
	stanza_seal(push);
	SESSION_EACH (s, c->home)
		if (s->wants_roster)
			deliver(c, s, home_jid(c->home), s->full, stanza_ref(push), 0, 1);
	stanza_unref(push);
}

/* As in section 3.2.2 it sees the sessions go while it may still see them; one that is blocked has seen that. */
void roster_cancel(struct ctx *c, struct write *w, const struct roster_item *item, bool is_all)
{
	const struct jid *own = home_jid(c->home);
	bool sees_us = item->subscription & SUB_FROM,
	     sees_sessions = sees_us && !is_blocked(c->home, item->jid);
	struct session *s;

	if ((item->subscription & SUB_TO) || item->ask)
		route_with(c, w, own, item->jid, stanza_presence(PRESENCE_UNSUBSCRIBE));
	SESSION_EACH (s, c->home)
		if (s->presence && sees_sessions)
			route_after(c, s->full, item->jid, stanza_presence(PRESENCE_UNAVAILABLE));
	if (sees_us || (is_all && item->pending_in))
		route_with(c, w, own, item->jid, stanza_presence(PRESENCE_UNSUBSCRIBED));
}
