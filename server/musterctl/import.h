/* import.h - an import: the file is read and checked as a whole (import_file.c), then its
 * accounts are sent (import.c). */
#ifndef MUSTER_MUSTERCTL_IMPORT_H
#define MUSTER_MUSTERCTL_IMPORT_H

#include "hash.h"
#include "jid.h"
#include "parts.h"
#include "sasl.h"

#define IMPORT_BYTES_MAX (256U << 20)
#define IMPORT_USERS_MAX 200000 /* as one file that a person can still look at */
#define IMPORT_COMPLAINTS_MAX 100

/* One account of the file. */
struct import_user {
	struct hash_node node; /* by its address */
	unsigned line;
	struct jid *jid;
	const char *display, *email; /* or NULL: in the file's text */
	char *email_key;             /* host and address in lower case: no two are the same */
	json_t *groups;              /* an array of names, or NULL */
	int disabled;                /* -1: not said */
	bool has_sha1, has_sha256;   /* keys in import.keys, now or when its password is derived */
	bool exists;
};

struct import {
	struct call *call;
	const char *path;
	char *text; /* of the file: secret */
	size_t text_len;
	json_t *hosts;   /* those that are served: an object by name */
	json_t *groups;  /* those there are, as "HOST NAME": an object; NULL: no line names one */
	json_t *missing; /* of --make-groups: those to be made, the same; NULL: none may be */
	json_t *emails;  /* of the file: an object of lines by email_key */
	struct import_user *users;
	const char **passwords;       /* by index in users; NULL: none */
	struct sasl_keys *keys;       /* the same */
	size_t count, existing, lost; /* lost: to somebody else, meanwhile */
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
