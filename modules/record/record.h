/* record.h - between the files of this module: record.c puts messages on record, preferences.c tells their
 * owner what is kept. */
#ifndef MUSTER_MODULE_RECORD_H
#define MUSTER_MODULE_RECORD_H

#include "module.h"

#define MAM_NS "urn:xmpp:mam:2"

handler preferences_on_get, preferences_on_set;

#endif
