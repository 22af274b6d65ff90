/* archive_expire.c - see archive_expire.h.
 *
 * An entry goes when it is older than its owner's host keeps it. A record has no list of its entries; but an entry
 * is made when its record is there, seconds later, or hours when the database was away. So a record goes a day after
 * what both its hosts keep, those of them that are served here. On PostgreSQL whole months go first, when all
 * hosts are through with them.
 *
 * What its owner did not want to keep (entry.passing) goes as soon as it is below his mark and a day old: until then
 * it may still say that a message has arrived, to what a spool holds (transit.c). */
#include "archive_expire.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "module.h"

#define ROWS_AT_ONCE 1000
#define US_PER_DAY ((int64_t)86400 * 1000000)
#define MARGIN (US_PER_DAY << ID_TIME_SHIFT)
#define POLICY_KEEP "archive.keep"
#define POLICY_PREFERENCES "record.preferences"

enum phase { PARTS, PASSING, ENTRIES, RECORDS, OVER };

struct expiry {
	struct hosts *hosts;
	int64_t *before;  /* by host: entries with smaller ids go; 0: all stay */
	int64_t all, any; /* the least and the most of them */
	int64_t only;     /* its one host, or 0 */
	bool is_dry, is_idle;
	enum phase phase;
	unsigned host; /* in ENTRIES: the present one */
	int64_t account, owner,
	    after;      /* its next account; the present one or 0, and where that is counted */
	int64_t below;  /* in PASSING: what goes of the present one */
	int64_t record; /* in RECORDS: the last that was looked at */
	int64_t until;  /* in PASSING: the last of a portion */
	unsigned rows;  /* of the last statement */
	struct buffer ids;
	struct expiry_counts counts;
};

/* ---- statements. Deleting says what has gone. */

static const struct sql sql_parts = {
	.name = "expire_parts",
	.text = "select muster_parts_drop($1)",
};
static const struct sql sql_owner = {
	.name = "expire_owner",
	.text =
	    "select a.id from account a where a.host = $1 and a.id >= $2 and exists (select 1 from entry e"
	    " where e.owner = a.id and e.id < $3) order by a.id limit 1",
};
static const struct sql sql_entries = {
	.name = "expire_entries",
	.text = "delete from entry where owner = $1 and id < $2 and id in (select id from entry"
		" where owner = $1 and id < $2 order by id limit $3) returning id",
};
static const struct sql sql_entries_dry = {
	.name = "expire_entries_dry",
	.text = "select id from entry where owner = $1 and id < $2 and id > $3 order by id limit $4",
};
static const struct sql sql_records = {
	.name = "expire_records",
	.text = "select r.id, r.sender, r.recipient, (select count(*) from transit t where t.record = r.id)"
		" from record r where r.id > $1 and r.id < $2 order by r.id limit $3",
};
static const struct sql sql_records_delete = {
	.name = "expire_records_delete",
	.text = "delete from record where id < $1 and id = any (string_to_array($2, ',')::bigint[])",
	.sqlite =
	    "delete from record where id < $1 and id in (select value from json_each('[' || $2 || ']'))",
};

/* Whose account is gone has no mark, and needs none. */
static const struct sql sql_passing_owner = {
	.name = "expire_passing_owner",
	.text =
	    "select e.owner, a.host, coalesce(m.taken, 0) from entry e left join account a on a.id = e.owner"
	    " left join mark m on m.owner = e.owner where e.passing > 0 and e.owner >= $1"
	    " order by e.owner limit 1",
};
static const struct sql sql_passing = {
	.name = "expire_passing",
	.text =
	    "select id, case passing when 2 then record else 0 end from entry where owner = $1 and passing > 0"
	    " and id > $2 and id < $3 order by id limit $4",
};
static const struct sql sql_passing_delete = {
	.name = "expire_passing_delete",
	.text = "delete from entry where owner = $1 and passing > 0 and id > $2 and id <= $3",
};

/* ---- what is to go */

struct keep {
	int64_t days; /* 0: for ever */
	bool by_users;
};

static void look_at_policy(void *arg, const char *name, const struct option *option, const void *base)
{
	struct keep *keep = arg;
	int64_t value;

	if (strcmp(name, POLICY_KEEP) != 0 && strcmp(name, POLICY_PREFERENCES) != 0)
		return;
	value = *(const int64_t *)(const void *)((const char *)base + option->offset);
	if (strcmp(name, POLICY_KEEP) == 0)
		keep->days = value == OPTION_WORD ? 0 : value;
	else
		keep->by_users = strcmp(option->choices[value], "users") == 0;
}

