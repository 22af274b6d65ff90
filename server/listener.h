/* listener.h - the listening sockets of one reactor (each reactor has its own, SO_REUSEPORT) and its counts
 * of connections: in all (each reactor admits its share), and per network address (each counts for itself,
 * as one address may meet the same reactor several times in a row). */
#ifndef MUSTER_LISTENER_H
#define MUSTER_LISTENER_H

#include "reactor.h"

struct stream;

/* Opens every listener of the configuration. False, with a sentence that names the place in the file in
 * *error (the caller frees it), when one cannot be opened; those opened before stay. */
bool listeners_open(struct reactor *r, char **error) MUST_CHECK;
void listeners_close(struct reactor *r);

/* Counts a connection that was accepted and notes its address; false: over a limit. */
bool listener_admit(struct reactor *r, struct stream *s);
/* Counts it out again. */
void listener_forget(struct reactor *r, const unsigned char address[16]);

#endif
