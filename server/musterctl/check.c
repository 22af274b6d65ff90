/* check.c - "check DOMAIN": goes the way that a client goes, from the name to the certificate,
 * and says of each step whether it is well, and if not, what to do. */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "jid.h"

#define DAYS_WARN 14
#define STARTTLS_PORT 5222

/* What is looked for in the DNS. */
static const struct service {
	const char *record;
	bool is_direct;
	const char *none; /* what it means that there is none, and what to do */
	const char *advice;
	bool is_wanted;
} services[] = {
	{ "_xmpp-client._tcp", false, "none: clients go to port 5222 of the domain itself",
	  "That is enough when the server has the domain's address. Else add: %s. SRV 5 0 5222 HOST.",
	  true },
	{ "_xmpps-client._tcp", true, "none: clients use STARTTLS",
	  "Nothing has to be done. If you like: %s. SRV 5 0 5223 HOST.", false },
};

enum state { STATE_OK, STATE_WARN, STATE_FAIL };

struct check {
	struct call *call;
	const char *domain; /* as DNS and certificates write it */
	struct dns *dns;
	SSL_CTX *tls;
	json_t *rows;
	unsigned failures, reached;
};

static void note(struct check *k, enum state state, const char *what, const char *found, const char *advice)
{
	static const char *const words[] = { "ok", "warn", "FAIL" };
	json_t *row = json_pack("{s:s, s:s, s:s}", "check", what, "state", words[state], "found", found);

	json_object_set_new(row, "advice", advice ? json_string(advice) : json_null());
	json_array_append_new(k->rows, row);
	k->failures += state == STATE_FAIL;
}

/* ---- one address */

static void note_certificate(struct check *k, const char *what, const struct reached *r)
{
	char found[320];

	if (!r->has_name) {
		snprintf(found, sizeof(found), "the certificate is for %s",
		         r->subject[0] ? r->subject : "nobody");
		note(k, STATE_FAIL, what, found,
		     "Put a certificate that names the domain into node.certificates, then \"musterctl "
		     "reload\".");
	} else if (r->days < 0) {
		snprintf(found, sizeof(found), "the certificate expired %d days ago", -r->days);
		note(k, STATE_FAIL, what, found,
		     "Renew it, put it into node.certificates, then \"musterctl reload\".");
	} else if (r->chain != X509_V_OK) {
		snprintf(found, sizeof(found), "clients do not trust it: %s",
		         X509_verify_cert_error_string(r->chain));
		note(k, STATE_FAIL, what, found,
		     "Put the whole chain into the .crt file. With an authority of your own, say --ca FILE "
		     "here and "
		     "install it on the clients.");
	} else if (r->days < DAYS_WARN) {
		snprintf(found, sizeof(found), "the certificate expires in %d days", r->days);
		note(k, STATE_WARN, what, found, "Renew it soon; see whether the renewal works by itself.");
	} else {
		snprintf(found, sizeof(found), "%s, certificate for %d days", r->tls, r->days);
		note(k, STATE_OK, what, found, NULL);
	}
}

static void check_address(struct check *k, struct sockaddr_storage *address, unsigned port, bool is_direct)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
	bool is_v6 = address->ss_family == AF_INET6;
	char text[INET6_ADDRSTRLEN] = "", what[80];
	struct reached r;

	*(is_v6 ? &v6->sin6_port : &v4->sin_port) = htons((uint16_t)port);
	inet_ntop(address->ss_family, is_v6 ? (void *)&v6->sin6_addr : (void *)&v4->sin_addr, text,
	          sizeof(text));
	snprintf(what, sizeof(what), is_v6 ? "[%s]:%u" : "%s:%u", text, port);
	reach_domain(address, k->domain, is_direct, k->tls, &r);
	if (r.reach == REACH_TLS) {
		k->reached++;
		note_certificate(k, what, &r);
	} else if (r.reach == REACH_NOTHING) {
		note(k, STATE_FAIL, what, r.why,
		     "Does musterd run there, does it listen (musterctl config check), does the firewall "
		     "let it through?");
	} else {
		note(k, STATE_FAIL, what, r.why,
		     "Is that a Muster server that serves this domain? See \"musterctl host list\".");
	}
}

/* ---- one name */

static void check_target(struct check *k, const char *target, unsigned port, bool is_direct)
{
	struct sockaddr_storage addresses[DNS_RECORDS_MAX];
	unsigned count;
	enum dns_result result = dns_addresses(k->dns, target, addresses, &count);

	if (result != DNS_FOUND)
		note(k, STATE_FAIL, target, result == DNS_NONE ? "has no address" : "DNS does not answer",
		     "Add an A or AAAA record for it.");
	for (unsigned i = 0; i < count; i++)
		check_address(k, &addresses[i], port, is_direct);
}

