"""suite.py - a program of tests of which each has a musterd of its own: several run at a time, as most of them
wait most of the time."""

import argparse
import asyncio
import concurrent.futures
import os
import shutil
import signal
import sys
import time

import server

JOBS = 4


class Failed(Exception):
    """Says all there is to say."""


def told(e):
    if isinstance(e, Failed):
        return str(e)
    at = e.__traceback__
    while at.tb_next:
        at = at.tb_next
    return "%s: %s (%s:%d)" % (type(e).__name__, e, os.path.basename(at.tb_frame.f_code.co_filename), at.tb_lineno)


def play_all(plays, jobs):
    """`plays` are (name, sentence, function without arguments): what one raises is its failure. Says of each how
    it went; returns how many passed and failed."""
    def play(name, sentence, function):
        begun = time.monotonic()
        try:
            function()
        except Exception as e:  # also what a wrong answer does to our own code
            print("FAIL  %s: %s\n    %s" % (name, sentence, told(e)), flush=True)
            return False
        print("ok    %s (%.2f s)" % (name, time.monotonic() - begun), flush=True)
        return True

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(lambda p: play(*p), plays))
    return results.count(True), results.count(False)


def finish(passed, failed):
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


def add_arguments(parser):
    server.Programs.add_arguments(parser)
    parser.add_argument("--only", default="", metavar="PATTERN", help="tests whose name has it in it")
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help="so many at a time (%(default)s)")


def end_with_servers(servers):
    """Told to stop, whoever waits for a test: its server does not stay behind."""
    def told(*_):
        for s in servers:
            if s.is_running():
                s.kill()
        os._exit(1)
    signal.signal(signal.SIGTERM, told)


def main(name, about, tests, make):
    """`tests`: globals of the program; coroutine functions whose names begin with test_ are its tests, the first
    line of each says what must hold. make(options, directory, conninfo, test) returns a world with the `server`
    that has been started, and is what the test gets."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--reactors", type=int, default=1)
    options = parser.parse_args()
    options.programs = server.Programs(options.build, options.musterd, options.musterctl)
    directory, postgresql, servers = server.make_directory(name), None, []

    def run(test):
        conninfo = postgresql.new_database() if postgresql else None
        w = make(options, os.path.join(directory, test.__name__), conninfo, test)
        servers.append(w.server)
        try:
            asyncio.run(test(w))
            status = w.server.stop() if w.server.is_running() else 0
            if status:
                raise server.Broken("the server ended with status %d:\n%s" % (status, w.server.tail(60)))
        except Exception as e:
            raise Failed("%s\n    the log ends:\n%s" % (told(e), w.server.tail(15))) from e
        finally:
            if w.server.is_running():
                w.server.kill()

    def play_of(test):
        return test.__name__, test.__doc__, lambda: run(test)

    end_with_servers(servers)
    try:
        if options.engine == "postgresql":
            postgresql = server.PostgreSQL(os.path.join(directory, "postgresql"))
        passed, failed = play_all([play_of(t) for n, t in sorted(tests.items())
                                   if n.startswith("test_") and options.only in n], options.jobs)
    finally:
        if postgresql:
            postgresql.stop()
        shutil.rmtree(directory, ignore_errors=True)
    finish(passed, failed)
