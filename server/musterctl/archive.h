/* archive.h - exported archives: a folder with a file for each account that has messages, and a manifest, which
 * is written last.
 *
 * archive.c         search, show, stats, expire: what has nothing to do with such folders
 * archive_export.c  writes the folder
 * archive_form.c    the forms that the files may have
 * archive_verify.c  whether a folder is as it was written */
#ifndef MUSTER_MUSTERCTL_ARCHIVE_H
#define MUSTER_MUSTERCTL_ARCHIVE_H

#include <stdio.h>

#include "parts.h"

/* JSON lines: what was exported; one for each file; {"files":N,"messages":N,"bytes":N,"until":TIME}. */
#define ARCHIVE_MANIFEST "MANIFEST"
#define ARCHIVE_PART ".part" /* behind the name of a file that is being written */

/* ---- archive_form.c */

struct archive_form {
	const char *name, *suffix;
	const char
	    *counted; /* a message is one line that begins so, and no other line does; "": each line */
	void (*begin)(FILE *f, const char *host, const char *name);
	/* One of the page's messages. False: it is damaged. */
	bool (*message)(FILE *f, const char *host, const json_t *message);
	void (*end)(FILE *f);
	bool has_index; /* files that include those of the accounts: XEP-0227 */
};

/* NULL: there is none with that name. */
const struct archive_form *archive_form_find(const char *name);
#define ARCHIVE_FORMS "xml, jsonl or mbox"

/* The files of XEP-0227 that bring others in: begun, a line for each, ended. */
void archive_index_begin(FILE *f, const char *host); /* host NULL: the one of all hosts */
void archive_index_add(FILE *f, const char *folder, const char *file);
void archive_index_end(FILE *f, bool is_host);

#endif