static int64_t before_of(const struct keep *keep)
{
	int64_t now = (int64_t)time(NULL) * 1000000, before = now - keep->days * US_PER_DAY;

	return keep->days > 0 && before > 0 ? before << ID_TIME_SHIFT : 0;
}

struct expiry *expiry_new(struct hosts *hosts, const struct host *only, unsigned days,
                          const struct hooks *hooks, bool is_postgresql, bool is_dry)
{
	struct expiry *x = mem_zalloc(sizeof(*x));

	x->hosts = hosts_ref(hosts);
	x->before = mem_zalloc((hosts->count + 1) * sizeof(*x->before));
	x->all = INT64_MAX;
	x->is_idle = true;
	x->only = only ? only->id : 0;
	x->is_dry = is_dry;
	for (unsigned i = 0; i < hosts->count; i++) {
		const struct host *h = &hosts->list[i];
		struct keep keep = { 0 };

		if (!only || h == only)
			host_policy_each(h, hooks, look_at_policy, &keep);
		if (days && (!only || h == only))
			keep.days = days;
		x->before[i] = before_of(&keep);
		x->is_idle = x->is_idle && !x->before[i] && !keep.by_users;
		x->all = x->before[i] < x->all ? x->before[i] : x->all;
		x->any = x->before[i] > x->any ? x->before[i] : x->any;
	}
	x->phase = is_postgresql && !is_dry && x->all > MARGIN && x->all < INT64_MAX ? PARTS : PASSING;
	return x;
}

bool expiry_is_idle(const struct expiry *x)
{
	return x->is_idle;
}

void expiry_free(struct expiry *x)
{
	if (!x)
		return;
	hosts_unref(x->hosts);
	buffer_free(&x->ids);
	mem_free(x->before);
	mem_free(x);
}

const struct expiry_counts *expiry_counts(const struct expiry *x)
{
	return &x->counts;
}

int64_t expiry_before(const struct expiry *x)
{
	return x->any >> ID_TIME_SHIFT;
}

/* ---- whole months */

static void on_parts(void *arg, const struct rows *rows)
{
	struct expiry *x = arg;
	int64_t dropped = rows_int(rows, 0, 0);

	x->counts.parts = dropped > 0 ? (uint64_t)dropped : 0; /* -1: somebody reads; then row by row */
	x->phase = PASSING;
}

/* ---- what was only on its way: account by account */

/* What the owner's host does not keep any longer is left to the next phase. */
static int64_t passing_after(const struct expiry *x, int64_t host)
{
	for (unsigned i = 0; i < x->hosts->count; i++)
		if (x->hosts->list[i].id == host && x->before[i])
			return x->before[i] - 1;
	return 0;
}

static void on_passing_owner(void *arg, const struct rows *rows)
{
	struct expiry *x = arg;
	int64_t yesterday = ((int64_t)time(NULL) * 1000000 << ID_TIME_SHIFT) - MARGIN;
	bool has_account = rows_count(rows) && !rows_is_null(rows, 0, 1);

	x->owner = rows_count(rows) ? rows_int(rows, 0, 0) : 0;
	x->account = x->owner + 1;
	if (!x->owner) {
		x->account = 0;
		x->phase = ENTRIES;
		return;
	}
	x->after = passing_after(x, rows_int(rows, 0, 1));
	x->below = has_account && rows_int(rows, 0, 2) < yesterday ? rows_int(rows, 0, 2) + 1 : yesterday;
	if (x->only && (!has_account || rows_int(rows, 0, 1) != x->only))
		x->owner = 0;
}

static void on_passing(void *arg, const struct rows *rows)
{
	struct expiry *x = arg;

	x->rows = rows_count(rows);
	x->ids.len = 0;
	x->record = 0;
	for (unsigned i = 0; i < x->rows; i++) {
		int64_t record = rows_int(rows, i, 1);

		x->until = rows_int(rows, i, 0);
		x->counts.passing++;
		if (!record)
			continue;
		x->record = record > x->record ? record : x->record;
		buffer_addf(&x->ids, "%s%lld", x->ids.len ? "," : "", (long long)record);
	}
}

/* Records first: what is left when it ends in between is found again by the entries. */
static bool passing_delete(struct expiry *x, struct database_session *s, char **error)
{
	if (x->ids.len &&
	    !database_session_run(s, &sql_records_delete,
	                          PARAMS(P_INT(x->record + 1), P_TEXTN(x->ids.data, x->ids.len)), NULL,
	                          NULL, error))
		return false;
	return database_session_run(s, &sql_passing_delete,
	                            PARAMS(P_INT(x->owner), P_INT(x->after), P_INT(x->until)), NULL, NULL,
	                            error);
}

