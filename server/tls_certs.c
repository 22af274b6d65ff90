/* tls_certs.c - the certificates of the served domains: found, read, judged; see tls.h.
 *
 * Called by host.c, whose snapshot of the hosts owns them. In the directory of certificates a domain's own
 * files are looked for by its name, with U-labels or A-labels ("xn--..."), the first of these that is there:
 *
 *   DOMAIN.crt, DOMAIN.key
 *   DOMAIN.pem                               both in one
 *   DOMAIN/fullchain.pem, DOMAIN/privkey.pem as certbot leaves them
 *   DOMAIN/tls.crt, DOMAIN/tls.key           as Kubernetes mounts them
 *
 * Without any, those of the domain above it, or of _.PARENT, are taken, if that certificate names this
 * domain too (a wildcard). Links are followed. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "jid.h"
#include "tls_parts.h"

#define DAY 86400

/* A domain stands here under its name and, where that differs, under its A-labels: as in SNI. */
struct name {
	const char *name;
	const char *domain; /* as given to tls_certs_load */
	SSL_CTX *context;
	int64_t expiry;
};

struct tls_certs {
	_Atomic uint32_t refs;
	struct name *names; /* sorted by name */
	unsigned count;
	SSL_CTX *first; /* of the first domain that has one, or NULL */
	struct tls_cert *list;
	unsigned list_count;
	uint64_t mark;
	struct arena arena;
};

/* What is known about one domain while its files are read. */
struct load {
	const struct tls_sources *from;
	X509_STORE *clients; /* whom to ask clients about, or NULL */
	const char *domain;
	char ascii[256];   /* A-labels */
	char *chain, *key; /* paths; the same for a .pem */
	bool is_of_parent;
	bool is_previous; /* it is the one that was there before; what is wrong with it was said then */
	SSL_CTX *context;
	struct buffer problems;
};

/* ---- files */

static const struct {
	const char *chain, *key; /* behind the name */
} layouts[] = {
	{ ".crt", ".key" },
	{ ".pem", ".pem" },
	{ "/fullchain.pem", "/privkey.pem" },
	{ "/tls.crt", "/tls.key" },
};

/* The names under which files of a domain are looked for, the best first; the last two of each half differ
 * from the first by their spelling only. */
#define STEMS 6
enum { FIRST_OF_PARENT = 2 };

/* False: no name of a domain. `out` NULL where there is no parent. */
static bool make_stems(const char *domain, char *out[STEMS])
{
	char ascii[256];
	const char *parent = strchr(domain, '.');

	memset(out, 0, STEMS * sizeof out[0]);
	if (strchr(domain, '/') || !jid_domain_to_ascii(domain, ascii, sizeof ascii))
		return false;
	out[0] = mem_strdup(domain);
	out[1] = mem_strdup(ascii);
	if (!parent || !strchr(parent + 1, '.') || !strchr(ascii, '.'))
		return true;
	out[2] = mem_strdup(parent + 1);
	out[3] = mem_strdup(strchr(ascii, '.') + 1);
	out[4] = mem_printf("_%s", parent);
	out[5] = mem_printf("_%s", strchr(ascii, '.'));
	return true;
}

static void drop_stems(char *stems[STEMS])
{
	for (unsigned i = 0; i < STEMS; i++)
		mem_free(stems[i]);
}

static void drop_files(struct load *l)
{
	mem_free(l->chain);
	mem_free(l->key);
	l->chain = l->key = NULL;
}

