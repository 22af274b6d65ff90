/* c2s.h - client streams (RFC 6120): what is negotiated on them, and the stanzas they carry. */
#ifndef MUSTER_C2S_H
#define MUSTER_C2S_H

#include <stdbool.h>
#include <uv.h>

struct jid;
struct reactor;

/* Takes a connection from a listener over; `balancers` as for stream_accept. */
void c2s_accept(struct reactor *r, uv_stream_t *listener, bool direct, bool require_tls,
                const char *balancers);

/* Ends what was begun with the account's former password, or by its former owner: streams that have logged
 * in and have no session yet, and those that are about to. `text` is theirs, or NULL. Sessions are the
 * home's to end. */
void c2s_end_logins(struct reactor *r, const struct jid *account, const char *text);

#endif
