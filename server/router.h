/* router.h - where an address lives. The only place that knows; a handler never sees it. */
#ifndef MUSTER_ROUTER_H
#define MUSTER_ROUTER_H

#include "module.h"
#include "reactor.h"

/* The reactor on which the home of `to` lives, and what kind of home it is; decided once, on the sending
 * reactor. Users are spread by the hash of their bare address; the served hosts have a replica on every
 * reactor. HOME_REMOTE: a domain that is not served here. */
unsigned router_home_of(const struct reactor *r, const struct jid *to, enum home_kind *kind);

/* Posts an envelope to the home of e->to. False, and the envelope still the caller's, when no home can be
 * made for such an address (HOME_REMOTE: no federation yet). */
bool router_post(struct reactor *r, struct envelope *e) MUST_CHECK;

#endif
