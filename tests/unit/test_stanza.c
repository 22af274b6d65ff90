/* test_stanza.c - building, borrowing, sealing and reading stanzas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "../../server/stanza.h"

#define DELAY_NS "urn:xmpp:delay"
#define FORWARD_NS "urn:xmpp:forward:0"

static void assert_bytes(const struct stanza *st, const char *expected)
{
	char *bytes = mem_strndup(st->bytes, st->bytes_len);
	assert_string_equal(bytes, expected);
	mem_free(bytes);
}

static void assert_inner(const struct stanza *st, const char *expected)
{
	assert_true(st->inner_at <= st->bytes_len);
	assert_int_equal(strncmp(st->bytes + st->inner_at, expected, strlen(expected)), 0);
}

static void test_empty(void **state)
{
	(void)state;
	static const struct {
		enum stanza_kind kind;
		enum stanza_type type;
		const char *id, *bytes;
	} cases[] = {
		{ STANZA_MESSAGE, MESSAGE_NORMAL, NULL, "/>" },
		{ STANZA_MESSAGE, MESSAGE_CHAT, "1", " type='chat' id='1'/>" },
		{ STANZA_PRESENCE, PRESENCE_AVAILABLE, NULL, "/>" },
		{ STANZA_PRESENCE, PRESENCE_UNSUBSCRIBED, NULL, " type='unsubscribed'/>" },
		{ STANZA_IQ, IQ_RESULT, "a'b", " type='result' id='a&apos;b'/>" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct stanza *st = stanza_seal(stanza_new(cases[i].kind, cases[i].type, cases[i].id));
		assert_int_equal(st->kind, cases[i].kind);
		assert_int_equal(st->type, cases[i].type);
		assert_bytes(st, cases[i].bytes);
		assert_int_equal(st->inner_at, st->bytes_len);
		if (cases[i].id)
			assert_string_equal(st->id, cases[i].id);
		else
			assert_null(st->id);
		stanza_unref(st);
	}
}

static void test_types(void **state)
{
	(void)state;
	static const struct {
		enum stanza_kind kind;
		const char *value;
		enum stanza_type type;
	} cases[] = {
		{ STANZA_MESSAGE, NULL, MESSAGE_NORMAL },
		{ STANZA_MESSAGE, "normal", MESSAGE_NORMAL },
		{ STANZA_MESSAGE, "groupchat", MESSAGE_GROUPCHAT },
		{ STANZA_MESSAGE, "error", MESSAGE_ERROR },
		{ STANZA_MESSAGE, "sonnet", MESSAGE_NORMAL },
		{ STANZA_MESSAGE, "get", MESSAGE_NORMAL },
		{ STANZA_MESSAGE, "", MESSAGE_NORMAL },
		{ STANZA_PRESENCE, NULL, PRESENCE_AVAILABLE },
		{ STANZA_PRESENCE, "", TYPE_UNKNOWN },
		{ STANZA_PRESENCE, "available", TYPE_UNKNOWN },
		{ STANZA_PRESENCE, "unsubscribe", PRESENCE_UNSUBSCRIBE },
		{ STANZA_PRESENCE, "error", PRESENCE_ERROR },
		{ STANZA_IQ, NULL, TYPE_UNKNOWN },
		{ STANZA_IQ, "Get", TYPE_UNKNOWN },
		{ STANZA_IQ, "get", IQ_GET },
		{ STANZA_IQ, "error", IQ_ERROR },
		{ STANZA_OTHER, "get", TYPE_NONE },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(stanza_type_of(cases[i].kind, cases[i].value), cases[i].type);
	assert_int_equal(stanza_kind_of("iq"), STANZA_IQ);
	assert_int_equal(stanza_kind_of("IQ"), STANZA_OTHER);
}

static void test_tree(void **state)
{
	(void)state;
	struct arena a = { 0 };
	struct stanza *st = stanza_new(STANZA_IQ, IQ_SET, "x");
	struct element *query = element_add(st, st->root, "query", "jabber:iq:roster");
	struct element *item = element_add(st, query, "item", "jabber:iq:roster");
	element_set(st, item, "jid", "a@b");
	element_set(st, item, "name", "<'\"&>\t\n\r");
	element_set(st, item, "jid", "romeo@b");
	element_setf(st, item, "n", "%d", 7);
	element_set(st, query, "xml:lang", "de");
	element_add_text(st, item, "group", "jabber:iq:roster", "Fr'iends & \"co\"\n\r\t\x01");
	element_text_append(st, item, "a", 1);
	element_text_append(st, item, "", 0);
	element_add(st, item, "x", "");
	element_text_append(st, item, "b", 1);
	stanza_seal(st);
	assert_bytes(
	    st,
	    " type='set' id='x'><query xmlns='jabber:iq:roster' xml:lang='de'><item jid='romeo@b'"
	    " name='&lt;&apos;\"&amp;&gt;&#9;&#10;&#13;' n='7'>"
	    "<group>Fr'iends &amp; \"co\"\n&#13;\t\xef\xbf\xbd</group>a<x xmlns=''/>b</item></query></iq>");
	assert_inner(st, "<query ");
	assert_ptr_equal(element_first(st->root), query);
	assert_ptr_equal(element_child(query, "item", "jabber:iq:roster"), item);
	assert_null(element_child(query, "item", NULL));
	assert_null(element_next(item, "item", "jabber:iq:roster"));
	assert_string_equal(element_get(item, "jid"), "romeo@b");
	assert_null(element_get(item, "none"));
	assert_null(element_get(query, "lang"));
	assert_string_equal(element_lang(query), "de");
	assert_null(element_lang(item));
	assert_string_equal(element_get_text(item, &a), "ab");
	assert_string_equal(element_get_text(query, &a), "");
	assert_true(element_is(st->root, "iq", NULL));
	assert_false(element_is(item->last_child, "", NULL));
	assert_true(stanza_is_request(st));
	arena_free(&a);
	stanza_unref(st);
}

static void test_type_follows_attribute(void **state)
{
	(void)state;
	struct stanza *st = stanza_new(STANZA_MESSAGE, MESSAGE_CHAT, NULL);
	element_set(st, st->root, "type", "headline");
	element_set(st, st->root, "id", "9");
	assert_int_equal(st->type, MESSAGE_HEADLINE);
	assert_string_equal(st->id, "9");
	assert_bytes(stanza_seal(st), " type='headline' id='9'/>");
	stanza_unref(st);
}

static void test_prefixed_attributes(void **state)
{
	(void)state;
	struct stanza *st = stanza_new(STANZA_MESSAGE, MESSAGE_NORMAL, NULL);
	struct element *e = element_add(st, st->root, "x", "urn:x");
	struct attribute **at = &e->attributes;
	at = attribute_link(st, at, "urn:a", "k", "1");
	at = attribute_link(st, at, NULL, "k", "2");
	attribute_link(st, at, "urn:b'", "k", "3");
	struct element *copy = element_copy(st, st->root, e);
	assert_string_equal(element_get(copy, "k"), "2");
	assert_bytes(
	    stanza_seal(st),
	    "><x xmlns='urn:x' xmlns:ns0='urn:a' ns0:k='1' k='2' xmlns:ns1='urn:b&apos;' ns1:k='3'/>"
	    "<x xmlns='urn:x' xmlns:ns0='urn:a' ns0:k='1' k='2' xmlns:ns1='urn:b&apos;' ns1:k='3'/>"
	    "</message>");
	stanza_unref(st);
}

static void test_other(void **state)
{
	(void)state;
	struct stanza *st = stanza_new_other("success", "urn:ietf:params:xml:ns:xmpp-sasl");
	element_text_append(st, st->root, "dj0=", 4);
	stanza_seal(st);
	assert_int_equal(st->kind, STANZA_OTHER);
	assert_int_equal(st->type, TYPE_NONE);
	assert_bytes(st, " xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dj0=</success>");
	assert_inner(st, "dj0=");
	stanza_unref(st);
}

/* Below a foreign element the content namespace has its name, however it was asked for. */
static void test_client_namespace_below_foreign(void **state)
{
	(void)state;
	struct stanza *inner = stanza_new(STANZA_MESSAGE, MESSAGE_CHAT, NULL);
	element_add_text(inner, inner->root, "body", NULL, "hi");
	stanza_seal(inner);

	struct stanza *st = stanza_new(STANZA_MESSAGE, MESSAGE_NORMAL, NULL);
	struct element *forwarded = element_add(st, st->root, "forwarded", FORWARD_NS);
	struct element *copy = element_copy(st, forwarded, inner->root);
	element_set(st, copy, "to", "juliet@capulet");
	assert_true(element_is(copy, "message", "jabber:client"));
	assert_non_null(element_child(copy, "body", "jabber:client"));
	assert_bytes(stanza_seal(st),
	             "><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' type='chat'"
	             " to='juliet@capulet'><body>hi</body></message></forwarded></message>");
	stanza_unref(inner);
	stanza_unref(st);
}

