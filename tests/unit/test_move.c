/* test_move.c - a stream that moves to and fro between two reactors, on a real connection: no byte of it is lost
 * or out of order, however its peer cuts them; it ends properly at each step of the way; and nothing is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "../lib/small_server.h"
#include "account.h"
#include "base64.h"
#include "c2s.h"
#include "c2s_parts.h"
#include "metrics.h"
#include "router.h"
#include "stream_parts.h"

#define HEADER                                                                                             \
	"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='x' "     \
	"version='1.0'>"
#define ROUNDS 4000

/* What is done to the stream when it has left its handle, but not its reactor yet. */
enum mischief { NOTHING, CLOSE, KILL, STOP };

struct world {
	struct small_server *small;
	struct server *server;
	uv_tcp_t listener;
	uv_check_t check;
	uv_timer_t guard;
	_Atomic(struct traveller *) traveller; /* once it is there */
	uint16_t port;
	bool stays;
	unsigned far; /* it travels between reactor 0 and that one */
	enum mischief mischief;
	unsigned files_before;
	bool is_patient;
	/* the peer */
	unsigned pace, seed;
	struct buffer heard;
	bool was_right;
};

/* Says <pong/> to each stanza; then a new stream begins, on the other reactor. */
struct traveller {
	struct stream stream;
	struct world *world;
};

/* ---- the protocol */

static struct world *world_of(struct stream *s)
{
	return CONTAINER_OF(s, struct traveller, stream)->world;
}

static void on_header(struct stream *s, const struct xml_header *h)
{
	(void)s;
	assert_string_equal(h->to, "x");
}

static void on_stanza(struct stream *s, struct stanza *st)
{
	char pong[40];
	int n = snprintf(pong, sizeof pong, "<pong n='%s'/>", element_get(st->root, "n"));

	stream_write_text(s, pong, (size_t)n);
	stanza_unref(st);
	stream_restart(s);
	stream_move(s, world_of(s)->stays ? s->reactor->index : world_of(s)->far - s->reactor->index);
}

static void on_take(struct stream *s, struct envelope *e)
{
	(void)s;
	(void)e;
}

static void stop(struct reactor *r, void *arg)
{
	(void)arg;
	server_stop(r->server);
}

static void on_detach(struct stream *s)
{
	reactor_post_run(s->reactor, 0, stop, NULL);
}

static void on_nothing(struct stream *s)
{
	(void)s;
}

static void on_arrive(struct stream *s)
{
	struct world *w = world_of(s);

	w->is_patient = w->is_patient && timer_is_set(&s->timer);
}

static const struct stream_protocol protocol = {
	.name = "test",
	.size = sizeof(struct traveller),
	.header = on_header,
	.stanza = on_stanza,
	.take = on_take,
	.detach = on_detach,
	.free = on_nothing,
	.leave = on_nothing,
	.arrive = on_arrive,
	.ask = on_nothing,
	.open = on_nothing,
};

static void on_connection(uv_stream_t *listener, int status)
{
	struct world *w = listener->data;
	struct stream *s = stream_accept(w->server->reactors[0], listener, &protocol, false, NULL);

	assert_int_equal(status, 0);
	assert_non_null(s);
	CONTAINER_OF(s, struct traveller, stream)->world = w;
	stream_logged_in(s, NULL);
	w->traveller = CONTAINER_OF(s, struct traveller, stream);
}

/* ---- the world */

static unsigned files_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void on_guard(uv_timer_t *handle)
{
	(void)handle;
	fail_msg("the reactors have not ended within two minutes");
}

/* Comes between the turn in which it departs and the end of its handle. */
static void on_check(uv_check_t *handle)
{
	struct world *w = handle->data;
	struct stream *s = w->traveller ? &w->traveller->stream : NULL;

	if (w->mischief == NOTHING || !s || s->reactor->index != 0 || !s->is_moving)
		return;
	if (w->mischief == CLOSE)
		stream_close(s, STREAM_CONFLICT, NULL);
	else if (w->mischief == KILL)
		stream_kill(s);
	else
		server_stop(w->server);
	w->mischief = NOTHING;
}

