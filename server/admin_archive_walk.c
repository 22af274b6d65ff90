/* admin_archive_walk.c - the administrator's commands that walk through many archives: export gives all that is
 * in them to musterctl, which makes files of it; stats counts. One account, those of a domain, or all, in the
 * order of their addresses; each from its oldest entry on.
 *
 * It is all of one moment, its beginning. PostgreSQL sees to that; on SQLite, where each statement sees what there is
 * then, nothing newer is read, and what has been taken back since is not said. Only what goes meanwhile by its age is
 * missing there from the archives that are read after it. */
#include "admin_archive.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "archive_text.h"
#include "host.h"
#include "module.h"
#include "stamp.h"

#define ACCOUNTS_AT_ONCE 1000
#define READ_AT_ONCE 500   /* entries, with their messages */
#define COUNT_AT_ONCE 5000 /* entries, without them */
#define READS_IN_STEP 100  /* of accounts that have little or nothing */
#define STEP_BYTES 500000
#define SHARE 1000 /* of each account in the progress */

/* ---- statements */

static const struct sql sql_accounts = {
	.name = "archive_accounts",
	.text = "select id, name from account where host = $1 and name > $2 order by name limit $3",
};
static const struct sql sql_one = {
	.name = "archive_one",
	.text = "select id, name from account where host = $1 and name = $2",
};
static const struct sql sql_count = {
	.name = "archive_count",
	.text = "select count(*) from account where host = $1",
};
static const struct sql sql_newest = {
	.name = "archive_newest",
	.text = "select max(id) from entry where owner = $1",
};
static const struct sql sql_range = {
	.name = "archive_range",
	.text = "select min(id), max(id) from entry where owner = $1 and id >= $2 and id < $3",
};

/* What an archive does not show is not in its files either. A portion is bounded in bytes too. */
#define EXPORT(bytes, range)                                                                               \
	"select x.id, x.record, x.peer, x.is_out, x.sender, x.recipient, x.stanza, x.retraction from"      \
	" (select e.id, e.record, e.peer, e.is_out, e.retraction, r.sender, r.recipient, r.stanza,"        \
	" sum(" bytes ") over (order by e.id rows between unbounded preceding and 1 preceding)"            \
	" as before from (select id, record, peer, is_out, retraction from entry"                          \
	" where owner = $1 and passing = 0 " range ") e left join record r on r.id = e.record) x"          \
	" where coalesce(x.before, 0) < 500000 order by x.id"
#define EXPORT_ALL "and id > $2 and id < $3 order by id limit $4"
#define EXPORT_WITH "and peer = $2 and id > $3 and id < $4 order by id limit $5"

static const struct sql sql_export = {
	.name = "archive_export",
	.text = EXPORT("octet_length(r.stanza)", EXPORT_ALL),
	.sqlite = EXPORT("length(cast(r.stanza as blob))", EXPORT_ALL),
};
static const struct sql sql_export_with = {
	.name = "archive_export_with",
	.text = EXPORT("octet_length(r.stanza)", EXPORT_WITH),
	.sqlite = EXPORT("length(cast(r.stanza as blob))", EXPORT_WITH),
};

#define STATS(bytes)                                                                                       \
	"select e.id, coalesce(" bytes ", 0) from (select id, record from entry where owner = $1"          \
	" and id > $2 and id < $3 order by id limit $4) e left join record r on r.id = e.record order by e.id"

static const struct sql sql_stats = {
	.name = "archive_stats",
	.text = STATS("octet_length(r.stanza)"),
	.sqlite = STATS("length(cast(r.stanza as blob))"),
};

/* What PostgreSQL believes, by the parts of the tables: nothing is counted. */
static const struct sql sql_estimate = {
	.name = "archive_estimate",
	.text =
	    "select coalesce(replace(substring(c.relname from '_(.*)'), '_', '-'), 'all'),"
	    " coalesce(sum(greatest(c.reltuples, 0)) filter (where c.relname ~ '^entry'), 0)::bigint,"
	    " coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint,"
	    " (select min(id) from record), (select max(id) from record)"
	    " from pg_class c where c.relkind = 'r' and (c.oid in ('entry'::regclass, 'record'::regclass)"
	    " or c.oid in (select inhrelid from pg_inherits where inhparent in ('entry'::regclass,"
	    " 'record'::regclass))) group by 1 order by 1",
};

