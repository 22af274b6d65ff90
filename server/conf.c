/* conf.c - loads muster.conf: reads the files, walks their nodes by the tables of conf_table.c.
 *
 * musterd calls conf_load at start and on reload, loads the modules that the snapshot names, and lets
 * conf_read_modules read their options. The snapshot owns all it points to, in its arena. */
#include "conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf_parts.h"
#include "module.h"
#include "network.h"

enum {
	FILE_MAX = 1 << 20, /* bytes of one file */
	FILES_MAX = 1000,
	INCLUDE_MAX = 8 /* levels of include */
};

/* One run of conf_load. */
struct loader {
	struct conf *conf;
	struct mistakes mistakes;
	struct conf_file *files; /* read so far, newest first */
	unsigned file_count;
	unsigned level; /* of include */
	bool from_memory;
	bool has_listeners, has_modules;
	/* What set each option, over all files. */
	const struct conf_node *seen[SECTION_COUNT][SECTION_OPTIONS_MAX];
};

static void read_file(struct loader *l, const char *path, const struct place *from);

/* ---- sections */

static void refuse_shape(struct loader *l, const struct conf_node *n, const char *wants)
{
	if (n->kind != NODE_WRONG)
		mistake(&l->mistakes, &n->place, "'%s' wants %s, got %s", n->key, wants,
		        node_shown(&l->conf->arena, n));
}

static bool is_nothing(const struct conf_node *n)
{
	return n->kind == NODE_SCALAR && n->is_plain && !*n->text;
}

static void read_options(struct loader *l, unsigned index, const struct conf_node *n)
{
	const struct section *s = &conf_sections[index];
	struct conf *c = l->conf;

	if (n->kind == NODE_MAP)
		options_read(s->options, (char *)c + s->offset, n, l->seen[index],
		             arena_printf(&c->arena, "in '%s'", s->name), &c->arena, &l->mistakes);
	else if (!is_nothing(n))
		refuse_shape(l, n, "a mapping of keys to values");
}

static bool is_ip_address(const char *text)
{
	unsigned char ignored[sizeof(struct in6_addr)];
	char address[INET6_ADDRSTRLEN];
	size_t n = strcspn(text, "%"); /* fe80::1%eth0 names an interface */

	if (inet_pton(AF_INET, text, ignored) == 1)
		return true;
	if (n >= sizeof address || (text[n] && !text[n + 1]))
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	return inet_pton(AF_INET6, address, ignored) == 1;
}

static int64_t listener_port(int64_t kind)
{
	return kind == LISTEN_C2S_TLS ? 5223 : kind == LISTEN_PROXY65 ? 7777 : 5222;
}

/* Appends one with the defaults of its kind. */
static struct listener_conf *add_listener(struct conf *c, enum listener_kind kind, const char *place)
{
	struct listener_conf *new = &c->listeners[c->listener_count++];

	options_default(conf_listener_options, new, &c->arena);
	new->kind = kind;
	new->place = place;
	new->port = listener_port(kind);
	return new;
}

/* What no row of the table can say. The newest listener has been read without a mistake. */
static void check_listener(struct loader *l, const struct conf_node *const *seen, const struct place *at)
{
	struct conf *c = l->conf;
	const struct listener_conf *new = &c->listeners[c->listener_count - 1];

	if (!is_ip_address(new->address))
		mistake(&l->mistakes, &seen[LISTENER_ADDRESS_ROW]->place,
		        "'address' wants an IPv4 or IPv6 address, got %s", quoted(&c->arena, new->address));
	if (new->kind == LISTEN_C2S_TLS && !new->require_tls)
		mistake(&l->mistakes, &seen[LISTENER_TLS_ROW]->place,
		        "'require_tls' cannot be false here: c2s-tls is TLS from the first byte");
	if (new->kind == LISTEN_PROXY65 &&new->proxy)
		mistake(&l->mistakes, &seen[LISTENER_PROXY_ROW]->place,
		        "'proxy' is for listeners of clients: no balancer's header is read here");
	if (new->proxy && !network_list_is_valid(new->proxy))
		mistake(&l->mistakes, &seen[LISTENER_PROXY_ROW]->place,
		        "'proxy' wants addresses and networks with blanks between them, such as "
		        "10.0.0.0/8 or ::1, got %s",
		        quoted(&c->arena, new->proxy));
	for (const struct listener_conf *old = c->listeners; new->port != 0 && old < new; old++) {
		if (old->port == new->port && strcmp(old->address, new->address) == 0)
			mistake(&l->mistakes, at, "address and port are those of the listener at %s",
			        old->place);
	}
}

