/* query.c - reads what is asked of an archive: the form's fields (XEP-0313 section 4.1) and what page of the
 * result (XEP-0059). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "archive.h"

#define PREFIX_MIN 4 /* bytes of a beginning that is looked for, with its * */

/* While a query is read: what is wrong with it. */
struct reading {
	struct ctx *c;
	struct query *q;
	struct buffer named; /* ids that must exist */
	enum stanza_condition condition;
	const char *problem; /* NULL: nothing so far */
};

static void problem(struct reading *r, enum stanza_condition condition, const char *text)
{
	if (r->problem)
		return;
	r->condition = condition;
	r->problem = text;
}

/* ---- ids */

/* An id of ours is a number of at most 19 digits. 0: it is none, so there is no such message. */
static int64_t id_of(const char *text)
{
	size_t n = strlen(text);

	if (n == 0 || n > 19 || strspn(text, "0123456789") != n ||
	    (n == 19 && strcmp(text, "9223372036854775807") > 0))
		return 0;
	return strtoll(text, NULL, 10);
}

/* One that must exist; 0 when it cannot. */
static int64_t read_id(struct reading *r, const char *text)
{
	int64_t id = id_of(text);

	if (id == 0)
		problem(r, ITEM_NOT_FOUND, "There is no message with this id.");
	buffer_addf(&r->named, "%s%lld", r->named.len ? "," : "", (long long)id);
	return id;
}

static void set_low(struct query *q, int64_t low)
{
	if (low > q->low)
		q->low = low;
}

static void set_high(struct query *q, int64_t high)
{
	if (high < q->high)
		q->high = high;
}

/* ---- fields of the form */

static void read_with(struct reading *r, const char *value)
{
	struct jid *with = jid_parse(value, strlen(value));

	if (!with) {
		problem(r, JID_MALFORMED, "The field `with` needs an address.");
		return;
	}
	r->q->with = arena_strdup(&r->c->scratch, with->text);
	r->q->with_bare = arena_strndup(&r->c->scratch, with->text, with->bare_len);
	jid_unref(with);
}

/* A time is compared with that of an entry in milliseconds, as it is shown. */
static void read_start(struct reading *r, const char *value)
{
	int64_t us;

	if (!stamp_read(value, &us))
		problem(r, BAD_REQUEST, "The field `start` needs a time as XEP-0082 has it.");
	else if (us > INT64_MAX >> ID_TIME_SHIFT)
		r->q->since = INT64_MAX;
	else if (us > 0)
		r->q->since = ((us / 1000 * 1000) << ID_TIME_SHIFT) - 1;
	set_low(r->q, r->q->since);
}

static void read_end(struct reading *r, const char *value)
{
	int64_t us;

	if (!stamp_read(value, &us))
		problem(r, BAD_REQUEST, "The field `end` needs a time as XEP-0082 has it.");
	else if (us < 0)
		r->q->high = 0;
	else if (us < INT64_MAX >> (ID_TIME_SHIFT + 1))
		set_high(r->q, (us / 1000 * 1000 + 1000) << ID_TIME_SHIFT);
}

static void read_before_id(struct reading *r, const char *value)
{
	set_high(r->q, read_id(r, value));
}

static void read_after_id(struct reading *r, const char *value)
{
	set_low(r->q, read_id(r, value));
}

/* No rooms' messages are in a user's archive: they are in the rooms'. */
static void read_groupchat(struct reading *r, const char *value)
{
	static const char *const words[] = { "true", "false", "1", "0" };

	for (unsigned i = 0; i < COUNT_OF(words); i++)
		if (strcmp(value, words[i]) == 0)
			return;
	problem(r, BAD_REQUEST, "The field `include-groupchat` is true or false.");
}

/* XEP-0431. Whatever is typed is words and nothing else: all of them are looked for, one with * behind it by its
 * beginning. */
