/* archive_form.c - exported messages as XML in the form of XEP-0227, as lines of JSON, and as mail readers know
 * them (mbox). */
#include "archive.h"

#include <string.h>
#include <time.h>

#include "archive_text.h"
#include "module.h"
#include "stamp.h"
#include "xml.h"

static const char *text_of(const json_t *message, const char *key)
{
	const char *text = json_string_value(json_object_get(message, key));

	return text ? text : "";
}

static void add_escaped(FILE *f, const char *text)
{
	struct buffer b = { 0 };

	xml_escape(&b, text, strlen(text));
	fputs(b.data ? b.data : "", f);
	buffer_free(&b);
}

/* ---- XML: XEP-0227 section "Message Archive" */

#define XML_HEAD "<?xml version='1.0' encoding='UTF-8'?>\n"
#define PIE "urn:xmpp:pie:0"

static void xml_begin(FILE *f, const char *host, const char *name)
{
	(void)host;
	fputs(XML_HEAD "<user xmlns='" PIE "' name='", f);
	add_escaped(f, name);
	fputs("'>\n<archive xmlns='" PIE "#mam'>\n", f);
}

static bool xml_message(FILE *f, const char *host, const json_t *message)
{
	const char *xml = text_of(message, "xml");
	struct stanza *st = stanza_parse(xml, strlen(xml)); /* one that is damaged would spoil the file */

	(void)host;
	if (st)
		fprintf(f,
		        "<result xmlns='urn:xmpp:mam:2' id='%s'><forwarded xmlns='urn:xmpp:forward:0'>"
		        "<delay xmlns='urn:xmpp:delay' stamp='%s'/>%s</forwarded></result>\n",
		        text_of(message, "id"), text_of(message, "time"), xml);
	stanza_unref(st);
	return st;
}

static void xml_end(FILE *f)
{
	fputs("</archive>\n</user>\n", f);
}

void archive_index_begin(FILE *f, const char *host)
{
	fprintf(f, XML_HEAD "<%s xmlns='" PIE "' xmlns:xi='http://www.w3.org/2001/XInclude'",
	        host ? "host" : "server-data");
	if (host) {
		fputs(" jid='", f);
		add_escaped(f, host);
		fputs("'", f);
	}
	fputs(">\n", f);
}

/* A relative reference: what is no plain letter is written as its bytes (RFC 3986 section 2.1). */
static void add_reference(FILE *f, const char *text)
{
	for (; *text; text++) {
		bool is_plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
		                (*text >= '0' && *text <= '9') || strchr("-._~", *text);

		if (is_plain)
			fputc(*text, f);
		else
			fprintf(f, "%%%02X", (unsigned char)*text);
	}
}

void archive_index_add(FILE *f, const char *folder, const char *file)
{
	fputs("<xi:include href='", f);
	if (folder) {
		add_reference(f, folder);
		fputs("/", f);
	}
	add_reference(f, file);
	fputs("'/>\n", f);
}

void archive_index_end(FILE *f, bool is_host)
{
	fprintf(f, "</%s>\n", is_host ? "host" : "server-data");
}

/* ---- JSON, a message a line, with what it says beside its XML */

static bool jsonl_message(FILE *f, const char *host, const json_t *message)
{
	const char *xml = text_of(message, "xml");
	struct stanza *st = stanza_parse(xml, strlen(xml));
	struct arena a = { 0 };
	json_t *line = json_copy((json_t *)(uintptr_t)message);

	(void)host;
	if (st) {
		const char *type = element_get(st->root, "type");

		json_object_set_new(line, "type", json_string(type ? type : "normal"));
		json_object_set_new(line, "text", json_string(archive_text(&a, st)));
	}
	bool ok = st && json_dumpf(line, f, JSON_COMPACT) == 0 && fputc('\n', f) != EOF;
	json_decref(line);
	stanza_unref(st);
	arena_free(&a);
	return ok;
}

/* ---- mbox: the variant that can be read back without loss, where each line "From " gets one more '>' */

static void add_line(FILE *f, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text, f);
	fputc('\n', f);
}

/* The full address as a name, in quotes, and the bare one as the mail address. */
static void add_address(FILE *f, const char *field, const char *address)
{
	fprintf(f, "%s: \"", field);
	for (const char *at = address; *at; at++) {
		if (*at == '"' || *at == '\\')
			fputc('\\', f);
		fputc(*at, f);
	}
	fprintf(f, "\" <%.*s>\n", (int)strcspn(address, "/"), address);
}

static void add_body(FILE *f, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		if (strncmp(text + strspn(text, ">"), "From ", 5) == 0)
			fputc('>', f);
		fwrite(text, 1, n, f);
		fputc('\n', f);
		text += n + (text[n] == '\n');
	}
	fputc('\n', f);
}

static bool mbox_message(FILE *f, const char *host, const json_t *message)
{
	const char *xml = text_of(message, "xml"), *from = text_of(message, "from");
	struct stanza *st = stanza_parse(xml, strlen(xml));
	struct arena a = { 0 };
	struct tm utc;
	char day[32], date[48];
	int64_t us;

	if (!st || !stamp_read(text_of(message, "time"), &us)) {
		stanza_unref(st);
		return false;
	}
	gmtime_r(&(time_t){ us / 1000000 }, &utc);
	strftime(day, sizeof(day), "%a %b %e %H:%M:%S %Y", &utc);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &utc);
	fprintf(f, "From %.*s %s\n", (int)strcspn(from, "/"), from, day);
	add_address(f, "From", from);
	add_address(f, "To", text_of(message, "to"));
	fprintf(f, "Date: %s\nMessage-ID: <%s.archive@%s>\n", date, text_of(message, "id"), host);
	const struct element *subject = element_child(st->root, "subject", NULL);
	if (subject) {
		fputs("Subject: ", f);
		add_line(f, element_get_text(subject, &a));
	}
	fputs("MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
	      "Content-Transfer-Encoding: 8bit\n\n",
	      f);
	add_body(f, archive_text(&a, st));
	stanza_unref(st);
	arena_free(&a);
	return true;
}

/* ---- which there are */

static void nothing_begins(FILE *f, const char *host, const char *name)
{
	(void)f, (void)host, (void)name;
}

static void nothing_ends(FILE *f)
{
	(void)f;
}

static const struct archive_form forms[] = {
	{
	    .name = "xml",
	    .suffix = ".xml",
	    .counted = "<result ",
	    .begin = xml_begin,
	    .message = xml_message,
	    .end = xml_end,
	    .has_index = true,
	},
	{
	    .name = "jsonl",
	    .suffix = ".jsonl",
	    .counted = "",
	    .begin = nothing_begins,
	    .message = jsonl_message,
	    .end = nothing_ends,
	},
	{
	    .name = "mbox",
	    .suffix = ".mbox",
	    .counted = "From ",
	    .begin = nothing_begins,
	    .message = mbox_message,
	    .end = nothing_ends,
	},
};

const struct archive_form *archive_form_find(const char *name)
{
	for (unsigned i = 0; i < COUNT_OF(forms); i++) {
		if (strcmp(forms[i].name, name) == 0)
			return &forms[i];
	}
	return NULL;
}
