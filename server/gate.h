/* gate.h - who may come in: what is counted over all reactors together. Connections, in all and per network
 * address; connections that have not logged in; failed logins, per network address and per account.
 *
 * One lock, the named exception to shared-nothing: it is taken for a moment when a connection comes or
 * goes, and at each login, never for a stanza. Everything in it is bounded: connections by their limits,
 * and what is remembered of failures to GATE_REMEMBERED entries, of which the one that has been left alone
 * the longest makes room.
 *
 * Failures fill a bucket that leaks: `limit` of them may come at once, and then one in each
 * (time / limit). What comes in while others are still being judged is counted later, so the burst can be
 * longer by as many attempts as are under way at one moment; the rate over time is exact. */
#ifndef MUSTER_GATE_H
#define MUSTER_GATE_H

#include "conf.h"
#include "network.h"

#define GATE_REMEMBERED 65536

struct gate;

struct gate *gate_new(void);
void gate_free(struct gate *g);

/* ---- connections */

enum gate_answer {
	GATE_OPEN,
	GATE_FULL,   /* limits.connections */
	GATE_LOGINS, /* limits.connections_before_login */
	GATE_ADDRESS /* limits.connections_per_address */
};
/* The limit's key, for the log. */
const char *gate_limit(enum gate_answer answer);

/* Counts a new connection in, unless the answer says otherwise. */
enum gate_answer gate_enter(struct gate *g, const struct limits_conf *limits) MUST_CHECK;
/* Counts it for its address (network_counted), which may be known later only. */
enum gate_answer gate_enter_address(struct gate *g, const struct network_address *counted,
                                    const struct limits_conf *limits) MUST_CHECK;
void gate_logged_in(struct gate *g);
/* Counts it out. `counted` NULL: its address has not been counted. */
void gate_leave(struct gate *g, const struct network_address *counted, bool is_logged_in);

struct gate_counts {
	unsigned connections, before_login, addresses, remembered;
};
struct gate_counts gate_counts(struct gate *g);

/* ---- failed logins; `now`: microseconds of a clock that never goes back, `account`: a bare address */

/* Whether somebody there may try that account: while there is room for failures of the address and of the
 * account. Whoever has logged in to it from there within the last day has limits.login_failures of his own, and
 * those of the account do not concern him. So nobody is shut out by strangers who guess at his password, nor
 * a whole office by the one program in it that has an old one. */
bool gate_may_try(struct gate *g, const struct network_address *counted, const char *account,
                  const struct limits_conf *limits, int64_t now) MUST_CHECK;
/* Whether somebody there may try to make an account (limits.registrations in an hour); counts that he does. */
bool gate_register(struct gate *g, const struct network_address *counted, const struct limits_conf *limits,
                   int64_t now) MUST_CHECK;
/* The same for a guest, whose account is made and removed again (limits.guests). */
bool gate_guest(struct gate *g, const struct network_address *counted, const struct limits_conf *limits,
                int64_t now) MUST_CHECK;
void gate_failed(struct gate *g, const struct network_address *counted, const char *account,
                 const struct limits_conf *limits, int64_t now);
void gate_succeeded(struct gate *g, const struct network_address *counted, const char *account,
                    int64_t now);

#endif
