/* fuzz_xml.c - a peer's stream: however its bytes are cut, and whoever's parser takes them, the outcome
 * is the same; and each stanza that comes out can be read again. The first byte says how to cut. */
#include <string.h>

#include "../../server/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct xml_limits limits = { 4000, 20, 10, 50, 1 << 20 };

static struct stanza *read_again(const struct stanza *st)
{
	struct buffer b = { 0 };
	buffer_addf(&b, "<%s", st->root->name);
	buffer_add(&b, st->bytes, st->bytes_len);
	struct stanza *again = xml_parse_stanza(b.data, b.len);
	ASSERT(again);
	buffer_free(&b);
	return again;
}

static void on_header(void *arg, const struct xml_header *h)
{
	buffer_addf(arg, "header %d %s;", h->is_server, h->to ? h->to : "");
}

/* Read once more, a stanza has lost what only its stream knew (a server's content namespace), so it is
 * the second reading that must agree with the first. */
static void on_stanza(void *arg, struct stanza *st)
{
	struct stanza *once = read_again(st), *twice = read_again(once);
	ASSERT(once->bytes_len == twice->bytes_len && once->inner_at == twice->inner_at &&
	       memcmp(once->bytes, twice->bytes, once->bytes_len) == 0);
	ASSERT(once->kind == twice->kind && once->type == twice->type && !once->id == !twice->id);
	struct stanza *copy = stanza_new_other("copy", NULL);
	element_copy(copy, copy->root, once->root);
	struct stanza *derived = stanza_derive(once);
	ASSERT(stanza_seal(copy)->bytes_len > once->bytes_len);
	ASSERT(stanza_seal(derived)->bytes_len == once->bytes_len);
	buffer_addf(arg, "%d %d <%s", st->kind, st->type, st->root->name);
	buffer_add(arg, st->bytes, st->bytes_len);
	stanza_unref(derived);
	stanza_unref(copy);
	stanza_unref(twice);
	stanza_unref(once);
	stanza_unref(st);
}

static void on_close(void *arg)
{
	buffer_adds(arg, "close;");
}

static const struct xml_handlers handlers = { on_header, on_stanza, on_close };

static enum xml_error run(struct buffer *log, const char *data, size_t size, size_t step)
{
	struct xml_pool *pool = xml_pool_new(1);
	struct xml *x = xml_new(pool, &limits, &handlers, log);
	enum xml_error error = XML_FINE;

	buffer_adds(log, "");
	for (size_t at = 0; at < size && !error; at += step) {
		error = xml_feed(x, data + at, size - at < step ? size - at : step);
		if (!xml_is_idle(x))
			continue;
		xml_return(pool, x);
		x = xml_borrow(pool, &limits, &handlers, log);
	}
	xml_free(x);
	xml_pool_free(pool);
	return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buffer whole = { 0 }, cut = { 0 };
	if (size < 2)
		return 0;
	/* Where two things are wrong, the cut may decide which one is seen first. */
	bool is_good = run(&whole, (const char *)data + 1, size - 1, size) == XML_FINE;
	ASSERT((run(&cut, (const char *)data + 1, size - 1, 1 + data[0] % 64) == XML_FINE) == is_good);
	ASSERT(strcmp(whole.data, cut.data) == 0);
	buffer_free(&whole);
	buffer_free(&cut);
	return 0;
}
