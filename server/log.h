/* log.h - the log. A line is: time, level, part, address, trace id, sentence; text or JSON.
 * Never a message body, never a secret. Safe to call from any thread: one line is one write. */
#ifndef MUSTER_LOG_H
#define MUSTER_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Where lines go and from which level on. `path` NULL: standard error. Returns false, with errno
 * set, when the file cannot be opened; the log then stays as it was. Called at start and on reload. */
bool log_open(const char *path, enum log_level level, bool json) MUST_CHECK;
void log_close(void);
bool log_wants(enum log_level level);

/* `part`: the file or module that speaks ("c2s", "store"); `address`: the JID or network address it
 * is about, or NULL; `trace`: the stanza's trace id, or 0. */
void log_line(enum log_level level, const char *part, const char *address, uint64_t trace,
              const char *format, ...) PRINTF(5, 6);

#define LOG(level, part, address, ...)                                                                     \
	do {                                                                                               \
		if (log_wants(level))                                                                      \
			log_line(level, part, address, 0, __VA_ARGS__);                                    \
	} while (0)
#define log_error(part, address, ...) LOG(LOG_ERROR, part, address, __VA_ARGS__)
#define log_warn(part, address, ...) LOG(LOG_WARN, part, address, __VA_ARGS__)
#define log_info(part, address, ...) LOG(LOG_INFO, part, address, __VA_ARGS__)
#define log_debug(part, address, ...) LOG(LOG_DEBUG, part, address, __VA_ARGS__)

#endif