static void reactor_thread(void *arg)
{
	reactor_run(arg);
}

static void listen_on(struct world *w, struct reactor *r, uv_connection_cb accept)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int len = sizeof address;

	uv_tcp_init(&r->loop, &w->listener);
	w->listener.data = w;
	assert_int_equal(uv_tcp_bind(&w->listener, (struct sockaddr *)&address, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&w->listener, 1, accept), 0);
	assert_int_equal(uv_tcp_getsockname(&w->listener, (struct sockaddr *)&address, &len), 0);
	w->port = ntohs(address.sin_port);
	uv_unref((uv_handle_t *)&w->listener);
	uv_check_init(&r->loop, &w->check);
	w->check.data = w;
	uv_check_start(&w->check, on_check);
	uv_unref((uv_handle_t *)&w->check);
	uv_timer_init(&r->loop, &w->guard);
	uv_timer_start(&w->guard, on_guard, 120000, 0);
	uv_unref((uv_handle_t *)&w->guard);
}

static void close_here(struct world *w)
{
	uv_close((uv_handle_t *)&w->listener, NULL);
	uv_close((uv_handle_t *)&w->check, NULL);
	uv_close((uv_handle_t *)&w->guard, NULL);
}

static void run(struct world *w, void (*peer)(void *arg))
{
	struct reactor *one = w->server->reactors[0], *other = w->server->reactors[1];
	uv_thread_t thread;

	w->is_patient = true;
	listen_on(w, one, on_connection);
	w->files_before = files_open();
	assert_int_equal(uv_thread_create(&other->thread, reactor_thread, other), 0);
	assert_int_equal(uv_thread_create(&thread, peer, w), 0);
	reactor_run(one);
	uv_thread_join(&other->thread);
	uv_thread_join(&thread);
	close_here(w);
	uv_run(&one->loop, UV_RUN_DEFAULT);
	assert_true(w->was_right);
	assert_true(w->is_patient);
	assert_int_equal(one->streams.count + other->streams.count, 0);
	assert_int_equal(one->counts.streams + other->counts.streams, 0);
	assert_true(files_open() <= w->files_before);
}

static uint64_t moved(const struct world *w)
{
	return w->server->reactors[0]->counts.moved + w->server->reactors[1]->counts.moved;
}

static int set_up_some(void **state, unsigned reactors)
{
	struct world *w = mem_zalloc(sizeof *w);

	w->small = small_server_new(reactors);
	w->server = &w->small->server;
	w->far = reactors - 1;
	*state = w;
	return 0;
}

static int set_up(void **state)
{
	return set_up_some(state, 2);
}

static int set_up_three(void **state)
{
	return set_up_some(state, 3);
}

static int tear_down(void **state)
{
	struct world *w = *state;

	small_server_free(w->small);
	buffer_free(&w->heard);
	mem_free(w);
	return 0;
}

/* ---- the peer, in a thread of its own */

