/* fuzz_proxy.c - whatever may come in front of a connection where a balancer is expected. A header that is
 * taken ends within the input and was not complete before; the rest of the input plays no part. */
#include <stdint.h>
#include <string.h>

#include "mem.h"
#include "proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header h, again;
	const char *bytes = (const char *)data;
	enum proxy_result whole = proxy_parse(bytes, size, &h);
	char shown[NETWORK_TEXT], *list = mem_strndup(bytes, size);

	if (whole == PROXY_DONE) {
		ASSERT(h.size > 0 && h.size <= size && h.size <= PROXY_HEADER_MAX);
		ASSERT(proxy_parse(bytes, h.size, &again) == PROXY_DONE && again.size == h.size);
		ASSERT(proxy_parse(bytes, h.size - 1, &again) == PROXY_MORE);
		network_show(&h.address, shown);
	}
	ASSERT(whole != PROXY_MORE || size < PROXY_HEADER_MAX);
	if (network_list_is_valid(list))
		network_list_has(list, &h.address);
	mem_free(list);
	return 0;
}
