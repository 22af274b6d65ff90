/* fuzz_stream.c - arbitrary bytes as a client's connection to a real reactor: negotiation, login, bind,
 * stanzas.
 *
 * The first byte says whether the client is logged in and bound before the input begins, and how the rest
 * is cut into writes. The connection is a Unix socket, so that no ports run out. After each input the
 * reactor must be empty: no stream, nothing queued. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../lib/small_server.h"
#include "c2s.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IS_BOUND = 1, IS_CUT = 2, IS_DROPPED = 4 }; /* so that digits are modes */
#define INPUT_MAX 20000
#define WAIT_NS 10000000000 /* an input that takes longer is a stream that stays for ever */

#define HEADER                                                                                             \
	"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"             \
	" version='1.0' to='" SMALL_HOST "'>"
/* Nothing may come behind <auth/> before its answer. */
static const char *const login[] = {
	HEADER
	"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldABzZWNyZXQ=</auth>",
	HEADER "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
};
static const char *const answers[] = { "<success", "</iq>" };

struct fuzz {
	struct small_server *small;
	struct reactor *reactor;
	uv_tcp_t listener;
	struct sockaddr_un address;
};

static void on_connection(uv_stream_t *tcp, int status)
{
	struct fuzz *f = tcp->data;

	ASSERT(status == 0);
	c2s_accept(f->reactor, tcp, false, false, NULL);
}

static void fuzz_close(struct fuzz *f)
{
	uv_close((uv_handle_t *)&f->listener, NULL);
	server_stop(&f->small->server);
	reactor_run(f->reactor);
	unlink(f->address.sun_path);
	small_server_free(f->small);
	mem_free(f);
}

static struct fuzz *fuzz_open(void)
{
	struct fuzz *f = mem_zalloc(sizeof *f);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	hash_seed(true);
	signal(SIGPIPE, SIG_IGN);
	f->small = small_server_new(1);
	f->reactor = f->small->server.reactors[0];
	f->address.sun_family = AF_UNIX;
	snprintf(f->address.sun_path, sizeof f->address.sun_path, "%s/socket", f->small->dir);
	ASSERT(fd >= 0 && bind(fd, (struct sockaddr *)&f->address, sizeof f->address) == 0);
	ASSERT(uv_tcp_init(&f->reactor->loop, &f->listener) == 0);
	f->listener.data = f;
	ASSERT(uv_tcp_open(&f->listener, fd) == 0);
	ASSERT(uv_listen((uv_stream_t *)&f->listener, 16, on_connection) == 0);
	return f;
}

static int fuzz_connect(const struct fuzz *f)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	ASSERT(fd >= 0 && connect(fd, (const struct sockaddr *)&f->address, sizeof f->address) == 0);
	ASSERT(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	return fd;
}

/* Writes as much as the server takes; it may have closed. */
static void fuzz_write(const struct fuzz *f, int fd, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t taken = send(fd, data, n, MSG_NOSIGNAL);

		if (taken < 0 && errno != EAGAIN)
			return;
		if (taken > 0) {
			data += taken;
			n -= (size_t)taken;
		}
		uv_run(&f->reactor->loop, UV_RUN_NOWAIT);
	}
}

/* Reads until the server has said `text`. */
static void fuzz_expect(const struct fuzz *f, int fd, const char *text)
{
	char answer[8192];
	size_t n = 0;
	uint64_t began = uv_hrtime();

	for (;;) {
		ssize_t got = recv(fd, answer + n, sizeof answer - 1 - n, 0);

		ASSERT(got != 0);
		if (got > 0)
			n += (size_t)got;
		answer[n] = '\0';
		if (strstr(answer, text))
			return;
		ASSERT(uv_hrtime() - began < WAIT_NS);
		uv_run(&f->reactor->loop, UV_RUN_NOWAIT);
	}
}

static void fuzz_end(const struct fuzz *f, int fd)
{
	static char sink[65536];
	struct reactor *r = f->reactor;
	uint64_t began = uv_hrtime();

	while (r->counts.streams > 0) {
		while (recv(fd, sink, sizeof sink, 0) > 0)
			;
		ASSERT(uv_hrtime() - began < WAIT_NS);
		uv_run(&r->loop, UV_RUN_NOWAIT); /* to wait would be until the wheel's next tick */
	}
	close(fd);
	while (r->queue.head)
		uv_run(&r->loop, UV_RUN_NOWAIT);
	ASSERT(r->tls.out.len == 0 && r->hashing == 0);
}

static struct fuzz *fuzz_once(void)
{
	static struct fuzz *the_one;

	if (!the_one)
		the_one = fuzz_open();
	return the_one;
}

static void at_end(void)
{
	fuzz_close(fuzz_once());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_open;
	struct fuzz *f = fuzz_once();
	const char *text = (const char *)data + 1;
	size_t cut;
	int fd;

	if (!is_open) {
		is_open = true;
		atexit(at_end);
	}
	if (size < 1 || size > INPUT_MAX)
		return -1;
	fd = fuzz_connect(f);
	for (unsigned i = 0; data[0] & IS_BOUND && i < COUNT_OF(login); i++) {
		fuzz_write(f, fd, login[i], strlen(login[i]));
		fuzz_expect(f, fd, answers[i]);
	}
	cut = data[0] & IS_CUT ? (size - 1) / 2 : size - 1;
	fuzz_write(f, fd, text, cut);
	fuzz_write(f, fd, text + cut, size - 1 - cut);
	shutdown(fd, data[0] & IS_DROPPED ? SHUT_RDWR : SHUT_WR);
	fuzz_end(f, fd);
	return 0;
}
