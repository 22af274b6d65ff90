/* admin_archive.c - the administrator's commands about archives: how they are worked off, and those about one
 * account, search and show. See admin_archive.h. */
#include "admin_archive.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "archive_text.h"
#include "module.h"
#include "stamp.h"
#include "text.h"

#define JOBS_MAX 2 /* at work: the pool's other threads hash passwords */
#define ROWS_AT_ONCE 500
#define LINE_CHARACTERS 160
#define WORDS_IN_SEARCH 16
#define LIMIT 100
#define LIMIT_MAX 1000000
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

bool archive_run(struct archive_job *job, const struct sql *sql, const struct param *params, unsigned count,
                 store_rows_fn *fn, void *arg)
{
	char *error = NULL;

	if (database_session_run(job->session, sql, params, count, fn, arg, &error))
		return true;
	archive_refuse(job, CONTROL_AWAY,
	               "Look with \"musterctl status\" how the database is, then try again.", "%s.", error);
	mem_free(error);
	return false;
}

static bool session_open(struct archive_job *job)
{
	const struct server *srv = request_server(job->request);
	char *error = NULL;

	job->session = database_session_open(srv->db, job->at_one_moment, &error);
	if (job->session)
		return true;
	archive_refuse(job, CONTROL_AWAY,
	               "Look with \"musterctl status\" how the database is, then try again.", "%s.", error);
	mem_free(error);
	return false;
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

/* ---- whose archive */

static const struct sql sql_owner = {
	.name = "archive_owner",
	.text = "select a.id, coalesce(m.taken, 0) from account a join host h on h.id = a.host"
		" left join mark m on m.owner = a.id where h.name = $1 and a.name = $2",
};

struct owner {
	int64_t id, taken; /* 0: there is no such account */
};

static void on_owner(void *arg, const struct rows *rows)
{
	struct owner *owner = arg;

	if (rows_count(rows))
		*owner = (struct owner){ rows_int(rows, 0, 0), rows_int(rows, 0, 1) };
}

static bool owner_find(struct archive_job *job, const struct jid *j, struct owner *owner)
{
	*owner = (struct owner){ 0 };
	return archive_run(
	    job, &sql_owner,
	    PARAMS(P_TEXTN(jid_domain(j), jid_domain_len(j)), P_TEXTN(j->text, j->local_len)), on_owner,
	    owner);
}

/* The same; that there is none is a refusal. */
static bool owner_must(struct archive_job *job, const struct jid *j, struct owner *owner)
{
	return owner_find(job, j, owner) &&
	       (owner->id ||
	        archive_refuse(job, CONTROL_REFUSED, "\"musterctl user list\" shows the accounts.",
	                       "There is no account %s.", j->text));
}

/* ---- search: from the newest entry to the oldest, all that are looked at in between */

/* A portion is bounded in bytes too. */
#define SEARCH(bytes, range)                                                                               \
	"select x.id, x.record, x.peer, x.is_out, x.sender, x.recipient, x.stanza from"                    \
	" (select e.id, e.record, e.peer, e.is_out, r.sender, r.recipient, r.stanza,"                      \
	" sum(" bytes ") over (order by e.id desc rows between unbounded preceding and 1 preceding)"       \
	" as before from (select id, record, peer, is_out from entry"                                      \
	" where owner = $1 " range ") e left join record r on r.id = e.record) x"                          \
	" where coalesce(x.before, 0) < 500000 order by x.id desc"
#define SEARCH_ALL "and id >= $2 and id < $3 order by id desc limit $4"
#define SEARCH_WITH "and peer = $2 and id >= $3 and id < $4 order by id desc limit $5"

static const struct sql sql_search = {
	.name = "archive_search",
	.text = SEARCH("octet_length(r.stanza)", SEARCH_ALL),
	.sqlite = SEARCH("length(cast(r.stanza as blob))", SEARCH_ALL),
};
static const struct sql sql_search_with = {
	.name = "archive_search_with",
	.text = SEARCH("octet_length(r.stanza)", SEARCH_WITH),
	.sqlite = SEARCH("length(cast(r.stanza as blob))", SEARCH_WITH),
};
static const struct sql sql_oldest = {
	.name = "archive_oldest",
	.text = "select min(id) from entry where owner = $1 and id >= $2",
};

struct search_job {
	struct archive_job job;
	const struct jid *account;
	struct owner owner;
	struct archive_range range;
	char *words[WORDS_IN_SEARCH]; /* folded */
	unsigned word_count, looked, limit, found;
	int64_t newest, oldest,
	    at; /* the first and the last entry to look at, and the one behind the next */
	struct arena portion;
};

static void on_search_end(struct archive_job *job)
{
	struct search_job *s = CONTAINER_OF(job, struct search_job, job);

	jid_unref(s->range.with);
	arena_free(&s->portion);
}

/* Each word is somewhere in it. */
static bool search_fits(struct search_job *s, const char *text)
{
	const char *folded = s->word_count ? text_fold(&s->portion, text) : "";
	unsigned i = 0;

	while (i < s->word_count && strstr(folded, s->words[i]))
		i++;
	return i == s->word_count;
}

static void search_look(struct search_job *s, const struct rows *rows, unsigned i)
{
	const char *peer = rows_text(rows, i, 2), *stanza = rows_text(rows, i, 6);

	if (!stanza || !archive_range_has(&s->range, peer, rows_text(rows, i, 4), rows_text(rows, i, 5)))
		return;
	struct stanza *st = stanza_parse(stanza, strlen(stanza));
	const char *text = st ? archive_text(&s->portion, st) : "[damaged]";
	if (search_fits(s, text)) {
		struct buffer line = { 0 };

		archive_add_safe(&line, archive_line(&s->portion, text, LINE_CHARACTERS));
		json_array_append_new(json_object_get(s->job.page, "messages"),
		                      json_pack("{s:o, s:o, s:s, s:s, s:o}", "id",
		                                archive_id(rows_int(rows, i, 0)), "time",
		                                archive_time(rows_int(rows, i, 0)), "direction",
		                                rows_int(rows, i, 3) ? "to" : "from", "peer", peer, "text",
		                                json_string(line.data ? line.data : "")));
		s->found++;
		buffer_free(&line);
	}
	stanza_unref(st);
}

static void on_search(void *arg, const struct rows *rows)
{
	struct search_job *s = arg;
	unsigned count = rows_count(rows), i = 0;

	for (; i < count && s->found < s->limit; i++) {
		s->at = rows_int(rows, i, 0);
		search_look(s, rows, i);
	}
	s->looked += i;
	s->job.is_over = count == 0 || s->found == s->limit;
	if (count && !s->newest)
		s->newest = rows_int(rows, 0, 0);
	arena_free(&s->portion);
}

static void on_oldest(void *arg, const struct rows *rows)
{
	*(int64_t *)arg = rows_int(rows, 0, 0);
}

/* How far it is, by time, in thousandths. */
static int search_done(const struct search_job *s)
{
	return s->newest > s->oldest ? (int)((s->newest - s->at) / ((s->newest - s->oldest) / 1000 + 1))
	                             : 1000;
}

static bool search_read(struct search_job *s)
{
	const struct jid *with = s->range.with;
	int64_t owner = s->owner.id, since = s->range.since;

	if (!with)
		return archive_run(&s->job, &sql_search,
		                   PARAMS(P_INT(owner), P_INT(since), P_INT(s->at), P_INT(ROWS_AT_ONCE)),
		                   on_search, s);
	return archive_run(&s->job, &sql_search_with,
	                   PARAMS(P_INT(owner), P_TEXTN(with->text, with->bare_len), P_INT(since),
	                          P_INT(s->at), P_INT(ROWS_AT_ONCE)),
	                   on_search, s);
}

static bool search_step(struct archive_job *job)
{
	struct search_job *s = CONTAINER_OF(job, struct search_job, job);

	if (!s->owner.id &&
	    (!owner_must(job, s->account, &s->owner) ||
	     !archive_run(job, &sql_oldest, PARAMS(P_INT(s->owner.id), P_INT(s->range.since)), on_oldest,
	                  &s->oldest)))
		return false;
	job->page = json_pack("{s:[]}", "messages");
	if (!search_read(s))
		return false;
	json_object_set_new(job->page, "done", json_integer(search_done(s)));
	if (job->is_over) { /* the rest of that millisecond is found again rather than not at all */
		int64_t go_on = s->at == INT64_MAX ? 0 : s->at + ((int64_t)1000 << ID_TIME_SHIFT);

		job->result = json_pack("{s:i, s:b, s:i, s:o}", "found", (int)s->found, "more",
		                        s->found == s->limit && s->at > s->oldest, "looked_at",
		                        (int)s->looked, "go_on_until", archive_time(go_on));
	}
	return true;
}

/* The words of the argument, folded. False: the request has been refused. */
static bool search_words(struct request *r, struct search_job *s)
{
	const char *text = request_arg(r, "words");
	char *rest = text ? text_fold(request_arena(r), text) : NULL, *word;

	while (rest && (word = strsep(&rest, " \t\n"))) {
		if (*word && s->word_count == WORDS_IN_SEARCH) {
			request_failf(r, CONTROL_USAGE, "Take the rarest of them.",
			              "These are more than %d words.", WORDS_IN_SEARCH);
			return false;
		}
		if (*word)
			s->words[s->word_count++] = word;
	}
	return true;
}

static bool search_limit(struct request *r, struct search_job *s)
{
	const char *text = request_arg(r, "limit");
	char *end;

	s->limit = LIMIT;
	if (!text)
		return true;
	unsigned long limit = strtoul(text, &end, 10);
	s->limit = (unsigned)limit;
	if (*text >= '1' && *text <= '9' && !*end && limit <= LIMIT_MAX)
		return true;
	request_failf(r, CONTROL_USAGE, "Without it, it is 100.", "\"%.100s\" is no number from 1 to %d.",
	              text, LIMIT_MAX);
	return false;
}

void admin_archive_search(struct request *r)
{
	const struct jid *account = admin_account(r, false);
	struct search_job *s = account ? arena_zalloc(request_arena(r), sizeof(*s)) : NULL;

	if (!account || !search_words(r, s) || !search_limit(r, s) || !archive_range_read(r, &s->range))
		return;
	s->account = account;
	s->at = s->range.until;
	s->job.step = search_step;
	s->job.end = on_search_end;
	archive_start(&s->job, r);
}

/* ---- show: one message, and where it stands */

static const struct sql sql_entry = {
	.name = "archive_entry",
	.text =
	    "select id, record, is_out, coalesce(retraction, 0) from entry where owner = $1 and id = $2",
};
/* There is no index by record, but an entry is made when its record is there: its id is hardly smaller. */
static const struct sql sql_entry_of = {
	.name = "archive_entry_of",
	.text = "select x.id, x.record, x.is_out, coalesce(x.retraction, 0) from"
		" (select id, record, is_out, retraction from entry where owner = $1 and id >= $2"
		" order by id limit 50000) x where x.record = $3 limit 1",
};
static const struct sql sql_record = {
	.name = "archive_record",
	.text = "select r.sender, r.recipient, r.stanza,"
		" (select count(*) from transit t where t.record = r.id) from record r where r.id = $1",
};

#define MARGIN ((int64_t)60 * US_PER_SECOND << ID_TIME_SHIFT) /* clocks are set */

struct entry {
	int64_t id, record; /* 0: there is none */
	bool is_out;
	int64_t retraction; /* the record that took it back, or 0 */
};

static void on_entry(void *arg, const struct rows *rows)
{
	struct entry *e = arg;

	if (rows_count(rows))
		*e = (struct entry){ rows_int(rows, 0, 0), rows_int(rows, 0, 1), rows_int(rows, 0, 2) != 0,
			             rows_int(rows, 0, 3) };
}

static bool entry_find(struct archive_job *job, const struct owner *owner, int64_t record, struct entry *e)
{
	*e = (struct entry){ 0 };
	return !owner->id ||
	       archive_run(
		   job, &sql_entry_of,
		   PARAMS(P_INT(owner->id), P_INT(record > MARGIN ? record - MARGIN : 0), P_INT(record)),
		   on_entry, e);
}

struct message_job {
	struct archive_job job;
	const struct jid *account;
	int64_t id;
	bool is_record;
	struct entry entry;
};

/* One of the two whose message it is. */
static json_t *holder_json(const struct jid *j, const struct owner *owner, const struct entry *e)
{
	const char *state = !owner->id              ? "no account here"
	                    : !e->id                ? "not in the archive"
	                    : e->is_out             ? "sent"
	                    : e->id <= owner->taken ? "received, taken by a client"
	                                            : "received, waits for a client";

	return json_pack("{s:s%, s:o, s:s}", "jid", j->text, (size_t)j->bare_len, "id",
	                 e->id ? archive_id(e->id) : json_null(), "state", state);
}

static bool holder_add(struct archive_job *job, const char *address, int64_t record)
{
	struct jid *j = jid_parse(address, strlen(address));
	struct owner owner;
	struct entry e;
	bool is_ok = j && owner_find(job, j, &owner) && entry_find(job, &owner, record, &e);

	if (is_ok)
		json_array_append_new(json_object_get(job->result, "archives"), holder_json(j, &owner, &e));
	jid_unref(j);
	return is_ok || job->error ||
	       archive_refuse(job, CONTROL_BROKEN, NULL, "Record %lld has a bad address: %s.",
	                      (long long)record, address);
}

static void on_record(void *arg, const struct rows *rows)
{
	struct message_job *m = arg;
	struct buffer xml = { 0 };
	struct arena a = { 0 };

	if (!rows_count(rows))
		return;
	const char *sender = rows_text(rows, 0, 0), *recipient = rows_text(rows, 0, 1),
		   *stanza = rows_text(rows, 0, 2);
	struct stanza *st = stanza_parse(stanza, strlen(stanza));
	archive_xml(&xml, stanza, sender, recipient);
	m->job.result =
	    json_pack("{s:o, s:o, s:o, s:s, s:s, s:s, s:b, s:o, s:[], s:s, s:s}", "id",
	              archive_id(m->entry.id), "record", archive_id(m->entry.record), "time",
	              archive_time(m->entry.id), "direction", m->entry.is_out ? "to" : "from", "from",
	              sender, "to", recipient, "in_transit", rows_int(rows, 0, 3) != 0, "taken_back_by",
	              m->entry.retraction ? archive_id(m->entry.retraction) : json_null(), "archives",
	              "text", st ? archive_text(&a, st) : "[damaged]", "xml", xml.data);
	stanza_unref(st);
	buffer_free(&xml);
	arena_free(&a);
}

static bool message_step(struct archive_job *job)
{
	struct message_job *m = CONTAINER_OF(job, struct message_job, job);
	struct owner owner;

	if (!owner_must(job, m->account, &owner))
		return false;
	if (m->is_record
	        ? !entry_find(job, &owner, m->id, &m->entry)
	        : !archive_run(job, &sql_entry, PARAMS(P_INT(owner.id), P_INT(m->id)), on_entry, &m->entry))
		return false;
	if (!m->entry.id)
		return archive_refuse(job, CONTROL_REFUSED, "\"musterctl archive search\" shows the ids.",
		                      "There is no message %lld in the archive of %s.", (long long)m->id,
		                      m->account->text);
	if (!archive_run(job, &sql_record, PARAMS(P_INT(m->entry.record)), on_record, m))
		return false;
	if (!job->result)
		return archive_refuse(job, CONTROL_BROKEN, "It has been deleted by hand.",
		                      "The archive of %s names record %lld, which is not there.",
		                      m->account->text, (long long)m->entry.record);
	job->is_over = true;
	const char *sender = json_string_value(json_object_get(job->result, "from")),
		   *recipient = json_string_value(json_object_get(job->result, "to"));
	return holder_add(job, sender, m->entry.record) &&
	       (strcmp(sender, recipient) == 0 || holder_add(job, recipient, m->entry.record));
}

void admin_archive_show(struct request *r)
{
	const struct jid *account = admin_account(r, false);
	char *end;

	if (!account)
		return;
	const char *text = request_arg(r, "id");
	long long id = strtoll(text, &end, 10);
	if (*text < '1' || *text > '9' || *end || id == INT64_MAX) {
		request_failf(r, CONTROL_USAGE, "\"musterctl archive search\" shows the ids.",
		              "\"%.100s\" is no id of a message.", text);
		return;
	}
	struct message_job *m = arena_zalloc(request_arena(r), sizeof(*m));
	*m = (struct message_job){ .job.step = message_step,
		                   .account = account,
		                   .id = id,
		                   .is_record = request_bool(r, "record", false) };
	archive_start(&m->job, r);
}
