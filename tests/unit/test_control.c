/* test_control.c - the control socket, over a real socket in a directory of its own. */
#define _GNU_SOURCE
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What a test has: a loop, the socket on it, and requests that the fake commands left unanswered. */
struct bench {
	uv_loop_t loop;
	struct control *control;
	char dir[64], path[96];
	struct request *waiting;
	int pages, went_on;
	bool closed;
};

/* ---- fake commands */

static void run_echo(struct request *r)
{
	struct bench *b = request_server(r);
	assert_non_null(b->control);
	const char *text = request_arg(r, "text");
	request_done(r, json_pack("{s:s, s:b}", "text", text ? text : "(none)", "loud",
	                          request_bool(r, "loud", true)));
}

static void run_wait(struct request *r)
{
	struct bench *b = request_server(r);
	assert_null(b->waiting);
	b->waiting = r;
}

static void run_fail(struct request *r)
{
	request_failf(r, CONTROL_REFUSED, "Try \"b\".", "There is no \"%s\xff\".",
	              request_arg(r, "secret"));
}

static void list_go_on(void *arg)
{
	struct request *r = arg;
	struct bench *b = request_server(r);
	b->went_on++;
	if (b->pages-- > 0 && request_progress(r, json_pack("{s:i}", "page", b->pages), list_go_on, r))
		return;
	request_done(r, NULL);
}

static void run_list(struct request *r)
{
	struct bench *b = request_server(r);
	assert_true(request_progress(r, json_pack("{s:i}", "page", b->pages), list_go_on, r));
}

/* A line too long for the socket's buffers: it stays unwritten until the peer reads. */
static void run_flood(struct request *r)
{
	size_t n = 4 * 1024 * 1024;
	char *text = arena_zalloc(request_arena(r), n + 1);
	memset(text, 'x', n);
	assert_true(request_progress(r, json_pack("{s:s}", "text", text), list_go_on, r));
}

static const struct argument echo_arguments[] = {
	{ "text", ARGUMENT_TEXT, false, "what to say" },
	{ "loud", ARGUMENT_BOOL, false, "whether to shout" },
	{ NULL, 0, false, NULL },
};
static const struct argument fail_arguments[] = {
	{ "secret", ARGUMENT_SECRET, true, "the password" },
	{ NULL, 0, false, NULL },
};
static const struct command commands[] = {
	{ "echo", "Says it back.", echo_arguments, run_echo },
	{ "wait", "Answers later.", NULL, run_wait },
	{ "fail", "Fails.", fail_arguments, run_fail },
	{ "list", "Answers in pages.", NULL, run_list },
	{ "flood", "Answers a lot.", NULL, run_flood },
	{ NULL, NULL, NULL, NULL },
};

/* ---- the bench and its peers */

static int set_up(void **state)
{
	struct bench *b = mem_zalloc(sizeof(*b));
	char *error = NULL;
	signal(SIGPIPE, SIG_IGN);
	snprintf(b->dir, sizeof(b->dir), "/tmp/test_control.XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/control.sock", b->dir);
	assert_int_equal(uv_loop_init(&b->loop), 0);
	b->control = control_open(&b->loop, b->path, commands, b, &error);
	assert_null(error);
	assert_non_null(b->control);
	*state = b;
	return 0;
}

static void on_closed(void *arg)
{
	((struct bench *)arg)->closed = true;
}

static void turn(struct bench *b, int times)
{
	while (times--)
		uv_run(&b->loop, UV_RUN_NOWAIT);
}

static int tear_down(void **state)
{
	struct bench *b = *state;
	control_close(b->control, on_closed, b);
	turn(b, 3);
	assert_true(b->closed);
	assert_int_equal(uv_loop_close(&b->loop), 0);
	assert_int_equal(access(b->path, F_OK), -1);
	assert_int_equal(rmdir(b->dir), 0);
	mem_free(b);
	return 0;
}

