/* main.c - musterd's command line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "describe.h"
#include "hash.h"
#include "hook.h"
#include "server.h"

static const char usage[] =
    "usage: musterd [--config FILE] [--check | --show-config | --describe WHAT]\n"
    "\n"
    "Runs the Muster XMPP server in the foreground.\n"
    "\n"
    "  -c, --config FILE   the configuration (default " MUSTER_SYSCONFDIR "/muster/muster.conf)\n"
    "      --check         say what is wrong with the configuration, and end\n"
    "      --show-config   print the whole configuration with all defaults, and end\n"
    "      --describe WHAT print what a module is and takes, or \"all\": what there is\n"
    "  -V, --version       print the version, and end\n"
    "  -h, --help          print this, and end\n"
    "\n"
    "Signals: HUP reloads the configuration and the certificates, USR1\n"
    "opens the log file again, TERM and INT end gracefully.\n";

static bool print(char *text)
{
	fputs(text, stdout);
	mem_free(text);
	return true;
}

static bool describe(const struct hooks *h, const char *what)
{
	if (strcmp(what, "all") == 0)
		return print(describe_all(h->modules, h->module_count));
	for (unsigned i = 0; i < h->module_count; i++)
		if (strcmp(h->modules[i]->name, what) == 0)
			return print(describe_module(h->modules[i]));
	fprintf(stderr, "musterd: the configuration names no module %s; --describe all lists them\n", what);
	return false;
}

/* --check, --show-config and --describe: everything that can be known without starting. */
static int inspect(const char *path, bool show, const char *what)
{
	char *errors = NULL;
	struct conf *c = conf_load(path, &errors);
	struct hooks *h = c ? hooks_load(c->node.module_dir, c->modules, c->module_count, &errors) : NULL;
	bool is_good = h && conf_read_modules(c, h->modules, h->module_count, &errors);

	if (!is_good) {
		fputs(errors, stderr);
	} else if (show) {
		print(conf_show(c, h->modules, h->module_count));
	} else if (what) {
		is_good = describe(h, what);
	} else {
		printf("%s: no mistakes found.\n", path);
	}
	mem_free(errors);
	if (h)
		hooks_free(h);
	conf_unref(c);
	return is_good ? 0 : 2;
}

/* What the arguments ask for. --admin-fd is musterctl's, and in no help: it starts a musterd that serves the
 * socket of that number and nothing else, with --admin-database without opening the database first. */
struct wish {
	const char *path, *describe;
	bool check, show, version, help;
	const char *admin_fd;
	bool admin_database;
};

/* False: an argument that is not known, or one that lacks its value. (getopt_long's struct option is
 * another one than ours.) */
static bool wish_read(struct wish *w, char **argv)
{
	for (char **at = argv + 1; *at; at++) {
		const char *a = *at;

		if (strcmp(a, "-c") == 0 || strcmp(a, "--config") == 0) {
			if (!*++at)
				return false;
			w->path = *at;
		} else if (strncmp(a, "--config=", 9) == 0) {
			w->path = a + 9;
		} else if (strcmp(a, "--admin-fd") == 0) {
			if (!*++at)
				return false;
			w->admin_fd = *at;
		} else if (strcmp(a, "--describe") == 0) {
			if (!*++at)
				return false;
			w->describe = *at;
		} else if (strcmp(a, "--admin-database") == 0) {
			w->admin_database = true;
		} else if (strcmp(a, "--check") == 0) {
			w->check = true;
		} else if (strcmp(a, "--show-config") == 0) {
			w->show = true;
		} else if (strcmp(a, "-V") == 0 || strcmp(a, "--version") == 0) {
			w->version = true;
		} else if (strcmp(a, "-h") == 0 || strcmp(a, "--help") == 0) {
			w->help = true;
		} else {
			return false;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	struct wish w = { .path = MUSTER_SYSCONFDIR "/muster/muster.conf" };

	(void)argc;
	if (!wish_read(&w, argv)) {
		fputs(usage, stderr);
		return 2;
	}
	if (w.help || w.version) {
		if (w.help)
			fputs(usage, stdout);
		else
			printf("musterd %s\n", muster_version());
		return 0;
	}
	hash_seed(false);
	if (w.admin_fd)
		return server_run_offline(w.path, (int)strtol(w.admin_fd, NULL, 10), w.admin_database);
	return w.check || w.show || w.describe ? inspect(w.path, w.show, w.describe) : server_run(w.path);
}
