/* session_csi.c - client state indication (XEP-0352) in the home: what is said to a session whose client is
 * inactive and may wait (csi.c) waits here, before it has a number of stream management, so that what is out of
 * date by then is never sent. What matters takes all that waits in front of it: the order is kept, and the client's
 * radio is awake anyway.
 *
 * session.c: session_write asks here. */
#include "csi.h"
#include "home.h"
#include "log.h"

/* Allocated while something waits. */
struct csi {
	struct envelope_queue held;
	size_t bytes;
};

static bool is_same_state(const struct envelope *a, const struct envelope *b)
{
	return a->stanza->kind == b->stanza->kind && jid_is(a->from, b->from) &&
	       (!a->to || !b->to ? a->to == b->to : jid_is(a->to, b->to));
}

/* Takes out what `e` makes out of date. */
static void csi_supersede(struct session *s, const struct envelope *e)
{
	struct envelope_queue all = s->csi->held;
	struct envelope *old;

	queue_init(&s->csi->held);
	while ((old = queue_take(&all))) {
		if (!is_same_state(old, e) || csi_judge(old->stanza, old->from, s->full) != CSI_STATE) {
			queue_append(&s->csi->held, old);
			continue;
		}
		s->csi->bytes -= old->stanza->bytes_len;
		envelope_free(s->home->reactor, old);
	}
}

static void csi_hold(struct session *s, struct envelope *e, bool is_state)
{
	if (!s->csi) {
		s->csi = mem_zalloc(sizeof *s->csi);
		queue_init(&s->csi->held);
	} else if (is_state) {
		csi_supersede(s, e);
	}
	queue_append(&s->csi->held, e);
	s->csi->bytes += e->stanza->bytes_len;
}

static bool csi_is_full(const struct session *s)
{
	const struct limits_conf *limits = &s->home->reactor->conf->limits;

	return s->csi->held.count > limits->inactive_stanzas ||
	       s->csi->bytes > (size_t)limits->inactive_bytes;
}

void csi_flush(struct session *s)
{
	struct csi *csi = s->csi;
	struct envelope *e;

	if (!csi)
		return;
	s->csi = NULL;
	while ((e = queue_take(&csi->held)))
		session_send(s, e);
	mem_free(csi);
}

void csi_write(struct session *s, struct envelope *e)
{
	/* What is on record has an entry, and the mark counts it as written when the stream says so. */
	enum csi_verdict v = e->entry ? CSI_MATTERS : csi_judge(e->stanza, e->from, s->full);

	if (v == CSI_NOTHING) {
		envelope_free(s->home->reactor, e);
	} else if (v == CSI_MATTERS) {
		csi_flush(s);
		session_send(s, e);
	} else {
		csi_hold(s, e, v == CSI_STATE);
		if (csi_is_full(s))
			csi_flush(s);
	}
}

void csi_set(struct session *s, bool is_inactive)
{
	log_debug("session", s->full->text, is_inactive ? "is inactive" : "is active");
	s->is_inactive = is_inactive;
	if (!is_inactive)
		csi_flush(s);
}

void csi_free(struct session *s)
{
	struct envelope *e;

	if (!s->csi)
		return;
	while ((e = queue_take(&s->csi->held)))
		envelope_free(s->home->reactor, e);
	mem_free(s->csi);
	s->csi = NULL;
}
