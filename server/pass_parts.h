/* pass_parts.h - between the files of a pass: pass.c (the walk), pass_wait.c (reading and writing),
 * pass_send.c (what leaves the home), pass_absent.c (there is no account). Nobody else includes it. */
#ifndef MUSTER_PASS_PARTS_H
#define MUSTER_PASS_PARTS_H

#include "home.h"

static inline struct pass *pass_of(struct ctx *c)
{
	return CONTAINER_OF(c, struct pass, ctx);
}

/* pass.c */
void pass_go(struct pass *p);  /* goes on with the next hook */
void pass_end(struct pass *p); /* the stanza has been handled; freed at once or after its last write */
void pass_find_session(struct pass *p); /* looks ctx.session up again */
void record_note_failed(struct reactor *r,
                        int64_t record); /* whoever depends on that record must not deliver */

/* pass_wait.c: submits a write of this home; its later reads start behind it. */
uint64_t home_write(struct home *h, struct write *w, store_rows_fn *fn, struct pass *p);
/* The one store_rows_fn of passes: goes on with the continuation of the pass `arg`. */
void pass_on_rows(void *arg, const struct rows *rows);

/* pass_send.c */
void pass_send(struct pass *p, struct envelope *e); /* routes and lets it leave */
enum verdict pass_route(struct pass *p);            /* the end of the OUT pass */

/* pass_absent.c: the end of an IN pass of a home that is ABSENT. */
enum verdict pass_to_absent(struct ctx *c);

/* home_view.c: whether the host of this home has the service of that module. */
bool service_is_offered(struct ctx *c, unsigned module);

/* A module that owns services has no part in those of others. */
static inline bool home_has_module(const struct home *h, unsigned module)
{
	return h->kind != HOME_SERVICE || h->service == (int)module ||
	       !h->reactor->hooks->modules[module]->service;
}

#endif
