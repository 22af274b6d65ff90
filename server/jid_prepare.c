/* jid_prepare.c - the parts of an address, and passwords, in the one form in which they are compared.
 *
 * Called by jid.c for every address, and by the login for user names and passwords. Owns nothing.
 * ASCII takes a short way through each function. The rest is PRECIS (RFC 8264) in its profiles
 * UsernameCaseMapped and OpaqueString (RFC 8265) for local parts, resources and passwords, and IDNA2008
 * for domains. What comes out is stable: prepared again it stays as it is. */
#include <arpa/inet.h>
#include <idn2.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

#include "jid.h"

/* Code points. Lower case and NFC can make a text longer, so there is more room than a part may fill. */
#define TEXT_MAX (3 * JID_PART_MAX)
struct text {
	uint32_t at[TEXT_MAX];
	size_t len;
};

static char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* ---- PRECIS: which code points a string may hold (RFC 8264 section 8) */

enum precis {
	PRECIS_VALID,     /* in every string */
	PRECIS_FREE,      /* FREE_PVAL: in free-form strings, not in identifiers */
	PRECIS_CONTEXT,   /* CONTEXTJ and CONTEXTO: where its neighbours allow it */
	PRECIS_DISALLOWED /* also unassigned ones */
};

/* RFC 8264 section 9.6. */
static bool is_exception(ucs4_t c, enum precis *value)
{
	switch (c) {
	case 0x00df: /* sharp s */
	case 0x03c2: /* final sigma */
	case 0x06fd:
	case 0x06fe:
	case 0x0f0b:
	case 0x3007:
		*value = PRECIS_VALID;
		return true;
	case 0x00b7:
	case 0x0375:
	case 0x05f3:
	case 0x05f4:
	case 0x30fb:
	case 0x0660 ... 0x0669:
	case 0x06f0 ... 0x06f9:
		*value = PRECIS_CONTEXT;
		return true;
	case 0x0640:
	case 0x07fa:
	case 0x302e:
	case 0x302f:
	case 0x3031 ... 0x3035:
	case 0x303b:
		*value = PRECIS_DISALLOWED;
		return true;
	default:
		return false;
	}
}

/* Hangul_Syllable_Type L, V and T: parts of syllables, RFC 8264 section 9.9. */
static bool is_old_hangul_jamo(ucs4_t c)
{
	return (c >= 0x1100 && c <= 0x11ff) || (c >= 0xa960 && c <= 0xa97c) ||
	       (c >= 0xd7b0 && c <= 0xd7c6) || (c >= 0xd7cb && c <= 0xd7fb);
}

/* HasCompat, RFC 8264 section 9.17: it does not survive NFKC. */
static bool has_compat(ucs4_t c)
{
	uint32_t out[32]; /* the longest one known becomes 18 */
	size_t len = COUNT_OF(out);
	uint32_t *result = u32_normalize(UNINORM_NFKC, &c, 1, out, &len);

	ASSERT(result == out);
	return len != 1 || out[0] != c;
}

static bool is_category(ucs4_t c, uint32_t mask)
{
	return uc_is_general_category_withtable(c, mask);
}

#define LETTER_DIGITS                                                                                      \
	(UC_CATEGORY_MASK_Ll | UC_CATEGORY_MASK_Lu | UC_CATEGORY_MASK_Lo | UC_CATEGORY_MASK_Nd |           \
	 UC_CATEGORY_MASK_Lm | UC_CATEGORY_MASK_Mn | UC_CATEGORY_MASK_Mc)
#define FREE_FORM                                                                                          \
	(UC_CATEGORY_MASK_Lt | UC_CATEGORY_MASK_Nl | UC_CATEGORY_MASK_No | UC_CATEGORY_MASK_Me |           \
	 UC_CATEGORY_MASK_Zs | UC_CATEGORY_MASK_S | UC_CATEGORY_MASK_P)

