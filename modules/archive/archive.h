/* archive.h - between the files of this module: archive.c says what an archive is and can do, query.c reads what
 * is asked, page.c answers with a page of it. */
#ifndef MUSTER_MODULE_ARCHIVE_H
#define MUSTER_MODULE_ARCHIVE_H

#include "module.h"

#define MAM_NS "urn:xmpp:mam:2"
#define RSM_NS "http://jabber.org/protocol/rsm"
#define FORM_NS "jabber:x:data"
#define RETRACT_NS "urn:xmpp:message-retract:1"
#define FULLTEXT_NS "urn:xmpp:fulltext:0"

#define PAGE_MAX 50     /* messages of one page; XEP-0313 section 4.3.1 leaves it to the server */
#define IDS_MAX 50      /* that one query may name */
#define SOUGHT_MAX 16   /* words that one query may look for */
#define QUERYID_MAX 256 /* bytes; each result has it */

/* What is asked for: entries with low < id < high. */
struct query {
	const char *queryid; /* or NULL */
	int64_t low, high;
	/* `low` as the field `start` has it, which unlike an id does not say that its client has what is older;
	 * 0: there is no `start`. */
	int64_t since;
	const char *with; /* an address, or NULL; bare: with any resource */
	const char *with_bare;
	bool is_backward;   /* the last page of these, not the first */
	bool is_flipped;    /* its messages in the opposite order */
	unsigned max;       /* messages; at most PAGE_MAX */
	const char *sought; /* words that must all be in it: "=17 hist ther*", the owner first; or NULL */
	const char *ids;    /* these alone, as "1,2,3"; or NULL */
	const char *named;  /* ids that must exist, in the same form; "" when there are none */
	uint64_t session;   /* whose query it is */
	int64_t newest;     /* what the archive had then */
};

/* The query in hand. NULL: it has been refused. */
struct query *query_read(struct ctx *c);
/* The form that says what may be asked for (XEP-0313 section 4.1.5). */
handler query_on_form;

/* Answers the query in c->own with one page. */
enum verdict page_start(struct ctx *c);

#endif
