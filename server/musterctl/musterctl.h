/* musterctl.h - the parts of the administrator's tool. It shares control.h's codes, conf.c and how
 * recorded messages are read with the server, and nothing else of it.
 *
 * musterctl.c   runs a command
 * table.c       the commands, a row each
 * line.c        reads the command line by the table; complaints
 * help.c        help, suggestions, completion, by the same table
 * talk.c        finds the socket and talks to the server
 * offline.c     a server for this tool alone, where none runs
 * show.c        answers for people: tables, sentences
 * ask.c         passwords and confirmations from the terminal
 *
 * What takes more than a question and its answer has a file of its own: announce.c, archive*.c, backup*.c,
 * check*.c, config.c, export.c, import*.c, top.c. parts.h has what they share. */
#ifndef MUSTER_MUSTERCTL_H
#define MUSTER_MUSTERCTL_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>

#include "control.h"
#include "mem.h"

#define WORDS_MAX 3
#define FLAGS_MAX 8
#define COLUMNS_MAX 8

struct call;

enum word_kind { WORD_HOST, WORD_JID, WORD_HOST_OR_JID, WORD_GROUP, WORD_FILE, WORD_POLICY, WORD_VALUE };

/* A word behind the command: "JID". */
struct word {
	const char *name; /* NULL ends the table */
	const char *key;  /* its name in the request */
	enum word_kind kind;
	bool is_optional;
};

struct flag {
	const char *name;  /* "--yes"; NULL ends the table */
	const char *value; /* what it takes: "FILE"; NULL: nothing */
	const char *about;
};

struct column {
	const char *key; /* of the row's object; NULL ends the table */
	const char *title;
	bool is_right; /* aligned to the right: numbers */
};

struct table {
	const char *rows; /* the key of the array, in the result and in each progress */
	const struct column *columns;
	const char *none; /* the sentence when there are no rows */
};

/* One command. */
struct verb {
	const char *name;         /* "user add"; NULL ends the table */
	const char *about;        /* one sentence */
	const char *more;         /* more of them, for its help; or NULL */
	const struct word *words; /* or NULL */
	const struct flag *flags; /* or NULL */
	/* Adds what flags and terminal say to c->args. False: nothing more to do, it has said why and left
	 * the exit status in c->status. */
	bool (*prepare)(struct call *c);
	int (*run)(struct call *c); /* instead of asking the server once; returns the exit status */
	void (*show)(struct call *c, const json_t *result); /* for people; or one of these: */
	const struct table *table;
	const char *done; /* "Added": is followed by the address or name in the result, and a full stop */
	bool is_live;     /* needs a server that runs: is about sessions, traffic, the process */
	bool is_database; /* without a server: also where the tables are not up to date */
};

struct call {
	const char *socket, *config; /* as given, or NULL */
	bool is_json;
	bool is_help;
	bool is_quiet;     /* completing: nothing may be said */
	const char *group; /* "user" was said, and no more; or NULL */
	const struct verb *verb;
	const char *words[WORDS_MAX];
	unsigned word_count;
	const char *const *rest; /* "complete": what bash adds */
	unsigned rest_count;
	/* By row of verb->flags: the value, "" for a flag that takes none; NULL: not given. */
	const char *flags[FLAGS_MAX];
	json_t *args;
	int status;
	/* With --json: the last complaint, what was said in front of it, and whether a result was shown instead. */
	json_t *complaint, *details;
	bool is_answered;
	bool is_ending;          /* the server has been told to end, and whether it has is not known */
	bool is_random_password; /* then it is in args, and shown */
	unsigned rows;           /* shown so far */
	int widths[COLUMNS_MAX];
	/* talk.c's */
	bool is_connected;
	int fd;
	struct buffer in;        /* what was read and is not a whole line yet */
	pid_t child;             /* the musterd of ours, or 0 */
	const char *interrupted; /* signals are held: what is said when one comes; or NULL */
	int signals;             /* by which that is seen */
	sigset_t mask;           /* as it was before */
};

/* table.c */
extern const struct verb verbs[];
extern const struct flag global_flags[];

/* musterctl.c */
/* Gives c->args to the server and shows the answer: what every command without a `run` does. */
int ask_server(struct call *c);
/* A `prepare`: "--dry-run" becomes the argument "dry_run", true or its value. */
bool flags_to_args(struct call *c);
/* A `prepare` of lists: --host, or the word, is the domain that they are of. */
bool host_to_args(struct call *c);

