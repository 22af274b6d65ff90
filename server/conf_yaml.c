/* conf_yaml.c - from bytes to nodes: the part of YAML that a configuration needs, by libyaml's events.
 *
 * conf.c calls it once per file. Nodes and their texts live in the arena of the snapshot that is being
 * made. Nothing here recurses: the maps and lists that are open stand on a stack of fixed depth. */
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "conf_parts.h"

enum {
	DEPTH_MAX = 8,     /* the deepest thing that means something has depth 3 */
	NODES_MAX = 10000, /* per file */
	QUOTED_MAX = 60    /* bytes of a text shown in a mistake */
};

/* ---- mistakes */

const char *place_text(struct arena *a, const struct place *at)
{
	return arena_printf(a, "%s:%u:%u", at->file->name, at->line, at->column);
}

void mistake(struct mistakes *m, const struct place *at, const char *format, ...)
{
	m->count++;
	if (m->count > MISTAKES_SHOWN)
		return;
	size_t start = m->lines.len;
	/* A file that cannot be opened has no lines. */
	if (at->line > 0)
		buffer_addf(&m->lines, "%s:%u:%u: ", at->file->name, at->line, at->column);
	else
		buffer_addf(&m->lines, "%s: ", at->file->name);
	char sentence[1024];
	va_list ap;
	va_start(ap, format);
	vsnprintf(sentence, sizeof sentence, format, ap);
	va_end(ap);
	buffer_adds(&m->lines, sentence);
	/* What the file says must not steer the terminal it is shown on. */
	for (char *p = m->lines.data + start; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	buffer_adds(&m->lines, "\n");
}

char *mistakes_take(struct mistakes *m)
{
	if (m->count > MISTAKES_SHOWN)
		buffer_addf(&m->lines, "and %u more\n", m->count - MISTAKES_SHOWN);
	char *lines = m->lines.data;
	*m = (struct mistakes){ 0 };
	return lines;
}

const char *quoted(struct arena *a, const char *text)
{
	size_t n = strlen(text);

	if (n <= QUOTED_MAX)
		return arena_printf(a, "'%s'", text);
	n = QUOTED_MAX;
	while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) /* never half a character */
		n--;
	return arena_printf(a, "'%.*s...'", (int)n, text);
}

const char *node_shown(struct arena *a, const struct conf_node *n)
{
	if (n->kind == NODE_MAP)
		return "a mapping";
	if (n->kind == NODE_LIST)
		return "a list";
	if (n->is_plain && !*n->text)
		return "nothing";
	return quoted(a, n->text);
}

bool is_one_line(const char *text)
{
	/* Beyond ASCII: C1 controls with NEL, both Unicode line breaks, the byte order mark and the two
	 * that are no characters. YAML takes them for breaks or refuses them. */
	static const char *const refused[] = { "\xe2\x80\xa8", "\xe2\x80\xa9", "\xef\xbb\xbf",
		                               "\xef\xbf\xbe", "\xef\xbf\xbf" };
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c < ' ' || c == 0x7f)
			return false;
		if (c == 0xc2 && (unsigned char)p[1] < 0xa0)
			return false;
	}
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		if (strstr(text, refused[i]))
			return false;
	}
	return true;
}

/* ---- reading */

struct reader {
	yaml_parser_t parser;
	const struct conf_file *file;
	const char *bytes;
	size_t n;
	struct arena *arena;
	struct mistakes *mistakes;
	struct conf_node *root;
	struct conf_node *open[DEPTH_MAX]; /* maps and lists, outermost first */
	unsigned depth;
	unsigned nodes;
	const char *key; /* read, its value not yet */
	struct place key_place;
	bool had_document;
};

static struct place place_of(const struct reader *r, const yaml_mark_t *mark)
{
	return (struct place){ r->file, (unsigned)mark->line + 1, (unsigned)mark->column + 1 };
}

/* Puts a new node where it belongs: under the innermost open map or list, or as the root. */
static struct conf_node *add_node(struct reader *r, enum node_kind kind, const yaml_mark_t *mark)
{
	struct conf_node *n = arena_zalloc(r->arena, sizeof *n);

	n->kind = kind;
	n->place = place_of(r, mark);
	n->text = "";
	n->key = r->key;
	n->key_place = r->key_place;
	r->key = NULL;
	r->nodes++;
	if (r->depth == 0) {
		r->root = n;
		return n;
	}
	struct conf_node *parent = r->open[r->depth - 1];
	if (parent->last)
		parent->last->next = n;
	else
		parent->first = n;
	parent->last = n;
	return n;
}

static bool wants_key(const struct reader *r)
{
	return r->depth > 0 && r->open[r->depth - 1]->kind == NODE_MAP && !r->key;
}

static void refuse_extras(struct reader *r, const struct place *at, const yaml_char_t *anchor,
                          const yaml_char_t *tag)
{
	if (anchor)
		mistake(r->mistakes, at, "an anchor (&%.60s) is not allowed here: write the value out",
		        anchor);
	if (tag)
		mistake(r->mistakes, at, "a tag (%s) is not allowed here: the key says what type it is",
		        quoted(r->arena, (const char *)tag));
}

static bool on_scalar(struct reader *r, const yaml_event_t *e)
{
	struct place at = place_of(r, &e->start_mark);
	const char *text = (const char *)e->data.scalar.value;
	size_t n = e->data.scalar.length;

	refuse_extras(r, &at, e->data.scalar.anchor, e->data.scalar.tag);
	bool has_nul = memchr(text, 0, n) != NULL;
	if (has_nul)
		mistake(r->mistakes, &at, "a NUL character is not allowed here");
	if (wants_key(r)) {
		r->key = arena_strndup(r->arena, text, n);
		r->key_place = at;
		return true;
	}
	struct conf_node *node = add_node(r, has_nul ? NODE_WRONG : NODE_SCALAR, &e->start_mark);
	node->text = arena_strndup(r->arena, text, n);
	node->is_plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	return true;
}

