/* csi.h - what of all that is said to a client may wait while nobody looks at it (XEP-0352): judged by the stanza
 * alone. session_csi.c holds it back. */
#ifndef MUSTER_CSI_H
#define MUSTER_CSI_H

#include "jid.h"
#include "stanza.h"

#define CSI_NS "urn:xmpp:csi:0"

enum csi_verdict {
	CSI_MATTERS, /* is said now, behind all that waits */
	CSI_WAITS,
	CSI_STATE,  /* waits until the next of its kind, from the same sender, takes its place */
	CSI_NOTHING /* is not worth to be said later */
};

/* Of what is said to the client with the address `own`. */
enum csi_verdict csi_judge(const struct stanza *st, const struct jid *from, const struct jid *own);

#endif
