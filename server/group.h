/* group.h - administrators' contact groups: a bureau whose members have each other in their contact lists by
 * themselves. Immutable, counted snapshots, shared by all reactors and all homes; a group that changes is
 * replaced whole.
 *
 * No pair of members is stored anywhere, in the database or in memory. A group has each member once, as a
 * roster item that all who see it share; a home keeps references to the groups it sees (roster.h), so
 * a group of 40,000 costs each of them a few bytes. */
#ifndef MUSTER_GROUP_H
#define MUSTER_GROUP_H

#include <stdatomic.h>

#include "roster.h"
#include "store.h"

/* The members as somebody sees them: `both` for each other; where one group shows another, `to` for those who
 * see, and `from`, which no client sees, for those who are seen. */
struct group_view {
	struct hash items;        /* of struct roster_item; read only */
	struct roster_item *list; /* the same, one behind the other; NULL: nobody sees them so */
	uint64_t digest;          /* of all of them: for the version of the roster */
};

struct contact_group {
	_Atomic uint32_t refs;
	int64_t id;
	uint64_t version; /* no two have the same */
	char *domain, *name, *title;
	char *titles[2]; /* the title, as an item's groups */
	unsigned count;  /* of members */
	struct group_view views[SUB_BOTH + 1];
	/* What has changed since version `before`, of the same id; 0: everything may have. */
	uint64_t before;
	struct jid **changed;
	unsigned changed_count;
	struct arena arena; /* names of members */
};

/* That the members of a group see those of another. */
struct group_sight {
	int64_t group, shown;
};

/* All groups of the node. */
struct groups {
	_Atomic uint32_t refs;
	uint64_t version;            /* the newest that a group has got */
	struct contact_group **list; /* references, by id */
	unsigned count;
	struct group_sight *sights; /* by group */
	unsigned sight_count;
};

struct groups *groups_ref(struct groups *g);
void groups_unref(struct groups *g);
struct contact_group *group_ref(struct contact_group *g);
void group_unref(struct contact_group *g);

const struct contact_group *groups_find(const struct groups *g, int64_t id);
const struct contact_group *groups_find_name(const struct groups *g, const char *domain, const char *name);
/* The member of that bare address as seen so, or NULL. */
struct roster_item *group_find(const struct contact_group *g, unsigned view, const struct jid *contact);

/* What the account `own` sees: an array of references (the caller has it then; mem_free and group_unref). */
struct seen_group *groups_sources(const struct groups *g, struct jid *own, unsigned *count);

/* ---- making them: group_load.c, on reactor 0 */

struct group_member {
	struct jid *jid; /* taken over */
	const char *display;
};
/* `was`: the group as it has been, or NULL; its members are the same objects where nothing has changed. */
struct contact_group *group_new(int64_t id, uint64_t version, const char *domain, const char *name,
                                const char *title, const struct group_member *members, unsigned count,
                                unsigned views, const struct contact_group *was);
/* A set with these groups (references are taken over; sorted here) and sights (copied). */
struct groups *groups_new(uint64_t version, struct contact_group **list, unsigned count,
                          const struct group_sight *sights, unsigned sight_count);

#endif
