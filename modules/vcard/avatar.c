/* avatar.c - XEP-0153: the picture in the card is known by its hash, which goes with the account's
 * presence, also where the client does not know it itself (XEP-0398 section 4). */
#include <string.h>

#include "vcard.h"

#define UPDATE_NS "vcard-temp:x:update"

/* ---- the hash */

/* Base64 may have line breaks in it (XEP-0153 section 4.6), which our decoder does not take. */
static size_t strip_space(char *text)
{
	char *to = text;

	for (const char *at = text; *at; at++)
		if (!strchr(" \t\r\n", *at))
			*to++ = *at;
	*to = '\0';
	return (size_t)(to - text);
}

const char *avatar_hash(struct ctx *c, const struct element *card)
{
	const char *binval = vcard_text(c, card, "PHOTO", "BINVAL");
	unsigned char digest[DIGEST_SHA1];
	char *text, *picture;
	size_t n, len;

	if (!binval)
		return NULL;
	text = arena_strdup(&c->scratch, binval);
	n = strip_space(text);
	picture = arena_alloc(&c->scratch, n + 1);
	if (!base64_decode(text, n, picture, n, &len) || len == 0)
		return NULL; /* no picture that anybody could show */
	digest_sha1(picture, len, digest);
	return digest_hex(&c->scratch, digest, sizeof digest);
}

/* ---- presence */

/* Whether the presence goes out as it is. XEP-0398 section 4: a <photo/> without content says that the
 * client wants no picture shown; an <x/> without <photo/> is overwritten, and so is a hash that is not
 * ours. */
static bool is_right(struct ctx *c, const char *hash)
{
	const struct element *x = element_child(c->stanza->root, "x", UPDATE_NS);
	const struct element *photo = x ? element_child(x, "photo", UPDATE_NS) : NULL;
	const char *text;

	if (!photo)
		return false;
	text = element_get_text(photo, &c->scratch);
	return !*text || strcmp(text, hash) == 0;
}

static void add_update(struct stanza *st, const char *hash)
{
	struct element *x = element_add(st, st->root, "x", UPDATE_NS);

	element_add_text(st, x, "photo", UPDATE_NS, hash);
}

/* The presence with this hash in the place of its own. A new reference. */
static struct stanza *with_hash(struct stanza *presence, const char *hash)
{
	const struct element *root = presence->root;
	struct stanza *st;

	if (!element_child(root, "x", UPDATE_NS)) {
		st = stanza_derive(presence);
		add_update(st, hash);
		return stanza_seal(st);
	}
	st = stanza_new(presence->kind, presence->type, presence->id);
	if (presence->to) /* directed: modules ask for it */
		st->to = arena_strdup(&st->arena, presence->to);
	if (element_lang(root))
		element_set(st, st->root, "xml:lang", element_lang(root));
	add_update(st, hash);
	for (const struct element *e = root->children; e; e = e->next)
		if (!element_is(e, "x", UPDATE_NS))
			element_copy(st, st->root, e);
	return stanza_seal(st);
}

enum verdict avatar_on_presence(struct ctx *c)
{
	const struct vcard *v;

	if (c->stanza->type != PRESENCE_AVAILABLE)
		return PASS;
	v = home_data_if_any(c);
	if (v && *v->photo && !is_right(c, v->photo))
		ctx_replace(c, with_hash(c->stanza, v->photo));
	return PASS;
}

/* Whether a session shows no picture although there was one: then it wants none. */
static bool hides_picture(struct ctx *c, const struct session *s)
{
	const struct element *x = element_child(s->presence->root, "x", UPDATE_NS);
	const struct element *photo = x ? element_child(x, "photo", UPDATE_NS) : NULL;

	return photo && !*element_get_text(photo, &c->scratch);
}

void avatar_changed(struct ctx *c, bool had_picture)
{
	const struct vcard *v = home_data(c);
	struct session *s;

	SESSION_EACH (s, c->home)
		if (s->presence && !(had_picture && hides_picture(c, s)))
			session_say(c, s, with_hash(s->presence, v->photo));
}