/* line.c */
/* Reads the command line. False: ended, with c->status. */
bool call_parse(struct call *c, unsigned count, const char *const *tokens) MUST_CHECK;
const char *call_flag(const struct call *c, const char *name);
/* Says a sentence and what to do next (or NULL) on standard error, and sets c->status. Returns false. */
bool complain(struct call *c, enum control_code code, const char *hint, const char *format, ...)
    PRINTF(4, 5);
/* A line that belongs in front of such a sentence: one of several mistakes. */
void complain_detail(struct call *c, const char *format, ...) PRINTF(2, 3);
/* The same as complain for a mistake in the command; `about` may be NULL. */
bool complain_usage(struct call *c, const char *hint, const char *sentence, const char *about);
/* With --json: what was complained about, as the one document on standard output, where no result stands there. */
void complain_json(struct call *c);
/* What the words say, as the request's arguments: makes c->args. False: one is missing. */
bool call_args(struct call *c) MUST_CHECK;

/* help.c */
void help_show(const struct call *c);
/* A sentence with the nearest known command or flag, or NULL; the caller frees it. `next`: the word behind,
 * or NULL. */
char *help_suggest_command(const char *words, const char *next);
char *help_suggest_flag(const struct call *c, const char *name);
int help_complete(struct call *c);

/* talk.c */
/* The configuration file to use: the caller's, or the default one. */
const char *talk_config(const struct call *c);
/* Gives the command and its arguments (its reference is taken) to the server, calls `page` for each
 * progress (NULL: there is none), and returns the result, whose rows `page` has not seen; NULL: it has
 * complained. `page` returns false to stop, then the result is NULL too. */
json_t *talk(struct call *c, const char *command, json_t *args,
             bool (*page)(struct call *c, const json_t *progress, void *arg), void *arg) MUST_CHECK;

/* Ends the conversation; without one it does nothing. */
void talk_close(struct call *c);
/* From now on SIGINT, SIGTERM and SIGHUP make `talk` complain with that sentence, so that what was begun can be
 * undone. The process ends by them when they are released, at its end. */
void talk_hold_signals(struct call *c, const char *sentence);
void talk_release_signals(struct call *c);

/* offline.c */
/* The musterd that belongs to this tool; the caller frees it. */
char *musterd_path(void);
/* Starts one that serves c->fd under the lock of a server. c->fd is -1 when it has complained. */
void offline_start(struct call *c);
/* Waits for its end. False: it could not even be run, and that has been said. */
bool offline_wait(struct call *c);

/* ask.c */
bool ask_password(struct call *c);   /* a `prepare` */
bool ask_if_removed(struct call *c); /* the same */
/* Unless --yes was said: asks at the terminal, "... ? [y/N] ". */
bool ask_if_sure(struct call *c, const char *question);

/* import.c */
int import_users(struct call *c);

/* announce.c */
bool announce_args(struct call *c); /* a `prepare` */
int announce(struct call *c);

/* archive*.c */
int archive_search(struct call *c);
int archive_stats(struct call *c);
bool archive_expire_args(struct call *c); /* a `prepare` */
int archive_expire(struct call *c);
bool archive_export_args(struct call *c); /* a `prepare` */
int archive_export(struct call *c);
int archive_verify(struct call *c);
void show_archived(struct call *c, const json_t *result);

/* backup.c */
int backup_make(struct call *c); /* "backup" */
int backup_verify(struct call *c);

/* check.c */
int check_domain(struct call *c);

/* config.c */
int config_check(struct call *c);

/* export.c */
int export_users(struct call *c);

/* top.c */
int run_top(struct call *c);
int run_metrics(struct call *c);
int run_drain(struct call *c);

/* show.c */
void show_json(struct call *c, const json_t *result); /* what --json prints */
void show_rows(struct call *c, const json_t *page);
void show_result(struct call *c, const json_t *result);
void show_warnings(const json_t *result);
void show_status(struct call *c, const json_t *result);
void show_stopped(struct call *c, const json_t *result);
void show_user(struct call *c, const json_t *result);
void show_db(struct call *c, const json_t *result);
void show_kicked(struct call *c, const json_t *result);
void show_padded(const char *text, int width);

#endif