/* The steps of RFC 8264 section 8, in their order. */
static enum precis precis_of(ucs4_t c)
{
	enum precis value;

	if (is_exception(c, &value))
		return value;
	if (is_category(c, UC_CATEGORY_MASK_Cn))
		return PRECIS_DISALLOWED;
	if (c > 0x20 && c < 0x7f)
		return PRECIS_VALID;
	if (c == 0x200c || c == 0x200d)
		return PRECIS_CONTEXT;
	if (is_old_hangul_jamo(c) || uc_is_property(c, UC_PROPERTY_DEFAULT_IGNORABLE_CODE_POINT) ||
	    uc_is_property(c, UC_PROPERTY_NOT_A_CHARACTER) || is_category(c, UC_CATEGORY_MASK_Cc))
		return PRECIS_DISALLOWED;
	if (has_compat(c))
		return PRECIS_FREE;
	if (is_category(c, LETTER_DIGITS))
		return PRECIS_VALID;
	return is_category(c, FREE_FORM) ? PRECIS_FREE : PRECIS_DISALLOWED;
}

/* ---- contextual rules: RFC 5892 appendix A */

#define VIRAMA 9

static bool is_script(ucs4_t c, const char *name)
{
	const uc_script_t *script = uc_script(c);
	return script && strcmp(script->name, name) == 0;
}

static bool has_script(const struct text *t, const char *name)
{
	for (size_t i = 0; i < t->len; i++)
		if (is_script(t->at[i], name))
			return true;
	return false;
}

static bool has_range(const struct text *t, ucs4_t first, ucs4_t last)
{
	for (size_t i = 0; i < t->len; i++)
		if (t->at[i] >= first && t->at[i] <= last)
			return true;
	return false;
}

/* Appendix A.1: (L or D) T* ZWNJ T* (R or D), in joining types. */
static bool joins_both_sides(const struct text *t, size_t i)
{
	int before = UC_JOINING_TYPE_U, after = UC_JOINING_TYPE_U;

	for (size_t j = i; j > 0; j--)
		if ((before = uc_joining_type(t->at[j - 1])) != UC_JOINING_TYPE_T)
			break;
	for (size_t j = i + 1; j < t->len; j++)
		if ((after = uc_joining_type(t->at[j])) != UC_JOINING_TYPE_T)
			break;
	return (before == UC_JOINING_TYPE_L || before == UC_JOINING_TYPE_D) &&
	       (after == UC_JOINING_TYPE_R || after == UC_JOINING_TYPE_D);
}

static bool context_allows(const struct text *t, size_t i)
{
	ucs4_t c = t->at[i];
	ucs4_t before = i > 0 ? t->at[i - 1] : 0, after = i + 1 < t->len ? t->at[i + 1] : 0;
	switch (c) {
	case 0x200c: /* zero width non-joiner */
		return uc_combining_class(before) == VIRAMA || joins_both_sides(t, i);
	case 0x200d: /* zero width joiner */
		return uc_combining_class(before) == VIRAMA;
	case 0x00b7: /* middle dot, between two l */
		return before == 'l' && after == 'l';
	case 0x0375: /* keraia */
		return is_script(after, "Greek");
	case 0x05f3: /* geresh and gershayim */
	case 0x05f4:
		return is_script(before, "Hebrew");
	case 0x30fb: /* katakana middle dot */
		return has_script(t, "Hiragana") || has_script(t, "Katakana") || has_script(t, "Han");
	case 0x0660 ... 0x0669: /* the two kinds of Arabic digits never mix */
		return !has_range(t, 0x06f0, 0x06f9);
	default:
		return !has_range(t, 0x0660, 0x0669);
	}
}

static bool text_fits_context(const struct text *t)
{
	for (size_t i = 0; i < t->len; i++)
		if (t->at[i] > 0x7f && precis_of(t->at[i]) == PRECIS_CONTEXT && !context_allows(t, i))
			return false;
	return true;
}

