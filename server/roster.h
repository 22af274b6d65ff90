/* roster.h - a user's contact list in memory: loaded when the home wakes, the truth from then on.
 *
 * Items come from two sources: the user's own list, and administrators' groups (group.h), whose items are
 * shared with everybody who sees them and are read only. A contact that comes from both is one item, the own
 * one; `given` says what the groups add. What is stored and when is the modules' business (modules/roster,
 * modules/subscription.c); this is only the table. */
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
	uint8_t given;   /* the same bits, which a group gives to an own item */
	bool ask;        /* a subscribe was sent and not answered: "Pending Out" */
	bool pending_in; /* a subscribe came in and waits: not shown in the roster */
	bool approved;   /* pre-approval, RFC 6121 section 3.4 */
	bool in_roster;  /* false: remembers pending_in or approved, or the name that the user gave to a
	                           group's contact; no client sees it, unless a group shows it */
	uint8_t source;  /* enum roster_source */
	struct stanza *request; /* the waiting subscribe, for pending_in; or NULL */
	uint64_t digest;        /* of what clients see of it; 0: to be made (roster_push.c) */
};

struct contact_group;

/* An administrators' group, and how its members are seen: SUB_BOTH, SUB_TO or SUB_FROM. */
struct seen_group {
	struct contact_group *group; /* a reference */
	uint8_t subscription;
};

struct roster {
	struct hash items;         /* the own ones: of struct roster_item */
	uint32_t bound;            /* how many of those there may be */
	struct jid *own;           /* whose it is: also a member of its groups, but no contact */
	struct seen_group *groups; /* both first, then from, then to */
	unsigned group_count;
	bool is_partial; /* the clients have not been told all of it yet: has no version */
};

/* The own item, else a group's. The resource is ignored. */
struct roster_item *roster_find(const struct roster *r, const struct jid *contact);
struct roster_item *roster_find_own(const struct roster *r, const struct jid *contact);
/* Makes the own item if there is none; `contact` is stored bare. */
struct roster_item *roster_add(struct roster *r, struct jid *contact);
void roster_remove(struct roster *r, struct roster_item *item); /* an own one */
void roster_free(struct roster *r);
/* Walks all items: for (i = NULL; (i = roster_walk(r, i)); ). A contact may come twice, as one whom the user
 * sees and as one who sees him, when that is so by two groups. */
struct roster_item *roster_walk(const struct roster *r, const struct roster_item *after);
struct roster_item *roster_walk_own(const struct roster *r, const struct roster_item *after);

/* Whoever adds an own item that was not there asks first. */
static inline bool roster_is_full(const struct roster *r)
{
	return r->items.count >= r->bound;
}

static inline bool roster_sees_us(const struct roster_item *i) /* may have our presence */
{
	return i && ((i->subscription | i->given) & SUB_FROM);
}
static inline bool roster_is_seen(const struct roster_item *i) /* we may have theirs */
{
	return i && ((i->subscription | i->given) & SUB_TO);
}
static inline bool roster_is_shown(const struct roster_item *i) /* to the user's clients */
{
	return i && (i->in_roster || (i->given & SUB_TO));
}

/* What groups give to a contact: bits of `subscription`. */
unsigned roster_given(const struct roster *r, const struct jid *contact);
/* The title of the nth group by which the user's clients see the contact, or NULL. */
const char *roster_title(const struct roster *r, const struct jid *contact, unsigned n);

/* A contact to which groups give something else than before. */
struct regrouped {
	struct jid *jid; /* a reference */
	uint8_t before, after;
};
/* Puts other groups in the place of those that there are (takes the array over), and says whom that concerns:
 * an array that the caller frees with its references. */
struct regrouped *roster_regroup(struct roster *r, struct seen_group *groups, unsigned group_count,
                                 unsigned *count);

/* The groups as stored: one text, a JSON array ("[]" for NULL); and back (NULL, an empty array or bad
 * text: NULL). The caller frees what it gets: a string; a NULL-terminated array in one allocation. */
char *roster_groups_text(char *const *groups);
char **roster_groups_parse(const char *text);

/* The version of what clients see of the roster (RFC 6121 section 2.6): the same roster has the same one. Who
 * alters an item pushes it (roster_push), and so makes the version a new one. */
#define ROSTER_VERSION_SIZE 17
void roster_version(const struct roster *r, char out[ROSTER_VERSION_SIZE]);
uint64_t roster_item_digest(const struct roster_item *item);

const char *roster_subscription_name(uint8_t subscription); /* "none", "to", "from", "both" */

#endif