/* Whether that certificate, of a domain above, names this one too. */
static bool names_us(const struct load *l)
{
	BIO *file = BIO_new_file(l->chain, "r");
	X509 *certificate = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;
	bool is_named = certificate && X509_check_host(certificate, l->ascii, 0,
	                                               X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;

	ERR_clear_error();
	X509_free(certificate);
	BIO_free(file);
	return is_named;
}

/* The files under one name. False: there are none. */
static bool find_layout(struct load *l, const char *stem)
{
	for (unsigned i = 0; i < COUNT_OF(layouts); i++) {
		l->chain = mem_printf("%s/%s%s", l->from->dir, stem, layouts[i].chain);
		l->key = mem_printf("%s/%s%s", l->from->dir, stem, layouts[i].key);
		if (access(l->chain, F_OK) == 0)
			return true;
		drop_files(l);
	}
	return false;
}

/* False: there are none. */
static bool find_files(struct load *l)
{
	char *stems[STEMS];
	bool is_found = false;

	if (!make_stems(l->domain, stems))
		return false;
	for (unsigned i = 0; i < STEMS && stems[i] && !is_found; i++) {
		l->is_of_parent = i >= FIRST_OF_PARENT;
		is_found = find_layout(l, stems[i]);
		if (is_found && l->is_of_parent && !names_us(l)) {
			drop_files(l);
			is_found = false;
		}
	}
	drop_stems(stems);
	return is_found;
}

/* FNV-1a. */
static void mix(uint64_t *mark, const void *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*mark = (*mark ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
}

static void mix_file(uint64_t *mark, const char *path)
{
	struct stat st; /* of what the link points at */
	int64_t seen[6] = { 0 };

	if (stat(path, &st) == 0) {
		seen[0] = 1;
		seen[1] = (int64_t)st.st_dev;
		seen[2] = (int64_t)st.st_ino;
		seen[3] = (int64_t)st.st_size;
		seen[4] = (int64_t)st.st_mtim.tv_sec;
		seen[5] = (int64_t)st.st_mtim.tv_nsec;
	}
	mix(mark, seen, sizeof seen);
}

static void mix_stem(uint64_t *mark, const char *dir, const char *stem)
{
	for (unsigned i = 0; i < COUNT_OF(layouts); i++) {
		char *chain = mem_printf("%s/%s%s", dir, stem, layouts[i].chain);
		char *key = mem_printf("%s/%s%s", dir, stem, layouts[i].key);

		mix_file(mark, chain);
		mix_file(mark, key);
		mem_free(chain);
		mem_free(key);
	}
}

uint64_t tls_files_mark(const struct tls_sources *from, const char *const *domains, unsigned count)
{
	uint64_t mark = 0xcbf29ce484222325u;

	for (unsigned i = 0; i < count; i++) {
		char *stems[STEMS];

		if (!make_stems(domains[i], stems))
			continue;
		for (unsigned j = 0; j < STEMS && stems[j]; j++)
			mix_stem(&mark, from->dir, stems[j]);
		drop_stems(stems);
	}
	if (from->client_ca)
		mix_file(&mark, from->client_ca);
	return mark;
}

/* ---- into a context */

static bool is_readable(struct load *l, const char *path)
{
	if (access(path, R_OK) == 0)
		return true;
	if (errno == ENOENT)
		buffer_addf(&l->problems,
		            "%s: missing; put the private key of %s there (or both into one .pem), "
		            "then reload.\n",
		            path, l->chain);
	else
		buffer_addf(&l->problems,
		            "%s: cannot be read (%s); let the server's user read it, then reload.\n", path,
		            strerror(errno));
	return false;
}

/* Nobody sits at a terminal to type a passphrase: OpenSSL would ask there. */
static int refuse_passphrase(char *out, int size, int writing, void *arg)
{
	bool *is_locked = arg;

	(void)out, (void)size, (void)writing;
	*is_locked = true;
	return -1;
}

/* The private key into the context. */
static bool use_key(struct load *l)
{
	bool is_locked = false;

	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb(l->context, refuse_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(l->context, &is_locked);
	bool is_key = SSL_CTX_use_PrivateKey_file(l->context, l->key, SSL_FILETYPE_PEM) == 1;
	SSL_CTX_set_default_passwd_cb_userdata(l->context, NULL); /* nothing is read after this */
	if (is_key && SSL_CTX_check_private_key(l->context) == 1)
		return true;
	unsigned long error = ERR_peek_last_error();
	if (is_key || ERR_GET_LIB(error) == ERR_LIB_X509)
		buffer_addf(&l->problems,
		            "%s: is not the key that the certificate in %s was made for; put the right one "
		            "there, then reload.\n",
		            l->key, l->chain);
	else if (is_locked)
		buffer_addf(&l->problems,
		            "%s: is locked by a passphrase, and nobody is there to type it; store it "
		            "without (openssl pkey -in OLD -out NEW), then reload.\n",
		            l->key);
	else
		buffer_addf(&l->problems,
		            "%s: holds no private key in PEM form (%s); put one there, then reload.\n",
		            l->key, tls_reason(error));
	return false;
}

/* The chain and the key into a new context, in l->context; NULL when they are of no use. */
static void load_context(struct load *l)
{
	if (!is_readable(l, l->chain) || !is_readable(l, l->key))
		return;
	l->context = tls_context_new();
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(l->context, l->chain) == 1) {
		if (use_key(l))
			return;
	} else {
		buffer_addf(&l->problems,
		            "%s: holds no certificate that can be used (%s); put the chain there in PEM "
		            "form, %s's own first, then reload.\n",
		            l->chain, tls_reason(ERR_peek_last_error()), l->domain);
	}
	ERR_clear_error();
	SSL_CTX_free(l->context);
	l->context = NULL;
}

unsigned tls_cert_age(int64_t until, int64_t now)
{
	static const int64_t steps[] = { 30 * DAY, 14 * DAY, 7 * DAY, DAY, 0 };
	unsigned age = 0;

	while (age < COUNT_OF(steps) && until - now <= steps[age])
		age++;
	return age;
}

static int64_t unix_time(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* What clients will not like in a certificate that can be used. */
static void warn(struct load *l, X509 *certificate, int64_t expiry)
{
	int64_t now = (int64_t)time(NULL);
	time_t end = (time_t)expiry;
	struct tm tm;
	char day[32] = "?";

	if (gmtime_r(&end, &tm))
		strftime(day, sizeof day, "%Y-%m-%d", &tm);
	/* The name is in a SAN dNSName, or in the CN where there is none (RFC 6125 section 6.4.4). */
	if (X509_check_host(certificate, l->ascii, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) != 1)
		buffer_addf(&l->problems,
		            "%s: does not name %s, so clients will refuse it; get one with that name as "
		            "subjectAltName, then reload.\n",
		            l->chain, l->ascii);
	if (unix_time(X509_get0_notBefore(certificate)) > now)
		buffer_addf(&l->problems, "%s: is not valid yet; look at this machine's clock.\n",
		            l->chain);
	if (expiry <= now)
		buffer_addf(&l->problems, "%s: ended on %s, so clients refuse it; renew it, then reload.\n",
		            l->chain, day);
	else if (tls_cert_age(expiry, now) > 0)
		buffer_addf(&l->problems, "%s: ends on %s; renew it, then reload.\n", l->chain, day);
}

static void add_name(struct tls_certs *c, const char *name, const char *domain, SSL_CTX *context,
                     int64_t expiry)
{
	ASSERT(SSL_CTX_up_ref(context));
	c->names[c->count++] = (struct name){ arena_strdup(&c->arena, name), domain, context, expiry };
}

/* What can be told of it, for the administrator. */
static void describe(struct tls_certs *c, struct tls_cert *out, X509 *certificate)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	char subject[256] = "";
	struct buffer names = { 0 };

	for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);

		if (name->type == GEN_DNS)
			buffer_addf(&names, "%s%.*s", names.len ? " " : "",
			            ASN1_STRING_length(name->d.dNSName),
			            (const char *)ASN1_STRING_get0_data(name->d.dNSName));
	}
	X509_NAME_oneline(X509_get_subject_name(certificate), subject, sizeof subject);
	out->subject = arena_strdup(&c->arena, subject);
	out->names = arena_strdup(&c->arena, names.data ? names.data : "");
	out->from = unix_time(X509_get0_notBefore(certificate));
	out->until = unix_time(X509_get0_notAfter(certificate));
	GENERAL_NAMES_free(all);
	buffer_free(&names);
}

