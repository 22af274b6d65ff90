/* notify.h - tells the service manager how it goes, by the protocol of sd_notify(3): a datagram of lines to
 * the socket in $NOTIFY_SOCKET. Without that, nothing. Reactor 0 only. */
#ifndef MUSTER_NOTIFY_H
#define MUSTER_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "mem.h"
#include "wheel.h"

struct server;

struct notify {
	int fd; /* connected; -1: nobody wants to know */
	/* The watchdog: a round asks every reactor for an answer. */
	struct timer timer;
	uint64_t half_ms; /* half of what the manager waits for; 0: it does not wait */
	unsigned unanswered;
};

/* Reads $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID, if this is a service at all. Called once, at the
 * start. */
void notify_open(struct notify *n, bool is_service);
void notify_close(struct notify *n);

/* Serving; `status` is a sentence for `systemctl status`. Also ends a reload, done or refused. */
void notify_ready(const struct notify *n, const char *status);
void notify_status(const struct notify *n, const char *status);
void notify_reloading(const struct notify *n);
void notify_stopping(const struct notify *n);

/* Says every half period that the node lives, which it does as long as each of its reactors turns. */
void notify_watch(struct server *srv);
void notify_unwatch(struct server *srv);

#endif
