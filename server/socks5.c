/* socks5.c - see socks5.h. */
#include "socks5.h"

#include <string.h>

enum { SOCKS_VERSION = 5, METHOD_NONE = 0, CONNECT = 1, TYPE_NAME = 3 };

enum socks5_result socks5_greeting(const char *data, size_t n, size_t *size)
{
	size_t methods;

	if (n > 0 && data[0] != SOCKS_VERSION)
		return SOCKS5_WRONG;
	if (n < 2)
		return SOCKS5_MORE;
	methods = (unsigned char)data[1];
	if (n < 2 + methods)
		return SOCKS5_MORE;
	*size = 2 + methods;
	return memchr(data + 2, METHOD_NONE, methods) ? SOCKS5_DONE : SOCKS5_WRONG_METHOD;
}

static int to_lower_digit(char c) /* -1: it is none */
{
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))
		return c;
	return c >= 'A' && c <= 'F' ? c - 'A' + 'a' : -1;
}

/* What is wrong is said as soon as it is there, so that nobody waits for the rest of it. */
enum socks5_result socks5_request(const char *data, size_t n, char hash[SOCKS5_HASH + 1])
{
	static const struct {
		char wanted;
		enum socks5_result else_;
	} start[] = {
		{ SOCKS_VERSION, SOCKS5_WRONG },  { CONNECT, SOCKS5_WRONG_COMMAND },  { 0, SOCKS5_WRONG },
		{ TYPE_NAME, SOCKS5_WRONG_TYPE }, { SOCKS5_HASH, SOCKS5_WRONG_NAME },
	};
	const size_t begin = sizeof start / sizeof start[0];

	for (size_t i = 0; i < begin; i++) {
		if (i == n)
			return SOCKS5_MORE;
		if (data[i] != start[i].wanted)
			return start[i].else_;
	}
	for (size_t i = 0; i < SOCKS5_HASH; i++) {
		int digit = begin + i < n ? to_lower_digit(data[begin + i]) : '0';

		if (digit < 0)
			return SOCKS5_WRONG_NAME;
		hash[i] = (char)digit;
	}
	hash[SOCKS5_HASH] = '\0';
	return n < SOCKS5_REQUEST_SIZE ? SOCKS5_MORE : SOCKS5_DONE; /* the port plays no part */
}

void socks5_refuse(enum socks5_refusal code, char out[SOCKS5_REFUSAL_SIZE])
{
	memset(out, 0, SOCKS5_REFUSAL_SIZE); /* bound to 0.0.0.0, port 0 */
	out[0] = SOCKS_VERSION;
	out[1] = (char)code;
	out[3] = 1; /* IPv4 */
}
