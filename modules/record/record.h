/* record.h - between the files of this module: record.c puts messages on record, preferences.c says which
 * of them an account wants to keep. */
#ifndef MUSTER_MODULE_RECORD_H
#define MUSTER_MODULE_RECORD_H

#include "module.h"

#define MAM_NS "urn:xmpp:mam:2"

struct record_options {
	int64_t addresses;
};

struct record_policy {
	bool words, receipts;
	int64_t preferences; /* whether its users have any: an index of record_preferences */
};
extern const char *const record_preferences[];

enum keep { KEEP_ALWAYS, KEEP_NEVER, KEEP_ROSTER };

/* Of a home; it has none as long as its owner has said nothing. */
struct preferences {
	enum keep otherwise;         /* for who is in neither list: XEP-0441 calls it the default */
	struct blocks always, never; /* an address is in one of them at most */
};

/* Whether the owner wants to keep what he sends to that address, or gets from it. */
bool preferences_keep(struct ctx *c, struct jid *peer);

extern const struct sql preferences_sql_load;
rows_handler preferences_on_load;
handler preferences_on_get, preferences_on_set;
void preferences_free(void *data);

#endif
