/* directory.h - what administrators say of an account, as words by which the search finds it: rows of table
 * `directory` beside those that module vcard writes of the account's own card. For admin_group.c, admin_cert.c,
 * admin_import.c and live.c. */
#ifndef MUSTER_DIRECTORY_H
#define MUSTER_DIRECTORY_H

#include "jid.h"
#include "store.h"

/* Puts the words of the account's name (NULL: it has none any more) in the place of the former ones. */
void directory_set_name(struct write *w, const struct jid *account, const char *name);
/* The same for its e-mail address. */
void directory_set_email(struct write *w, const struct jid *account, const char *email);
/* Words as a JSON array of pairs of field and word; NULL: there are none. Each of the two may be NULL. */
const char *directory_words(struct arena *a, const char *name, const char *email);

#endif
