/* test_xml.c - streams of bytes into headers, stanzas and closes; every refusal, limit and split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "../../server/xml.h"

#define STREAMS "http://etherx.jabber.org/streams"
#define HEAD "<stream:stream xmlns='jabber:client' xmlns:stream='" STREAMS "'>"
#define HEAD_LOG "header client;"
#define SERVER_HEAD                                                                                        \
	"<stream:stream xmlns='jabber:server' xmlns:stream='" STREAMS "' "                                 \
	"xmlns:db='jabber:server:dialback'>"

static const struct xml_limits wide = { 1 << 20, 100, 100, 1000, 1 << 20 };

/* Everything the handlers saw, in words. */
struct seen {
	struct buffer log;
	struct xml *x;
	const char *stop_at; /* the element or "header" behind which to stop */
};

static void on_header(void *arg, const struct xml_header *h)
{
	struct seen *seen = arg;
	buffer_addf(&seen->log, "header %s", h->is_server ? "server" : "client");
	if (h->to)
		buffer_addf(&seen->log, " to=%s", h->to);
	if (h->from)
		buffer_addf(&seen->log, " from=%s", h->from);
	if (h->version)
		buffer_addf(&seen->log, " version=%s", h->version);
	if (h->lang)
		buffer_addf(&seen->log, " lang=%s", h->lang);
	buffer_adds(&seen->log, ";");
	if (seen->stop_at && strcmp(seen->stop_at, "header") == 0)
		xml_stop(seen->x);
}

static void on_stanza(void *arg, struct stanza *st)
{
	struct seen *seen = arg;
	assert_true(st->sealed);
	buffer_addf(&seen->log, "%d/%d", st->kind, st->type);
	if (st->from)
		buffer_addf(&seen->log, " from=%s", st->from);
	if (st->to)
		buffer_addf(&seen->log, " to=%s", st->to);
	if (st->id)
		buffer_addf(&seen->log, " id=%s", st->id);
	buffer_addf(&seen->log, " <%s", st->root->name);
	buffer_add(&seen->log, st->bytes, st->bytes_len);
	buffer_adds(&seen->log, ";");
	if (seen->stop_at && strcmp(seen->stop_at, st->root->name) == 0)
		xml_stop(seen->x);
	/* reading another one meanwhile does no harm */
	struct stanza *other = xml_parse_stanza("<iq><a/></iq>", 13);
	assert_non_null(other);
	stanza_unref(other);
	stanza_unref(st);
}

static void on_close(void *arg)
{
	struct seen *seen = arg;
	buffer_adds(&seen->log, "close;");
	if (seen->stop_at && strcmp(seen->stop_at, "close") == 0)
		xml_stop(seen->x);
}

static const struct xml_handlers handlers = { on_header, on_stanza, on_close };

/* Feeds all of it in pieces: the first of `first` bytes, the others of `step`. */
static enum xml_error run(struct seen *seen, const struct xml_limits *limits, const char *data, size_t n,
                          size_t first, size_t step)
{
	struct xml_pool *pool = xml_pool_new(4);
	enum xml_error error = XML_FINE;
	size_t piece = first;

	seen->log.len = 0;
	buffer_adds(&seen->log, "");
	seen->x = xml_new(pool, limits, &handlers, seen);
	for (size_t at = 0; at < n && !error; at += piece, piece = step) {
		if (piece > n - at)
			piece = n - at;
		error = xml_feed(seen->x, data + at, piece);
		if (!error)
			assert_int_equal(xml_consumed(seen->x), piece);
	}
	xml_free(seen->x);
	xml_pool_free(pool);
	return error;
}

/* Whole, byte by byte, and cut in two at every place: always the same. */
static void check(const char *data, size_t n, enum xml_error error, const char *log)
{
	struct seen seen = { 0 };
	assert_int_equal(run(&seen, &wide, data, n, n, n), error);
	assert_string_equal(seen.log.data, log);
	assert_int_equal(run(&seen, &wide, data, n, 1, 1), error);
	assert_string_equal(seen.log.data, log);
	for (size_t i = 1; i < n; i++) {
		assert_int_equal(run(&seen, &wide, data, n, i, n), error);
		assert_string_equal(seen.log.data, log);
	}
	buffer_free(&seen.log);
}

struct check {
	const char *data;
	enum xml_error error;
	const char *log;
};

static void check_all(const struct check *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check(cases[i].data, strlen(cases[i].data), cases[i].error, cases[i].log);
}

