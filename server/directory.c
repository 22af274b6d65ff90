/* directory.c - see directory.h. */
#include "directory.h"

#include <jansson.h>
#include <string.h>

#include "text.h"

#define WORDS_MAX 16 /* of one name */
#define WORD_MAX 64  /* bytes of one word */

#define OF_ACCOUNT                                                                                         \
	" (select a.id from account a join host h on h.id = a.host where a.name = $1 and h.name = $2)"

static const struct sql sql_clear_name = {
	.name = "directory_clear_name",
	.text = "delete from directory where by_admin = 1 and field <> 'email' and owner =" OF_ACCOUNT,
};
static const struct sql sql_clear_email = {
	.name = "directory_clear_email",
	.text = "delete from directory where by_admin = 1 and field = 'email' and owner =" OF_ACCOUNT,
};
static const struct sql sql_add = {
	.name = "directory_add_given",
	.text = "insert into directory (host, field, word, owner, by_admin) select a.host, $1, $2, a.id, 1"
		" from account a join host h on h.id = a.host where a.name = $3 and h.name = $4"
		" on conflict (host, field, word, owner, by_admin) do nothing",
};

typedef void word_handler(void *arg, const char *field, const char *word);

/* Nobody knows which part of a name is the family's. */
static void name_words(struct arena *a, const char *name, word_handler *on_word, void *arg)
{
	char *rest = text_fold(a, name ? name : ""), *word;

	for (unsigned n = 0; n < WORDS_MAX && (word = strtok_r(rest, " \t\r\n,;", &rest)); n++) {
		if (strlen(word) > WORD_MAX)
			continue;
		on_word(arg, "first", word);
		on_word(arg, "last", word);
	}
}

static void email_word(struct arena *a, const char *email, word_handler *on_word, void *arg)
{
	const char *word = text_fold(a, email ? email : "");

	if (*word && strlen(word) <= WORD_MAX)
		on_word(arg, "email", word);
}

/* ---- of one account */

struct target {
	struct write *write;
	const struct jid *account;
};

static void add_row(void *arg, const char *field, const char *word)
{
	const struct target *t = arg;
	const struct jid *j = t->account;

	write_add(t->write, &sql_add,
	          PARAMS(P_TEXT(field), P_TEXT(word), P_TEXTN(j->text, j->local_len),
	                 P_TEXTN(jid_domain(j), jid_domain_len(j))));
}

static void replace(struct write *w, const struct jid *account, const struct sql *clear,
                    void (*split)(struct arena *a, const char *text, word_handler *on_word, void *arg),
                    const char *text)
{
	struct target t = { w, account };
	struct arena a = { 0 };

	write_add(w, clear,
	          PARAMS(P_TEXTN(account->text, account->local_len),
	                 P_TEXTN(jid_domain(account), jid_domain_len(account))));
	split(&a, text, add_row, &t);
	arena_free(&a);
}

void directory_set_name(struct write *w, const struct jid *account, const char *name)
{
	replace(w, account, &sql_clear_name, name_words, name);
}

void directory_set_email(struct write *w, const struct jid *account, const char *email)
{
	replace(w, account, &sql_clear_email, email_word, email);
}

/* ---- of many, as JSON */

static void add_pair(void *arg, const char *field, const char *word)
{
	json_array_append_new(arg, json_pack("[s, s]", field, word));
}

const char *directory_words(struct arena *a, const char *name, const char *email)
{
	json_t *pairs = json_array();
	char *text = NULL;

	name_words(a, name, add_pair, pairs);
	email_word(a, email, add_pair, pairs);
	if (json_array_size(pairs) > 0) {
		size_t n = json_dumpb(pairs, NULL, 0, JSON_COMPACT);

		text = arena_alloc(a, n + 1);
		json_dumpb(pairs, text, n, JSON_COMPACT);
		text[n] = '\0';
	}
	json_decref(pairs);
	return text;
}
