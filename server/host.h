/* host.h - the served domains: rows of table `host`, held as one immutable, counted snapshot of which
 * every reactor keeps a reference, replaced whole when a host is added, changed or removed. */
#ifndef MUSTER_HOST_H
#define MUSTER_HOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "jid.h"
#include "store.h"
#include "tls.h"

struct host {
	int64_t id;
	struct jid *jid; /* the domain */
	bool records;    /* policy: messages are put on record before they are delivered */
};

struct hosts {
	_Atomic uint32_t refs;
	struct host *list; /* by name */
	unsigned count;
	struct tls_certs *certs; /* of all of them */
};

/* The rows of hosts_sql as a snapshot, with the certificates from that directory. What is wrong with those
 * is in *problems, a line each (NULL: nothing; the caller frees it). */
struct hosts *hosts_new(const struct rows *rows, const char *certificates, char **problems);
extern const struct sql hosts_sql;

struct hosts *hosts_ref(struct hosts *h);
void hosts_unref(struct hosts *h);
/* The host with that (prepared) name, or NULL. */
const struct host *hosts_find(const struct hosts *h, const char *domain, size_t n);

#endif
