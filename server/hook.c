/* hook.c - loads modules and sorts their hooks into the lists that passes walk. */
#include "hook.h"

#include <dlfcn.h>
#include <string.h>

#include "conf.h"

/* The module being loaded: where the file names it, and where what is wrong with it goes. */
struct load {
	struct hooks *hooks;
	const struct module_conf *conf;
	struct buffer *errors;
	unsigned index;
};

static void problem(struct load *l, const char *format, ...) PRINTF(2, 3);
static void problem(struct load *l, const char *format, ...)
{
	char line[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	buffer_addf(l->errors, "%s: module '%s' %s\n", l->conf->place, l->conf->name, line);
}

static void list_insert(struct hook_list *l, const struct hook *hook, unsigned module)
{
	unsigned at = l->count;

	l->entries = mem_realloc(l->entries, (l->count + 1) * sizeof *l->entries);
	/* Behind its own stage's others: modules in the order of their loading. */
	while (at > 0 && l->entries[at - 1].hook->stage > hook->stage)
		at--;
	memmove(l->entries + at + 1, l->entries + at, (l->count - at) * sizeof *l->entries);
	l->entries[at] = (struct hook_entry){ .hook = hook, .module = (uint16_t)module };
	l->count++;
}

static uint32_t iq_hash(enum stanza_type type, const char *ns, const char *name)
{
	return hash_bytes(ns, strlen(ns)) * 31 + hash_bytes(name, strlen(name)) + (uint32_t)type;
}

const struct hook_entry *hooks_find_iq(const struct hooks *h, enum stanza_type type, const char *ns,
                                       const char *name, enum home_kind kind)
{
	struct hash_node *n;

	if (!ns)
		return NULL;
	for (n = hash_first(&h->iqs, iq_hash(type, ns, name)); n; n = hash_next(n)) {
		const struct hook_entry *e = &CONTAINER_OF(n, struct iq_hook, node)->entry;

		if (e->hook->type == type && (e->hook->homes & kind) && strcmp(e->hook->name, name) == 0 &&
		    strcmp(e->hook->ns, ns) == 0)
			return e;
	}
	return NULL;
}

static void iq_insert(struct load *l, const struct hook *hook)
{
	struct hooks *h = l->hooks;
	struct iq_hook *iq;

	for (unsigned kind = 0; kind < HOME_KINDS; kind++) {
		const struct hook_entry *other =
		    (hook->homes >> kind) & 1
			? hooks_find_iq(h, hook->type, hook->ns, hook->name, 1u << kind)
			: NULL;

		if (other) {
			problem(l, "answers {%s}%s, as module '%s' does: load one of them", hook->ns,
			        hook->name, h->modules[other->module]->name);
			return;
		}
	}
	iq = mem_zalloc(sizeof *iq);
	iq->entry = (struct hook_entry){ .hook = hook, .module = (uint16_t)l->index };
	hash_add(&h->iqs, &iq->node, iq_hash(hook->type, hook->ns, hook->name));
}

static bool hook_is_whole(const struct hook *hook)
{
	if (hook->event > EVENT_COUNT || hook->homes == 0 || hook->homes >> HOME_KINDS)
		return false;
	switch ((enum event)hook->event) {
	case EVENT_STANZA:
		return hook->run && hook->dir <= IN && hook->stage <= ACT && hook->kinds &&
		       !(hook->kinds >> STANZA_KINDS);
	case EVENT_IQ:
		return hook->run && hook->ns && hook->name &&
		       (hook->type == IQ_GET || hook->type == IQ_SET);
	case EVENT_LOAD:
	case EVENT_RELOAD:
		return hook->load && hook->loaded;
	default:
		return hook->run != NULL;
	}
}

static void hook_insert(struct load *l, const struct hook *hook)
{
	struct hooks *h = l->hooks;

	h->homes[l->index] |= hook->homes;
	if (hook->event == EVENT_IQ) {
		iq_insert(l, hook);
		return;
	}
	for (unsigned home = 0; home < HOME_KINDS; home++) {
		if (!((hook->homes >> home) & 1))
			continue;
		if (hook->event != EVENT_STANZA) {
			list_insert(&h->events[home][hook->event], hook, l->index);
			continue;
		}
		for (unsigned kind = 0; kind < STANZA_KINDS; kind++)
			if ((hook->kinds >> kind) & 1)
				list_insert(&h->stages[home][hook->dir][kind], hook, l->index);
	}
}

static void module_insert(struct load *l, const struct module *m, void *handle)
{
	struct hooks *h = l->hooks;

	l->index = h->module_count++;
	h->modules[l->index] = m;
	h->handles[l->index] = handle;
	h->features[l->index] = m->features;
	for (const struct hook *hook = m->hooks; hook && hook->event != EVENT_COUNT; hook++) {
		if (hook_is_whole(hook))
			hook_insert(l, hook);
		else
			problem(l, "is not whole: entry %u of its hooks lacks something",
			        (unsigned)(hook - m->hooks));
	}
	for (const char *const *f = m->stream_features; f && *f; f++)
		buffer_adds(&h->stream_features, *f);
}

static void module_load(struct load *l, const char *dir)
{
	const char *name = l->conf->name;
	char *path = mem_printf("%s/%s.so", dir, name), *symbol = mem_printf("mod_%s", name);
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct module *m = handle ? dlsym(handle, symbol) : NULL;

	if (!handle)
		problem(l, "cannot be loaded: %s", dlerror());
	else if (!m)
		problem(l, "is not in %s: that has no symbol '%s'", path, symbol);
	else if (m->api != MUSTER_API)
		problem(l, "in %s was built for module interface %u, this server has %u: build it again",
		        path, m->api, MUSTER_API);
	else if (!m->name || strcmp(m->name, name) != 0)
		problem(l, "in %s calls itself '%s'", path, m->name ? m->name : "");
	else
		module_insert(l, m, handle);
	mem_free(path);
	mem_free(symbol);
}

struct hooks *hooks_load(const char *dir, const struct module_conf *modules, unsigned count, char **errors)
{
	struct hooks *h = mem_zalloc(sizeof *h);
	struct buffer problems = { 0 };

	h->modules = mem_zalloc((count + 1) * sizeof *h->modules);
	h->handles = mem_zalloc((count + 1) * sizeof *h->handles);
	h->homes = mem_zalloc(count + 1);
	h->features = mem_zalloc((count + 1) * sizeof *h->features);
	for (unsigned i = 0; i < count; i++) {
		struct load l = { .hooks = h, .conf = &modules[i], .errors = &problems };

		module_load(&l, dir);
	}
	*errors = problems.data;
	if (problems.len == 0)
		return h;
	hooks_free(h);
	return NULL;
}

void hooks_free(struct hooks *h)
{
	struct hash_node *n;

	for (unsigned home = 0; home < HOME_KINDS; home++) {
		for (unsigned i = 0; i < 2 * STANZA_KINDS; i++)
			mem_free(h->stages[home][i / STANZA_KINDS][i % STANZA_KINDS].entries);
		for (unsigned event = 0; event < EVENT_COUNT; event++)
			mem_free(h->events[home][event].entries);
	}
	while ((n = hash_walk(&h->iqs, NULL))) {
		hash_remove(&h->iqs, n);
		mem_free(CONTAINER_OF(n, struct iq_hook, node));
	}
	hash_free(&h->iqs);
	buffer_free(&h->stream_features);
	mem_free(h->features);
	mem_free(h->homes);
	mem_free(h->handles);
	mem_free(h->modules);
	mem_free(h);
}