static void read_listener(struct loader *l, const struct conf_node *n)
{
	struct conf *c = l->conf;
	const struct conf_node *seen[LISTENER_ROWS] = { 0 };
	unsigned mistakes = l->mistakes.count;

	if (n->kind != NODE_MAP) {
		if (n->kind != NODE_WRONG)
			mistake(&l->mistakes, &n->place,
			        "a listener wants a mapping of keys to values, got %s",
			        node_shown(&c->arena, n));
		return;
	}
	if (c->listener_count == LISTENERS_MAX) {
		mistake(&l->mistakes, &n->place, "more than %d listeners", LISTENERS_MAX);
		return;
	}
	struct listener_conf *new = add_listener(c, LISTEN_C2S, place_text(&c->arena, &n->place));
	options_read(conf_listener_options, new, n, seen, "of a listener", &c->arena, &l->mistakes);
	if (!seen[LISTENER_PORT_ROW])
		new->port = listener_port(new->kind);
	if (l->mistakes.count == mistakes)
		check_listener(l, seen, &n->place);
	if (l->mistakes.count != mistakes) /* nobody is to be compared with what it might have been */
		c->listener_count--;
}

static void read_listeners(struct loader *l, const struct conf_node *n)
{
	l->has_listeners = true;
	if (n->kind != NODE_LIST) {
		refuse_shape(l, n, "a list of listeners, or [] for none");
		return;
	}
	for (const struct conf_node *e = n->first; e; e = e->next)
		read_listener(l, e);
}

/* Names of modules become names of files, so nothing but these characters. */
static bool is_name(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return n > 0 && n <= 40 && !text[n];
}

/* The options wait for conf_read_modules; that they are single values can be seen before. */
static void check_module_options(struct loader *l, const struct conf_node *n)
{
	struct arena *a = &l->conf->arena;

	for (const struct conf_node *e = n->first; e; e = e->next) {
		if (!is_name(e->key))
			mistake(&l->mistakes, &e->key_place, "%s is no name of an option",
			        quoted(a, e->key));
		if (e->kind == NODE_MAP || e->kind == NODE_LIST || !is_one_line(e->text))
			mistake(&l->mistakes, &e->place, "option %s wants one value on one line",
			        quoted(a, e->key));
	}
}

static void add_module(struct conf *c, const char *name, const char *place, const struct conf_node *options)
{
	c->modules[c->module_count++] = (struct module_conf){ name, place, options };
}

static void read_module(struct loader *l, const struct conf_node *n)
{
	struct conf *c = l->conf;

	if (!is_name(n->key)) {
		mistake(&l->mistakes, &n->key_place, "%s is no name of a module: a-z, 0-9 and _ only",
		        quoted(&c->arena, n->key));
		return;
	}
	for (unsigned i = 0; i < c->module_count; i++) {
		if (strcmp(c->modules[i].name, n->key) != 0)
			continue;
		mistake(&l->mistakes, &n->key_place, "module '%s' is given again, first at %s", n->key,
		        c->modules[i].place);
		return;
	}
	if (c->module_count == MODULES_MAX) {
		mistake(&l->mistakes, &n->key_place, "more than %d modules", MODULES_MAX);
		return;
	}
	if (n->kind == NODE_MAP)
		check_module_options(l, n);
	else if (!is_nothing(n))
		refuse_shape(l, n, "a mapping of options, or nothing");
	add_module(c, n->key, place_text(&c->arena, &n->key_place), n->kind == NODE_MAP ? n : NULL);
}

