/* count.h - what a reactor counts. It alone writes it, as plain numbers: an event costs one increment. All are
 * uint64_t, so that the sum over the reactors is that of the numbers; a figure that also falls may be "below
 * zero" on one reactor, where what rose on another has ended, and is right in the sum. metrics_text.c has the
 * table that shows them: whoever adds a number here adds a row there. */
#ifndef MUSTER_COUNT_H
#define MUSTER_COUNT_H

#include <stdint.h>

#include "hash.h"
#include "histogram.h"
#include "jid.h"
#include "stanza.h"

/* What streams are counted as. */
enum count_stream { COUNT_C2S, COUNT_S2S, COUNT_COMPONENT, COUNT_OTHER, COUNT_STREAMS };
enum count_state { COUNT_NEGOTIATING, COUNT_ESTABLISHED, COUNT_CLOSING, COUNT_STATES };

/* RFC 6120 section 6.5, and one for what a later mechanism may say. */
#define SASL_ERRORS(X)                                                                                     \
	X("aborted")                                                                                       \
	X("account-disabled")                                                                              \
	X("credentials-expired")                                                                           \
	X("encryption-required")                                                                           \
	X("incorrect-encoding")                                                                            \
	X("invalid-authzid")                                                                               \
	X("invalid-mechanism")                                                                             \
	X("malformed-request")                                                                             \
	X("mechanism-too-weak")                                                                            \
	X("not-authorized")                                                                                \
	X("temporary-auth-failure")                                                                        \
	X("other")
#define X(name) +1
enum { COUNT_SASL_ERRORS = 0 SASL_ERRORS(X) };
#undef X
unsigned count_sasl_error(const char *condition);

#define COUNT_STREAM_ERRORS 26 /* enum stream_condition of stream.h, whose first is none */

struct reactor_counts {
	/* at present: up to `connections` (metrics.c: keep_above_zero) */
	uint64_t streams, sessions, homes;
	uint64_t streams_by[COUNT_STREAMS][COUNT_STATES];
	uint64_t tls;       /* streams with it */
	uint64_t mailboxed; /* envelopes in mailboxes of homes */
	uint64_t outboxed;  /* what waits in outboxes */
	uint64_t unwritten; /* bytes in the streams' write queues */
	/* since the start */
	uint64_t connections, logins, login_failures;
	uint64_t moved;                     /* streams that have come from another reactor */
	uint64_t relayed, relayed_bytes;    /* transfers that began, and what they moved: relay.c */
	uint64_t stanzas[2][STANZA_OTHER];  /* [0] read from streams, [1] written to them */
	uint64_t envelopes, turns, bounced; /* envelopes: for homes and streams */
	uint64_t wakeups;                   /* of other reactors, for what was pushed into their inboxes */
	uint64_t blocks, floods;            /* times that it stopped reading; that all had to */
	uint64_t refusals[STANZA_CONDITIONS]; /* stanza errors of ours */
	uint64_t stream_errors[COUNT_STREAM_ERRORS];
	uint64_t sasl_failures[COUNT_SASL_ERRORS];
	struct histogram holds; /* how long mailboxes waited for a change of their home */
};

/* The same for one served domain. Made when somebody of it first logs in; lives as long as its reactor, so
 * streams may point at it. */
struct host_counts {
	struct hash_node node; /* reactor->host_counts */
	char *domain;
	uint64_t sessions;
	uint64_t stanzas[2][STANZA_OTHER]; /* of its users' streams */
	uint64_t certificate_expires;      /* only in the sums: Unix seconds; 0: it has none */
};

struct reactor;
struct host_counts *host_counts_of(struct reactor *r, const struct jid *address);
void host_counts_free(struct reactor *r);

#endif
