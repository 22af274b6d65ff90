/* admin_archive_find.c - the administrator's commands about the archive of one account: search it for words, and
 * show one message of it, with where that stands. */
#include "admin_archive.h"

#include <stdlib.h>
#include <string.h>

#include "archive_text.h"
#include "module.h"
#include "text.h"

#define ROWS_AT_ONCE 500
#define LINE_CHARACTERS 160
#define WORDS_IN_SEARCH 16
#define LIMIT 100
#define LIMIT_MAX 1000000

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
	    "select id, record, is_out, coalesce(retraction, 0), passing from entry where owner = $1 and id = $2",
};
/* There is no index by record, but an entry is made when its record is there: its id is hardly smaller. */
static const struct sql sql_entry_of = {
	.name = "archive_entry_of",
	.text = "select x.id, x.record, x.is_out, coalesce(x.retraction, 0), x.passing from"
		" (select id, record, is_out, retraction, passing from entry where owner = $1 and id >= $2"
		" order by id limit 50000) x where x.record = $3 limit 1",
};
static const struct sql sql_record = {
	.name = "archive_record",
	.text = "select r.sender, r.recipient, r.stanza,"
		" (select count(*) from transit t where t.record = r.id) from record r where r.id = $1",
};

#define MARGIN ((int64_t)60 * 1000000 << ID_TIME_SHIFT) /* clocks are set */

struct entry {
	int64_t id, record; /* 0: there is none */
	bool is_out, is_passing;
	int64_t retraction; /* the record that took it back, or 0 */
};

static void on_entry(void *arg, const struct rows *rows)
{
	struct entry *e = arg;

	if (rows_count(rows))
		*e = (struct entry){ rows_int(rows, 0, 0), rows_int(rows, 0, 1), rows_int(rows, 0, 2) != 0,
			             rows_int(rows, 0, 4) != 0, rows_int(rows, 0, 3) };
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

	return json_pack("{s:s%, s:o, s:o}", "jid", j->text, (size_t)j->bare_len, "id",
	                 e->id ? archive_id(e->id) : json_null(), "state",
	                 json_sprintf("%s%s", state, e->is_passing ? ", not kept" : ""));
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
