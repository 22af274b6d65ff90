/* test_conf.c - muster.conf: its defaults, every kind of mistake with its place, includes, the options
 * of modules, and that what conf_show prints is the example file and reads back to the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"
#include "conf_parts.h"
#include "log.h"
#include "module.h"

/* ---- small help */

static struct conf *load(const char *text)
{
	char *errors;
	struct conf *c = conf_load_bytes("m", text, strlen(text), &errors);
	if (!c)
		fail_msg("%s", errors);
	assert_null(errors);
	return c;
}

/* That this text has just these mistakes. */
static void refused(const char *text, const char *expected)
{
	char *errors;
	struct conf *c = conf_load_bytes("m", text, strlen(text), &errors);
	assert_null(c);
	assert_string_equal(errors, expected);
	mem_free(errors);
}

/* ---- values */

static void test_defaults(void **state)
{
	(void)state;
	struct conf *c = load("");
	assert_true(c->node.reactors == OPTION_WORD);
	assert_true(c->node.move_streams);
	assert_null(c->node.user);
	assert_int_equal(c->store.engine, ENGINE_SQLITE);
	assert_int_equal(c->store.timeout, 2000);
	assert_true(c->store.share_transactions);
	assert_null(c->log.file);
	assert_int_equal(c->log.level, LOG_INFO);
	assert_int_equal(c->log.format, LOG_FORMAT_TEXT);
	assert_int_equal(c->limits.stanza_bytes, 262144);
	assert_int_equal(c->limits.stanza_bytes_before, 10000);
	assert_int_equal(c->limits.idle_home, 600000);
	assert_int_equal(c->listener_count, 2);
	assert_int_equal(c->listeners[0].kind, LISTEN_C2S);
	assert_int_equal(c->listeners[0].port, 5222);
	assert_int_equal(c->listeners[1].kind, LISTEN_C2S_TLS);
	assert_int_equal(c->listeners[1].port, 5223);
	assert_string_equal(c->listeners[1].address, "::");
	assert_true(c->listeners[1].require_tls);
	assert_true(c->module_count >= 8);
	assert_string_equal(c->modules[0].name, "ping");
	assert_string_equal(c->modules[c->module_count - 1].place, "default");
	conf_unref(c);
}

/* Options outside a file: a host's policies. */
static void test_option(void **state)
{
	static const char *const words[] = { "red", "green", "redder", NULL };
	static const struct option o = {
		.name = "colours", .type = OPT_WORDS, .fallback = "", .choices = words
	};
	struct arena a = { 0 };
	struct buffer b = { 0 };
	int64_t value = 0;
	char *problem;

	(void)state;
	assert_null(option_read(&o, &value, " redder  red ", &a));
	assert_int_equal(value, 5);
	option_write(&b, &o, &value);
	assert_string_equal(b.data, "red redder");
	problem = option_read(&o, &value, "red,green", &a);
	assert_string_equal(problem,
	                    "'colours' wants some of, with spaces between them: red, green, redder, got "
	                    "'red,green'");
	mem_free(problem);
	assert_int_equal(value, 5);
	assert_null(option_read(&o, &value, "", &a));
	assert_int_equal(value, 0);
	buffer_free(&b);
	arena_free(&a);
}

/* The words of log.level are the levels of log.h. */
static void test_levels(void **state)
{
	static const struct {
		const char *text;
		int level;
	} rows[] = {
		{ "log: {level: error}", LOG_ERROR },
		{ "log: {level: warn}", LOG_WARN },
		{ "log: {level: info}", LOG_INFO },
		{ "log: {level: debug}", LOG_DEBUG },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct conf *c = load(rows[i].text);
		assert_int_equal(c->log.level, rows[i].level);
		conf_unref(c);
	}
}

