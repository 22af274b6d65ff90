/* live.h - plain SQL as the administrator's interface: what somebody else has changed in the tables takes
 * effect within a second. PostgreSQL only; reactor 0 only.
 *
 * Triggers (schema/postgresql/006_live.sql) say which rows of which table were changed, never what they
 * hold. live_listen.c hears them over a connection of its own; live.c gathers them for a moment and has the
 * homes read again what concerns them (home_reload.c). */
#ifndef MUSTER_LIVE_H
#define MUSTER_LIVE_H

struct listening;
struct live;
struct server;

/* Starts listening, and goes on trying for as long as the database is away. */
struct live *live_open(struct server *srv);
void live_close(struct live *l); /* frees it when its handles are closed */

/* ---- between live.c and live_listen.c */

/* `notice`: "account 17", "account *". `gap`: from now on nothing is missed, but something may have been. */
struct listening_calls {
	void (*notice)(void *arg, const char *notice);
	void (*gap)(void *arg);
	void (*closed)(void *arg);
	void *arg;
};
struct listening *listening_open(struct server *srv, const struct listening_calls *calls);
void listening_close(struct listening *l);

#endif
