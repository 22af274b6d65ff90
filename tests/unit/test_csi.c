/* test_csi.c - what of all that is said to a client may wait while nobody looks at it (XEP-0352): a stanza a row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "csi.h"
#include "mem.h"
#include "module.h"
#include "xml.h"

#define STATE "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
#define RECEIPT "<received xmlns='urn:xmpp:receipts' id='m1'/>"
#define DISPLAYED "<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>"
#define STORE "<store xmlns='urn:xmpp:hints'/>"
#define ID "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@verona.example' id='1'/>"
#define COPY(name, content)                                                                                \
	"<message type='chat'><" name " xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>" \
	"<message xmlns='jabber:client' type='chat'>" content "</message></forwarded></" name              \
	"></message>"
#define ROOM(content) "<presence><x xmlns='http://jabber.org/protocol/muc#user'>" content "</x></presence>"

static const struct row {
	const char *stanza;
	enum csi_verdict verdict;
} rows[] = {
	/* What people say, and what this server does not know. */
	{ "<message type='chat'><body>Hist!</body>" STATE "</message>", CSI_MATTERS },
	{ "<message><body>Hist!</body></message>", CSI_MATTERS },
	{ "<message type='chat'><subject>Love</subject></message>", CSI_MATTERS },
	{ "<message type='groupchat'><body>Hist!</body></message>", CSI_MATTERS },
	{ "<message type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'/>" STORE "</message>",
	  CSI_MATTERS },
	{ "<message type='chat'><retract xmlns='urn:xmpp:message-retract:1' id='m1'/></message>",
	  CSI_MATTERS },
	{ "<message type='chat'><propose xmlns='urn:xmpp:jingle-message:0' id='c1'/>" STORE "</message>",
	  CSI_MATTERS },
	{ "<message><x xmlns='jabber:x:conference' jid='hall@rooms.verona.example'/></message>",
	  CSI_MATTERS },
	{ "<message><result xmlns='urn:xmpp:mam:2' id='1'/></message>", CSI_MATTERS },
	{ "<message type='headline'>" STATE "</message>", CSI_MATTERS },
	{ "<message type='error'>" RECEIPT "<error type='cancel'/></message>", CSI_MATTERS },
	{ "<message type='chat'/>", CSI_MATTERS },
	{ "<message type='chat'>" ID STORE "</message>", CSI_MATTERS },
	{ "<iq type='get' id='i1'><ping xmlns='urn:xmpp:ping'/></iq>", CSI_MATTERS },
	{ "<iq type='result' id='i1'/>", CSI_MATTERS },

	/* What clients say for them. */
	{ "<message type='chat'>" STATE "</message>", CSI_STATE },
	{ "<message>" STATE "</message>", CSI_STATE },
	{ "<message type='groupchat'>" STATE "</message>", CSI_STATE },
	{ "<message type='chat'><thread>t1</thread>" STATE ID STORE "</message>", CSI_STATE },
	{ "<message type='chat'>" STATE "<x xmlns='http://jabber.org/protocol/muc#user'/></message>",
	  CSI_STATE },
	{ "<message type='chat'>" STATE
	  "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x></message>",
	  CSI_MATTERS },
	{ "<message type='chat'>" RECEIPT "</message>", CSI_WAITS },
	{ "<message type='chat'>" DISPLAYED STORE ID "</message>", CSI_WAITS },
	{ "<message type='chat'>" STATE DISPLAYED "</message>", CSI_WAITS },

	/* Copies: what is in them counts, and what was read elsewhere. */
	{ COPY("received", "<body>Hist!</body>"), CSI_MATTERS },
	{ COPY("sent", "<body>Hist!</body>" STATE), CSI_MATTERS },
	{ COPY("received", STATE), CSI_NOTHING },
	{ COPY("sent", "<thread>t1</thread>" STATE), CSI_NOTHING },
	{ COPY("received", RECEIPT), CSI_WAITS },
	{ COPY("sent", RECEIPT), CSI_WAITS },
	{ COPY("received", DISPLAYED), CSI_WAITS },
	{ COPY("sent", DISPLAYED), CSI_MATTERS },
	{ COPY("received", ""), CSI_MATTERS },
	{ "<message type='chat'><received xmlns='urn:xmpp:carbons:2'/></message>", CSI_MATTERS },

	/* Presence: the newest will do; not where the user is asked, or has asked. */
	{ "<presence><show>away</show></presence>", CSI_STATE },
	{ "<presence type='unavailable'/>", CSI_STATE },
	{ "<presence type='subscribe'/>", CSI_MATTERS },
	{ "<presence type='subscribed'/>", CSI_MATTERS },
	{ "<presence type='unsubscribe'/>", CSI_MATTERS },
	{ "<presence type='unsubscribed'/>", CSI_MATTERS },
	{ "<presence type='error'><error type='auth'/></presence>", CSI_MATTERS },
	{ ROOM("<item role='participant'/>"), CSI_STATE },
	{ ROOM("<item/><status code='100'/><status code='307'/>"), CSI_STATE },
	{ ROOM("<item/><status code='100'/><status code='110'/>"), CSI_MATTERS },
	{ ROOM("<item/><status/>"), CSI_STATE },
};

