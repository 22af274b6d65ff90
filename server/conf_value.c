/* conf_value.c - one value of the configuration: reading it into its member, writing it again.
 *
 * conf.c walks maps of options through options_read; conf_show.c uses the writing half. Rows of a table
 * are const data (option.h); what is read lives in the arena of the snapshot. */
#include <inttypes.h>
#include <string.h>

#include "conf_parts.h"

/* Biggest first. The last one needs no unit to be written. */
struct unit {
	const char *name;
	int64_t factor;
};
static const struct unit int_units[] = { { "", 1 } };
static const struct unit byte_units[] = { { "G", 1 << 30 }, { "M", 1 << 20 }, { "k", 1 << 10 }, { "", 1 } };
static const struct unit time_units[] = { { "w", 604800000 }, { "d", 86400000 }, { "h", 3600000 },
	                                  { "m", 60000 },     { "s", 1000 },     { "ms", 1 } };

/* What each type is called in "'port' wants ...", and its units if it is a number. */
static const struct {
	const char *wants;
	const struct unit *units;
	unsigned unit_count;
} types[] = {
	[OPT_BOOL] = { "true or false", NULL, 0 },
	[OPT_INT] = { "an integer", int_units, COUNT_OF(int_units) },
	[OPT_BYTES] = { "a number of bytes, such as 500, 64k, 4M or 1G", byte_units, COUNT_OF(byte_units) },
	[OPT_TIME] = { "a time, such as 500ms, 10s, 5m, 2h, 1d or 1w", time_units, COUNT_OF(time_units) },
	[OPT_TEXT] = { "a text", NULL, 0 },
	[OPT_PATH] = { "a path", NULL, 0 },
	[OPT_CHOICE] = { "one of", NULL, 0 },
	[OPT_WORDS] = { "some of, with spaces between them:", NULL, 0 },
};

static bool is_text(const struct option *o)
{
	return o->type == OPT_TEXT || o->type == OPT_PATH;
}

static bool has_choices(const struct option *o)
{
	return o->type == OPT_CHOICE || o->type == OPT_WORDS;
}

static const char *word_of(const struct option *o)
{
	return o->type == OPT_INT && o->choices ? o->choices[0] : NULL;
}

static void *member(const struct option *o, void *base)
{
	return (char *)base + o->offset;
}

static int64_t number_of(const struct option *o, const void *base)
{
	const void *at = (const char *)base + o->offset;

	return o->type == OPT_BOOL ? *(const bool *)at : *(const int64_t *)at;
}

/* ---- reading */

/* Digits and a unit. What is too big for an int64_t becomes the biggest or smallest one, which is out
 * of range for every option that has one. */
static bool parse_number(const struct option *o, const char *text, int64_t *out)
{
	bool is_negative = o->type == OPT_INT && *text == '-';
	const char *p = text + is_negative;
	bool is_zero = *p == '0';
	int64_t value = 0;
	bool is_huge = false;

	/* No zero in front: 010 is eight to some and ten to others. */
	if (is_zero && p[1] >= '0' && p[1] <= '9')
		return false;
	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++)
		is_huge |= __builtin_mul_overflow(value, 10, &value) ||
		           __builtin_add_overflow(value, *p - '0', &value);
	const struct unit *units = types[o->type].units;
	unsigned count = types[o->type].unit_count, i = 0;
	while (i < count && strcmp(p, units[i].name) != 0)
		i++;
	if (i == count && !(is_zero && !*p)) /* zero needs no unit */
		return false;
	if (i < count)
		is_huge |= __builtin_mul_overflow(value, units[i].factor, &value);
	*out = is_huge ? INT64_MAX : value;
	if (is_negative)
		*out = -*out;
	return true;
}

static bool parse_words(const struct option *o, const char *text, int64_t *out)
{
	*out = 0;
	while (*(text += strspn(text, " "))) {
		size_t n = strcspn(text, " ");
		unsigned i = 0;

		while (o->choices[i] && !(strncmp(o->choices[i], text, n) == 0 && !o->choices[i][n]))
			i++;
		if (!o->choices[i])
			return false;
		*out |= (int64_t)1 << i;
		text += n;
	}
	return true;
}