static int peer_connect(const struct world *w)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		                       .sin_port = htons(w->port) };
	struct timeval patience = { .tv_sec = 60 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	ASSERT(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
	ASSERT(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
	ASSERT(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
	return fd;
}

static void peer_send(int fd, const char *data, size_t n)
{
	ASSERT(send(fd, data, n, MSG_NOSIGNAL) == (ssize_t)n);
}

/* False: the end, or a minute without a byte. */
static bool peer_read(struct world *w, int fd)
{
	char bytes[4096];
	ssize_t n = recv(fd, bytes, sizeof bytes, 0);

	if (n > 0)
		buffer_add(&w->heard, bytes, (size_t)n);
	return n > 0;
}

static void add_round(struct buffer *said, struct buffer *expected, unsigned i)
{
	buffer_addf(said, HEADER "<p n='%u'/>", i);
	buffer_addf(expected, "<pong n='%u'/>", i);
}

/* All of it in pieces as they fall; now and then it waits until all that it has said is answered. */
static void peer_speak(struct world *w, int fd)
{
	struct buffer said = { 0 }, expected = { 0 };
	size_t *ends = mem_alloc(ROUNDS * sizeof *ends), *answers = mem_alloc(ROUNDS * sizeof *answers);
	size_t at = 0;
	unsigned done = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		add_round(&said, &expected, i);
		ends[i] = said.len;
		answers[i] = expected.len;
	}
	w->was_right = true;
	while (at < said.len && w->was_right) {
		size_t n = 1 + (size_t)rand_r(&w->seed) % w->pace;

		if (n > ends[done] - at && rand_r(&w->seed) % 2) /* to where it may move */
			n = ends[done] - at;
		if (n > said.len - at)
			n = said.len - at;
		peer_send(fd, said.data + at, n);
		at += n;
		while (done < ROUNDS && ends[done] <= at)
			done++;
		while (done && (done == ROUNDS || rand_r(&w->seed) % 4) &&
		       w->heard.len < answers[done - 1] && (w->was_right = peer_read(w, fd)))
			;
	}
	w->was_right = w->was_right && w->heard.len == expected.len &&
	               memcmp(w->heard.data, expected.data, expected.len) == 0;
	buffer_free(&said);
	buffer_free(&expected);
	mem_free(ends);
	mem_free(answers);
}

static void peer_pieces(void *arg)
{
	struct world *w = arg;
	int fd = peer_connect(w);

	peer_speak(w, fd);
	close(fd);
}

static void test_pieces(void **state)
{
	struct world *w = *state;

	w->pace = 200;
	w->seed = 7;
	run(w, peer_pieces);
	assert_true(moved(w) > ROUNDS / 10);
}

/* One after the other: each round is a move. What that costs is only told. */
static void peer_rounds(void *arg)
{
	struct world *w = arg;
	struct buffer said = { 0 }, expected = { 0 };
	int fd = peer_connect(w);

	w->was_right = true;
	for (unsigned i = 0; i < ROUNDS && w->was_right; i++) {
		said.len = 0;
		add_round(&said, &expected, i);
		peer_send(fd, said.data, said.len);
		while (w->heard.len < expected.len && (w->was_right = peer_read(w, fd)))
			;
	}
	w->was_right = w->was_right && memcmp(w->heard.data, expected.data, expected.len) == 0;
	buffer_free(&said);
	buffer_free(&expected);
	close(fd);
}

static double cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)u.ru_utime.tv_usec +
	       (double)u.ru_stime.tv_usec;
}

static void test_each_round(void **state)
{
	struct world *w = *state;
	double before = cpu_us();

	run(w, peer_rounds);
	print_message("%.1f us of CPU for each round with a move\n", (cpu_us() - before) / ROUNDS);
	assert_true(moved(w) > ROUNDS - 100); /* it stays where the peer is quicker than the thread */
}

static void test_stays(void **state)
{
	struct world *w = *state;
	double before = cpu_us();

	w->stays = true;
	run(w, peer_rounds);
	print_message("%.1f us of CPU for each without\n", (cpu_us() - before) / ROUNDS);
	assert_int_equal(moved(w), 0);
}

/* ---- it ends on the way */

static void peer_once(void *arg)
{
	struct world *w = arg;
	int fd = peer_connect(w);

	peer_send(fd, HEADER "<p n='1'/>", sizeof HEADER "<p n='1'/>" - 1);
	while (peer_read(w, fd))
		;
	w->was_right = strncmp(w->heard.data, "<pong n='1'/>", 13) == 0;
	close(fd);
}

/* However it ends, the peer hears nothing more: it is between two streams. */
static void expect_end(struct world *w, enum mischief mischief)
{
	w->mischief = mischief;
	run(w, peer_once);
	assert_int_equal(w->mischief, NOTHING); /* it was caught */
	assert_int_equal(w->heard.len, 13);
}

static void test_close(void **state)
{
	expect_end(*state, CLOSE);
}

static void test_kill(void **state)
{
	expect_end(*state, KILL);
}

static void test_stop(void **state)
{
	expect_end(*state, STOP);
}

/* ---- no descriptor is left: it stays, and works */

static rlim_t lowest_free(void)
{
	int fd = dup(0);

	close(fd);
	return (rlim_t)fd;
}