static void test_headers(void **state)
{
	(void)state;
	static const struct check cases[] = {
		{ HEAD, XML_FINE, HEAD_LOG },
		{ " \r\n\t<?xml version='1.0'?>" HEAD, XML_FINE, HEAD_LOG },
		{ "<?xml version='1.0' encoding='utf-8'?>\n" HEAD, XML_FINE, HEAD_LOG },
		{ "\xef\xbb\xbf" HEAD, XML_FINE, HEAD_LOG },
		{ "<stream:stream to='a' from='b@a' version='1.0' xml:lang='de' id='x' "
		  "xmlns='jabber:client'"
		  " xmlns:stream='" STREAMS "'></stream:stream>",
		  XML_FINE, "header client to=a from=b@a version=1.0 lang=de;close;" },
		{ SERVER_HEAD, XML_FINE, "header server;" },
		{ "<s:stream xmlns='jabber:client' xmlns:s='" STREAMS "'/>", XML_FINE, HEAD_LOG "close;" },
	};
	check_all(cases, COUNT_OF(cases));
}

static void test_bad_headers(void **state)
{
	(void)state;
	static const struct check cases[] = {
		{ "<stream:stream xmlns='jabber:client' xmlns:stream='urn:x'>", XML_BAD_NAMESPACE, "" },
		{ "<stream xmlns='jabber:client'>", XML_BAD_NAMESPACE, "" },
		{ "<stream>", XML_BAD_NAMESPACE, "" },
		{ "<stream:stream xmlns:stream='" STREAMS "'>", XML_BAD_NAMESPACE, "" },
		{ "<stream:stream xmlns='' xmlns:stream='" STREAMS "'>", XML_BAD_NAMESPACE, "" },
		{ "<stream:stream xmlns='jabber:foo' xmlns:stream='" STREAMS "'>", XML_BAD_NAMESPACE, "" },
		{ "<stream:stream xmlns:c='jabber:client' xmlns:stream='" STREAMS "'>", XML_BAD_NAMESPACE,
		  "" },
		{ "<stream:stream xmlns='jabber:client'>", XML_BAD_PREFIX, "" },
		{ "<stream xmlns='" STREAMS "'>", XML_BAD_PREFIX, "" },
		{ "<stream:flow xmlns='jabber:client' xmlns:stream='" STREAMS "'>", XML_BAD_FORMAT, "" },
		{ "GET / HTTP/1.1\r\n", XML_NOT_WELL_FORMED, "" },
		{ "<stream:stream xmlns='jabber:client' xmlns:stream='" STREAMS "' a='1' a='2'>",
		  XML_NOT_WELL_FORMED, "" },
		{ "<?xml version='1.0' encoding='ISO-8859-1'?>" HEAD, XML_BAD_ENCODING, "" },
		{ "<?xml version='1.0' encoding='UTF-16'?>" HEAD, XML_BAD_ENCODING, "" },
		{ "<!DOCTYPE stream [<!ENTITY a 'b'>]>" HEAD, XML_RESTRICTED, "" },
		{ "<!-- hello -->" HEAD, XML_RESTRICTED, "" },
		{ "<?php echo ?>" HEAD, XML_RESTRICTED, "" },
	};
	check_all(cases, COUNT_OF(cases));
	check("\xff\xfe<\0s\0", 6, XML_BAD_ENCODING, "");
	check("\xfe\xff\0<\0s", 6, XML_BAD_ENCODING, "");
	check("\0<\0s", 4, XML_BAD_ENCODING, "");
	check("<\0s\0", 4, XML_BAD_ENCODING, "");
	check("\x16\x03\x01\x02", 4, XML_NOT_WELL_FORMED, ""); /* a TLS hello on a plain port */
}

