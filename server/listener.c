/* listener.c - see listener.h. */
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "c2s.h"
#include "log.h"
#include "server.h"
#include "stream.h"

#define BACKLOG 1024

struct listener {
	struct list node; /* in reactor->listeners */
	struct reactor *reactor;
	uv_tcp_t tcp;
	bool is_direct;
	bool require_tls;
};

/* ---- counts per network address: exact for this reactor */

struct address {
	struct hash_node node;
	unsigned char bytes[16];
	unsigned count;
};

static struct address *address_find(struct reactor *r, const unsigned char bytes[16])
{
	struct hash_node *n;

	for (n = hash_first(&r->addresses, hash_bytes(bytes, 16)); n; n = hash_next(n)) {
		struct address *a = CONTAINER_OF(n, struct address, node);

		if (memcmp(a->bytes, bytes, 16) == 0)
			return a;
	}
	return NULL;
}

void listener_forget(struct reactor *r, const unsigned char bytes[16])
{
	struct address *a = address_find(r, bytes);

	ASSERT(a && a->count > 0);
	if (--a->count > 0)
		return;
	hash_remove(&r->addresses, &a->node);
	mem_free(a);
}

/* IPv4 addresses are counted and shown as such, however they came. */
static void address_read(struct stream *s)
{
	struct sockaddr_storage name;
	int len = sizeof name;
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	memset(s->address, 0, sizeof s->address);
	if (uv_tcp_getpeername(&s->tcp, (struct sockaddr *)&name, &len) != 0)
		return;
	if (name.ss_family == AF_INET) {
		memcpy(s->address, mapped, 12);
		memcpy(s->address + 12, &((struct sockaddr_in *)&name)->sin_addr, 4);
	} else if (name.ss_family == AF_INET6) {
		memcpy(s->address, &((struct sockaddr_in6 *)&name)->sin6_addr, 16);
	}
	if (memcmp(s->address, mapped, 12) == 0)
		inet_ntop(AF_INET, s->address + 12, s->peer, sizeof s->peer);
	else
		inet_ntop(AF_INET6, s->address, s->peer, sizeof s->peer);
}

/* This reactor's part of a limit for all: the kernel spreads connections evenly over the reactors. */
static int64_t share(const struct reactor *r, int64_t limit)
{
	return (limit + r->server->reactor_count - 1) / r->server->reactor_count;
}

bool listener_admit(struct reactor *r, struct stream *s)
{
	struct address *a;

	address_read(s);
	a = address_find(r, s->address);
	if (!a) {
		a = mem_zalloc(sizeof *a);
		memcpy(a->bytes, s->address, 16);
		hash_add(&r->addresses, &a->node, hash_bytes(a->bytes, 16));
	}
	a->count++;
	s->is_admitted = true;
	if (a->count > r->conf->limits.connections_per_address) {
		log_warn("listener", s->peer,
		         "refused: %u connections from one address (limits.connections_per_address)",
		         a->count);
		return false;
	}
	if (r->streams.count > share(r, r->conf->limits.connections)) {
		log_warn("listener", s->peer,
		         "refused: %u connections at this reactor (limits.connections)", r->streams.count);
		return false;
	}
	return true;
}

/* ---- sockets */

static void on_connection(uv_stream_t *tcp, int status)
{
	struct listener *l = tcp->data;

	if (status < 0) {
		log_warn("listener", NULL, "cannot accept: %s", uv_strerror(status));
		return;
	}
	c2s_accept(l->reactor, tcp, l->is_direct, l->require_tls);
}

static void on_listener_closed(uv_handle_t *handle)
{
	mem_free(handle->data);
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

static int listener_open(struct reactor *r, const struct listener_conf *conf)
{
	struct listener *l;
	int error = r->index == 0 ? port_check(conf) : 0;
	int fd = error ? error : listener_bind(conf);

	if (fd < 0)
		return fd;
	l = mem_zalloc(sizeof *l);
	l->reactor = r;
	l->is_direct = conf->kind == LISTEN_C2S_TLS;
	l->require_tls = conf->require_tls;
	ASSERT(uv_tcp_init(&r->loop, &l->tcp) == 0);
	l->tcp.data = l;
	error = uv_tcp_open(&l->tcp, fd);
	if (error)
		close(fd);
	else
		error = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
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
		int status = listener_open(r, c);

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
