/* privilege.h - musterd started as root with node.user: what it makes belongs to that user, and only the
 * ports are opened as root.
 *
 * Three steps: privilege_lower before anything is made, privilege_raise around the opening of the ports,
 * privilege_drop for ever behind it. Each does nothing unless started as root with node.user. */
#ifndef MUSTER_PRIVILEGE_H
#define MUSTER_PRIVILEGE_H

#include <stdbool.h>

#include "conf.h"

/* Makes the run directory and the log file, which may lie where only root may make them, gives them to the
 * user, and becomes that user for the time being. False, with a sentence in *error (the caller
 * frees it). */
bool privilege_lower(const struct conf *c, char **error) MUST_CHECK;
void privilege_raise(const struct conf *c);
bool privilege_drop(const struct conf *c, char **error) MUST_CHECK;
/* Whether all of the process runs as root, because no node.user is given. */
bool privilege_is_kept(const struct conf *c);

#endif
