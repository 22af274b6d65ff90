/* search.c - XEP-0055: the accounts of a host, found by name, nickname or e-mail, at search.DOMAIN. Only
 * the host's own accounts may search, no guests, and a host may do without. A word of the question finds
 * what begins with it: ranges of an index (of table directory, which module vcard and the core's
 * directory.c write, and of table account), never a scan. */
#include <string.h>

#include "module.h"

#define SEARCH_NS "jabber:iq:search"
#define FORM_NS "jabber:x:data"

#define WORDS_MAX 4    /* of one question */
#define WORD_MIN 2     /* bytes: two letters, or one sign of a script that needs no more */
#define RUNNING_MAX 16 /* questions to the database at the same time, of one host on one reactor */
#define BEHIND "\364\217\277\277" /* the last character there is: behind all that begins with a word */

enum visible { VISIBLE_NONE, VISIBLE_HOST };
static const char *const visible_words[] = { "none", "host", NULL };

struct search_policy {
	int64_t visible;
};

static const struct option policies[] = {
	{ "visible", OPT_CHOICE, offsetof(struct search_policy, visible), "host",
	  "Who finds this host's accounts: nobody, or the host's accounts.", 0, 0, visible_words },
	OPTIONS_END,
};

struct search { /* in the service's home */
	unsigned running;
};

static const struct field {
	const char *name, *label;
	bool is_plain; /* known to XEP-0055 without a form */
} fields[] = {
	{ "user", "Account name", false },   { "first", "Given name", true },
	{ "last", "Family name", true },     { "nick", "Nickname", true },
	{ "email", "E-mail address", true },
};

struct word { /* "" where there is none */
	const char *field, *from, *to;
};

struct question {
	bool is_form;
	unsigned count;
	struct word words[WORDS_MAX];
};

/* ---- the statement */

/* What is asked for in the first word leads; the others are looked up for each account that it finds. A word
 * that fits more than ten thousand accounts leads to so many: whoever asks so finds too many anyway. An account's
 * name counts as a nickname. PostgreSQL compares names by bytes only when it is told. */
#define BY_WORD(field, from, to, name)                                                                     \
	" and (" field                                                                                     \
	" = '' or exists (select 1 from directory d where d.owner = a.id and d.field = " field             \
	" and d.word >= " from " and d.word < " to ") or (" field " in ('user', 'nick') and " name         \
	" >= " from " and " name " < " to "))"
#define SEARCH(b_name, a_name)                                                                             \
	"select a.name, coalesce(v.full_name, a.display), v.given, v.family, v.nickname, "                 \
	"coalesce(v.email, a.email) from (select id from"                                                  \
	" (select d.owner as id from directory d join host h on h.id = d.host where h.name = $1"           \
	" and d.field = $2 and d.word >= $3 and d.word < $4 limit 10000) by_word"                          \
	" union select id from (select b.id from account b join host g on g.id = b.host where g.name = $1" \
	" and $2 in ('user', 'nick') and " b_name " >= $3 and " b_name " < $4 limit 10000) by_name) found" \
	" join account a on a.id = found.id left join vcard v on v.owner = a.id"                           \
	" where a.disabled = 0 and a.guest = 0" BY_WORD("$5", "$6", "$7", a_name)                          \
	    BY_WORD("$8", "$9", "$10", a_name)                                                             \
		BY_WORD("$11", "$12", "$13", a_name) " order by a.name limit 50"

static const struct sql sql_search = {
	.name = "search",
	.text = SEARCH("b.name collate \"C\"", "a.name collate \"C\""),
	.sqlite = SEARCH("b.name", "a.name"),
};

/* ---- the question */

static bool may_search(struct ctx *c)
{
	const struct jid *host = home_host(c->home);

	return host && jid_has_local(c->from) && jid_domain_len(c->from) == host->len &&
	       memcmp(jid_domain(c->from), host->text, host->len) == 0;
}

static bool is_offered(struct ctx *c)
{
	const struct search_policy *p = module_policy(c);

	return p->visible == VISIBLE_HOST;
}

/* Adds the words of one field. False: there are too many. */
static bool question_add(struct ctx *c, struct question *q, const struct field *field, const char *value)
{
	bool is_one_word = !field->is_plain || strcmp(field->name, "email") == 0;
	char *rest = text_fold(&c->scratch, value), *word;

	while ((word = strtok_r(rest, is_one_word ? " \t\r\n*" : " \t\r\n,;*", &rest))) {
		if (strlen(word) < WORD_MIN)
			continue;
		if (q->count == WORDS_MAX)
			return false;
		q->words[q->count++] =
		    (struct word){ field->name, word, arena_printf(&c->scratch, "%s" BEHIND, word) };
	}
	return true;
}

