/* check_tls.c - one connection to a server, as a client makes it: to the port, through STARTTLS or
 * directly into TLS, up to the certificate. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"

#define FEATURES_MAX 16384

static int dial(const struct sockaddr_storage *address, struct reached *out)
{
	socklen_t size =
	    address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	struct timeval patience = { .tv_sec = CHECK_SECONDS };
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int failure = fd < 0 || connect(fd, (const struct sockaddr *)address, size) != 0 ? errno : 0;

	if (failure == EINPROGRESS) {
		struct pollfd ready = { .fd = fd, .events = POLLOUT };
		socklen_t n = sizeof(failure);

		failure = ETIMEDOUT;
		if (poll(&ready, 1, CHECK_SECONDS * 1000) == 1)
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &n);
	}
	if (!failure) {
		fcntl(fd, F_SETFL, 0); /* from here on it may block, for so long */
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		return fd;
	}
	snprintf(out->why, sizeof(out->why), "%s", strerror(failure));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Reads until one of the two is there. The texts are those that servers write; nothing is parsed, as nothing
 * depends on more. */
static bool read_until(int fd, const char *wanted, const char *end, char *text, size_t *len)
{
	while (*len < FEATURES_MAX) {
		if (strstr(text, wanted))
			return true;
		if (strstr(text, end) || strstr(text, "</stream:stream>"))
			return false;
		ssize_t n = read(fd, text + *len, FEATURES_MAX - *len);
		if (n <= 0)
			return false;
		*len += (size_t)n;
		text[*len] = '\0';
	}
	return false;
}

static bool say(int fd, const char *text)
{
	return write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool start_tls(int fd, const char *domain, struct reached *out)
{
	char *text = mem_zalloc(FEATURES_MAX + 1);
	char *header = mem_printf("<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
	                          "xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='%s'>",
	                          domain);
	size_t len = 0;
	bool is_offered = say(fd, header) && read_until(fd, "<starttls", "</stream:features>", text, &len);
	bool ok = is_offered && say(fd, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>") &&
	          read_until(fd, "<proceed", "<failure", text, &len);

	if (!ok && strstr(text, "host-unknown"))
		snprintf(out->why, sizeof(out->why), "the server does not serve this domain");
	else if (!ok && len == 0)
		snprintf(out->why, sizeof(out->why), "no answer: is it an XMPP server?");
	else if (!ok)
		snprintf(out->why, sizeof(out->why), "%s",
		         is_offered ? "STARTTLS was refused" : "STARTTLS is not offered");
	mem_free(header);
	mem_free(text);
	return ok;
}

static void read_names(X509 *cert, struct reached *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t len = 0;

	for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
		int type;

		const ASN1_STRING *text = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
		if (type == GEN_DNS && len + (size_t)ASN1_STRING_length(text) + 3 < sizeof(out->subject))
			len += (size_t)snprintf(out->subject + len, sizeof(out->subject) - len, "%s%.*s",
			                        len ? ", " : "", ASN1_STRING_length(text),
			                        ASN1_STRING_get0_data(text));
	}
	GENERAL_NAMES_free(names);
}

static void read_certificate(SSL *ssl, const char *domain, struct reached *out)
{
	X509 *cert = SSL_get1_peer_certificate(ssl);
	int seconds = 0;

	out->chain = SSL_get_verify_result(ssl);
	if (!cert)
		return;
	out->has_name = X509_check_host(cert, domain, 0, 0, NULL) == 1;
	ASN1_TIME_diff(&out->days, &seconds, NULL, X509_get0_notAfter(cert));
	if (seconds < 0)
		out->days--; /* it has expired today */
	read_names(cert, out);
	X509_free(cert);
}

static void shake_hands(int fd, const char *domain, SSL_CTX *tls, struct reached *out)
{
	static const unsigned char protocol[] = "\x0bxmpp-client";
	SSL *ssl = SSL_new(tls);

	ERR_clear_error();
	if (ssl && SSL_set_fd(ssl, fd) == 1 && SSL_set_tlsext_host_name(ssl, domain) == 1 &&
	    SSL_set_alpn_protos(ssl, protocol, sizeof(protocol) - 1) == 0 && SSL_connect(ssl) == 1) {
		out->reach = REACH_TLS;
		snprintf(out->tls, sizeof(out->tls), "%s", SSL_get_version(ssl));
		read_certificate(ssl, domain, out);
		SSL_shutdown(ssl);
	} else {
		const char *reason = ERR_reason_error_string(ERR_peek_error());

		snprintf(out->why, sizeof(out->why), "TLS failed: %s", reason ? reason : "no answer");
	}
	SSL_free(ssl);
	ERR_clear_error();
}

void reach_domain(const struct sockaddr_storage *address, const char *domain, bool is_direct, SSL_CTX *tls,
                  struct reached *out)
{
	*out = (struct reached){ .reach = REACH_NOTHING };
	int fd = dial(address, out);
	if (fd < 0)
		return;
	out->reach = REACH_PORT;
	if (is_direct || start_tls(fd, domain, out)) {
		out->reach = REACH_STARTTLS;
		shake_hands(fd, domain, tls, out);
	}
	close(fd);
}
