/* text.c - parses and writes one message again and again, for tests/budget/run, as a stream does: with a parser
 * that is borrowed for each piece that comes from the socket. `mark` parts what is counted apart. */
#include <string.h>

#include "hash.h"
#include "jid.h"
#include "module.h"
#include "xml.h"

#define TIMES 1000

static const char message[] =
    "<message type='chat' id='4f1d0c2e' to='juliet@verona.example' xml:lang='en'>"
    "<body>Wilt thou be gone? it is not yet near day: it was the nightingale, and not the lark.</body>"
    "<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>"
    "<origin-id xmlns='urn:xmpp:sid:0' id='4f1d0c2e'/></message>";

/* Callgrind writes down what it has counted when this is called, and begins anew. */
void mark(void);
__attribute__((noinline)) void mark(void)
{
	__asm__ volatile("");
}

static void on_header(void *arg, const struct xml_header *h)
{
	(void)arg;
	(void)h;
}

static void on_stanza(void *arg, struct stanza *st)
{
	struct stanza **last = arg;

	if (*last)
		stanza_unref(*last);
	*last = st;
}

static void on_close(void *arg)
{
	(void)arg;
}

static void parse_again(struct stanza **last)
{
	static const struct xml_handlers handlers = { on_header, on_stanza, on_close };
	static const struct xml_limits limits = { 262144, 32, 64, 10000, 65536 };
	struct xml_pool *pool = xml_pool_new(1);

	mark();
	for (unsigned i = 0; i < TIMES; i++) {
		struct xml *x = xml_borrow(pool, &limits, &handlers, last);

		ASSERT(xml_feed(x, message, sizeof message - 1) == XML_FINE);
		xml_return(pool, x);
	}
	mark();
	xml_pool_free(pool);
}

static void write_message(const struct stanza *st)
{
	static const char romeo[] = "romeo@montague.example/orchard", juliet[] = "juliet@capulet.example";
	struct jid *from = jid_parse(romeo, strlen(romeo)), *to = jid_parse(juliet, strlen(juliet));
	struct buffer out = { 0 };

	ASSERT(from && to);
	mark();
	for (unsigned i = 0; i < TIMES; i++) {
		out.len = 0;
		stanza_write(&out, st, from, to);
	}
	mark();
	buffer_free(&out);
	jid_unref(from);
	jid_unref(to);
}

int main(void)
{
	struct stanza *last = NULL;

	hash_seed(true);
	parse_again(&last);
	ASSERT(last);
	write_message(last);
	stanza_unref(last);
	return 0;
}
