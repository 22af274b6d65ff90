/* relay.h - relays bytestreams (XEP-0065) between clients that cannot connect to each other. Both connect
 * to a listener of kind proxy65 and name the same hash (socks5.h); when the one who sends says so to module
 * proxy65, what one of them writes goes to the other.
 *
 * All of it lives on reactor 0, for the whole node: two that look for each other must meet. Nobody logs in
 * here. What that allows is bounded by section `proxy65` of the configuration, and connections that are not
 * yet activated count as those that have not logged in do (gate.h). */
#ifndef MUSTER_RELAY_H
#define MUSTER_RELAY_H

#include "reactor.h"

struct relay;

/* In reactor->relay of reactor 0. */
struct relay *relay_new(struct reactor *r);
void relay_free(struct relay *relay);

/* A connection waits at a listener. */
void relay_accept(struct relay *relay, uv_stream_t *listener);
/* The hosts snapshot has been replaced: transfers by way of a host that is gone end. */
void relay_rehost(struct relay *relay);
/* Ends all of them. */
void relay_stop(struct relay *relay);

#endif
