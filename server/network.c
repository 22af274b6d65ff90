/* network.c - see network.h. */
#include "network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

static bool is_ipv4(const struct network_address *a)
{
	return memcmp(a->bytes, mapped, sizeof mapped) == 0;
}

bool network_of(const struct sockaddr *name, struct network_address *out)
{
	*out = (struct network_address){ 0 };
	if (name->sa_family == AF_INET) {
		memcpy(out->bytes, mapped, sizeof mapped);
		memcpy(out->bytes + 12, &((const struct sockaddr_in *)(const void *)name)->sin_addr, 4);
	} else if (name->sa_family == AF_INET6) {
		memcpy(out->bytes, &((const struct sockaddr_in6 *)(const void *)name)->sin6_addr, 16);
	} else {
		return false;
	}
	return true;
}

void network_show(const struct network_address *a, char out[NETWORK_TEXT])
{
	if (is_ipv4(a))
		inet_ntop(AF_INET, a->bytes + 12, out, NETWORK_TEXT);
	else
		inet_ntop(AF_INET6, a->bytes, out, NETWORK_TEXT);
}

struct network_address network_counted(const struct network_address *a)
{
	struct network_address counted = *a;

	if (!is_ipv4(a))
		memset(counted.bytes + 8, 0, 8);
	return counted;
}

/* ---- lists */

struct network {
	struct network_address address;
	unsigned bits; /* that must agree */
};

/* The decimal behind the slash: at most `max`. */
static bool read_bits(const char *text, unsigned max, unsigned *out)
{
	unsigned value = 0, n = 0;

	for (; text[n] >= '0' && text[n] <= '9' && n < 3; n++)
		value = value * 10 + (unsigned)(text[n] - '0');
	*out = value;
	return n > 0 && !text[n] && value <= max;
}

static bool read_network(char *text, struct network *out)
{
	char *slash = strchr(text, '/');
	unsigned bits;

	if (slash)
		*slash++ = '\0';
	*out = (struct network){ 0 };
	if (inet_pton(AF_INET, text, out->address.bytes + 12) == 1) {
		memcpy(out->address.bytes, mapped, sizeof mapped);
		bits = 32;
		if (slash && !read_bits(slash, 32, &bits))
			return false;
		out->bits = 96 + bits;
		return true;
	}
	out->bits = 128;
	return inet_pton(AF_INET6, text, out->address.bytes) == 1 &&
	       (!slash || read_bits(slash, 128, &out->bits));
}

/* The next entry at *at: 1 found, 0 no more, -1 not a network. */
static int next_network(const char **at, struct network *out)
{
	char text[INET6_ADDRSTRLEN + 8];
	size_t n;

	*at += strspn(*at, " \t,");
	if (!**at)
		return 0;
	n = strcspn(*at, " \t,");
	if (n >= sizeof text)
		return -1;
	memcpy(text, *at, n);
	text[n] = '\0';
	*at += n;
	return read_network(text, out) ? 1 : -1;
}

bool network_list_is_valid(const char *list)
{
	struct network network;
	int found;

	while ((found = next_network(&list, &network)) > 0)
		;
	return found == 0;
}

static bool network_has(const struct network *n, const struct network_address *a)
{
	unsigned whole = n->bits / 8, rest = n->bits % 8;
	unsigned char mask = (unsigned char)(0xff00 >> rest);

	return memcmp(n->address.bytes, a->bytes, whole) == 0 &&
	       (rest == 0 || ((n->address.bytes[whole] ^ a->bytes[whole]) & mask) == 0);
}

bool network_list_has(const char *list, const struct network_address *a)
{
	struct network network;

	while (next_network(&list, &network) > 0)
		if (network_has(&network, a))
			return true;
	return false;
}
