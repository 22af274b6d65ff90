/* third.c - a module from outside the tree, as an organisation's own programmer would write it: built
 * against the installed headers alone, it answers <question xmlns='urn:example:third'/> with the number
 * given in the configuration. tests/module/run builds it, loads it and asks. */
#include <module.h>
#include <stdio.h>

struct third_options {
	int64_t answer;
};

static enum verdict on_question(struct ctx *c)
{
	const struct third_options *o = module_options(c);
	struct stanza *result = reply_new(c);
	char number[24];

	snprintf(number, sizeof(number), "%lld", (long long)o->answer);
	element_add_text(result, result->root, "answer", "urn:example:third", number);
	return reply(c, result);
}

static const char *const features[] = { "urn:example:third", NULL };

static const struct hook hooks[] = {
	ON_IQ_GET("urn:example:third", "question", HOME_HOST, on_question),
	HOOKS_END,
};

static const struct option options[] = {
	{ .name = "answer",
	  .type = OPT_INT,
	  .offset = offsetof(struct third_options, answer),
	  .fallback = "42",
	  .help = "What the question is answered with.",
	  .min = 0,
	  .max = 1000 },
	OPTIONS_END,
};

const struct module mod_third = {
	.api = MUSTER_API,
	.name = "third",
	.about = "A module from outside the tree.",
	.spec = "urn:example:third",
	.features = features,
	.hooks = hooks,
	.options = options,
	.options_size = sizeof(struct third_options),
};
