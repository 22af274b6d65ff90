/* caps.c - XEP-0115: the host's own capabilities as a hash among the stream features (section 6.3), so that
 * a client that has seen it before need not ask. Kept in the host's home until the hosts or their policies
 * change. */
#include <stdlib.h>
#include <string.h>

#include "disco.h"

#define NODE "urn:muster:server"

/* An element, and what it is sorted by: bytes (section 5.1). */
struct entry {
	const char *key;
	const struct element *element;
};

struct entries {
	struct entry *list;
	unsigned count;
};

typedef const char *key_of(struct ctx *c, const struct element *e);

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

/* The children of that name that have a key, sorted by it. */
static struct entries collect(struct ctx *c, const struct element *parent, const char *name, const char *ns,
                              key_of *key)
{
	struct entries found = { 0 };
	const struct element *e;
	unsigned n = 0;

	for (e = element_child(parent, name, ns); e; e = element_next(e, name, ns))
		n++;
	found.list = ctx_new(c, (n + 1) * sizeof *found.list);
	for (e = element_child(parent, name, ns); e; e = element_next(e, name, ns)) {
		found.list[found.count] = (struct entry){ key(c, e), e };
		found.count += found.list[found.count].key != NULL;
	}
	qsort(found.list, found.count, sizeof *found.list, by_key);
	return found;
}

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

/* Category, type and language, with a byte between them that sorts before all that may stand in them. */
static const char *key_of_identity(struct ctx *c, const struct element *e)
{
	return arena_printf(&c->scratch, "%s\1%s\1%s", or_empty(element_get(e, "category")),
	                    or_empty(element_get(e, "type")), or_empty(element_lang(e)));
}

static const char *key_of_var(struct ctx *c, const struct element *e)
{
	(void)c;
	return element_get(e, "var");
}

static const char *key_of_text(struct ctx *c, const struct element *e)
{
	return element_get_text(e, &c->scratch);
}

/* A form's FORM_TYPE; one without is ignored (section 5.4). */
static const char *key_of_form(struct ctx *c, const struct element *form)
{
	const struct element *field, *value;

	for (field = element_child(form, "field", FORM_NS); field;
	     field = element_next(field, "field", FORM_NS)) {
		value = element_child(field, "value", FORM_NS);
		if (value && strcmp(or_empty(element_get(field, "var")), "FORM_TYPE") == 0)
			return element_get_text(value, &c->scratch);
	}
	return NULL;
}

static void add_fields(struct ctx *c, struct buffer *b, const struct element *form)
{
	struct entries fields = collect(c, form, "field", FORM_NS, key_of_var), values;

	for (unsigned i = 0; i < fields.count; i++) {
		if (strcmp(fields.list[i].key, "FORM_TYPE") == 0)
			continue;
		buffer_addf(b, "%s<", fields.list[i].key);
		values = collect(c, fields.list[i].element, "value", FORM_NS, key_of_text);
		for (unsigned j = 0; j < values.count; j++)
			buffer_addf(b, "%s<", values.list[j].key);
	}
}

/* Section 5.1. */
static const char *caps_version(struct ctx *c, const struct element *query)
{
	struct entries identities = collect(c, query, "identity", INFO_NS, key_of_identity);
	struct entries features = collect(c, query, "feature", INFO_NS, key_of_var);
	struct entries forms = collect(c, query, "x", FORM_NS, key_of_form);
	struct buffer b = { 0 };
	unsigned char digest[DIGEST_SHA1];

	for (unsigned i = 0; i < identities.count; i++) {
		const struct element *e = identities.list[i].element;

		buffer_addf(&b, "%s/%s/%s/%s<", or_empty(element_get(e, "category")),
		            or_empty(element_get(e, "type")), or_empty(element_lang(e)),
		            or_empty(element_get(e, "name")));
	}
	for (unsigned i = 0; i < features.count; i++)
		buffer_addf(&b, "%s<", features.list[i].key);
	for (unsigned i = 0; i < forms.count; i++) {
		buffer_addf(&b, "%s<", forms.list[i].key);
		add_fields(c, &b, forms.list[i].element);
	}
	digest_sha1(b.data, b.len, digest);
	buffer_free(&b);
	return base64_encode(&c->scratch, digest, sizeof digest);
}

/* The host's capabilities in a word: computed when they are first asked for. */
static const char *caps_current(struct ctx *c)
{
	struct caps *caps = home_data(c);
	struct stanza *st;

	if (!caps->version) {
		st = stanza_new(STANZA_IQ, IQ_RESULT, "");
		caps->version = mem_strdup(caps_version(c, disco_info(c, st, st->root)));
		stanza_unref(st);
	}
	return caps->version;
}

void caps_free(void *data)
{
	mem_free(((struct caps *)data)->version);
}

bool caps_is_node(struct ctx *c, const char *node)
{
	size_t n = strlen(NODE);

	return strncmp(node, NODE "#", n + 1) == 0 && strcmp(node + n + 1, caps_current(c)) == 0;
}

enum verdict caps_on_stream_features(struct ctx *c)
{
	buffer_addf(features_buffer(c), "<c xmlns='" CAPS_NS "' hash='sha-1' node='" NODE "' ver='%s'/>",
	            caps_current(c));
	return PASS;
}
