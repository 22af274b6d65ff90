/* record.c - a message with content is on record before it is delivered (ARCHITECTURE, section 2): one row in
 * `record` per message, and one in `entry` for each owner, the sender's and the recipient's. Whether a host
 * records, and which wishes of senders it heeds there, is its policy, and everybody may know it. */
#include "record.h"

#include <string.h>

#define FORM_NS "jabber:x:data"

static const struct option policies[] = {
	{ "words", OPT_BOOL, offsetof(struct record_policy, words), "true",
	  "Whether what is on record can be searched by its words.", 0, 0, NULL },
	{ "receipts", OPT_BOOL, offsetof(struct record_policy, receipts), "false",
	  "Whether receipts and read markers are put on record too (XEP-0184, XEP-0333).", 0, 0, NULL },
	{ "preferences", OPT_CHOICE, offsetof(struct record_policy, preferences), "fixed",
	  "Whether users say which of their messages stay on record (XEP-0441).", 0, 0,
	  record_preferences },
	OPTIONS_END,
};

static const struct option options[] = {
	{ "addresses", OPT_INT, offsetof(struct record_options, addresses), "1000",
	  "How many addresses a user's archiving preferences may name.", 1, 100000, NULL },
	OPTIONS_END,
};

/* ---- what is put on record */

/* Without text of their own: with it they are content. */
static bool is_receipt(struct ctx *c)
{
	const struct record_policy *policy = module_policy(c);

	for (const struct element *e = policy->receipts ? c->stanza->root->children : NULL; e; e = e->next)
		if (element_is(e, "received", "urn:xmpp:receipts") ||
		    element_is(e, "received", "urn:xmpp:chat-markers:0") ||
		    element_is(e, "displayed", "urn:xmpp:chat-markers:0") ||
		    element_is(e, "acknowledged", "urn:xmpp:chat-markers:0"))
			return true;
	return false;
}

static bool has_hint(const struct ctx *c, enum hint hint)
{
	return home_obeys(c->home, hint) &&
	       element_child(c->stanza->root, hint_names[hint], "urn:xmpp:hints") != NULL;
}

/* XEP-0424 section 4: always kept, so that somebody who was away learns of it. */
static const struct element *find_retraction(const struct stanza *st)
{
	return element_child(st->root, "retract", "urn:xmpp:message-retract:1");
}

/* XEP-0334 section 4. What is not to be kept for ever is not kept at all: the record is where it would wait. */
static bool is_to_record(struct ctx *c)
{
	if (!home_records(c->home))
		return false;
	if (!message_is_content(c->stanza))
		return (c->stanza->type == MESSAGE_CHAT || c->stanza->type == MESSAGE_NORMAL) &&
		       (has_hint(c, HINT_STORE) || find_retraction(c->stanza) || is_receipt(c));
	return !has_hint(c, HINT_NO_STORE) && !has_hint(c, HINT_NO_PERMANENT_STORE);
}

static const struct sql sql_record = {
	.name = "record_insert",
	.text = "insert into record (id, sender, recipient, stanza) values ($1, $2, $3, $4) on conflict "
		"(id) do nothing",
};
static const struct sql sql_entry = {
	.name = "entry_insert",
	.text = "insert into entry (owner, id, record, peer, is_out) values ($1, $2, $3, $4, $5)"
		" on conflict (owner, id) do nothing",
};
/* SQLite's index is not kept by a trigger: a statement with one is a savepoint of its own, and FTS5 writes out a
 * segment for each of those, where one for each transaction will do. What is there already is not indexed again:
 * its message may have been taken back since. */
static const struct sql sql_entry_words = {
	.name = "entry_insert_words",
	.text = "insert into entry (owner, id, record, peer, is_out, words) values ($1, $2, $3, $4, $5,"
		" array_to_tsvector(string_to_array($6, ' '))) on conflict (owner, id) do nothing",
	.sqlite =
	    "insert into entry (owner, id, record, peer, is_out, words) values ($1, $2, $3, $4, $5, $6)"
	    " on conflict (owner, id) do nothing;"
	    "insert into entry_words (rowid, words) values"
	    " (last_insert_rowid(), case when changes() > 0 then ?6 end)",
};

/* An account that does not want to keep a message has an entry of it all the same until it has got
 * it: that is how it waits. Its archive does not show it. */
enum { PASSING = 1, PASSING_WITH_RECORD = 2 };

static const struct sql sql_entry_passing = {
	.name = "entry_insert_passing",
	.text =
	    "insert into entry (owner, id, record, peer, is_out, passing) values ($1, $2, $3, $4, 0, $5)"
	    " on conflict (owner, id) do nothing",
};