static void use_context(struct tls_certs *c, struct load *l, struct tls_cert *out)
{
	X509 *certificate = SSL_CTX_get0_certificate(l->context);

	describe(c, out, certificate);
	if (!l->is_previous)
		warn(l, certificate, out->until);
	if (l->clients)
		tls_context_ask_clients(l->context, l->clients, l->from->client_ca);
	add_name(c, l->domain, out->domain, l->context, out->until);
	if (strcmp(l->ascii, l->domain) != 0)
		add_name(c, l->ascii, out->domain, l->context, out->until);
	if (!c->first)
		c->first = l->context; /* its names hold it */
}

/* New files that cannot be used, or are not there, perhaps because they are just being written: the
 * certificate that was good goes on, in a context of its own, as whom clients are asked about may be new. */
static void use_previous(struct load *l)
{
	SSL_CTX *previous = l->from->previous ? tls_certs_find(l->from->previous, l->domain) : NULL;
	STACK_OF(X509) *chain = NULL;

	if (!previous || l->context)
		return;
	l->is_previous = true;
	l->context = tls_context_new();
	SSL_CTX_get0_chain_certs(previous, &chain);
	ASSERT(SSL_CTX_use_cert_and_key(l->context, SSL_CTX_get0_certificate(previous),
	                                SSL_CTX_get0_privatekey(previous), chain, 1));
	buffer_addf(&l->problems, "%s: until then the certificate that was there before is used.\n",
	            l->domain);
}

static void find_and_load(struct tls_certs *c, struct load *l, struct tls_cert *out)
{
	if (find_files(l)) {
		out->file = arena_strdup(&c->arena, l->chain);
		out->key = arena_strdup(&c->arena, l->key);
		load_context(l);
		return;
	}
	buffer_addf(&l->problems,
	            "%s/%s.crt: missing, so %s has no TLS; put its certificate chain there and the "
	            "key into %s.key (or both into %s.pem), then reload.\n",
	            l->from->dir, l->domain, l->domain, l->domain, l->domain);
}

