/* test_log.c - lines of the log: their form, their bounds, and that no peer can forge one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define TIME_LEN 24 /* 2026-11-22T01:02:03.456Z */

static char path[] = "/tmp/test_log.XXXXXX";
static char text[100000];

/* What has been written since the file was last emptied; then empties it. */
static char *written(void)
{
	int fd = open(path, O_RDWR);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(ftruncate(fd, 0), 0);
	close(fd);
	return text;
}

/* The line behind its time. */
static const char *after_time(const char *line)
{
	int year, month, day, hour, minute, second, ms;
	assert_int_equal(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ ", &year, &month, &day, &hour, &minute,
	                        &second, &ms),
	                 7);
	return line + TIME_LEN + 1;
}

static void test_text(void **state)
{
	(void)state;
	assert_true(log_open(path, LOG_INFO, false));
	log_info("c2s", "romeo@example.org", "logged in from %s", "127.0.0.1");
	assert_string_equal(after_time(written()),
	                    "info c2s romeo@example.org: logged in from 127.0.0.1\n");
	log_error("store", NULL, "away");
	assert_string_equal(after_time(written()), "error store: away\n");
	log_line(LOG_WARN, "router", NULL, 0xabc, "late");
	assert_string_equal(after_time(written()), "warn router: late [0000000000000abc]\n");
}

static void test_level(void **state)
{
	(void)state;
	assert_true(log_open(path, LOG_WARN, false));
	assert_true(log_wants(LOG_WARN));
	assert_false(log_wants(LOG_INFO));
	log_info("c2s", NULL, "nobody wants this");
	assert_string_equal(written(), "");
}

static void test_nobody_forges_a_line(void **state)
{
	(void)state;
	assert_true(log_open(path, LOG_INFO, false));
	log_info("c2s", "a\nb", "x\r\ny\x1b[31m \x7f \xc2\x85 \xe2\x80\xae \xff \xc3\xa9");
	assert_string_equal(after_time(written()),
	                    "info c2s a\\u000ab: x\\u000d\\u000ay\\u001b[31m \\u007f \\u0085 \\u202e "
	                    "\xef\xbf\xbd \xc3\xa9\n");
}

static json_t *written_json(void)
{
	json_t *line = json_loads(written(), JSON_DISABLE_EOF_CHECK, NULL);
	assert_non_null(line);
	return line;
}

static void test_json(void **state)
{
	(void)state;
	assert_true(log_open(path, LOG_INFO, true));
	log_line(LOG_INFO, "c2s", "romeo@example.org/\"x\\", 1, "said\n\xff\xc3\xa9");
	json_t *line = written_json();
	assert_int_equal(strlen(json_string_value(json_object_get(line, "time"))), TIME_LEN);
	assert_string_equal(json_string_value(json_object_get(line, "level")), "info");
	assert_string_equal(json_string_value(json_object_get(line, "module")), "c2s");
	assert_string_equal(json_string_value(json_object_get(line, "address")), "romeo@example.org/\"x\\");
	assert_string_equal(json_string_value(json_object_get(line, "trace")), "0000000000000001");
	assert_string_equal(json_string_value(json_object_get(line, "message")),
	                    "said\n\xef\xbf\xbd\xc3\xa9");
	json_decref(line);
}

static void test_long_lines_are_cut(void **state)
{
	(void)state;
	char big[9000];
	for (size_t i = 0; i < sizeof(big) - 1; i++)
		big[i] = "\n\"a"[i % 3];
	big[sizeof(big) - 1] = '\0';
	for (int json = 0; json <= 1; json++) {
		assert_true(log_open(path, LOG_INFO, json));
		log_line(LOG_INFO, big, big, 1, "%s", big);
		const char *line = written();
		assert_in_range(strlen(line), 3500, 4096);
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
		if (json) {
			json_t *parsed = json_loads(line, 0, NULL);
			assert_non_null(parsed);
			json_decref(parsed);
		}
	}
}

static void test_a_bad_path_changes_nothing(void **state)
{
	(void)state;
	assert_true(log_open(path, LOG_INFO, false));
	assert_false(log_open("/nowhere/at/all", LOG_DEBUG, true));
	assert_int_equal(errno, ENOENT);
	assert_false(log_wants(LOG_DEBUG));
	log_info("main", NULL, "still here");
	assert_string_equal(after_time(written()), "info main: still here\n");
}

static void test_errno_survives(void **state)
{
	(void)state;
	errno = EBUSY;
	log_info("main", NULL, "%m");
	assert_int_equal(errno, EBUSY);
	assert_non_null(strstr(written(), strerror(EBUSY)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_level),
		cmocka_unit_test(test_nobody_forges_a_line),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_long_lines_are_cut),
		cmocka_unit_test(test_a_bad_path_changes_nothing),
		cmocka_unit_test(test_errno_survives),
	};
	int fd = mkstemp(path);
	if (fd < 0)
		return 1;
	close(fd);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	log_close();
	unlink(path);
	return failed;
}