/* ---- the walk */

struct account {
	int64_t id;
	const char *name;
};

struct walk_job {
	struct archive_job job;
	/* Reads a portion of the present account from `at` on, and moves that; sets is_read when nothing is there. */
	bool (*read)(struct walk_job *w);
	struct hosts *hosts; /* a reference */
	unsigned host, end;  /* in hosts: the present one, and behind the last */
	const char *only;    /* the name of the one account, or NULL */
	struct archive_range range;
	int64_t begun;            /* an id: what comes after it is not read */
	struct account *accounts; /* a portion of the present host's, in `names`; the present one of them */
	unsigned account, account_count;
	bool is_last_portion;
	struct arena names;
	char after[JID_PART_MAX + 1];           /* the last of the portion */
	bool is_begun, is_read;                 /* the present account */
	int64_t until;                          /* its entries: what is below this, */
	int64_t at, oldest, newest;             /* what was read last, and which there are */
	uint64_t total, passed, has_some;       /* accounts: of which so many have messages */
	uint64_t messages, text_bytes;          /* so far */
	uint64_t *month_messages, *month_bytes; /* by stamp_month; not for the export */
	int64_t first, last;                    /* of all entries */
	struct buffer xml;                      /* of one message */
	json_t *part; /* the present account's in the page, which owns it; or NULL */
	size_t bytes; /* in the page */
};

static void on_walk_end(struct archive_job *job)
{
	struct walk_job *w = CONTAINER_OF(job, struct walk_job, job);

	jid_unref(w->range.with);
	hosts_unref(w->hosts);
	arena_free(&w->names);
	buffer_free(&w->xml);
}

static void on_accounts_counted(void *arg, const struct rows *rows)
{
	*(uint64_t *)arg += (uint64_t)rows_int(rows, 0, 0);
}

static bool accounts_count(struct walk_job *w)
{
	bool is_ok = true;

	for (unsigned i = w->host; is_ok && i < w->end && !w->only; i++)
		is_ok = archive_run(&w->job, &sql_count, PARAMS(P_INT(w->hosts->list[i].id)),
		                    on_accounts_counted, &w->total);
	w->total += w->total == 0;
	return is_ok;
}

static const struct host *walk_host(const struct walk_job *w)
{
	return &w->hosts->list[w->host];
}

static void on_accounts(void *arg, const struct rows *rows)
{
	struct walk_job *w = arg;
	unsigned count = rows_count(rows);

	arena_free(&w->names);
	w->account = 0;
	w->account_count = count;
	w->is_last_portion = w->only || count < ACCOUNTS_AT_ONCE;
	w->accounts = arena_alloc(&w->names, (count + 1) * sizeof(*w->accounts));
	for (unsigned i = 0; i < count; i++)
		w->accounts[i] = (struct account){ rows_int(rows, i, 0),
			                           arena_strdup(&w->names, rows_text(rows, i, 1)) };
	snprintf(w->after, sizeof(w->after), "%s", count ? w->accounts[count - 1].name : "");
}

static bool accounts_read(struct walk_job *w)
{
	int64_t host = walk_host(w)->id;

	if (!w->only)
		return archive_run(&w->job, &sql_accounts,
		                   PARAMS(P_INT(host), P_TEXT(w->after), P_INT(ACCOUNTS_AT_ONCE)),
		                   on_accounts, w);
	return archive_run(&w->job, &sql_one, PARAMS(P_INT(host), P_TEXT(w->only)), on_accounts, w) &&
	       (w->account_count ||
	        archive_refuse(&w->job, CONTROL_REFUSED, "\"musterctl user list\" shows the accounts.",
	                       "There is no account %s@%s.", w->only, walk_host(w)->jid->text));
}

