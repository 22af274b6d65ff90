/* proxy.c - see proxy.h. */
#include "proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "mem.h"

#define LINE_MAX_V1 107 /* with its CRLF: section 2.1 */

static const char start_v1[] = "PROXY ";
static const char start_v2[] = "\r\n\r\n\0\r\nQUIT\n";
enum { START_V2 = sizeof start_v2 - 1, FIXED_V2 = 16 };

/* Whether the first bytes, as far as they are there, are those of `start`. */
static bool begins(const char *data, size_t n, const char *start, size_t len)
{
	return memcmp(data, start, n < len ? n : len) == 0;
}

static bool read_address(int family, const char *text, struct network_address *out)
{
	struct sockaddr_storage name = { .ss_family = (sa_family_t)family };
	void *into = family == AF_INET ? (void *)&((struct sockaddr_in *)&name)->sin_addr
	                               : (void *)&((struct sockaddr_in6 *)&name)->sin6_addr;

	return inet_pton(family, text, into) == 1 && network_of((struct sockaddr *)&name, out);
}

static bool is_port(const char *text)
{
	unsigned value = 0, n = 0;

	for (; text[n] >= '0' && text[n] <= '9' && n < 5; n++)
		value = value * 10 + (unsigned)(text[n] - '0');
	return n > 0 && !text[n] && value <= 65535 && (text[0] != '0' || n == 1);
}

/* Cuts the word at *at off and steps over the one blank behind it. */
static char *take_word(char **at)
{
	char *word = *at, *blank = word ? strchr(word, ' ') : NULL;

	if (blank)
		*blank++ = '\0';
	*at = blank;
	return word;
}

/* "TCP4 SOURCE DESTINATION PORT PORT", "TCP6 ..." or "UNKNOWN" and anything. */
static bool read_line(char *line, struct proxy_header *out)
{
	struct network_address ignored;
	char *at = line, *words[5];
	int family;

	for (unsigned i = 0; i < COUNT_OF(words); i++)
		words[i] = take_word(&at);
	if (strcmp(words[0], "UNKNOWN") == 0)
		return true;
	if (!words[4] || at)
		return false;
	if (strcmp(words[0], "TCP4") == 0)
		family = AF_INET;
	else if (strcmp(words[0], "TCP6") == 0)
		family = AF_INET6;
	else
		return false;
	out->has_address = read_address(family, words[1], &out->address);
	return out->has_address && read_address(family, words[2], &ignored) && is_port(words[3]) &&
	       is_port(words[4]);
}

static enum proxy_result parse_v1(const char *data, size_t n, struct proxy_header *out)
{
	size_t max = n < LINE_MAX_V1 ? n : LINE_MAX_V1;
	const char *end = memchr(data, '\n', max);
	char line[LINE_MAX_V1 + 1];
	size_t len;

	if (!end)
		return n >= LINE_MAX_V1 || memchr(data, '\0', max) ? PROXY_BAD : PROXY_MORE;
	len = (size_t)(end - data);
	if (len < sizeof start_v1 || end[-1] != '\r' || memchr(data, '\0', len))
		return PROXY_BAD;
	out->size = len + 1;
	len -= sizeof start_v1; /* its NUL is the CR */
	memcpy(line, data + sizeof start_v1 - 1, len);
	line[len] = '\0';
	return read_line(line, out) ? PROXY_DONE : PROXY_BAD;
}

/* The block of addresses of version 2: those of TCP are taken, of others only the length is looked at. */
static bool read_block(unsigned family, const unsigned char *block, size_t n, struct proxy_header *out)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

	switch (family) {
	case 0x11: /* TCP over IPv4 */
		if (n < 12)
			return false;
		memcpy(&v4.sin_addr, block, 4);
		out->has_address = network_of((struct sockaddr *)&v4, &out->address);
		return true;
	case 0x21: /* TCP over IPv6 */
		if (n < 36)
			return false;
		memcpy(&v6.sin6_addr, block, 16);
		out->has_address = network_of((struct sockaddr *)&v6, &out->address);
		return true;
	case 0x00: /* unspecified: as UNKNOWN in version 1 */
		return true;
	default: /* UDP, Unix sockets: nothing that comes to this port */
		return false;
	}
}

static enum proxy_result parse_v2(const char *data, size_t n, struct proxy_header *out)
{
	const unsigned char *bytes = (const unsigned char *)data;
	unsigned command;
	size_t len;

	if (n < FIXED_V2)
		return PROXY_MORE;
	command = bytes[12];
	len = (size_t)bytes[14] << 8 | bytes[15];
	if ((command != 0x20 && command != 0x21) || FIXED_V2 + len > PROXY_HEADER_MAX)
		return PROXY_BAD;
	if (n < FIXED_V2 + len)
		return PROXY_MORE;
	out->size = FIXED_V2 + len;
	if (command == 0x20) /* LOCAL: the balancer's own */
		return PROXY_DONE;
	return read_block(bytes[13], bytes + FIXED_V2, len, out) ? PROXY_DONE : PROXY_BAD;
}

enum proxy_result proxy_parse(const char *data, size_t n, struct proxy_header *out)
{
	*out = (struct proxy_header){ 0 };
	if (n == 0)
		return PROXY_MORE;
	if (begins(data, n, start_v1, sizeof start_v1 - 1))
		return n < sizeof start_v1 - 1 ? PROXY_MORE : parse_v1(data, n, out);
	if (begins(data, n, start_v2, START_V2))
		return parse_v2(data, n, out);
	return PROXY_BAD;
}
