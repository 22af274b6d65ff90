/* backup.h - a backup: a folder with the database, the configuration, and a manifest that says what
 * is in it. The database is read past the server, which goes on. */
#ifndef MUSTER_MUSTERCTL_BACKUP_H
#define MUSTER_MUSTERCTL_BACKUP_H

#include "conf.h"
#include "parts.h"

#define BACKUP_MANIFEST "manifest.json"
#define BACKUP_SQLITE "database.sqlite"
#define BACKUP_POSTGRESQL "database.dump"

/* Each fails with a complaint. `tables` is an object of counts by name; *schema the newest migration. */

/* ---- backup_sqlite.c */
bool backup_sqlite(struct call *c, const char *from, const char *to) MUST_CHECK;
/* Opens a file of nobody else, examines it whole and counts. */
bool backup_sqlite_look(struct call *c, const char *path, json_t *tables, json_int_t *schema) MUST_CHECK;

/* ---- backup_pg.c */
/* Dumps one moment of it, and counts in the same. `password` may be NULL. */
bool backup_pg(struct call *c, const struct store_conf *store, const char *to, json_t *tables,
               json_int_t *schema) MUST_CHECK;
/* Whether the dump can be read; with `into`, restores it into that empty database and counts there. */
bool backup_pg_look(struct call *c, const char *path, const char *into, json_t *tables,
                    json_int_t *schema) MUST_CHECK;

#endif
