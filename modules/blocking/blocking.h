/* blocking.h - between the files of this module: blocking.c keeps the list, guard.c holds to it, privacy.c
 * shows it to clients that know privacy lists only. */
#ifndef MUSTER_MODULE_BLOCKING_H
#define MUSTER_MODULE_BLOCKING_H

#include "module.h"

/* GUARD: nothing from somebody who is blocked comes in, nothing to him goes out. */
handler guard_in, guard_out;

#define PRIVACY_NS "jabber:iq:privacy"
handler privacy_on_get, privacy_on_set;

#endif
