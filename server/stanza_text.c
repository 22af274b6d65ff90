/* stanza_text.c - stanzas as text: over the wire, in the record, and back. */
#include <string.h>

#include "module.h"
#include "xml.h"

static void write_address(struct buffer *b, const char *name, const struct jid *j)
{
	buffer_adds(b, name);
	if (j->is_plain)
		buffer_add(b, j->text, j->len);
	else
		xml_escape(b, j->text, j->len);
	buffer_add(b, "'", 1);
}

void stanza_write(struct buffer *b, const struct stanza *st, const struct jid *from, const struct jid *to)
{
	buffer_add(b, "<", 1);
	buffer_adds(b, st->root->name);
	if (from)
		write_address(b, " from='", from);
	if (to)
		write_address(b, " to='", to);
	buffer_add(b, st->bytes, st->bytes_len);
}

struct stanza *stanza_parse(const char *text, size_t n)
{
	return xml_parse_stanza(text, n);
}

/* Beside a body. */
static bool element_is_content(const struct element *e)
{
	if (!e->name || !e->ns)
		return false;
	if (strcmp(e->name, "encrypted") == 0 || strcmp(e->name, "openpgp") == 0 ||
	    element_is(e, "reactions", "urn:xmpp:reactions:0")) /* XEP-0444 */
		return true;
	if (strcmp(e->name, "x") != 0) /* into a room: by a friend (XEP-0249), or by the room (XEP-0045) */
		return false;
	return strcmp(e->ns, "jabber:x:conference") == 0 ||
	       (strcmp(e->ns, "http://jabber.org/protocol/muc#user") == 0 &&
	        element_child(e, "invite", e->ns));
}

bool message_is_content(const struct stanza *st)
{
	if (st->type != MESSAGE_CHAT && st->type != MESSAGE_NORMAL)
		return false;
	if (element_child(st->root, "body", NULL))
		return true;
	for (const struct element *e = st->root->children; e; e = e->next)
		if (element_is_content(e))
			return true;
	return false;
}
