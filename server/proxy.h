/* proxy.h - the header of the PROXY protocol, versions 1 and 2, in which a balancer says whose connection it
 * passes on (haproxy's doc/proxy-protocol.txt). A pure function: listener.c says who may send one,
 * stream_read.c collects its bytes. */
#ifndef MUSTER_PROXY_H
#define MUSTER_PROXY_H

#include "network.h"

/* No header that is taken is longer; a sender of more than a few extensions (version 2) is refused. */
#define PROXY_HEADER_MAX 4096

enum proxy_result {
	PROXY_MORE, /* what is there is the beginning of one */
	PROXY_BAD,  /* it is none */
	PROXY_DONE
};

struct proxy_header {
	size_t size;                    /* where the connection's own bytes begin */
	bool has_address;               /* false: the balancer speaks for itself (a check of health) */
	struct network_address address; /* of the client */
};

enum proxy_result proxy_parse(const char *data, size_t n, struct proxy_header *out);

#endif
