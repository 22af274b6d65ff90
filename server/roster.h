/* roster.h - a user's contact list in memory: loaded when the home wakes, the truth from then on.
 *
 * Items come from sources: the user's own list, later administrators' groups. What is stored and when
 * is the modules' business (modules/roster.c, modules/subscription.c); this is only the table. */
#ifndef MUSTER_ROSTER_H
#define MUSTER_ROSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "hash.h"
#include "jid.h"

enum roster_source { ROSTER_OWN, ROSTER_GROUPS };

/* Bits of `subscription`: both is TO | FROM (RFC 6121 section 2.1.2.5). */
enum { SUB_NONE = 0, SUB_TO = 1, SUB_FROM = 2, SUB_BOTH = 3 };

struct roster_item {
	struct hash_node node; /* by the contact's bare address */
	struct jid *jid;
	char *name;    /* NULL when there is none */
	char **groups; /* NULL-terminated, or NULL */
	uint8_t subscription;
	bool ask;               /* a subscribe was sent and not answered: "Pending Out" */
	bool pending_in;        /* a subscribe came in and waits: not shown in the roster */
	bool approved;          /* pre-approval, RFC 6121 section 3.4 */
	bool in_roster;         /* false: only remembers pending_in or approved; no client sees it */
	uint8_t source;         /* enum roster_source */
	struct stanza *request; /* the waiting subscribe, for pending_in; or NULL */
	uint64_t digest;        /* of what clients see of it; 0: to be made (roster_push.c) */
};

struct roster {
	struct hash items; /* of struct roster_item */
	uint32_t bound;    /* how many there may be */
};

struct roster_item *roster_find(const struct roster *r, const struct jid *contact); /* resource ignored */
/* Makes the item if there is none; `contact` is stored bare. */
struct roster_item *roster_add(struct roster *r, struct jid *contact);
void roster_remove(struct roster *r, struct roster_item *item);
void roster_free(struct roster *r);
/* Walks all items: for (i = NULL; (i = roster_walk(r, i)); ) */
struct roster_item *roster_walk(const struct roster *r, const struct roster_item *after);

/* Whoever adds an item that was not there asks first. */
static inline bool roster_is_full(const struct roster *r)
{
	return r->items.count >= r->bound;
}

static inline bool roster_sees_us(const struct roster_item *i) /* may have our presence */
{
	return i && (i->subscription & SUB_FROM);
}
static inline bool roster_is_seen(const struct roster_item *i) /* we may have theirs */
{
	return i && (i->subscription & SUB_TO);
}

/* The groups as stored: one text, a JSON array ("[]" for NULL); and back (NULL, an empty array or bad
 * text: NULL). The caller frees what it gets: a string; a NULL-terminated array in one allocation. */
char *roster_groups_text(char *const *groups);
char **roster_groups_parse(const char *text);

/* The version of what clients see of the roster (RFC 6121 section 2.6): the same roster has the same one. Who
 * alters an item pushes it (roster_push), and so makes the version a new one. */
#define ROSTER_VERSION_SIZE 17
void roster_version(const struct roster *r, char out[ROSTER_VERSION_SIZE]);

const char *roster_subscription_name(uint8_t subscription); /* "none", "to", "from", "both" */

#endif
