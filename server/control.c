/* control.c - the control socket: takes lines of JSON from administrators, checks them against the table
 * of commands, and hands each to its handler (admin.c).
 *
 * main opens it on the first reactor's loop; everything here runs on that loop's thread. It owns the
 * socket file, the connections and the requests. A connection has at most one request at work and one
 * line on its way out; the next line is looked at when the last answer has been taken. */
#define _GNU_SOURCE /* struct ucred */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "list.h"
#include "log.h"

#define READ_BYTES (16 * 1024)
#define BACKLOG CONTROL_PEERS_MAX

struct control {
	uv_loop_t *loop;
	uv_pipe_t listener;
	uv_timer_t sweep; /* drops peers that keep us waiting */
	const struct command *commands;
	void *server;
	char *path;
	struct list peers;    /* of struct peer that are not closing */
	unsigned peer_count;  /* also those that are */
	unsigned own_handles; /* listener and sweep, until they are closed */
	unsigned idle_ms;
	void (*closed)(void *arg);
	void *closed_arg;
};

struct peer {
	struct list node;
	struct control *control;
	uv_pipe_t pipe;
	uid_t uid;
	uint64_t since;    /* loop time at which we began to wait for its line, or for it to take ours */
	struct buffer in;  /* at most CONTROL_LINE_MAX */
	struct buffer out; /* the line on its way, while is_writing */
	uv_write_t write;
	bool is_writing;
	bool is_reading;
	bool has_ended;           /* sends nothing more */
	bool is_refused;          /* is closed when the line on its way is out */
	struct request *request;  /* at work, or NULL */
	void (*go_on)(void *arg); /* while a progress line is on its way; or NULL */
	void *go_on_arg;
};

struct request {
	struct peer *peer; /* NULL: gone */
	void *server;
	const struct command *command;
	json_t *args;              /* an object */
	void (*at_end)(void *arg); /* or NULL */
	void *at_end_arg;
	struct arena arena;
};

static void peer_turn(struct peer *p);

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
	control_free_if_closed(c);
}

/* Its request, if any, goes on without it. */
static void peer_drop(struct peer *p)
{
	if (uv_is_closing((uv_handle_t *)&p->pipe))
		return;
	list_remove(&p->node);
	if (p->request)
		p->request->peer = NULL;
	p->request = NULL;
	uv_close((uv_handle_t *)&p->pipe, on_peer_closed);
}

/* ---- lines out */

static void on_written(uv_write_t *write, int status)
{
	struct peer *p = write->data;
	void (*go_on)(void *arg) = p->go_on;
	p->go_on = NULL;
	p->is_writing = false;
	p->since = uv_now(p->control->loop);
	buffer_free(&p->out);
	if (status < 0)
		peer_drop(p);
	if (go_on)
		go_on(p->go_on_arg);
	else
		peer_turn(p);
}

static int add_to_buffer(const char *text, size_t n, void *buffer)
{
	buffer_add(buffer, text, n);
	return 0;
}

/* Takes the reference of `line`. False when the peer has gone. */
static bool peer_send(struct peer *p, json_t *line)
{
	ASSERT(!p->is_writing);
	int failed = json_dump_callback(line, add_to_buffer, &p->out, JSON_COMPACT);
	ASSERT(!failed);
	json_decref(line);
	buffer_adds(&p->out, "\n");
	p->is_writing = true;
	p->since = uv_now(p->control->loop);
	p->write.data = p;
	uv_buf_t out = uv_buf_init(p->out.data, (unsigned)p->out.len);
	if (uv_write(&p->write, (uv_stream_t *)&p->pipe, &out, 1, on_written) == 0)
		return true;
	p->is_writing = false;
	peer_drop(p);
	return false;
}

