/* archive_text.h - recorded messages as people read them, and as XML that stands for itself. For the
 * administrator's commands and his tool. */
#ifndef MUSTER_ARCHIVE_TEXT_H
#define MUSTER_ARCHIVE_TEXT_H

#include "stanza.h"

/* Adds the message as it would stand in a file: with its namespace, `from` and `to`. `stanza` is a text of
 * table `record`. */
void archive_xml(struct buffer *b, const char *stanza, const char *from, const char *to);
/* What it says, in `a`: its body; where it has none, in brackets what it is. */
const char *archive_text(struct arena *a, const struct stanza *st);
/* The same as one line of at most so many characters. */
const char *archive_line(struct arena *a, const char *text, unsigned characters);
/* Adds text that may be shown on any terminal: characters that steer it, or the direction of writing, are
 * replaced; line feeds stay. */
void archive_add_safe(struct buffer *b, const char *text);

#endif
