/* privilege.c - see privilege.h. The user of a process belongs to all of its threads: the C library tells
 * each. */
#include "privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_asked(const struct conf *c)
{
	return c->node.user && getuid() == 0;
}

bool privilege_is_kept(const struct conf *c)
{
	return !c->node.user && geteuid() == 0;
}

static const struct passwd *user_find(const struct conf *c, char **error)
{
	const struct passwd *pw = getpwnam(c->node.user);

	if (!pw)
		*error =
		    mem_printf("%s: there is no user '%s' to run as (node.user)", c->path, c->node.user);
	else if (pw->pw_uid == 0)
		*error = mem_printf("%s: node.user is root; name another user, or none", c->path);
	else
		return pw;
	return NULL;
}

static bool give_run_dir(const struct conf *c, const struct passwd *pw, char **error)
{
	const char *dir = c->node.run_dir;

	if (mkdir(dir, 0750) != 0 && errno != EEXIST)
		*error = mem_printf("the run directory %s cannot be made: %s (node.run_dir)", dir,
		                    strerror(errno));
	else if (chown(dir, pw->pw_uid, pw->pw_gid) != 0)
		*error = mem_printf("the run directory %s cannot be given to %s: %s (node.run_dir)", dir,
		                    pw->pw_name, strerror(errno));
	else
		return true;
	return false;
}

static bool give_log(const struct conf *c, const struct passwd *pw, char **error)
{
	int fd = c->log.file
	             ? open(c->log.file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640)
	             : -1;
	bool ok;

	if (!c->log.file)
		return true;
	ok = fd >= 0 && fchown(fd, pw->pw_uid, pw->pw_gid) == 0;
	if (!ok)
		*error = mem_printf("the log file %s cannot be given to %s: %s (log.file)", c->log.file,
		                    pw->pw_name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return ok;
}

bool privilege_lower(const struct conf *c, char **error)
{
	const struct passwd *pw;

	if (!is_asked(c))
		return true;
	pw = user_find(c, error);
	if (!pw || !give_run_dir(c, pw, error) || !give_log(c, pw, error))
		return false;
	if (initgroups(pw->pw_name, pw->pw_gid) == 0 && setegid(pw->pw_gid) == 0 &&
	    seteuid(pw->pw_uid) == 0)
		return true;
	*error = mem_printf("cannot become user '%s': %s (node.user)", pw->pw_name, strerror(errno));
	return false;
}

void privilege_raise(const struct conf *c)
{
	if (is_asked(c)) /* the real user is root still */
		ASSERT(seteuid(0) == 0);
}

bool privilege_drop(const struct conf *c, char **error)
{
	const struct passwd *pw;

	if (!is_asked(c))
		return true;
	pw = user_find(c, error);
	if (!pw)
		return false;
	if (setgid(pw->pw_gid) == 0 && setuid(pw->pw_uid) == 0 && setuid(0) != 0)
		return true;
	*error =
	    mem_printf("cannot become user '%s' for good: %s (node.user)", pw->pw_name, strerror(errno));
	return false;
}