/* Sentences may name files, whose names may be any bytes: what JSON cannot carry becomes '?'. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	if (json)
		return json;
	char *copy = mem_strdup(text);
	for (char *at = copy; *at; at++) {
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	}
	json = json_string(copy);
	mem_free(copy);
	return json;
}

static json_t *error_line(enum control_code code, const char *sentence, const char *hint)
{
	json_t *line =
	    json_pack("{s:b, s:o, s:i}", "ok", 0, "error", text_json(sentence), "code", (int)code);
	if (hint)
		json_object_set_new(line, "hint", text_json(hint));
	return line;
}

/* Says why, then closes. */
static void peer_refuse(struct peer *p, enum control_code code, const char *sentence, const char *hint)
{
	p->is_refused = true;
	peer_send(p, error_line(code, sentence, hint));
}

/* ---- requests */

/* Texts of ARGUMENT_SECRET are overwritten where they lie: jansson would only free them. */
static void request_wipe(struct request *r)
{
	for (const struct argument *a = r->command->arguments; a && a->name; a++) {
		json_t *value = json_object_get(r->args, a->name);
		if (a->type == ARGUMENT_SECRET && json_is_string(value))
			explicit_bzero((char *)(uintptr_t)json_string_value(value),
			               json_string_length(value));
	}
}

static void request_end(struct request *r, json_t *answer)
{
	struct peer *p = r->peer;
	if (p) {
		ASSERT(p->request == r && !p->go_on);
		p->request = NULL;
		peer_send(p, answer);
	} else {
		json_decref(answer);
	}
	if (r->at_end)
		r->at_end(r->at_end_arg);
	request_wipe(r);
	json_decref(r->args);
	arena_free(&r->arena);
	mem_free(r);
}

void *request_server(const struct request *r)
{
	return r->server;
}

struct arena *request_arena(struct request *r)
{
	return &r->arena;
}

void request_at_end(struct request *r, void (*fn)(void *arg), void *arg)
{
	ASSERT(!r->at_end);
	r->at_end = fn;
	r->at_end_arg = arg;
}

bool request_is_gone(const struct request *r)
{
	return !r->peer;
}

static const struct argument *argument_find(const struct command *c, const char *name)
{
	for (const struct argument *a = c->arguments; a && a->name; a++) {
		if (strcmp(a->name, name) == 0)
			return a;
	}
	return NULL;
}

const char *request_arg(const struct request *r, const char *name)
{
	const struct argument *a = argument_find(r->command, name);
	ASSERT(a && a->type != ARGUMENT_BOOL);
	return json_string_value(json_object_get(r->args, name));
}

bool request_bool(const struct request *r, const char *name, bool fallback)
{
	const struct argument *a = argument_find(r->command, name);
	ASSERT(a && a->type == ARGUMENT_BOOL);
	const json_t *value = json_object_get(r->args, name);
	return value ? json_is_true(value) : fallback;
}

bool request_progress(struct request *r, json_t *progress, void (*go_on)(void *arg), void *arg)
{
	struct peer *p = r->peer;
	if (!p) {
		json_decref(progress);
		return false;
	}
	p->go_on = go_on;
	p->go_on_arg = arg;
	if (peer_send(p, json_pack("{s:o}", "progress", progress)))
		return true;
	p->go_on = NULL;
	return false;
}

void request_done(struct request *r, json_t *result)
{
	request_end(r, json_pack("{s:b, s:o}", "ok", 1, "result", result ? result : json_object()));
}

void request_fail(struct request *r, enum control_code code, const char *sentence, const char *hint)
{
	request_end(r, error_line(code, sentence, hint));
}

void request_failf(struct request *r, enum control_code code, const char *hint, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char sentence[2048];
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	request_fail(r, code, sentence, hint);
}

/* ---- lines in */

static const struct command *command_find(const struct command *commands, const char *name)
{
	for (const struct command *c = commands; c->name; c++) {
		if (strcmp(c->name, name) == 0)
			return c;
	}
	return NULL;
}

static bool argument_fits(const struct argument *a, const json_t *value)
{
	return a->type == ARGUMENT_BOOL ? json_is_boolean(value) : json_is_string(value);
}