/* Any type but texts. */
static bool parse(const struct option *o, const char *text, int64_t *out)
{
	static const char *const bool_words[] = { "false", "true", NULL };
	const char *const *words = o->type == OPT_BOOL ? bool_words : o->choices;

	if (o->type == OPT_WORDS)
		return parse_words(o, text, out);
	if (word_of(o) && strcmp(text, word_of(o)) == 0) {
		*out = OPTION_WORD;
		return true;
	}
	if (o->type != OPT_BOOL && o->type != OPT_CHOICE)
		return parse_number(o, text, out);
	for (int64_t i = 0; words[i]; i++) {
		if (strcmp(text, words[i]) == 0) {
			*out = i;
			return true;
		}
	}
	return false;
}

static bool is_in_range(const struct option *o, int64_t value)
{
	if (word_of(o) && value == OPTION_WORD)
		return true;
	if (o->min == 0 && o->max == 0)
		return value != INT64_MAX && value != -INT64_MAX;
	return value >= o->min && value <= o->max;
}

static void store_number(const struct option *o, void *base, int64_t value)
{
	if (o->type == OPT_BOOL)
		*(bool *)member(o, base) = value != 0;
	else
		*(int64_t *)member(o, base) = value;
}

static void write_number(struct buffer *b, const struct option *o, int64_t value)
{
	const struct unit *units = types[o->type].units;
	unsigned i = 0;

	while (value % units[i].factor != 0)
		i++;
	if (value == 0)
		i = types[o->type].unit_count - 1;
	buffer_addf(b, "%" PRId64 "%s", value / units[i].factor, units[i].name);
}

static void write_choices(struct buffer *b, const struct option *o)
{
	for (unsigned i = 0; o->choices[i]; i++)
		buffer_addf(b, "%s%s", i == 0 ? "" : ", ", o->choices[i]);
}

static void write_range(struct buffer *b, const struct option *o)
{
	if (word_of(o))
		buffer_addf(b, "%s or ", word_of(o));
	write_number(b, o, o->min);
	buffer_adds(b, " to ");
	write_number(b, o, o->max);
}

static void refuse_value(const struct option *o, const struct conf_node *n, struct arena *a,
                         struct mistakes *m)
{
	struct buffer choices = { 0 };

	if (has_choices(o)) {
		buffer_adds(&choices, " ");
		write_choices(&choices, o);
	}
	mistake(m, &n->place, "'%s' wants %s%s%s%s, got %s", o->name, word_of(o) ? word_of(o) : "",
	        word_of(o) ? " or " : "", types[o->type].wants, choices.data ? choices.data : "",
	        node_shown(a, n));
	buffer_free(&choices);
}

static void refuse_range(const struct option *o, const struct conf_node *n, struct arena *a,
                         struct mistakes *m)
{
	struct buffer range = { 0 };

	if (o->min != 0 || o->max != 0)
		write_range(&range, o);
	mistake(m, &n->place, "'%s' wants %s, got %s", o->name,
	        range.data ? range.data : "a smaller number", node_shown(a, n));
	buffer_free(&range);
}

static void read_text(const struct option *o, void *base, const struct conf_node *n, struct arena *a,
                      struct mistakes *m)
{
	const char **out = member(o, base);

	if (n->is_plain && !*n->text && !o->fallback) { /* nothing written, and that means: none */
		*out = NULL;
		return;
	}
	if (!*n->text) {
		refuse_value(o, n, a, m);
		return;
	}
	/* YAML's own words for nothing would become a file of that name. */
	if (n->is_plain && (strcmp(n->text, "null") == 0 || strcmp(n->text, "~") == 0)) {
		mistake(m, &n->place, "'%s' wants %s: put '%s' in quotes if it is one", o->name,
		        types[o->type].wants, n->text);
		return;
	}
	if (!is_one_line(n->text)) {
		mistake(m, &n->place, "'%s' wants one line without control characters", o->name);
		return;
	}
	const char *dir = n->place.file->dir;
	if (o->type == OPT_PATH && *n->text != '/')
		*out = arena_printf(a, "%s%s%s", dir, strcmp(dir, "/") == 0 ? "" : "/", n->text);
	else
		*out = n->text;
}

