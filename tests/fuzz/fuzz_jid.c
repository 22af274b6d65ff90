/* fuzz_jid.c - addresses from a peer: what is accepted is well formed, and stable when parsed again. */
#include <string.h>
#include <unistr.h>

#include "jid.h"
#include "xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char ascii[256], out[JID_PART_MAX + 1], again[JID_PART_MAX + 1];
	struct jid *j = jid_parse((const char *)data, size);
	if (j) {
		ASSERT(strlen(j->text) == j->len && !u8_check((const uint8_t *)j->text, j->len));
		ASSERT(j->local_len <= JID_PART_MAX && jid_domain_len(j) >= 1);
		struct jid *copy = jid_parse(j->text, j->len), *bare = jid_bare(j);
		ASSERT(copy && jid_is(j, copy) && jid_is_same_bare(j, bare));
		if (jid_domain_to_ascii(jid_domain(bare), ascii, sizeof(ascii)))
			ASSERT(jid_prepare_domain(ascii, strlen(ascii), out) &&
			       strcmp(out, jid_domain(bare)) == 0);
		struct buffer text = { 0 };
		xml_escape(&text, j->text, j->len);
		ASSERT(j->is_plain == (text.len == j->len));
		buffer_free(&text);
		jid_unref(bare);
		jid_unref(copy);
		jid_unref(j);
	}
	if (jid_prepare_password((const char *)data, size, out))
		ASSERT(jid_prepare_password(out, strlen(out), again) && strcmp(out, again) == 0);
	return 0;
}