/* What is wrong with the arguments: a sentence that the caller frees, or NULL. */
static char *arguments_problem(const struct command *c, json_t *args)
{
	const char *name;
	json_t *value;
	json_object_foreach(args, name, value)
	{
		const struct argument *a = argument_find(c, name);
		if (!a)
			return mem_printf("The command \"%s\" has no argument \"%s\".", c->name, name);
		if (!argument_fits(a, value))
			return mem_printf("The argument \"%s\" of \"%s\" must be %s.", name, c->name,
			                  a->type == ARGUMENT_BOOL ? "true or false" : "a text");
	}
	for (const struct argument *a = c->arguments; a && a->name; a++) {
		if (a->is_required && !json_object_get(args, a->name))
			return mem_printf("The command \"%s\" needs the argument \"%s\": %s.", c->name,
			                  a->name, a->about);
	}
	return NULL;
}

/* Who asked for what, for the record; secrets left out. */
static void log_request(const struct peer *p, const struct request *r)
{
	struct buffer line = { 0 };
	const char *name;
	json_t *value;
	buffer_adds(&line, r->command->name);
	json_object_foreach(r->args, name, value)
	{
		if (json_is_boolean(value))
			buffer_addf(&line, " %s=%s", name, json_is_true(value) ? "true" : "false");
		else if (argument_find(r->command, name)->type != ARGUMENT_SECRET)
			buffer_addf(&line, " %s=%s", name, json_string_value(value));
	}
	log_info("control", NULL, "user id %u commands: %s", (unsigned)p->uid, line.data);
	buffer_free(&line);
}

static void request_start(struct peer *p, const struct command *command, json_t *args)
{
	struct request *r = mem_zalloc(sizeof(*r));
	r->peer = p;
	r->server = p->control->server;
	r->command = command;
	r->args = args;
	p->request = r;
	log_request(p, r);
	command->run(r);
}

static void peer_take_request(struct peer *p, json_t *line)
{
	json_t *args = json_object_get(line, "args");
	const char *name = json_string_value(json_object_get(line, "command"));
	const struct command *command = name ? command_find(p->control->commands, name) : NULL;
	if (!command) {
		char *sentence = name ? mem_printf("There is no command \"%s\".", name)
		                      : mem_strdup("The line is no object with a \"command\".");
		peer_send(p,
		          error_line(CONTROL_USAGE, sentence, "\"musterctl --help\" lists the commands."));
		mem_free(sentence);
		return;
	}
	if (args && !json_is_object(args)) {
		peer_send(p, error_line(CONTROL_USAGE, "\"args\" is no object.", NULL));
		return;
	}
	args = args ? json_incref(args) : json_object();
	char *problem = arguments_problem(command, args);
	if (problem) {
		peer_send(p,
		          error_line(CONTROL_USAGE, problem, "\"musterctl COMMAND --help\" explains it."));
		mem_free(problem);
		json_decref(args);
		return;
	}
	request_start(p, command, args);
}

static void peer_take_line(struct peer *p, const char *text, size_t n)
{
	json_error_t error;
	json_t *line = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
	if (!line) {
		char *sentence =
		    mem_printf("The line is not valid JSON: %s, at byte %d.", error.text, error.position);
		peer_send(p, error_line(CONTROL_USAGE, sentence,
		                        "Send {\"command\":\"status\"} and a line feed."));
		mem_free(sentence);
		return;
	}
	peer_take_request(p, line);
	json_decref(line);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct peer *p = handle->data;
	(void)suggested;
	size_t room = CONTROL_LINE_MAX - p->in.len;
	*out = uv_buf_init(buffer_reserve(&p->in, READ_BYTES),
	                   room < READ_BYTES ? (unsigned)room : READ_BYTES);
}

static void peer_stop_reading(struct peer *p)
{
	uv_read_stop((uv_stream_t *)&p->pipe);
	p->is_reading = false;
}

/* A peer that only has no more to say (a script with its input at an end) still waits for its answer;
 * one that closed its socket does not. */
