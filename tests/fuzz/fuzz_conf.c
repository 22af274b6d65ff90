/* fuzz_conf.c - any bytes as muster.conf: mistakes are noted or the snapshot shows itself as a file that
 * reads back to the same. */
#include <string.h>

#include "conf.h"
#include "conf_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct conf *load(const char *text, size_t n)
{
	char *errors;
	struct conf *c = conf_load_bytes("fuzz", text, n, &errors);
	ASSERT(!c == !!errors);
	mem_free(errors);
	return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct conf *c = load((const char *)data, n);
	if (!c)
		return 0;
	char *shown = conf_show(c, NULL, 0);
	struct conf *again = load(shown, strlen(shown));
	ASSERT(again);
	char *shown_again = conf_show(again, NULL, 0);
	ASSERT(strcmp(shown, shown_again) == 0);
	mem_free(shown);
	mem_free(shown_again);
	conf_unref(c);
	conf_unref(again);
	return 0;
}
