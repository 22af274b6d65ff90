/* log.h - the log. A line is: time, level, module, address, sentence, trace id; text or JSON.
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

/* `module`: the file or module that speaks ("c2s", "store"); `address`: the JID or network address it
 * is about, or NULL; `trace`: the stanza's trace id, or 0. */
void log_line(enum log_level level, const char *module, const char *address, uint64_t trace,
              const char *format, ...) PRINTF(5, 6);

/* About a stanza: its trace id goes with it from home to home and into what it causes, so that all lines
 * with the same one tell its way. In a module's handler: module_log. */
#define log_traced(level, module, address, trace, ...)                                                     \
	do {                                                                                               \
		if (log_wants(level))                                                                      \
			log_line(level, module, address, trace, __VA_ARGS__);                              \
	} while (0)
#define log_error(module, address, ...) log_traced(LOG_ERROR, module, address, 0, __VA_ARGS__)
#define log_warn(module, address, ...) log_traced(LOG_WARN, module, address, 0, __VA_ARGS__)
#define log_info(module, address, ...) log_traced(LOG_INFO, module, address, 0, __VA_ARGS__)
#define log_debug(module, address, ...) log_traced(LOG_DEBUG, module, address, 0, __VA_ARGS__)

#endif
