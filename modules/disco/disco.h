/* disco.h - between the files of module disco. */
#ifndef MUSTER_DISCO_H
#define MUSTER_DISCO_H

#include "module.h"

#define INFO_NS "http://jabber.org/protocol/disco#info"
#define ITEMS_NS "http://jabber.org/protocol/disco#items"
#define CAPS_NS "http://jabber.org/protocol/caps"
#define FORM_NS "jabber:x:data"

/* disco.c */
/* Adds to `parent` the <query/> with all that this home is and can do. */
struct element *disco_info(struct ctx *c, struct stanza *st, struct element *parent);

/* caps.c: XEP-0115 */
struct caps { /* in a host's home */
	char *version;
};
bool caps_is_node(struct ctx *c, const char *node); /* it names this host's capabilities as they are now */
enum verdict caps_on_stream_features(struct ctx *c);
void caps_free(void *data);

/* contacts.c: XEP-0157 */
extern const struct option contacts_policies[];
struct contacts {
	const char *addresses[7]; /* in the order of the policies; NULL: none */
};
void contacts_add(struct ctx *c, struct stanza *st, struct element *query);

#endif
