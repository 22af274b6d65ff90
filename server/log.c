/* log.c - the log: one line is built on the stack and leaves by one write.
 *
 * Called from every thread. It owns the log's file descriptor. Text that a peer had a hand in is escaped,
 * so that no peer can forge a line or steer an administrator's terminal. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <unistr.h>

/* A line's parts are cut so that the whole has at most PIPE_BUF bytes: then a write to a pipe is never
 * mixed with another's. */
#define LINE_MAX_BYTES 4096
#define MODULE_BYTES 64
#define ADDRESS_BYTES 1024
#define SENTENCE_BYTES 2800

/* Changed by log_open and log_close only. The descriptor keeps its number from the first log_open on: a
 * reload puts the new file under it, so that no other thread ever writes to a closed one. */
static struct {
	_Atomic int fd, level;
	_Atomic bool json;
} log_state = { .fd = STDERR_FILENO, .level = LOG_INFO };

static const char *const level_names[] = { "error", "warn", "info", "debug" };

struct line {
	char text[LINE_MAX_BYTES];
	size_t len, limit; /* nothing is added beyond `limit` */
	bool json;
};

bool log_open(const char *path, enum log_level level, bool json)
{
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640)
	              : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (fd < 0)
		return false;
	if (log_state.fd == STDERR_FILENO) {
		log_state.fd = fd;
	} else {
		bool moved = dup2(fd, log_state.fd) >= 0 && fcntl(log_state.fd, F_SETFD, FD_CLOEXEC) >= 0;
		int error = errno;

		close(fd);
		errno = error;
		if (!moved)
			return false;
	}
	log_state.level = (int)level;
	log_state.json = json;
	return true;
}

void log_close(void)
{
	int fd = log_state.fd;

	log_state.fd = STDERR_FILENO;
	if (fd != STDERR_FILENO)
		close(fd);
}

bool log_wants(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_state.level, memory_order_relaxed);
}

/* What could break a line, move the cursor or turn the direction of writing around. */
static bool is_unsafe(ucs4_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029 ||
	       (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static bool line_put(struct line *l, const char *s, size_t n)
{
	if (l->len + n > l->limit)
		return false;
	memcpy(l->text + l->len, s, n);
	l->len += n;
	return true;
}

static void line_puts(struct line *l, const char *s)
{
	line_put(l, s, strlen(s));
}

/* One character of `size` bytes at `s`; `c` is 0xfffd where they are not UTF-8. */
static bool line_put_char(struct line *l, const char *s, size_t size, ucs4_t c)
{
	char escape[16];

	if (is_unsafe(c))
		snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)c);
	else if (l->json && (c == '"' || c == '\\'))
		snprintf(escape, sizeof(escape), "\\%c", (char)c);
	else if (c == 0xfffd)
		snprintf(escape, sizeof(escape), "\xef\xbf\xbd");
	else
		return line_put(l, s, size);
	return line_put(l, escape, strlen(escape));
}

/* Adds `s`, escaped, at most `max` bytes of it; what is cut ends in "...". */
static void line_put_escaped(struct line *l, const char *s, size_t max)
{
	size_t n = strlen(s), outer = l->limit;

	ASSERT(l->len + max + 3 <= outer); /* the sizes above leave room for all parts of a line */
	l->limit = l->len + max;
	while (n) {
		ucs4_t c;
		int size = u8_mbtouc(&c, (const uint8_t *)s, n);
		if (!line_put_char(l, s, (size_t)size, c)) {
			l->limit += 3;
			line_puts(l, "...");
			break;
		}
		s += size;
		n -= (size_t)size;
	}
	l->limit = outer;
}

static void line_put_time(struct line *l)
{
	struct timespec now;
	struct tm utc;
	char text[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text + n, sizeof(text) - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
	line_puts(l, text);
}

static void line_text(struct line *l, enum log_level level, const char *module, const char *address,
                      const char *trace, const char *sentence)
{
	line_put_time(l);
	line_puts(l, " ");
	line_puts(l, level_names[level]);
	line_puts(l, " ");
	line_put_escaped(l, module, MODULE_BYTES);
	if (address) {
		line_puts(l, " ");
		line_put_escaped(l, address, ADDRESS_BYTES);
	}
	line_puts(l, ": ");
	line_put_escaped(l, sentence, SENTENCE_BYTES);
	if (trace) {
		line_puts(l, " [");
		line_puts(l, trace);
		line_puts(l, "]");
	}
	line_puts(l, "\n");
}

static void line_put_member(struct line *l, const char *name, const char *value, size_t max)
{
	line_puts(l, ",\"");
	line_puts(l, name);
	line_puts(l, "\":\"");
	line_put_escaped(l, value, max);
	line_puts(l, "\"");
}

static void line_json(struct line *l, enum log_level level, const char *module, const char *address,
                      const char *trace, const char *sentence)
{
	line_puts(l, "{\"time\":\"");
	line_put_time(l);
	line_puts(l, "\"");
	line_put_member(l, "level", level_names[level], MODULE_BYTES);
	line_put_member(l, "module", module, MODULE_BYTES);
	if (address)
		line_put_member(l, "address", address, ADDRESS_BYTES);
	if (trace)
		line_put_member(l, "trace", trace, MODULE_BYTES);
	line_put_member(l, "message", sentence, SENTENCE_BYTES);
	line_puts(l, "}\n");
}

void log_line(enum log_level level, const char *module, const char *address, uint64_t trace,
              const char *format, ...)
{
	int error = errno; /* whoever logs may still want to look at it */
	char sentence[SENTENCE_BYTES + 8], trace_text[24];
	va_list args;

	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	snprintf(trace_text, sizeof(trace_text), "%016" PRIx64, trace);

	struct line l;
	l.len = 0;
	l.limit = sizeof(l.text);
	l.json = log_state.json;
	(l.json ? line_json : line_text)(&l, level, module, address, trace ? trace_text : NULL, sentence);
	while (write(log_state.fd, l.text, l.len) < 0 && errno == EINTR)
		;
	errno = error;
}
