/* spool_frame.h - the bytes of a spool's files: groups of writes as frames, and back. spool.c calls it; it
 * touches no file.
 *
 * A frame is a header (the length of the payload, its CRC-32, the CRC-32 of these two; four bytes each) and
 * the payload: a sequence of
 *
 *   'S' id(2) name text              a statement, before its first use in this file
 *   'W' key(8) count(2)              a write; then per statement, of which it has at least one:
 *       id(2) count(1)               and per parameter:
 *           type(1) [number(8) | bytes]
 *
 * where `name`, `text` and `bytes` have their length (4) in front; numbers are little-endian. The text of
 * each statement is kept, so that a spool can be read by a server whose modules have changed meanwhile. */
#ifndef MUSTER_SPOOL_FRAME_H
#define MUSTER_SPOOL_FRAME_H

#include "hash.h"
#include "mem.h"

#define FRAME_HEADER 12
#define FRAME_MAX ((uint32_t)1 << 30)
#define STATEMENTS_MAX 4096 /* different ones in one file */

struct group;
struct known;

/* What is known of the file being written: its statements. Begins as zeros. */
struct frame_writing {
	bool is_postgresql;
	struct hash used;
};

/* What is known of the file being read, and of those before: engines know a statement by its address, so it
 * lives until the end. Begins as zeros. */
struct frame_reading {
	struct hash known;
	struct known *ids[STATEMENTS_MAX];
};

/* Appends the writes that may be spooled. False: more than `most` bytes; then begin another file. */
bool frame_encode(struct frame_writing *f, struct buffer *b, const struct group *g,
                  uint64_t most) MUST_CHECK;
void frame_writing_end(struct frame_writing *f); /* of this file */

enum frame_found {
	FRAME_WHOLE,
	FRAME_CUT, /* its end is not there, as when the machine stopped meanwhile */
	FRAME_DAMAGED
};
/* What `data` begins with; `bytes` is the length of a whole frame. */
enum frame_found frame_look(const char *data, size_t n, size_t *bytes);
uint64_t frame_bytes(const char header[FRAME_HEADER]); /* the length it announces; 0: it is no good */
/* Adds the writes of a whole frame to the group. False: none, as it is not to be understood. */
bool frame_decode(struct frame_reading *f, const char *frame, size_t bytes, struct group *g) MUST_CHECK;
void frame_reading_next(struct frame_reading *f); /* another file begins */
void frame_reading_end(struct frame_reading *f);

/* Completes the header in front of a payload. */
void frame_seal(char *frame, size_t bytes);

#endif
