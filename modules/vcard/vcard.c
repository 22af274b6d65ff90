/* vcard.c - XEP-0054: what an account tells about itself, stored as it was sent. The home remembers of it
 * only the picture's hash; the search finds it by its words. A host has a card too, without storing one. */
#include "vcard.h"

#include <string.h>

#define SHOWN_MAX 255 /* bytes of a name or address that the search shows */

struct vcard_options {
	int64_t bytes;
};

static const struct option options[] = {
	{ "bytes", OPT_BYTES, offsetof(struct vcard_options, bytes), "128k",
	  "The largest card, with its picture.", 1 << 10, 16 << 20, NULL },
	OPTIONS_END,
};

enum visible { VISIBLE_ALL, VISIBLE_HOST, VISIBLE_CONTACTS };
static const char *const visible_words[] = { "all", "host", "contacts", NULL };

struct vcard_policy {
	int64_t visible;
};

static const struct option policies[] = {
	{ "visible", OPT_CHOICE, offsetof(struct vcard_policy, visible), "all",
	  "Who may read the cards of this host's accounts: all, the host's accounts, or those who see the "
	  "account's presence.",
	  0, 0, visible_words },
	OPTIONS_END,
};

const char *vcard_text(struct ctx *c, const struct element *card, const char *outer, const char *inner)
{
	const struct element *e = element_child(card, outer, VCARD_NS);
	const char *text;

	if (e && inner)
		e = element_child(e, inner, VCARD_NS);
	text = e ? element_get_text(e, &c->scratch) : "";
	return *text ? text : NULL;
}

/* ---- loading */

static const struct sql sql_load = {
	.name = "vcard_load",
	.text = "select photo from vcard where owner = $1 and photo is not null",
};

static enum verdict on_load(struct ctx *c, const struct rows *r)
{
	const char *photo = rows_count(r) ? rows_text(r, 0, 0) : "";
	struct vcard *v;

	if (strlen(photo) != HASH_TEXT - 1)
		return DONE;
	v = home_data(c);
	memcpy(v->photo, photo, HASH_TEXT);
	return DONE;
}

/* ---- get */

static const struct sql sql_get = {
	.name = "vcard_get",
	.text = "select v.content, a.display from account a left join vcard v on v.owner = a.id"
		" where a.id = $1",
};

static bool may_read(struct ctx *c)
{
	const struct vcard_policy *p = module_policy(c);
	const struct jid *host = home_host(c->home);

	if (is_from_owner(c) || roster_sees_us(roster_find(home_roster(c->home), c->from)))
		return true;
	if (p->visible == VISIBLE_HOST)
		return host && jid_has_local(c->from) && jid_domain_len(c->from) == host->len &&
		       memcmp(jid_domain(c->from), host->text, host->len) == 0;
	return p->visible == VISIBLE_ALL;
}

/* A guest is none of "the host's accounts": stopped in his own home, as nobody else knows him for one. */
static enum verdict on_guest(struct ctx *c)
{
	const struct vcard_policy *p = module_policy(c);
	const struct element *card = element_first(c->stanza->root);

	if (!home_is_guest(c->home) || p->visible != VISIBLE_HOST || c->stanza->type != IQ_GET || !card ||
	    !element_is(card, "vCard", VCARD_NS) || !jid_has_local(c->to) ||
	    jid_is_same_bare(c->to, home_jid(c->home)))
		return PASS;
	return refuse(c, SERVICE_UNAVAILABLE, NULL);
}

/* Section 3.3: a card that is not there is answered like an account that is not there. */
static enum verdict refuse_card(struct ctx *c)
{
	return refuse(c, is_from_owner(c) ? ITEM_NOT_FOUND : SERVICE_UNAVAILABLE, NULL);
}

/* Whoever has written no card is called as his administrators call him. */
static enum verdict reply_name(struct ctx *c, const char *name)
{
	struct stanza *result = reply_new(c);

	element_add_text(result, element_add(result, result->root, "vCard", VCARD_NS), "FN", VCARD_NS,
	                 name);
	return reply(c, result);
}

static enum verdict on_got(struct ctx *c, const struct rows *r)
{
	const char *text = rows_count(r) ? rows_text(r, 0, 0) : NULL;
	const char *name = rows_count(r) ? rows_text(r, 0, 1) : NULL;
	struct stanza *result, *card;

	if (rows_status(r) != STORE_OK)
		return refuse_unstored(c, r);
	if (!text && name && *name)
		return reply_name(c, name);
	card = text ? stanza_parse(text, strlen(text)) : NULL;
	if (!card)
		return refuse_card(c);
	result = reply_new(c);
	element_copy(result, result->root, card->root);
	stanza_unref(card);
	return reply(c, result);
}