static void test_values(void **state)
{
	(void)state;
	struct conf *c = load("\xef\xbb\xbf---\n"
	                      "node:\n"
	                      "  reactors: \"4\"\n"
	                      "  user: muster\n"
	                      "  run_dir: somewhere/run\n"
	                      "  certificates: /a b/\xc3\xa9\n"
	                      "store:\n"
	                      "  engine: postgresql\n"
	                      "  conninfo: 'host=/tmp user=''x'''\n"
	                      "  share_transactions: false\n"
	                      "  test_commit_delay: 0\n"
	                      "  timeout: 1m\n"
	                      "limits:\n"
	                      "  stanza_bytes: 1M\n"
	                      "  idle_home: 1d\n"
	                      "  login_time: 1500ms\n"
	                      "listeners:\n"
	                      "  - {address: 127.0.0.1, port: 0, require_tls: false}\n"
	                      "  - {address: 127.0.0.1, port: 0}\n"
	                      "  - kind: c2s-tls\n"
	                      "    address: fe80::1%lo\n"
	                      "modules:\n"
	                      "  roster:\n"
	                      "  ping: {}\n");
	assert_int_equal(c->node.reactors, 4);
	assert_string_equal(c->node.user, "muster");
	assert_string_equal(c->node.run_dir, "/somewhere/run");
	assert_string_equal(c->node.certificates, "/a b/\xc3\xa9");
	assert_int_equal(c->store.engine, ENGINE_POSTGRESQL);
	assert_string_equal(c->store.conninfo, "host=/tmp user='x'");
	assert_false(c->store.share_transactions);
	assert_int_equal(c->store.timeout, 60000);
	assert_int_equal(c->limits.stanza_bytes, 1048576);
	assert_int_equal(c->limits.idle_home, 86400000);
	assert_int_equal(c->limits.login_time, 1500);
	assert_int_equal(c->listener_count, 3);
	assert_int_equal(c->listeners[0].port, 0);
	assert_false(c->listeners[0].require_tls);
	assert_int_equal(c->listeners[2].port, 5223);
	assert_string_equal(c->listeners[2].place, "m:20:5");
	assert_int_equal(c->module_count, 2);
	assert_string_equal(c->modules[0].name, "roster");
	assert_string_equal(c->modules[1].place, "m:24:3");
	conf_unref(c);
}

static void test_resume_bytes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} rows[] = {
		{ "", 4 << 20 },
		{ "limits: {write_queue_bytes: 1M}", 1 << 20 },
		{ "limits: {write_queue_bytes: 16M}", 4 << 20 },
		{ "limits: {resume_bytes: 16M, write_queue_bytes: 16M}", 16 << 20 },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct conf *c = load(rows[i].text);
		assert_int_equal(c->limits.resume_bytes, rows[i].bytes);
		conf_unref(c);
	}
}

static void test_none(void **state)
{
	(void)state;
	struct conf *c = load("listeners: []\nmodules: {}\nlimits:\nlog:\n  file:\n");
	assert_int_equal(c->listener_count, 0);
	assert_int_equal(c->module_count, 0);
	assert_null(c->log.file);
	conf_unref(c);
	conf_unref(load("# nothing\n"));
	conf_unref(load("---\n"));
	conf_unref(NULL);
}

/* ---- mistakes */

static void test_all_in_one_run(void **state)
{
	(void)state;
	refused("limits:\n"
	        "  dept: 20\n"
	        "  depth: abc\n"
	        "  depth: 9\n"
	        "loog:\n"
	        "  level: info\n"
	        "listeners:\n"
	        "  - port: abc\n"
	        "  - prot: 1\n"
	        "  - x\n",
	        "m:2:3: unknown key 'dept' in 'limits'; did you mean 'depth'?\n"
	        "m:3:10: 'depth' wants an integer, got 'abc'\n"
	        "m:4:3: 'depth' is given again, first at m:3:3\n"
	        "m:4:10: 'depth' wants 10 to 10000, got '9'\n"
	        "m:5:1: unknown key 'loog' at the top; did you mean 'log'?\n"
	        "m:8:11: 'port' wants an integer, got 'abc'\n"
	        "m:9:5: unknown key 'prot' of a listener; did you mean 'port'?\n"
	        "m:10:5: a listener wants a mapping of keys to values, got 'x'\n");
}

struct wrong {
	const char *text, *expected;
};

static void all_refused(const struct wrong *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		refused(rows[i].text, rows[i].expected);
}

