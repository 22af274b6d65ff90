/* text.h - what people write, made comparable. */
#ifndef MUSTER_TEXT_H
#define MUSTER_TEXT_H

#include "mem.h"

/* Text as it is searched: without difference of case, width and composition (Unicode's NFKC of the folded
 * text), in `a`. "" when it is no UTF-8. */
char *text_fold(struct arena *a, const char *text);

#endif
