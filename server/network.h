/* network.h - network addresses: one form for IPv4 and IPv6, shown, counted, and looked up in lists of
 * networks. Pure functions; they own nothing. */
#ifndef MUSTER_NETWORK_H
#define MUSTER_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define NETWORK_TEXT 48

/* IPv6, or IPv4 as ::ffff:0:0/96, however it came. All zero: none. */
struct network_address {
	unsigned char bytes[16];
};

/* False for anything but IPv4 and IPv6: then *out is none. */
bool network_of(const struct sockaddr *name, struct network_address *out);
/* IPv4 in its own form. */
void network_show(const struct network_address *a, char out[NETWORK_TEXT]);
/* What is counted as one: an IPv4 address, or the first 64 bits of an IPv6 address, as that is what one
 * customer gets and may choose freely in. */
struct network_address network_counted(const struct network_address *a);

/* A list is text: addresses and networks ("10.0.0.0/8", "2001:db8::/32", "::1") with blanks or commas
 * between them. */
bool network_list_is_valid(const char *list);
bool network_list_has(const char *list, const struct network_address *a);

#endif
