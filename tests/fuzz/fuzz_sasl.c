/* fuzz_sasl.c - whatever a peer may send in an authentication. The first byte chooses the mechanism and
 * whether there is an account; each line after it is one message, put into base64 here (with byte 1
 * as NUL) unless the first byte says otherwise. Nothing may crash, and nobody may get in who does not know
 * the password. */
#include <stdint.h>
#include <string.h>

#include "base64.h"
#include "sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* So that digits are mechanisms with an account, and letters send raw text. */
enum { MECHANISM = 7, IS_UNKNOWN = 8, IS_RAW = 64 };

/* Runs what the server does between two messages; false when the exchange is over. */
static bool goes_on(struct sasl *s, enum sasl_result result, const struct sasl_keys *keys)
{
	const char *reply;

	if (result == SASL_NEED_ACCOUNT)
		result = sasl_account(s, keys, &reply);
	if (result == SASL_NEED_HASH) {
		sasl_hash(s);
		result = sasl_hashed(s, &reply);
	}
	ASSERT(result != SASL_FAILURE || sasl_condition(s));
	ASSERT(result != SASL_SUCCESS || sasl_mechanism(s) == SASL_ANONYMOUS);
	return result == SASL_CHALLENGE;
}

static void run(struct sasl *s, unsigned flags, const char *text, const struct sasl_keys *keys)
{
	struct arena a = { 0 };
	bool is_open = true;

	while (is_open) {
		size_t n = strcspn(text, "\n");
		const char *reply, *message = arena_strndup(&a, text, n);

		if (!(flags & IS_RAW)) {
			char *bytes = arena_strndup(&a, text, n);
			for (size_t i = 0; i < n; i++)
				bytes[i] = (char)(bytes[i] == '\1' ? '\0' : bytes[i]);
			message = base64_encode(&a, bytes, n);
		}
		is_open = goes_on(s, sasl_step(s, message, &reply), keys) && text[n];
		text += n + (text[n] ? 1 : 0);
	}
	arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned char secret[SASL_SECRET_SIZE] = { 0 };
	/* Keys that fit no password, and few iterations. */
	struct sasl_keys keys = {
		.salt = "salt", .salt_len = 4, .iterations = 1, .stored_sha1 = "1", .has_sha1 = true
	};

	if (!size)
		return 0;
	unsigned flags = data[0];
	const char *mechanism = sasl_name((enum sasl_mechanism)((flags & MECHANISM) % SASL_MECHANISMS));
	struct sasl *s = sasl_begin(mechanism, (1U << SASL_MECHANISMS) - 1, NULL, "example.org", secret);
	char *text = mem_strndup((const char *)data + 1, size - 1);

	sasl_fix_nonce(s, "nonce");
	run(s, flags, text, flags & IS_UNKNOWN ? NULL : &keys);
	mem_free(text);
	sasl_free(s);
	return 0;
}