static void read_modules(struct loader *l, const struct conf_node *n)
{
	l->has_modules = true;
	if (n->kind != NODE_MAP) {
		refuse_shape(l, n, "a mapping of names to options, or {} for none");
		return;
	}
	for (const struct conf_node *e = n->first; e; e = e->next)
		read_module(l, e);
}

/* ---- include */

/* "conf.d/" of "conf.d/a.conf", "" of "a.conf". */
static const char *directory_of(struct arena *a, const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? arena_strndup(a, path, (size_t)(slash - path) + 1) : "";
}

/* The directory as a pattern that matches just it. */
static const char *escaped(struct arena *a, const char *dir)
{
	char *out = arena_alloc(a, 2 * strlen(dir) + 1), *p = out;

	for (; *dir; dir++) {
		if (strchr("*?[]\\", *dir))
			*p++ = '\\';
		*p++ = *dir;
	}
	*p = '\0';
	return out;
}

/* A directory that is not there yet is as good as an empty one. */
static int on_glob_error(const char *path, int error)
{
	(void)path;
	return error != ENOENT && error != ENOTDIR;
}

static void include_matches(struct loader *l, const char *pattern, const struct place *at)
{
	glob_t found;

	/* In the order of bytes: musterd never leaves the C locale. */
	int rc = glob(pattern, 0, on_glob_error, &found);
	if (rc != 0 && rc != GLOB_NOMATCH) {
		mistake(&l->mistakes, at, "cannot look for '%s': a directory of it cannot be read",
		        pattern);
		return;
	}
	for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++)
		read_file(l, arena_strdup(&l->conf->arena, found.gl_pathv[i]), at);
	globfree(&found);
}

static void include_one(struct loader *l, const struct conf_node *n)
{
	struct arena *a = &l->conf->arena;

	if (n->kind == NODE_WRONG)
		return;
	if (n->kind != NODE_SCALAR || !*n->text) {
		mistake(&l->mistakes, &n->place, "'include' wants a path or a list of paths, got %s",
		        node_shown(a, n));
		return;
	}
	if (l->from_memory) {
		mistake(&l->mistakes, &n->place, "'include' needs a file to start from");
		return;
	}
	if (l->level == INCLUDE_MAX) {
		mistake(&l->mistakes, &n->place, "'include' is more than %d levels deep", INCLUDE_MAX);
		return;
	}
	const char *dir = *n->text == '/' ? "" : directory_of(a, n->place.file->name);
	l->level++;
	if (strpbrk(n->text, "*?["))
		include_matches(l, arena_printf(a, "%s%s", escaped(a, dir), n->text), &n->place);
	else
		read_file(l, arena_printf(a, "%s%s", dir, n->text), &n->place);
	l->level--;
}

static void read_include(struct loader *l, const struct conf_node *n)
{
	if (n->kind != NODE_LIST) {
		include_one(l, n);
		return;
	}
	for (const struct conf_node *e = n->first; e; e = e->next)
		include_one(l, e);
}

/* ---- files */

static void read_section(struct loader *l, unsigned index, const struct conf_node *n)
{
	switch (conf_sections[index].kind) {
	case SECTION_OPTIONS:
		read_options(l, index, n);
		break;
	case SECTION_LISTENERS:
		read_listeners(l, n);
		break;
	case SECTION_MODULES:
		read_modules(l, n);
		break;
	case SECTION_INCLUDE:
		read_include(l, n);
		break;
	}
}

