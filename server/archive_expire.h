/* archive_expire.h - what is older than its host keeps it goes: entries, then the records.
 * For the server, which does so each day, and for the administrator's command.
 *
 * It works in portions, by a blocking session (store.h: database_session_open): in the worker pool. What is begun
 * and given up leaves nothing half done; the next time goes on. */
#ifndef MUSTER_ARCHIVE_EXPIRE_H
#define MUSTER_ARCHIVE_EXPIRE_H

#include "host.h"
#include "stamp.h"
#include "store.h"

struct expiry;

struct expiry_counts {
	uint64_t entries, records;
	uint64_t passing; /* entries of what their owners did not want to keep, and have got */
	/* Tables of PostgreSQL, of a month each, that went whole: their rows are not counted. */
	uint64_t parts;
	uint64_t months[STAMP_MONTHS]; /* entries by the month they are of */
};

/* For each of these hosts, by what it sets for itself (policy archive.keep, days) and, where `days` is not 0, by that;
 * `only` (NULL: all) is one of them. `hosts` is kept a reference of. With `is_dry` it only counts. */
struct expiry *expiry_new(struct hosts *hosts, const struct host *only, unsigned days,
                          const struct hooks *hooks, bool is_postgresql, bool is_dry);
/* None of these hosts lets anything go, by its age or as its users wish. What there may be from an earlier time goes
 * all the same. */
bool expiry_is_idle(const struct expiry *x);
void expiry_free(struct expiry *x); /* NULL is fine */
/* Does a portion. False: failed, with a sentence in *error (the caller frees it). *is_over: there is nothing more. */
bool expiry_step(struct expiry *x, struct database_session *s, bool *is_over, char **error) MUST_CHECK;
const struct expiry_counts *expiry_counts(const struct expiry *x);
/* The time before which everything goes of the host that keeps the least: Unix microseconds; 0: all keep it for
 * ever. */
int64_t expiry_before(const struct expiry *x);

#endif
