/* admin_archive.h - what the administrator's commands about archives share. Nobody else includes it but they:
 *
 * admin_archive.c         the work in portions; arguments, and what answers are made of
 * admin_archive_find.c    search and show: one account
 * admin_archive_walk.c    export and statistics: one account, those of a domain, or all
 * admin_archive_expire.c  what is older than it is kept
 *
 * Archives may be large and the database slow about what nobody has read for years. So these commands read by
 * sessions of their own in the worker pool, a portion after the other: neither a reactor nor its store waits
 * for them. */
#ifndef MUSTER_ADMIN_ARCHIVE_H
#define MUSTER_ADMIN_ARCHIVE_H

#include "admin.h"

struct archive_job {
	struct request *request;
	struct database_session *session;
	bool at_one_moment; /* see database_session_open */
	/* In a worker thread: reads a portion into `page`, and behind the last sets is_over, and `result` if there
	 * is one. False when it has failed: then it has called archive_refuse, or a statement has. */
	bool (*step)(struct archive_job *job);
	void (*end)(struct archive_job *job); /* or NULL: gives back what it holds */
	json_t *page, *result;
	bool is_over;
	enum control_code code; /* of the failure */
	char *error, *hint;
	uv_work_t work;
};

/* Starts it, for its request. With too many at work the request is refused. */
void archive_start(struct archive_job *job, struct request *r);
bool archive_refuse(struct archive_job *job, enum control_code code, const char *hint, const char *format,
                    ...) PRINTF(4, 5); /* returns false */
bool archive_run(struct archive_job *job, const struct sql *sql, const struct param *params, unsigned count,
                 store_rows_fn *fn, void *arg) MUST_CHECK;

/* Which entries: of whom is not said here. */
struct archive_range {
	int64_t since, until; /* ids: from the first on, below the second */
	struct jid *with;     /* NULL: with everybody; without resource: with all of the peer's */
};
/* From the arguments "since", "until" and "with". False: the request has been refused. The caller unrefs
 * range->with. */
bool archive_range_read(struct request *r, struct archive_range *range) MUST_CHECK;
/* Whether a record's addresses are those of that range. */
bool archive_range_has(const struct archive_range *range, const char *peer, const char *sender,
                       const char *recipient);

/* Unix microseconds of an id, as people read it: with milliseconds. */
json_t *archive_time(int64_t id);
/* Ids are texts in JSON: they have more digits than all programs take for a number. */
json_t *archive_id(int64_t id);
/* What there is in each month (stamp_month), by those that have something; `bytes` may be NULL. */
json_t *archive_months(const uint64_t *messages, const uint64_t *bytes);

#endif