static void read_fulltext(struct reading *r, const char *value)
{
	struct arena *a = &r->c->scratch;
	char *rest = arena_strdup(a, value), *part;
	struct buffer sought = { 0 };
	unsigned count = 0, before;

	buffer_addf(&sought, "=%lld", (long long)home_account(r->c->home));
	while ((part = strtok_r(rest, " \t\r\n", &rest)) && count <= SOUGHT_MAX) {
		before = count;
		words_add(&sought, part, &count);
		if (count > before && strlen(part) >= PREFIX_MIN && part[strlen(part) - 1] == '*')
			buffer_adds(&sought, "*");
	}
	r->q->sought = arena_strndup(a, sought.data, sought.len);
	buffer_free(&sought);
	if (count > SOUGHT_MAX)
		problem(r, NOT_ACCEPTABLE, "These are too many words for one search.");
	if (count == 0) /* nothing that anything could have */
		r->q->low = INT64_MAX;
}

static const struct field {
	const char *name, *type;
	void (*read)(struct reading *r, const char *value);
} fields[] = {
	{ "with", "jid-single", read_with },
	{ "start", "text-single", read_start },
	{ "end", "text-single", read_end },
	{ "before-id", "text-single", read_before_id },
	{ "after-id", "text-single", read_after_id },
	{ "ids", "list-multi", NULL }, /* the one with several values */
	{ "include-groupchat", "boolean", read_groupchat },
	{ "{" FULLTEXT_NS "}fulltext", "text-single", read_fulltext },
};

