/* describe.h - what the server and its modules say of themselves, as text for administrators. */
#ifndef MUSTER_DESCRIBE_H
#define MUSTER_DESCRIBE_H

#include "module.h"

/* One module: what it is for, its specification, features, options and policies. The caller frees it. */
char *describe_module(const struct module *m);
/* The table of specifications, and of the modules. The caller frees it. */
char *describe_all(const struct module *const *modules, unsigned count);

#endif
