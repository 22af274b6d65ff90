/* line.c - reads the command line by the table of commands, and says what is wrong with it, in sentences
 * for people and, with --json, as an object for programs. */
#include <stdio.h>
#include <string.h>

#include "musterctl.h"

/* ---- complaints */

/* Names of files and what people type need not be UTF-8, which JSON is. */
static json_t *any_text(const char *text)
{
	json_t *json = json_string(text);

	if (json)
		return json;
	char *ascii = mem_strdup(text);
	for (char *p = ascii; *p; p++)
		*p = (unsigned char)*p < 0x80 ? *p : '?';
	json = json_string(ascii);
	mem_free(ascii);
	return json;
}

bool complain(struct call *c, enum control_code code, const char *hint, const char *format, ...)
{
	c->status = (int)code;
	if (c->is_quiet)
		return false;
	va_list args;
	va_start(args, format);
	char *sentence = mem_vprintf(format, args);
	va_end(args);
	fflush(stdout);
	fprintf(stderr, "musterctl: %s\n%s%s", sentence, hint ? hint : "", hint ? "\n" : "");
	json_decref(c->complaint);
	c->complaint = json_pack("{s:b, s:o}", "ok", false, "error", any_text(sentence));
	if (hint)
		json_object_set_new(c->complaint, "hint", any_text(hint));
	mem_free(sentence);
	return false;
}

void complain_detail(struct call *c, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	char *line = mem_vprintf(format, args);
	va_end(args);
	fprintf(stderr, "%s\n", line);
	if (!c->details)
		c->details = json_array();
	json_array_append_new(c->details, any_text(line));
	mem_free(line);
}

void complain_json(struct call *c)
{
	if (c->is_json && c->complaint && !c->is_answered) {
		json_object_set_new(c->complaint, "code", json_integer(c->status));
		if (c->details)
			json_object_set(c->complaint, "details", c->details);
		show_json(c, c->complaint);
	}
	json_decref(c->complaint);
	json_decref(c->details);
	c->complaint = c->details = NULL;
}

bool complain_usage(struct call *c, const char *hint, const char *sentence, const char *about)
{
	char *next = hint      ? mem_strdup(hint)
	             : c->verb ? mem_printf("\"musterctl %s --help\" explains the command.", c->verb->name)
	                       : mem_strdup("\"musterctl --help\" lists the commands.");

	complain(c, CONTROL_USAGE, next, "%s%s%s", sentence, about ? " " : "", about ? about : "");
	mem_free(next);
	return false;
}

/* ---- the command line */

static const struct flag *flag_find(const struct flag *flags, const char *name, size_t n)
{
	for (const struct flag *f = flags; f && f->name; f++) {
		if (strlen(f->name) == n && memcmp(f->name, name, n) == 0)
			return f;
	}
	return NULL;
}

const char *call_flag(const struct call *c, const char *name)
{
	const struct flag *f = flag_find(c->verb->flags, name, strlen(name));

	return f ? c->flags[f - c->verb->flags] : NULL;
}

static bool take_global_flag(struct call *c, const struct flag *f, const char *value)
{
	if (strcmp(f->name, "--config") == 0) {
		c->config = value;
	} else if (strcmp(f->name, "--socket") == 0) {
		c->socket = value;
	} else if (strcmp(f->name, "--json") == 0) {
		c->is_json = true;
	} else if (strcmp(f->name, "--help") == 0) {
		c->is_help = true;
	} else {
		if (!c->is_quiet)
			printf("musterctl %s\n", MUSTER_VERSION);
		c->status = CONTROL_OK;
		return false;
	}
	return true;
}

/* Takes tokens[*at], a flag, and its value, which is behind '=' or the next token. */
static bool take_flag(struct call *c, unsigned count, const char *const *tokens, unsigned *at)
{
	const char *token = strcmp(tokens[*at], "-h") == 0 ? "--help" : tokens[*at];
	size_t n = strcspn(token, "=");
	const char *value = token[n] ? token + n + 1 : NULL;
	const struct flag *global = flag_find(global_flags, token, n);
	const struct flag *own = c->verb ? flag_find(c->verb->flags, token, n) : NULL;
	const struct flag *f = global ? global : own;

	if (!f) {
		char *hint = help_suggest_flag(c, token);

		complain_usage(c, hint, "There is no such option here:", token);
		mem_free(hint);
		return false;
	}
	if (!f->value && value)
		return complain_usage(c, NULL, "This option takes no value:", f->name);
	if (f->value && !value && *at + 1 < count)
		value = tokens[++*at];
	if (f->value && !value)
		return complain_usage(c, NULL, "A value is missing behind", f->name);
	if (global)
		return take_global_flag(c, f, value);
	c->flags[f - c->verb->flags] = value ? value : "";
	return true;
}