/* Goes to the next account, if there is one: beyond the last, is_over is set. */
static bool walk_next(struct walk_job *w)
{
	w->is_begun = w->is_read = false;
	w->part = NULL;
	w->account++;
	while (w->account >= w->account_count && !w->job.is_over) {
		if (w->is_last_portion) {
			w->host++;
			w->after[0] = '\0';
		}
		w->is_last_portion = false;
		if (w->host == w->end)
			w->job.is_over = true;
		else if (!accounts_read(w))
			return false;
	}
	return true;
}

static void on_range(void *arg, const struct rows *rows)
{
	struct walk_job *w = arg;

	w->is_begun = true;
	w->is_read = rows_is_null(rows, 0, 0);
	w->oldest = rows_int(rows, 0, 0);
	w->newest = rows_int(rows, 0, 1);
	w->at = w->oldest - 1;
	if (w->is_read)
		return;
	w->has_some++;
	w->first = !w->first || w->oldest < w->first ? w->oldest : w->first;
	w->last = w->newest > w->last ? w->newest : w->last;
}

/* The ids of who got messages while the clock was wrong go on from there: that archive is read to its end. */
static void on_newest(void *arg, const struct rows *rows)
{
	struct walk_job *w = arg;
	int64_t soon = ((int64_t)time(NULL) + 1) * 1000000 << ID_TIME_SHIFT;

	w->until = w->range.until;
	if (rows_int(rows, 0, 0) < soon && w->until > w->begun)
		w->until = w->begun;
}

static bool account_begin(struct walk_job *w)
{
	int64_t owner = w->accounts[w->account].id;

	return archive_run(&w->job, &sql_newest, PARAMS(P_INT(owner)), on_newest, w) &&
	       archive_run(&w->job, &sql_range,
	                   PARAMS(P_INT(owner), P_INT(w->range.since), P_INT(w->until)), on_range, w);
}

/* Behind these rows, whose first column is the entry's id; or they were none. */
static void walk_on(struct walk_job *w, const struct rows *rows)
{
	w->is_read = rows_count(rows) == 0;
	if (!w->is_read)
		w->at = rows_int(rows, rows_count(rows) - 1, 0);
}

/* In thousandths of accounts: of the present one by time. */
static json_int_t walk_done(const struct walk_job *w)
{
	int64_t done = (int64_t)w->passed * SHARE;

	if (!w->job.is_over && w->is_begun && w->newest > w->oldest)
		done += (w->at - w->oldest) / ((w->newest - w->oldest) / SHARE + 1);
	return done;
}

static bool walk_step(struct archive_job *job)
{
	struct walk_job *w = CONTAINER_OF(job, struct walk_job, job);

	if (!w->total && (!accounts_count(w) || !walk_next(w)))
		return false;
	job->page = json_pack("{s:[]}", "parts");
	w->part = NULL;
	w->bytes = 0;
	for (unsigned i = 0; i < READS_IN_STEP && w->bytes < STEP_BYTES && !job->is_over; i++) {
		if (!w->is_begun && !account_begin(w))
			return false;
		if (!w->is_read && !w->read(w))
			return false;
		if (!w->is_read)
			continue;
		w->passed++;
		if (!walk_next(w))
			return false;
	}
	json_object_set_new(job->page, "done", json_integer(walk_done(w)));
	json_object_set_new(job->page, "total", json_integer((json_int_t)w->total * SHARE));
	return true;
}

/* Of whom: the argument "of" is an account or a domain; without it, all. False: the request has been refused. */
static bool walk_scope(struct request *r, struct walk_job *w, struct hosts *hosts)
{
	const char *text = request_arg(r, "of");
	struct jid *j = text ? jid_parse(text, strlen(text)) : NULL;

	w->end = hosts->count;
	if (!text)
		return true;
	if (!j || jid_has_resource(j)) {
		request_failf(r, CONTROL_USAGE,
		              "It is something like \"romeo@example.org\" or \"example.org\".",
		              "\"%.1000s\" is no address of an account, and no domain.", text);
		jid_unref(j);
		return false;
	}
	char *domain = arena_strndup(request_arena(r), jid_domain(j), jid_domain_len(j));
	w->only = jid_has_local(j) ? arena_strndup(request_arena(r), j->text, j->local_len) : NULL;
	jid_unref(j);
	const struct host *h = admin_host(r, domain);
	if (!h)
		return false;
	w->host = (unsigned)(h - hosts->list);
	w->end = w->host + 1;
	return true;
}

