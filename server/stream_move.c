/* stream_move.c - the way of a stream to another reactor: a client's to that of its home, when it has logged in
 * (c2s_login.c). What it says needs no envelope to another thread then, nor what is said to it. Nobody relies
 * on it: a stream that cannot move just then stays, and no handler can tell.
 *
 * It moves between <success/> and the peer's next header, when hardly anybody knows it. What ties a stream to a
 * reactor is this, and whoever adds to it (struct stream, struct c2s, or a list of streams) adds a line here:
 *
 *	reactor->streams, by id        taken out and put in; ids are unique over all reactors
 *	reactor->logins                the same, by the protocol's leave and arrive
 *	reactor->dirty, ->paused       it is in neither
 *	the wheel                      its timer is set again, for what was left; pace.timer is not set
 *	the loop                       its handle is closed, and another opened on a duplicate of the socket
 *	reactor->tls                   the SSL changes its BIO; what it has of an unfinished record goes with it
 *	reactor->xml                   it has no parser
 *	reactor->counts                stay: what rose there falls here, and the sums are right at every moment
 *	its host_counts                the new reactor's
 *	questions and envelopes        none is under way: only a stream that is CHECKING, BINDING or BOUND has any
 *
 * The gate counts for all reactors.
 *
 *	stream_move      marks it
 *	stream_depart    all that was queued has left. When nothing is in the way the handle closes; until that has
 *	                 happened the stream is still this reactor's, and when it ends meanwhile, it ends here
 *	on_let_go        out of everything here, and off in an envelope of its own kind: reactor_is_quiet's rounds
 *	                 (server_stop.c) count those, so the end of the node waits for it
 *	stream_arrive    into everything there; it ends at once where the reactor is stopping
 *
 * Who ends logins (account.c) may meet a stream neither here nor there: see end_logins. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "listener.h"
#include "log.h"
#include "stream_parts.h"

void stream_move(struct stream *s, unsigned reactor)
{
	s->is_to_move = reactor != s->reactor->index;
	s->destination = (uint8_t)reactor;
}

/* A duplicate of the socket on a handle of this reactor, which is new or closed. */
static void stream_open(struct stream *s, int socket)
{
	s->is_moving = false;
	ASSERT(uv_tcp_init(&s->reactor->loop, &s->tcp) == 0);
	s->tcp.data = s;
	if (uv_tcp_open(&s->tcp, socket) == 0) {
		stream_update_reading(s);
		return;
	}
	log_error(s->protocol->name, s->peer, "dropped: its socket cannot be used by another thread");
	close(socket);
	stream_kill(s);
}

/* ---- here */

static void stream_leave(struct stream *s, struct envelope *e)
{
	struct reactor *r = s->reactor;

	ASSERT(list_is_empty(&s->dirty_node) && list_is_empty(&s->paused_node));
	ASSERT(!timer_is_set(&s->pace.timer));
	e->patience = timer_left(&r->wheel, &s->timer);
	timer_stop(&r->wheel, &s->timer);
	stream_unlist(s);
	s->protocol->leave(s);
	if (s->ssl)
		tls_detach(s->ssl);
	s->host = NULL;
	reactor_post(r, s->destination, e);
}

static void on_let_go(uv_handle_t *handle)
{
	struct envelope *e = handle->data;
	struct stream *s = e->moved;

	if (!s->is_closing) {
		stream_leave(s, e);
		return;
	}
	if (s->is_dead) {
		close(e->socket);
		stream_entomb(s);
	} else { /* it says goodbye where it is */
		stream_open(s, e->socket);
		stream_dirty(s);
	}
	envelope_free(s->reactor, e);
}

/* Whether the peer is still silent and nothing else has come up. */
static bool can_depart(const struct stream *s)
{
	return !s->has_header && !s->xml && !s->is_eof && s->pauses == 0 && !reactor_is_blocked(s->reactor);
}

void stream_depart(struct stream *s)
{
	struct envelope *e;
	int fd, socket;

	ASSERT(!s->unsent && !s->is_closing && s->queued_bytes == 0);
	s->is_to_move = false;
	if (!can_depart(s))
		return;
	ASSERT(uv_fileno((uv_handle_t *)&s->tcp, &fd) == 0);
	socket = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (socket < 0) {
		log_warn(s->protocol->name, s->peer,
		         "stays on its thread: its socket cannot be duplicated: %s", strerror(errno));
		return;
	}
	e = envelope_new(s->reactor, ENV_MOVED);
	e->moved = s;
	e->socket = socket;
	s->is_moving = true;
	stream_stop_reading(s);
	s->tcp.data = e;
	uv_close((uv_handle_t *)&s->tcp, on_let_go); /* the socket stays open by its duplicate */
}

/* ---- there */

static struct stream *take_over(struct reactor *r, const struct envelope *e)
{
	struct stream *s = e->moved;

	s->reactor = r;
	stream_list(s);
	stream_set_timer(s, e->patience);
	if (s->ssl)
		tls_attach(s->ssl, &r->tls);
	s->protocol->arrive(s);
	return s;
}

void stream_arrive(struct reactor *r, struct envelope *e)
{
	struct stream *s = take_over(r, e);

	r->counts.moved++;
	log_debug(s->protocol->name, s->peer, "has moved to thread %u", r->index);
	stream_open(s, e->socket);
	if (r->is_stopping)
		stream_shutdown(s);
	envelope_free(r, e);
}

void stream_drop_moved(struct reactor *r, struct envelope *e)
{
	struct stream *s = e->moved;

	s->reactor = r;
	listener_forget(s);
	close(e->socket);
	stream_free(s);
	envelope_free(r, e);
}