static void test_wrong_values(void **state)
{
	static const struct wrong rows[] = {
		{ "node: {reactors: 05}", "m:1:18: 'reactors' wants auto or an integer, got '05'\n" },
		{ "node: {reactors: 0}", "m:1:18: 'reactors' wants auto or 1 to 256, got '0'\n" },
		{ "node: {reactors: Auto}", "m:1:18: 'reactors' wants auto or an integer, got 'Auto'\n" },
		{ "node: {reactors: 0x5}", "m:1:18: 'reactors' wants auto or an integer, got '0x5'\n" },
		{ "node: {reactors: -}", "m:1:18: 'reactors' wants auto or an integer, got '-'\n" },
		{ "node: {reactors: -1}", "m:1:18: 'reactors' wants auto or 1 to 256, got '-1'\n" },
		{ "node: {reactors: 99999999999999999999}",
		  "m:1:18: 'reactors' wants auto or 1 to 256, got '99999999999999999999'\n" },
		{ "node: {reactors: }", "m:1:18: 'reactors' wants auto or an integer, got nothing\n" },
		{ "node: {reactors: [1]}", "m:1:18: 'reactors' wants auto or an integer, got a list\n" },
		{ "node: {reactors: {a: 1}}",
		  "m:1:18: 'reactors' wants auto or an integer, got a mapping\n" },
		{ "limits: {login_time: 10}",
		  "m:1:22: 'login_time' wants a time, such as 500ms, 10s, 5m, 2h, 1d or 1w, got '10'\n" },
		{ "limits: {login_time: 0}", "m:1:22: 'login_time' wants 100ms to 1h, got '0'\n" },
		{ "limits: {login_time: 99999999999w}",
		  "m:1:22: 'login_time' wants 100ms to 1h, got '99999999999w'\n" },
		{ "limits: {stanza_bytes: -1k}", "m:1:24: 'stanza_bytes' wants a number of bytes, such as "
		                                 "500, 64k, 4M or 1G, got '-1k'\n" },
		{ "limits: {stanza_bytes: 9k}", "m:1:24: 'stanza_bytes' wants 10000 to 64M, got '9k'\n" },
		{ "limits: {write_queue_bytes: 2M, resume_bytes: 3M}",
		  "m:1:47: 'resume_bytes' cannot be more than 'write_queue_bytes', m:1:29: all of it is sent at "
		  "once when a session is resumed\n" },
		{ "limits: {resume_bytes: 5M}",
		  "m:1:24: 'resume_bytes' cannot be more than 'write_queue_bytes', whose default is less: all of it "
		  "is sent at once when a session is resumed\n" },
		{ "limits: {write_queue_bytes: 2x, resume_bytes: 5M}",
		  "m:1:29: 'write_queue_bytes' wants a number of bytes, such as 500, 64k, 4M or 1G, got '2x'\n" },
		{ "store: {share_transactions: yes}",
		  "m:1:29: 'share_transactions' wants true or false, got 'yes'\n" },
		{ "store: {engine: mysql}",
		  "m:1:17: 'engine' wants one of sqlite, postgresql, got 'mysql'\n" },
		{ "node: {user: ~}", "m:1:14: 'user' wants a text: put '~' in quotes if it is one\n" },
		{ "node: {user: ''}", "m:1:14: 'user' wants a text, got ''\n" },
		{ "node: {run_dir: }", "m:1:17: 'run_dir' wants a path, got nothing\n" },
		{ "node: {user: \"a\\nb\"}", "m:1:14: 'user' wants one line without control characters\n" },
		{ "node: {user: \"a\\u2028b\"}",
		  "m:1:14: 'user' wants one line without control characters\n" },
		{ "node: {user: \"a\\x9bb\"}",
		  "m:1:14: 'user' wants one line without control characters\n" },
		{ "node: {user: \"a\\0b\"}", "m:1:14: a NUL character is not allowed here\n" },
	};
	(void)state;
	all_refused(rows, COUNT_OF(rows));
}