static void read_value(const struct option *o, void *base, const struct conf_node *n, struct arena *a,
                       struct mistakes *m)
{
	int64_t value;

	if (n->kind == NODE_WRONG)
		return;
	if (n->kind == NODE_SCALAR && is_text(o))
		read_text(o, base, n, a, m);
	else if (n->kind != NODE_SCALAR || is_text(o) || !parse(o, n->text, &value))
		refuse_value(o, n, a, m);
	else if (o->type != OPT_BOOL && !has_choices(o) && !is_in_range(o, value))
		refuse_range(o, n, a, m);
	else
		store_number(o, base, value);
}

void options_default(const struct option *table, void *base, struct arena *a)
{
	for (const struct option *o = table; o->name; o++) {
		if (is_text(o)) {
			const char **out = member(o, base);

			*out = o->fallback ? arena_strdup(a, o->fallback) : NULL;
			continue;
		}
		int64_t value = 0;
		bool ok = o->fallback && parse(o, o->fallback, &value);
		ASSERT(ok); /* a default that its own type refuses: the table is wrong */
		store_number(o, base, value);
	}
}

static bool read_plain(const struct option *o, void *base, const char *text, struct arena *a)
{
	int64_t value;

	if (is_text(o)) {
		if (!is_one_line(text))
			return false;
		*(const char **)member(o, base) = *text ? arena_strdup(a, text) : NULL;
		return true;
	}
	if (!parse(o, text, &value))
		return false;
	if (o->type != OPT_BOOL && !has_choices(o) && !is_in_range(o, value))
		return false;
	store_number(o, base, value);
	return true;
}

static void write_more(struct buffer *b, const char *glue, const struct option *o,
                       void (*write)(struct buffer *b, const struct option *o))
{
	buffer_adds(b, glue);
	write(b, o);
}

char *option_read(const struct option *o, void *base, const char *text, struct arena *a)
{
	struct buffer b = { 0 };

	if (read_plain(o, base, text, a))
		return NULL;
	buffer_addf(&b, "'%s' wants %s", o->name, types[o->type].wants);
	if (is_text(o))
		buffer_adds(&b, ", one line without control characters");
	else if (has_choices(o))
		write_more(&b, " ", o, write_choices);
	else if (o->min != 0 || o->max != 0)
		write_more(&b, ", ", o, write_range);
	buffer_addf(&b, ", got '%.100s'", text);
	return b.data;
}

unsigned options_count(const struct option *table)
{
	unsigned n = 0;

	while (table[n].name)
		n++;
	return n;
}

void options_read(const struct option *table, void *base, const struct conf_node *n,
                  const struct conf_node **seen, const char *where, struct arena *a, struct mistakes *m)
{
	unsigned count = options_count(table);

	for (const struct conf_node *e = n->first; e; e = e->next) {
		struct nearest best = { 0 };
		unsigned i = 0;

		while (i < count && strcmp(e->key, table[i].name) != 0)
			nearest_ask(&best, e->key, table[i++].name);
		if (i == count) {
			unknown_key(e, where, &best, a, m);
			continue;
		}
		if (seen[i])
			mistake(m, &e->key_place, "'%s' is given again, first at %s", e->key,
			        place_text(a, &seen[i]->key_place));
		else
			seen[i] = e;
		read_value(&table[i], base, e, a, m);
	}
}

/* ---- unknown keys */

enum { NAME_MAX_LENGTH = 40 };

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* How many letters to change, add, drop or swap with their neighbour to make one of the other
 * (Damerau and Levenshtein, in the form where no letter is touched twice). */
