/* talk.c - finds the control socket and gives the server commands: a line out, lines in. Where no
 * server runs, offline.c makes one for this tool alone; what is said is the same. */
#define _GNU_SOURCE /* struct ucred */
#include "musterctl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf.h"

#define DEFAULT_CONF MUSTER_SYSCONFDIR "/muster/muster.conf"
#define DEFAULT_RUN_DIR MUSTER_RUNSTATEDIR "/muster"
#define ANSWER_SECONDS 120 /* without a line: then the server hangs */
#define END_SECONDS 60

const char *talk_config(const struct call *c)
{
	return c->config ? c->config : DEFAULT_CONF;
}

/* ---- the socket */

/* Without the line feed at its end. */
static int text_len(const char *lines)
{
	size_t n = strlen(lines);

	return (int)(n && lines[n - 1] == '\n' ? n - 1 : n);
}

/* Where the socket is, which the caller frees; NULL: it has complained. A default file that is missing or
 * has a mistake (which may be why the server is asked to reload) leaves the default directory. */
static char *socket_path(struct call *c)
{
	if (c->socket)
		return mem_strdup(c->socket);
	if (!c->config && access(DEFAULT_CONF, R_OK) != 0)
		return mem_strdup(DEFAULT_RUN_DIR "/" CONTROL_SOCKET);
	char *errors = NULL;
	struct conf *conf = conf_load(talk_config(c), &errors);
	if (!conf && c->config)
		complain(c, CONTROL_USAGE, "Mend the file, or name the server's socket with --socket.",
		         "The configuration cannot be read:\n%.*s", text_len(errors), errors);
	char *path = conf        ? mem_printf("%s/%s", conf->node.run_dir, CONTROL_SOCKET)
	             : c->config ? NULL
	                         : mem_strdup(DEFAULT_RUN_DIR "/" CONTROL_SOCKET);
	mem_free(errors);
	if (conf)
		conf_unref(conf);
	return path;
}

/* Whether a server of our own may stand in for the one that does not run. */
static bool may_be_offline(const struct call *c, int failure)
{
	return (failure == ENOENT || failure == ECONNREFUSED) && !c->socket && !c->is_quiet &&
	       !(c->verb && c->verb->is_live) && access(talk_config(c), F_OK) == 0;
}

#define START_OR_NAME                                                                                      \
	"Start musterd, or name the socket with --socket or its configuration file with --config."

static void complain_unreachable(struct call *c, const char *path, int failure)
{
	if (c->verb && c->verb->is_live && (failure == ENOENT || failure == ECONNREFUSED))
		complain(c, CONTROL_UNREACHABLE, START_OR_NAME,
		         "No server listens at %s, and this command needs one that runs.", path);
	else if (failure == ENOENT)
		complain(c, CONTROL_UNREACHABLE, START_OR_NAME, "No server runs here: there is no %s.",
		         path);
	else if (failure == ECONNREFUSED)
		complain(c, CONTROL_UNREACHABLE, "Start musterd; it replaces the socket that is left.",
		         "No server listens at %s.", path);
	else if (failure == EACCES || failure == EPERM)
		complain(c, CONTROL_UNREACHABLE, "Run musterctl as one of them, with sudo for example.",
		         "You may not use %s: only root and the server's own user may.", path);
	else
		complain(c, CONTROL_UNREACHABLE, "Name the socket with --socket.", "%s: %s", path,
		         strerror(failure));
}

/* Connected, or -1 with errno. */
static int dial(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	int failure = errno;
	if (fd >= 0)
		close(fd);
	errno = failure;
	return -1;
}

/* Connects when that has not been done. False: it has complained. */
static bool talk_open(struct call *c)
{
	struct timeval patience = { .tv_sec = ANSWER_SECONDS };

	if (c->is_connected)
		return true;
	char *path = socket_path(c);
	if (!path)
		return false;
	c->fd = dial(path);
	int failure = c->fd < 0 ? errno : 0;
	if (failure && may_be_offline(c, failure))
		offline_start(c);
	else if (failure)
		complain_unreachable(c, path, failure);
	mem_free(path);
	if (c->fd < 0)
		return false;
	c->is_connected = true;
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return true;
}

void talk_close(struct call *c)
{
	if (c->is_connected)
		close(c->fd);
	c->is_connected = false;
	buffer_free(&c->in);
	if (c->child)
		offline_wait(c);
}

/* ---- signals */