static void peer_without_files(void *arg)
{
	struct world *w = arg;
	struct rlimit before, none;
	int fd = peer_connect(w);

	peer_send(fd, HEADER, sizeof HEADER - 1);
	while (!w->traveller) /* accepted */
		uv_sleep(1);
	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = lowest_free();
	ASSERT(setrlimit(RLIMIT_NOFILE, &none) == 0);
	peer_send(fd, "<p n='1'/>", 10);
	while (w->heard.len < 13 && peer_read(w, fd))
		;
	peer_send(fd, HEADER "<p n='2'/>", sizeof HEADER "<p n='2'/>" - 1);
	while (w->heard.len < 26 && peer_read(w, fd))
		;
	ASSERT(setrlimit(RLIMIT_NOFILE, &before) == 0);
	w->was_right = w->heard.len == 26 && memcmp(w->heard.data, "<pong n='1'/><pong n='2'/>", 26) == 0;
	close(fd);
}

static void test_no_descriptor(void **state)
{
	struct world *w = *state;

	run(w, peer_without_files);
	assert_true(w->server->reactors[0]->counts.moved == 0);
}

/* ---- it never arrives: the reactors have ended before */

static void drive(struct reactor *r)
{
	uv_run(&r->loop, UV_RUN_NOWAIT);
}

static void test_never_arrives(void **state)
{
	struct world *w = *state;
	struct reactor *one = w->server->reactors[0], *other = w->server->reactors[1];
	struct envelope *e;
	int fd;

	listen_on(w, one, on_connection);
	w->is_patient = true;
	fd = peer_connect(w);
	peer_send(fd, HEADER "<p n='1'/>", sizeof HEADER "<p n='1'/>" - 1);
	while (!atomic_load(&other->inbox.newest))
		drive(one);
	e = atomic_exchange(&other->inbox.newest, NULL);
	assert_int_equal(e->kind, ENV_MOVED);
	assert_null(e->next);
	assert_int_equal(one->streams.count, 0);
	for (unsigned i = 0; i < 2; i++) {
		reactor_close(w->server->reactors[i]);
		if (i == 0)
			close_here(w);
		reactor_run(w->server->reactors[i]);
	}
	atomic_store(&other->inbox.newest, e);
	while (peer_read(w, fd) && w->heard.len < 13)
		;
	small_server_free(w->small); /* here it is found */
	w->small = NULL;
	assert_false(peer_read(w, fd));
	close(fd);
}

/* ---- a password changes while a client is between two reactors: it does not slip through */

#define CLIENT_HEADER                                                                                      \
	"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"             \
	" to='" SMALL_HOST "' version='1.0'>"

static void on_client(uv_stream_t *listener, int status)
{
	assert_int_equal(status, 0);
	c2s_accept(listener->loop->data, listener, false, false, NULL);
}

static void on_forgotten(struct account_job *job)
{
	job->result = ACCOUNT_MISSING; /* it has been called */
}

static bool peer_has_heard(struct world *w, int fd, const char *word)
{
	char bytes[4096];
	ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);

	if (n > 0)
		buffer_add(&w->heard, bytes, (size_t)n);
	return w->heard.len && strstr(w->heard.data, word);
}

static bool peer_has_end(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

	assert_true(n <= 0); /* between two streams nothing is said */
	return n == 0;
}

/* The small server's account gets a name whose home is on the first reactor. */
static struct jid *rename_account(struct world *w)
{
	static const struct sql rename = { .name = "rename", .text = "update account set name = $1" };
	struct jid *jid = NULL;
	enum home_kind kind;
	char name[] = "a";

	for (; *name <= 'z'; ++*name) {
		jid = jid_make(name, SMALL_HOST, NULL);
		if (router_home_of(w->server->reactors[0], jid, &kind) == 0)
			break;
		jid_unref(jid);
	}
	assert_true(*name <= 'z');
	small_run(w->server, &rename, PARAMS(P_TEXT(name)), small_ignore);
	return jid;
}

