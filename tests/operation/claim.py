"""One musterd on one PostgreSQL database: who comes second is refused, and who has lost it ends."""

import os
import signal
import subprocess

from server import PostgreSQL
from xmpp import Failure

PATIENCE = 120


def serves(s, name):
    """It can still write."""
    s.ctl("user", "add", "%s@verona.example" % name, "--password-stdin", text="rosemary\n")
    count = s.query("select count(*) from account where name = '%s'" % name)[0][0]
    if int(count) != 1:
        raise Failure("%s is not in the database" % name)


def ends(s, words):
    """It has ended by itself, and says why."""
    try:
        status = s.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failure("it goes on:\n" + s.tail()) from None
    if status != 1 or words not in s.log():
        raise Failure("it ended with %d:\n%s" % (status, s.tail()))


def another(stage, first):
    """A second server for the same database, not started."""
    s = stage.make(conninfo=first.conninfo)
    s.ca = first.ca
    os.symlink(os.path.join(first.dir, "certs"), os.path.join(s.dir, "certs"))
    s.configure()
    return s


def refuses_a_second_server(stage):
    """Also a musterctl that finds no server in its run directory; the first one does not notice. When it is killed
    the next one need not wait long."""
    first = stage.start()
    second = another(stage, first)
    with open(os.path.join(second.dir, "out"), "a") as out:
        second.process = subprocess.Popen([second.programs.musterd, "--config", second.conf], stdout=out, stderr=out)
    tool = subprocess.run([first.programs.musterctl, "--config", another(stage, first).conf, "user", "list"],
                          capture_output=True, text=True, timeout=PATIENCE)
    who = "the database belongs to process %d on " % first.process.pid
    if tool.returncode == 0 or who not in tool.stderr:
        raise Failure("musterctl ended with %d: %s%s" % (tool.returncode, tool.stdout, tool.stderr))
    serves(first, "juliet")
    ends(second, who)
    if "PostgreSQL is away" in first.log():
        raise Failure("the first one was disturbed:\n" + first.tail())
    serves(first, "romeo")
    first.kill()
    second.start()
    serves(second, "mercutio")
    if second.stop():
        raise Failure(second.tail())
    first.start()
    serves(first, "tybalt")


def ends_when_it_has_lost_the_database(stage):
    """Its sessions were ended while it stood still, and another one was started: it writes nothing any more."""
    first = stage.start()
    second = another(stage, first)
    os.kill(first.process.pid, signal.SIGSTOP)
    try:
        PostgreSQL.query(first.conninfo, "select pg_terminate_backend(pid) from pg_stat_activity"
                         " where application_name like 'musterd %' and datname = current_database()")
        second.start()
    finally:
        os.kill(first.process.pid, signal.SIGCONT)
    ends(first, "the database belongs to another musterd now (process %d on " % second.process.pid)
    serves(second, "juliet")


def comes_back_after_lost_sessions(stage):
    """Sessions that were ended are made anew, and nobody can take the database meanwhile who does not find it free."""
    s = stage.start()
    for n in range(5):
        PostgreSQL.query(s.conninfo, "select pg_terminate_backend(pid) from pg_stat_activity"
                         " where application_name like 'musterd %' and datname = current_database()")
        for _ in range(PATIENCE):
            answer = subprocess.run(s.ctl_command("user", "add", "user%d@verona.example" % n, "--password-stdin"),
                                    input="rosemary\n", capture_output=True, text=True)
            if answer.returncode in (0, 1):  # 1: it is there already; the answer was lost
                break
        serves(s, "other%d" % n)
    if s.stop():
        raise Failure(s.tail())


PLAYS = {
    "refuses-a-second-server": ("postgresql", refuses_a_second_server),
    "ends-when-it-has-lost-the-database": ("postgresql", ends_when_it_has_lost_the_database),
    "comes-back-after-lost-sessions": ("postgresql", comes_back_after_lost_sessions),
}