static void test_wrong_sections(void **state)
{
	static const struct wrong rows[] = {
		{ "- a", "m:1:1: a configuration wants sections, got a list\n" },
		{ "hello", "m:1:1: a configuration wants sections, got 'hello'\n" },
		{ "log: debug", "m:1:6: 'log' wants a mapping of keys to values, got 'debug'\n" },
		{ "log: {}\nlog: {}", "m:2:1: 'log' is given again, first at m:1:1\n" },
		{ "listeners:",
		  "m:1:11: 'listeners' wants a list of listeners, or [] for none, got nothing\n" },
		{ "listeners: [{address: localhost}]",
		  "m:1:23: 'address' wants an IPv4 or IPv6 address, got 'localhost'\n" },
		{ "listeners: [{address: '::1%'}]",
		  "m:1:23: 'address' wants an IPv4 or IPv6 address, got '::1%'\n" },
		{ "listeners: [{kind: c2s-tls, require_tls: false}]",
		  "m:1:42: 'require_tls' cannot be false here: c2s-tls is TLS from the first byte\n" },
		{ "listeners: [{}, {port: 5222}]",
		  "m:1:17: address and port are those of the listener at m:1:13\n" },
		{ "modules: []",
		  "m:1:10: 'modules' wants a mapping of names to options, or {} for none, got a list\n" },
		{ "modules: {ping: , ping: {}}",
		  "m:1:19: module 'ping' is given again, first at m:1:11\n" },
		{ "modules: {../x: }", "m:1:11: '../x' is no name of a module: a-z, 0-9 and _ only\n" },
		{ "modules: {mam: on}",
		  "m:1:16: 'mam' wants a mapping of options, or nothing, got 'on'\n" },
		{ "modules: {mam: {a b: 1}}", "m:1:17: 'a b' is no name of an option\n" },
		{ "modules: {mam: {a: [1]}}", "m:1:20: option 'a' wants one value on one line\n" },
		{ "include: x", "m:1:10: 'include' needs a file to start from\n" },
		{ "include: {}", "m:1:10: 'include' wants a path or a list of paths, got a mapping\n" },
		{ "qwertyuiop: 1", "m:1:1: unknown key 'qwertyuiop' at the top\n" },
		{ "\"\\e[1m\": 1", "m:1:1: unknown key '?[1m' at the top\n" },
	};
	(void)state;
	all_refused(rows, COUNT_OF(rows));
}

static void test_wrong_yaml(void **state)
{
	static const struct wrong rows[] = {
		{ "store: {timeout: &a 3s}",
		  "m:1:18: an anchor (&a) is not allowed here: write the value out\n" },
		{ "store: {timeout: *a}",
		  "m:1:18: an alias (*a) is not allowed here: write the value out\n" },
		{ "store: *a\nlog: 3", "m:1:8: an alias (*a) is not allowed here: write the value out\n"
		                       "m:2:6: 'log' wants a mapping of keys to values, got '3'\n" },
		{ "node: {reactors: !!int 1}",
		  "m:1:18: a tag ('tag:yaml.org,2002:int') is not allowed here: "
		  "the key says what type it is\n" },
		{ "%YAML 1.1\n---\n", "m:1:1: a YAML directive (%) is not allowed here\n" },
		{ "log: {}\n---\nlog: {}\n",
		  "m:2:1: a second document is not allowed: one file, one configuration\n" },
		{ "? [a]\n: 1", "m:1:3: a key must be a word\n" },
		{ "[[[[[[[[[1]]]]]]]]]", "m:1:9: nested too deep\n"
		                         "m:1:1: a configuration wants sections, got a list\n" },
		{ "log:\n\tlevel: info\n", "m:2:1: found character that cannot start any token: indent "
		                           "with spaces, not with tabs\n" },
		/* Mistakes before that of syntax are found in the same run; what it broke is not one. */
		{ "log:\n  levle: info\n  level: [a\n",
		  "m:4:1: did not find expected ',' or ']', while parsing a flow sequence that began at "
		  "line 3, column 10\n"
		  "m:2:3: unknown key 'levle' in 'log'; did you mean 'level'?\n" },
		{ "log:\n  # \xc3\xa9 \xff",
		  "m:2:7: invalid leading UTF-8 octet: the file must be UTF-8 text\n" },
	};
	(void)state;
	all_refused(rows, COUNT_OF(rows));
}

static void test_many_mistakes(void **state)
{
	(void)state;
	struct buffer b = { 0 };
	for (int i = 0; i < 20000; i++)
		buffer_adds(&b, "unknownkey: 1\n");
	char *errors;
	assert_null(conf_load_bytes("m", b.data, b.len, &errors));
	assert_non_null(strstr(errors, "\nand 9900 more\n"));
	mem_free(errors);
	buffer_free(&b);
}

/* ---- files */

struct folder {
	char dir[32], cwd[4096];
};

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int enter_folder(void **state)
{
	struct folder *f = mem_zalloc(sizeof *f);
	memcpy(f->dir, "/tmp/test_conf.XXXXXX", sizeof "/tmp/test_conf.XXXXXX");
	assert_non_null(getcwd(f->cwd, sizeof f->cwd));
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(chdir(f->dir), 0);
	assert_int_equal(mkdir("conf.d", 0700), 0);
	*state = f;
	return 0;
}

