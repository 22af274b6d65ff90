/* admin_archive_expire.c - the administrator's command that lets go what is older than archives are kept, or says
 * what would go: archive_expire.c, in the worker pool. */
#include "admin_archive.h"
#include "archive_expire.h"

#include <stdlib.h>
#include <string.h>

#include "module.h"

#define STEPS_AT_ONCE 20
#define DAYS_MAX 36500

struct expire_job {
	struct archive_job job;
	struct expiry *expiry;
	bool is_dry;
};

static void on_expire_end(struct archive_job *job)
{
	struct expire_job *e = CONTAINER_OF(job, struct expire_job, job);

	expiry_free(e->expiry);
}

static bool expire_step(struct archive_job *job)
{
	struct expire_job *e = CONTAINER_OF(job, struct expire_job, job);
	const struct expiry_counts *counts = expiry_counts(e->expiry);
	int64_t before = expiry_before(e->expiry);
	char *error = NULL;

	for (unsigned i = 0; i < STEPS_AT_ONCE && !job->is_over; i++) {
		if (expiry_step(e->expiry, job->session, &job->is_over, &error))
			continue;
		archive_refuse(job, CONTROL_AWAY,
		               "What is gone is gone; give the command again for the rest.", "%s.", error);
		mem_free(error);
		return false;
	}
	job->page =
	    json_pack("{s:I}", "done", (json_int_t)(counts->entries + counts->records + counts->passing));
	if (job->is_over)
		job->result =
		    json_pack("{s:b, s:o, s:I, s:I, s:I, s:I, s:o}", "dry_run", e->is_dry, "before",
		              before ? archive_time(before << ID_TIME_SHIFT) : json_null(), "messages",
		              (json_int_t)counts->entries, "records", (json_int_t)counts->records,
		              "unwanted", (json_int_t)counts->passing, "tables", (json_int_t)counts->parts,
		              "months", archive_months(counts->months, NULL));
	return true;
}

/* False: the request has been refused. */
static bool days_read(struct request *r, unsigned *days)
{
	const char *text = request_arg(r, "older_than");
	char *end;

	*days = 0;
	if (!text)
		return true;
	unsigned long n = strtoul(text, &end, 10);
	*days = (unsigned)n;
	if (*text >= '1' && *text <= '9' && !*end && n <= DAYS_MAX)
		return true;
	request_failf(r, CONTROL_USAGE, "Without it, each domain's policy archive.keep says how old.",
	              "\"%.100s\" is no number of days from 1 to %d.", text, DAYS_MAX);
	return false;
}

void admin_archive_expire(struct request *r)
{
	const struct server *srv = request_server(r);
	const char *name = request_arg(r, "host");
	const struct host *only = name ? admin_host(r, name) : NULL;
	unsigned days;

	if ((name && !only) || !days_read(r, &days))
		return;
	struct expire_job *e = arena_zalloc(request_arena(r), sizeof(*e));
	e->is_dry = request_bool(r, "dry_run", false);
	if (!e->is_dry && !admin_may_write(r))
		return;
	e->expiry = expiry_new(admin_reactor(r)->hosts, only, days, srv->hooks,
	                       database_is_postgresql(srv->db), e->is_dry);
	if (expiry_is_idle(e->expiry)) {
		expiry_free(e->expiry);
		request_fail(r, CONTROL_REFUSED,
		             name ? "This domain keeps archives for ever."
		                  : "Every domain keeps archives for ever.",
		             "Say --older-than DAYS, or \"musterctl host set DOMAIN archive.keep DAYS\".");
		return;
	}
	e->job.step = expire_step;
	e->job.end = on_expire_end;
	archive_start(&e->job, r);
}