static void test_stanzas(void **state)
{
	(void)state;
	static const struct check cases[] = {
		{ HEAD
		  "<message from='a' to='b@c/d' type='chat' id='1' xml:lang='en'><body>hi</body></message>",
		  XML_FINE,
		  HEAD_LOG "0/2 from=a to=b@c/d id=1 <message type='chat' id='1' xml:lang='en'>"
		           "<body>hi</body></message>;" },
		{ HEAD " \r\n<presence/> <presence type='foo'/>\n<iq/><iq type='get'/>", XML_FINE,
		  HEAD_LOG
		  "1/6 <presence/>;1/18 <presence type='foo'/>;2/18 <iq/>;2/14 <iq type='get'/>;" },
		{ HEAD "<message type='sonnet'/>", XML_FINE, HEAD_LOG "0/1 <message type='sonnet'/>;" },
		{ HEAD "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGE=</auth>",
		  XML_FINE,
		  HEAD_LOG
		  "3/0 <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGE=</auth>;" },
		{ HEAD "<foo/><message xmlns='jabber:server'/><message xmlns=''/>", XML_FINE,
		  HEAD_LOG "3/0 <foo/>;3/0 <message xmlns='jabber:server'/>;3/0 <message xmlns=''/>;" },
		{ HEAD "<stream:error><x xmlns='urn:x'/><stream:y/></stream:error>", XML_FINE,
		  HEAD_LOG "3/0 <error xmlns='" STREAMS "'><x xmlns='urn:x'/><y/></error>;" },
		{ SERVER_HEAD "<db:result from='a' to='b'>k</db:result><message><body>x</body></message>",
		  XML_FINE,
		  "header server;3/0 from=a to=b <result xmlns='jabber:server:dialback'>k</result>;"
		  "0/1 <message><body>x</body></message>;" },
		{ HEAD "<message><a xmlns='urn:a'><b/><c xmlns='urn:c'/></a></message>", XML_FINE,
		  HEAD_LOG "0/1 <message><a xmlns='urn:a'><b/><c xmlns='urn:c'/></a></message>;" },
		{ HEAD "<message><p:a xmlns:p='urn:p' p:q='&#65;' q='2' xml:space='preserve'/></message>",
		  XML_FINE,
		  HEAD_LOG "0/1 <message><a xmlns='urn:p' xmlns:ns0='urn:p' ns0:q='A' q='2'"
		           " xml:space='preserve'/></message>;" },
		{ HEAD "<message><body>a\r\nb "
		       "&amp;&lt;&#x20ac;\xe2\x82\xac<![CDATA[<c>]]>'\"&#13;]</body></message>",
		  XML_FINE,
		  HEAD_LOG "0/1 <message><body>a\nb &amp;&lt;\xe2\x82\xac\xe2\x82\xac&lt;c&gt;'\"&#13;]"
		           "</body></message>;" },
		{ HEAD "<message x=' a&#9;&apos;b\n\"'/>", XML_FINE,
		  HEAD_LOG "0/1 <message x=' a&#9;&apos;b \"'/>;" },
		{ HEAD "<message> <a/>t<b/> </message>", XML_FINE,
		  HEAD_LOG "0/1 <message> <a/>t<b/> </message>;" },
		{ HEAD "<presence/></stream:stream>\n", XML_FINE, HEAD_LOG "1/6 <presence/>;close;" },
	};
	check_all(cases, COUNT_OF(cases));
}

static void test_client_namespace_below_foreign(void **state)
{
	(void)state;
	static const char inner[] =
	    "<message><f xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' to='x'>"
	    "<body>y</body><f xmlns='urn:f'><iq xmlns='jabber:client'/></f>"
	    "</message></f></message>";
	static const char *const heads[] = { HEAD, SERVER_HEAD };
	for (size_t i = 0; i < COUNT_OF(heads); i++) {
		char *data = mem_printf("%s%s", heads[i], inner);
		char *log = mem_printf("header %s;0/1 %s;", i ? "server" : "client", inner);
		check(data, strlen(data), XML_FINE, log);
		mem_free(data);
		mem_free(log);
	}
	/* with a prefix: the same */
	check(HEAD "<message><f:f xmlns:f='urn:f'><message><body/></message></f:f></message>",
	      strlen(HEAD "<message><f:f xmlns:f='urn:f'><message><body/></message></f:f></message>"),
	      XML_FINE,
	      HEAD_LOG "0/1 <message><f xmlns='urn:f'><message "
	               "xmlns='jabber:client'><body/></message></f></message>;");
	struct stanza *st = xml_parse_stanza(inner, sizeof(inner) - 1);
	const struct element *f = element_child(st->root, "f", "urn:xmpp:forward:0");
	const struct element *m = element_child(f, "message", "jabber:client");
	assert_non_null(element_child(m, "body", "jabber:client"));
	assert_string_equal(element_get(m, "to"), "x");
	stanza_unref(st);
}