static struct stanza *message_with_body(void)
{
	struct stanza *st = stanza_new(STANZA_MESSAGE, MESSAGE_CHAT, "m1");
	element_add_text(st, st->root, "body", NULL, "hi");
	element_add(st, st->root, "active", "http://jabber.org/protocol/chatstates");
	return stanza_seal(st);
}

static void test_derive(void **state)
{
	(void)state;
	struct stanza *base = message_with_body();
	const struct element *first = base->root->children;
	struct stanza *one = stanza_derive(base);
	struct element *delay = element_add(one, one->root, "delay", DELAY_NS);
	element_set(one, one->root, "id", "m2");
	element_text_append(one, one->root, "-", 1);
	stanza_seal(one);
	assert_int_equal(atomic_load(&base->refs), 2);
	stanza_unref(base); /* it is held */
	assert_bytes(one, " type='chat' id='m2'><delay xmlns='urn:xmpp:delay'/>-<body>hi</body>"
	                  "<active xmlns='http://jabber.org/protocol/chatstates'/></message>");
	assert_bytes(base, " type='chat' id='m1'><body>hi</body>"
	                   "<active xmlns='http://jabber.org/protocol/chatstates'/></message>");
	assert_ptr_equal(delay->next->next, first);
	assert_ptr_equal(base->root->children, first);
	assert_ptr_equal(element_child(one->root, "body", NULL), first);
	assert_string_equal(base->id, "m1");
	assert_string_equal(one->id, "m2");

	/* derived once more, and copied: the borrowed children come along, and nothing behind them */
	struct stanza *two = stanza_derive(one);
	element_add(two, two->root, "stanza-id", "urn:xmpp:sid:0");
	stanza_seal(two);
	stanza_unref(one);
	assert_inner(two,
	             "<stanza-id xmlns='urn:xmpp:sid:0'/><delay xmlns='urn:xmpp:delay'/>-<body>hi</body>");
	struct stanza *copy = stanza_new(STANZA_MESSAGE, MESSAGE_NORMAL, NULL);
	element_copy(copy, copy->root, two->root);
	assert_bytes(stanza_seal(copy),
	             "><message type='chat' id='m2'><stanza-id xmlns='urn:xmpp:sid:0'/>"
	             "<delay xmlns='urn:xmpp:delay'/>-<body>hi</body>"
	             "<active xmlns='http://jabber.org/protocol/chatstates'/></message></message>");
	stanza_unref(two);
	stanza_unref(copy);
}

