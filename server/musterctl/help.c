/* help.c - help, suggestions for what was mistyped, and completion for the shell: all of them
 * go by the table of commands in table.c. */
#include "musterctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEFT_COLUMN 28 /* no command is wider: a test looks */

/* ---- help */

static char *usage(const struct verb *v)
{
	struct buffer line = { 0 };

	buffer_adds(&line, v->name);
	for (const struct word *w = v->words; w && w->name; w++)
		buffer_addf(&line, w->is_optional ? " [%s]" : " %s", w->name);
	for (const struct flag *f = v->flags; f && f->name; f++)
		buffer_addf(&line, " [%s%s%s]", f->name, f->value ? " " : "", f->value ? f->value : "");
	return line.data;
}

static void show_flags(const struct flag *flags)
{
	for (const struct flag *f = flags; f && f->name; f++) {
		char *left = mem_printf("%s%s%s", f->name, f->value ? " " : "", f->value ? f->value : "");

		fputs("  ", stdout);
		show_padded(left, LEFT_COLUMN);
		printf(" %s\n", f->about);
		mem_free(left);
	}
}

static bool is_in_group(const struct verb *v, const char *group)
{
	size_t n = group ? strlen(group) : 0;

	return !group || (strncmp(v->name, group, n) == 0 && v->name[n] == ' ');
}

/* Its words, not its flags, so that the sentences stand in one column. */
static char *short_usage(const struct verb *v)
{
	struct buffer line = { 0 };

	buffer_adds(&line, v->name);
	for (const struct word *w = v->words; w && w->name; w++)
		buffer_addf(&line, w->is_optional ? " [%s]" : " %s", w->name);
	return line.data;
}

static void show_verb_line(const struct verb *v)
{
	char *left = short_usage(v);

	fputs("  ", stdout);
	show_padded(left, LEFT_COLUMN);
	printf(" %s\n", v->about);
	mem_free(left);
}

/* "backup" is a command, and so is "backup verify". */
static void show_longer_verbs(const struct verb *verb)
{
	bool is_first = true;

	for (const struct verb *v = verbs; v->name; v++) {
		if (!is_in_group(v, verb->name))
			continue;
		if (is_first)
			puts("\nSee also:");
		is_first = false;
		show_verb_line(v);
	}
}

static void show_verb_help(const struct verb *v)
{
	char *line = usage(v);

	printf("Usage: musterctl %s\n\n%s\n", line, v->about);
	if (v->more)
		printf("%s\n", v->more);
	if (v->flags) {
		puts("\nOptions:");
		show_flags(v->flags);
	}
	show_longer_verbs(v);
	puts("\nOptions of every command:");
	show_flags(global_flags);
	mem_free(line);
}

void help_show(const struct call *c)
{
	if (c->verb) {
		show_verb_help(c->verb);
		return;
	}
	printf("Usage: musterctl [--config FILE | --socket PATH] [--json] %s ...\n\n",
	       c->group ? c->group : "COMMAND");
	puts("Administers a Muster server, while it runs or not.\n\nCommands:");
	for (const struct verb *v = verbs; v->name; v++) {
		if (is_in_group(v, c->group))
			show_verb_line(v);
	}
	puts("\nOptions:");
	show_flags(global_flags);
	puts("\n\"musterctl COMMAND --help\" explains a command. It ends with 0 when all is well, 1 when "
	     "the server\n"
	     "refused, 2 for a mistake in the command, 3 when no server answers, 4 when it cannot be done "
	     "now,\n"
	     "and 5 when something broke. The manual is musterctl(8).");
}

/* ---- suggestions */

#define NEAR_MAX 63 /* longer texts are near to nothing */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Letters to add, drop, change or swap with their neighbour to make b of a. */
static unsigned distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	unsigned rows[3][NEAR_MAX + 1]; /* rows i, i-1 and i-2, taking turns */

	if (n > NEAR_MAX || m > NEAR_MAX)
		return NEAR_MAX;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned *row = rows[i % 3], *before = rows[(i - 1) % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			row[j] =
			    min3(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = min3(row[j], row[j], rows[(i - 2) % 3][j - 2] + 1);
		}
	}
	return rows[n % 3][m];
}