static void peer_log_in(int fd, const struct jid *jid)
{
	char plain[40];
	struct buffer said = { 0 };
	struct arena a = { 0 };
	int n =
	    snprintf(plain, sizeof plain, "%c%.*s%c" SMALL_PASSWORD, 0, (int)jid->local_len, jid->text, 0);

	buffer_adds(&said,
	            CLIENT_HEADER "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>");
	buffer_addf(&said, "%s</auth>", base64_encode(&a, plain, (size_t)n));
	peer_send(fd, said.data, said.len);
	buffer_free(&said);
	arena_free(&a);
}

/* It is in the inbox of its home's reactor, which is told to end the logins before it looks there; and when the
 * other one is asked it has none. */
static void test_password(void **state)
{
	struct world *w = *state;
	struct reactor *there = w->server->reactors[0], *here = w->server->reactors[1];
	struct jid *jid = rename_account(w);
	struct account_job job = {
		.reactor = there, .jid = jid, .farewell = "Gone.", .done = on_forgotten
	};
	int fd;

	listen_on(w, here, on_client);
	fd = peer_connect(w);
	peer_log_in(fd, jid);
	while (!atomic_load(&there->inbox.newest))
		drive(here);
	assert_true(peer_has_heard(w, fd, "<success "));
	assert_int_equal(here->streams.count + there->streams.count, 0);
	assert_true(list_is_empty(&here->logins) && list_is_empty(&there->logins));
	account_forget(&job);
	while (job.result != ACCOUNT_MISSING) {
		drive(there);
		drive(here);
	}
	assert_int_equal(there->counts.moved, 1);
	assert_true(list_is_empty(&there->logins) ||
	            LIST_FIRST(&there->logins, struct c2s, login_node)->stream.is_closing);
	while (!peer_has_end(fd))
		drive(there);
	close(fd);
	while (there->streams.count)
		drive(there);
	for (unsigned i = 0; i < 2; i++)
		reactor_close(w->server->reactors[i]);
	close_here(w);
	reactor_run(here);
	reactor_run(there);
	jid_unref(jid);
}

/* ---- it is counted where it ended, and was not there yet where it began */

static void on_gathered(struct metrics *m, void *arg)
{
	*(struct reactor_counts *)arg = m->counts;
}

static bool drive_all(const struct world *w)
{
	bool is_alive = false;

	for (unsigned i = 0; i < w->server->reactor_count; i++) {
		drive(w->server->reactors[i]);
		is_alive = is_alive || uv_loop_alive(&w->server->reactors[i]->loop);
	}
	return is_alive;
}

static void test_counts(void **state)
{
	struct world *w = *state;
	struct reactor *one = w->server->reactors[0], *far = w->server->reactors[2];
	struct reactor_counts sum = { .streams = 7 };
	int fd;

	listen_on(w, one, on_connection);
	metrics_gather(w->server, on_gathered, &sum);
	while (!atomic_load(&w->server->reactors[1]->inbox.newest))
		drive(one); /* it has been visited */
	fd = peer_connect(w);
	peer_send(fd, HEADER "<p n='1'/>", sizeof HEADER "<p n='1'/>" - 1);
	while (!atomic_load(&far->inbox.newest))
		drive(one);
	close(fd);
	while (far->counts.moved == 0 || far->streams.count > 0 || far->counts.streams == 0)
		drive(far);
	assert_int_equal(one->counts.streams, 1);
	assert_int_equal(one->counts.streams + far->counts.streams, 0);
	while (drive_all(w)) /* its end is that of the node */
		;
	close_here(w);
	drive(one);
	assert_int_equal(sum.streams, 0);
	for (unsigned i = 0; i < COUNT_STATES; i++)
		assert_int_equal(sum.streams_by[COUNT_OTHER][i], 0);
}

static int tear_down_empty(void **state)
{
	struct world *w = *state;

	assert_null(w->small);
	buffer_free(&w->heard);
	mem_free(w);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pieces, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_each_round, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_close, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_kill, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stop, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_descriptor, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_password, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_counts, set_up_three, tear_down),
		cmocka_unit_test_setup_teardown(test_never_arrives, set_up, tear_down_empty),
	};

	hash_seed(true);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