/* Takes range->with over. NULL: the request has been refused. */
static struct walk_job *walk_new(struct request *r, const struct archive_range *range)
{
	struct hosts *hosts = admin_reactor(r)->hosts;
	struct walk_job *w = arena_zalloc(request_arena(r), sizeof(*w));

	if (!walk_scope(r, w, hosts)) {
		jid_unref(range->with);
		return NULL;
	}
	w->range = *range;
	w->begun = admin_reactor(r)->now << ID_TIME_SHIFT;
	w->hosts = hosts_ref(hosts);
	w->job.end = on_walk_end;
	w->job.at_one_moment = true;
	return w;
}

/* ---- export */

static void export_add(struct walk_job *w, const struct rows *rows, unsigned i)
{
	const char *peer = rows_text(rows, i, 2), *sender = rows_text(rows, i, 4),
		   *recipient = rows_text(rows, i, 5), *stanza = rows_text(rows, i, 6);

	if (!stanza || !archive_range_has(&w->range, peer, sender, recipient))
		return;
	if (!w->part) {
		w->part = json_pack("{s:s, s:s, s:[]}", "host", walk_host(w)->jid->text, "name",
		                    w->accounts[w->account].name, "messages");
		json_array_append_new(json_object_get(w->job.page, "parts"), w->part);
	}
	w->xml.len = 0;
	archive_xml(&w->xml, stanza, sender, recipient);
	json_t *message =
	    json_pack("{s:o, s:o, s:s, s:s, s:s, s:s, s:s}", "id", archive_id(rows_int(rows, i, 0)), "time",
	              archive_time(rows_int(rows, i, 0)), "direction", rows_int(rows, i, 3) ? "to" : "from",
	              "peer", peer, "from", sender, "to", recipient, "xml", w->xml.data);
	if (!rows_is_null(rows, i, 7) && rows_int(rows, i, 7) < w->until)
		json_object_set_new(message, "taken_back_by", archive_id(rows_int(rows, i, 7)));
	json_array_append_new(json_object_get(w->part, "messages"), message);
	w->bytes += w->xml.len;
	w->messages++;
}

static void on_export(void *arg, const struct rows *rows)
{
	struct walk_job *w = arg;
	unsigned count = rows_count(rows);

	for (unsigned i = 0; i < count; i++)
		export_add(w, rows, i);
	walk_on(w, rows);
}

static bool export_read(struct walk_job *w)
{
	const struct jid *with = w->range.with;
	int64_t owner = w->accounts[w->account].id;

	if (!with)
		return archive_run(&w->job, &sql_export,
		                   PARAMS(P_INT(owner), P_INT(w->at), P_INT(w->until), P_INT(READ_AT_ONCE)),
		                   on_export, w);
	return archive_run(&w->job, &sql_export_with,
	                   PARAMS(P_INT(owner), P_TEXTN(with->text, with->bare_len), P_INT(w->at),
	                          P_INT(w->until), P_INT(READ_AT_ONCE)),
	                   on_export, w);
}

static bool export_step(struct archive_job *job)
{
	struct walk_job *w = CONTAINER_OF(job, struct walk_job, job);

	if (!walk_step(job))
		return false;
	if (job->is_over)
		job->result =
		    json_pack("{s:I, s:I, s:o}", "messages", (json_int_t)w->messages, "accounts",
		              (json_int_t)w->passed, "until",
		              archive_time(w->range.until < w->begun ? w->range.until : w->begun));
	return true;
}

