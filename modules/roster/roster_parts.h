/* roster_parts.h - between the files of the module roster. */
#ifndef MUSTER_ROSTER_PARTS_H
#define MUSTER_ROSTER_PARTS_H

#include "module.h"

struct roster_options {
	int64_t items;
};

/* Somebody who is still to be told something. */
struct told {
	struct jid *jid;
	bool is_push; /* the clients, that the contact has come, gone or changed */
};

/* Per home. */
struct roster_data {
	struct told *told; /* in this order; tell.c */
	unsigned told_at, told_count;
	unsigned pushes; /* among those */
};

/* load.c */
extern const struct sql roster_load_sql;
enum verdict roster_on_load(struct ctx *c, const struct rows *rows);
enum verdict roster_on_reload(struct ctx *c, const struct rows *rows);

/* group.c */
enum verdict roster_on_groups(struct ctx *c);
enum verdict roster_guard_out(struct ctx *c);
enum verdict roster_guard_in(struct ctx *c);

/* tell.c */
void roster_data_free(void *data);
/* The contact sees the user from now on: gets his presence, a little later. */
void roster_greet(struct ctx *c, const struct jid *contact);
/* The same, and before it the clients get the contact as it is by then. */
void roster_push_later(struct ctx *c, const struct jid *contact);
/* Whether there are such pushes still: what the clients have is not the whole, and has no version. */
bool roster_has_pushes(struct ctx *c);
/* The contact no longer sees the user. */
void roster_take_leave(struct ctx *c, const struct jid *contact);
/* Pushes what there is of a contact; nothing: that it is gone. */
void roster_push_contact(struct ctx *c, struct jid *contact);

#endif