static bool step_passing(struct expiry *x, struct database_session *s, char **error)
{
	if (!x->owner)
		return database_session_run(s, &sql_passing_owner, PARAMS(P_INT(x->account)),
		                            on_passing_owner, x, error);
	if (!database_session_run(
		s, &sql_passing,
		PARAMS(P_INT(x->owner), P_INT(x->after), P_INT(x->below), P_INT(ROWS_AT_ONCE)), on_passing,
		x, error))
		return false;
	if (x->rows && !x->is_dry && !passing_delete(x, s, error))
		return false;
	x->after = x->until;
	x->record = 0;
	if (x->rows < ROWS_AT_ONCE)
		x->owner = 0;
	return true;
}

/* ---- entries: account by account */

static void on_owner(void *arg, const struct rows *rows)
{
	struct expiry *x = arg;

	x->owner = rows_count(rows) ? rows_int(rows, 0, 0) : 0;
	x->account = x->owner + 1;
	x->after = 0;
	if (x->owner)
		return;
	x->account = 0;
	x->host++;
}

static void on_entries(void *arg, const struct rows *rows)
{
	struct expiry *x = arg;
	unsigned count = rows_count(rows);

	for (unsigned i = 0; i < count; i++)
		x->counts.months[stamp_month(rows_int(rows, i, 0) >> ID_TIME_SHIFT)]++;
	x->counts.entries += count;
	if (count)
		x->after = rows_int(rows, count - 1, 0);
	if (count < ROWS_AT_ONCE)
		x->owner = 0;
}

static bool step_entries(struct expiry *x, struct database_session *s, char **error)
{
	while (x->host < x->hosts->count && !x->before[x->host])
		x->host++;
	if (x->host == x->hosts->count) {
		x->phase = x->any ? RECORDS : OVER;
		return true;
	}
	int64_t before = x->before[x->host];
	if (!x->owner)
		return database_session_run(
		    s, &sql_owner,
		    PARAMS(P_INT(x->hosts->list[x->host].id), P_INT(x->account), P_INT(before)), on_owner,
		    x, error);
	if (x->is_dry)
		return database_session_run(
		    s, &sql_entries_dry,
		    PARAMS(P_INT(x->owner), P_INT(before), P_INT(x->after), P_INT(ROWS_AT_ONCE)),
		    on_entries, x, error);
	return database_session_run(s, &sql_entries,
	                            PARAMS(P_INT(x->owner), P_INT(before), P_INT(ROWS_AT_ONCE)), on_entries,
	                            x, error);
}

/* ---- records */

/* Whether the host of that address is through with the record. */
static bool lets_go(const struct expiry *x, const char *address, int64_t record)
{
	const char *at = memchr(address, '@', strcspn(address, "/"));
	const char *domain = at ? at + 1 : address;
	const struct host *h = hosts_find(x->hosts, domain, strcspn(domain, "/"));

	return record < (h ? x->before[h - x->hosts->list] : x->any) - MARGIN;
}

static void on_records(void *arg, const struct rows *rows)
{
	struct expiry *x = arg;
	unsigned count = rows_count(rows);

	x->ids.len = 0;
	for (unsigned i = 0; i < count; i++) {
		int64_t id = rows_int(rows, i, 0);

		x->record = id;
		if (rows_int(rows, i, 3) || !lets_go(x, rows_text(rows, i, 1), id) ||
		    !lets_go(x, rows_text(rows, i, 2), id))
			continue;
		buffer_addf(&x->ids, "%s%lld", x->ids.len ? "," : "", (long long)id);
		x->counts.records++;
	}
	if (count < ROWS_AT_ONCE)
		x->phase = OVER;
}

static bool step_records(struct expiry *x, struct database_session *s, char **error)
{
	int64_t below = x->any - MARGIN;

	if (!database_session_run(s, &sql_records,
	                          PARAMS(P_INT(x->record), P_INT(below), P_INT(ROWS_AT_ONCE)), on_records,
	                          x, error))
		return false;
	return x->is_dry || !x->ids.len ||
	       database_session_run(s, &sql_records_delete,
	                            PARAMS(P_INT(x->record + 1), P_TEXTN(x->ids.data, x->ids.len)), NULL,
	                            NULL, error);
}

bool expiry_step(struct expiry *x, struct database_session *s, bool *is_over, char **error)
{
	bool is_ok = true;

	if (x->phase == PARTS)
		is_ok =
		    database_session_run(s, &sql_parts, PARAMS(P_INT(x->all - MARGIN)), on_parts, x, error);
	else if (x->phase == PASSING)
		is_ok = step_passing(x, s, error);
	else if (x->phase == ENTRIES)
		is_ok = step_entries(x, s, error);
	else if (x->phase == RECORDS)
		is_ok = step_records(x, s, error);
	*is_over = x->phase == OVER;
	return is_ok;
}