static void read_top(struct loader *l, const struct conf_node *top)
{
	struct arena *a = &l->conf->arena;
	const struct conf_node *seen[SECTION_COUNT] = { 0 }; /* in this file; another one may add to it */

	if (top->kind != NODE_MAP) {
		if (!is_nothing(top) && top->kind != NODE_WRONG)
			mistake(&l->mistakes, &top->place, "a configuration wants sections, got %s",
			        node_shown(a, top));
		return;
	}
	for (const struct conf_node *n = top->first; n; n = n->next) {
		struct nearest best = { 0 };
		unsigned i = 0;

		while (i < SECTION_COUNT && strcmp(n->key, conf_sections[i].name) != 0)
			nearest_ask(&best, n->key, conf_sections[i++].name);
		if (i == SECTION_COUNT) {
			unknown_key(n, "at the top", &best, a, &l->mistakes);
			continue;
		}
		if (seen[i])
			mistake(&l->mistakes, &n->key_place, "'%s' is given again, first at %s", n->key,
			        place_text(a, &seen[i]->key_place));
		else
			seen[i] = n;
		read_section(l, i, n);
	}
}

static void read_bytes(struct loader *l, const struct conf_file *file, const char *bytes, size_t n)
{
	struct conf_node *top = yaml_read(file, bytes, n, &l->conf->arena, &l->mistakes);

	if (top)
		read_top(l, top);
}

/* NULL, or why the open file cannot be taken. */
static const char *read_whole(struct loader *l, int fd, struct conf_file *file, struct buffer *out)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "it is not a file";
	if (st.st_size > FILE_MAX)
		return "it is larger than 1 MB";
	for (const struct conf_file *f = l->files; f; f = f->next) {
		if (f->dev == st.st_dev && f->ino == st.st_ino)
			return "it has been read already, and each file is read once";
	}
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	while (out->len <= FILE_MAX) {
		ssize_t n = read(fd, buffer_reserve(out, 65536), 65536);

		if (n < 0)
			return strerror(errno);
		if (n == 0)
			return NULL;
		out->len += (size_t)n;
	}
	return "it is larger than 1 MB";
}