/* The longest word leads: it fits the fewest accounts, mostly. */
static void question_sort(struct question *q)
{
	struct word first = q->words[0];
	unsigned longest = 0;

	for (unsigned i = 1; i < q->count; i++)
		if (strlen(q->words[i].from) > strlen(q->words[longest].from))
			longest = i;
	q->words[0] = q->words[longest];
	q->words[longest] = first;
}

/* What the form or the plain query says of a field, or NULL. */
static const char *value_of(struct ctx *c, const struct element *query, const struct element *form,
                            const struct field *field)
{
	const struct element *e;
	const char *var;

	if (!form) {
		e = field->is_plain ? element_child(query, field->name, SEARCH_NS) : NULL;
		return e ? element_get_text(e, &c->scratch) : NULL;
	}
	for (e = element_child(form, "field", FORM_NS); e; e = element_next(e, "field", FORM_NS)) {
		var = element_get(e, "var");
		if (var && strcmp(var, field->name) == 0) {
			e = element_child(e, "value", FORM_NS);
			return e ? element_get_text(e, &c->scratch) : NULL;
		}
	}
	return NULL;
}

static bool read_question(struct ctx *c, struct question *q)
{
	const struct element *query = element_first(c->stanza->root);
	const struct element *form = element_child(query, "x", FORM_NS);
	const char *value;

	q->is_form = form != NULL;
	for (unsigned i = 0; i < WORDS_MAX; i++)
		q->words[i] = (struct word){ "", "", "" };
	for (unsigned i = 0; i < COUNT_OF(fields); i++) {
		value = value_of(c, query, form, &fields[i]);
		if (value && !question_add(c, q, &fields[i], value))
			return false;
	}
	question_sort(q);
	return true;
}

/* ---- answers */

static struct element *add_form(struct stanza *st, struct element *query, const char *type)
{
	struct element *form = element_add(st, query, "x", FORM_NS), *field;

	element_set(st, form, "type", type);
	if (strcmp(type, "form") == 0) {
		element_add_text(st, form, "title", FORM_NS, "Search for people");
		element_add_text(st, form, "instructions", FORM_NS,
		                 "Fill in the beginning of what you know. All that you fill in must fit.");
	}
	field = element_add(st, form, "field", FORM_NS);
	element_set(st, field, "var", "FORM_TYPE");
	element_set(st, field, "type", "hidden");
	element_add_text(st, field, "value", FORM_NS, SEARCH_NS);
	return form;
}

static void add_field(struct stanza *st, struct element *parent, const char *var, const char *type,
                      const char *label)
{
	struct element *field = element_add(st, parent, "field", FORM_NS);

	element_set(st, field, "var", var);
	element_set(st, field, "type", type);
	element_set(st, field, "label", label);
}

static enum verdict on_get(struct ctx *c)
{
	struct stanza *result;
	struct element *query, *form;

	if (!may_search(c))
		return refuse(c, FORBIDDEN, NULL);
	result = reply_new(c);
	query = element_add(result, result->root, "query", SEARCH_NS);
	element_add_text(result, query, "instructions", SEARCH_NS,
	                 "Fill in the beginning of what you know. All that you fill in must fit.");
	for (unsigned i = 0; i < COUNT_OF(fields); i++)
		if (fields[i].is_plain)
			element_add(result, query, fields[i].name, SEARCH_NS);
	form = add_form(result, query, "form");
	for (unsigned i = 0; i < COUNT_OF(fields); i++)
		add_field(result, form, fields[i].name, "text-single", fields[i].label);
	return reply(c, result);
}

/* What is shown in the field of that index; column 1 of a row is the full name. */
static const char *shown(const struct rows *r, unsigned row, unsigned field)
{
	static const unsigned columns[COUNT_OF(fields)] = { 0, 2, 3, 4, 5 };
	const char *text = rows_text(r, row, columns[field]);

	if (!text && field == 1 && rows_is_null(r, row, 3)) /* no parts of a name, but a whole one */
		text = rows_text(r, row, 1);
	return text ? text : "";
}

static void write_items(struct ctx *c, struct stanza *st, struct element *query, const struct rows *r)
{
	for (unsigned row = 0; row < rows_count(r); row++) {
		struct element *item = element_add(st, query, "item", SEARCH_NS);

		element_setf(st, item, "jid", "%s@%s", rows_text(r, row, 0), home_host(c->home)->text);
		for (unsigned i = 0; i < COUNT_OF(fields); i++)
			if (fields[i].is_plain)
				element_add_text(st, item, fields[i].name, SEARCH_NS, shown(r, row, i));
	}
}

