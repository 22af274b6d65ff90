/* archive_sweep.h - archives of accounts that are gone go: their rows in `entry`, which nobody sees any more. An
 * account is removed without them, as deleting a large archive at once would hold up everybody's messages.
 *
 * The records stay until their hosts are through with them (archive_expire.h): they are the other side's too, and no
 * record knows who else has it.
 *
 * It works in portions, by a blocking session (store.h: database_session_open), in the worker pool. */
#ifndef MUSTER_ARCHIVE_SWEEP_H
#define MUSTER_ARCHIVE_SWEEP_H

#include "store.h"

struct sweep;

struct sweep *sweep_new(void);
void sweep_free(struct sweep *sw); /* NULL is fine */
/* Does a portion. False: failed, with a sentence in *error (the caller frees it). *is_over: there is nothing more. */
bool sweep_step(struct sweep *sw, struct database_session *s, bool *is_over, char **error) MUST_CHECK;
uint64_t sweep_count(const struct sweep *sw); /* entries that have gone */

#endif
