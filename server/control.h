/* control.h - the control socket: how the administrator's tool talks to the running server.
 *
 * A Unix socket (mode 0600) on which root and the server's own user give commands. Each direction is
 * lines of JSON. A request is {"command":"user add","args":{"jid":"a@b"}}; the answer is any number of
 * {"progress":{...}} and then one of
 *   {"ok":true,"result":{...}}
 *   {"ok":false,"error":"what went wrong.","hint":"What to do next.","code":1}
 * Requests of one connection are answered one after the other, in order.
 *
 * Where no server runs, musterctl starts one that does nothing but serve it (`musterd --admin-fd`).
 *
 * Bounded: 1 MB a line, 16 connections, 60 s for a peer to send its line or to take its answer. */
#ifndef MUSTER_CONTROL_H
#define MUSTER_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "mem.h"

#define CONTROL_SOCKET "control.sock" /* its name in the run directory */
#define CONTROL_LINE_MAX (1024 * 1024)
#define CONTROL_PEERS_MAX 16
#define CONTROL_IDLE_MS 60000

/* What `code` says; musterctl ends with it. */
enum control_code {
	CONTROL_OK = 0,
	CONTROL_REFUSED = 1,     /* no such account, already there, not allowed */
	CONTROL_USAGE = 2,       /* no such command, an argument is missing or wrong */
	CONTROL_UNREACHABLE = 3, /* musterctl only: no server answers */
	CONTROL_AWAY = 4,        /* cannot be done now: the database is away, too much to do */
	CONTROL_BROKEN = 5       /* the server failed */
};

/* ---- the commands: const tables, checked before `run` is called */

struct request;

enum argument_type {
	ARGUMENT_TEXT,
	ARGUMENT_SECRET, /* a text that is never logged, and overwritten when the request ends */
	ARGUMENT_BOOL,
	ARGUMENT_LIST /* an array, whose handler checks what is in it; never logged */
};

struct argument {
	const char *name; /* NULL ends the table */
	enum argument_type type;
	bool is_required;
	const char *about;
};

struct command {
	const char *name; /* "user add"; NULL ends the table */
	const char *about;
	const struct argument *arguments; /* or NULL: takes none */
	/* Starts the work and answers now or later, exactly once, by request_done or request_fail. */
	void (*run)(struct request *r);
};

/* Instead of NULL: takes none either, changes nothing and is asked often, so that the log has it at level debug
 * only. */
extern const struct argument only_asks[];

/* ---- the socket */

struct control;

/* Listens at `path`; the caller has dropped its privileges before, so that the socket is its user's, and
 * ignores SIGPIPE. A socket file that nobody listens on is replaced: the caller holds the lock of the run
 * directory, so that no two servers do so at once. `commands` must outlive every request; `server` is what
 * request_server gives to the handlers. NULL on failure, with a sentence in *error (the caller
 * frees it). */
struct control *control_open(uv_loop_t *loop, const char *path, const struct command *commands,
                             void *server, char **error) MUST_CHECK;
/* The same commands on one connection that is there already, as musterctl makes it where no server runs.
 * Takes `fd` over. `ended` runs when the connection is gone; then control_close is due. */
struct control *control_adopt(uv_loop_t *loop, int fd, const struct command *commands, void *server,
                              void (*ended)(void *server)) MUST_CHECK;
/* Says on such a connection, blocking, why there will be no commands; closes it. */
void control_decline(int fd, enum control_code code, const char *sentence, const char *hint);
/* Removes the socket and drops the connections; an answer that has not been written by then is lost.
 * `closed` runs when nothing is left on the loop. A request still at work stays good until it is
 * answered, into nothing. */
void control_close(struct control *c, void (*closed)(void *arg), void *arg);
/* Another time than CONTROL_IDLE_MS: for tests. */
void control_set_idle(struct control *c, unsigned ms);
/* Who may give commands: root, and the user this process runs as. */
bool control_allows(uid_t peer);

/* ---- one request: alive until it is answered, even when the peer has gone */

void *request_server(const struct request *r);
/* Its arguments: they live as long as the request. A text that was not given is NULL. */
const char *request_arg(const struct request *r, const char *name);
bool request_bool(const struct request *r, const char *name, bool fallback);
const json_t *request_list(const struct request *r, const char *name); /* or NULL */
/* Memory that is freed with the request. */
struct arena *request_arena(struct request *r);
/* Runs `fn` when the request ends, for what its memory holds on to; once per request. */
void request_at_end(struct request *r, void (*fn)(void *arg), void *arg);
/* Nobody reads the answer any more: a long list may stop. It must be answered all the same. */
bool request_is_gone(const struct request *r);

/* Sends one {"progress":...}, whose reference is taken. `go_on` runs, never synchronously, when the peer
 * has taken it or has gone; until then nothing else may be sent. False: nobody reads any more, `go_on`
 * will not run; answer now. */
bool request_progress(struct request *r, json_t *progress, void (*go_on)(void *arg), void *arg) MUST_CHECK;
/* The answer; all end the request. `result` (its reference is taken) NULL: an empty object.
 * `sentence` says what went wrong, `hint` what to do next or NULL. */
void request_done(struct request *r, json_t *result);
void request_fail(struct request *r, enum control_code code, const char *sentence, const char *hint);
void request_failf(struct request *r, enum control_code code, const char *hint, const char *format, ...)
    PRINTF(4, 5);

#endif
