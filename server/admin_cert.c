/* admin_cert.c - the administrator's command about certificates. */
#include "admin.h"

#include <string.h>

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