static int leave_folder(void **state)
{
	struct folder *f = *state;
	static const char *const names[] = { "a", "b", "conf.d/1.conf", "conf.d/2.conf", "conf.d" };
	char name[16];
	for (size_t i = 0; i < COUNT_OF(names); i++)
		remove(names[i]);
	for (int i = 0; i < 12; i++) {
		snprintf(name, sizeof name, "n%d", i);
		remove(name);
	}
	assert_int_equal(chdir(f->cwd), 0);
	assert_int_equal(rmdir(f->dir), 0);
	mem_free(f);
	return 0;
}

static void refused_file(const char *path, const char *expected)
{
	char *errors;
	assert_null(conf_load(path, &errors));
	assert_string_equal(errors, expected);
	mem_free(errors);
}

static void test_include(void **state)
{
	const struct folder *f = *state;
	put("a", "include: [conf.d/*.conf, nothing.d/*.conf, b]\nlimits: {depth: 20}\nlisteners: [{}]\n");
	put("conf.d/2.conf", "listeners: [{port: 2}]\nmodules: {roster: }\n");
	put("conf.d/1.conf", "listeners: [{port: 1}]\nmodules: {ping: }\nnode: {run_dir: run}\n");
	put("b", "limits: {attributes: 20}\n");
	char *errors, *path = mem_printf("%s/a", f->dir);
	struct conf *c = conf_load(path, &errors);
	assert_non_null(c);
	assert_string_equal(c->path, path);
	assert_int_equal(c->limits.depth, 20);
	assert_int_equal(c->limits.attributes, 20);
	assert_int_equal(c->listener_count, 3);
	assert_int_equal(c->listeners[0].port, 1);
	assert_int_equal(c->listeners[1].port, 2);
	assert_int_equal(c->listeners[2].port, 5222);
	assert_int_equal(c->module_count, 2);
	assert_string_equal(c->modules[0].name, "ping");
	char *run_dir = mem_printf("%s/conf.d/run", f->dir);
	assert_string_equal(c->node.run_dir, run_dir);
	mem_free(run_dir);
	mem_free(path);
	conf_unref(c);
}

static void test_include_mistakes(void **state)
{
	(void)state;
	refused_file("a", "a: cannot read 'a': No such file or directory\n");
	refused_file(".", ".: cannot read '.': it is not a file\n");
	put("a", "node: {reactors: 2}\ninclude:\n  - b\n  - missing\n  - /dev/zero\n");
	put("b", "node: {reactors: 3, x: 1}\ninclude: conf.d/1.conf\n");
	put("conf.d/1.conf", "include: ../a\n");
	refused_file("a",
	             "b:1:8: 'reactors' is given again, first at a:1:8\n"
	             "b:1:21: unknown key 'x' in 'node'\n"
	             "conf.d/1.conf:1:10: cannot read 'conf.d/../a': it has been read already, and each "
	             "file is read once\n"
	             "a:4:5: cannot read 'missing': No such file or directory\n"
	             "a:5:5: cannot read '/dev/zero': it is not a file\n");
}

static void test_include_depth(void **state)
{
	char name[16], text[32], *errors;
	(void)state;
	put("n8", "");
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof name, "n%d", i);
		snprintf(text, sizeof text, "include: n%d\n", i + 1);
		put(name, text);
	}
	struct conf *c = conf_load("n0", &errors);
	assert_non_null(c);
	conf_unref(c);
	put("n8", "include: n9\n");
	refused_file("n0", "n8:1:10: 'include' is more than 8 levels deep\n");
}

static void test_size(void **state)
{
	(void)state;
	FILE *f = fopen("a", "w");
	assert_non_null(f);
	for (int i = 0; i <= 1 << 20; i++)
		fputc('#', f);
	fclose(f);
	refused_file("a", "a: cannot read 'a': it is larger than 1 MB\n");
}

/* ---- modules */

struct mam_options {
	bool record;
	int64_t expire, page, offset;
	const char *path;
};
static const struct option mam_table[] = {
	{ "record", OPT_BOOL, offsetof(struct mam_options, record), "true", "Keep messages.", 0, 0, NULL },
	{ "expire", OPT_TIME, offsetof(struct mam_options, expire), "1w", "For how long.", 0, 0, NULL },
	{ "page", OPT_INT, offsetof(struct mam_options, page), "50", "Answers in a page.", 1, 100, NULL },
	{ "offset", OPT_INT, offsetof(struct mam_options, offset), "-5", "A number.", -10, 10, NULL },
	{ "path", OPT_PATH, offsetof(struct mam_options, path), NULL, "A file.", 0, 0, NULL },
	OPTIONS_END
};
static const struct module mam = {
	.name = "mam", .about = "Archive.", .options = mam_table, .options_size = sizeof(struct mam_options)
};
static const struct module ping = { .name = "ping", .about = "Answers pings." };
static const struct module *const both[] = { &ping, &mam };

