/* server_stop.c - the end of the node: every reactor takes each step before any takes the next.
 *
 *   streams  listeners and streams close; what was not written goes back to the homes, and is put on record
 *   homes    run EVENT_SLEEP: they write what they owe
 *   stores   close; each loop then ends
 *
 * A step is over when two rounds over all reactors have found all of them quiet and no envelope handled in
 * between: so none is between two reactors either.
 *
 * And what may come before it: drain, which only closes the listeners. */
#include "admin.h"
#include "cert_watch.h"
#include "control.h"
#include "home.h"
#include "listener.h"
#include "live.h"
#include "log.h"
#include "server.h"
#include "stream.h"
#include "upkeep.h"

#define ROUND_MS 20
#define STREAMS_MS 3000 /* then streams are cut whose clients do not close their side */
#define QUIET_MS 8000   /* then the next step is taken all the same: the database does not answer */

struct stopping {
	struct server *server;
	struct timer timer; /* between two rounds */
	bool is_cut;        /* on reactor 0: no more waiting for clients */
	bool homes_asleep;
	uint64_t began; /* this step, in the loop's milliseconds */
	/* one round */
	bool cuts, is_quiet;
	uint64_t handled, handled_before; /* envelopes, of all reactors */
};

static void close_step(struct reactor *r, void *arg)
{
	(void)arg;
	reactor_close(r);
}

static void close_stores(struct stopping *s)
{
	struct server *srv = s->server;

	notify_unwatch(srv); /* what follows does not wait for anybody */
	cert_watch_close(srv->cert_watch);
	srv->cert_watch = NULL;
	upkeep_close(srv->upkeep);
	srv->upkeep = NULL;
	for (unsigned i = 0; i < srv->reactor_count; i++)
		reactor_post_run(srv->reactors[0], i, close_step, NULL);
	srv->stopping = NULL;
	mem_free(s);
}

static void sleep_step(struct reactor *r, void *arg)
{
	(void)arg;
	homes_sleep_all(r);
}

static uint64_t stopping_now(const struct stopping *s)
{
	return uv_now(&s->server->reactors[0]->loop);
}

static void step_done(struct server *srv, void *arg)
{
	struct stopping *s = arg;

	s->began = stopping_now(s);
	timer_set(&srv->reactors[0]->wheel, &s->timer, ROUND_MS);
}

static void step_over(struct stopping *s)
{
	if (s->homes_asleep) {
		close_stores(s);
		return;
	}
	s->homes_asleep = true;
	server_each(s->server, sleep_step, step_done, s);
}

static void round_step(struct reactor *r, void *arg)
{
	struct stopping *s = arg;

	if (s->cuts)
		streams_cut(r);
	s->is_quiet = s->is_quiet && reactor_is_quiet(r);
	s->handled += r->counts.envelopes;
}

static void round_done(struct server *srv, void *arg)
{
	struct stopping *s = arg;

	if (s->is_quiet && s->handled == s->handled_before) {
		step_over(s);
		return;
	}
	if (stopping_now(s) - s->began > QUIET_MS) {
		log_warn("server", NULL,
		         "something still waits for the database; not waiting for it any longer");
		step_over(s);
		return;
	}
	s->handled_before = s->handled;
	timer_set(&srv->reactors[0]->wheel, &s->timer, ROUND_MS);
}

static void on_round(struct timer *t)
{
	struct stopping *s = CONTAINER_OF(t, struct stopping, timer);

	s->cuts = s->is_cut || stopping_now(s) - s->began > STREAMS_MS;
	s->is_quiet = true;
	s->handled = 0;
	server_each(s->server, round_step, round_done, s);
}

/* ---- drain */

struct drain {
	bool is_draining;
	char *error;
	void (*done)(void *arg, const char *error);
	void *arg;
};

static void close_listeners(struct reactor *r, void *arg)
{
	(void)arg;
	listeners_close(r);
}

static void drain_step(struct reactor *r, void *arg)
{
	struct drain *d = arg;

	listeners_close(r);
	if (!d->is_draining && !d->error && !r->is_stopping && !listeners_open(r, &d->error))
		ASSERT(d->error);
}

static void drain_end(struct server *srv, void *arg)
{
	struct drain *d = arg;

	srv->is_draining = d->is_draining || d->error;
	if (!srv->is_stopping) {
		log_info("server", NULL,
		         srv->is_draining ? "draining: no new connections" : "serving again");
		if (srv->is_draining)
			notify_status(&srv->notify, "Draining: no new connections");
		else
			server_say_ready(srv);
	}
	d->done(d->arg, d->error);
	mem_free(d->error);
	mem_free(d);
}

static void drain_done(struct server *srv, void *arg)
{
	struct drain *d = arg;

	if (d->error) /* some have opened theirs */
		server_each(srv, close_listeners, drain_end, d);
	else
		drain_end(srv, d);
}

void server_drain(struct server *srv, bool is_draining, void (*done)(void *arg, const char *error),
                  void *arg)
{
	struct drain *d = mem_zalloc(sizeof *d);

	*d = (struct drain){ .is_draining = is_draining, .done = done, .arg = arg };
	if (is_draining == srv->is_draining)
		drain_end(srv, d);
	else
		server_each(srv, drain_step, drain_done, d);
}

/* ---- the beginning of the end */

static void stop_step(struct reactor *r, void *arg)
{
	(void)arg;
	reactor_stop(r);
}

static void on_control_closed(void *arg)
{
	(void)arg; /* it was the last thing to be done with it */
}

void server_stop(struct server *srv)
{
	struct stopping *s = srv->stopping;

	if (srv->is_stopping) {
		log_info("server", NULL, "told to stop again: not waiting for clients any more");
		if (s)
			s->is_cut = true;
		return;
	}
	log_info("server", NULL, "stopping");
	notify_stopping(&srv->notify);
	srv->is_stopping = true;
	s = srv->stopping = mem_zalloc(sizeof *s);
	s->server = srv;
	s->handled_before = UINT64_MAX;
	timer_init(&s->timer, on_round);
	if (srv->control)
		control_close(srv->control, on_control_closed, srv);
	if (srv->live)
		live_close(srv->live);
	srv->live = NULL;
	server_each(srv, stop_step, step_done, s);
}
