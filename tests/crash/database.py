"""The database goes away while everybody speaks, in one way after the other, and comes back; or the server is
killed meanwhile and finds what it had put into its spool. What must hold, besides what kill.py says:

  - while the database is away messages go on being delivered, and the spool holds them;
  - a change is refused with `wait`, and can be made when the database is back;
  - a server that cannot reach its database at the start says so, ends, and leaves the spool as it is;
  - in the end all that was delivered is on record, all that is on record has been received, in its order, also by
    those who were not there; nothing is left in transit, and the spool is empty."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import time

import kill
from server import Broken, PostgreSQL
from xmpp import Failure

TIMEOUT_OPTION = "1s"      # store.timeout
BEFORE, AWAY, MEANWHILE = 200, 400, 200   # deliveries before, while away, and to those who read the spool back
PAUSE = 0.02               # between two bursts of one speaker
SLEEPER = "sleeper"        # is never there while the database is away
TO_SLEEPER = 40            # messages to him in each round
ROSTER = "<iq type='set' id='%s'><query xmlns='jabber:iq:roster'><item jid='friend%s@verona.example'/></query></iq>"


# ---- ways in which a database goes away; give() brings it back

class Locked:
    """SQLite: another process holds the file."""

    def __init__(self, server):
        self.path = server.store["path"]

    def take(self):
        self.db = sqlite3.connect(self.path, timeout=20, isolation_level=None, check_same_thread=False)
        self.db.execute("begin exclusive")

    def give(self):
        self.db.execute("rollback")
        self.db.close()


class DiskFull:
    """SQLite: no room is left on the file system of the database (a small one, of its own)."""

    def __init__(self, server):
        self.dir = os.path.join(server.dir, "database")

    def take(self):
        self.filler = os.path.join(self.dir, "filler")
        with open(self.filler, "wb", buffering=0) as f:
            try:
                while f.write(b"0" * 65536):
                    pass
            except OSError:
                pass

    def give(self):
        os.unlink(self.filler)


class Immutable:
    """SQLite: nobody may write its files any more, as on a file system that has become read-only. (A file system with
    open files cannot be told to; `chattr +i` also holds for who has them open, on ext4 at least.)"""

    def __init__(self, server):
        self.path = os.path.join(server.dir, "database", "muster.db")

    @staticmethod
    def can(directory):
        """Whether that is so here, and for us."""
        if not shutil.which("chattr"):
            return False
        path = os.path.join(directory, "immutable")
        with open(path, "wb", buffering=0) as f:
            subprocess.run(["chattr", "+i", path], capture_output=True)
            try:
                f.write(b"x")
                return False
            except OSError:
                return True
            finally:
                subprocess.run(["chattr", "-i", path], capture_output=True)
                os.unlink(path)

    def change(self, how):
        # Not the index of the log, which is mapped into memory: it is nobody's data.
        for suffix in ("", "-wal"):
            if os.path.exists(self.path + suffix):
                subprocess.run(["chattr", how, self.path + suffix], check=True)

    def take(self):
        self.change("+i")

    def give(self):
        self.change("-i")


class Postgres:
    def __init__(self, server):
        self.server, self.postgresql = server, server.postgresql

    def query(self, sql):
        return PostgreSQL.query(self.postgresql.conninfo, sql)

    def end_connections(self):
        self.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'musterd%'")

    @property
    def name(self):
        return self.server.conninfo.rpartition("dbname=")[2]


class Stopped(Postgres):
    """The database server ends at once, as when its machine loses its power."""

    def take(self):
        self.postgresql.stop()

    def give(self):
        self.postgresql.start()


class Frozen(Postgres):
    """All its processes stand still."""

    def signal(self, name):
        pid = self.postgresql.pid()
        subprocess.run("kill -%s %s" % (name, pid), shell=True, check=True)
        # Its children, of which one may end meanwhile.
        subprocess.run("pkill -%s -P %s" % (name, pid), shell=True)

    def take(self):
        self.signal("STOP")

    def give(self):
        self.signal("CONT")


class NoRoom(Postgres):
    """The disk on which the messages are is full."""

    def __init__(self, server):
        super().__init__(server)
        self.dir = server.small_disk
        owner = os.stat(self.postgresql.dir)
        os.chown(self.dir, owner.st_uid, owner.st_gid)
        os.makedirs(os.path.join(self.dir, "space"))
        os.chown(os.path.join(self.dir, "space"), owner.st_uid, owner.st_gid)
        small = "small_" + self.name  # the server of all these databases has it
        self.query("create tablespace %s location '%s'" % (small, os.path.join(self.dir, "space")))
        PostgreSQL.query(server.conninfo, """do $$ declare part regclass; begin
            for part in select p.part from muster_part p where tab = 'record' loop
                execute format('alter table %%s set tablespace %s', part);
                execute format('alter index %%s_pkey set tablespace %s', part);
            end loop; end $$""" % (small, small))

    take, give = DiskFull.take, DiskFull.give


class ReadOnly(Postgres):
    """It lets nobody write: a standby, or an administrator at work."""

    def take(self):
        self.query("alter database %s set default_transaction_read_only = on" % self.name)
        self.end_connections()

    def give(self):
        self.query("alter database %s reset default_transaction_read_only" % self.name)


class TableLocked(Postgres):
    """Somebody's session holds a table."""

    def take(self):
        self.psql = subprocess.Popen(["psql", "-XAtq", "-d", self.server.conninfo], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)
        self.psql.stdin.write("begin; lock table record in exclusive mode; select 'held';\n")
        self.psql.stdin.flush()
        self.psql.stdout.readline()

    def give(self):
        self.psql.communicate("rollback;\n")


