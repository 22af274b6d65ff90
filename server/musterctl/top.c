/* top.c - for whoever watches a server: top, metrics, and drain, which waits for the sessions to end.
 * Called from the table of commands; asks over one connection as often as it needs. */
#define _GNU_SOURCE /* ppoll */
#include "musterctl.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "metrics.h"

#define SECOND_MS 1000
#define HOSTS_SHOWN 10
#define HOSTS_READ 1000

/* ---- figures of an answer */

/* At a path as "store.groups"; 0 where there is none. */
static double figure(const json_t *answer, const char *path)
{
	char key[32];
	size_t n = strcspn(path, ".");

	if (n >= sizeof key)
		return 0;
	memcpy(key, path, n);
	key[n] = '\0';
	answer = json_object_get(answer, key);
	return path[n] ? figure(answer, path + n + 1) : json_number_value(answer);
}

/* Two answers, one after the other. */
struct pair {
	const json_t *before, *now;
	double seconds;
};

static double grown(const struct pair *p, const char *path)
{
	return figure(p->now, path) - figure(p->before, path);
}

static double rate(const struct pair *p, const char *path)
{
	return grown(p, path) / p->seconds;
}

/* ---- the domains, the busiest now in front */

struct host_row {
	const char *name;
	double sessions, in, out; /* stanzas in a second */
};

static double all_kinds(const json_t *host, const char *direction)
{
	const json_t *kinds = json_object_get(json_object_get(host, "stanzas"), direction);

	return figure(kinds, "message") + figure(kinds, "presence") + figure(kinds, "iq");
}

static const json_t *host_named(const json_t *hosts, const char *name)
{
	json_t *host;
	size_t i;

	json_array_foreach(hosts, i, host)
	{
		if (strcmp(json_string_value(json_object_get(host, "name")), name) == 0)
			return host;
	}
	return NULL;
}

static int host_compare(const void *a, const void *b)
{
	const struct host_row *x = a, *y = b;
	double difference = y->in + y->out - x->in - x->out;

	if (difference == 0)
		difference = y->sessions - x->sessions;
	return difference < 0 ? -1 : difference > 0 ? 1 : strcmp(x->name, y->name);
}

/* Returns how many there are in `rows`. */
static unsigned read_hosts(const struct pair *p, struct host_row rows[HOSTS_READ])
{
	json_t *hosts = json_object_get(p->now, "hosts"), *host;
	const json_t *old = json_object_get(p->before, "hosts");
	unsigned count = 0;
	size_t i;

	json_array_foreach(hosts, i, host)
	{
		const char *name = json_string_value(json_object_get(host, "name"));
		const json_t *was = name ? host_named(old, name) : NULL;

		if (!name || count == HOSTS_READ)
			continue;
		rows[count++] = (struct host_row){
			.name = name,
			.sessions = figure(host, "sessions"),
			.in = was ? (all_kinds(host, "in") - all_kinds(was, "in")) / p->seconds : 0,
			.out = was ? (all_kinds(host, "out") - all_kinds(was, "out")) / p->seconds : 0,
		};
	}
	if (count)
		qsort(rows, count, sizeof *rows, host_compare);
	return count;
}

/* ---- what is shown */

static double commit_ms(const struct pair *p)
{
	double groups = grown(p, "store.groups");

	return groups > 0 ? grown(p, "store.commit_us") / groups / 1000 : 0;
}

static double cpu_percent(const struct pair *p)
{
	return rate(p, "cpu_us") / 10000;
}

static void show_kind(const struct pair *p, const char *title, const char *in, const char *out)
{
	printf("%-12s%10.1f in%10.1f out  a second\n", title, rate(p, in), rate(p, out));
}

static void show_frame(const struct pair *p, unsigned hosts_shown)
{
	struct host_row *rows = mem_alloc(HOSTS_READ * sizeof *rows);
	unsigned count = read_hosts(p, rows);
	long up = (long)figure(p->now, "uptime") / 60;

	printf("Muster %s, %s, up %ld days %02ld:%02ld\n",
	       json_string_value(json_object_get(p->now, "version")),
	       json_string_value(json_object_get(p->now, "state")), up / 1440, up % 1440 / 60, up % 60);
	printf("%-12s%10.0f     %9.0f connections\n", "Sessions", figure(p->now, "sessions"),
	       figure(p->now, "connections.open"));
	printf("%-12s%10.1f     %9.1f failed  a second\n", "Logins", rate(p, "logins.total"),
	       rate(p, "logins.failed"));
	show_kind(p, "Messages", "stanzas.in.message", "stanzas.out.message");
	show_kind(p, "Presence", "stanzas.in.presence", "stanzas.out.presence");
	show_kind(p, "Queries", "stanzas.in.iq", "stanzas.out.iq");
	printf("%-12s%10.1f %%   %9.1f MB resident\n", "Process", cpu_percent(p),
	       figure(p->now, "memory") / (1024 * 1024));
	printf("%-12s%10.2f ms  %9.1f commits a second, %s\n", "Commit", commit_ms(p),
	       rate(p, "store.groups"),
	       json_string_value(json_object_get(json_object_get(p->now, "store"), "state")));
	printf("%-12s%10.0f writes %6.0f reads wait for the database\n", "Store",
	       figure(p->now, "store.waiting_writes"), figure(p->now, "store.waiting_reads"));
	printf("%-12s%10.0f in reactors, %.0f in mailboxes, %.0f in outboxes, %.1f kB unwritten\n",
	       "Queues", figure(p->now, "queued") + figure(p->now, "queues.inbox"),
	       figure(p->now, "queues.mailboxes"), figure(p->now, "queues.outboxes"),
	       figure(p->now, "queues.unwritten_bytes") / 1024);
	printf("\n%10s %10s %10s  %s\n", "SESSIONS", "IN/S", "OUT/S", "HOST");
	for (unsigned i = 0; i < count && i < hosts_shown; i++)
		printf("%10.0f %10.1f %10.1f  %s\n", rows[i].sessions, rows[i].in, rows[i].out,
		       rows[i].name);
	mem_free(rows);
}

