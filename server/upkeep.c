/* upkeep.c - see upkeep.h. A portion at a time, with a rest after each, so that whoever has something to do goes
 * first. */
#include "upkeep.h"

#include <inttypes.h>

#include "archive_expire.h"
#include "archive_sweep.h"
#include "log.h"
#include "server.h"

#define FIRST_MS 600000 /* after the start, at the latest: then those who come back have come */
#define REST_MS 50

struct upkeep {
	struct server *server;
	struct timer timer;
	uv_work_t work;
	bool is_working, is_closed;
	/* of the day's work under way */
	struct database_session *session;
	struct sweep *sweep;
	struct expiry *expiry;
	bool is_swept, is_over;
	char *error;
};

const struct sql upkeep_parts = {
	.name = "parts_ahead",
	.text = "select muster_parts_ahead()",
	.sqlite = "select 1",
};

static struct reactor *upkeep_reactor(const struct upkeep *u)
{
	return u->server->reactors[0];
}

static void day_end(struct upkeep *u)
{
	database_session_close(u->session);
	sweep_free(u->sweep);
	expiry_free(u->expiry);
	mem_free(u->error);
	u->session = NULL;
	u->sweep = NULL;
	u->expiry = NULL;
	u->error = NULL;
	u->is_swept = u->is_over = false;
}

static bool upkeep_step(struct upkeep *u)
{
	if (!u->is_swept)
		return sweep_step(u->sweep, u->session, &u->is_swept, &u->error);
	return expiry_step(u->expiry, u->session, &u->is_over, &u->error);
}

static void on_work(uv_work_t *work)
{
	struct upkeep *u = work->data;
	struct database *db = u->server->db;

	if (!u->session) {
		u->session = database_session_open(db, false, &u->error);
		if (!u->session ||
		    !database_session_run(u->session, &upkeep_parts, NO_PARAMS, NULL, NULL, &u->error))
			return;
	}
	ASSERT(upkeep_step(u) || u->error);
}

static void log_day(const struct upkeep *u)
{
	const struct expiry_counts *counts = expiry_counts(u->expiry);

	if (u->error)
		log_warn("upkeep", NULL, "the day's work on the database goes on tomorrow: %s", u->error);
	if (sweep_count(u->sweep))
		log_info("upkeep", NULL,
		         "archives of accounts that are gone: %" PRIu64 " messages have gone",
		         sweep_count(u->sweep));
	if (counts->passing)
		log_info("upkeep", NULL,
		         "archives: %" PRIu64
		         " messages that their owners have got and did not want to keep are gone",
		         counts->passing);
	if (counts->entries || counts->records || counts->parts)
		log_info("upkeep", NULL,
		         "archives: %" PRIu64 " messages, %" PRIu64 " records and %" PRIu64
		         " tables of whole months were older than they are kept, and are gone",
		         counts->entries, counts->records, counts->parts);
}

static void on_worked(uv_work_t *work, int status)
{
	struct upkeep *u = work->data;
	struct reactor *r = upkeep_reactor(u);

	(void)status;
	u->is_working = false;
	if (u->is_closed) {
		day_end(u);
		mem_free(u);
		return;
	}
	bool goes_on = !u->error && !u->is_over;
	if (!goes_on) {
		log_day(u);
		day_end(u);
	}
	timer_set(&r->wheel, &u->timer, goes_on ? REST_MS : (uint64_t)r->conf->store.upkeep);
}

static void on_timer(struct timer *timer)
{
	struct upkeep *u = CONTAINER_OF(timer, struct upkeep, timer);
	struct reactor *r = upkeep_reactor(u);

	if (!u->session) {
		u->sweep = sweep_new();
		u->expiry = expiry_new(r->hosts, NULL, 0, u->server->hooks,
		                       database_is_postgresql(u->server->db), false);
	}
	u->work.data = u;
	u->is_working = true;
	ASSERT(uv_queue_work(&r->loop, &u->work, on_work, on_worked) == 0);
}

struct upkeep *upkeep_open(struct server *srv)
{
	struct upkeep *u = mem_zalloc(sizeof(*u));
	uint64_t each = (uint64_t)srv->conf->store.upkeep;

	u->server = srv;
	timer_init(&u->timer, on_timer);
	timer_set(&upkeep_reactor(u)->wheel, &u->timer, each < FIRST_MS ? each : FIRST_MS);
	return u;
}

void upkeep_close(struct upkeep *u)
{
	if (!u)
		return;
	timer_stop(&upkeep_reactor(u)->wheel, &u->timer);
	u->is_closed = true;
	if (u->is_working)
		return;
	day_end(u);
	mem_free(u);
}
