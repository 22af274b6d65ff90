/* admin_cert.c - the administrator's commands about certificates: the hosts' own, and the addresses by which
 * those of clients open accounts. */
#include "admin.h"

#include <string.h>

#include "directory.h"

/* Words or lines as an array. */
static json_t *pieces_json(const char *text, const char *separators)
{
	json_t *array = json_array();

	while (text && *text) {
		size_t n = strcspn(text, separators);
		char *piece = mem_strndup(text, n);

		if (n)
			json_array_append_new(array, json_string(piece));
		mem_free(piece);
		text += n + (text[n] != '\0');
	}
	return array;
}

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

/* In a word or two, for the table. */
static const char *cert_state(const struct tls_cert *cert, int64_t now)
{
	static const char *const ages[] = { "good",      "ends soon", "ends soon",
		                            "ends soon", "ends soon", "ended" };

	if (!cert->until)
		return cert->file ? "unusable" : "missing";
	if (cert->problems && tls_cert_age(cert->until, now) == 0)
		return "see problems";
	return ages[tls_cert_age(cert->until, now)];
}

static json_t *cert_json(const struct tls_cert *cert, int64_t now)
{
	bool is_there = cert->until != 0;
	int64_t left = cert->until - now;

	return json_pack(
	    "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "domain", cert->domain, "state",
	    cert_state(cert, now), "expires", is_there ? admin_time(cert->until) : json_null(), "days_left",
	    is_there ? json_integer(left >= 0 ? left / 86400 : -1 - (-1 - left) / 86400) : json_null(),
	    "file", text_or_null(cert->file), "subject", text_or_null(cert->subject), "names",
	    pieces_json(cert->names, " "), "problems", pieces_json(cert->problems, "\n"));
}

void admin_cert_list(struct request *r)
{
	const char *name = request_arg(r, "host");
	const struct host *only = name ? admin_host(r, name) : NULL;

	if (name && !only)
		return;
	unsigned count;
	const struct tls_cert *list = tls_certs_list(admin_reactor(r)->hosts->certs, &count);
	int64_t now = admin_reactor(r)->now / 1000000;
	json_t *rows = json_array();
	for (unsigned i = 0; i < count; i++)
		if (!only || strcmp(list[i].domain, only->jid->text) == 0)
			json_array_append_new(rows, cert_json(&list[i], now));
	request_done(r, json_pack("{s:o}", "certificates", rows));
}

/* ---- user email: a client certificate without an XMPP address opens the account with its e-mail address */

static const struct sql sql_email = {
	.name = "user_email",
	.text =
	    "update account set email = $1 where name = $2 and host = (select id from host where name = $3)"
	    " returning id",
};

static void on_email(void *arg, const struct rows *rows)
{
	struct request *r = arg;

	if (rows_status(rows) == STORE_FAILED) {
		request_fail(
		    r, CONTROL_REFUSED, "Another account of this domain has this e-mail address.",
		    "Take it from that account first: \"musterctl user email JID\" without an address.");
		return;
	}
	if (!admin_store_ok(r, rows))
		return;
	if (rows_count(rows) == 0)
		admin_refuse_unknown(r, request_arg(r, "jid"));
	else
		request_done(r, json_pack("{s:s}", "jid", request_arg(r, "jid")));
}

void admin_user_email(struct request *r)
{
	struct jid *j = admin_account(r, false);

	if (!j)
		return;
	const char *email = request_arg(r, "email");
	if (email && (!strchr(email, '@') || strlen(email) > 254 || strpbrk(email, " \t\r\n<>"))) {
		request_failf(r, CONTROL_USAGE, "Something like \"romeo@example.org\".",
		              "\"%.254s\" is no e-mail address.", email);
		return;
	}
	if (!admin_may_write(r))
		return;
	struct write *w = write_new(admin_reactor(r)->store, 0);
	directory_set_email(w, j, email);
	write_add(w, &sql_email,
	          PARAMS(P_TEXT(email), P_TEXTN(j->text, j->local_len),
	                 P_TEXTN(jid_domain(j), jid_domain_len(j))));
	write_submit(w, on_email, r);
}
