/* config.c - "config check": what musterd says of a configuration file. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "musterctl.h"

/* What `program` says of the file, as one object. */
static int config_json(struct call *c, const char *program, const char *file)
{
	struct buffer said = { 0 };
	int status, pipes[2];
	ssize_t n;

	if (pipe(pipes) != 0)
		return CONTROL_BROKEN;
	pid_t child = fork();
	if (child == 0) {
		dup2(pipes[1], STDOUT_FILENO);
		dup2(pipes[1], STDERR_FILENO);
		close(pipes[0]);
		execlp(program, program, "--check", "--config", file, (char *)NULL);
		_exit(CONTROL_BROKEN);
	}
	close(pipes[1]);
	while ((n = read(pipes[0], buffer_reserve(&said, 4096), 4096)) > 0)
		said.len += (size_t)n;
	close(pipes[0]);
	buffer_adds(&said, "");
	bool has_ended = child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status);
	c->status = has_ended ? WEXITSTATUS(status) : CONTROL_BROKEN;
	json_t *lines = json_array();
	char *rest = said.data, *line;
	while (c->status && (line = strsep(&rest, "\n")))
		if (*line)
			json_array_append_new(lines, json_string(line));
	json_t *result =
	    json_pack("{s:s, s:b, s:o}", "file", file, "ok", c->status == 0, "mistakes", lines);
	show_json(c, result);
	json_decref(result);
	buffer_free(&said);
	return c->status;
}

int config_check(struct call *c)
{
	const char *file = c->word_count ? c->words[0] : talk_config(c);
	char *program = musterd_path();

	if (c->is_json) {
		c->status = config_json(c, program, file);
		mem_free(program);
		return c->status;
	}
	execlp(program, program, "--check", "--config", file, (char *)NULL);
	complain(c, CONTROL_BROKEN, "Install it beside musterctl, or add its directory to PATH.",
	         "The program musterd cannot be run.");
	mem_free(program);
	return c->status;
}