/* "add user" is meant for "user add". */
static bool is_turned_round(const char *words, const char *name)
{
	const char *gap = strchr(words, ' ');

	if (!gap)
		return false;
	size_t n = (size_t)(gap - words), rest = strlen(gap + 1);
	return strlen(name) == strlen(words) && strncmp(name, gap + 1, rest) == 0 && name[rest] == ' ' &&
	       strncmp(name + rest + 1, words, n) == 0;
}

/* How far `words` is from that command, or, being one word, from its first. */
static unsigned distance_to_verb(const char *words, const char *name)
{
	unsigned best = is_turned_round(words, name) ? 0 : distance(words, name);
	const char *gap = strchr(name, ' ');

	if (gap && !strchr(words, ' ')) {
		char *first = mem_strndup(name, (size_t)(gap - name));
		unsigned d = distance(words, first);

		best = d < best ? d : best;
		mem_free(first);
	}
	return best;
}

static unsigned near_enough(const char *text)
{
	return strlen(text) < 4 ? 1 : strlen(text) < 8 ? 2 : 3;
}

static const struct verb *nearest_verb(const char *words)
{
	const struct verb *best = NULL;
	unsigned best_distance = near_enough(words) + 1;

	for (const struct verb *v = verbs; v->name; v++) {
		unsigned d = distance_to_verb(words, v->name);

		if (d < best_distance) {
			best = v;
			best_distance = d;
		}
	}
	return best;
}

char *help_suggest_command(const char *words, const char *next)
{
	char *longer = next ? mem_printf("%s %s", words, next) : NULL;
	const struct verb *best = longer ? nearest_verb(longer) : NULL;

	mem_free(longer);
	if (!best)
		best = nearest_verb(words);
	if (!best)
		return NULL;
	return mem_printf("Did you mean \"musterctl %s\"? \"musterctl --help\" lists the commands.",
	                  best->name);
}

static const char *nearest_flag(const struct flag *flags, const char *name, unsigned *best_distance)
{
	const char *best = NULL;

	for (const struct flag *f = flags; f && f->name; f++) {
		unsigned d = distance(name, f->name);

		if (d < *best_distance) {
			best = f->name;
			*best_distance = d;
		}
	}
	return best;
}

char *help_suggest_flag(const struct call *c, const char *name)
{
	unsigned best_distance = near_enough(name) + 1;
	const char *best = nearest_flag(global_flags, name, &best_distance);
	const char *own = c->verb ? nearest_flag(c->verb->flags, name, &best_distance) : NULL;

	if (own)
		best = own;
	if (!c->verb && !best)
		return mem_strdup(
		    "Options of a command stand behind it: \"musterctl user add --random JID\".");
	return best ? mem_printf("Did you mean \"%s\"?", best) : NULL;
}

/* ---- completion: bash calls us with its line in COMP_LINE and the cursor's place in COMP_POINT, and as
 * arguments the command, the piece of the line it will replace, and the word before that. */

#define LINE_WORDS 32
#define CANDIDATES_MAX 100

struct completion {
	const char *partial; /* what has been typed of the word */
	size_t skip;         /* bytes of it that bash keeps by itself: up to '@' or ':' */
	const char *key;     /* in the rows of the server's answer */
	unsigned printed;
};

static void candidate(struct completion *to, const char *text, const char *end)
{
	if (strncmp(text, to->partial, strlen(to->partial)) != 0)
		return;
	printf("%s%s\n", text + to->skip, end);
	to->printed++;
}

static bool on_names(struct call *c, const json_t *page, void *arg)
{
	struct completion *to = arg;

	(void)c;
	const char *key;
	json_t *rows, *row;
	size_t i;
	json_object_foreach((json_t *)(uintptr_t)page, key, rows)
	{
		json_array_foreach(rows, i, row)
		{
			const char *name = json_string_value(json_object_get(row, to->key));

			if (name)
				candidate(to, name, "");
		}
	}
	return to->printed < CANDIDATES_MAX;
}