/* ---- the Bidi Rule: RFC 5893 section 2, for a text with right-to-left code points. Conditions 5 and 6
 * are for left-to-right ones, and cannot be met by it. */

static bool is_rtl(ucs4_t c)
{
	int class = uc_bidi_class(c);

	return class == UC_BIDI_R || class == UC_BIDI_AL || class == UC_BIDI_AN;
}

static bool has_rtl(const struct text *t)
{
	for (size_t i = 0; i < t->len; i++)
		if (is_rtl(t->at[i]))
			return true;
	return false;
}

static bool text_meets_bidi_rule(const struct text *t)
{
	if (!has_rtl(t))
		return true;
	int first = uc_bidi_class(t->at[0]), last = UC_BIDI_NSM; /* last: of what is no mark */
	if (first != UC_BIDI_R && first != UC_BIDI_AL)
		return false;
	bool has_en = false, has_an = false;
	for (size_t i = 0; i < t->len; i++) {
		int class = uc_bidi_class(t->at[i]);

		switch (class) {
		case UC_BIDI_EN:
			has_en = true;
			break;
		case UC_BIDI_AN:
			has_an = true;
			break;
		case UC_BIDI_R:
		case UC_BIDI_AL:
		case UC_BIDI_ES:
		case UC_BIDI_CS:
		case UC_BIDI_ET:
		case UC_BIDI_ON:
		case UC_BIDI_BN:
		case UC_BIDI_NSM:
			break;
		default:
			return false;
		}
		if (class != UC_BIDI_NSM)
			last = class;
	}
	bool ends_well =
	    last == UC_BIDI_R || last == UC_BIDI_AL || last == UC_BIDI_EN || last == UC_BIDI_AN;
	return ends_well && !(has_en && has_an);
}

/* ---- the profiles of RFC 8265 */

enum profile { USERNAME_CASE_MAPPED, OPAQUE_STRING };

/* RFC 7622 section 3.3.1: what a localpart must not hold beyond the rules of the profile. */
static bool is_excluded(ucs4_t c)
{
	return c < 0x80 && c && strchr("\"&'/:<>@", (int)c);
}

/* UsernameCaseMapped maps by width, OpaqueString maps spaces to ASCII's. */
static ucs4_t map_char(enum profile p, ucs4_t c)
{
	if (p == OPAQUE_STRING)
		return is_category(c, UC_CATEGORY_MASK_Zs) ? ' ' : c;
	ucs4_t parts[UC_DECOMPOSITION_MAX_LENGTH];
	int tag;
	int n = uc_decomposition(c, &tag, parts);
	return n == 1 && (tag == UC_DECOMP_WIDE || tag == UC_DECOMP_NARROW) ? parts[0] : c;
}

static bool is_allowed(enum profile p, ucs4_t c)
{
	enum precis value = precis_of(c);

	if (p == OPAQUE_STRING)
		return value != PRECIS_DISALLOWED;
	return (value == PRECIS_VALID || value == PRECIS_CONTEXT) && !is_excluded(c);
}

/* Lower case where the profile wants it (toLowerCase, RFC 8265 section 3.3.1), then NFC. False when the
 * result is too long. */
static bool text_normalize(enum profile p, const struct text *from, struct text *to)
{
	to->len = COUNT_OF(to->at);
	uint32_t *result = p == USERNAME_CASE_MAPPED
	                       ? u32_tolower(from->at, from->len, NULL, UNINORM_NFC, to->at, &to->len)
	                       : u32_normalize(UNINORM_NFC, from->at, from->len, to->at, &to->len);
	ASSERT(result); /* only memory could have been wanting */
	if (result == to->at)
		return true;
	mem_free(result); /* it did not fit */
	return false;
}

static bool text_is(const struct text *a, const struct text *b)
{
	return a->len == b->len && u32_cmp(a->at, b->at, a->len) == 0;
}

