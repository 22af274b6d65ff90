/* admin_archive.c - how the administrator's commands about archives are worked off, how they read their arguments,
 * and what several of their answers have in them. See admin_archive.h. */
#include "admin_archive.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "module.h"
#include "stamp.h"

#define JOBS_MAX 2 /* at work: the pool's other threads hash passwords */
#define US_PER_SECOND 1000000
#define LAST_SECOND 7258118400 /* the year 2200: no id is of then */

/* ---- the work: a portion in a worker thread, its page to the one who asked, the next portion */

bool archive_refuse(struct archive_job *job, enum control_code code, const char *hint, const char *format,
                    ...)
{
	va_list args;

	va_start(args, format);
	job->error = mem_vprintf(format, args);
	va_end(args);
	job->hint = hint ? mem_strdup(hint) : NULL;
	job->code = code;
	return false;
}

/* Takes the sentence. */
static bool refuse_away(struct archive_job *job, char *sentence)
{
	archive_refuse(job, CONTROL_AWAY,
	               "Look with \"musterctl status\" how the database is, then try again.", "%s.",
	               sentence);
	mem_free(sentence);
	return false;
}

bool archive_run(struct archive_job *job, const struct sql *sql, const struct param *params, unsigned count,
                 store_rows_fn *fn, void *arg)
{
	char *error = NULL;

	return database_session_run(job->session, sql, params, count, fn, arg, &error) ||
	       refuse_away(job, error);
}

static bool session_open(struct archive_job *job)
{
	const struct server *srv = request_server(job->request);
	char *error = NULL;

	job->session = database_session_open(srv->db, job->at_one_moment, &error);
	return job->session || refuse_away(job, error);
}

static void on_work(uv_work_t *work)
{
	struct archive_job *job = work->data;

	if (job->session || session_open(job))
		job->step(job);
}

static void archive_go_on(void *arg);

static void archive_end(struct archive_job *job)
{
	struct request *r = job->request;
	struct server *srv = request_server(r);
	char *error = job->error, *hint = job->hint; /* the job ends with its request */
	enum control_code code = job->code;
	json_t *result = job->result;

	srv->archive_jobs--;
	database_session_close(job->session);
	json_decref(job->page);
	if (job->end)
		job->end(job);
	if (error) {
		json_decref(result);
		request_fail(r, code, error, hint);
	} else if (!job->is_over && srv->is_stopping) {
		request_fail(r, CONTROL_AWAY, "The server is stopping.", NULL);
	} else {
		request_done(r, result);
	}
	mem_free(error);
	mem_free(hint);
}

static void on_worked(uv_work_t *work, int status)
{
	struct archive_job *job = work->data;
	json_t *page = job->page;

	(void)status;
	job->page = NULL;
	if (job->error || !page) {
		json_decref(page);
		archive_go_on(job);
	} else if (!request_progress(job->request, page, archive_go_on, job)) {
		archive_end(job); /* nobody reads any more */
	}
}

static void archive_go_on(void *arg)
{
	struct archive_job *job = arg;
	struct server *srv = request_server(job->request);

	if (job->error || job->is_over || srv->is_stopping || request_is_gone(job->request))
		archive_end(job);
	else
		ASSERT(uv_queue_work(&admin_reactor(job->request)->loop, &job->work, on_work, on_worked) ==
		       0);
}

void archive_start(struct archive_job *job, struct request *r)
{
	struct server *srv = request_server(r);

	job->request = r;
	job->work.data = job;
	if (srv->archive_jobs == JOBS_MAX)
		archive_refuse(job, CONTROL_AWAY, "Try again when one of them has ended.",
		               "%d other commands are reading archives.", JOBS_MAX);
	srv->archive_jobs++;
	archive_go_on(job);
}

/* ---- arguments */

/* "30d": so long ago. */
static bool ago_read(const char *text, int64_t *us)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 } };
	char unit, more;
	unsigned count;

	if (strlen(text) > 7 || *text < '0' || *text > '9' ||
	    sscanf(text, "%u%c%c", &count, &unit, &more) != 2)
		return false;
	for (unsigned i = 0; i < COUNT_OF(units); i++) {
		if (units[i].unit != unit)
			continue;
		*us = (time(NULL) - count * units[i].seconds) * US_PER_SECOND;
		return *us >= 0;
	}
	return false;
}

/* A day, a minute or a moment; without a zone, UTC. */
static bool moment_read(const char *text, int64_t *us)
{
	size_t n = strlen(text);
	char whole[64], again[STAMP_SIZE];

	snprintf(whole, sizeof(whole), "%.40s%s", text, n == 10 ? "T00:00:00Z" : n == 16 ? ":00Z" : "");
	if (!stamp_read(whole, us) || *us < 0 || *us >= LAST_SECOND * US_PER_SECOND)
		return false;
	/* No 31st of June. */
	return !strchr(whole, 'Z') || strncmp(stamp_write(*us, again), whole, 10) == 0;
}

/* An argument as the id of that moment; without it, `id` stays as it is. */
static bool time_read(struct request *r, const char *name, int64_t *id)
{
	const char *text = request_arg(r, name);
	int64_t us;

	if (!text)
		return true;
	if (!ago_read(text, &us) && !moment_read(text, &us)) {
		request_failf(
		    r, CONTROL_USAGE,
		    "A time is 2026-11-22, 2026-11-22T08:30, 2026-11-22T08:30:00Z, or 30d, 12h, 45m "
		    "for so long ago.",
		    "\"%.100s\" is no time.", text);
		return false;
	}
	*id = us << ID_TIME_SHIFT;
	return true;
}

bool archive_range_read(struct request *r, struct archive_range *range)
{
	const char *with = request_arg(r, "with");

	*range = (struct archive_range){ .until = INT64_MAX };
	if (!time_read(r, "since", &range->since) || !time_read(r, "until", &range->until))
		return false;
	if (range->since >= range->until) {
		request_fail(r, CONTROL_USAGE, "Nothing is between these two times.",
		             "What is found is from --since on, and before --until.");
		return false;
	}
	range->with = with ? jid_parse(with, strlen(with)) : NULL;
	if (!with || range->with)
		return true;
	request_failf(r, CONTROL_USAGE, "An address is something like \"romeo@example.org\".",
	              "\"%.1000s\" is no valid address.", with);
	return false;
}

bool archive_range_has(const struct archive_range *range, const char *peer, const char *sender,
                       const char *recipient)
{
	const struct jid *with = range->with;

	if (!with)
		return true;
	if (jid_has_resource(with))
		return strcmp(sender, with->text) == 0 || strcmp(recipient, with->text) == 0;
	return strcmp(peer, with->text) == 0;
}

/* ---- in answers */

json_t *archive_time(int64_t id)
{
	char stamp[STAMP_SIZE];

	return json_string(stamp_write(id >> ID_TIME_SHIFT, stamp));
}

json_t *archive_id(int64_t id)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)id);
	return json_string(text);
}

json_t *archive_months(const uint64_t *messages, const uint64_t *bytes)
{
	json_t *list = json_array();
	char name[16];

	for (unsigned i = 0; i < STAMP_MONTHS; i++) {
		if (!messages[i])
			continue;
		snprintf(name, sizeof(name), "%04u-%02u", 1970 + i / 12, i % 12 + 1);
		json_t *month = json_pack("{s:s, s:I}", "month", name, "messages", (json_int_t)messages[i]);
		if (bytes)
			json_object_set_new(month, "bytes", json_integer((json_int_t)bytes[i]));
		json_array_append_new(list, month);
	}
	return list;
}