/* XEP-0424 section 5: what is taken back stays on record, and is seen and found no more. Both sides must have the
 * retraction from the same account as the message; only the newest thousand with that peer are looked at. The first
 * tag of a record has no other > than its own. */
#define RETRACT(head)                                                                                      \
	"update entry set retraction = $1, words = null where owner = $2 and id = (select e.id from"       \
	" (select id, record from entry where owner = $2 and peer = $3 and is_out = $4 and id < $5"        \
	" order by id desc limit 1000) as e join record r on r.id = e.record where " head                  \
	" order by e.id desc limit 1) and retraction is null"

static const struct sql sql_retract = {
	.name = "entry_retract",
	.text = RETRACT("strpos(split_part(r.stanza, '>', 1), $6) > 0"),
	.sqlite = RETRACT("instr(substr(r.stanza, 1, instr(r.stanza, '>')), $6) > 0"),
};

static void write_record(struct ctx *c, struct write *w)
{
	struct buffer text = { 0 };

	stanza_write(&text, c->stanza, NULL, NULL);
	write_add(w, &sql_record,
	          PARAMS(P_INT(c->record), P_TEXTN(c->from->text, c->from->len),
	                 P_TEXTN(c->to->text, c->to->len), P_TEXTN(text.data, text.len)));
	buffer_free(&text);
}

static bool is_encrypted(const struct stanza *st)
{
	const struct element *e = st->root->children;

	while (e && !(e->name && (strcmp(e->name, "encrypted") == 0 || strcmp(e->name, "openpgp") == 0)))
		e = e->next;
	return e != NULL;
}

static void add_texts(struct ctx *c, struct buffer *b, const char *name, unsigned *count)
{
	const struct element *e = element_child(c->stanza->root, name, NULL);

	for (; e; e = element_next(e, name, NULL))
		words_add(b, element_get_text(e, &c->scratch), count);
}

/* What the entry is found by: "=17 hist who is there", its owner first. False: by nothing, there is no text, or what
 * there is says that it could not be read. */
static bool add_words(struct ctx *c, struct buffer *b)
{
	const struct record_policy *policy = module_policy(c);
	unsigned count = 0;

	if (!policy->words || is_encrypted(c->stanza))
		return false;
	buffer_addf(b, "=%lld", (long long)home_account(c->home));
	add_texts(c, b, "subject", &count);
	add_texts(c, b, "body", &count);
	return count > 0;
}

/* The owner's own row: his home makes its id, above his newest. */
static int64_t write_entry(struct ctx *c, struct write *w, const struct jid *peer, bool is_out)
{
	int64_t id = entry_id_new(c);
	struct buffer words = { 0 };
	struct param params[] = { P_INT(home_account(c->home)),        P_INT(id),     P_INT(c->record),
		                  P_TEXTN(peer->text, peer->bare_len), P_INT(is_out), P_NULL };

	if (add_words(c, &words)) {
		params[5] = P_TEXTN(words.data, words.len);
		write_add(w, &sql_entry_words, params, COUNT_OF(params));
	} else {
		write_add(w, &sql_entry, params, COUNT_OF(params) - 1);
	}
	buffer_free(&words);
	return id;
}

/* Its record is also the sender's; or, where he keeps none, the recipient's alone, and goes with this entry. */
static int64_t write_passing(struct ctx *c, struct write *w, bool is_shared)
{
	int64_t id = entry_id_new(c);

	write_add(w, &sql_entry_passing,
	          PARAMS(P_INT(home_account(c->home)), P_INT(id), P_INT(c->record),
	                 P_TEXTN(c->from->text, c->from->bare_len),
	                 P_INT(is_shared ? PASSING : PASSING_WITH_RECORD)));
	return id;
}

/* Takes back the message that the one in hand names, if it is one of the same account. `entry` is its own. */
static void write_retraction(struct ctx *c, struct write *w, const struct jid *peer, bool is_out,
                             int64_t entry)
{
	const struct element *e = find_retraction(c->stanza);
	const char *id = e ? element_get(e, "id") : NULL;
	struct stanza *st;

	if (!id || !*id)
		return;
	st = stanza_seal(
	    stanza_new(STANZA_MESSAGE, MESSAGE_NORMAL, id)); /* " id='...'/>", as it is on record */
	write_add(w, &sql_retract,
	          PARAMS(P_INT(c->record), P_INT(home_account(c->home)),
	                 P_TEXTN(peer->text, peer->bare_len), P_INT(is_out), P_INT(entry),
	                 P_TEXTN(st->bytes, st->bytes_len - strlen("/>"))));
	stanza_unref(st);
}

/* What its sender does not want to keep is only on its way: the recipient's home puts it on record, where it waits
 * for him, and it is there before anybody gets it. */
