/* musterctl.c - the administrator's tool: `musterctl COMMAND ...` asks the running server over its control
 * socket (control.h) and shows the answer, to people or as JSON. Here a command is run; table.c says which there
 * are, musterctl.h what is in the other files. The manual is musterctl(8). */
#include "musterctl.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- what commands do first */

/* Lists are of one domain when --host or the word says so. */
bool host_to_args(struct call *c)
{
	const char *host = call_flag(c, "--host");

	if (host && c->word_count)
		return complain_usage(c, NULL, "The domain is there twice:", host);
	if (host && json_object_set_new(c->args, "host", json_string(host)) != 0)
		return complain_usage(c, NULL, "This is no UTF-8 text:", host);
	return true;
}

bool flags_to_args(struct call *c)
{
	for (const struct flag *f = c->verb->flags; f && f->name; f++) {
		const char *value = call_flag(c, f->name);
		char *key = mem_strdup(f->name + 2);

		for (char *at = key; (at = strchr(at, '-'));)
			*at = '_';
		json_t *json = f->value && value ? json_string(value) : json_true();
		bool is_text = !value || json_object_set_new(c->args, key, json) == 0;
		mem_free(key);
		if (!is_text)
			return complain_usage(c, NULL, "This is no UTF-8 text:", value);
	}
	return true;
}

/* ---- running a command */

static bool on_page(struct call *c, const json_t *progress, void *arg)
{
	json_t *gathered = arg;

	if (!c->is_json) {
		show_rows(c, progress);
		return true;
	}
	const char *key;
	json_t *rows;
	json_object_foreach((json_t *)(uintptr_t)progress, key, rows)
	{
		json_t *all = json_object_get(gathered, key);

		if (!all)
			json_object_set_new(gathered, key, all = json_array());
		json_array_extend(all, rows);
	}
	return true;
}

/* Rows that came in pages stand before those of the result itself. */
static void print_json(struct call *c, json_t *gathered, json_t *result)
{
	const char *key;
	json_t *value;

	json_object_foreach(result, key, value)
	{
		json_t *all = json_object_get(gathered, key);

		if (json_is_array(all) && json_is_array(value))
			json_array_extend(all, value);
		else
			json_object_set(gathered, key, value);
	}
	if (c->verb->table && !json_object_get(gathered, c->verb->table->rows)) /* no page came */
		json_object_set_new(gathered, c->verb->table->rows, json_array());
	if (c->is_random_password)
		json_object_set(gathered, "password", json_object_get(c->args, "password"));
	show_json(c, gathered);
}

int ask_server(struct call *c)
{
	json_t *gathered = json_object();
	json_t *result = talk(c, c->verb->name, json_incref(c->args), on_page, gathered);

	if (result) {
		show_warnings(result);
		if (json_array_size(json_object_get(result, "findings")))
			c->status = CONTROL_REFUSED;
		if (c->is_json)
			print_json(c, gathered, result);
		else
			show_result(c, result);
	}
	json_decref(result);
	json_decref(gathered);
	return c->status;
}

static int call_run(struct call *c)
{
	if (c->is_json && !c->verb && !c->group && !c->is_help)
		return complain_usage(c, NULL, "A command is missing.", NULL), c->status;
	if (c->is_help || (!c->verb && !c->group)) {
		help_show(c);
		return c->is_help ? CONTROL_OK : CONTROL_USAGE;
	}
	if (!c->verb) {
		char *hint = mem_printf("\"musterctl %s --help\" lists its commands.", c->group);

		complain_usage(c, hint, "The command is not complete:", c->group);
		mem_free(hint);
		return c->status;
	}
	if (c->verb->run == help_complete)
		return c->verb->run(c);
	if (call_args(c) && (!c->verb->prepare || c->verb->prepare(c))) {
		if (c->verb->run)
			c->status = c->verb->run(c);
		else
			ask_server(c);
	}
	json_decref(c->args);
	return c->status;
}

int main(int argc, char **argv)
{
	struct call c = { .status = CONTROL_OK };

	signal(SIGPIPE, SIG_IGN);
	bool is_read = argc > 0 && call_parse(&c, (unsigned)argc - 1, (const char *const *)argv + 1);
	int status = is_read ? call_run(&c) : c.status;
	talk_close(&c);
	complain_json(&c);
	bool is_shown = fflush(stdout) == 0;
	talk_release_signals(&c);
	return is_shown || status ? status : CONTROL_BROKEN;
}
