/* announce.c - musterctl announce: reads the text, and shows how many have been told. */
#include <stdio.h>
#include <string.h>

#include "parts.h"

#define TEXT_MAX (64 * 1024)

static bool on_told(struct call *c, const json_t *progress, void *arg)
{
	(void)c;
	progress_show(arg, (uint64_t)json_integer_value(json_object_get(progress, "reached")));
	return true;
}

/* From the command or a file, without the line end behind it. The caller frees it; NULL: it has complained. */
static char *read_text(struct call *c)
{
	const char *path = call_flag(c, "--file"), *word = c->word_count > 1 ? c->words[1] : NULL;
	size_t n;
	char *text;

	if (!path == !word) {
		complain_usage(c, "Give the text itself or --file FILE.", "One text is needed.", NULL);
		return NULL;
	}
	if (word)
		return mem_strdup(word);
	text = file_load(c, strcmp(path, "-") == 0 ? "/dev/stdin" : path, TEXT_MAX, &n);
	while (text && n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	return text;
}

bool announce_args(struct call *c)
{
	const char *subject = call_flag(c, "--subject");

	if (call_flag(c, "--all"))
		json_object_set_new(c->args, "all", json_true());
	if (subject && json_object_set_new(c->args, "subject", json_string(subject)) != 0)
		return complain_usage(c, NULL, "This is no UTF-8 text:", subject);
	return true;
}

int announce(struct call *c)
{
	struct progress p;
	char *text = read_text(c);
	json_t *result = NULL;

	if (text && (!*text || json_object_set_new(c->args, "text", json_string(text)) != 0))
		complain_usage(c, NULL, "The text is empty or no UTF-8.", NULL);
	else if (text) {
		progress_begin(&p, c, "Told", 0);
		result = talk(c, "announce", json_incref(c->args), on_told, &p);
		progress_end(&p);
	}
	if (result && c->is_json)
		show_json(c, result);
	else if (result)
		printf("Told %lld on %s.\n",
		       (long long)json_integer_value(json_object_get(result, "reached")),
		       json_string_value(json_object_get(result, "host")));
	json_decref(result);
	mem_free(text);
	return c->status;
}
