/* vcard.h - between the files of module vcard. */
#ifndef MUSTER_VCARD_H
#define MUSTER_VCARD_H

#include "module.h"

#define VCARD_NS "vcard-temp"
#define HASH_TEXT (2 * DIGEST_SHA1 + 1)

struct vcard {                 /* in the account's home: all that it remembers of the card */
	char photo[HASH_TEXT]; /* SHA-1 of the picture in hexadecimal; "": none */
};

/* vcard.c */
/* The text of an element below the card, found by its path ("N", "GIVEN"); NULL when it is empty or not
 * there. `inner` may be NULL. */
const char *vcard_text(struct ctx *c, const struct element *card, const char *outer, const char *inner);

/* avatar.c: XEP-0153 and the presence part of XEP-0398 */
/* The hash of the card's picture, in scratch memory; NULL: it has none. */
const char *avatar_hash(struct ctx *c, const struct element *card);
enum verdict avatar_on_presence(struct ctx *c);
/* The picture is another one: its hash goes out with the presence of each session. */
void avatar_changed(struct ctx *c, bool had_picture);

/* words.c: what the account is found by */
void words_store(struct ctx *c, struct write *w, const struct element *card);

#endif