static void test_modules(void **state)
{
	(void)state;
	char *errors;
	struct conf *c = load("modules: {mam: {expire: 2d, offset: -7, path: x}, ping: {}}");
	assert_true(conf_read_modules(c, both, 2, &errors));
	assert_null(errors);
	assert_null(c->module_options[0]);
	const struct mam_options *o = c->module_options[1];
	assert_true(o->record);
	assert_int_equal(o->expire, 2 * 86400000);
	assert_int_equal(o->page, 50);
	assert_int_equal(o->offset, -7);
	assert_string_equal(o->path, "/x");
	conf_unref(c);

	c = load("modules: {ping: }"); /* not named, but loaded: the defaults */
	assert_true(conf_read_modules(c, both, 2, &errors));
	o = c->module_options[1];
	assert_int_equal(o->expire, 604800000);
	conf_unref(c);

	c = load("");
	assert_true(conf_read_modules(c, NULL, 0, &errors));
	conf_unref(c);
}

static void test_module_mistakes(void **state)
{
	(void)state;
	char *errors;
	struct conf *c = load("modules:\n"
	                      "  ping: {interval: 5s}\n"
	                      "  mam:\n"
	                      "    expires: 1d\n"
	                      "    page: 0\n"
	                      "    expire: 99999999999999999999w\n"
	                      "    page: 1\n"
	                      "  unloaded: {x: 1}\n");
	assert_false(conf_read_modules(c, both, 2, &errors));
	assert_string_equal(errors, "m:2:10: unknown key 'interval' of module 'ping'\n"
	                            "m:4:5: unknown key 'expires' of module 'mam'; did you mean 'expire'?\n"
	                            "m:5:11: 'page' wants 1 to 100, got '0'\n"
	                            "m:6:13: 'expire' wants a smaller number, got '99999999999999999999w'\n"
	                            "m:7:5: 'page' is given again, first at m:5:5\n");
	mem_free(errors);
	conf_unref(c);
}

/* ---- showing */

/* That the file shown reads back and shows the same again. */
static void round_trip(const char *text)
{
	char *errors;
	struct conf *c = load(text);
	assert_true(conf_read_modules(c, both, 2, &errors));
	char *first = conf_show(c, both, 2);
	struct conf *again = load(first);
	assert_true(conf_read_modules(again, both, 2, &errors));
	assert_memory_equal(&c->limits, &again->limits, sizeof c->limits);
	assert_int_equal(c->listener_count, again->listener_count);
	char *second = conf_show(again, both, 2);
	assert_string_equal(first, second);
	mem_free(first);
	mem_free(second);
	conf_unref(c);
	conf_unref(again);
}

static void test_round_trip(void **state)
{
	(void)state;
	round_trip("");
	round_trip("listeners: []\nmodules: {}\n");
	round_trip("node:\n"
	           "  user: 'null'\n"
	           "  run_dir: \"/it's #1: \\\"\xe2\x82\xac\\\" \"\n"
	           "store: {conninfo: '  host=a', password_file: x, timeout: 90s}\n"
	           "limits: {stanza_bytes: 10001, stanza_bytes_before: 50k, idle_home: 18h}\n"
	           "log: {file: -, level: debug, format: json}\n"
	           "listeners:\n"
	           "  - {port: 0, address: 127.0.0.1}\n"
	           "  - {port: 0, address: 127.0.0.1, require_tls: false}\n"
	           "  - {kind: c2s-tls}\n"
	           "modules:\n"
	           "  mam: {page: 7, expire: 0, record: false, path: '- a'}\n"
	           "  later: {a: \"it's\", b: , c: '', d: x y}\n"
	           "  ping:\n");
}

/* A whole file of the source tree. */
static char *source_file(const char *name)
{
	const char *top = getenv("MUSTER_SOURCE");
	char *path = mem_printf("%s/%s", top ? top : ".", name);
	FILE *f = fopen(path, "r");
	if (!f)
		fail_msg("cannot open %s", path);
	struct buffer b = { 0 };
	for (size_t n = 1; n > 0; b.len += n)
		n = fread(buffer_reserve(&b, 4096), 1, 4096, f);
	buffer_add(&b, "", 1);
	fclose(f);
	mem_free(path);
	return b.data;
}

