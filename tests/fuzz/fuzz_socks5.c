/* fuzz_socks5.c - whatever may come to a listener of kind proxy65. However the input is cut, what has been
 * said of its beginning holds for all of it, and no more of it is needed than the greatest
 * sizes promise. */
#include <stdint.h>
#include <string.h>

#include "mem.h"
#include "socks5.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data;
	char hash[SOCKS5_HASH + 1], again[SOCKS5_HASH + 1];
	size_t end = 0, end_again = 0;
	enum socks5_result greeting = socks5_greeting(bytes, size, &end), request, part;

	for (size_t n = 0; n < size && n <= SOCKS5_GREETING_MAX; n++) {
		part = socks5_greeting(bytes, n, &end_again);
		ASSERT(part == SOCKS5_MORE || (part == greeting && end_again == end));
	}
	ASSERT(greeting != SOCKS5_MORE || size < SOCKS5_GREETING_MAX);
	if (greeting != SOCKS5_DONE)
		return 0;
	ASSERT(end <= size && end <= SOCKS5_GREETING_MAX);
	bytes += end;
	size -= end;
	request = socks5_request(bytes, size, hash);
	for (size_t n = 0; n < size && n <= SOCKS5_REQUEST_SIZE; n++) {
		part = socks5_request(bytes, n, again);
		ASSERT(part == SOCKS5_MORE || part == request);
		ASSERT(part != SOCKS5_DONE || memcmp(hash, again, sizeof hash) == 0);
	}
	ASSERT(request != SOCKS5_MORE || size < SOCKS5_REQUEST_SIZE);
	ASSERT(request != SOCKS5_DONE || strlen(hash) == SOCKS5_HASH);
	return 0;
}