static bool text_write(const struct text *t, char *out)
{
	size_t len = JID_PART_MAX;
	uint8_t *result = u32_to_u8(t->at, t->len, (uint8_t *)out, &len);

	ASSERT(result);
	if (result != (uint8_t *)out) {
		mem_free(result);
		return false;
	}
	out[len] = '\0';
	return len > 0;
}

/* RFC 8264 section 7: the rules are applied again until nothing changes, at most three times more. */
#define ROUNDS 4

static bool precis_enforce(enum profile p, const char *s, size_t n, char *out)
{
	struct text texts[2], *t = &texts[0], *next = &texts[1];

	t->len = COUNT_OF(t->at);
	if (!u8_to_u32((const uint8_t *)s, n, t->at, &t->len))
		return false; /* not UTF-8; n code points would fit */
	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < t->len; i++) {
			t->at[i] = map_char(p, t->at[i]);
			if (!is_allowed(p, t->at[i]))
				return false;
		}
		if (!text_normalize(p, t, next))
			return false;
		if (text_is(t, next)) {
			if (!text_fits_context(t) ||
			    (p == USERNAME_CASE_MAPPED && !text_meets_bidi_rule(t)))
				return false;
			return text_write(t, out);
		}
		struct text *swap = t;
		t = next;
		next = swap;
	}
	return false;
}

/* ---- localpart, resource, password. What is not plain ASCII goes the long way, which also refuses. */

static const bool is_plain_local[0x100] = {
	['!'] = true, ['#' ... '%'] = true, ['(' ... '.'] = true, ['0' ... '9'] = true,
	[';'] = true, ['='] = true,         ['?'] = true,         ['A' ... '~'] = true,
};

bool jid_prepare_local(const char *s, size_t n, char *out)
{
	if (n == 0 || n > JID_PART_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_plain_local[(unsigned char)s[i]])
			return precis_enforce(USERNAME_CASE_MAPPED, s, n, out);
		out[i] = ascii_lower(s[i]);
	}
	out[n] = '\0';
	return true;
}

static bool opaque_string(const char *s, size_t n, char *out)
{
	if (n == 0 || n > JID_PART_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < ' ' || s[i] > '~')
			return precis_enforce(OPAQUE_STRING, s, n, out);
		out[i] = s[i];
	}
	out[n] = '\0';
	return true;
}

/* A leading or final space is allowed: the example in RFC 7622 that says otherwise is erratum 4560. */
bool jid_prepare_resource(const char *s, size_t n, char *out)
{
	return opaque_string(s, n, out);
}

bool jid_prepare_password(const char *s, size_t n, char *out)
{
	return opaque_string(s, n, out);
}

/* ---- which localparts an account may be made with */

static bool begins_with_space(const char *s, size_t n)
{
	return n >= 3 && memcmp(s, "\\20", 3) == 0;
}

/* It is its own NFKC(casefold(x)). */
static bool is_folded(const char *s, size_t n)
{
	size_t len = n;
	uint8_t room[JID_PART_MAX], *folded;
	bool same;

	folded = u8_casefold((const uint8_t *)s, n, NULL, UNINORM_NFKC, room, &len);
	ASSERT(folded); /* it is UTF-8: only memory could have been wanting */
	same = len == n && memcmp(folded, s, n) == 0;
	if (folded != room)
		mem_free(folded);
	return same;
}

bool jid_is_registrable(const struct jid *j)
{
	const char *local = j->text;
	size_t n = j->local_len;

	if (n == 0 || begins_with_space(local, n) || (n >= 3 && begins_with_space(local + n - 3, 3)))
		return false;
	return is_folded(local, n);
}

/* ---- domains */

#define LABEL_MAX 63
#define DNS_MAX 253