static int dial(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Turns the loop until a line has come, and parses it. NULL: the other end has closed. */
static json_t *hear(struct bench *b, int fd)
{
	struct buffer line = { 0 };
	for (int i = 0; i < 3000; i++) {
		char byte;
		ssize_t n = read(fd, &byte, 1);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return NULL;
		if (n < 0) {
			struct pollfd wait = { .fd = fd, .events = POLLIN };
			turn(b, 1);
			poll(&wait, 1, 1);
			continue;
		}
		i = 0;
		if (byte != '\n') {
			buffer_add(&line, &byte, 1);
			continue;
		}
		json_t *json = json_loads(line.data, 0, NULL);
		assert_non_null(json);
		buffer_free(&line);
		return json;
	}
	fail_msg("no line came");
	return NULL;
}

static void expect_closed(struct bench *b, int fd)
{
	assert_null(hear(b, fd));
	close(fd);
}

static void expect_ok(struct bench *b, int fd, const char *key, const char *value)
{
	json_t *line = hear(b, fd);
	assert_true(json_is_true(json_object_get(line, "ok")));
	json_t *result = json_object_get(line, "result");
	assert_true(json_is_object(result));
	if (key)
		assert_string_equal(json_string_value(json_object_get(result, key)), value);
	json_decref(line);
}

static void expect_error(struct bench *b, int fd, int code, const char *part)
{
	json_t *line = hear(b, fd);
	assert_non_null(line);
	assert_true(json_is_false(json_object_get(line, "ok")));
	assert_int_equal(json_integer_value(json_object_get(line, "code")), code);
	const char *sentence = json_string_value(json_object_get(line, "error"));
	assert_non_null(sentence);
	if (!strstr(sentence, part))
		fail_msg("\"%s\" is not in \"%s\"", part, sentence);
	json_decref(line);
}

/* ---- tests */

static void test_answers(void **state)
{
	struct bench *b = *state;
	int fd = dial(b->path);
	say(fd, "{\"command\":\"echo\",\"args\":{\"text\":\"h\xc3\xa9\",\"loud\":false}}\n");
	expect_ok(b, fd, "text", "h\xc3\xa9");
	say(fd, "{\"command\":\"echo\"}\r\n");
	expect_ok(b, fd, "text", "(none)");
	close(fd);
}

static void test_takes_pieces_and_several_lines(void **state)
{
	struct bench *b = *state;
	int fd = dial(b->path);
	say(fd, "{\"comm");
	turn(b, 3);
	say(fd,
	    "and\":\"echo\",\"args\":{\"text\":\"1\"}}\n{\"command\":\"echo\",\"args\":{\"text\":\"2\"}}\n"
	    "{\"command\":\"echo\",\"args\":{\"text\":\"3\"}}\n");
	expect_ok(b, fd, "text", "1");
	expect_ok(b, fd, "text", "2");
	expect_ok(b, fd, "text", "3");
	close(fd);
}

static void test_refuses_what_is_no_request(void **state)
{
	struct bench *b = *state;
	int fd = dial(b->path);
	say(fd, "{\"command\":\n");
	expect_error(b, fd, CONTROL_USAGE, "not valid JSON");
	say(fd, "\n");
	expect_error(b, fd, CONTROL_USAGE, "not valid JSON");
	say(fd, "\xff\xfe{}\n");
	expect_error(b, fd, CONTROL_USAGE, "not valid JSON");
	say(fd, "{\"command\":\"echo\",\"command\":\"wait\"}\n");
	expect_error(b, fd, CONTROL_USAGE, "duplicate");
	say(fd, "[1,2]\n");
	expect_error(b, fd, CONTROL_USAGE, "no object");
	say(fd, "{\"command\":\"explode\"}\n");
	expect_error(b, fd, CONTROL_USAGE, "no command \"explode\"");
	say(fd, "{\"command\":\"echo\",\"args\":[]}\n");
	expect_error(b, fd, CONTROL_USAGE, "\"args\" is no object");
	say(fd, "{\"command\":\"echo\",\"args\":{\"tex\":\"x\"}}\n");
	expect_error(b, fd, CONTROL_USAGE, "has no argument \"tex\"");
	say(fd, "{\"command\":\"echo\",\"args\":{\"text\":7}}\n");
	expect_error(b, fd, CONTROL_USAGE, "must be a text");
	say(fd, "{\"command\":\"echo\",\"args\":{\"loud\":\"on\"}}\n");
	expect_error(b, fd, CONTROL_USAGE, "must be true or false");
	say(fd, "{\"command\":\"fail\"}\n");
	expect_error(b, fd, CONTROL_USAGE, "needs the argument \"secret\": the password");
	say(fd, "{\"command\":\"fail\",\"args\":{\"secret\":\"a\"}}\n");
	expect_error(b, fd, CONTROL_REFUSED, "There is no \"a?\".");
	say(fd, "{\"command\":\"echo\"}\n");
	expect_ok(b, fd, NULL, NULL);
	close(fd);
}

static void test_line_too_long(void **state)
{
	struct bench *b = *state;
	int fd = dial(b->path);
	char piece[4096];
	memset(piece, ' ', sizeof(piece));
	for (size_t sent = 0; sent < CONTROL_LINE_MAX;) {
		ssize_t n = write(fd, piece, sizeof(piece));
		if (n > 0)
			sent += (size_t)n;
		else
			turn(b, 1);
	}
	expect_error(b, fd, CONTROL_USAGE, "longer than 1 MB");
	expect_closed(b, fd);
}

static void test_longest_line(void **state)
{
	struct bench *b = *state;
	int fd = dial(b->path);
	const char *request = "{\"command\":\"echo\"}\n";
	struct buffer line = { 0 };
	size_t blanks = CONTROL_LINE_MAX - strlen(request);
	memset(buffer_reserve(&line, blanks), ' ', blanks);
	line.len = blanks;
	buffer_adds(&line, request);
	for (size_t sent = 0; sent < line.len;) {
		ssize_t n = write(fd, line.data + sent, line.len - sent);
		if (n > 0)
			sent += (size_t)n;
		turn(b, 1);
	}
	expect_ok(b, fd, NULL, NULL);
	buffer_free(&line);
	close(fd);
}

static void test_slow_peer_sends(void **state)
{
	struct bench *b = *state;
	control_set_idle(b->control, 40);
	int fd = dial(b->path);
	say(fd, "{\"comm");
	expect_error(b, fd, CONTROL_USAGE, "in time");
	expect_closed(b, fd);
}

static void test_slow_peer_reads(void **state)
{
	struct bench *b = *state;
	control_set_idle(b->control, 40);
	int fd = dial(b->path);
	say(fd, "{\"command\":\"flood\"}\n");
	for (int i = 0; i < 1000 && !b->went_on; i++) {
		turn(b, 1);
		usleep(1000);
	}
	assert_int_equal(b->went_on, 1); /* and the request was ended into nothing */
	close(fd);
}

static void test_work_may_last(void **state)
{
	struct bench *b = *state;
	control_set_idle(b->control, 500); /* the request must have come by then, on a busy machine too */
	int fd = dial(b->path);
	say(fd, "{\"command\":\"wait\"}\n");
	for (int i = 0; i < 700; i++) {
		turn(b, 1);
		usleep(1000);
	}
	assert_false(request_is_gone(b->waiting));
	request_done(b->waiting, NULL);
	expect_ok(b, fd, NULL, NULL);
	close(fd);
}

static void test_later_answer_keeps_order(void **state)
{
	struct bench *b = *state;
	int fd = dial(b->path);
	say(fd, "{\"command\":\"wait\"}\n{\"command\":\"echo\",\"args\":{\"text\":\"after\"}}\n");
	turn(b, 5);
	request_done(b->waiting, json_pack("{s:s}", "text", "first"));
	expect_ok(b, fd, "text", "first");
	expect_ok(b, fd, "text", "after");
	close(fd);
}

static void test_answer_after_peer_went_away(void **state)
{
	struct bench *b = *state;
	int fd = dial(b->path);
	say(fd, "{\"command\":\"wait\"}\n");
	turn(b, 5);
	assert_false(request_is_gone(b->waiting));
	close(fd);
	turn(b, 5);
	assert_true(request_is_gone(b->waiting));
	assert_false(request_progress(b->waiting, json_object(), list_go_on, b->waiting));
	request_done(b->waiting, NULL);
	turn(b, 2);
	assert_int_equal(b->went_on, 0);
}

static void test_peer_with_input_at_its_end(void **state)
{
	struct bench *b = *state;
	int fd = dial(b->path);
	say(fd, "{\"command\":\"wait\"}\n");
	shutdown(fd, SHUT_WR);
	turn(b, 5);
	assert_false(request_is_gone(b->waiting));
	request_done(b->waiting, NULL);
	expect_ok(b, fd, NULL, NULL);
	expect_closed(b, fd);
}

static void test_progress(void **state)
{
	struct bench *b = *state;
	int fd = dial(b->path);
	b->pages = 3;
	say(fd, "{\"command\":\"list\"}\n");
	for (int page = 3; page >= 0; page--) {
		json_t *line = hear(b, fd);
		json_t *progress = json_object_get(line, "progress");
		assert_int_equal(json_integer_value(json_object_get(progress, "page")), page);
		json_decref(line);
	}
	expect_ok(b, fd, NULL, NULL);
	assert_int_equal(b->went_on, 4);
	close(fd);
}

static void test_too_many_connections(void **state)
{
	struct bench *b = *state;
	int fds[CONTROL_PEERS_MAX];
	for (int i = 0; i < CONTROL_PEERS_MAX; i++)
		fds[i] = dial(b->path);
	turn(b, 5);
	int fd = dial(b->path);
	expect_error(b, fd, CONTROL_AWAY, "Too many");
	expect_closed(b, fd);
	for (int i = 0; i < CONTROL_PEERS_MAX; i++) {
		say(fds[i], "{\"command\":\"echo\"}\n");
		expect_ok(b, fds[i], NULL, NULL);
		close(fds[i]);
	}
	turn(b, 5);
	fd = dial(b->path);
	say(fd, "{\"command\":\"echo\"}\n");
	expect_ok(b, fd, NULL, NULL);
	close(fd);
}

static void test_close_with_work(void **state)
{
	struct bench *b = *state;
	int fd = dial(b->path);
	say(fd, "{\"command\":\"wait\"}\n");
	turn(b, 5);
	control_close(b->control, on_closed, b);
	turn(b, 3);
	assert_true(b->closed);
	assert_true(request_is_gone(b->waiting));
	request_done(b->waiting, NULL);
	expect_closed(b, fd);
	char *error = NULL;
	b->closed = false;
	b->control = control_open(&b->loop, b->path, commands, b, &error); /* for tear_down */
	assert_non_null(b->control);
}

static void test_mode_and_peers(void **state)
{
	struct bench *b = *state;
	struct stat st;
	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(control_allows(0));
	assert_true(control_allows(geteuid()));
	assert_false(control_allows(geteuid() + 1));
}

/* Even where the file modes would let somebody else in. Only root can try. */
static void test_other_user_is_refused(void **state)
{
	struct bench *b = *state;
	if (geteuid() != 0)
		skip();
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(chmod(b->dir, 0755), 0);
	assert_int_equal(chmod(b->path, 0666), 0);
	pid_t child = fork();
	if (child == 0) {
		struct sockaddr_un address = { .sun_family = AF_UNIX };
		memcpy(address.sun_path, b->path, strlen(b->path));
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		char answer[512];
		if (setuid(65534) != 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
			_exit(1);
		ssize_t n = read(fd, answer, sizeof(answer));
		_exit(n > 0 && write(pair[1], answer, (size_t)n) == n && read(fd, answer, 1) == 0 ? 0 : 2);
	}
	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	expect_error(b, pair[0], CONTROL_REFUSED, "Only root");
	int status = -1;
	while (waitpid(child, &status, WNOHANG) == 0)
		turn(b, 1);
	assert_int_equal(status, 0);
	close(pair[0]);
	close(pair[1]);
}

static void expect_no_open(struct bench *b, const char *path, const char *part)
{
	char *error = NULL;
	assert_null(control_open(&b->loop, path, commands, b, &error));
	assert_non_null(error);
	if (!strstr(error, part))
		fail_msg("\"%s\" is not in \"%s\"", part, error);
	mem_free(error);
}

static void test_places(void **state)
{
	struct bench *b = *state;
	char path[256];
	expect_no_open(b, b->path, "Another server listens");
	int fd = dial(b->path); /* and it is unharmed */
	say(fd, "{\"command\":\"echo\"}\n");
	expect_ok(b, fd, NULL, NULL);
	close(fd);

	snprintf(path, sizeof(path), "%s/file", b->dir);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	expect_no_open(b, path, "is no socket");
	unlink(path);
	snprintf(path, sizeof(path), "%s/none/control.sock", b->dir);
	expect_no_open(b, path, "node.run_dir");
	snprintf(path, sizeof(path), "%s/%0150d", b->dir, 0);
	expect_no_open(b, path, "too long");
}

static void test_stale_socket_is_replaced(void **state)
{
	struct bench *b = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char *error = NULL;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/stale.sock", b->dir);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	struct control *second = control_open(&b->loop, address.sun_path, commands, b, &error);
	assert_non_null(second);
	fd = dial(address.sun_path);
	say(fd, "{\"command\":\"echo\"}\n");
	expect_ok(b, fd, NULL, NULL);
	close(fd);
	control_close(second, NULL, NULL);
	turn(b, 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_answers),
		TEST(test_takes_pieces_and_several_lines),
		TEST(test_refuses_what_is_no_request),
		TEST(test_line_too_long),
		TEST(test_longest_line),
		TEST(test_slow_peer_sends),
		TEST(test_slow_peer_reads),
		TEST(test_work_may_last),
		TEST(test_later_answer_keeps_order),
		TEST(test_answer_after_peer_went_away),
		TEST(test_peer_with_input_at_its_end),
		TEST(test_progress),
		TEST(test_too_many_connections),
		TEST(test_close_with_work),
		TEST(test_mode_and_peers),
		TEST(test_other_user_is_refused),
		TEST(test_places),
		TEST(test_stale_socket_is_replaced),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
