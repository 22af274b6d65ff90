/* notify.c - see notify.h. server.c says that it is ready and lets it watch, server_reload.c and
 * server_stop.c say what they do. */
#include "notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "server.h"

/* ---- the socket */

/* A path, or '@' and a name that is in no directory. Returns -1 after a warning. */
static int dial(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd;

	if ((path[0] != '/' && path[0] != '@') || n < 2 || n >= sizeof address.sun_path) {
		log_warn("notify", NULL, "NOTIFY_SOCKET is no path of a socket: %s", path);
		return -1;
	}
	memcpy(address.sun_path, path, n);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address,
	                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == 0)
		return fd;
	log_warn("notify", NULL, "the service manager is not reached at %s: %s (NOTIFY_SOCKET)", path,
	         strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* What does not get through is not sent again: the next beat, or the next change, says the same. */
static void say(const struct notify *n, const char *format, ...) PRINTF(2, 3);
static void say(const struct notify *n, const char *format, ...)
{
	char lines[1024];
	va_list args;
	int size;

	if (n->fd < 0)
		return;
	va_start(args, format);
	size = vsnprintf(lines, sizeof lines, format, args);
	va_end(args);
	ASSERT(size > 0 && (size_t)size < sizeof lines);
	if (send(n->fd, lines, (size_t)size, MSG_NOSIGNAL) < 0)
		log_warn("notify", NULL, "the service manager does not listen: %s", strerror(errno));
}

/* ---- the watchdog */

static void on_beat(struct timer *t);

/* Half of WATCHDOG_USEC; 0 without, or when it is another process' that we got from our parent. */
static uint64_t watchdog_half_ms(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	char *end;
	unsigned long long wanted;

	if (!us || (pid && strtoll(pid, NULL, 10) != getpid()))
		return 0;
	wanted = strtoull(us, &end, 10);
	if (*end || wanted < 100000) {
		log_warn("notify", NULL, "WATCHDOG_USEC is no time of 0.1 s or more: %s", us);
		return 0;
	}
	return wanted / 2000;
}

void notify_open(struct notify *n, bool is_service)
{
	const char *path = is_service ? getenv("NOTIFY_SOCKET") : NULL;

	timer_init(&n->timer, on_beat);
	n->fd = path ? dial(path) : -1;
	n->half_ms = n->fd >= 0 ? watchdog_half_ms() : 0;
}

void notify_close(struct notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

/* Runs on reactor 0, once for each reactor that has turned. */
static void on_alive(struct reactor *r, void *arg)
{
	struct notify *n = arg;

	(void)r;
	if (--n->unanswered == 0)
		say(n, "WATCHDOG=1\n");
}

static void answer_beat(struct reactor *r, void *arg)
{
	reactor_post_run(r, 0, on_alive, arg);
}

/* As long as one reactor has not answered no beat is sent and no other round begun: the manager then ends
 * this process. Nothing but envelopes is under way, so a round may also be cut by the end. */
static void on_beat(struct timer *t)
{
	struct notify *n = CONTAINER_OF(t, struct notify, timer);
	struct server *srv = CONTAINER_OF(n, struct server, notify);
	struct reactor *r = srv->reactors[0];

	timer_set(&r->wheel, t, n->half_ms);
	if (n->unanswered > 0)
		return;
	n->unanswered = srv->reactor_count;
	for (unsigned i = 0; i < srv->reactor_count; i++)
		reactor_post_run(r, i, answer_beat, n);
}

void notify_watch(struct server *srv)
{
	if (srv->notify.half_ms)
		on_beat(&srv->notify.timer);
}

void notify_unwatch(struct server *srv)
{
	timer_stop(&srv->reactors[0]->wheel, &srv->notify.timer);
}

/* ---- what there is to say */

void notify_ready(const struct notify *n, const char *status)
{
	say(n, "READY=1\nSTATUS=%.500s\n", status);
}

void notify_status(const struct notify *n, const char *status)
{
	say(n, "STATUS=%.500s\n", status);
}

/* The time tells the manager that this is the reload it has asked for, and not an earlier one. */
void notify_reloading(const struct notify *n)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	say(n, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=Reloading\n",
	    (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void notify_stopping(const struct notify *n)
{
	say(n, "STOPPING=1\nSTATUS=Stopping\n");
}
