/* server.h - the node: what all reactors share. Immutable once the reactors run, except where a member
 * says otherwise. */
#ifndef MUSTER_SERVER_H
#define MUSTER_SERVER_H

#include <uv.h>

#include "conf.h"
#include "hook.h"
#include "host.h"
#include "notify.h"
#include "reactor.h"
#include "store.h"

struct cert_watch;
struct control;
struct gate;
struct live;
struct stopping;
struct upkeep;

struct server {
	struct conf *conf;     /* as of start; reactors hold the present one */
	struct hosts *hosts;   /* the same */
	struct groups *groups; /* the newest; reactor 0 only, once they run */
	const struct hooks *hooks;
	struct database *db;
	char *durability; /* database_durability at start */
	struct reactor **reactors;
	unsigned reactor_count;
	/* How many of them keep too much that the others have no room for; all may write it. */
	_Atomic unsigned flooding;
	unsigned char secret[32]; /* of the database's table `setting`: made-up salts of unknown accounts */
	int64_t started;          /* Unix seconds */
	struct gate *gate;        /* who may come in; has a lock of its own */
	struct cert_watch *cert_watch; /* reactor 0 only */
	struct upkeep *upkeep;         /* reactor 0 only */
	struct control *control;       /* reactor 0 only, as are the signal handlers */
	int admin_fd;             /* >= 0: no listeners, no traffic; only the commands that come on it */
	bool is_database_only;    /* then: does not even open the database by itself */
	struct buffer complaints; /* then: why it cannot */
	uv_signal_t signals[4];
	struct notify notify; /* reactor 0 only */
	struct live *live;    /* reactor 0 only; NULL on SQLite */
	struct database_options database_options;
	struct restore *restore;   /* reactor 0 only: resumable_restart.c */
	struct stopping *stopping; /* reactor 0 only: server_stop.c */
	bool is_stopping;          /* reactor 0 only */
	bool is_draining;          /* reactor 0 only: no listeners */
	unsigned archive_jobs;     /* reactor 0 only: commands that read archives */
	bool failed;               /* reactor 0 only: could not start */
};

/* Loads what the file `path` says, opens the database and the listeners, and runs until it is told to stop.
 * Returns the process' exit status. */
int server_run(const char *path);
/* The same under the same lock, but it listens nowhere and routes nothing: it serves the commands that come
 * on the connected socket `fd`, and ends with it. For musterctl where no server runs. With
 * `is_database_only` it does not even open the database, and knows the commands of admin_db.c only. */
int server_run_offline(const char *path, int fd, bool is_database_only);

/* Ends gracefully: listeners closed, every stream told system-shutdown, everything written committed.
 * Called on reactor 0; a second call does not wait for clients. */
void server_stop(struct server *srv);

/* Another musterd has taken the database (`who`): ends, as nothing can be written any more. Called on reactor 0,
 * by each reactor's store. */
void server_end_taken(struct server *srv, const char *who);

/* Closes the listeners: whoever is connected stays, nobody new comes. Or opens them again. `done` runs when all
 * reactors have done so, with a sentence when one cannot open them (then all are closed). Called on reactor
 * 0. */
void server_drain(struct server *srv, bool is_draining, void (*done)(void *arg, const char *error),
                  void *arg);

/* Reads the configuration file, the hosts and their certificates again and gives them to every reactor.
 * Called on reactor 0. False, with all mistakes in *errors (the caller frees it), when the file is not
 * valid: then nothing changes. On success *errors holds what has changed in the file and takes effect at
 * the next start only, a line each (NULL: nothing; that has been logged), and `done` (NULL: nobody asks)
 * runs later as for server_reload_hosts. */
bool server_reload(struct server *srv, void (*done)(void *arg, bool ok, const char *problems), void *arg,
                   char **errors);

/* Runs `step` on every reactor, one after the other's own turn, then `done` on reactor 0. Called on reactor
 * 0. For replacing snapshots and gathering counts: each step has its reactor to itself. */
void server_each(struct server *srv, void (*step)(struct reactor *r, void *arg),
                 void (*done)(struct server *srv, void *arg), void *arg);

/* Reads table `host` again and gives the new snapshot to every reactor; homes and streams of hosts that are
 * gone end. `done` runs on reactor 0 when all have it; `problems` (certificates; NULL: none) live until it
 * returns; `ok` is false when the database did not answer. */
void server_reload_hosts(struct server *srv, void (*done)(void *arg, bool ok, const char *problems),
                         void *arg);

/* Reads one of the administrators' groups (0: all) again; the homes that see it follow. `done` (or NULL) runs
 * on reactor 0 when all reactors have it; `ok` is false when the database did not answer. */
void server_reload_group(struct server *srv, int64_t group, void (*done)(void *arg, bool ok), void *arg);
/* The same for the groups that an account was and is in, when it has changed or gone; `done` (or NULL) runs
 * when all of them have been read. */
void server_reload_groups_of(struct server *srv, const struct jid *account,
                             void (*done)(void *arg, bool ok), void *arg);
/* The same from any reactor. */
void groups_follow_account(struct reactor *r, const struct jid *account);
/* Hosts have changed. */
void server_check_groups(struct server *srv, const struct hosts *hosts);
/* At the start: blocks. */
bool groups_read(struct server *srv, char **error) MUST_CHECK;

/* ---- for the start and the reload */

/* Sends the log where the configuration says. False, with a line in *error (the caller frees it). */
bool server_open_log(const struct conf *c, char **error) MUST_CHECK;
/* Tells the service manager that the node serves, and whom. */
void server_say_ready(const struct server *srv);
/* Logs each line as a warning; NULL is none. */
void server_log_lines(const char *lines);

#endif