static void replace_all(struct buffer *b, const char *text, const char *old, const char *new)
{
	for (const char *at; (at = strstr(text, old)); text = at + strlen(old)) {
		buffer_add(b, text, (size_t)(at - text));
		buffer_adds(b, new);
	}
	buffer_adds(b, text);
}

/* What conf_show prints for the defaults, with the directories of a packaged build. */
static char *shown_defaults(void)
{
	struct conf *c = load("");
	const struct {
		const char *built, *packaged;
	} paths[] = { { c->node.certificates, "/etc/muster/certs" },
		      { c->node.module_dir, "/usr/lib/muster/modules" },
		      { c->node.schema_dir, "/usr/share/muster/schema" },
		      { c->store.path, "/var/lib/muster/muster.db" },
		      { c->store.spool, "/var/lib/muster/spool" },
		      { c->node.run_dir, "/run/muster" } };
	char *text = conf_show(c, NULL, 0);
	for (size_t i = 0; i < COUNT_OF(paths); i++) {
		struct buffer b = { 0 };
		char *built =
		    mem_printf(" %s", paths[i].built); /* a whole word: /run/muster is in others */
		char *packaged = mem_printf(" %s", paths[i].packaged);
		replace_all(&b, text, built, packaged);
		mem_free(built);
		mem_free(packaged);
		mem_free(text);
		text = b.data;
	}
	conf_unref(c);
	return text;
}

static void test_example(void **state)
{
	(void)state;
	char *shown = shown_defaults(), *example = source_file("contrib/muster.conf.example");
	assert_string_equal(example, shown);
	mem_free(shown);
	mem_free(example);
}

/* The manual has each option with its range and default as the tables have it. */
static void man_has(const char *man, const struct option *table, const char *shown)
{
	for (const struct option *o = table; o->name; o++) {
		struct buffer b = { 0 };
		char *entry;
		if (o->type == OPT_PATH && o->fallback) { /* as packaged: from the line above the value */
			char *line = mem_printf("\n  %s: ", o->name);
			const char *at = strstr(shown, line);
			assert_non_null(at);
			at += strlen(line);
			entry = mem_printf("\n.It Ic %s Pq default %.*s\n", o->name, (int)strcspn(at, "\n"),
			                   at);
			mem_free(line);
		} else {
			option_describe(&b, o);
			entry = mem_printf("\n.It Ic %s Pq %s\n", o->name, b.data);
		}
		if (!strstr(man, entry))
			fail_msg("doc/muster.conf.5 lacks: %s", entry);
		mem_free(entry);
		buffer_free(&b);
	}
}

static void test_man_page(void **state)
{
	(void)state;
	char *man = source_file("doc/muster.conf.5"), *shown = shown_defaults();
	for (const struct section *s = conf_sections; s->name; s++) {
		char *heading = mem_printf("\n.Ss %s\n", s->name);
		if (!strstr(man, heading))
			fail_msg("doc/muster.conf.5 lacks: %s", heading);
		if (s->options)
			man_has(man, s->options, shown);
		mem_free(heading);
	}
	for (const char *const *name = conf_default_modules; *name; name++) {
		char *item = mem_printf("Ic %s ", *name);
		if (!strstr(man, item))
			fail_msg("doc/muster.conf.5 lacks module %s", *name);
		mem_free(item);
	}
	mem_free(man);
	mem_free(shown);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_option),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_resume_bytes),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_all_in_one_run),
		cmocka_unit_test(test_wrong_values),
		cmocka_unit_test(test_wrong_sections),
		cmocka_unit_test(test_wrong_yaml),
		cmocka_unit_test(test_many_mistakes),
		cmocka_unit_test_setup_teardown(test_include, enter_folder, leave_folder),
		cmocka_unit_test_setup_teardown(test_include_mistakes, enter_folder, leave_folder),
		cmocka_unit_test_setup_teardown(test_include_depth, enter_folder, leave_folder),
		cmocka_unit_test_setup_teardown(test_size, enter_folder, leave_folder),
		cmocka_unit_test(test_modules),
		cmocka_unit_test(test_module_mistakes),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_man_page),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