void admin_archive_export(struct request *r)
{
	struct archive_range range;
	struct walk_job *w = archive_range_read(r, &range) ? walk_new(r, &range) : NULL;

	if (!w)
		return;
	w->read = export_read;
	w->job.step = export_step;
	archive_start(&w->job, r);
}

/* ---- stats */

static void on_stats(void *arg, const struct rows *rows)
{
	struct walk_job *w = arg;
	unsigned count = rows_count(rows);

	for (unsigned i = 0; i < count; i++) {
		unsigned month = stamp_month(rows_int(rows, i, 0) >> ID_TIME_SHIFT);
		uint64_t bytes = (uint64_t)rows_int(rows, i, 1);

		w->month_messages[month]++;
		w->month_bytes[month] += bytes;
		w->text_bytes += bytes;
	}
	w->messages += count;
	walk_on(w, rows);
}

static bool stats_read(struct walk_job *w)
{
	return archive_run(
	    &w->job, &sql_stats,
	    PARAMS(P_INT(w->accounts[w->account].id), P_INT(w->at), P_INT(w->until), P_INT(COUNT_AT_ONCE)),
	    on_stats, w);
}

static json_t *time_or_null(int64_t id)
{
	return id ? archive_time(id) : json_null();
}

static bool stats_step(struct archive_job *job)
{
	struct walk_job *w = CONTAINER_OF(job, struct walk_job, job);

	if (!walk_step(job))
		return false;
	if (job->is_over)
		job->result =
		    json_pack("{s:b, s:I, s:I, s:o, s:o, s:I, s:I, s:o}", "is_estimate", 0, "messages",
		              (json_int_t)w->messages, "bytes", (json_int_t)w->text_bytes, "oldest",
		              time_or_null(w->first), "newest", time_or_null(w->last), "accounts",
		              (json_int_t)w->passed, "with_messages", (json_int_t)w->has_some, "months",
		              archive_months(w->month_messages, w->month_bytes));
	return true;
}

static void on_estimate(void *arg, const struct rows *rows)
{
	struct walk_job *w = arg;
	json_t *months = json_array();

	for (unsigned i = 0; i < rows_count(rows); i++) {
		int64_t messages = rows_int(rows, i, 1), bytes = rows_int(rows, i, 2);

		w->messages += (uint64_t)messages;
		w->text_bytes += (uint64_t)bytes;
		if (messages)
			json_array_append_new(
			    months, json_pack("{s:s, s:I, s:I}", "month", rows_text(rows, i, 0), "messages",
			                      (json_int_t)messages, "bytes", (json_int_t)bytes));
	}
	w->job.result = json_pack("{s:b, s:I, s:I, s:o, s:o, s:o}", "is_estimate", 1, "messages",
	                          (json_int_t)w->messages, "bytes", (json_int_t)w->text_bytes, "oldest",
	                          time_or_null(rows_int(rows, 0, 3)), "newest",
	                          time_or_null(rows_int(rows, 0, 4)), "months", months);
}

static bool estimate_step(struct archive_job *job)
{
	struct walk_job *w = CONTAINER_OF(job, struct walk_job, job);

	job->is_over = true;
	return archive_run(job, &sql_estimate, NO_PARAMS, on_estimate, w);
}

/* Counting all of a large database takes long: without a name PostgreSQL is asked for what it believes. */
void admin_archive_stats(struct request *r)
{
	const struct server *srv = request_server(r);
	struct walk_job *w = walk_new(r, &(struct archive_range){ .until = INT64_MAX });

	if (!w)
		return;
	bool is_all = !request_arg(r, "of"), is_exact = request_bool(r, "exact", false);
	w->month_messages = arena_zalloc(request_arena(r), STAMP_MONTHS * sizeof(uint64_t));
	w->month_bytes = arena_zalloc(request_arena(r), STAMP_MONTHS * sizeof(uint64_t));
	w->read = stats_read;
	w->job.step = is_all && !is_exact && database_is_postgresql(srv->db) ? estimate_step : stats_step;
	archive_start(&w->job, r);
}
