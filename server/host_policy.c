/* host_policy.c - what a host may set for itself: the core's table, and those of the modules. Used when the
 * hosts are read, and by the administrator's commands. */
#include <string.h>

#include "conf.h"
#include "hook.h"
#include "host.h"
#include "module.h"
#include "sasl.h"

/* clang-format off */

static const char *const conflicts[] = {
	[CONFLICT_REPLACE] = "replace", [CONFLICT_REFUSE] = "refuse", [CONFLICT_RENAME] = "rename", NULL
};

const char *const record_policy_names[] = {
	[RECORD_DELIVER_AFTER] = "deliver-after-commit",
	[RECORD_ACKNOWLEDGE_AFTER] = "acknowledge-after-commit",
	[RECORD_OFF] = "off", NULL
};

const struct option host_policy_options[] = {
	{ .name = "record", .type = OPT_CHOICE, .offset = offsetof(struct host_policy, record),
	  .fallback = "deliver-after-commit", .choices = record_policy_names,
	  .help = "Whether messages are put on record, and what waits for that: their delivery, or only the "
	          "acknowledgement to their sender." },
	{ .name = "hints", .type = OPT_WORDS, .offset = offsetof(struct host_policy, hints),
	  .fallback = "store no-copy", .choices = hint_names,
	  .help = "Which hints of senders are obeyed (XEP-0334): to put on record what is no content, to keep "
	          "content off the record, to copy it to no other client of a user." },
	{ .name = "registration", .type = OPT_BOOL, .offset = offsetof(struct host_policy, registration),
	  .fallback = "false", .help = "Whether strangers may make accounts from their clients (XEP-0077)." },
	{ .name = "mechanisms", .type = OPT_WORDS, .offset = offsetof(struct host_policy, mechanisms),
	  .fallback = "", .choices = sasl_names, .help = "The only SASL mechanisms that are offered; none: all." },
	{ .name = "anonymous", .type = OPT_BOOL, .offset = offsetof(struct host_policy, anonymous),
	  .fallback = "false", .help = "Whether guests may log in without an account (XEP-0175)." },
	{ .name = "conflict", .type = OPT_CHOICE, .offset = offsetof(struct host_policy, conflict),
	  .fallback = "replace", .choices = conflicts,
	  .help = "When a client asks for a resource that another has: the newcomer gets it, is refused, or gets "
	          "another." },
	OPTIONS_END
};

/* clang-format on */

void host_policy_default(struct host *host, const struct hooks *hooks, struct arena *a)
{
	options_default(host_policy_options, &host->policy, a);
	host->module_policies = arena_zalloc(a, (hooks->module_count + 1) * sizeof(void *));
	for (unsigned i = 0; i < hooks->module_count; i++) {
		const struct module *m = hooks->modules[i];

		if (!m->policies)
			continue;
		host->module_policies[i] = arena_zalloc(a, m->policies_size);
		options_default(m->policies, host->module_policies[i], a);
	}
}

struct search {
	const char *name;
	const struct option *found;
	const void *base;
};

/* What a policy took before it had more than two values. */
static const char *present_value(const struct option *option, const char *value)
{
	if (option->choices != record_policy_names ||
	    (strcmp(value, "true") != 0 && strcmp(value, "false") != 0))
		return value;
	return record_policy_names[value[0] == 't' ? RECORD_DELIVER_AFTER : RECORD_OFF];
}

static void search_look(void *arg, const char *name, const struct option *option, const void *base)
{
	struct search *s = arg;

	if (strcmp(name, s->name) != 0)
		return;
	s->found = option;
	s->base = base;
}

char *host_policy_read(struct host *host, const struct hooks *hooks, const char *name, const char *value,
                       struct arena *a)
{
	struct search s = { .name = name };

	host_policy_each(host, hooks, search_look, &s);
	if (!s.found)
		return mem_printf("no loaded module knows a policy \"%.100s\"", name);
	return value ? option_read(s.found, (void *)s.base, present_value(s.found, value), a) : NULL;
}

void host_policy_each(const struct host *host, const struct hooks *hooks, host_policy_fn *fn, void *arg)
{
	const struct option *o;
	char *name;

	for (o = host_policy_options; o->name; o++)
		fn(arg, o->name, o, &host->policy);
	for (unsigned i = 0; i < hooks->module_count; i++) {
		for (o = hooks->modules[i]->policies; o && o->name; o++) {
			name = mem_printf("%s.%s", hooks->modules[i]->name, o->name);
			fn(arg, name, o, host->module_policies[i]);
			mem_free(name);
		}
	}
}
