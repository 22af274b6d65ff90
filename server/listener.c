/* listener.c - see listener.h. */
#include "listener.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "c2s.h"
#include "gate.h"
#include "log.h"
#include "relay.h"
#include "server.h"
#include "stream.h"

#define BACKLOG 1024
/* A peer that has vanished without a word is noticed within a few minutes more. */
#define KEEPALIVE_SECONDS 300

struct listener {
	struct list node; /* in reactor->listeners */
	struct reactor *reactor;
	uv_tcp_t tcp;
	bool is_relay;
	bool is_direct;
	bool require_tls;
	char *balancers; /* or NULL */
};

/* ---- who may connect */

static bool refuse_peer(const struct stream *s, const char *why)
{
	log_warn("listener", s->peer, "refused: %s", why);
	return false;
}

static void set_address(struct stream *s, const struct network_address *a)
{
	s->address = network_counted(a);
	network_show(a, s->peer);
}

/* Counts it for the address it has now. */
static bool admit_address(struct stream *s)
{
	const struct limits_conf *limits = &s->reactor->conf->limits;
	enum gate_answer answer = gate_enter_address(s->reactor->server->gate, &s->address, limits);

	if (answer != GATE_OPEN)
		return refuse_peer(s, gate_limit(answer));
	s->is_addressed = true;
	return true;
}

struct network_address listener_peer(const uv_tcp_t *tcp)
{
	struct sockaddr_storage name = { 0 };
	struct network_address address;
	int len = sizeof name;

	if (uv_tcp_getpeername(tcp, (struct sockaddr *)&name, &len) != 0)
		name.ss_family = AF_UNSPEC;
	network_of((struct sockaddr *)&name, &address);
	return address;
}

bool listener_admit(struct stream *s, const char *balancers)
{
	const struct limits_conf *limits = &s->reactor->conf->limits;
	struct network_address address = listener_peer(&s->tcp);
	enum gate_answer answer;

	set_address(s, &address);
	if (balancers && !network_list_has(balancers, &address))
		return refuse_peer(s, "this listener is for the balancers that its 'proxy' names");
	answer = gate_enter(s->reactor->server->gate, limits);
	if (answer != GATE_OPEN)
		return refuse_peer(s, gate_limit(answer));
	s->is_admitted = true;
	return balancers || admit_address(s);
}

bool listener_readdress(struct stream *s, const struct network_address *address)
{
	if (address)
		set_address(s, address);
	return admit_address(s);
}

void listener_forget(struct stream *s)
{
	if (s->is_admitted)
		gate_leave(s->reactor->server->gate, s->is_addressed ? &s->address : NULL, s->is_logged_in);
	s->is_admitted = s->is_addressed = false;
}

/* ---- sockets */

static void on_connection(uv_stream_t *tcp, int status)
{
	struct listener *l = tcp->data;

	if (status < 0) {
		log_warn("listener", NULL, "cannot accept: %s", uv_strerror(status));
		return;
	}
	if (l->is_relay)
		relay_accept(l->reactor->relay, tcp);
	else
		c2s_accept(l->reactor, tcp, l->is_direct, l->require_tls, l->balancers);
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;

	mem_free(l->balancers);
	mem_free(l);
}

/* A socket of our own, because libuv 1.44 cannot set SO_REUSEPORT. Returns a file descriptor, or -errno. */
static int socket_bind(const struct sockaddr *address, socklen_t len)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1,
	    zero = 0;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0 ||
	    (address->sa_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero) != 0) ||
	    bind(fd, address, len) != 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

static int listener_bind(const struct listener_conf *conf)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (uv_ip4_addr(conf->address, (int)conf->port, &v4) == 0)
		return socket_bind((struct sockaddr *)&v4, sizeof v4);
	if (uv_ip6_addr(conf->address, (int)conf->port, &v6) == 0)
		return socket_bind((struct sockaddr *)&v6, sizeof v6);
	return -EINVAL;
}

/* Every reactor has its listeners, so another server's socket would go unnoticed: the first reactor asks
 * without SO_REUSEPORT whether the port is free. */
static int port_check(const struct listener_conf *conf)
{
	uv_loop_t loop;
	uv_tcp_t probe;
	struct sockaddr_storage name;
	int error;

	if (conf->port == 0)
		return 0;
	if (uv_ip4_addr(conf->address, (int)conf->port, (struct sockaddr_in *)&name) != 0 &&
	    uv_ip6_addr(conf->address, (int)conf->port, (struct sockaddr_in6 *)&name) != 0)
		return UV_EINVAL;
	uv_loop_init(&loop);
	uv_tcp_init(&loop, &probe);
	error = uv_tcp_bind(&probe, (struct sockaddr *)&name, 0);
	if (error == 0)
		error = uv_listen((uv_stream_t *)&probe, 1, on_connection);
	uv_close((uv_handle_t *)&probe, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return error == UV_EAFNOSUPPORT ? 0 : error;
}

/* Connections inherit these from the socket they come from. */
static int listener_set_up(struct listener *l)
{
	uv_tcp_nodelay(&l->tcp, 1);
	uv_tcp_keepalive(&l->tcp, 1, KEEPALIVE_SECONDS);
	return uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
}

static int listener_open(struct reactor *r, const struct listener_conf *conf)
{
	struct listener *l;
	int error = r->index == 0 ? port_check(conf) : 0;
	int fd = error ? error : listener_bind(conf);

	if (fd < 0)
		return fd;
	l = mem_zalloc(sizeof *l);
	l->reactor = r;
	l->is_relay = conf->kind == LISTEN_PROXY65;
	l->is_direct = conf->kind == LISTEN_C2S_TLS;
	l->require_tls = conf->require_tls;
	l->balancers = conf->proxy ? mem_strdup(conf->proxy) : NULL;
	ASSERT(uv_tcp_init(&r->loop, &l->tcp) == 0);
	l->tcp.data = l;
	error = uv_tcp_open(&l->tcp, fd);
	if (error)
		close(fd);
	else
		error = listener_set_up(l);
	if (error) {
		uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
		return error;
	}
	list_append(&r->listeners, &l->node);
	return 0;
}

bool listeners_open(struct reactor *r, char **error)
{
	for (unsigned i = 0; i < r->conf->listener_count; i++) {
		const struct listener_conf *c = &r->conf->listeners[i];
		int status;

		if (c->kind == LISTEN_PROXY65 && !r->relay)
			continue;
		status = listener_open(r, c);
		if (status == 0)
			continue;
		*error = mem_printf("%s: cannot listen on %s port %lld: %s", c->place, c->address,
		                    (long long)c->port, uv_strerror(status));
		return false;
	}
	return true;
}

void listeners_close(struct reactor *r)
{
	struct listener *l;

	LIST_EACH (l, &r->listeners, struct listener, node) {
		list_remove(&l->node);
		uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
	}
}