static void note_missing(struct check *k, const struct service *s, const char *name, enum dns_result result)
{
	if (result == DNS_FAILED) {
		note(k, STATE_FAIL, name, "DNS does not answer",
		     "Look at the domain's name servers, or try again.");
		return;
	}
	size_t n = strcspn(s->advice, "%"); /* up to its one %s */
	char *advice = mem_printf("%.*s%s%s", (int)n, s->advice, name, s->advice + n + 2);
	note(k, s->is_wanted ? STATE_WARN : STATE_OK, name, s->none, advice);
	mem_free(advice);
	if (!s->is_direct)
		check_target(k, k->domain, STARTTLS_PORT, false);
}

static void check_service(struct check *k, const struct service *s)
{
	struct dns_service found[DNS_RECORDS_MAX];
	unsigned count;
	char *name = mem_printf("%s.%s", s->record, k->domain), text[DNS_NAME_MAX + 32];
	enum dns_result result = dns_services(k->dns, name, found, &count);

	if (result != DNS_FOUND)
		note_missing(k, s, name, result);
	for (unsigned i = 0; i < count; i++) {
		if (!found[i].target[0]) {
			note(k, s->is_wanted ? STATE_FAIL : STATE_OK, name, "the record says: not offered",
			     s->is_wanted ? "Let it name the server, or remove it." : NULL);
			continue;
		}
		snprintf(text, sizeof(text), "%s port %u", found[i].target, found[i].port);
		note(k, STATE_OK, name, text, NULL);
		check_target(k, found[i].target, found[i].port, s->is_direct);
	}
	mem_free(name);
}

/* ---- the whole */

static bool prepare(struct check *k, char *ascii, size_t size)
{
	struct call *c = k->call;
	const char *ca = call_flag(c, "--ca");
	char prepared[JID_PART_MAX + 1];

	if (!jid_prepare_domain(c->words[0], strlen(c->words[0]), prepared) ||
	    !jid_domain_to_ascii(prepared, ascii, size))
		return complain(c, CONTROL_USAGE, "A domain is something like \"example.org\".",
		                "\"%s\" is no valid domain.", c->words[0]);
	k->dns = dns_open(call_flag(c, "--resolver"));
	if (!k->dns)
		return complain(c, CONTROL_USAGE,
		                "Say --resolver 192.0.2.53, or with a port, 192.0.2.53:53.",
		                "The resolver is not an IPv4 address.");
	k->tls = SSL_CTX_new(TLS_client_method());
	ASSERT(k->tls);
	SSL_CTX_set_verify(k->tls, SSL_VERIFY_NONE, NULL); /* what is wrong is told, and ends nothing */
	SSL_CTX_set_default_verify_paths(k->tls);
	return !ca || SSL_CTX_load_verify_locations(k->tls, ca, NULL) == 1 ||
	       complain(c, CONTROL_USAGE, "It must be a file with certificates in PEM.",
	                "The authority's certificate in %s cannot be read.", ca);
}

static void show_checks(struct check *k)
{
	const json_t *row;
	size_t i;
	json_t *result = json_pack("{s:s, s:O}", "domain", k->domain, "checks", k->rows);

	if (k->call->is_json)
		show_json(k->call, result);
	else
		show_rows(k->call, result);
	json_array_foreach(k->rows, i, row)
	{
		const char *advice = json_string_value(json_object_get(row, "advice"));

		if (advice && !k->call->is_json &&
		    strcmp(json_string_value(json_object_get(row, "state")), "ok") != 0)
			printf("\n%s: %s\n%s\n", json_string_value(json_object_get(row, "check")),
			       json_string_value(json_object_get(row, "found")), advice);
	}
	json_decref(result);
}

int check_domain(struct call *c)
{
	char ascii[DNS_NAME_MAX];
	struct check k = { .call = c, .domain = ascii, .rows = json_array() };

	if (prepare(&k, ascii, sizeof(ascii))) {
		for (unsigned i = 0; i < COUNT_OF(services); i++)
			check_service(&k, &services[i]);
		show_checks(&k);
		if (k.failures)
			c->status = CONTROL_REFUSED;
	}
	if (k.dns)
		dns_close(k.dns);
	SSL_CTX_free(k.tls);
	json_decref(k.rows);
	return c->status;
}