static const struct verb *verb_find(const char *name)
{
	for (const struct verb *v = verbs; v->name; v++) {
		if (strcmp(v->name, name) == 0)
			return v;
	}
	return NULL;
}

static bool is_group(const char *word)
{
	size_t n = strlen(word);

	for (const struct verb *v = verbs; v->name; v++) {
		if (strncmp(v->name, word, n) == 0 && v->name[n] == ' ')
			return true;
	}
	return false;
}

static bool has_flags_of_its_own(const struct call *c)
{
	for (unsigned i = 0; i < FLAGS_MAX; i++) {
		if (c->flags[i])
			return true;
	}
	return false;
}

/* "backup" is a command, and "backup verify" is another one. */
static bool take_second_word(struct call *c, const char *word)
{
	if (c->word_count || has_flags_of_its_own(c))
		return false;
	char *name = mem_printf("%s %s", c->verb->name, word);
	const struct verb *longer = verb_find(name);
	mem_free(name);
	if (longer)
		c->verb = longer;
	return longer;
}

/* `next`, the token behind it or NULL, only helps to guess what was meant. */
static bool take_command_word(struct call *c, const char *word, const char *next)
{
	char *name = c->group ? mem_printf("%s %s", c->group, word) : mem_strdup(word);

	c->verb = verb_find(name);
	bool is_known = true;
	if (c->verb) {
		c->group = NULL;
	} else if (!c->group && strcmp(word, "help") == 0) {
		c->is_help = true;
	} else if (!c->group && is_group(word)) {
		c->group = word;
	} else {
		char *hint = help_suggest_command(name, c->group ? NULL : next);

		is_known = complain_usage(c, hint, "There is no such command:", name);
		mem_free(hint);
	}
	mem_free(name);
	return is_known;
}

static unsigned words_count(const struct verb *v)
{
	unsigned n = 0;

	while (v->words && v->words[n].name)
		n++;
	return n;
}

static bool take_word(struct call *c, const char *word)
{
	if (c->word_count == words_count(c->verb))
		return complain_usage(c, NULL, "This is one word too many:", word);
	c->words[c->word_count++] = word;
	return true;
}

bool call_parse(struct call *c, unsigned count, const char *const *tokens)
{
	bool has_flags = true;

	for (unsigned i = 0; i < count; i++) {
		const char *token = tokens[i];
		bool ok;

		if (has_flags && strcmp(token, "--") == 0) {
			has_flags = false;
			continue;
		}
		if (has_flags && token[0] == '-' && token[1])
			ok = take_flag(c, count, tokens, &i);
		else if (!c->verb)
			ok = take_command_word(c, token, i + 1 < count ? tokens[i + 1] : NULL);
		else
			ok = take_second_word(c, token) || take_word(c, token);
		if (!ok) { /* it may stand behind the mistake */
			for (; i < count; i++)
				c->is_json = c->is_json || strcmp(tokens[i], "--json") == 0;
			return false;
		}
		if (c->verb && c->verb->run == help_complete) {
			c->rest = tokens + i + 1;
			c->rest_count = count - i - 1;
			return true;
		}
	}
	return true;
}

bool call_args(struct call *c)
{
	c->args = json_object();
	for (unsigned i = 0; i < words_count(c->verb); i++) {
		const struct word *w = &c->verb->words[i];

		if (i < c->word_count &&
		    json_object_set_new(c->args, w->key, json_string(c->words[i])) != 0)
			return complain_usage(c, NULL, "This is no UTF-8 text:", c->words[i]);
		if (i >= c->word_count && !w->is_optional)
			return complain_usage(c, NULL, "A word is missing:", w->name);
	}
	return true;
}