static enum verdict on_get(struct ctx *c)
{
	if (!may_read(c))
		return refuse_card(c);
	return fetch(c, on_got, &sql_get, PARAMS(P_INT(home_account(c->home))));
}

static enum verdict on_get_host(struct ctx *c)
{
	struct stanza *result = reply_new(c);
	struct element *card = element_add(result, result->root, "vCard", VCARD_NS);

	element_add_text(result, card, "FN", VCARD_NS, "Muster");
	element_add_text(result, card, "DESC", VCARD_NS, "An XMPP server.");
	element_add_text(result, card, "JABBERID", VCARD_NS, home_jid(c->home)->text);
	return reply(c, result);
}

/* ---- set */

static const struct sql sql_set = {
	.name = "vcard_set",
	.text = "insert into vcard (owner, content, photo, full_name, given, family, nickname, email)"
		" values ($1, $2, $3, $4, $5, $6, $7, $8)"
		" on conflict (owner) do update set content = excluded.content, photo = excluded.photo,"
		" full_name = excluded.full_name, given = excluded.given, family = excluded.family,"
		" nickname = excluded.nickname, email = excluded.email",
};

/* What the search shows of it. */
static const char *shown(struct ctx *c, const struct element *card, const char *outer, const char *inner)
{
	const char *text = vcard_text(c, card, outer, inner);

	return text && strlen(text) <= SHOWN_MAX ? text : NULL;
}

static void card_store(struct ctx *c, struct write *w, const struct element *card, const char *photo)
{
	struct stanza *st = stanza_new_other("vCard", VCARD_NS);
	struct buffer content = { 0 };

	for (const struct element *e = card->children; e; e = e->next)
		if (e->name)
			element_copy(st, st->root, e);
	stanza_write(&content, stanza_seal(st), NULL, NULL);
	stanza_unref(st);
	write_add(w, &sql_set,
	          PARAMS(P_INT(home_account(c->home)), P_TEXTN(content.data, content.len), P_TEXT(photo),
	                 P_TEXT(shown(c, card, "FN", NULL)), P_TEXT(shown(c, card, "N", "GIVEN")),
	                 P_TEXT(shown(c, card, "N", "FAMILY")), P_TEXT(shown(c, card, "NICKNAME", NULL)),
	                 P_TEXT(shown(c, card, "EMAIL", "USERID"))));
	buffer_free(&content);
}

static enum verdict on_stored(struct ctx *c, const struct rows *r)
{
	struct vcard *v = home_data(c);
	const char *photo = c->own;
	bool had_picture = *v->photo;

	if (rows_status(r) != STORE_OK)
		return refuse_unstored(c, r);
	reply(c, NULL);
	if (strcmp(v->photo, photo) == 0)
		return DONE;
	memcpy(v->photo, photo, strlen(photo) + 1);
	avatar_changed(c, had_picture);
	return DONE;
}

static enum verdict on_set(struct ctx *c)
{
	const struct vcard_options *o = module_options(c);
	const struct element *card = element_first(c->stanza->root);
	const char *photo;
	struct write *w;

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	if (c->stanza->bytes_len > o->bytes)
		return refuse(c, NOT_ACCEPTABLE, "The card is too large; a smaller picture will help.");
	photo = avatar_hash(c, card);
	c->own = arena_strdup(&c->scratch, photo ? photo : "");
	w = begin_write(c);
	card_store(c, w, card, photo);
	words_store(c, w, card);
	return change(c, w, on_stored);
}

static const char *const features[] = { VCARD_NS, NULL };

static const struct hook hooks[] = {
	ON_LOAD(HOME_USER, &sql_load, on_load),
	ON_IQ_GET(VCARD_NS, "vCard", HOME_USER, on_get),
	ON_IQ_SET(VCARD_NS, "vCard", HOME_USER, on_set),
	ON_IQ_GET(VCARD_NS, "vCard", HOME_HOST, on_get_host),
	AT_STAGE(OUT, GUARD, ON_IQ, HOME_USER, on_guest),
	AT_STAGE(OUT, CHANGE, ON_PRESENCE, HOME_USER, avatar_on_presence),
	HOOKS_END,
};

const struct module mod_vcard = {
	.api = MUSTER_API,
	.name = "vcard",
	.about = "What accounts tell about themselves, and their pictures.",
	.spec = "XEP-0054, XEP-0153, XEP-0398 section 4",
	.features = features,
	.hooks = hooks,
	.options = options,
	.options_size = sizeof(struct vcard_options),
	.policies = policies,
	.policies_size = sizeof(struct vcard_policy),
	.home_size = sizeof(struct vcard),
};