static bool on_open(struct reader *r, enum node_kind kind, bool is_flow, const yaml_event_t *e)
{
	struct place at = place_of(r, &e->start_mark);

	if (wants_key(r)) {
		mistake(r->mistakes, &at, "a key must be a word");
		return false;
	}
	if (r->depth == DEPTH_MAX) {
		mistake(r->mistakes, &at, "nested too deep");
		return false;
	}
	struct conf_node *n = add_node(r, kind, &e->start_mark);
	n->is_flow = is_flow;
	r->open[r->depth++] = n;
	return true;
}

static bool on_alias(struct reader *r, const yaml_event_t *e)
{
	struct place at = place_of(r, &e->start_mark);

	mistake(r->mistakes, &at, "an alias (*%.60s) is not allowed here: write the value out",
	        e->data.alias.anchor);
	if (wants_key(r))
		return false;
	add_node(r, NODE_WRONG, &e->start_mark);
	return true;
}

static bool on_document(struct reader *r, const yaml_event_t *e)
{
	struct place at = place_of(r, &e->start_mark);

	if (e->data.document_start.version_directive ||
	    e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end)
		mistake(r->mistakes, &at, "a YAML directive (%%) is not allowed here");
	if (r->had_document) {
		mistake(r->mistakes, &at, "a second document is not allowed: one file, one configuration");
		return false;
	}
	r->had_document = true;
	return true;
}

/* False when there is no sense in reading on. */
static bool on_event(struct reader *r, const yaml_event_t *e)
{
	struct place at = place_of(r, &e->start_mark);

	if (r->nodes == NODES_MAX) {
		mistake(r->mistakes, &at, "more than %d values in one file", NODES_MAX);
		return false;
	}
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		return on_document(r, e);
	case YAML_ALIAS_EVENT:
		return on_alias(r, e);
	case YAML_SCALAR_EVENT:
		return on_scalar(r, e);
	case YAML_MAPPING_START_EVENT:
		refuse_extras(r, &at, e->data.mapping_start.anchor, e->data.mapping_start.tag);
		return on_open(r, NODE_MAP, e->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE, e);
	case YAML_SEQUENCE_START_EVENT:
		refuse_extras(r, &at, e->data.sequence_start.anchor, e->data.sequence_start.tag);
		return on_open(r, NODE_LIST, e->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE, e);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		r->depth--;
		return true;
	default:
		return e->type != YAML_STREAM_END_EVENT;
	}
}

/* The place of a byte. */
static struct place place_at(const struct reader *r, size_t offset)
{
	struct place at = { r->file, 1, 1 };

	for (size_t i = 0; i < offset && i < r->n; i++) {
		if (r->bytes[i] == '\n') {
			at.line++;
			at.column = 1;
		} else if (((unsigned char)r->bytes[i] & 0xc0) != 0x80) {
			at.column++;
		}
	}
	return at;
}

/* Tabs are what a newcomer to YAML stumbles over, and libyaml's sentence does not say so. */
static bool is_tab_indented(const struct reader *r, size_t line)
{
	const char *p = r->bytes, *end = r->bytes + r->n;

	while (line-- > 0) {
		p = memchr(p, '\n', (size_t)(end - p));
		if (!p)
			return false;
		p++;
	}
	while (p < end && *p == ' ')
		p++;
	return p < end && *p == '\t';
}

static void on_syntax_error(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem ? p->problem : "cannot be parsed";
	/* What began with a bracket has no meaning without its end. */
	for (unsigned i = 0; i < r->depth; i++) {
		if (r->open[i]->is_flow)
			r->open[i]->kind = NODE_WRONG;
	}
	if (p->error == YAML_READER_ERROR) {
		struct place at = place_at(r, p->problem_offset);

		mistake(r->mistakes, &at, "%s: the file must be UTF-8 text", problem);
		return;
	}
	struct place at = place_of(r, &p->problem_mark);
	if (is_tab_indented(r, p->problem_mark.line))
		mistake(r->mistakes, &at, "%s: indent with spaces, not with tabs", problem);
	else if (p->context)
		mistake(r->mistakes, &at, "%s, %s that began at line %zu, column %zu", problem, p->context,
		        p->context_mark.line + 1, p->context_mark.column + 1);
	else
		mistake(r->mistakes, &at, "%s", problem);
}

static void read_events(struct reader *r)
{
	for (bool goes_on = true; goes_on;) {
		yaml_event_t e;
		if (!yaml_parser_parse(&r->parser, &e)) {
			on_syntax_error(r);
			return;
		}
		goes_on = on_event(r, &e);
		yaml_event_delete(&e);
	}
}

struct conf_node *yaml_read(const struct conf_file *file, const char *bytes, size_t n, struct arena *a,
                            struct mistakes *m)
{
	if (n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) { /* some editors' byte order mark */
		bytes += 3;
		n -= 3;
	}
	struct reader r = { .file = file, .bytes = bytes, .n = n, .arena = a, .mistakes = m };
	int ok = yaml_parser_initialize(&r.parser);
	ASSERT(ok);
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING); /* else it would guess UTF-16 */
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes, n);
	read_events(&r);
	yaml_parser_delete(&r.parser);
	return r.root;
}