static void test_derive_small(void **state)
{
	(void)state;
	struct stanza *base = stanza_seal(stanza_new(STANZA_PRESENCE, PRESENCE_AVAILABLE, NULL));
	struct stanza *same = stanza_seal(stanza_derive(base));
	assert_bytes(same, "/>");
	struct stanza *more = stanza_derive(base);
	element_add(more, more->root, "show", NULL);
	assert_bytes(stanza_seal(more), "><show/></presence>");
	stanza_unref(base);
	stanza_unref(more);
	stanza_unref(same);

	struct stanza *body = message_with_body();
	struct stanza *bare = stanza_seal(stanza_derive(body));
	assert_int_equal(bare->bytes_len, body->bytes_len);
	assert_memory_equal(bare->bytes, body->bytes, body->bytes_len);
	stanza_unref(bare);
	stanza_unref(body);
}

static void test_long_chain(void **state)
{
	(void)state;
	struct stanza *st = message_with_body();
	for (int i = 0; i < 100000; i++) {
		struct stanza *next = stanza_seal(stanza_derive(st));
		stanza_unref(st);
		st = next;
	}
	stanza_unref(st);
}

static void test_error(void **state)
{
	(void)state;
	struct stanza *iq = stanza_seal(stanza_new(STANZA_IQ, IQ_GET, "q1"));
	struct stanza *st = stanza_error(iq, SERVICE_UNAVAILABLE, NULL);
	assert_true(st->sealed && stanza_is_error(st));
	assert_bytes(st, " type='error' id='q1'><error type='cancel'><service-unavailable"
	                 " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>");
	stanza_unref(st);
	stanza_unref(iq);

	struct stanza *presence = stanza_seal(stanza_new(STANZA_PRESENCE, PRESENCE_PROBE, NULL));
	st = stanza_error(presence, FEATURE_NOT_IMPLEMENTED, "no <that>");
	assert_int_equal(st->type, PRESENCE_ERROR);
	assert_bytes(st, " type='error'><error type='cancel'><feature-not-implemented"
	                 " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text"
	                 " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no &lt;that&gt;</text>"
	                 "</error></presence>");
	stanza_unref(st);
	stanza_unref(presence);
}

