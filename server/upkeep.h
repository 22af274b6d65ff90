/* upkeep.h - what the node does for its database each day: on PostgreSQL, the tables of the coming months; archives
 * of accounts that are gone go (archive_sweep.h), and what is older than its hosts keep it (archive_expire.h). */
#ifndef MUSTER_UPKEEP_H
#define MUSTER_UPKEEP_H

#include "store.h"

struct server;
struct upkeep;

/* On reactor 0, whose loop it uses until it is closed; the work is done in the worker pool. */
struct upkeep *upkeep_open(struct server *srv);
void upkeep_close(struct upkeep *u); /* NULL is fine */

/* Makes the tables of the coming months; also done at the start. */
extern const struct sql upkeep_parts;

#endif