static struct jid *address(const char *text)
{
	struct jid *j = jid_parse(text, strlen(text));

	assert_non_null(j);
	return j;
}

static enum csi_verdict judge(const char *text, const char *from)
{
	struct stanza *st = xml_parse_stanza(text, strlen(text));
	struct jid *own = address("juliet@verona.example/balcony"), *sender = from ? address(from) : NULL;
	enum csi_verdict v;

	assert_non_null(st);
	v = csi_judge(st, sender, own);
	jid_unref(sender);
	jid_unref(own);
	stanza_unref(st);
	return v;
}

static void test_rows(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT_OF(rows); i++)
		if (judge(rows[i].stanza, "romeo@verona.example/orchard") != rows[i].verdict)
			fail_msg("row %u: %s", i, rows[i].stanza);
}

/* The answer to what it has just sent; but another client of the account is a contact like others. */
static void test_own(void **state)
{
	(void)state;
	assert_int_equal(judge("<presence/>", "juliet@verona.example/balcony"), CSI_MATTERS);
	assert_int_equal(judge("<presence type='unavailable'/>", "juliet@verona.example/balcony"),
	                 CSI_MATTERS);
	assert_int_equal(judge("<presence/>", "juliet@verona.example/tablet"), CSI_STATE);
}

/* The server itself. */
static void test_without_sender(void **state)
{
	(void)state;
	assert_int_equal(judge("<presence/>", NULL), CSI_MATTERS);
	assert_int_equal(judge("<message type='chat'>" STATE "</message>", NULL), CSI_MATTERS);
}

/* The same of messages, for who is offline: is there more in it than that? */
static bool is_notice(const char *text)
{
	struct stanza *st = xml_parse_stanza(text, strlen(text));
	bool is;

	assert_non_null(st);
	is = message_is_notice(st);
	stanza_unref(st);
	return is;
}

static void test_notice(void **state)
{
	(void)state;
	assert_true(is_notice("<message type='chat'>" STATE "<thread>t1</thread></message>"));
	assert_true(is_notice("<message>" RECEIPT ID "</message>"));
	assert_true(is_notice("<message type='chat'>" DISPLAYED STATE STORE "</message>"));
	assert_false(is_notice("<message type='chat'>" STATE "<body>Hist!</body></message>"));
	assert_false(is_notice("<message type='chat'><x xmlns='urn:example:x'/></message>"));
	assert_false(is_notice("<message type='chat'/>"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_own),
		cmocka_unit_test(test_without_sender),
		cmocka_unit_test(test_notice),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
