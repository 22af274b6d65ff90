/* check.h - "check DOMAIN": what a client meets on its way to a domain.
 *
 * check.c       the way: DNS, ports, TLS, certificate; what was found
 * check_dns.c   SRV records and addresses
 * check_tls.c   one connection up to the certificate */
#ifndef MUSTER_MUSTERCTL_CHECK_H
#define MUSTER_MUSTERCTL_CHECK_H

#include <netinet/in.h>
#include <openssl/ssl.h>

#include "musterctl.h"

#define DNS_RECORDS_MAX 8
#define DNS_NAME_MAX 256
#define CHECK_SECONDS 5 /* for each step with the network */

enum dns_result {
	DNS_FOUND,
	DNS_NONE,  /* there is no such record */
	DNS_FAILED /* nobody answered, or not understandably */
};

struct dns_service {
	unsigned priority, weight, port;
	char target[DNS_NAME_MAX]; /* "": the service is not offered */
};

struct dns;
/* `resolver`: "ADDRESS" or "ADDRESS:PORT", IPv4; NULL: the system's. NULL when it is none. */
struct dns *dns_open(const char *resolver);
void dns_close(struct dns *d);
/* The services in the order in which clients try them. */
enum dns_result dns_services(struct dns *d, const char *name, struct dns_service out[DNS_RECORDS_MAX],
                             unsigned *count);
enum dns_result dns_addresses(struct dns *d, const char *name, struct sockaddr_storage out[DNS_RECORDS_MAX],
                              unsigned *count);

/* How far one connection came. */
enum reach { REACH_NOTHING, REACH_PORT, REACH_STARTTLS, REACH_TLS };

struct reached {
	enum reach reach;
	char why[200];     /* it came no further */
	char tls[32];      /* "TLSv1.3" */
	bool has_name;     /* the certificate names the domain */
	long chain;        /* X509_V_OK, or what is wrong with it */
	int days;          /* until it expires */
	char subject[200]; /* the names in it */
};
void reach_domain(const struct sockaddr_storage *address, const char *domain, bool is_direct, SSL_CTX *tls,
                  struct reached *out);

#endif
