/* control.c - the control socket and its connections; what is said on them is control_line.c.
 *
 * server.c opens it on the first reactor's loop; everything here runs on that loop's thread. It owns the
 * socket file, the connections and the requests. A connection has at most one request at work and one
 * line on its way out; the next line is looked at when the last answer has been taken. */
#define _GNU_SOURCE /* struct ucred */
#include "control_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

#define BACKLOG CONTROL_PEERS_MAX

bool control_allows(uid_t peer)
{
	return peer == 0 || peer == geteuid();
}

/* ---- the end of connections and of the socket */

static void control_free_if_closed(struct control *c)
{
	if (c->own_handles || c->peer_count)
		return;
	if (c->closed)
		c->closed(c->closed_arg);
	mem_free(c->path);
	mem_free(c);
}

static void on_own_handle_closed(uv_handle_t *handle)
{
	struct control *c = handle->data;

	c->own_handles--;
	control_free_if_closed(c);
}

static void on_peer_closed(uv_handle_t *handle)
{
	struct peer *p = handle->data;
	struct control *c = p->control;

	mem_free_secret(p->in.data, p->in.cap);
	buffer_free(&p->out);
	mem_free(p);
	c->peer_count--;
	if (c->ended && !c->is_closing)
		c->ended(c->server);
	control_free_if_closed(c);
}

void peer_drop(struct peer *p)
{
	if (uv_is_closing((uv_handle_t *)&p->pipe))
		return;
	list_remove(&p->node);
	if (p->request)
		p->request->peer = NULL;
	p->request = NULL;
	uv_close((uv_handle_t *)&p->pipe, on_peer_closed);
}

/* ---- connections */

static struct peer *peer_new(struct control *c)
{
	struct peer *p = mem_zalloc(sizeof(*p));

	p->control = c;
	uv_pipe_init(c->loop, &p->pipe, 0);
	p->pipe.data = p;
	p->since = uv_now(c->loop);
	list_append(&c->peers, &p->node);
	c->peer_count++;
	return p;
}

/* Looks at who it is, then at what he says. */
static void peer_welcome(struct peer *p)
{
	struct control *c = p->control;
	struct ucred peer;
	socklen_t size = sizeof(peer);
	int fd;

	if (uv_fileno((uv_handle_t *)&p->pipe, &fd) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
		peer_drop(p);
		return;
	}
	p->uid = peer.uid;
	if (!control_allows(peer.uid)) {
		log_warn("control", c->path, "user id %u may not give commands", (unsigned)peer.uid);
		peer_refuse(p, CONTROL_REFUSED, "Only root and the server's own user may give commands.",
		            "Run musterctl as one of them, with sudo for example.");
		return;
	}
	if (c->peer_count > CONTROL_PEERS_MAX) {
		peer_refuse(p, CONTROL_AWAY, "Too many control connections are open.", "Try again later.");
		return;
	}
	peer_turn(p);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct control *c = listener->data;

	if (status < 0) {
		log_warn("control", c->path, "a connection could not be taken: %s", uv_strerror(status));
		return;
	}
	struct peer *p = peer_new(c);
	if (uv_accept(listener, (uv_stream_t *)&p->pipe) == 0)
		peer_welcome(p);
	else
		peer_drop(p);
}

static void on_sweep(uv_timer_t *timer)
{
	struct control *c = timer->data;
	struct peer *p;
	uint64_t now = uv_now(c->loop);

	LIST_EACH (p, &c->peers, struct peer, node) {
		bool is_waited_for = p->is_writing || !p->request;
		if (!is_waited_for || now - p->since < c->idle_ms)
			continue;
		if (p->is_writing)
			peer_drop(p);
		else
			peer_refuse(p, CONTROL_USAGE, "No command came in time; the connection is closed.",
			            NULL);
	}
}

void control_set_idle(struct control *c, unsigned ms)
{
	c->idle_ms = ms;
	uv_timer_start(&c->sweep, on_sweep, ms / 4 + 1, ms / 4 + 1);
}

/* ---- the socket */

/* Sees to it that nothing is at `path`: a server that still listens there is left alone. */
static bool path_clear(const char *path, const struct sockaddr_un *address, char **error)
{
	struct stat st;

	if (lstat(path, &st) != 0) {
		if (errno == ENOENT)
			return true;
		*error = mem_printf("%s: %s; node.run_dir must be a directory this user may write.", path,
		                    strerror(errno));
		return false;
	}
	if (!S_ISSOCK(st.st_mode)) {
		*error = mem_printf("%s is there and is no socket; remove it or set another node.run_dir.",
		                    path);
		return false;
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int failure = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : errno;
	close(fd);
	if (failure != ECONNREFUSED) {
		*error = mem_printf("Another server listens at %s; stop it first, or give this one another "
		                    "node.run_dir.",
		                    path);
		return false;
	}
	if (unlink(path) == 0)
		return true;
	*error = mem_printf("%s is left from an earlier run and cannot be removed: %s; remove it.", path,
	                    strerror(errno));
	return false;
}

/* A bound socket, or -1. The mode is set before the bind, so that the file never has a wider one. */
static int socket_bind(const char *path, char **error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path)) {
		*error = mem_printf("%s is too long for a socket (%zu bytes); set a shorter node.run_dir.",
		                    path, sizeof(address.sun_path) - 1);
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	if (!path_clear(path, &address, error))
		return -1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && fchmod(fd, S_IRUSR | S_IWUSR) == 0 &&
	    bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	*error = mem_printf("%s: the socket cannot be made: %s; node.run_dir must be a directory this user "
	                    "may write.",
	                    path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static struct control *control_new(uv_loop_t *loop, const char *path, const struct command *commands,
                                   void *server)
{
	struct control *c = mem_zalloc(sizeof(*c));

	c->loop = loop;
	c->commands = commands;
	c->server = server;
	c->path = path ? mem_strdup(path) : NULL;
	c->own_handles = path ? 2 : 1;
	list_init(&c->peers);
	uv_timer_init(loop, &c->sweep);
	c->sweep.data = c->listener.data = c;
	control_set_idle(c, CONTROL_IDLE_MS);
	return c;
}

struct control *control_open(uv_loop_t *loop, const char *path, const struct command *commands,
                             void *server, char **error)
{
	int fd = socket_bind(path, error);

	if (fd < 0)
		return NULL;
	struct control *c = control_new(loop, path, commands, server);
	uv_pipe_init(loop, &c->listener, 0);
	int failure = uv_pipe_open(&c->listener, fd);
	ASSERT(failure == 0); /* it is a fresh socket */
	failure = uv_listen((uv_stream_t *)&c->listener, BACKLOG, on_connection);
	ASSERT(failure == 0); /* and bound */
	return c;
}

struct control *control_adopt(uv_loop_t *loop, int fd, const struct command *commands, void *server,
                              void (*ended)(void *server))
{
	struct control *c = control_new(loop, NULL, commands, server);
	struct peer *p = peer_new(c);

	c->ended = ended;
	if (uv_pipe_open(&p->pipe, fd) == 0)
		peer_welcome(p);
	else
		peer_drop(p);
	return c;
}

void control_close(struct control *c, void (*closed)(void *arg), void *arg)
{
	struct peer *p;

	c->closed = closed;
	c->closed_arg = arg;
	c->is_closing = true;
	LIST_EACH (p, &c->peers, struct peer, node)
		peer_drop(p);
	if (c->path) {
		unlink(c->path);
		uv_close((uv_handle_t *)&c->listener, on_own_handle_closed);
	}
	uv_close((uv_handle_t *)&c->sweep, on_own_handle_closed);
}
