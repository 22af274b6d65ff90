/* stamp.h - times as XMPP writes them: XEP-0082. */
#ifndef MUSTER_STAMP_H
#define MUSTER_STAMP_H

#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

#define STAMP_SIZE 32

/* Unix time in microseconds as "2026-11-22T10:36:20.123Z". */
const char *stamp_write(int64_t us, char out[STAMP_SIZE]);
/* And back, in any zone and with any fraction; false when it is none (section 3.2). */
bool stamp_read(const char *text, int64_t *us) MUST_CHECK;
/* The month of a time, counted from January 1970; the first and the last take what is beyond them. */
unsigned stamp_month(int64_t us);
#define STAMP_MONTHS (230 * 12)

#endif
