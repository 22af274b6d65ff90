/* live_listen.c - the listening connection: one per node, on reactor 0's loop, made anew by itself. It
 * passes on each notice of PostgreSQL, and says when some may have been missed. live.c owns it.
 *
 * A connection that has died without a word is found by a question from time to time. */
#include <string.h>

#include "live.h"
#include "log.h"
#include "server.h"
#include "store_pg.h"

#define QUESTION_MS 5000

enum listening_state {
	LISTENING_DOWN,     /* the timer runs: the pause before the next attempt */
	LISTENING_STARTING, /* the timer runs: the time it may take */
	LISTENING_ASKING,   /* the same; an answer is expected */
	LISTENING_UP,       /* the timer runs: until the next question */
	LISTENING_CLOSED
};

struct listening {
	struct server *server;
	struct listening_calls calls;
	enum listening_state state;
	bool is_new;      /* the answer that is expected is that to `listen` */
	bool is_reported; /* the log knows that it is away */
	PGconn *pg;
	uv_poll_t *poll;
	uv_timer_t timer;
	unsigned pause_ms;
};

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_timer(uv_timer_t *timer);

static bool poll_open(struct listening *l, int events)
{
	l->poll = pg_poll_open(&l->server->reactors[0]->loop, l->pg, events, on_poll, l);
	return l->poll;
}

static void listening_shut(struct listening *l)
{
	uv_timer_stop(&l->timer);
	pg_poll_close(&l->poll);
	PQfinish(l->pg);
	l->pg = NULL;
}

static void listening_lost(struct listening *l, const char *why)
{
	if (!l->is_reported)
		log_warn("live", NULL,
		         "changes by SQL are not heard at the moment: %.*s: trying again; then everything "
		         "is read again",
		         (int)strcspn(why, "\n"), why);
	l->is_reported = true;
	listening_shut(l);
	l->state = LISTENING_DOWN;
	l->pause_ms = l->pause_ms ? l->pause_ms * 2 : PAUSE_MIN_MS;
	if (l->pause_ms > PAUSE_MAX_MS)
		l->pause_ms = PAUSE_MAX_MS;
	uv_timer_start(&l->timer, on_timer, l->pause_ms, 0);
}

static void listening_start(struct listening *l)
{
	char *error = NULL;

	l->state = LISTENING_STARTING;
	l->pg = pg_connect(l->server->db, "musterd listening", NULL, &error);
	if (!l->pg) {
		listening_lost(l, error);
		mem_free(error);
		return;
	}
	PQsetNoticeProcessor(l->pg, pg_on_notice, NULL);
	if (PQstatus(l->pg) == CONNECTION_BAD || !poll_open(l, UV_WRITABLE))
		listening_lost(l, PQerrorMessage(l->pg));
	else
		uv_timer_start(&l->timer, on_timer, l->server->database_options.timeout_ms, 0);
}

/* What is asked is short: it goes into the socket's buffer at once, so nobody waits until it can be
 * written. */
static void listening_ask(struct listening *l, const char *question)
{
	l->state = LISTENING_ASKING;
	if (!PQsendQuery(l->pg, question) || PQflush(l->pg) < 0)
		listening_lost(l, PQerrorMessage(l->pg));
	else
		uv_timer_start(&l->timer, on_timer, l->server->database_options.timeout_ms, 0);
}

static void listening_connect(struct listening *l)
{
	PostgresPollingStatusType next;

	pg_poll_close(&l->poll);
	next = PQconnectPoll(l->pg);
	if (next == PGRES_POLLING_FAILED ||
	    !poll_open(l, next == PGRES_POLLING_WRITING ? UV_WRITABLE : UV_READABLE)) {
		listening_lost(l, PQerrorMessage(l->pg));
	} else if (next == PGRES_POLLING_OK) {
		l->is_new = true;
		listening_ask(l, "listen muster");
	}
}

static void listening_answered(struct listening *l)
{
	l->state = LISTENING_UP;
	l->pause_ms = 0;
	uv_timer_start(&l->timer, on_timer, QUESTION_MS, 0);
	if (!l->is_new)
		return;
	l->is_new = false;
	if (l->is_reported)
		log_info("live", NULL, "changes by SQL are heard again");
	l->is_reported = false;
	l->calls.gap(l->calls.arg);
}

/* False: refused. */
static bool listening_results(struct listening *l)
{
	PGresult *result;
	bool is_ok = true;

	while (l->state == LISTENING_ASKING && !PQisBusy(l->pg)) {
		result = PQgetResult(l->pg);
		if (!result) {
			listening_answered(l);
			return true;
		}
		if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
			listening_lost(l, pg_error_text(result));
			is_ok = false;
		}
		PQclear(result);
	}
	return is_ok;
}

static void listening_read(struct listening *l)
{
	PGnotify *n;

	if (!PQconsumeInput(l->pg)) {
		listening_lost(l, PQerrorMessage(l->pg));
		return;
	}
	if (!listening_results(l))
		return;
	while ((n = PQnotifies(l->pg))) {
		l->calls.notice(l->calls.arg, n->extra);
		PQfreemem(n);
	}
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct listening *l = poll->data;

	(void)events;
	if (l->state == LISTENING_STARTING)
		listening_connect(l);
	else if (status < 0)
		listening_lost(l, uv_strerror(status));
	else
		listening_read(l);
}

static void on_timer(uv_timer_t *timer)
{
	struct listening *l = timer->data;

	if (l->state == LISTENING_DOWN)
		listening_start(l);
	else if (l->state == LISTENING_UP)
		listening_ask(l, "select 1");
	else
		listening_lost(l, "no answer in time");
}

struct listening *listening_open(struct server *srv, const struct listening_calls *calls)
{
	struct listening *l = mem_zalloc(sizeof *l);

	l->server = srv;
	l->calls = *calls;
	ASSERT(uv_timer_init(&srv->reactors[0]->loop, &l->timer) == 0);
	l->timer.data = l;
	listening_start(l);
	return l;
}

static void on_closed(uv_handle_t *handle)
{
	struct listening *l = handle->data;

	l->calls.closed(l->calls.arg);
	mem_free(l);
}

void listening_close(struct listening *l)
{
	listening_shut(l);
	l->state = LISTENING_CLOSED;
	uv_close((uv_handle_t *)&l->timer, on_closed);
}