static void test_refusals(void **state)
{
	(void)state;
	static const struct check cases[] = {
		{ HEAD "hello", XML_BAD_FORMAT, HEAD_LOG },
		{ HEAD "&#65;", XML_BAD_FORMAT, HEAD_LOG },
		{ HEAD "<presence/> x", XML_BAD_FORMAT, HEAD_LOG "1/6 <presence/>;" },
		{ HEAD "<![CDATA[ ", XML_BAD_FORMAT, HEAD_LOG },
		{ HEAD "<!-- c -->", XML_RESTRICTED, HEAD_LOG },
		{ HEAD "<message><!-- c --></message>", XML_RESTRICTED, HEAD_LOG },
		{ HEAD "<message><?pi x?></message>", XML_RESTRICTED, HEAD_LOG },
		{ HEAD "<message>&foo;</message>", XML_RESTRICTED, HEAD_LOG },
		{ HEAD "<message a='&foo;'/>", XML_RESTRICTED, HEAD_LOG },
		{ HEAD "<message><!DOCTYPE a></message>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<?xml version='1.0'?>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<message></body>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<message><p:a/></message>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<message p:a='1'/>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<message a='1' a='2'/>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<message a=1/>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<message xmlns:x='a&#10;b'><x:y/></message>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<message>\x01</message>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<message>&#0;</message>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<message>\xc0\x80</message>", XML_BAD_ENCODING, HEAD_LOG },
		{ HEAD "<message>\xed\xa0\x80</message>", XML_BAD_ENCODING, HEAD_LOG },
		{ HEAD "<message a='\xe2\x82'/>", XML_BAD_ENCODING, HEAD_LOG },
		{ HEAD "<message a='e'>\xe9t\xe9</message>", XML_BAD_ENCODING, HEAD_LOG },
		{ HEAD "<mess\xf8ge/>", XML_BAD_ENCODING, HEAD_LOG },
		{ HEAD "<message>\xef\xbf\xbf</message>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "<mess\xc2\xa7ge/>", XML_NOT_WELL_FORMED, HEAD_LOG },
		{ HEAD "</stream:stream><message/>", XML_NOT_WELL_FORMED, HEAD_LOG "close;" },
		{ HEAD "</stream:stream><!-- x -->", XML_RESTRICTED, HEAD_LOG "close;" },
		{ HEAD "</s:stream>", XML_NOT_WELL_FORMED, HEAD_LOG },
	};
	check_all(cases, COUNT_OF(cases));
}

/* Every limit: at it is fine, one more is not; whole, byte by byte, and cut anywhere. */
static void check_limit(struct xml_limits limits, const char *good, const char *bad)
{
	struct seen seen = { 0 };
	for (size_t i = 1; i <= strlen(good); i++)
		assert_int_equal(run(&seen, &limits, good, strlen(good), i, strlen(good)), XML_FINE);
	assert_int_equal(run(&seen, &limits, good, strlen(good), 1, 1), XML_FINE);
	for (size_t i = 1; i <= strlen(bad); i++)
		assert_int_equal(run(&seen, &limits, bad, strlen(bad), i, strlen(bad)), XML_TOO_BIG);
	assert_int_equal(run(&seen, &limits, bad, strlen(bad), 1, 1), XML_TOO_BIG);
	buffer_free(&seen.log);
}

static void test_limits(void **state)
{
	(void)state;
	struct xml_limits depth = wide, attributes = wide, children = wide, bytes = wide;
	depth.depth = 4;
	check_limit(depth, HEAD "<a><b><c/><c>x</c></b></a>", HEAD "<a><b><c><d/></c></b></a>");
	attributes.attributes = 2;
	check_limit(attributes, HEAD "<a x='1' y='2' xmlns='u'><b x='1' y='2'/></a>",
	            HEAD "<a><b x='1' y='2' z='3'/></a>");
	check_limit(attributes, HEAD,
	            "<stream:stream a='' b='' c='' xmlns='jabber:client' xmlns:stream='" STREAMS "'>");
	children.children = 2;
	check_limit(children, HEAD "<a><b/><b/></a><a/><a/><a><b><b/><b/></b>x</a>",
	            HEAD "<a><b/>x<b/><b/>");
	bytes.stanza_bytes = 20;
	check_limit(bytes, HEAD "                         <a>4567890123456</a><a b='78901234567'/>",
	            HEAD "<a>45678901234567</a>");
	check_limit(bytes, HEAD "<a/>", HEAD "<a b='789012345678'/>");
}

/* Refused while it is still unfinished: nothing is gathered without bound. */
static void test_unfinished(void **state)
{
	(void)state;
	static const char *const begins[] = {
		"<",           "<stream:stream a='", HEAD "<a>",  HEAD "<a b='", HEAD "<a",
		HEAD "<a><b>", HEAD "<a><![CDATA[",  HEAD "<!--", HEAD "<a><?"
	};
	struct xml_limits limits = { 1000, 100, 100, 100, 500 };
	struct seen seen = { 0 };
	char data[2000];
	for (size_t i = 0; i < COUNT_OF(begins); i++) {
		memset(data, 'x', sizeof(data));
		memcpy(data, begins[i], strlen(begins[i]));
		assert_int_equal(run(&seen, &limits, data, sizeof(data), 7, 7), XML_TOO_BIG);
	}
	/* the token's own bound, below that of the stanza */
	memcpy(data, HEAD "<a b='", strlen(HEAD "<a b='"));
	assert_int_equal(run(&seen, &limits, data, strlen(HEAD) + 500, 7, 7), XML_FINE);
	assert_int_equal(run(&seen, &limits, data, strlen(HEAD) + 501, 7, 7), XML_TOO_BIG);
	buffer_free(&seen.log);
}

static void test_deep(void **state)
{
	(void)state;
	struct xml_limits limits = { 1 << 20, 20000, 10, 10, 1000 };
	struct seen seen = { 0 };
	struct buffer b = { 0 };
	buffer_adds(&b, HEAD);
	for (int i = 0; i < 10000; i++)
		buffer_adds(&b, "<a>");
	for (int i = 0; i < 10000; i++)
		buffer_adds(&b, "</a>");
	assert_int_equal(run(&seen, &wide, b.data, b.len, b.len, b.len), XML_TOO_BIG);
	assert_int_equal(run(&seen, &limits, b.data, b.len, b.len, b.len), XML_FINE);
	assert_int_equal(run(&seen, &limits, b.data, b.len, 999, 999), XML_FINE);
	struct stanza *st = xml_parse_stanza(b.data + strlen(HEAD), b.len - strlen(HEAD));
	assert_non_null(st);
	stanza_unref(st);
	buffer_free(&b);
	buffer_free(&seen.log);
}

/* ---- stopping */

static void test_stop(void **state)
{
	(void)state;
	static const struct {
		const char *stop_at, *taken, *rest, *log;
	} cases[] = {
		{ "starttls", HEAD "<starttls xmlns='urn:t'/>", "<presence/>",
		  HEAD_LOG "3/0 <starttls xmlns='urn:t'/>;" },
		{ "auth", HEAD "<presence/><auth xmlns='urn:a'>=</auth>", "\x16\x03",
		  HEAD_LOG "1/6 <presence/>;3/0 <auth xmlns='urn:a'>=</auth>;" },
		{ "header", HEAD, "<presence/>", HEAD_LOG },
		{ "header", "<stream:stream xmlns='jabber:client' xmlns:stream='" STREAMS "'/>", "!",
		  HEAD_LOG },
		{ "close", HEAD "</stream:stream>", "!", HEAD_LOG "close;" },
	};
	struct xml_pool *pool = xml_pool_new(1);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *data = mem_printf("%s%s", cases[i].taken, cases[i].rest);
		size_t end = strlen(cases[i].taken);
		for (size_t first = 0; first < end; first++) {
			struct seen seen = { .stop_at = cases[i].stop_at };
			seen.x = xml_new(pool, &wide, &handlers, &seen);
			assert_int_equal(xml_feed(seen.x, data, first), XML_FINE);
			assert_int_equal(xml_consumed(seen.x), first);
			assert_int_equal(xml_feed(seen.x, data + first, strlen(data) - first), XML_FINE);
			assert_int_equal(xml_consumed(seen.x), end - first);
			assert_string_equal(seen.log.data, cases[i].log);
			assert_false(xml_is_idle(seen.x));
			xml_free(seen.x);
			buffer_free(&seen.log);
		}
		mem_free(data);
	}
	xml_pool_free(pool);
}

