/* control_parts.h - what the files of the control socket share; nobody else includes it.
 *
 * control.c       the socket and its connections: taken, swept, dropped
 * control_line.c  lines in and out, and the requests they are */
#ifndef MUSTER_CONTROL_PARTS_H
#define MUSTER_CONTROL_PARTS_H

#include "control.h"
#include "list.h"

struct control {
	uv_loop_t *loop;
	uv_pipe_t listener;
	uv_timer_t sweep; /* drops peers that keep us waiting */
	const struct command *commands;
	void *server;
	char *path;           /* NULL: one connection, which was there before */
	struct list peers;    /* of struct peer that are not closing */
	unsigned peer_count;  /* also those that are */
	unsigned own_handles; /* listener and sweep, until they are closed */
	unsigned idle_ms;
	bool is_closing;
	void (*ended)(void *server); /* that one connection has ended; or NULL */
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

/* control.c */
void peer_drop(struct peer *p); /* its request, if any, goes on without it */

/* control_line.c */
/* Does the next thing that can be done for this peer, if there is one. */
void peer_turn(struct peer *p);
/* Says why, then closes. */
void peer_refuse(struct peer *p, enum control_code code, const char *sentence, const char *hint);

#endif
