/* words.c - what an account is found by: the words of its card, folded, in table `directory`, which the
 * search reads. Made anew with each card. */
#include <string.h>

#include "vcard.h"

#define WORDS_MAX 16 /* of one card in one field */
#define WORD_MAX 64  /* bytes of one word */

static const struct sql sql_clear = {
	.name = "directory_clear",
	.text = "delete from directory where owner = $1 and by_admin = 0",
};
static const struct sql sql_add = {
	.name = "directory_add",
	.text = "insert into directory (host, field, word, owner) select host, $1, $2, id from account"
		" where id = $3 on conflict (host, field, word, owner, by_admin) do nothing",
};

/* Where the words of which field come from. Whoever has written only the full name is found by its parts. */
static const struct {
	const char *field, *outer, *inner;
	bool is_one_word;
} sources[] = {
	{ "first", "N", "GIVEN", false },    { "first", "FN", NULL, false },
	{ "last", "N", "FAMILY", false },    { "last", "FN", NULL, false },
	{ "nick", "NICKNAME", NULL, false }, { "email", "EMAIL", "USERID", true },
};

static void add_words(struct ctx *c, struct write *w, const char *field, char *rest, const char *between)
{
	unsigned n = 0;
	char *word;

	while (n++ < WORDS_MAX && (word = strtok_r(rest, between, &rest)))
		if (strlen(word) <= WORD_MAX)
			write_add(w, &sql_add,
			          PARAMS(P_TEXT(field), P_TEXT(word), P_INT(home_account(c->home))));
}

void words_store(struct ctx *c, struct write *w, const struct element *card)
{
	const char *text;

	write_add(w, &sql_clear, PARAMS(P_INT(home_account(c->home))));
	for (unsigned i = 0; i < COUNT_OF(sources); i++) {
		text = vcard_text(c, card, sources[i].outer, sources[i].inner);
		if (text)
			add_words(c, w, sources[i].field, text_fold(&c->scratch, text),
			          sources[i].is_one_word ? "\n" : " \t\r\n,;");
	}
}
