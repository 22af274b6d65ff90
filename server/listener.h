/* listener.h - the listening sockets of one reactor (each reactor has its own, SO_REUSEPORT; those
 * of kind proxy65 are on reactor 0 alone), and who may connect there: balancers, limits of connections
 * (gate.h). */
#ifndef MUSTER_LISTENER_H
#define MUSTER_LISTENER_H

#include "network.h"
#include "reactor.h"

struct stream;

/* Opens every listener of the configuration. False, with a sentence that names the place in the file in
 * *error (the caller frees it), when one cannot be opened; those opened before stay. */
bool listeners_open(struct reactor *r, char **error) MUST_CHECK;
void listeners_close(struct reactor *r);

/* Who is at the other end; none when that has gone already, which its first read will tell. */
struct network_address listener_peer(const uv_tcp_t *tcp);
/* Counts a connection that was accepted and notes its address; false: it may not come in. With `balancers`
 * its address is known, and counted, later: listener_readdress. */
bool listener_admit(struct stream *s, const char *balancers) MUST_CHECK;
/* What a balancer says of it; NULL: the balancer speaks for itself. False: over a limit. */
bool listener_readdress(struct stream *s, const struct network_address *address) MUST_CHECK;
/* Counts it out again. */
void listener_forget(struct stream *s);

#endif