static void add_value(struct stanza *st, struct element *item, const char *var, const char *value)
{
	struct element *field = element_add(st, item, "field", FORM_NS);

	element_set(st, field, "var", var);
	element_add_text(st, field, "value", FORM_NS, value);
}

/* XEP-0055 section 3, XEP-0004 section 3.4. */
static void write_report(struct ctx *c, struct stanza *st, struct element *query, const struct rows *r)
{
	struct element *form = add_form(st, query, "result");
	struct element *reported = element_add(st, form, "reported", FORM_NS);

	add_field(st, reported, "jid", "jid-single", "Address");
	for (unsigned i = 0; i < COUNT_OF(fields); i++)
		add_field(st, reported, fields[i].name, "text-single", fields[i].label);
	for (unsigned row = 0; row < rows_count(r); row++) {
		struct element *item = element_add(st, form, "item", FORM_NS);

		add_value(
		    st, item, "jid",
		    arena_printf(&c->scratch, "%s@%s", rows_text(r, row, 0), home_host(c->home)->text));
		for (unsigned i = 0; i < COUNT_OF(fields); i++)
			add_value(st, item, fields[i].name, shown(r, row, i));
	}
}

static enum verdict on_found(struct ctx *c, const struct rows *r)
{
	const struct question *q = c->own;
	struct search *s = home_data(c);
	struct stanza *result;
	struct element *query;

	if (s->running > 0) /* zeroed meanwhile, when the hosts have changed */
		s->running--;
	if (rows_status(r) != STORE_OK)
		return refuse_unstored(c, r);
	if (!home_host(c->home))
		return refuse(c, SERVICE_UNAVAILABLE, NULL);
	result = reply_new(c);
	query = element_add(result, result->root, "query", SEARCH_NS);
	if (q->is_form)
		write_report(c, result, query, r);
	else
		write_items(c, result, query, r);
	return reply(c, result);
}

static enum verdict start_search(struct ctx *c, const struct question *q)
{
	const struct word *w = q->words;
	struct search *s = home_data(c);

	if (s->running >= RUNNING_MAX)
		return refuse(c, RESOURCE_CONSTRAINT, "Too many are searching; try again later.");
	s->running++;
	return fetch(c, on_found, &sql_search,
	             PARAMS(P_TEXT(home_host(c->home)->text), P_TEXT(w[0].field), P_TEXT(w[0].from),
	                    P_TEXT(w[0].to), P_TEXT(w[1].field), P_TEXT(w[1].from), P_TEXT(w[1].to),
	                    P_TEXT(w[2].field), P_TEXT(w[2].from), P_TEXT(w[2].to), P_TEXT(w[3].field),
	                    P_TEXT(w[3].from), P_TEXT(w[3].to)));
}

static enum verdict on_set(struct ctx *c)
{
	struct question *q = c->own = ctx_new(c, sizeof *q);

	if (!may_search(c))
		return refuse(c, FORBIDDEN, NULL);
	if (!read_question(c, q))
		return refuse(c, NOT_ACCEPTABLE, "These are too many words: four will do.");
	if (q->count == 0)
		return refuse(c, NOT_ACCEPTABLE, "Fill in a field, with two letters at least.");
	return start_search(c, q);
}

/* A guest is somebody of this host to the rest of it, but not known to anybody: stopped in his own home. */
static enum verdict on_guest(struct ctx *c)
{
	const struct element *query = element_first(c->stanza->root);

	if (!home_is_guest(c->home) || !stanza_is_request(c->stanza) || !query ||
	    !element_is(query, "query", SEARCH_NS))
		return PASS;
	return refuse(c, FORBIDDEN, "Guests do not search.");
}

static enum verdict on_disco(struct ctx *c)
{
	disco_identity(c, "directory", "user", "Search for people");
	disco_feature(c, SEARCH_NS);
	return PASS;
}

static const struct hook hooks[] = {
	ON_IQ_GET(SEARCH_NS, "query", HOME_SERVICE, on_get),
	ON_IQ_SET(SEARCH_NS, "query", HOME_SERVICE, on_set),
	ON_EVENT(EVENT_DISCO_INFO, HOME_SERVICE, on_disco),
	AT_STAGE(OUT, GUARD, ON_IQ, HOME_USER, on_guest),
	HOOKS_END,
};

const struct module mod_search = {
	.api = MUSTER_API,
	.name = "search",
	.about = "Finds the accounts of a host by name or e-mail, at search.DOMAIN.",
	.spec = "XEP-0055, XEP-0004",
	.hooks = hooks,
	.policies = policies,
	.policies_size = sizeof(struct search_policy),
	.service = "search",
	.is_offered = is_offered,
	.home_size = sizeof(struct search),
};