class NoConnection(Postgres):
    """Connections are cut and new ones are refused."""

    def take(self):
        self.query("alter database %s with allow_connections false" % self.name)
        self.end_connections()

    def give(self):
        self.query("alter database %s with allow_connections true" % self.name)


WAYS = {"sqlite": (Locked, DiskFull, Immutable),
        "postgresql": (Stopped, Frozen, NoRoom, ReadOnly, TableLocked, NoConnection)}


# ---- a round

class World(kill.World):
    def make_accounts(self):
        super().make_accounts()
        self.server.add_account(SLEEPER, "verona.example", "rosemary")

    async def wait(self, is_there, what):
        give_up = time.monotonic() + kill.PATIENCE
        while not await asyncio.to_thread(is_there):
            if self.failure:
                raise self.failure
            if time.monotonic() > give_up:
                raise Failure("%s: not within %d s" % (what, kill.PATIENCE))
            await asyncio.sleep(0.02)

    async def deliveries(self, count, what):
        goal = len(self.received) + count
        await self.wait(lambda: len(self.received) >= goal, "%d deliveries %s" % (count, what))

    def write(self, sender, recipient, count):
        burst = []
        for _ in range(count):
            self.sent[sender, recipient] += 1
            burst.append("<message to='%s@verona.example' type='chat'><body>%s %s %d</body></message>"
                         % (recipient, sender, recipient, self.sent[sender, recipient]))
        self.clients[sender].write("".join(burst))

    async def speak(self, sender, recipient):
        """Until told to stop; not faster than a person with a very quick machine."""
        c = self.clients[sender]
        while self.is_speaking and not c.is_over:
            self.write(sender, recipient, 5)
            await c.writable.wait()
            await asyncio.sleep(PAUSE)

    async def log_everybody_in(self):
        for n in self.names:
            await self.log_in(n)
        self.is_speaking = True
        self.speakers = [asyncio.create_task(self.speak(a, b)) for a, b in self.pairs]

    async def end_speaking(self):
        self.is_speaking = False
        await asyncio.gather(*self.speakers)

    def spool(self):
        return self.server.status()["store"]

    async def change(self, name):
        """A contact is added: the error with which that is refused, or None."""
        c, self.changes = self.clients[name], self.changes + 1
        c.send(ROSTER % (self.changes, self.changes))
        while True:
            e = await c.next("the answer to a change")
            if getattr(e, "name", "") == "iq" and e.get("id") == str(self.changes):
                break
        error = e.find("jabber:client", "error")
        if error is not None and error.get("type") != "wait":
            raise Failure("a change was refused for good: %s" % e)
        return error

    async def go_away(self, way):
        """Returns when the spool is in use, and has let deliveries through."""
        await self.log_everybody_in()
        await self.deliveries(BEFORE, "before")
        self.is_taken = True
        await asyncio.to_thread(way.take)
        await self.wait(lambda: self.spool()["spool_bytes"] > 0, "something in the spool")
        await self.deliveries(AWAY, "while the database is away")
        if not await self.change(self.names[0]):
            raise Failure("a change was accepted while the database was away")
        self.write(self.names[0], SLEEPER, TO_SLEEPER)
        await self.deliveries(AWAY, "behind that")

    async def is_back(self):
        await self.wait(lambda: not self.spool()["away"] and self.spool()["spool_bytes"] == 0, "all is as before")

    async def bring_back(self, way):
        self.is_taken = False
        await asyncio.to_thread(way.give)

    async def come_back(self, way):
        """The database is back while they still speak."""
        await self.bring_back(way)
        await self.is_back()
        await self.deliveries(MEANWHILE, "when it is back")
        await self.end_speaking()
        await self.is_back()
        while await self.change(self.names[0]):
            await self.is_back()  # it was too slow once more

    async def die(self, way):
        """The server dies with its spool; its next start fails, the one after finds the spool."""
        self.server.kill()
        await self.end_speaking()
        for c in self.clients.values():
            c.drop()
        self.clients.clear()
        before = self.spool_files()
        if not before:
            raise Failure("the spool was empty when the server was killed")
        if type(way) in (Locked, Immutable, Stopped, Frozen, NoConnection):
            self.refuse_to_start()
        if self.spool_files() != before:
            raise Failure("a start without database has altered the spool")
        await self.bring_back(way)
        await asyncio.to_thread(self.server.start)
        await self.is_back()
        if self.spool_files():
            raise Failure("the spool still has %s" % self.spool_files())

    def spool_files(self):
        d = os.path.join(self.server.dir, "spool")
        return sorted((n, os.path.getsize(os.path.join(d, n))) for n in os.listdir(d) if n != "lock")

    def refuse_to_start(self):
        try:
            self.server.start()
        except Broken:
            if self.server.process.poll() != 1:
                raise Failure("a start without database ended with %s" % self.server.process.poll()) from None
            return
        raise Failure("the server started without its database")

    async def check(self):
        for c in self.clients.values():
            await c.close()
        self.clients.clear()
        await self.is_back()  # so may this be
        self.check_delivered()
        self.names.append(SLEEPER)
        try:
            count = await self.check_nothing_lost()
        finally:
            self.names.remove(SLEEPER)
        self.check_delivered()
        left = self.server.query("select count(*) from transit")
        if int(left[0][0]):
            raise Failure("%s rows are left in transit" % left[0][0])
        return count


async def play(server, random, way, is_killed):
    """One way to go away, without and with the death of the server meanwhile."""
    world = World(server, random)
    world.changes, world.is_taken = 0, False
    await asyncio.to_thread(world.make_accounts)
    way = way(server)
    try:
        await world.go_away(way)
        begun = time.monotonic()
        await (world.die(way) if is_killed else world.come_back(way))
        took = time.monotonic() - begun
    finally:
        if world.is_taken:
            way.give()  # or the next test meets it
    count = await world.check()
    await asyncio.to_thread(server.stop)
    return "%d messages on record, all of them received; back in %.1f s" % (count, took)