static void test_every_condition(void **state)
{
	(void)state;
	struct stanza *m = message_with_body();
	for (int i = 0; i < STANZA_CONDITIONS; i++) {
		struct stanza *st = stanza_error(m, i, NULL);
		const struct element *error = element_child(st->root, "error", NULL);
		assert_int_equal(st->type, MESSAGE_ERROR);
		assert_true(strlen(element_get(error, "type")) >= 4);
		assert_true(strlen(element_first(error)->name) >= 4);
		stanza_unref(st);
	}
	stanza_unref(m);
}

static void test_deep(void **state)
{
	(void)state;
	const unsigned depth = 10000;
	struct stanza *st = stanza_new(STANZA_MESSAGE, MESSAGE_NORMAL, NULL);
	struct element *e = st->root;
	for (unsigned i = 0; i < depth; i++)
		e = element_add(st, e, "d", NULL);
	element_text_append(st, e, "x", 1);
	stanza_seal(st);
	assert_int_equal(st->bytes_len, 1 + depth * strlen("<d></d>") + 1 + strlen("</message>"));

	struct stanza *copy = stanza_new(STANZA_MESSAGE, MESSAGE_NORMAL, NULL);
	element_copy(copy, copy->root, st->root->children);
	stanza_seal(copy);
	assert_int_equal(copy->bytes_len, st->bytes_len);
	assert_memory_equal(copy->bytes, st->bytes, st->bytes_len);
	stanza_unref(copy);
	stanza_unref(st);
}

static void test_many_children(void **state)
{
	(void)state;
	struct stanza *st = stanza_new(STANZA_IQ, IQ_RESULT, "r");
	struct element *query = element_add(st, st->root, "query", "urn:q");
	for (int i = 0; i < 20000; i++) {
		struct element *item = element_add(st, query, "item", "urn:q");
		element_setf(st, item, "n", "%d", i);
	}
	stanza_seal(st);
	struct stanza *copy = stanza_new(STANZA_IQ, IQ_RESULT, "r");
	element_copy(copy, copy->root, query);
	stanza_seal(copy);
	assert_int_equal(copy->bytes_len, st->bytes_len);
	assert_memory_equal(copy->bytes, st->bytes, st->bytes_len);
	stanza_unref(copy);
	stanza_unref(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_type_follows_attribute),
		cmocka_unit_test(test_prefixed_attributes),
		cmocka_unit_test(test_other),
		cmocka_unit_test(test_client_namespace_below_foreign),
		cmocka_unit_test(test_derive),
		cmocka_unit_test(test_derive_small),
		cmocka_unit_test(test_long_chain),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_every_condition),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_many_children),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
