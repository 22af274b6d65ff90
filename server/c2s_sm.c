/* c2s_sm.c - stream management (XEP-0198) and client state (XEP-0352) on a client's stream, which only carries them:
 * the counts are the session's, in its home (session_sm.c, session_csi.c). So what the stream itself answers to a
 * stanza goes there too. */
#include <string.h>

#include "c2s_parts.h"
#include "module.h"
#include "router.h"
#include "sm.h"

#define ID_MAX 4000 /* XEP-0198 section 5: no id should be longer */

static struct envelope *to_home(struct c2s *c, enum envelope_kind kind)
{
	struct reactor *r = c->stream.reactor;
	struct envelope *e = envelope_new(r, kind);

	e->to = jid_ref(c->user);
	e->home_kind = HOME_USER;
	e->session = c->session;
	e->stream = c->stream.id;
	e->stream_reactor = r->index;
	return e;
}

static void c2s_failed(struct c2s *c, enum stanza_condition condition)
{
	stream_write(&c->stream, stanza_seal(sm_failed(condition)), NULL, NULL);
}

void c2s_on_unmanaged(struct c2s *c, struct stanza *st)
{
	(void)st;
	c2s_failed(c, UNEXPECTED_REQUEST);
}

/* They are paced and bounded as stanzas are. */
void c2s_on_state(struct c2s *c, struct stanza *st)
{
	struct envelope *e = to_home(c, ENV_MANAGE);

	e->stanza = stanza_ref(st);
	c2s_count(c, e);
	reactor_post(c->stream.reactor, c->home_reactor, e);
}

void c2s_on_manage(struct c2s *c, struct stanza *st)
{
	if (element_is(st->root, "enable", SM_NS))
		c->is_managed = true;
	if (!c->is_managed) {
		c2s_on_unmanaged(c, st);
		return;
	}
	c2s_on_state(c, st);
}

void c2s_say_managed(struct c2s *c, struct stanza *answer, const struct jid *from)
{
	struct envelope *e = to_home(c, ENV_REFUSED);

	e->stanza = answer;
	if (answer) {
		e->from = jid_ref(from);
		jid_unref(e->to);
		e->to = jid_ref(c->full);
		c2s_count(c, e);
	}
	reactor_post(c->stream.reactor, c->home_reactor, e);
}

/* ---- resume */

void c2s_on_resume(struct c2s *c, struct stanza *st)
{
	const char *previd = element_get(st->root, "previd");
	enum home_kind kind;
	struct envelope *e;
	uint32_t h;

	if (!previd || strlen(previd) > ID_MAX || !sm_read_h(st, &h)) {
		c2s_failed(c, BAD_REQUEST);
		return;
	}
	c->home_reactor = router_home_of(c->stream.reactor, c->user, &kind);
	if (kind != HOME_USER) {
		stream_close(&c->stream, STREAM_HOST_GONE, "This domain is no longer served here.");
		return;
	}
	e = envelope_new(c->stream.reactor, ENV_RESUME);
	e->stanza = stanza_ref(st);
	e->count = h;
	c2s_introduce(c, e);
}

void c2s_on_resumed(struct c2s *c, const struct envelope *e)
{
	c->full = jid_ref(e->to);
	c->session = e->session;
	c->is_managed = true;
	c2s_begin(c);
}