/* ---- lending */

/* Returned and borrowed again at every place where that is possible, the outcome is the same. */
static void test_lending(void **state)
{
	(void)state;
	static const char data[] =
	    "<?xml version='1.0'?><stream:stream to='a' xmlns:stream='" STREAMS
	    "' xmlns='jabber:client'> <message><body>a]]&gt;</body></message>\r\n<presence/> "
	    "<iq xmlns:x='urn:x'><x:y/></iq></stream:stream>";
	static const char log[] =
	    "header client to=a;0/1 <message><body>a]]&gt;</body></message>;1/6 <presence/>;"
	    "2/18 <iq><y xmlns='urn:x'/></iq>;close;";
	for (unsigned keep = 0; keep < 2; keep++) {
		struct xml_pool *pool = xml_pool_new(keep);
		struct seen seen = { 0 };
		unsigned lent = 0;
		seen.x = xml_new(pool, &wide, &handlers, &seen);
		for (size_t i = 0; i < sizeof(data) - 1; i++) {
			assert_int_equal(xml_feed(seen.x, data + i, 1), XML_FINE);
			if (!xml_is_idle(seen.x))
				continue;
			xml_return(pool, seen.x);
			seen.x = xml_borrow(pool, &wide, &handlers, &seen);
			assert_true(xml_is_idle(seen.x));
			lent++;
		}
		assert_string_equal(seen.log.data, log);
		assert_int_equal(lent,
		                 7); /* behind the header, three stanzas, and each white space but the CR */
		buffer_free(&seen.log);
		xml_free(seen.x);
		xml_pool_free(pool);
	}
}