static unsigned distance(const char *a, size_t n, const char *b, size_t k)
{
	unsigned rows[3][NAME_MAX_LENGTH + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];

	memset(rows, 0, sizeof rows);
	for (unsigned j = 0; j <= k; j++)
		last[j] = j;
	for (unsigned i = 1; i <= n; i++) {
		row[0] = i;
		for (unsigned j = 1; j <= k; j++) {
			unsigned cost = a[i - 1] != b[j - 1];

			row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
		}
		unsigned *spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[k];
}

void nearest_ask(struct nearest *best, const char *wrong, const char *name)
{
	size_t n = strlen(wrong), k = strlen(name);

	if (n > NAME_MAX_LENGTH || k > NAME_MAX_LENGTH)
		return;
	unsigned d = distance(wrong, n, name, k);
	/* Near: a letter, or a third of the name. */
	if (d > (k / 3 ? k / 3 : 1) || (best->name && d >= best->distance))
		return;
	best->name = name;
	best->distance = d;
}

void unknown_key(const struct conf_node *n, const char *where, const struct nearest *best, struct arena *a,
                 struct mistakes *m)
{
	if (best->name)
		mistake(m, &n->key_place, "unknown key %s %s; did you mean '%s'?", quoted(a, n->key), where,
		        best->name);
	else
		mistake(m, &n->key_place, "unknown key %s %s", quoted(a, n->key), where);
}

/* ---- writing */

void text_write(struct buffer *b, const char *text)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-";
	size_t n = strlen(text);

	if (n > 0 && strspn(text, safe) == n && *text != '-' && strcmp(text, "null") != 0) {
		buffer_add(b, text, n);
		return;
	}
	buffer_adds(b, "'");
	for (const char *p = text; *p; p++)
		buffer_add(b, *p == '\'' ? "''" : p, *p == '\'' ? 2 : 1);
	buffer_adds(b, "'");
}

static const char *text_of(const struct option *o, const void *base)
{
	return *(const char *const *)(const void *)((const char *)base + o->offset);
}

static void write_words(struct buffer *b, const struct option *o, int64_t value)
{
	const char *glue = "";

	for (unsigned i = 0; o->choices[i]; i++) {
		if (!(value >> i & 1))
			continue;
		buffer_addf(b, "%s%s", glue, o->choices[i]);
		glue = " ";
	}
}

static void number_write(struct buffer *b, const struct option *o, const void *base)
{
	int64_t value = number_of(o, base);

	if (o->type == OPT_BOOL)
		buffer_adds(b, value ? "true" : "false");
	else if (o->type == OPT_CHOICE)
		buffer_adds(b, o->choices[value]);
	else if (o->type == OPT_WORDS)
		write_words(b, o, value);
	else if (word_of(o) && value == OPTION_WORD)
		buffer_adds(b, word_of(o));
	else
		write_number(b, o, value);
}

void value_write(struct buffer *b, const struct option *o, const void *base)
{
	struct buffer words = { 0 };

	if (o->type == OPT_WORDS) {
		number_write(&words, o, base);
		text_write(b, words.data ? words.data : "");
		buffer_free(&words);
	} else if (!is_text(o)) {
		number_write(b, o, base);
	} else if (text_of(o, base)) {
		text_write(b, text_of(o, base));
	}
}

void option_write(struct buffer *b, const struct option *o, const void *base)
{
	if (!is_text(o))
		number_write(b, o, base);
	else if (text_of(o, base))
		buffer_adds(b, text_of(o, base));
}

void option_describe(struct buffer *b, const struct option *o)
{
	if (o->type == OPT_BOOL) {
		buffer_adds(b, "true or false; ");
	} else if (has_choices(o)) {
		write_choices(b, o);
		buffer_adds(b, "; ");
	} else if (!is_text(o) && (o->min != 0 || o->max != 0)) {
		write_range(b, o);
		buffer_adds(b, "; ");
	}
	buffer_addf(b, "default %s", o->fallback && *o->fallback ? o->fallback : "none");
}