/* `path` lives as long as the snapshot. `from`: the place of the include, or NULL. */
static void read_file(struct loader *l, const char *path, const struct place *from)
{
	struct arena *a = &l->conf->arena;
	struct conf_file *file = arena_zalloc(a, sizeof *file);

	file->name = path;
	struct place at = from ? *from : (struct place){ .file = file };
	if (l->file_count == FILES_MAX) {
		mistake(&l->mistakes, &at, "more than %d files are included", FILES_MAX);
		return;
	}
	const char *shown_dir = directory_of(a, path);
	char dir[PATH_MAX];
	/* O_NONBLOCK: a FIFO without a writer must not hold us. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || !realpath(*shown_dir ? shown_dir : ".", dir)) {
		mistake(&l->mistakes, &at, "cannot read '%s': %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	file->dir = arena_strdup(a, dir);
	struct buffer bytes = { 0 };
	const char *problem = read_whole(l, fd, file, &bytes);
	close(fd);
	if (problem) {
		mistake(&l->mistakes, &at, "cannot read '%s': %s", path, problem);
	} else {
		file->next = l->files;
		l->files = file;
		l->file_count++;
		read_bytes(l, file, bytes.data ? bytes.data : "", bytes.len);
	}
	buffer_free(&bytes);
}

/* ---- the snapshot */

static void loader_start(struct loader *l, const char *path)
{
	struct conf *c = mem_zalloc(sizeof *c);

	*l = (struct loader){ .conf = c };
	atomic_init(&c->refs, 1);
	c->path = arena_strdup(&c->arena, path);
	c->listeners = arena_zalloc(&c->arena, LISTENERS_MAX * sizeof *c->listeners);
	c->modules = arena_zalloc(&c->arena, MODULES_MAX * sizeof *c->modules);
	for (const struct section *s = conf_sections; s->name; s++) {
		if (s->kind == SECTION_OPTIONS)
			options_default(s->options, (char *)c + s->offset, &c->arena);
	}
}

/* The entry that has set an option; NULL: none. */
static const struct conf_node *entry_of(const struct loader *l, const char *section, const char *name)
{
	unsigned i = 0, row = 0;

	while (strcmp(conf_sections[i].name, section) != 0)
		i++;
	while (strcmp(conf_sections[i].options[row].name, name) != 0)
		row++;
	return l->seen[i][row];
}

/* What a session keeps for its client is sent at once when it is resumed: with more than may wait for a slow reader
 * that would close each stream which resumes it. Who says nothing gets what fits. */
static void check_resume_bytes(struct loader *l)
{
	struct limits_conf *limits = &l->conf->limits;
	const struct conf_node *resume = entry_of(l, "limits", "resume_bytes"),
			       *queue = entry_of(l, "limits", "write_queue_bytes");

	if (limits->resume_bytes <= limits->write_queue_bytes)
		return;
	if (resume)
		mistake(&l->mistakes, &resume->place,
		        "'resume_bytes' cannot be more than 'write_queue_bytes', %s: all of it is sent at "
		        "once when a session is resumed",
		        queue ? place_text(&l->conf->arena, &queue->place) : "whose default is less");
	limits->resume_bytes = limits->write_queue_bytes;
}

static struct conf *loader_finish(struct loader *l, char **errors)
{
	struct conf *c = l->conf;

	if (!l->mistakes.count) /* else nobody knows what they are */
		check_resume_bytes(l);
	*errors = mistakes_take(&l->mistakes);
	if (*errors) {
		conf_unref(c);
		return NULL;
	}
	if (!l->has_listeners) {
		add_listener(c, LISTEN_C2S, "default");
		add_listener(c, LISTEN_C2S_TLS, "default");
	}
	for (const char *const *name = conf_default_modules; !l->has_modules && *name; name++)
		add_module(c, *name, "default", NULL);
	return c;
}

struct conf *conf_load(const char *path, char **errors)
{
	struct loader l;

	loader_start(&l, path);
	read_file(&l, l.conf->path, NULL);
	return loader_finish(&l, errors);
}

struct conf *conf_load_bytes(const char *name, const char *bytes, size_t n, char **errors)
{
	struct loader l;

	loader_start(&l, name);
	l.from_memory = true;
	struct conf_file *file = arena_zalloc(&l.conf->arena, sizeof *file);
	file->name = l.conf->path;
	file->dir = "/";
	read_bytes(&l, file, bytes, n);
	return loader_finish(&l, errors);
}

void conf_unref(struct conf *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	arena_free(&c->arena);
	mem_free(c);
}

/* ---- module options */

static const struct conf_node *module_node(const struct conf *c, const char *name)
{
	for (unsigned i = 0; i < c->module_count; i++) {
		if (strcmp(c->modules[i].name, name) == 0)
			return c->modules[i].options;
	}
	return NULL;
}

static void *read_module_options(struct conf *c, const struct module *module, struct mistakes *m)
{
	static const struct option none[] = { OPTIONS_END };
	const struct option *table = module->options ? module->options : none;
	const struct conf_node *n = module_node(c, module->name);
	void *options = arena_zalloc(&c->arena, module->options_size);

	options_default(table, options, &c->arena);
	if (n) {
		const struct conf_node **seen =
		    arena_zalloc(&c->arena, options_count(table) * sizeof(struct conf_node *));

		options_read(table, options, n, seen,
		             arena_printf(&c->arena, "of module '%s'", module->name), &c->arena, m);
	}
	return module->options ? options : NULL;
}

bool conf_read_modules(struct conf *c, const struct module *const *modules, unsigned count, char **errors)
{
	struct mistakes m = { 0 };

	ASSERT(!c->module_options);
	c->module_options = arena_zalloc(&c->arena, count * sizeof(void *));
	c->module_options_count = count;
	for (unsigned i = 0; i < count; i++)
		c->module_options[i] = read_module_options(c, modules[i], &m);
	*errors = mistakes_take(&m);
	return !*errors;
}