static void test_idle(void **state)
{
	(void)state;
	static const struct {
		const char *data;
		bool is_idle;
	} cases[] = {
		{ "", false },
		{ "<?xml version='1.0'?>", false },
		{ HEAD, true },
		{ HEAD " \n", true },
		{ HEAD "\r", false },
		{ HEAD "<", false },
		{ HEAD "<!", false },
		{ HEAD "&", false },
		{ HEAD "]", false },
		{ HEAD "<message>", false },
		{ HEAD "<message/>", true },
		{ HEAD "<message/></stream", false },
		{ HEAD "</stream:stream>", false },
		{ SERVER_HEAD, false },
		{ "<s:stream xmlns='jabber:client' xmlns:s='" STREAMS "'>", false },
		{ "<stream:stream xmlns='jabber:server' xmlns:stream='" STREAMS "'>", false },
		{ "<stream:stream xmlns='jabber:client' xmlns:stream='" STREAMS "' xmlns:x='x'>", false },
		{ "<x:stream xmlns='jabber:client' xmlns:stream='" STREAMS "' xmlns:x='" STREAMS "'>",
		  false },
	};
	struct xml_pool *pool = xml_pool_new(0);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct seen seen = { 0 };
		struct xml *x = xml_new(pool, &wide, &handlers, &seen);
		if (xml_feed(x, cases[i].data, strlen(cases[i].data)) != XML_FINE)
			assert_string_equal(cases[i].data, HEAD "]"); /* no white space */
		assert_int_equal(xml_is_idle(x), cases[i].is_idle);
		xml_free(x);
		buffer_free(&seen.log);
	}
	xml_pool_free(pool);
}

static void test_unfinished_stanza_is_freed(void **state)
{
	(void)state;
	struct xml_pool *pool = xml_pool_new(1);
	struct seen seen = { 0 };
	struct xml *x = xml_borrow(pool, &wide, &handlers, &seen);
	assert_int_equal(xml_feed(x, "<message><body>a", 16), XML_FINE);
	xml_free(x);
	xml_free(NULL);
	xml_pool_free(pool);
}

/* Names that Expat remembers for ever: the parser is renewed between stanzas, also in the middle of a
 * feed, also under a header of its own, and nobody notices. */
static void test_renewal(void **state)
{
	(void)state;
	static const char *const heads[] = { HEAD,
		                             "<s:stream xmlns='jabber:client' to='x' xmlns:s='" STREAMS
		                             "' xmlns:p='urn:p'>" };
	for (size_t h = 0; h < COUNT_OF(heads); h++) {
		struct seen seen = { 0 };
		struct buffer data = { 0 }, log = { 0 };
		buffer_adds(&data, heads[h]);
		buffer_adds(&log, h ? "header client to=x;" : HEAD_LOG);
		for (int i = 0; i < 3000; i++) {
			buffer_addf(&data, "<e%d xmlns='urn:%d' a%d=''><p%d/></e%d>", i, i, i, i, i);
			buffer_addf(&log, "3/0 <e%d xmlns='urn:%d' a%d=''><p%d/></e%d>;", i, i, i, i, i);
		}
		buffer_adds(&data, h ? "<p:q/></s:stream>" : "</stream:stream>");
		buffer_adds(&log, h ? "3/0 <q xmlns='urn:p'/>;close;" : "close;");
		static const size_t steps[] = { 1, 100, 1400, 16384, 1 << 20 };
		for (size_t i = 0; i < COUNT_OF(steps); i++) {
			assert_int_equal(run(&seen, &wide, data.data, data.len, steps[i], steps[i]),
			                 XML_FINE);
			assert_int_equal(seen.log.len, log.len);
			assert_memory_equal(seen.log.data, log.data, log.len);
		}
		buffer_free(&data);
		buffer_free(&log);
		buffer_free(&seen.log);
	}
}