void talk_hold_signals(struct call *c, const char *sentence)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action;
	sigset_t held;

	sigemptyset(&held);
	for (unsigned i = 0; i < COUNT_OF(ends); i++)
		if (sigaction(ends[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) /* nohup */
			sigaddset(&held, ends[i]);
	sigprocmask(SIG_BLOCK, &held, &c->mask);
	c->signals = signalfd(-1, &held, SFD_CLOEXEC);
	c->interrupted = sentence;
}

/* Nothing has taken them: one that has come ends the process now, as who waits for it expects. */
void talk_release_signals(struct call *c)
{
	if (!c->interrupted)
		return;
	close(c->signals);
	sigprocmask(SIG_SETMASK, &c->mask, NULL);
}

/* ---- the end of the server */

/* The process behind the socket, so that its end can be waited for; -1 where the system cannot tell. */
static int server_process(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

static void wait_for_end(struct call *c, int process)
{
	struct pollfd end = { .fd = process, .events = POLLIN };

	c->is_ending = process < 0 || poll(&end, 1, END_SECONDS * 1000) <= 0;
}

/* ---- lines */

/* A failed write is not looked at: a server that does not want us has said why before it closed. */
static void send_line(int fd, const json_t *line)
{
	size_t n = json_dumpb(line, NULL, 0, JSON_COMPACT);
	char *text = mem_alloc(n + 1);

	json_dumpb(line, text, n, JSON_COMPACT);
	text[n] = '\n';
	for (size_t sent = 0; sent < n + 1;) {
		ssize_t now = write(fd, text + sent, n + 1 - sent);

		if (now <= 0)
			break;
		sent += (size_t)now;
	}
	mem_free_secret(text, n + 1);
}

static void complain_broken(struct call *c, bool is_late)
{
	if (c->child && !offline_wait(c))
		return;
	complain(c, CONTROL_BROKEN, "The server's log may say why; look whether it runs.",
	         is_late ? "The server has not answered for %d seconds."
	                 : "The server closed the connection without an answer.",
	         ANSWER_SECONDS);
}

/* False: it has complained. */
static bool wait_for_bytes(struct call *c)
{
	struct pollfd fds[] = { { .fd = c->fd, .events = POLLIN },
		                { .fd = c->interrupted ? c->signals : -1, .events = POLLIN } };
	int ready = poll(fds, COUNT_OF(fds), ANSWER_SECONDS * 1000);

	if (ready > 0 && !fds[1].revents)
		return true;
	if (ready <= 0) {
		complain_broken(c, ready == 0);
		return false;
	}
	talk_close(c);
	return complain(c, CONTROL_BROKEN, NULL, "%s", c->interrupted);
}

/* The next line, parsed; NULL: it has complained. c->in keeps what came behind it. */
static json_t *read_line(struct call *c)
{
	struct buffer *in = &c->in;
	char *end;

	while (!(end = in->len ? memchr(in->data, '\n', in->len) : NULL)) {
		if (!wait_for_bytes(c))
			return NULL;
		ssize_t n = read(c->fd, buffer_reserve(in, 65536), 65536);

		if (n <= 0) {
			complain_broken(c, false);
			return NULL;
		}
		in->len += (size_t)n;
	}
	json_error_t error;
	json_t *line = json_loadb(in->data, (size_t)(end - in->data), 0, &error);
	size_t used = (size_t)(end - in->data) + 1;
	memmove(in->data, in->data + used, in->len - used);
	in->len -= used;
	if (!line)
		complain(c, CONTROL_BROKEN, "Is that the socket of a Muster server of this version?",
		         "The answer is not understood: %s.", error.text);
	return line;
}

/* The result of a last line, a new reference; NULL: refused, and said so. */
static json_t *take_answer(struct call *c, const json_t *line)
{
	if (json_is_true(json_object_get(line, "ok")))
		return json_incref(json_object_get(line, "result"));
	const char *sentence = json_string_value(json_object_get(line, "error"));
	json_int_t code = json_integer_value(json_object_get(line, "code"));
	complain(c, code > CONTROL_OK && code <= CONTROL_BROKEN ? (enum control_code)code : CONTROL_BROKEN,
	         json_string_value(json_object_get(line, "hint")), "%s",
	         sentence ? sentence : "The server failed without saying why.");
	return NULL;
}

json_t *talk(struct call *c, const char *command, json_t *args,
             bool (*page)(struct call *c, const json_t *progress, void *arg), void *arg)
{
	json_t *request = json_pack("{s:s, s:o}", "command", command, "args", args);

	if (!talk_open(c)) {
		json_decref(request);
		return NULL;
	}
	bool ends_server = strcmp(command, "stop") == 0;
	int process = ends_server ? server_process(c->fd) : -1;
	send_line(c->fd, request);
	json_decref(request);

	json_t *line, *result = NULL;
	bool goes_on = true;
	while (goes_on && (line = read_line(c))) {
		const json_t *progress = json_object_get(line, "progress");

		goes_on = progress && (!page || page(c, progress, arg));
		if (!progress)
			result = take_answer(c, line);
		else if (!goes_on)
			talk_close(c); /* what still comes is not wanted */
		json_decref(line);
	}
	if (result && ends_server)
		wait_for_end(c, process);
	if (process >= 0)
		close(process);
	return result;
}
