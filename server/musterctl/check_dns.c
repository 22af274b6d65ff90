/* check_dns.c - SRV records (RFC 2782) and addresses, asked of the system's resolver or of one that
 * the administrator names. */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define ANSWER_MAX 65536
#define DNS_PORT 53
#define TRIES 2
#define TRY_SECONDS 2

struct dns {
	struct __res_state state;
	unsigned char answer[ANSWER_MAX];
};

static bool use_resolver(struct dns *d, const char *text)
{
	char address[INET_ADDRSTRLEN];
	size_t n = strcspn(text, ":");
	struct sockaddr_in *server = &d->state.nsaddr_list[0];
	long port = text[n] ? strtol(text + n + 1, NULL, 10) : DNS_PORT;

	if (n >= sizeof(address) || port < 1 || port > 65535)
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	*server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	d->state.nscount = 1;
	return inet_pton(AF_INET, address, &server->sin_addr) == 1;
}

struct dns *dns_open(const char *resolver)
{
	struct dns *d = mem_zalloc(sizeof(*d));
	bool ok = res_ninit(&d->state) == 0 && (!resolver || use_resolver(d, resolver));

	d->state.retrans = TRY_SECONDS;
	d->state.retry = TRIES;
	if (ok)
		return d;
	dns_close(d);
	return NULL;
}

void dns_close(struct dns *d)
{
	res_nclose(&d->state);
	mem_free(d);
}

/* Names end with a dot here, so that no search list of this machine comes into it. */
static enum dns_result ask(struct dns *d, const char *name, int type, ns_msg *message)
{
	int n = res_nquery(&d->state, name, ns_c_in, type, d->answer, sizeof(d->answer));

	if (n < 0)
		return d->state.res_h_errno == HOST_NOT_FOUND || d->state.res_h_errno == NO_DATA
		           ? DNS_NONE
		           : DNS_FAILED;
	if (n > (int)sizeof(d->answer) || ns_initparse(d->answer, n, message) != 0)
		return DNS_FAILED;
	return DNS_FOUND;
}

static int compare(const void *a, const void *b)
{
	const struct dns_service *x = a, *y = b;

	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	return x->weight > y->weight ? -1 : x->weight < y->weight;
}

static bool read_service(const ns_msg *message, const ns_rr *rr, struct dns_service *out)
{
	const unsigned char *data = ns_rr_rdata(*rr);
	char target[NS_MAXDNAME];

	if (ns_rr_rdlen(*rr) < 7 || ns_name_uncompress(ns_msg_base(*message), ns_msg_end(*message),
	                                               data + 6, target, sizeof(target)) < 0)
		return false;
	*out = (struct dns_service){ .priority = ns_get16(data),
		                     .weight = ns_get16(data + 2),
		                     .port = ns_get16(data + 4) };
	if (strcmp(target, ".") != 0)
		snprintf(out->target, sizeof(out->target), "%.*s", DNS_NAME_MAX - 1, target);
	return true;
}

enum dns_result dns_services(struct dns *d, const char *name, struct dns_service out[DNS_RECORDS_MAX],
                             unsigned *count)
{
	ns_msg message;
	ns_rr rr;
	enum dns_result result = ask(d, name, ns_t_srv, &message);

	*count = 0;
	if (result != DNS_FOUND)
		return result;
	for (int i = 0; i < ns_msg_count(message, ns_s_an) && *count < DNS_RECORDS_MAX; i++) {
		if (ns_parserr(&message, ns_s_an, i, &rr) != 0)
			return DNS_FAILED;
		if (ns_rr_type(rr) == ns_t_srv)
			*count += read_service(&message, &rr, &out[*count]);
	}
	qsort(out, *count, sizeof(*out), compare);
	return *count ? DNS_FOUND : DNS_NONE;
}

static void read_address(const ns_rr *rr, struct sockaddr_storage out[DNS_RECORDS_MAX], unsigned *count)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

	if (ns_rr_type(*rr) == ns_t_a && ns_rr_rdlen(*rr) == sizeof(v4.sin_addr)) {
		memcpy(&v4.sin_addr, ns_rr_rdata(*rr), sizeof(v4.sin_addr));
		memcpy(&out[(*count)++], &v4, sizeof(v4));
	} else if (ns_rr_type(*rr) == ns_t_aaaa && ns_rr_rdlen(*rr) == sizeof(v6.sin6_addr)) {
		memcpy(&v6.sin6_addr, ns_rr_rdata(*rr), sizeof(v6.sin6_addr));
		memcpy(&out[(*count)++], &v6, sizeof(v6));
	}
}

enum dns_result dns_addresses(struct dns *d, const char *name, struct sockaddr_storage out[DNS_RECORDS_MAX],
                              unsigned *count)
{
	static const int types[] = { ns_t_a, ns_t_aaaa };
	bool has_failed = false;

	*count = 0;
	for (unsigned t = 0; t < COUNT_OF(types); t++) {
		ns_msg message;
		ns_rr rr;
		enum dns_result result = ask(d, name, types[t], &message);

		has_failed |= result == DNS_FAILED;
		for (int i = 0; result == DNS_FOUND && i < ns_msg_count(message, ns_s_an); i++) {
			if (*count < DNS_RECORDS_MAX && ns_parserr(&message, ns_s_an, i, &rr) == 0)
				read_address(&rr, out, count);
		}
	}
	return *count ? DNS_FOUND : has_failed ? DNS_FAILED : DNS_NONE;
}
