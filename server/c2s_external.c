/* c2s_external.c - which accounts a client's certificate opens (RFC 6120 section 13.7.1.4, XEP-0178): looked
 * up before the features are told, so that EXTERNAL is offered only where it leads to an account. */
#include <string.h>

#include "c2s_parts.h"
#include "log.h"

/* Eight names; those that are not there are null. */
#define EIGHT "($2, $3, $4, $5, $6, $7, $8, $9)"
_Static_assert(TLS_NAMES_MAX == 8, "EIGHT");

static const struct sql sql_by_address = {
	.name = "external_by_address",
	.text = "select a.name from account a join host h on h.id = a.host where h.name = $1"
		" and a.name in " EIGHT " and a.disabled = 0 and a.guest = 0 order by a.name limit 8",
};

static const struct sql sql_by_email = {
	.name = "external_by_email",
	.text =
	    "select a.name from account a join host h on h.id = a.host where h.name = $1 and lower(a.email)"
	    " in " EIGHT
	    " and a.email is not null and a.disabled = 0 and a.guest = 0 order by a.name limit 8",
};

/* Of addresses the localparts of those that are accounts' and of this host; the others become NULL. */
static unsigned keep_local(const struct c2s *c, struct arena *a, const char *names[TLS_NAMES_MAX],
                           unsigned count)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < count; i++) {
		struct jid *j = jid_parse(names[i], strlen(names[i]));

		if (j && jid_has_local(j) && !jid_has_resource(j) && jid_domain_len(j) == c->domain->len &&
		    memcmp(jid_domain(j), c->domain->text, c->domain->len) == 0)
			names[kept++] = arena_strndup(a, j->text, j->local_len);
		jid_unref(j);
	}
	return kept;
}

static void fold_emails(struct arena *a, const char *names[TLS_NAMES_MAX], unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char *folded = arena_strdup(a, names[i]);

		for (char *p = folded; *p; p++)
			if (*p >= 'A' && *p <= 'Z')
				*p = (char)(*p + ('a' - 'A'));
		names[i] = folded;
	}
}

static void on_accounts(void *arg, const struct rows *rows)
{
	struct c2s *c = c2s_answered(arg);
	struct stanza *hasty;

	if (!c)
		return;
	if (rows_status(rows) == STORE_OK && rows_count(rows) > 0) {
		c->opened = mem_zalloc(sizeof *c->opened);
		for (unsigned i = 0; i < rows_count(rows) && i < TLS_NAMES_MAX; i++)
			c->opened->accounts[c->opened->count++] = mem_strdup(rows_text(rows, i, 0));
	} else {
		log_info("c2s", c->stream.peer, "the client's certificate opens no account of %s",
		         c->domain->text);
	}
	c2s_enter(c, C2S_SECURE);
	c2s_features(c);
	hasty = c->hasty;
	c->hasty = NULL;
	if (hasty)
		c2s_stanza(&c->stream, hasty);
}

/* He has not waited for the features, which is his right as long as there is one thing that he says: whoever
 * is asked anything waits for the answer. */
void c2s_on_hasty(struct c2s *c, struct stanza *st)
{
	if (c->hasty)
		stream_close(&c->stream, STREAM_NOT_AUTHORIZED, NULL);
	else
		c->hasty = stanza_ref(st);
}

/* Its e-mail addresses count only where the certificate has no XMPP address of any domain. */
bool c2s_look_up_certificate(struct c2s *c)
{
	const char *names[TLS_NAMES_MAX] = { 0 };
	const struct sql *sql = &sql_by_address;
	struct param params[1 + TLS_NAMES_MAX];
	struct arena a = { 0 };
	unsigned count;

	if (c->state != C2S_SECURE || c->is_looked_up)
		return false;
	c->is_looked_up = true;
	count = tls_client_names(c->stream.ssl, TLS_XMPP_NAME, &a, names);
	if (count > 0) {
		count = keep_local(c, &a, names, count);
	} else {
		sql = &sql_by_email;
		count = tls_client_names(c->stream.ssl, TLS_EMAIL_NAME, &a, names);
		fold_emails(&a, names, count);
	}
	params[0] = P_TEXT(c->domain->text);
	for (unsigned i = 0; i < TLS_NAMES_MAX; i++)
		params[1 + i] = i < count ? P_TEXT(names[i]) : P_NULL;
	if (count > 0) {
		store_read(c->stream.reactor->store, 0, sql, params, COUNT_OF(params), on_accounts,
		           c2s_ask(c));
		c2s_enter(c, C2S_LOOKING);
	}
	arena_free(&a);
	return count > 0;
}

void c2s_drop_opened(struct c2s *c)
{
	for (unsigned i = 0; c->opened && i < c->opened->count; i++)
		mem_free(c->opened->accounts[i]);
	mem_free(c->opened);
	c->opened = NULL;
}
