/* host.h - the served domains: rows of table `host` with their policies, held as one immutable, counted
 * snapshot of which every reactor keeps a reference, replaced whole when a host is added, changed or
 * removed.
 *
 * A policy is what a host may set for itself while the server runs: a row of table `policy`, described by a
 * row of an option table, as the keys of muster.conf are. The core's own have plain names ("record"), a
 * module's begin with its name ("search.visible"). */
#ifndef MUSTER_HOST_H
#define MUSTER_HOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "jid.h"
#include "mem.h"
#include "option.h"
#include "store.h"
#include "tls.h"

struct hooks;

/* What a client gets that asks for a resource which another one has: RFC 6120 section 7.7.2.2. */
enum conflict_policy { CONFLICT_REPLACE, CONFLICT_REFUSE, CONFLICT_RENAME };

/* When a message may be delivered that is to be on record. */
enum record_policy {
	RECORD_DELIVER_AFTER,     /* ... when it is */
	RECORD_ACKNOWLEDGE_AFTER, /* at once; but its sender hears that it is taken (XEP-0198) when it is */
	RECORD_OFF                /* messages are not put on record */
};

/* The core's policies. */
struct host_policy {
	int64_t record;     /* enum record_policy */
	int64_t hints;      /* which ones of senders are obeyed: a bit each, by enum hint */
	bool registration;  /* strangers may make accounts */
	int64_t mechanisms; /* the only ones that are offered: a bit each, by enum sasl_mechanism; 0: all */
	bool anonymous;     /* guests may log in */
	int64_t conflict;   /* enum conflict_policy */
};
extern const struct option host_policy_options[];
extern const char *const record_policy_names[];

struct host {
	int64_t id;
	struct jid *jid; /* the domain */
	struct host_policy policy;
	void **module_policies; /* by module index */
};

/* An address that a module owns below a host: proxy.example.org. */
struct service {
	struct jid *jid;
	const struct host *host;
	unsigned module; /* its index */
};

struct hosts {
	_Atomic uint32_t refs;
	struct host *list; /* by name */
	unsigned count;
	struct service *services; /* by name */
	unsigned service_count;
	struct host none; /* every policy at its default: for what is asked about a host that is gone */
	struct tls_certs *certs; /* of all of them */
	struct arena arena;
};

/* The rows of hosts_sql as a snapshot, with the certificates from there. What is wrong with those
 * is in *problems, a line each (NULL: nothing; the caller frees it). A policy that is not known, or has a
 * bad value, is logged and left at its default. */
struct hosts *hosts_new(const struct rows *rows, const struct hooks *hooks,
                        const struct tls_sources *certificates, char **problems);
extern const struct sql hosts_sql;

struct hosts *hosts_ref(struct hosts *h);
void hosts_unref(struct hosts *h);
/* The host with that (prepared) name, or NULL. */
const struct host *hosts_find(const struct hosts *h, const char *domain, size_t n);
/* The service with that (prepared) name, or NULL. */
const struct service *hosts_find_service(const struct hosts *h, const char *domain, size_t n);

/* ---- host_policy.c */

/* Sets all of a host's policies to their defaults; memory from `a`. */
void host_policy_default(struct host *host, const struct hooks *hooks, struct arena *a);
/* Reads a value as the table `policy` has it (NULL: leaves the policy as it is). NULL, or a sentence about
 * what is wrong (the caller frees it). */
char *host_policy_read(struct host *host, const struct hooks *hooks, const char *name, const char *value,
                       struct arena *a) MUST_CHECK;
/* Calls `fn` for each policy there is, with its full name and where the host has its value. */
typedef void host_policy_fn(void *arg, const char *name, const struct option *option, const void *base);
void host_policy_each(const struct host *host, const struct hooks *hooks, host_policy_fn *fn, void *arg);

#endif
