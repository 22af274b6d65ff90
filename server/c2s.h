/* c2s.h - client streams (RFC 6120): what is negotiated on them, and the stanzas they carry. */
#ifndef MUSTER_C2S_H
#define MUSTER_C2S_H

#include <stdbool.h>
#include <uv.h>

struct reactor;

/* Takes a connection from a listener over; `balancers` as for stream_accept. */
void c2s_accept(struct reactor *r, uv_stream_t *listener, bool direct, bool require_tls,
                const char *balancers);

#endif