static json_t *kinds_rates(const struct pair *p, const char *direction)
{
	static const char *const kinds[] = { "message", "presence", "iq" };
	json_t *o = json_object();

	for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
		char path[40];

		snprintf(path, sizeof path, "stanzas.%s.%s", direction, kinds[i]);
		json_object_set_new(o, kinds[i], json_real(rate(p, path)));
	}
	return o;
}

/* One object on one line. */
static void print_frame(const struct pair *p, unsigned hosts_shown)
{
	struct host_row *rows = mem_alloc(HOSTS_READ * sizeof *rows);
	unsigned count = read_hosts(p, rows);
	json_t *hosts = json_array(), *frame;

	for (unsigned i = 0; i < count && i < hosts_shown; i++)
		json_array_append_new(hosts,
		                      json_pack("{s:s, s:f, s:f, s:f}", "name", rows[i].name, "sessions",
		                                rows[i].sessions, "in", rows[i].in, "out", rows[i].out));
	frame = json_pack(
	    "{s:O, s:O, s:O, s:f, s:f, s:o, s:o, s:f, s:O, s:f, s:f, s:O, s:O, s:O, s:o}", "state",
	    json_object_get(p->now, "state"), "sessions", json_object_get(p->now, "sessions"),
	    "connections", json_object_get(json_object_get(p->now, "connections"), "open"), "logins",
	    rate(p, "logins.total"), "login_failures", rate(p, "logins.failed"), "in", kinds_rates(p, "in"),
	    "out", kinds_rates(p, "out"), "cpu_percent", cpu_percent(p), "memory",
	    json_object_get(p->now, "memory"), "commit_ms", commit_ms(p), "commits",
	    rate(p, "store.groups"), "waiting_writes",
	    json_object_get(json_object_get(p->now, "store"), "waiting_writes"), "waiting_reads",
	    json_object_get(json_object_get(p->now, "store"), "waiting_reads"), "queues",
	    json_object_get(p->now, "queues"), "hosts", hosts);
	json_dumpf(frame, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(frame);
	mem_free(rows);
}

/* ---- the terminal: keys without Enter, and back to what it was on every way out */

struct screen {
	bool is_screen, has_keys;
	struct termios before;
	sigset_t mask; /* as it was: the signals come while we wait, and only then */
};

static void on_end(int number)
{
	(void)number; /* ends the wait */
}

static void screen_open(struct screen *s, bool is_plain)
{
	const struct sigaction end = { .sa_handler = on_end };
	struct termios keys;
	sigset_t ends;

	s->is_screen = !is_plain && isatty(STDOUT_FILENO);
	s->has_keys = s->is_screen && tcgetattr(STDIN_FILENO, &s->before) == 0;
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, &s->mask);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	if (!s->has_keys)
		return;
	keys = s->before;
	keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &keys);
}

