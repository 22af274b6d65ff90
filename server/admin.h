/* admin.h - what administrators can do with the running server: the commands behind control.h.
 *
 * admin.c          the table; reload, stop
 * admin_host.c     the served domains and their policies
 * admin_cert.c     their certificates
 * admin_user.c     accounts
 * admin_list.c     views of accounts
 * admin_import.c   many accounts at once
 * admin_announce.c messages to users
 * admin_archive*.c what is in archives
 * admin_db.c       the database itself
 * admin_group.c    contact groups
 * admin_session.c  sessions
 * admin_metrics.c  status, metrics, top, drain
 *
 * All of it runs on reactor 0. What belongs to other reactors is asked for by envelope, and a command is
 * answered when it has taken effect on all of them. */
#ifndef MUSTER_ADMIN_H
#define MUSTER_ADMIN_H

#include "control.h"
#include "server.h"

/* For control_open, with the struct server. */
extern const struct command admin_commands[];

/* The handlers, which answer the request now or later. */

/* admin_host.c */
void admin_host_add(struct request *r);
void admin_host_list(struct request *r);
void admin_host_show(struct request *r);
void admin_host_set(struct request *r);
void admin_host_remove(struct request *r);

/* admin_cert.c */
void admin_cert_list(struct request *r);
void admin_user_email(struct request *r);

/* admin_user.c */
void admin_user_add(struct request *r);
void admin_user_passwd(struct request *r);
void admin_user_disable(struct request *r);
void admin_user_enable(struct request *r);
void admin_user_remove(struct request *r);

/* admin_list.c */
void admin_user_list(struct request *r);
void admin_user_show(struct request *r);
void admin_user_export(struct request *r);

/* admin_import.c */
void admin_import_exists(struct request *r);
void admin_import_begin(struct request *r);
void admin_import_rows(struct request *r);
void admin_import_commit(struct request *r);
void admin_import_drop(struct request *r);
/* At the start: carries out what has been decided, and removes what has not. False, with a sentence in *error
 * (the caller frees it), when the database does not let it. */
bool admin_import_finish(struct database *db, char **error) MUST_CHECK;

/* admin_announce.c */
void admin_announce(struct request *r);

/* admin_archive*.c */
void admin_archive_search(struct request *r);
void admin_archive_show(struct request *r);
void admin_archive_export(struct request *r);
void admin_archive_stats(struct request *r);
void admin_archive_expire(struct request *r);

/* admin_db.c */
void admin_db_check(struct request *r);
void admin_db_migrate(struct request *r);
/* Serves these two alone, on srv->admin_fd, until that ends. */
void admin_db_serve(struct server *srv);

/* admin_group.c */
void admin_user_name(struct request *r);
void admin_group_add(struct request *r);
void admin_group_list(struct request *r);
void admin_group_show(struct request *r);
void admin_group_set(struct request *r);
void admin_group_remove(struct request *r);
void admin_group_join(struct request *r);
void admin_group_leave(struct request *r);

/* admin_session.c */
void admin_session_list(struct request *r);
void admin_session_kick(struct request *r);
/* A session as lists show it; `since` is Unix microseconds. */
json_t *admin_session_json(const char *jid, int64_t since, const char *peer, const char *mechanism,
                           const char *tls, bool is_available, bool is_waiting, int priority);

/* admin_metrics.c */
void admin_status(struct request *r);
void admin_top(struct request *r);
void admin_metrics(struct request *r);
void admin_drain(struct request *r);

/* ---- admin.c: what they share */

static inline struct reactor *admin_reactor(const struct request *r)
{
	return ((struct server *)request_server(r))->reactors[0];
}

/* The served host of that name; it is the snapshot's: good until the handler returns. NULL: the request has
 * been refused, and is gone with its arguments. */
const struct host *admin_host(struct request *r, const char *name);
/* The address in argument "jid", of an account on a served host; with a resource only where `or_session`.
 * Lives as long as the request. NULL: the request has been refused. */
struct jid *admin_account(struct request *r, bool or_session);
/* Fails the request: there is no account with that address. */
void admin_refuse_unknown(struct request *r, const char *jid);
/* Whether the database did its work and the server is not stopping; else the request has been failed. */
bool admin_store_ok(struct request *r, const struct rows *rows);
/* Whether the database is there to take a change; else the request has been failed. */
bool admin_may_write(struct request *r);
/* Lines of text (NULL: none) as an array, or added to one; with `about`, only those in which it stands. The
 * caller owns the array. */
json_t *admin_lines(const char *lines, const char *about);
void admin_lines_add(json_t *array, const char *lines, const char *about);
/* Unix seconds as people and programs read it, UTC: "2026-11-22T08:00:00Z". */
json_t *admin_time(int64_t seconds);

#endif
