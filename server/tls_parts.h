/* tls_parts.h - what tls.c and tls_certs.c call in each other. Nobody else includes it. */
#ifndef MUSTER_TLS_PARTS_H
#define MUSTER_TLS_PARTS_H

#include "tls.h"

/* ---- tls.c */

/* A context with all our settings, but no certificate yet. */
SSL_CTX *tls_context_new(void);
/* Asks every client for a certificate by one of these authorities (also named in `file`), and does without
 * when he has none. */
void tls_context_ask_clients(SSL_CTX *context, X509_STORE *authorities, const char *file);
/* OpenSSL's words for an error; they live as long as the process. */
const char *tls_reason(unsigned long error);

/* ---- tls_certs.c */

/* The context for a name, and for which domain (as given to tls_certs_load) it was loaded; or NULL. */
SSL_CTX *tls_certs_look(const struct tls_certs *c, const char *name, const char **domain);
/* Of the first domain that has one, or NULL. */
SSL_CTX *tls_certs_first(const struct tls_certs *c);

#endif