static void screen_close(struct screen *s)
{
	if (s->has_keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
	sigprocmask(SIG_SETMASK, &s->mask, NULL);
}

static unsigned screen_hosts(const struct screen *s)
{
	struct winsize size;

	if (!s->is_screen || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row <= 14)
		return HOSTS_SHOWN;
	return size.ws_row - 13u;
}

/* Until the next second. False: the user has seen enough. */
static bool screen_wait(const struct screen *s)
{
	const struct timespec second = { .tv_sec = 1 };
	struct pollfd key = { .fd = s->has_keys ? STDIN_FILENO : -1, .events = POLLIN };
	char c;

	if (ppoll(&key, 1, &second, &s->mask) < 0)
		return false; /* a signal */
	return !key.revents || (read(STDIN_FILENO, &c, 1) == 1 && c != 'q' && c != 'Q');
}

/* ---- top */

static void show_top(const struct call *c, const struct screen *s, const struct pair *p, bool is_first)
{
	if (c->is_json) {
		print_frame(p, screen_hosts(s));
		return;
	}
	if (s->is_screen)
		fputs("\033[H\033[2J", stdout);
	else if (!is_first)
		putchar('\n');
	show_frame(p, screen_hosts(s));
}

int run_top(struct call *c)
{
	bool is_once = call_flag(c, "--once");
	struct screen s;
	struct pair p = { 0 };
	json_t *before, *now = NULL;

	screen_open(&s, is_once || c->is_json);
	before = talk(c, "top", json_object(), NULL, NULL);
	for (bool is_first = true; before && screen_wait(&s); is_first = false) {
		now = talk(c, "top", json_object(), NULL, NULL);
		if (!now)
			break;
		p = (struct pair){ before, now, grown(&(struct pair){ before, now, 1 }, "now_us") / 1e6 };
		if (p.seconds > 0)
			show_top(c, &s, &p, is_first);
		json_decref(before);
		before = now;
		if (fflush(stdout) != 0 || is_once) /* nobody reads any more */
			break;
	}
	json_decref(before);
	screen_close(&s);
	return c->status;
}

/* ---- metrics */

static bool on_text(struct call *c, const json_t *page, void *arg)
{
	const char *text = json_string_value(json_object_get(page, "text"));

	(void)c;
	buffer_adds(arg, text ? text : "");
	return true;
}

static void print_text(struct call *c, const struct buffer *text)
{
	json_t *o;

	if (!c->is_json) {
		fwrite(text->data, 1, text->len, stdout);
		return;
	}
	o = json_pack("{s:s%}", "text", text->data, text->len);
	show_json(c, o);
	json_decref(o);
}

int run_metrics(struct call *c)
{
	struct buffer text = { 0 };
	json_t *last = NULL;

	if (call_flag(c, "--list")) {
		metrics_list(&text);
	} else {
		last = talk(c, "metrics", json_object(), on_text, &text);
		if (last)
			on_text(c, last, &text);
	}
	if (c->status == CONTROL_OK)
		print_text(c, &text);
	json_decref(last);
	buffer_free(&text);
	return c->status;
}

/* ---- drain */

/* -1: not given; false: it is no number. */
static bool read_timeout(struct call *c, long *seconds)
{
	const char *text = call_flag(c, "--timeout");
	char *end;

	*seconds = -1;
	if (!text)
		return true;
	*seconds = strtol(text, &end, 10);
	if (end != text && !*end && *seconds >= 0 && *seconds <= 7 * 86400)
		return true;
	return complain_usage(c, NULL, "--timeout takes seconds, at most a week's:", text);
}

/* Waits until nobody is connected, or for so long. Returns how many still are; -1: it has complained. */
static long wait_for_end(struct call *c, long seconds)
{
	long shown = -1, left;
	json_t *status;

	for (long waited = 0; (status = talk(c, "status", json_object(), NULL, NULL)); waited++) {
		left = (long)figure(status, "connections.open");
		json_decref(status);
		if (left == 0 || (seconds >= 0 && waited >= seconds))
			return left;
		if (left != shown && !c->is_json) {
			printf("%ld connections\n", left);
			fflush(stdout);
		}
		shown = left;
		poll(NULL, 0, SECOND_MS);
	}
	return -1;
}

static void show_drained(struct call *c, long left, bool is_stopped)
{
	json_t *o = json_pack("{s:I, s:b}", "connections", (json_int_t)left, "stopped", (int)is_stopped);

	show_json(c, o);
	json_decref(o);
}

static int drain_end(struct call *c, long left)
{
	bool stops = call_flag(c, "--stop");
	json_t *done = stops ? talk(c, "stop", json_object(), NULL, NULL) : NULL;

	if (stops && !done)
		return c->status;
	json_decref(done);
	if (c->is_json)
		show_drained(c, left, stops);
	else if (stops)
		show_stopped(c, NULL);
	else if (left == 0)
		puts("Drained.");
	if (left > 0 && !stops)
		complain(c, CONTROL_AWAY, "They stay; \"musterctl stop\" ends them.",
		         "%ld connections are left.", left);
	return c->status;
}

int run_drain(struct call *c)
{
	bool is_cancelled = call_flag(c, "--cancel");
	long seconds, left;
	json_t *begun;

	if (!read_timeout(c, &seconds))
		return c->status;
	if (is_cancelled && (call_flag(c, "--stop") || seconds >= 0))
		return complain_usage(c, NULL, "--cancel stands alone.", NULL), c->status;
	begun = talk(c, "drain", json_pack("{s:b}", "cancel", (int)is_cancelled), NULL, NULL);
	if (!begun)
		return c->status;
	json_decref(begun);
	if (is_cancelled) {
		puts(c->is_json ? "{}" : "Takes connections again.");
		return c->status;
	}
	left = wait_for_end(c, seconds);
	return left < 0 ? c->status : drain_end(c, left);
}