static void send_unkept(struct ctx *c)
{
	struct write *w;

	c->record = record_id_new(c);
	c->is_unrecorded = true;
	w = begin_write(c);
	write_retraction(c, w, c->to, true, entry_id_new(c));
	transit_add(c, w);
	record(c, w);
}

/* Step 1: the home it enters. A message to oneself is one row, an incoming one; it has arrived with it. */
static enum verdict on_out(struct ctx *c)
{
	bool to_oneself = jid_is_same_bare(c->to, home_jid(c->home));
	struct write *w;
	int64_t id;

	if (!is_to_record(c))
		return PASS;
	if (!preferences_keep(c, c->to)) {
		send_unkept(c);
		return PASS;
	}
	c->record = record_id_new(c);
	w = begin_write(c);
	write_record(c, w);
	id = write_entry(c, w, c->to, !to_oneself);
	write_retraction(c, w, c->to, !to_oneself, id);
	c->sent = id;
	if (to_oneself)
		c->entry = id;
	else
		transit_add(c, w);
	record(c, w);
	return PASS;
}

/* XEP-0313 section 3.4: the owner's clients are told under which id it is in his archive. */
static void tell_id(struct ctx *c)
{
	struct stanza *st = stanza_derive(c->stanza);

	stanza_id_add(c, st, st->root, c->entry);
	ctx_replace(c, stanza_seal(st));
}

/* Step 2: the home where it ends, by its own host's policy: what the sender's host did not record, this one
 * does, and the other way round. */
static enum verdict on_in(struct ctx *c)
{
	bool is_recorded = c->record && !c->is_unrecorded;
	struct write *w;

	if (c->entry) /* from oneself */
		tell_id(c);
	if (c->entry || !is_to_record(c))
		return PASS;
	if (!c->record)
		c->record = record_id_new(c);
	w = begin_write(c);
	if (!is_recorded || c->is_spooled) /* or this row would name one that is not there yet */
		write_record(c, w);
	c->is_passing = !preferences_keep(c, c->from);
	c->entry = c->is_passing ? write_passing(c, w, is_recorded) : write_entry(c, w, c->from, false);
	write_retraction(c, w, c->from, false, c->entry);
	transit_done(c, w);
	record(c, w);
	if (!c->is_passing) /* under an id that the archive does not have no client finds where it was */
		tell_id(c);
	return PASS;
}

/* ---- what users see of it: a form in the host's answer to disco#info (XEP-0128) */

static struct element *field_new(struct stanza *st, struct element *form, const char *var)
{
	struct element *field = element_add(st, form, "field", FORM_NS);

	element_set(st, field, "var", var);
	return field;
}

static enum verdict on_disco(struct ctx *c)
{
	const struct record_policy *policy = module_policy(c);
	struct stanza *st;
	struct element *query = disco_element(c, &st), *form, *field;

	form = element_add(st, query, "x", FORM_NS);
	element_set(st, form, "type", "result");
	field = field_new(st, form, "FORM_TYPE");
	element_set(st, field, "type", "hidden");
	element_add_text(st, field, "value", FORM_NS, "urn:muster:record");
	element_add_text(st, field_new(st, form, "record"), "value", FORM_NS, home_record_policy(c->home));
	element_add_text(st, field_new(st, form, "preferences"), "value", FORM_NS,
	                 record_preferences[policy->preferences]);
	field = field_new(st, form, "hints");
	for (unsigned i = 0; hint_names[i]; i++)
		if (home_obeys(c->home, (enum hint)i))
			element_add_text(st, field, "value", FORM_NS, hint_names[i]);
	return PASS;
}

static const char *const features[] = { "urn:xmpp:hints", NULL };

static const struct hook hooks[] = {
	ON_LOAD(HOME_USER, &preferences_sql_load, preferences_on_load),
	ON_RELOAD(HOME_USER, &preferences_sql_load, preferences_on_load),
	ON_EVENT(EVENT_DISCO_INFO, HOME_HOST, on_disco),
	AT_STAGE(OUT, KEEP, ON_MESSAGE, HOME_USER, on_out),
	AT_STAGE(IN, KEEP, ON_MESSAGE, HOME_USER, on_in),
	ON_IQ_GET(MAM_NS, "prefs", HOME_USER, preferences_on_get),
	ON_IQ_SET(MAM_NS, "prefs", HOME_USER, preferences_on_set),
	HOOKS_END,
};

const struct module mod_record = {
	.api = MUSTER_API,
	.name = "record",
	.about = "Puts every message on record before it is delivered.",
	.spec = "XEP-0334, XEP-0424, XEP-0441",
	.features = features,
	.hooks = hooks,
	.home_size = sizeof(struct preferences),
	.home_free = preferences_free,
	.options = options,
	.options_size = sizeof(struct record_options),
	.policies = policies,
	.policies_size = sizeof(struct record_policy),
};
