/* home_view.c - a home as modules see it through module.h: who it is, what they keep in it, ids, disco. */
#include <stdio.h>
#include <string.h>

#include "pass_parts.h"
#include "server.h"

const struct jid *home_jid(const struct home *h)
{
	return h->jid;
}

enum home_kind home_kind(const struct home *h)
{
	return h->kind;
}

int64_t home_newest_entry(const struct home *h)
{
	return h->newest_entry;
}

int64_t home_account(const struct home *h)
{
	return h->account;
}

bool home_records(const struct home *h)
{
	return h->record != RECORD_OFF;
}

const char *home_record_policy(const struct home *h)
{
	return record_policy_names[h->record];
}

const char *const hint_names[] = { [HINT_STORE] = "store",
	                           [HINT_NO_PERMANENT_STORE] = "no-permanent-store",
	                           [HINT_NO_STORE] = "no-store",
	                           [HINT_NO_COPY] = "no-copy",
	                           NULL };

bool home_obeys(const struct home *h, enum hint hint)
{
	return h->hints >> hint & 1;
}

bool home_is_guest(const struct home *h)
{
	return h->is_guest;
}

struct roster *home_roster(struct home *h)
{
	return &h->roster;
}

struct blocks *home_blocks(struct home *h)
{
	return &h->blocks;
}

/* Neither oneself nor the own server can be blocked: not even by a block of the whole domain. */
bool is_blocked(const struct home *h, const struct jid *j)
{
	return h->blocks.items.count > 0 && blocks_cover(&h->blocks, j) && !jid_is_same_bare(j, h->jid) &&
	       (jid_has_local(j) || jid_domain_len(j) != jid_domain_len(h->jid) ||
	        memcmp(jid_domain(j), jid_domain(h->jid), jid_domain_len(j)) != 0);
}

struct list *home_sessions(struct home *h)
{
	return &h->sessions;
}

void *home_data_if_any(struct ctx *c)
{
	struct home_data *d = c->home->data;

	while (d && d->module != pass_of(c)->module)
		d = d->next;
	return d ? d->bytes : NULL;
}

void *home_data(struct ctx *c)
{
	struct home *h = c->home;
	unsigned module = pass_of(c)->module;
	void *data = home_data_if_any(c);
	struct home_data *d;

	if (data)
		return data;
	d = mem_zalloc(sizeof *d + h->reactor->hooks->modules[module]->home_size);
	d->module = module;
	d->next = h->data;
	h->data = d;
	return d->bytes;
}

const void *module_options(struct ctx *c)
{
	return c->home->reactor->conf->module_options[pass_of(c)->module];
}

const void *module_policy(struct ctx *c)
{
	const struct host *host = home_host_entry(c->home);
	unsigned module = pass_of(c)->module;

	return host ? host->module_policies[module] : c->home->reactor->hosts->none.module_policies[module];
}

const struct jid *home_host(const struct home *h)
{
	const struct host *host = home_host_entry(h);

	return host ? host->jid : NULL;
}

void module_log(struct ctx *c, enum log_level level, const char *format, ...)
{
	const struct hooks *hooks = c->home->reactor->hooks;
	char sentence[1024];
	va_list args;

	if (!log_wants(level))
		return;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	log_line(level, hooks->modules[pass_of(c)->module]->name, c->home->jid->text, c->trace, "%s",
	         sentence);
}

bool module_features(struct ctx *c, unsigned i, const char *const **features)
{
	const struct hooks *hooks = c->home->reactor->hooks;

	if (i >= hooks->module_count)
		return false;
	*features = hooks->features[i];
	/* A host announces all that it and its accounts can do; a service only what is done there. */
	if (c->home->kind == HOME_SERVICE &&
	    !((hooks->homes[i] & HOME_SERVICE) && home_has_module(c->home, i)))
		*features = NULL;
	return true;
}

bool is_from_owner(const struct ctx *c)
{
	return jid_is_same_bare(c->from, c->home->jid);
}

int64_t server_started(const struct ctx *c)
{
	return c->home->reactor->server->started;
}

int64_t now_us(const struct ctx *c)
{
	return c->home->reactor->now;
}

/* Microseconds in the upper bits (enough until 2255), random bits below: unpredictable for others, above
 * the owner's newest. */
int64_t entry_id_new(struct ctx *c)
{
	struct home *h = c->home;
	uint16_t random;
	int64_t id;

	reactor_random(h->reactor, &random, sizeof random);
	id = h->reactor->now << ID_TIME_SHIFT | (random & 0x3ff);
	if (id <= h->newest_entry)
		id = h->newest_entry + 1 + (random & 0x7);
	h->newest_entry = id;
	return id;
}

/* Microseconds, then which reactor (8 bits), then a count (2): unique on the node without
 * asking anybody. */
int64_t record_id_new(struct ctx *c)
{
	struct reactor *r = c->home->reactor;
	int64_t own = (int64_t)r->index << 2, id = r->now << ID_TIME_SHIFT | own;

	if (id <= r->newest_record)
		id = r->newest_record + 1;
	if ((id & 0x3fc) != own) /* the count of this microsecond is used up: borrow from the next */
		id = ((r->newest_record >> ID_TIME_SHIFT) + 1) << ID_TIME_SHIFT | own;
	r->newest_record = id;
	return id;
}

bool service_is_offered(struct ctx *c, unsigned module)
{
	const struct module *m = c->home->reactor->hooks->modules[module];
	struct pass *p = pass_of(c);
	uint16_t before = p->module;
	bool is_offered;

	if (!m->is_offered)
		return true;
	p->module = (uint16_t)module;
	is_offered = m->is_offered(c);
	p->module = before;
	return is_offered;
}

const struct jid *host_service(struct ctx *c, unsigned i)
{
	const struct hosts *hosts = c->home->reactor->hosts;
	const struct host *host = home_host_entry(c->home);

	for (unsigned at = 0; at < hosts->service_count; at++)
		if (hosts->services[at].host == host && service_is_offered(c, hosts->services[at].module) &&
		    i-- == 0)
			return hosts->services[at].jid;
	return NULL;
}

struct element *disco_element(struct ctx *c, struct stanza **st)
{
	struct pass *p = pass_of(c);

	*st = p->disco_stanza;
	return p->disco;
}

void disco_identity(struct ctx *c, const char *category, const char *type, const char *name)
{
	struct stanza *st;
	struct element *query = disco_element(c, &st), *e = element_add(st, query, "identity", query->ns);

	element_set(st, e, "category", category);
	element_set(st, e, "type", type);
	if (name)
		element_set(st, e, "name", name);
}

void disco_feature(struct ctx *c, const char *var)
{
	struct stanza *st;
	struct element *query = disco_element(c, &st);

	element_set(st, element_add(st, query, "feature", query->ns), "var", var);
}

void disco_run(struct ctx *c, enum event event, struct stanza *st, struct element *query)
{
	struct pass *p = pass_of(c);
	const struct hook_list *list =
	    &c->home->reactor->hooks->events[home_kind_index(c->home->kind)][event];
	uint16_t module = p->module;

	p->disco = query;
	p->disco_stanza = st;
	for (unsigned i = 0; i < list->count; i++) {
		p->module = list->entries[i].module;
		if (home_has_module(c->home, p->module))
			list->entries[i].hook->run(c);
	}
	p->module = module;
}