/* ---- stanzas from strings, and writing */

static void test_parse_stanza(void **state)
{
	(void)state;
	static const char *const bad[] = { "",
		                           " ",
		                           "x",
		                           "<a>",
		                           "<a/><b/>",
		                           "<a/>x",
		                           "<a/></stream:stream>",
		                           "</stream:stream>",
		                           "<a",
		                           "<a/><",
		                           "<!-- x --><a/>",
		                           "<a>&x;</a>",
		                           "<a/>\r",
		                           "<a/><b>" };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_null(xml_parse_stanza(bad[i], strlen(bad[i])));

	static const char *const good[] = {
		"<message type='chat' id='1'><body>&lt;&amp;'\"</body></message>",
		"<presence><show>away</show><c xmlns='http://jabber.org/protocol/caps' "
		"hash='sha-1'/></presence>",
		"<iq type='set'><q xmlns='urn:q' xml:lang='x' "
		"a='&#9;&#10;&#13;&apos;'><a/>b<a>c</a></q></iq>",
		"<x xmlns='urn:x' xmlns:ns0='urn:y' ns0:a='1'/>",
	};
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct stanza *st = xml_parse_stanza(good[i], strlen(good[i]));
		assert_non_null(st);
		char *again = mem_printf("<%s%.*s", st->root->name, (int)st->bytes_len, st->bytes);
		assert_string_equal(again, good[i]);
		mem_free(again);
		stanza_unref(st);
	}
	struct stanza *st = xml_parse_stanza(" <message from='a' to='b'/> ", 28);
	assert_string_equal(st->from, "a");
	assert_string_equal(st->to, "b");
	assert_int_equal(st->inner_at, st->bytes_len);
	stanza_unref(st);
}

/* One run of text is one node, however Expat cuts it. */
static void test_text_is_joined(void **state)
{
	(void)state;
	struct buffer b = { 0 };
	buffer_adds(&b, "<message><body>");
	for (int i = 0; i < 20000; i++)
		buffer_adds(&b, "a\n&amp;<![CDATA[]]>");
	buffer_adds(&b, "</body></message>");
	struct stanza *st = xml_parse_stanza(b.data, b.len);
	const struct element *body = element_child(st->root, "body", NULL);
	assert_int_equal(body->children->text_len, 60000);
	assert_int_equal(strlen(body->children->text), 60000);
	assert_null(body->children->next);
	stanza_unref(st);
	buffer_free(&b);
}

static void test_escape(void **state)
{
	(void)state;
	static const char all[] = "a<b>&'\"\t\n\r\0\x1f\x7f\xc3\xa4";
	struct buffer b = { 0 };
	xml_escape(&b, all, sizeof(all) - 1);
	assert_string_equal(b.data,
	                    "a&lt;b&gt;&amp;&apos;\"&#9;&#10;&#13;\xef\xbf\xbd\xef\xbf\xbd\x7f\xc3\xa4");
	b.len = 0;
	xml_escape_text(&b, all, sizeof(all) - 1);
	assert_string_equal(b.data, "a&lt;b&gt;&amp;'\"\t\n&#13;\xef\xbf\xbd\xef\xbf\xbd\x7f\xc3\xa4");
	buffer_free(&b);
}

static void test_error_texts(void **state)
{
	(void)state;
	for (int i = XML_FINE; i <= XML_TOO_BIG; i++)
		assert_true(strlen(xml_error_text((enum xml_error)i)) > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_stanzas),
		cmocka_unit_test(test_client_namespace_below_foreign),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_lending),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_unfinished_stanza_is_freed),
		cmocka_unit_test(test_renewal),
		cmocka_unit_test(test_parse_stanza),
		cmocka_unit_test(test_text_is_joined),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_error_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