static bool peer_has_closed(const struct peer *p)
{
	struct pollfd poll_fd = { .events = POLLIN };
	return uv_fileno((const uv_handle_t *)&p->pipe, &poll_fd.fd) != 0 || poll(&poll_fd, 1, 0) < 0 ||
	       (poll_fd.revents & POLLHUP);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *in)
{
	struct peer *p = stream->data;
	(void)in;
	if (n > 0)
		p->in.len += (size_t)n;
	if (n < 0)
		p->has_ended = true;
	if (n < 0 || p->in.len == CONTROL_LINE_MAX)
		peer_stop_reading(p);
	if ((n < 0 && n != UV_EOF) || (n == UV_EOF && peer_has_closed(p)))
		peer_drop(p);
	else
		peer_turn(p);
}

/* Removes what has been handled, and leaves no copy behind: there may have been a password in it. */
static void peer_forget_line(struct peer *p, size_t n)
{
	memmove(p->in.data, p->in.data + n, p->in.len - n);
	p->in.len -= n;
	explicit_bzero(p->in.data + p->in.len, n);
}

/* Does the next thing that can be done for this peer, if there is one. */
static void peer_turn(struct peer *p)
{
	if (p->request || p->is_writing || uv_is_closing((uv_handle_t *)&p->pipe))
		return;
	if (p->is_refused) {
		peer_drop(p);
		return;
	}
	const char *end = p->in.len ? memchr(p->in.data, '\n', p->in.len) : NULL;
	if (end) {
		size_t n = (size_t)(end - p->in.data);
		peer_take_line(p, p->in.data, n);
		peer_forget_line(p, n + 1);
	} else if (p->in.len == CONTROL_LINE_MAX) {
		peer_refuse(p, CONTROL_USAGE, "The line is longer than 1 MB.", "Split the request.");
		return;
	} else if (p->has_ended) {
		peer_drop(p);
		return;
	}
	if (!p->is_reading && !p->has_ended && !uv_is_closing((uv_handle_t *)&p->pipe)) {
		uv_read_start((uv_stream_t *)&p->pipe, on_alloc, on_read);
		p->is_reading = true;
	}
}

/* ---- connections */

static void on_connection(uv_stream_t *listener, int status)
{
	struct control *c = listener->data;
	if (status < 0) {
		log_warn("control", c->path, "a connection could not be taken: %s", uv_strerror(status));
		return;
	}
	struct peer *p = mem_zalloc(sizeof(*p));
	p->control = c;
	uv_pipe_init(c->loop, &p->pipe, 0);
	p->pipe.data = p;
	p->since = uv_now(c->loop);
	list_append(&c->peers, &p->node);
	c->peer_count++;
	struct ucred peer;
	socklen_t size = sizeof(peer);
	int fd;
	if (uv_accept(listener, (uv_stream_t *)&p->pipe) != 0 ||
	    uv_fileno((uv_handle_t *)&p->pipe, &fd) != 0 ||
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

struct control *control_open(uv_loop_t *loop, const char *path, const struct command *commands,
                             void *server, char **error)
{
	int fd = socket_bind(path, error);
	if (fd < 0)
		return NULL;
	struct control *c = mem_zalloc(sizeof(*c));
	c->loop = loop;
	c->commands = commands;
	c->server = server;
	c->path = mem_strdup(path);
	c->own_handles = 2;
	list_init(&c->peers);
	uv_timer_init(loop, &c->sweep);
	uv_pipe_init(loop, &c->listener, 0);
	c->sweep.data = c->listener.data = c;
	control_set_idle(c, CONTROL_IDLE_MS);
	int failure = uv_pipe_open(&c->listener, fd);
	ASSERT(failure == 0); /* it is a fresh socket */
	failure = uv_listen((uv_stream_t *)&c->listener, BACKLOG, on_connection);
	ASSERT(failure == 0); /* and bound */
	return c;
}

void control_close(struct control *c, void (*closed)(void *arg), void *arg)
{
	struct peer *p;
	c->closed = closed;
	c->closed_arg = arg;
	unlink(c->path);
	LIST_EACH (p, &c->peers, struct peer, node)
		peer_drop(p);
	uv_close((uv_handle_t *)&c->listener, on_own_handle_closed);
	uv_close((uv_handle_t *)&c->sweep, on_own_handle_closed);
}
