"""Starts a musterd of our own in a temporary directory, on SQLite or PostgreSQL, and administers it."""

import glob
import json
import os
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

import certs
import ports

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START_TIME = 60  # seconds; sanitizers on a busy machine are slow

CONFIGURATION = """\
node:
  run_dir: {dir}/run
  certificates: {certs}
  module_dir: {modules}
  schema_dir: {tree}/schema
  reactors: {reactors}
  move_streams: {move}
{node}
store:
{store}
log:
  file: {dir}/server.log
  level: {log_level}
  format: {log_format}
limits:
{limits}
listeners:
  - kind: c2s
    address: 127.0.0.1
    port: {port}
  - kind: c2s-tls
    address: 127.0.0.1
    port: {tls_port}
"""


def make_directory(name):
    """One for a run, that PostgreSQL, which may be another user, can reach. Names of sockets in it are short enough
    (107 bytes), wherever TMPDIR is."""
    os.umask(0o022)
    base = tempfile.gettempdir()
    parents = [base]
    while parents[-1] != os.path.dirname(parents[-1]):
        parents.append(os.path.dirname(parents[-1]))
    if len(base) > 24 or not all(os.stat(p).st_mode & 0o001 for p in parents):
        base = "/tmp"
    directory = tempfile.mkdtemp(prefix="muster-%s-" % name, dir=base)
    os.chmod(directory, 0o755)
    return directory


class Broken(Exception):
    """The server or a tool could not be run at all."""


class Programs:
    """Where the built programs are."""

    def __init__(self, build=None, musterd=None, musterctl=None):
        build = os.path.abspath(build or TREE)
        self.musterd = musterd or os.path.join(build, "musterd")
        self.musterctl = musterctl or os.path.join(build, "musterctl")
        self.modules = os.path.join(build, "modules")
        if os.path.isdir(os.path.join(self.modules, ".libs")):
            self.modules = os.path.join(self.modules, ".libs")
        for p in (self.musterd, self.musterctl):
            if not os.access(p, os.X_OK):
                raise Broken("%s is not there: build first, or say --build DIR" % p)

    @staticmethod
    def add_arguments(parser):
        parser.add_argument("--build", metavar="DIR", help="the build directory (default: the source tree)")
        parser.add_argument("--musterd", metavar="PATH")
        parser.add_argument("--musterctl", metavar="PATH")


