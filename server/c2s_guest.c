/* c2s_guest.c - anonymous logins (XEP-0175). A guest is an account like any other, with a name that nobody
 * can guess and no keys, made when he logs in. It goes with his last session (session.c), here when he never
 * had one, or at the next start (server.c). */
#include <string.h>

#include "c2s_parts.h"
#include "server.h"

/* Safe to repeat. */
static const struct sql sql_guest_add = {
	.name = "guest_add",
	.text = "insert into account (name, host, guest) select $1, id, 1 from host where name = $2"
		" on conflict (host, name) do nothing",
};

static const struct sql sql_guest_drop = {
	.name = "guest_drop",
	.text = "delete from account where name = $1 and guest = 1"
		" and host = (select id from host where name = $2)",
};

struct making {
	struct question *question;
	struct reactor *reactor;
	struct jid *guest;
};

static void drop(struct reactor *r, const struct jid *guest)
{
	struct write *w = write_new(r->store, 0);

	write_add(w, &sql_guest_drop,
	          PARAMS(P_TEXTN(guest->text, guest->local_len),
	                 P_TEXTN(jid_domain(guest), jid_domain_len(guest))));
	write_submit(w, NULL, NULL);
}

static void log_guest_in(struct c2s *c)
{
	c->is_guest = true;
	c2s_login_done(c, NULL);
}

static void on_made(void *arg, const struct rows *rows)
{
	struct making *m = arg;
	struct c2s *c = c2s_answered(m->question);

	if (!c)
		drop(m->reactor, m->guest); /* he has not waited */
	else if (rows_status(rows) == STORE_OK)
		log_guest_in(c);
	else
		c2s_login_failed(c, "temporary-auth-failure");
	jid_unref(m->guest);
	mem_free(m);
}

void c2s_make_guest(struct c2s *c, const char *name)
{
	struct reactor *r = c->stream.reactor;
	struct making *m = mem_alloc(sizeof *m);
	struct write *w = write_new(r->store, 0);

	*m = (struct making){ .reactor = r, .guest = jid_make(name, c->domain->text, NULL) };
	ASSERT(m->guest);
	m->question = c2s_ask(c);
	write_add(w, &sql_guest_add, PARAMS(P_TEXT(name), P_TEXT(c->domain->text)));
	write_submit(w, on_made, m);
}

void c2s_drop_guest(struct c2s *c)
{
	if (c->is_guest && c->state == C2S_AUTHENTICATED)
		drop(c->stream.reactor, c->user);
}

/* A guest is a matter of this host alone: itself, its accounts, its services. */
bool c2s_guest_may(const struct c2s *c, const struct jid *to)
{
	const struct hosts *hosts = c->stream.reactor->hosts;
	const struct service *service;

	if (jid_domain_len(to) == c->domain->len &&
	    memcmp(jid_domain(to), c->domain->text, c->domain->len) == 0)
		return true;
	service = hosts_find_service(hosts, jid_domain(to), jid_domain_len(to));
	return service && jid_is(service->host->jid, c->domain);
}