static void read_domain(struct tls_certs *c, struct load *l, struct tls_cert *out)
{
	if (strchr(l->domain, '/') || !jid_domain_to_ascii(l->domain, l->ascii, sizeof l->ascii)) {
		buffer_addf(&l->problems, "%s: is no domain that a certificate could name.\n", l->domain);
		return;
	}
	find_and_load(c, l, out);
	use_previous(l);
	if (l->context)
		use_context(c, l, out);
	SSL_CTX_free(l->context);
	drop_files(l);
}

static void load_domain(struct tls_certs *c, const struct tls_sources *from, X509_STORE *clients,
                        const char *domain, struct buffer *problems)
{
	struct load l = { .from = from, .clients = clients, .domain = domain };
	struct tls_cert *out = &c->list[c->list_count++];

	out->domain = arena_strdup(&c->arena, domain);
	read_domain(c, &l, out);
	if (!l.problems.len)
		return;
	out->problems = arena_strdup(&c->arena, l.problems.data);
	buffer_adds(problems, l.problems.data);
	buffer_free(&l.problems);
}

/* ---- who vouches for clients */

static bool has_revocations(X509_STORE *store)
{
	STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(store);

	for (int i = 0; i < sk_X509_OBJECT_num(all); i++)
		if (X509_OBJECT_get_type(sk_X509_OBJECT_value(all, i)) == X509_LU_CRL)
			return true;
	return false;
}

/* Authorities, and lists of what they have revoked where the file has any. NULL: clients are not asked. */
static X509_STORE *load_clients(const char *file, struct buffer *problems)
{
	X509_STORE *store = file ? X509_STORE_new() : NULL;

	if (!store)
		return NULL;
	ERR_clear_error();
	if (X509_STORE_load_file(store, file) != 1) {
		buffer_addf(problems,
		            "%s: holds no certificates of authorities that can be used (%s), so no client "
		            "can log in by certificate (node.client_ca); mend it, then reload.\n",
		            file,
		            access(file, R_OK) == 0 ? tls_reason(ERR_peek_last_error()) : strerror(errno));
		ERR_clear_error();
		X509_STORE_free(store);
		return NULL;
	}
	if (has_revocations(store))
		X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	return store;
}

/* ---- the snapshot */

static int name_compare(const void *a, const void *b)
{
	const struct name *one = a, *other = b;
	return strcmp(one->name, other->name);
}

static const struct name *name_find(const struct tls_certs *c, const char *name)
{
	struct name key = { .name = name };
	return c->count ? bsearch(&key, c->names, c->count, sizeof key, name_compare) : NULL;
}

struct tls_certs *tls_certs_load(const struct tls_sources *from, const char *const *domains, unsigned count,
                                 char **problems)
{
	struct tls_certs *c = mem_zalloc(sizeof *c);
	struct buffer lines = { 0 };
	X509_STORE *clients = load_clients(from->client_ca, &lines);

	atomic_init(&c->refs, 1);
	c->mark =
	    tls_files_mark(from, domains, count); /* first: what changes while they are read is seen */
	c->names = mem_zalloc((2 * (size_t)count + 1) * sizeof *c->names);
	c->list = mem_zalloc(((size_t)count + 1) * sizeof *c->list);
	for (unsigned i = 0; i < count; i++)
		load_domain(c, from, clients, domains[i], &lines);
	qsort(c->names, c->count, sizeof *c->names, name_compare);
	X509_STORE_free(clients); /* the contexts hold it */
	*problems = lines.data;
	return c;
}

struct tls_certs *tls_certs_ref(struct tls_certs *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void tls_certs_unref(struct tls_certs *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < c->count; i++)
		SSL_CTX_free(c->names[i].context);
	mem_free(c->names);
	mem_free(c->list);
	arena_free(&c->arena);
	mem_free(c);
}

SSL_CTX *tls_certs_find(const struct tls_certs *c, const char *domain)
{
	const struct name *found = name_find(c, domain);
	return found ? found->context : NULL;
}

int64_t tls_certs_expiry(const struct tls_certs *c, const char *domain)
{
	const struct name *found = name_find(c, domain);
	return found ? found->expiry : 0;
}

SSL_CTX *tls_certs_look(const struct tls_certs *c, const char *name, const char **domain)
{
	const struct name *found = name_find(c, name);

	*domain = found ? found->domain : NULL;
	return found ? found->context : NULL;
}

SSL_CTX *tls_certs_first(const struct tls_certs *c)
{
	return c->first;
}

const struct tls_cert *tls_certs_list(const struct tls_certs *c, unsigned *count)
{
	*count = c->list_count;
	return c->list;
}

uint64_t tls_certs_mark(const struct tls_certs *c)
{
	return c->mark;
}