/* Which command lists what may stand there, and where in its rows; groups and policies are of the host that
 * the first word names. */
static const struct {
	const char *command, *key, *host;
} lists[] = {
	[WORD_HOST] = { "host list", "name", NULL },
	[WORD_JID] = { "user list", "jid", NULL },
	[WORD_GROUP] = { "group list", "name", "host" },
	[WORD_POLICY] = { "host show", "policy", "name" },
};

static void complete_names(struct call *c, struct completion *to, enum word_kind kind)
{
	if (kind == WORD_FILE || kind == WORD_VALUE)
		return; /* the shell does these */
	if (kind == WORD_HOST_OR_JID) {
		complete_names(c, to, WORD_HOST);
		kind = WORD_JID;
	}
	json_t *args = json_object();
	if (lists[kind].host)
		json_object_set_new(args, lists[kind].host, json_string(c->words[0]));
	to->key = lists[kind].key;
	json_t *result = talk(c, lists[kind].command, args, on_names, to);
	if (result)
		on_names(c, result, to);
	json_decref(result);
}

static void complete_flags(struct completion *to, const struct flag *flags)
{
	for (const struct flag *f = flags; f && f->name; f++)
		candidate(to, f->name, "");
}

static void complete_commands(struct completion *to, const char *group)
{
	size_t n = group ? strlen(group) + 1 : 0;
	const char *last = "";

	for (const struct verb *v = verbs; v->name; v++) {
		const char *gap = strchr(v->name, ' ');
		char *word = group ? mem_strdup(v->name + (is_in_group(v, group) ? n : 0))
		                   : mem_strndup(v->name, gap ? (size_t)(gap - v->name) : strlen(v->name));

		/* The table keeps groups together: a first word is new unless it is the last one's. */
		size_t len = strlen(word);
		bool is_same = strncmp(last, word, len) == 0 && (last[len] == ' ' || !last[len]);
		if (is_in_group(v, group) && (group || !is_same))
			candidate(to, word, "");
		mem_free(word);
		last = v->name;
	}
}

/* `before`: the word before it. */
static void complete_word(struct call *c, struct completion *to, const char *before)
{
	if (to->partial[0] == '-') {
		complete_flags(to, global_flags);
		if (c->verb)
			complete_flags(to, c->verb->flags);
		return;
	}
	if (!c->verb) {
		complete_commands(to, c->group);
		return;
	}
	if (!c->word_count)
		complete_commands(to, c->verb->name);
	const struct word *w = c->verb->words;
	for (unsigned i = 0; w && w->name && i < c->word_count; i++)
		w++;
	if (strcmp(before, "--host") == 0)
		complete_names(c, to, WORD_HOST);
	else if (w && w->name)
		complete_names(c, to, w->kind);
}

int help_complete(struct call *c)
{
	const char *env = getenv("COMP_LINE"), *point = getenv("COMP_POINT");
	const char *words[LINE_WORDS];
	unsigned count = 0;

	if (!env) {
		complain(c, CONTROL_USAGE,
		         "Put this into ~/.bashrc: complete -o default -C 'musterctl complete' musterctl",
		         "This command is for the shell.");
		return c->status;
	}
	char *line = mem_strndup(env, point ? strtoul(point, NULL, 10) : strlen(env));
	char *rest = line, *word;
	while (count < LINE_WORDS && (word = strsep(&rest, " \t"))) {
		if (word[0] || !rest)
			words[count++] = word;
	}
	struct call typed = { .is_quiet = true };
	const char *before = count > 2 ? words[count - 2] : "";
	unsigned whole = strcmp(before, "--host") == 0 ? count - 1 : count; /* its value is not there yet */
	if (count > 1 && call_parse(&typed, whole - 2, words + 1)) {
		struct completion to = { .partial = words[count - 1] };
		size_t typed_len = strlen(to.partial);
		size_t replaced = c->rest_count > 1 ? strlen(c->rest[1]) : typed_len;

		to.skip = replaced < typed_len ? typed_len - replaced : 0;
		complete_word(&typed, &to, before);
		talk_close(&typed);
	}
	mem_free(line);
	return CONTROL_OK;
}
