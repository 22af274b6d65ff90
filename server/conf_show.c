/* conf_show.c - prints a snapshot as a muster.conf that reads back to the same snapshot.
 *
 * For `musterd --show-config` and contrib/muster.conf.example: each key with its sentence, what it takes
 * and its default as comments. It walks the same tables as conf.c. */
#include <string.h>

#include "conf_parts.h"
#include "module.h"
#include "text.h"

static const char head[] =
    "# muster.conf - the configuration of musterd: every key with its value.\n"
    "# What is left out has its default. `musterd --show-config` prints what is in force.\n"
    "#\n"
    "# The file is YAML. Sizes take a unit: 64k, 4M, 1G. Times need one: 500ms, 10s, 5m, 2h, 1d, 1w.\n"
    "# A relative path starts from the directory of the file it stands in.\n";

static void show_help(struct buffer *b, const char *indent, const struct option *o)
{
	buffer_addf(b, "%s# %s\n%s# (", indent, o->help, indent);
	option_describe(b, o);
	buffer_adds(b, ")\n");
}

/* Of a list's entries, which are shown without: with its name. */
static void show_entry_help(struct buffer *b, const struct option *o)
{
	struct buffer help = { 0 };

	buffer_addf(&help, "%s: %s (", o->name, o->help);
	option_describe(&help, o);
	buffer_adds(&help, ")");
	buffer_adds(b, "# ");
	text_wrap(b, help.data, "#   ");
	buffer_adds(b, "\n");
	buffer_free(&help);
}

static void show_value(struct buffer *b, const char *indent, const struct option *o, const void *base)
{
	buffer_addf(b, "%s%s:", indent, o->name);
	size_t before = b->len;
	buffer_adds(b, " ");
	value_write(b, o, base);
	if (b->len == before + 1) { /* none: no blank at the end of the line */
		b->len = before;
		b->data[before] = '\0';
	}
	buffer_adds(b, "\n");
}

static void show_options(struct buffer *b, const char *indent, const struct option *table, const void *base)
{
	for (const struct option *o = table; o->name; o++) {
		show_help(b, indent, o);
		show_value(b, indent, o, base);
	}
}

static void show_listeners(struct buffer *b, const struct conf *c)
{
	for (const struct option *o = conf_listener_options; o->name; o++)
		show_entry_help(b, o);
	buffer_addf(b, "listeners:%s\n", c->listener_count == 0 ? " []" : "");
	for (unsigned i = 0; i < c->listener_count; i++) {
		for (const struct option *o = conf_listener_options; o->name; o++)
			show_value(b, o == conf_listener_options ? "  - " : "    ", o, &c->listeners[i]);
	}
}

/* Options of a module that has not been loaded, as they were written. */
static void show_unread(struct buffer *b, const struct conf_node *options)
{
	for (const struct conf_node *n = options ? options->first : NULL; n; n = n->next) {
		buffer_addf(b, "    %s:", n->key);
		if (!n->is_plain || *n->text)
			buffer_adds(b, " ");
		/* Only what means nothing must stay without quotes; a text that is plain inside brackets ("-")
		 * may not be so here. */
		if (n->is_plain && (!*n->text || strcmp(n->text, "null") == 0 || strcmp(n->text, "~") == 0))
			buffer_adds(b, n->text);
		else
			text_write(b, n->text);
		buffer_adds(b, "\n");
	}
}

static void show_module(struct buffer *b, const struct conf *c, const struct module_conf *module,
                        const struct module *const *modules, unsigned count)
{
	unsigned i = 0;

	while (i < count && strcmp(modules[i]->name, module->name) != 0)
		i++;
	if (i == count) {
		buffer_addf(b, "  %s:\n", module->name);
		show_unread(b, module->options);
		return;
	}
	buffer_addf(b, "  # %s\n  %s:\n", modules[i]->about, module->name);
	if (!modules[i]->options)
		return;
	ASSERT(i < c->module_options_count);
	show_options(b, "    ", modules[i]->options, c->module_options[i]);
}

static void show_modules(struct buffer *b, const struct conf *c, const struct module *const *modules,
                         unsigned count)
{
	buffer_addf(b, "modules:%s\n", c->module_count == 0 ? " {}" : "");
	for (unsigned i = 0; i < c->module_count; i++)
		show_module(b, c, &c->modules[i], modules, count);
}

static void show_section(struct buffer *b, const struct section *s, const struct conf *c,
                         const struct module *const *modules, unsigned count)
{
	buffer_addf(b, "\n# %s\n", s->help);
	switch (s->kind) {
	case SECTION_OPTIONS:
		buffer_addf(b, "%s:\n", s->name);
		show_options(b, "  ", s->options, (const char *)c + s->offset);
		break;
	case SECTION_LISTENERS:
		show_listeners(b, c);
		break;
	case SECTION_MODULES:
		show_modules(b, c, modules, count);
		break;
	case SECTION_INCLUDE: /* their keys have been shown */
		buffer_adds(b, "#include: conf.d/*.conf\n");
		break;
	}
}

char *conf_show(const struct conf *c, const struct module *const *modules, unsigned count)
{
	struct buffer b = { 0 };

	buffer_adds(&b, head);
	for (const struct section *s = conf_sections; s->name; s++)
		show_section(&b, s, c, modules, count);
	return b.data;
}
