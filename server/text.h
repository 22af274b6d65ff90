/* text.h - what people write, made comparable; and what they read, in lines. */
#ifndef MUSTER_TEXT_H
#define MUSTER_TEXT_H

#include "mem.h"

/* Text as it is searched: without difference of case, width and composition (Unicode's NFKC of the folded
 * text), in `a`. "" when it is no UTF-8. */
char *text_fold(struct arena *a, const char *text);

/* Adds the words of `text` to the last line of `b`. Where that would grow too long another line begins, with
 * `indent`. */
void text_wrap(struct buffer *b, const char *text, const char *indent);

#endif
