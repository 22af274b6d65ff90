/* roster_parts.h - between the files of the module roster. */
#ifndef MUSTER_ROSTER_PARTS_H
#define MUSTER_ROSTER_PARTS_H

#include "module.h"

struct roster_options {
	int64_t items;
};

/* Per home. */
struct roster_data {
	struct jid **greet; /* who sees us from now on, and has not got our presence yet */
	unsigned greet_count;
};

/* load.c */
extern const struct sql roster_load_sql;
enum verdict roster_on_load(struct ctx *c, const struct rows *rows);
enum verdict roster_on_reload(struct ctx *c, const struct rows *rows);
void roster_data_free(void *data);

#endif