/* [IPv6]: in the form that inet_ntop writes, so that one address has one text. */
static bool prepare_ip6(const char *s, size_t n, char *out)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (n < 4 || s[n - 1] != ']' || n - 2 >= sizeof(text))
		return false;
	memcpy(text, s + 1, n - 2);
	text[n - 2] = '\0';
	if (strlen(text) != n - 2 || inet_pton(AF_INET6, text, &address) != 1)
		return false;
	out[0] = '[';
	if (!inet_ntop(AF_INET6, &address, out + 1, INET6_ADDRSTRLEN))
		return false;
	size_t len = strlen(out);
	out[len] = ']';
	out[len + 1] = '\0';
	return true;
}

static bool is_label(const char *s, size_t n)
{
	return n >= 1 && n <= LABEL_MAX && s[0] != '-' && s[n - 1] != '-';
}

/* Copies in lower case, without one final dot. False unless every label is made of letters, digits and
 * hyphens, 1 to 63 of them, with no hyphen at either end. An IPv4 address is such a name too. */
static bool copy_ldh(const char *s, size_t n, char *out, bool *has_alabel)
{
	size_t start = 0; /* of the label */

	*has_alabel = false;
	if (n && s[n - 1] == '.')
		n--;
	for (size_t i = 0; i <= n; i++) {
		char c = i < n ? ascii_lower(s[i]) : '.';

		out[i] = c;
		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')
			continue;
		if (c != '.' || !is_label(out + start, i - start))
			return false;
		if (i - start >= 4 && memcmp(out + start, "xn--", 4) == 0)
			*has_alabel = true;
		start = i + 1;
	}
	out[n] = '\0';
	return true;
}

/* The A-labels of a name, to be freed with idn2_free; NULL when it has none. IDN2_USE_STD3_ASCII_RULES
 * would silently delete what it forbids ("a@b.com" becomes "ab.com"), and without it everything ASCII
 * passes, so the labels are checked here. */
static char *domain_alabels(const char *domain)
{
	uint8_t *ascii;
	bool has_alabel;

	if (idn2_lookup_u8((const uint8_t *)domain, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) !=
	    IDN2_OK)
		return NULL;
	if (!copy_ldh((char *)ascii, strlen((char *)ascii), (char *)ascii, &has_alabel)) {
		idn2_free(ascii);
		return NULL;
	}
	return (char *)ascii;
}

/* Whether `unicode` is the one name in U-labels that belongs to these A-labels. */
static bool is_name_of(const char *unicode, const char *ascii)
{
	char *again = domain_alabels(unicode);
	bool same = again && strcmp(again, ascii) == 0;

	idn2_free(again);
	return same;
}

static bool prepare_idn(const char *s, size_t n, char *out)
{
	if (memchr(s, '\0', n))
		return false;
	memcpy(out, s, n);
	out[n] = '\0';
	char *ascii = domain_alabels(out), *unicode = NULL;
	if (!ascii)
		return false;
	bool ok = strlen(ascii) <= DNS_MAX && idn2_to_unicode_8z8z(ascii, &unicode, 0) == IDN2_OK &&
	          strlen(unicode) <= JID_PART_MAX && is_name_of(unicode, ascii);
	if (ok)
		memcpy(out, unicode, strlen(unicode) + 1);
	idn2_free(unicode);
	idn2_free(ascii);
	return ok;
}

bool jid_prepare_domain(const char *s, size_t n, char *out)
{
	bool has_alabel;

	if (n == 0 || n > JID_PART_MAX)
		return false;
	if (s[0] == '[')
		return prepare_ip6(s, n, out);
	if (copy_ldh(s, n, out, &has_alabel) && !has_alabel)
		return strlen(out) <= DNS_MAX; /* RFC 7622 section 3.2: the DNS has its own limit */
	return prepare_idn(s, n, out);
}

bool jid_domain_to_ascii(const char *domain, char *out, size_t size)
{
	if (domain[0] == '[')
		return false;
	char *ascii = domain_alabels(domain);
	size_t n = ascii ? strlen(ascii) : 0;
	bool ok = n > 0 && n <= DNS_MAX && n < size;
	if (ok)
		memcpy(out, ascii, n + 1);
	idn2_free(ascii);
	return ok;
}
