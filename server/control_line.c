/* control_line.c - what is said on one connection of the control socket: a line of JSON is read, checked
 * against the table of commands and handed to its handler; the answer is a line too. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control_parts.h"
#include "log.h"

#define READ_BYTES (16 * 1024)

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
void peer_refuse(struct peer *p, enum control_code code, const char *sentence, const char *hint)
{
	p->is_refused = true;
	peer_send(p, error_line(code, sentence, hint));
}

void control_decline(int fd, enum control_code code, const char *sentence, const char *hint)
{
	struct buffer text = { 0 };
	json_t *line = error_line(code, sentence, hint);
	int failed = json_dump_callback(line, add_to_buffer, &text, JSON_COMPACT);

	ASSERT(!failed);
	json_decref(line);
	buffer_adds(&text, "\n");
	for (size_t sent = 0; sent < text.len;) {
		ssize_t n = send(fd, text.data + sent, text.len - sent, MSG_NOSIGNAL);

		if (n <= 0)
			break; /* nobody wants to know */
		sent += (size_t)n;
	}
	buffer_free(&text);
	close(fd);
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

	ASSERT(a && (a->type == ARGUMENT_TEXT || a->type == ARGUMENT_SECRET));
	return json_string_value(json_object_get(r->args, name));
}

bool request_bool(const struct request *r, const char *name, bool fallback)
{
	const struct argument *a = argument_find(r->command, name);

	ASSERT(a && a->type == ARGUMENT_BOOL);
	const json_t *value = json_object_get(r->args, name);
	return value ? json_is_true(value) : fallback;
}

const json_t *request_list(const struct request *r, const char *name)
{
	const struct argument *a = argument_find(r->command, name);

	ASSERT(a && a->type == ARGUMENT_LIST);
	return json_object_get(r->args, name);
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
	return a->type == ARGUMENT_BOOL   ? json_is_boolean(value)
	       : a->type == ARGUMENT_LIST ? json_is_array(value)
	                                  : json_is_string(value);
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
			                  a->type == ARGUMENT_BOOL   ? "true or false"
			                  : a->type == ARGUMENT_LIST ? "a list"
			                                             : "a text");
	}
	for (const struct argument *a = c->arguments; a && a->name; a++) {
		if (a->is_required && !json_object_get(args, a->name))
			return mem_printf("The command \"%s\" needs the argument \"%s\": %s.", c->name,
			                  a->name, a->about);
	}
	return NULL;
}

const struct argument only_asks[] = { { 0 } };

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
		else if (argument_find(r->command, name)->type == ARGUMENT_TEXT)
			buffer_addf(&line, " %s=%s", name, json_string_value(value));
	}
	log_traced(r->command->arguments == only_asks ? LOG_DEBUG : LOG_INFO, "control", NULL, 0,
	           "user id %u commands: %s", (unsigned)p->uid, line.data);
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
void peer_turn(struct peer *p)
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
