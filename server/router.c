/* router.c - see router.h. */
#include "router.h"

#include "server.h"

unsigned router_home_of(const struct reactor *r, const struct jid *to, enum home_kind *kind)
{
	bool is_host = hosts_find(r->hosts, jid_domain(to), jid_domain_len(to)) != NULL;
	bool is_service = !is_host && hosts_find_service(r->hosts, jid_domain(to), jid_domain_len(to));

	if (!jid_has_local(to)) {
		*kind = is_host ? HOME_HOST : is_service ? HOME_SERVICE : HOME_REMOTE;
		return r->index;
	}
	/* Also where a host has been removed: what still ends there finds the home. Below a service nobody
	 * has an account, and the home says so. */
	*kind = is_host || is_service ? HOME_USER : HOME_REMOTE;
	return to->hash % r->server->reactor_count;
}

bool router_post(struct reactor *r, struct envelope *e)
{
	enum home_kind kind;
	unsigned target = router_home_of(r, e->to, &kind);

	if (kind == HOME_REMOTE)
		return false;
	e->home_kind = (uint8_t)kind;
	reactor_post(r, target, e);
	return true;
}
