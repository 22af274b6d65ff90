"""Kills the server under load, again and again, and looks whether it has kept its word.

Six people, without stream management, send numbered messages to each other as fast as the server takes them.
At a random delivery the server is killed with SIGKILL and started again. What must hold:

  - what was delivered to anybody is on record;
  - what is on record is there once, and has been received when everybody has logged in again;
  - within one session nobody gets a message twice, and each sender's messages come in their order;
  - in the end nothing is left in transit.

What was sent but is not on record was never acknowledged, so it may be lost."""

import asyncio
import collections
import html
import re

from xmpp import TIMEOUT, Client, Failure

PEOPLE = 6
BURST = 20         # messages in one write
MOST = 2500        # messages from one to another in one round
PATIENCE = 300     # seconds: the machine may be slow

BODY = re.compile(r"<body>([^<]*)</body>")


class Session:
    """One login of one person: what came, by sender."""

    def __init__(self, name):
        self.name, self.newest = name, collections.defaultdict(int)

    def take(self, sender, number):
        if number <= self.newest[sender]:
            raise Failure("%s received %s's message %d after %d in the same session: %s"
                          % (self.name, sender, number, self.newest[sender],
                             "twice" if number == self.newest[sender] else "twice or out of order"))
        self.newest[sender] = number


class World:
    """What was sent and received over all rounds; a message is (sender, recipient, number)."""

    def __init__(self, server, random):
        self.server, self.random = server, random
        self.names = ["crash%d" % n for n in range(PEOPLE)]
        self.pairs = [(a, b) for i, a in enumerate(self.names)
                      for b in (self.names[(i + 1) % PEOPLE], self.names[(i + 2) % PEOPLE])]
        self.sent = collections.Counter()
        self.received = set()
        self.clients = {}
        self.until_kill = None     # deliveries
        self.is_dead = asyncio.Event()
        self.failure = None
        self.changed = asyncio.Event()

    def make_accounts(self):
        for n in self.names:
            self.server.add_account(n, "verona.example", "rosemary")

    def on_stanza(self, session, e):
        """Takes messages; the rest stays in the client's inbox."""
        if e.name != "message" or e.get("type") != "chat":
            return False
        sender, recipient, number = next(c.text() for c in e.elements() if c.name == "body").split()
        try:
            session.take(sender, int(number))
        except Failure as failure:
            self.failure = self.failure or failure
        if recipient != session.name or e.get("from").partition("@")[0] != sender:
            self.failure = self.failure or Failure("%s received %s" % (session.name, e))
        self.received.add((sender, recipient, int(number)))
        self.changed.set()
        if self.until_kill is not None and not self.is_dead.is_set():
            self.until_kill -= 1
            if self.until_kill <= 0:
                self.server.process.kill()
                self.is_dead.set()
        return True

    async def log_in(self, name):
        c = Client("verona.example", name, "rosemary", ca=self.server.ca, port=self.server.port,
                   tls_port=self.server.tls_port, resource="r", tls="direct", mechanism="SCRAM-SHA-1")
        session = Session(name)
        c.on_stanza = lambda e: self.on_stanza(session, e)
        self.clients[name] = c
        await c.login()
        c.send("<presence/>")

    async def speak(self, sender, recipient):
        c = self.clients[sender]
        for _ in range(MOST // BURST):
            burst = []
            for _ in range(BURST):
                self.sent[sender, recipient] += 1
                burst.append("<message to='%s@verona.example' type='chat'><body>%s %s %d</body></message>"
                             % (recipient, sender, recipient, self.sent[sender, recipient]))
            c.write("".join(burst))
            await c.writable.wait()
            await asyncio.sleep(0)
            if c.is_over:
                return

    async def kill_under_load(self):
        """One round: some log in, all of these speak, the server dies at a random delivery.

        The others have logged in before, so that their homes are awake: one that is still loading may refuse
        what its mailbox cannot hold, and the sender is told so."""
        online = self.random.sample(self.names, self.random.choice((PEOPLE, PEOPLE, PEOPLE - 2)))
        for n in set(self.names) - set(online):
            await self.log_in(n)
            await self.clients.pop(n).close()
        self.until_kill = self.random.choice((self.random.randint(1, 50), self.random.randint(50, 8000)))
        self.is_dead.clear()
        for n in online:
            if not self.is_dead.is_set():
                try:
                    await self.log_in(n)
                except (Failure, OSError):
                    if not self.is_dead.is_set():  # else: killed by what was delivered to the others
                        raise
        speakers = [asyncio.create_task(self.speak(a, b)) for a, b in self.pairs
                    if a in self.clients and not self.clients[a].is_over]
        try:
            await asyncio.wait_for(self.is_dead.wait(), PATIENCE)
        except asyncio.TimeoutError:
            raise Failure("%d deliveries are still missing after %d s; %s"
                          % (self.until_kill, PATIENCE, self.failure or "no other complaint")) from None
        self.server.process.wait()
        await asyncio.gather(*speakers)
        for c in self.clients.values():
            c.drop()
        self.clients.clear()
        self.until_kill = None

    def on_record(self):
        """The numbered messages in table record. Fails when one is there twice."""
        found = collections.Counter()
        for (stanza,) in self.server.query("select stanza from record"):
            sender, recipient, number = html.unescape(BODY.search(stanza).group(1)).split()
            found[sender, recipient, int(number)] += 1
        twice = [m for m, n in found.items() if n > 1]
        if twice:
            raise Failure("%d messages are on record twice, such as %s" % (len(twice), twice[0]))
        return set(found)

    def check_delivered(self):
        unrecorded = self.received - self.on_record()
        if unrecorded:
            raise Failure("%d messages were delivered and are not on record, such as %s"
                          % (len(unrecorded), sorted(unrecorded)[0]))
        if self.failure:
            raise self.failure

    async def check_nothing_lost(self):
        """Everybody logs in: then all that is on record has been received."""
        for n in self.names:
            await self.log_in(n)
        recorded = self.on_record()
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        while not recorded <= self.received:
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), give_up - loop.time())
            except asyncio.TimeoutError:
                lost = sorted(recorded - self.received)
                raise Failure("%d messages of %d on record were never received, such as %s"
                              % (len(lost), len(recorded), lost[:3])) from None
        for c in self.clients.values():
            await c.close()
        self.clients.clear()
        if self.failure:
            raise self.failure
        return len(recorded)


def check_durability(server):
    want = {"sqlite": "synchronous=2 ", "postgresql": "synchronous_commit=on"}[server.engine]  # 2 is FULL
    store = server.status()["store"]
    if want not in store["durability"]:
        raise Failure("the live connections say '%s', not %s" % (store["durability"], want))


async def play(server, random, rounds, say):
    world = World(server, random)
    await asyncio.to_thread(world.make_accounts)
    check_durability(server)
    for n in range(rounds):
        await world.kill_under_load()
        world.check_delivered()
        await asyncio.to_thread(server.start)
        if random.random() < 0.5:  # else the next load meets what is still waiting
            await world.check_nothing_lost()
        say("round %d: %d sent, %d received" % (n + 1, sum(world.sent.values()), len(world.received)))
    count = await world.check_nothing_lost()
    world.check_delivered()
    await asyncio.to_thread(server.stop)
    left = server.query("select count(*) from transit")
    if int(left[0][0]):
        raise Failure("%s rows are left in transit" % left[0][0])
    return "%d kills, %d messages on record, all of them received" % (rounds, count)
