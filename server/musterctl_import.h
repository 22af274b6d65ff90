/* musterctl_import.h - an import: the file is read and checked as a whole (musterctl_import_file.c), then its
 * accounts are sent (musterctl_import.c). */
#ifndef MUSTER_MUSTERCTL_IMPORT_H
#define MUSTER_MUSTERCTL_IMPORT_H

#include "hash.h"
#include "jid.h"
#include "musterctl_parts.h"
#include "sasl.h"

#define IMPORT_BYTES_MAX (256U << 20)
#define IMPORT_USERS_MAX 200000 /* as many as one transaction makes without holding up the others long */
#define IMPORT_COMPLAINTS_MAX 100

/* One account of the file. */
struct import_user {
	struct hash_node node; /* by its address */
	unsigned line;
	struct jid *jid;
	const char *full_name, *email; /* or NULL: in the file's text */
	int disabled;                  /* -1: not said */
	bool has_keys;                 /* in import.keys, now or when its password is derived */
	bool exists;
};

struct import {
	struct call *call;
	const char *path;
	char *text; /* of the file: secret */
	size_t text_len;
	json_t *hosts; /* those that are served: an object by name */
	struct import_user *users;
	const char **passwords; /* by index in users; NULL: none */
	struct sasl_keys *keys; /* the same */
	size_t count, existing;
	struct hash by_jid;
	unsigned complaints; /* lines that are wrong */
	bool skips, updates; /* accounts that exist */
};

/* Notes a mistake: said at once, as long as there are few. */
void import_complain(struct import *x, unsigned line, const char *format, ...) PRINTF(3, 4);
/* Reads and checks the file. False: it has complained. */
bool import_read(struct import *x) MUST_CHECK;
void import_free(struct import *x);

#endif