class PostgreSQL:
    """A PostgreSQL cluster of our own; each musterd gets a database in it."""

    def __init__(self, directory):
        self.dir, self.count, self.making = directory, 0, threading.Lock()
        self.start()

    def start(self):
        answer = subprocess.run([os.path.join(TREE, "tests", "postgres"), "start", self.dir],
                                capture_output=True, text=True)
        if answer.returncode:
            raise Broken("tests/postgres start failed: %s%s" % (answer.stdout, answer.stderr))
        self.conninfo = answer.stdout.strip().splitlines()[-1]

    def new_database(self):
        with self.making:  # one at a time: the template has no other user meanwhile
            self.count += 1
            name = "muster_test_%d" % self.count
            self.query(self.conninfo, "create database %s" % name)
        return "%s dbname=%s" % (self.conninfo, name)

    @staticmethod
    def query(conninfo, sql):
        """Rows as lists of strings."""
        answer = subprocess.run(["psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", conninfo],
                                input=sql, capture_output=True, text=True)
        if answer.returncode:
            raise Broken("psql: %s" % answer.stderr)
        return [line.split("\t") for line in answer.stdout.splitlines()]

    HOLD = """begin;
do $$ declare name text; begin
    for name in select quote_ident(tablename) from pg_tables where schemaname = current_schema() order by 1 loop
        execute 'lock table ' || name || ' in exclusive mode nowait';
    end loop;
end $$;
\\echo held
"""

    @classmethod
    def hold(cls, conninfo):
        """Nobody else writes any more; a function that ends it. Not waiting for a lock with others in our hands:
        that would be a deadlock, and one of us its victim."""
        for _ in range(START_TIME * 50):
            p = subprocess.Popen(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", conninfo], text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            p.stdin.write(cls.HOLD)
            p.stdin.flush()
            if p.stdout.readline():
                return p.communicate
            said = p.communicate()[1]
            time.sleep(0.02)
        raise Broken("psql: %s" % said)

    def pid(self):
        return subprocess.run([os.path.join(TREE, "tests", "postgres"), "pid", self.dir], capture_output=True,
                              text=True, check=True).stdout.strip()

    def kill(self):
        """SIGKILL to all its processes; the first one first, or it would start others."""
        first = int(self.pid())
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(first)], capture_output=True, text=True).stdout.split()
        for pid in (first, *map(int, children)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def stop(self):
        """At once, as by a crash."""
        subprocess.run([os.path.join(TREE, "tests", "postgres"), "stop", self.dir], capture_output=True)


class Musterd:
    """`conninfo` None: SQLite. `store`, `limits` and `node` are further keys of those sections; `modules` has options
    of modules, as "roster.items". `stay`: node.move_streams is off."""

    def __init__(self, directory, programs, *, conninfo=None, reactors=1, store=None, limits=None, modules=None, node=None,
                 log_level="debug", log_format="text", environment=None, stay=False):
        self.dir, self.programs, self.conninfo, self.reactors = directory, programs, conninfo, reactors
        self.engine = "postgresql" if conninfo else "sqlite"
        self.store, self.limits, self.log_level = dict(store or {}), dict(limits or {}), log_level
        self.modules, self.node = dict(modules or {}), dict(node or {})
        self.move = "false" if stay else "true"
        self.log_format, self.environment = log_format, dict(environment or {})
        self.port, self.tls_port = ports.free_ports(2)
        self.conf = os.path.join(directory, "muster.conf")
        self.socket = os.path.join(directory, "run", "control.sock")
        self.process = None
        self.hosts = []
        os.makedirs(os.path.join(directory, "run"))

    def set_up(self, hosts, quiet=(), later=()):
        """Certificates, configuration, first start, and the hosts. Those in `quiet` keep no record; those
        in `later` only have a certificate."""
        self.hosts = hosts
        self.ca = certs.make(os.path.join(self.dir, "certs"), [*hosts, *later])
        self.configure()
        self.start()
        for h in hosts:
            self.ctl("host", "add", h)
            if h in quiet:
                self.ctl("host", "set", h, "record", "off")

    def configure(self):
        if self.conninfo:
            self.store.update(engine="postgresql", conninfo=json.dumps(self.conninfo))
        else:
            self.store.setdefault("path", os.path.join(self.dir, "muster.db"))
            self.store.update(engine="sqlite")
        self.store.setdefault("spool", os.path.join(self.dir, "spool"))
        self.store.setdefault("timeout", "30s")  # a slow disk is not a database that is away
        lines = lambda d: "".join("  %s: %s\n" % i for i in d.items()).rstrip("\n")
        with open(self.conf, "w") as f:
            f.write(CONFIGURATION.format(dir=self.dir, certs=os.path.join(self.dir, "certs"), tree=TREE,
                                         modules=self.programs.modules, reactors=self.reactors, move=self.move,
                                         log_level=self.log_level, log_format=self.log_format,
                                         store=lines(self.store), limits=lines(self.limits), node=lines(self.node),
                                         port=self.port, tls_port=self.tls_port))
            if self.modules:
                f.write(self.modules_section())

    def modules_section(self):
        """All modules there are, with the options that are asked for."""
        text = "modules:\n"
        for path in sorted(glob.glob(os.path.join(self.programs.modules, "*.so"))):
            name = os.path.basename(path)[:-3]
            text += "  %s:\n" % name
            text += "".join("    %s: %s\n" % (k.partition(".")[2], v) for k, v in self.modules.items()
                            if k.partition(".")[0] == name)
        return text

    def start(self):
        """Returns when it listens."""
        self.starts = self.count_starts()
        with open(os.path.join(self.dir, "out"), "a") as out:
            self.process = subprocess.Popen([self.programs.musterd, "--config", self.conf],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.dir,
                                            env={**os.environ, **self.environment})
        give_up = time.monotonic() + START_TIME
        while not (ports.is_open(self.port) and ports.is_open(self.tls_port) and self.is_ready()):
            if self.process.poll() is not None:
                raise Broken("musterd ended at start with status %d:\n%s" % (self.process.returncode, self.tail()))
            if time.monotonic() > give_up:
                raise Broken("musterd does not listen after %d s:\n%s" % (START_TIME, self.tail()))
            time.sleep(0.02)

    def is_ready(self):
        """The last thing that musterd says at its start: the control socket is there."""
        return self.count_starts() > self.starts

    def count_starts(self):
        try:
            with open(os.path.join(self.dir, "server.log"), encoding="utf-8", errors="replace") as log:
                return log.read().count(" is ready: ")
        except FileNotFoundError:
            return 0

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """SIGTERM; returns the exit status."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(START_TIME)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Broken("musterd does not end %d s after SIGTERM:\n%s" % (START_TIME, self.tail())) from None

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    # ---- administration

    def ctl_command(self, *arguments):
        return [self.programs.musterctl, "--socket", self.socket, *arguments]

    def ctl(self, *arguments, text=None):
        answer = subprocess.run(self.ctl_command(*arguments), input=text, text=True, capture_output=True)
        if answer.returncode:
            raise Broken("musterctl %s ended with %d: %s%s"
                         % (" ".join(arguments), answer.returncode, answer.stdout, answer.stderr))
        return answer.stdout

    def ask(self, command, **arguments):
        """As musterctl does it, but without a process for each of so many."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            s.sendall(json.dumps({"command": command, "args": arguments}).encode() + b"\n")
            answer = s.makefile().readline()
        if not answer or not json.loads(answer)["ok"]:
            raise Broken("%s of %s failed: %s" % (command, arguments, answer))

    def add_account(self, user, host, password):
        self.ask("user add", jid="%s@%s" % (user, host), password=password)

    def status(self):
        answer = json.loads(self.ctl("status", "--json"))
        return answer.get("result", answer)

    def sessions(self):
        answer = json.loads(self.ctl("session", "list", "--json"))
        return answer.get("result", answer)["sessions"]

    def query(self, sql):
        """Rows of the database, read past the server."""
        if self.conninfo:
            return PostgreSQL.query(self.conninfo, sql)
        with sqlite3.connect("file:%s?mode=ro" % self.store["path"], uri=True) as db:
            return [list(row) for row in db.execute(sql)]

    def execute(self, sql):
        """Statements, past the server: it is stopped, or has nothing to write just now."""
        if self.conninfo:
            PostgreSQL.query(self.conninfo, sql)
            return
        with sqlite3.connect(os.path.join(self.dir, "muster.db"), timeout=10) as db:
            db.executescript(sql)

    def hold_commits(self):
        """Whatever the server writes from now on is committed when the function that this returns has been called;
        it reads what it likes."""
        if self.conninfo:
            return PostgreSQL.hold(self.conninfo)
        db = sqlite3.connect(self.store["path"], timeout=START_TIME, isolation_level=None, check_same_thread=False)
        db.execute("begin immediate")
        return db.close

    # ---- what it says

    def log(self, since=0):
        text = ""
        for name in ("server.log", "out"):
            try:
                with open(os.path.join(self.dir, name), errors="replace") as f:
                    f.seek(since if name == "server.log" else 0)
                    text += f.read()
            except FileNotFoundError:
                pass
        return text

    def tail(self, lines=30):
        return "\n".join(self.log().splitlines()[-lines:])
