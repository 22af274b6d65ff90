/* archive_sweep.c - see archive_sweep.h. */
#include "archive_sweep.h"

#define OWNERS_AT_ONCE 500
#define ROWS_AT_ONCE 1000

struct sweep {
	int64_t last;                 /* owner that has been looked at */
	bool is_last;                 /* none is behind it */
	int64_t gone[OWNERS_AT_ONCE]; /* of this portion, those without account */
	unsigned count, at;
	uint64_t entries;
};

/* What nobody wants to keep is left to archive_expire.c, which knows what becomes of its record. */
static const struct sql sql_entries = {
	.name = "sweep_entries",
	.text = "delete from entry where owner = $1 and id in (select id from entry where owner = $1"
		" and passing = 0 order by id limit $2) returning id",
};
/* The next owners of entries, each found by one step in the index, and whether they are gone: an id is never used
 * again. */
static const struct sql sql_owners = {
	.name = "sweep_owners",
	.text =
	    "with recursive o (id, n) as (select (select min(owner) from entry where owner > $1), 1 union all"
	    " select (select min(e.owner) from entry e where e.owner > o.id), n + 1 from o"
	    " where o.id is not null and n < $2)"
	    " select o.id, a.id is null from o left join account a on a.id = o.id where o.id is not null"
	    " order by o.id",
};
struct sweep *sweep_new(void)
{
	return mem_zalloc(sizeof(struct sweep));
}

void sweep_free(struct sweep *sw)
{
	mem_free(sw);
}

uint64_t sweep_count(const struct sweep *sw)
{
	return sw->entries;
}

static void on_owners(void *arg, const struct rows *rows)
{
	struct sweep *sw = arg;
	unsigned count = rows_count(rows);

	sw->count = sw->at = 0;
	for (unsigned i = 0; i < count; i++) {
		sw->last = rows_int(rows, i, 0);
		if (rows_int(rows, i, 1))
			sw->gone[sw->count++] = sw->last;
	}
	sw->is_last = count < OWNERS_AT_ONCE;
}

static void on_entries(void *arg, const struct rows *rows)
{
	struct sweep *sw = arg;
	unsigned count = rows_count(rows);

	sw->entries += count;
	if (count < ROWS_AT_ONCE)
		sw->at++;
}

bool sweep_step(struct sweep *sw, struct database_session *s, bool *is_over, char **error)
{
	bool is_ok;

	if (sw->at < sw->count)
		is_ok = database_session_run(s, &sql_entries,
		                             PARAMS(P_INT(sw->gone[sw->at]), P_INT(ROWS_AT_ONCE)),
		                             on_entries, sw, error);
	else
		is_ok = database_session_run(s, &sql_owners, PARAMS(P_INT(sw->last), P_INT(OWNERS_AT_ONCE)),
		                             on_owners, sw, error);
	*is_over = sw->is_last && sw->at == sw->count;
	return is_ok;
}
