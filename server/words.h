/* words.h - the words that messages are found by: written with each entry of an archive, and looked for. */
#ifndef MUSTER_WORDS_H
#define MUSTER_WORDS_H

#include "mem.h"

#define MESSAGE_WORDS_MAX 400 /* of one message; those behind are not found */
#define MESSAGE_WORD_MAX 64   /* a longer one is none that anybody looks for */

/* Adds each word of `text`, folded (text.h), with a space in front, until there are MESSAGE_WORDS_MAX of them;
 * *count is how many there are. A word is letters and digits; of scripts that need no spaces each sign is
 * one. */
void words_add(struct buffer *b, const char *text, unsigned *count);

#endif