static const struct field *find_field(const char *name)
{
	for (unsigned i = 0; i < COUNT_OF(fields); i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

static const char *value_text(struct reading *r, const struct element *value)
{
	return value ? element_get_text(value, &r->c->scratch) : "";
}

static void read_ids(struct reading *r, const struct element *field)
{
	unsigned from = (unsigned)r->named.len, count = 0;

	for (const struct element *v = element_child(field, "value", FORM_NS); v;
	     v = element_next(v, "value", FORM_NS)) {
		if (++count > IDS_MAX) {
			problem(r, POLICY_VIOLATION, "These are too many ids for one query.");
			return;
		}
		read_id(r, value_text(r, v));
	}
	if (count == 0)
		problem(r, BAD_REQUEST, "The field `ids` needs a value.");
	else
		r->q->ids = arena_strdup(&r->c->scratch, r->named.data + from + (from > 0));
}

static void read_field(struct reading *r, const struct element *e)
{
	const char *name = element_get(e, "var"),
		   *value = value_text(r, element_child(e, "value", FORM_NS));
	const struct field *f = name ? find_field(name) : NULL;

	if (!name) {
		problem(r, BAD_REQUEST, "A field needs a name.");
	} else if (strcmp(name, "FORM_TYPE") == 0) {
		if (strcmp(value, MAM_NS) != 0)
			problem(r, BAD_REQUEST, "This form is for something else.");
	} else if (!f) { /* section 4.1.5 */
		problem(r, FEATURE_NOT_IMPLEMENTED, "The form has a field that is not known here.");
	} else if (!f->read) {
		read_ids(r, e);
	} else if (*value) { /* an empty field is one that was not filled in */
		f->read(r, value);
	}
}

static void read_form(struct reading *r, const struct element *form)
{
	const char *type = element_get(form, "type");

	if (!type || strcmp(type, "submit") != 0)
		problem(r, BAD_REQUEST, "The form must be one that is submitted.");
	for (const struct element *e = element_child(form, "field", FORM_NS); e;
	     e = element_next(e, "field", FORM_NS))
		read_field(r, e);
}

/* ---- the page */

static const char *page_text(struct reading *r, const struct element *set, const char *name)
{
	const struct element *e = element_child(set, name, RSM_NS);

	return e ? element_get_text(e, &r->c->scratch) : NULL;
}

/* However large it is: a page has PAGE_MAX. */
static void read_max(struct reading *r, const char *text)
{
	size_t n = strlen(text);
	unsigned long max;

	if (n == 0 || strspn(text, "0123456789") != n) {
		problem(r, BAD_REQUEST, "The maximum of a page is a number that is not negative.");
		return;
	}
	max = strtoul(text, NULL, 10);
	if (max < r->q->max)
		r->q->max = (unsigned)max;
}

static void read_page(struct reading *r, const struct element *set)
{
	const char *max = page_text(r, set, "max"), *before = page_text(r, set, "before"),
		   *after = page_text(r, set, "after");

	if (element_child(set, "index", RSM_NS)) { /* XEP-0059 section 2.6 */
		problem(r, FEATURE_NOT_IMPLEMENTED, "Pages are named by ids, not by numbers.");
		return;
	}
	if (max)
		read_max(r, max);
	if (after && *after)
		set_low(r->q, read_id(r, after));
	if (before && *before)
		set_high(r->q, read_id(r, before));
	r->q->is_backward = before != NULL;
}

/* Profanity 0.13, the one of Debian 12, asks for its second page so: <after/> with no <set/> around it. */
static void read_stray_after(struct reading *r, const struct element *query)
{
	const struct element *after = element_child(query, "after", MAM_NS);

	if (after)
		set_low(r->q, read_id(r, element_get_text(after, &r->c->scratch)));
}

struct query *query_read(struct ctx *c)
{
	const struct element *query = element_first(c->stanza->root),
			     *form = element_child(query, "x", FORM_NS),
			     *set = element_child(query, "set", RSM_NS);
	struct query *q = ctx_new(c, sizeof *q);
	struct reading r = { .c = c, .q = q };

	q->queryid = element_get(query, "queryid");
	q->high = INT64_MAX;
	q->max = PAGE_MAX;
	q->is_flipped = element_child(query, "flip-page", MAM_NS) != NULL;
	if (element_get(query, "node")) /* XEP-0442: of a pubsub service */
		problem(&r, ITEM_NOT_FOUND, "An account's archive has no nodes.");
	if (form)
		read_form(&r, form);
	if (set)
		read_page(&r, set);
	else
		read_stray_after(&r, query);
	q->named = arena_strndup(&c->scratch, r.named.data ? r.named.data : "", r.named.len);
	buffer_free(&r.named);
	if (q->ids && q->sought)
		problem(&r, FEATURE_NOT_IMPLEMENTED, "Words are not looked for among ids.");
	if (q->queryid && strlen(q->queryid) > QUERYID_MAX)
		problem(&r, POLICY_VIOLATION, "The id of the query is too long.");
	if (!r.problem)
		return q;
	refuse(c, r.condition, r.problem);
	return NULL;
}

/* ---- the form */

/* XEP-0313 section 4.1.5: any id may be named, and none is listed (XEP-0122 section 3.2.2). */
static void add_open(struct stanza *st, struct element *field)
{
	struct element *validate =
	    element_add(st, field, "validate", "http://jabber.org/protocol/xdata-validate");

	element_set(st, validate, "datatype", "xs:string");
	element_add(st, validate, "open", validate->ns);
}

enum verdict query_on_form(struct ctx *c)
{
	struct stanza *result;
	struct element *form, *field;

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	result = reply_new(c);
	form = element_add(result, element_add(result, result->root, "query", MAM_NS), "x", FORM_NS);
	element_set(result, form, "type", "form");
	field = element_add(result, form, "field", FORM_NS);
	element_set(result, field, "type", "hidden");
	element_set(result, field, "var", "FORM_TYPE");
	element_add_text(result, field, "value", FORM_NS, MAM_NS);
	for (unsigned i = 0; i < COUNT_OF(fields); i++) {
		field = element_add(result, form, "field", FORM_NS);
		element_set(result, field, "type", fields[i].type);
		element_set(result, field, "var", fields[i].name);
		if (!fields[i].read)
			add_open(result, field);
	}
	return reply(c, result);
}
