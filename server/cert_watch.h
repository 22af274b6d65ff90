/* cert_watch.h - looks at the files of the certificates now and then: what has changed is read again, as by
 * `musterctl reload`, and a certificate that comes near its end is told about in the log. */
#ifndef MUSTER_CERT_WATCH_H
#define MUSTER_CERT_WATCH_H

struct cert_watch;
struct server;

/* On reactor 0, whose loop it uses until it is closed. */
struct cert_watch *cert_watch_open(struct server *srv);
void cert_watch_close(struct cert_watch *w); /* NULL is fine */

#endif
