"""People with several devices speak to each other while their connections are cut, the server is told to stop or is
killed, and the database goes away. Their devices keep what they send until it is acknowledged, resume their sessions,
or bind anew and catch up from their archives (tests/lib/device.py). Two people have old clients, which know no archive.

What must hold in the end:

  - what the server has acknowledged has reached the recipient, on each of his devices, live or on a page of the archive;
  - what was delivered is in the recipient's archive, once, with the same stanza-id, and on record once;
  - each sender's messages come in their order;
  - when the connection was cut, or the server was told to stop, each session is resumed, and nothing comes twice;
  - when it was killed, a device sees again at most what it acknowledged in the last second before, and that with the
    same stanza-id. The server must have been able to store that: what its own messages waited for their
    acknowledgements in those seconds, on a slow machine or without a database, comes on top;
  - who trusts h of <failed/> alone sends nothing again that is on record;
  - nothing is left in transit."""

import asyncio
import collections
import html

import database
from device import Device
from kill import BODY, PATIENCE, check_durability
from xmpp import Failure

HOST = "verona.example"
PEOPLE, OLD = 4, 2
BURST, PAUSE = 3, 0.02      # messages in one go, seconds between two
CUTS = 30
AGAIN = 1.0                 # seconds that the mark may be behind, and the longest round trip
RECENT = 5.0                # of those seconds before the kill
STALL = 20.0                # which is not believed to be longer than that
LIFE = 1.5, 3.0             # seconds of traffic before some of the kills
SPOOL = "1M"                # store.spool_bytes where it is to be full
DELIVERIES = 300


class World:
    def __init__(self, server, random):
        self.server, self.random = server, random
        self.is_muster = server.engine != "prosody"
        self.accounts = ["mobile%d" % n for n in range(PEOPLE)] + ["old%d" % n for n in range(OLD)]
        self.devices = {}
        self.sent = collections.Counter()
        self.deliveries = 0
        self.until_kill = None
        self.is_dead = asyncio.Event()
        self.kills = []                              # (when, the longest round trip before it)
        self.failures = []
        self.known = collections.defaultdict(set)    # device: keys
        self.seen_in = {}                            # (device, key): when the session began in which it came last
        self.newest = collections.defaultdict(int)   # (device, sender): number
        self.newest_key = {}
        self.came = {}                               # (device, key): how
        self.ids = {}                                # (account, key): stanza-id
        self.again = []                              # (age, longest round trip) of what was seen again; None:
                                                     # was not acknowledged
        self.pages = 0
        self.is_speaking, self.speakers = False, []

    async def set_up(self):
        for a in self.accounts:
            await asyncio.to_thread(self.server.add_account, a, HOST, "rosemary")
            for resource in ("phone", "desk") if a.startswith("mobile") else ("old",):
                d = self.new_device(a, resource, uses_archive=a.startswith("mobile"), archive_first=resource == "desk")
                self.devices[d.name] = d
        for d in self.devices.values():
            d.start()
        await self.wait(lambda: all(d.is_ready for d in self.devices.values()), "everybody is there")
        self.is_speaking = True
        self.speakers = [asyncio.create_task(self.speak(d)) for d in self.devices.values()]

    def new_device(self, account, resource, **options):
        return Device(HOST, account, "rosemary", ca=self.server.ca, port=self.server.port,
                      tls_port=self.server.tls_port, resource=resource, tls="direct", mechanism="SCRAM-SHA-1",
                      on_message=self.on_message, **options)

    async def wait(self, is_there, what):
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        while not is_there():
            self.check_devices()
            if loop.time() > give_up:
                raise Failure("%s: not within %d s; %s" % (what, PATIENCE, self.show()))
            await asyncio.sleep(0.02)

    def check_devices(self):
        for d in self.devices.values():
            if d.failure:
                raise d.failure
            bad = {e for e in d.stream_errors if e not in ("system-shutdown", "reset", "conflict")}
            if bad and self.is_muster:
                raise Failure("%s: stream errors %s" % (d.name, bad))
        if self.failures:
            raise self.failures[0]

    def show(self):
        return "; ".join("%s: ready %d, %d to send, %d unacknowledged, %s" % (d.name, d.is_ready, len(d.outbox),
                         len(d.unacked), dict(d.counts)) for d in self.devices.values())

    # ---- speaking

    def post(self, device, recipient):
        self.sent[device.name] += 1
        key = "%s %s %d" % (device.name, recipient, self.sent[device.name])
        device.post(key, "<message to='%s@%s' type='chat' id='%s'><body>%s</body></message>"
                    % (recipient, HOST, key, key))

    async def speak(self, device):
        others = [a for a in self.accounts if a != device.user]
        while self.is_speaking:
            if device.is_ready and len(device.outbox) < BURST:
                for _ in range(BURST):
                    self.post(device, self.random.choice(others))
            await asyncio.sleep(PAUSE * (0.5 + self.random.random()))

    # ---- listening

    def on_message(self, device, message, stanza_id, how):
        body = next((c.text() for c in message.elements() if c.name == "body"), None)
        if body is None:
            return
        try:
            self.take(device, body, stanza_id, how)
            if how != "archive":
                self.came[device.name, body] = "(%s, as number %s of its session, the one of %.3f s): %s" % (
                    how, device.taken, device.began, message)
        except Failure as failure:
            self.failures.append(failure)

    def take(self, device, key, stanza_id, how):
        if stanza_id is None:
            raise Failure("%s: '%s' came (%s) without stanza-id" % (device.name, key, how))
        if self.ids.setdefault((device.user, key), stanza_id) != stanza_id:
            raise Failure("%s: '%s' came (%s) with stanza-id %s, and before with %s"
                          % (device.name, key, how, stanza_id, self.ids[device.user, key]))
        is_known = key in self.known[device.name]
        self.known[device.name].add(key)
        if how == "archive":
            self.pages += not is_known
            return
        sender, _, number = key.split()
        before = self.seen_in.get((device.name, key))
        if before is not None:
            self.see_again(device, key, before)
        elif self.is_muster and not is_known and int(number) < self.newest[device.name, sender]:
            raise Failure("%s: '%s' came (%s, as number %s of its session) behind number %d, which came %s"
                          % (device.name, key, how, device.taken, self.newest[device.name, sender],
                             self.came[device.name, self.newest_key[device.name, sender]]))
        self.seen_in[device.name, key] = device.began
        if int(number) > self.newest[device.name, sender]:
            self.newest[device.name, sender], self.newest_key[device.name, sender] = int(number), key
        self.deliveries += 1
        if self.until_kill is not None and not self.is_dead.is_set():
            self.until_kill -= 1
            if self.until_kill <= 0:
                self.kill()

    def kill(self):
        now = asyncio.get_running_loop().time()
        self.kills.append((now, min(self.longest_round_trip(now), STALL)))
        self.server.process.kill()
        self.is_dead.set()

    def longest_round_trip(self, now):
        """Of a message, from its writing to its acknowledgement, or till now where that has not come."""
        last = self.kills[-1][0] if self.kills else 0
        longest = 0
        for d in self.devices.values():
            recent = [took for when, took in d.round_trips if when > max(last, now - RECENT)]
            waiting = [now - d.sent_at[key] for key, _, _ in d.unacked if key and d.sent_at[key] > last]
            longest = max([longest, *recent, *waiting])
        return longest

    def see_again(self, device, key, began):
        """`began`: of the session that has seen it before."""
        if not self.is_muster and device.began != began:
            self.again.append(None)
            return
        kills = [k for k in self.kills if began <= k[0] <= device.began]
        if not kills:
            raise Failure("%s: '%s' came twice; before %s; now as number %s"
                          % (device.name, key, self.came[device.name, key], device.taken))
        killed, stall = kills[0]
        acked = device.acked_at.get(key)
        if acked is None or acked > killed:
            self.again.append(None)
            return
        age = killed - acked
        self.again.append((age, stall))
        if age > AGAIN + stall:
            raise Failure("%s: '%s' came again, which was acknowledged %.2f s before the kill; the longest round trip"
                          " was %.2f s" % (device.name, key, age, stall))

    # ---- what happens to them

    async def after(self, deliveries, what):
        goal = self.deliveries + deliveries
        await self.wait(lambda: self.deliveries >= goal, "%d deliveries %s" % (deliveries, what))

    async def stand_still(self):
        """Until nothing is acknowledged any more."""
        before = None
        while before != (now := sum(len(d.acknowledged) for d in self.devices.values())):
            before = now
            await asyncio.sleep(1)
            self.check_devices()

    async def live(self):
        """Long enough for a mark that lags behind to be seen."""
        await self.be_back()
        loop = asyncio.get_running_loop()
        until = loop.time() + self.random.uniform(*LIFE)
        await self.wait(lambda: loop.time() > until, "a life of some seconds")

    async def be_killed(self):
        """At a random delivery; and started again."""
        self.is_dead.clear()
        self.until_kill = self.random.choice((self.random.randint(1, 50), self.random.randint(50, 2000)))
        await self.wait(self.is_dead.is_set, "the delivery at which it is killed")
        self.until_kill = None
        self.server.process.wait()
        if not self.is_muster:
            await asyncio.sleep(0.1)
        await asyncio.to_thread(self.server.start)

    async def be_back(self):
        await self.wait(lambda: all(d.is_ready for d in self.devices.values()), "everybody is there again")

    # ---- the end

    async def settle(self):
        """Nobody speaks any more, and all that was sent is acknowledged."""
        self.is_speaking = False
        await asyncio.gather(*self.speakers)
        await self.wait(lambda: all(d.is_settled for d in self.devices.values()), "all is acknowledged")

    def missing(self):
        """What was acknowledged and not refused, and is not where it belongs."""
        for d in self.devices.values():
            for key in d.acknowledged:
                if key in d.refused:
                    continue
                recipient = key.split()[1]
                for other in self.devices.values():
                    if other.user == recipient and key not in self.known[other.name]:
                        yield other.name, key

    async def finish(self):
        await self.settle()
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        while missing := list(self.missing()):
            self.check_devices()
            if loop.time() > give_up:
                raise Failure("%d messages were acknowledged and never came, such as '%s' to %s"
                              % (len(missing), missing[0][1], missing[0][0]))
            await asyncio.sleep(0.1)
        entries = 0
        for a in self.accounts:
            entries += await self.check_archive(a)
        for d in self.devices.values():
            await d.leave()
        self.check_devices()
        if self.is_muster:
            if self.total("denied and found"):
                raise Failure("%d messages are on record, and h of <failed/> did not count them"
                              % self.total("denied and found"))
            self.check_record()
            await asyncio.to_thread(self.server.stop)
            left = self.server.query("select count(*) from transit")
            if int(left[0][0]):
                raise Failure("%s rows are left in transit" % left[0][0])
        return entries

    async def check_archive(self, account):
        """Everything that its devices know is there, once; and what is there they know."""
        found = collections.defaultdict(list)
        audit = self.new_device(account, "audit", archive_first=True)

        def on_message(device, message, stanza_id, how):
            if how == "archive":
                found[next(c.text() for c in message.elements() if c.name == "body")].append(stanza_id)

        audit.on_message = on_message
        audit.start()
        self.devices["audit"] = audit
        await self.wait(lambda: audit.is_ready, "%s's archive" % account)
        del self.devices["audit"]
        await audit.leave()
        twice = [k for k, ids in found.items() if len(set(ids)) > 1]
        if twice:
            raise Failure("%s's archive has %d messages twice, such as '%s'" % (account, len(twice), twice[0]))
        for d in self.devices.values():
            if d.user != account:
                continue
            lost = self.known[d.name] - set(found)
            if lost:
                raise Failure("%d messages came to %s and are not in the archive, such as '%s'"
                              % (len(lost), d.name, sorted(lost)[0]))
            unseen = {k for k in found if k.split()[1] == account} - self.known[d.name]
            if unseen:
                raise Failure("%d messages are in the archive and never came to %s, such as '%s'"
                              % (len(unseen), d.name, sorted(unseen)[0]))
        return len(found)

    def check_record(self):
        found = collections.Counter()
        for (stanza,) in self.server.query("select stanza from record"):
            body = BODY.search(stanza)
            if body:
                found[html.unescape(body.group(1))] += 1
        twice = [k for k, n in found.items() if n > 1]
        if twice:
            raise Failure("%d messages are on record twice, such as '%s'" % (len(twice), twice[0]))
        lost = set().union(*self.known.values()) - set(found)
        if lost:
            raise Failure("%d messages were delivered and are not on record, such as '%s'"
                          % (len(lost), sorted(lost)[0]))

    def total(self, what):
        return sum(d.counts[what] for d in self.devices.values())

    def summary(self, entries):
        acknowledged = sum(len(d.acknowledged) for d in self.devices.values())
        parts = ["%d messages acknowledged, 0 missing" % acknowledged,
                 "%d deliveries, %d archive entries" % (self.deliveries, entries),
                 "%d times resumed, %d times not" % (self.total("resumed"), self.total("not resumed"))]
        if self.total("not resumed"):
            parts.append("%d with h" % self.total("not resumed, with h"))
        for what, text in (("sent again on resume", "sent again on resume"),
                           ("found in the archive", "doubtful, and in the archive"),
                           ("sent again", "doubtful, and sent again"), ("given up", "given up"), ("refused", "refused"),
                           ("archive away", "times the archive could not be read")):
            if self.total(what):
                parts.append("%d %s" % (self.total(what), text))
        if self.pages:
            parts.append("%d first seen in the archive" % self.pages)
        ages = [a for a in self.again if a is not None]
        parts.append("%d seen again" % len(self.again))
        if ages:
            parts.append("of these %d acknowledged, %.2f s before at most, %.2f s beside the longest round trip (%.2f s)"
                         % (len(ages), max(ages)[0], max(age - stall for age, stall in ages),
                            max(stall for _, stall in self.kills)))
        return ", ".join(parts)

    def expect_resumption(self):
        for d in self.devices.values():
            d.must_resume = self.is_muster


async def play(server, random, scenario):
    world = World(server, random)
    if world.is_muster:
        check_durability(server)
    try:
        await world.set_up()
        said = await scenario(world)
        return "%s: %s" % (said, world.summary(await world.finish()))
    finally:
        for d in world.devices.values():
            await d.stop()


# ---- scenarios: each returns what it did

async def cut(world):
    """Connections are lost, also ones of which the server does not hear; some devices stay away for a while."""
    world.expect_resumption()
    away = collections.Counter()
    for n in range(CUTS):
        await world.after(world.random.randint(1, DELIVERIES // 2), "before cut %d" % (n + 1))
        for d in world.random.sample(list(world.devices.values()), world.random.choice((1, 1, 2, 5))):
            if not world.is_muster and not d.is_ready:
                continue  # Prosody gives up sessions that are cut off while they are being resumed
            away["cut"] += 1
            d.cut(silently=world.random.random() < 0.3)
    await world.be_back()
    return "%d connections cut" % away["cut"]


async def terminate(world, rounds):
    world.expect_resumption()
    for n in range(rounds):
        await world.after(world.random.randint(1, DELIVERIES), "before stop %d" % (n + 1))
        await asyncio.to_thread(world.server.stop)
        await asyncio.to_thread(world.server.start)
        await world.be_back()
    return "%d times told to stop" % rounds


async def kill(world, rounds, say):
    for n in range(rounds):
        if n % 3 == 1:
            await world.live()
        await world.be_killed()
        if world.random.random() < 0.5:  # else the next one falls on those who catch up
            await world.be_back()
        say("kill %d: %s" % (n + 1, world.show()))
    return "%d kills" % rounds


class Killed(database.Postgres):
    """All processes of PostgreSQL are killed."""

    def take(self):
        self.postgresql.kill()

    def give(self):
        self.postgresql.start()


WAYS = {"sqlite": (database.Locked,), "postgresql": (Killed, database.Frozen)}


async def away(world, way, is_full, is_killed):
    """The database goes away and comes back. Meanwhile the spool takes what is recorded; is_full: until it is full, and
    nothing is acknowledged any more; is_killed: then the server dies."""
    way, server = way(world.server), world.server
    await world.after(DELIVERIES, "before")
    await asyncio.to_thread(way.take)
    try:
        while not (await asyncio.to_thread(server.status))["store"]["spool_bytes"]:
            await world.after(1, "until the spool is in use")
        await world.after(DELIVERIES, "while the database is away")
        if is_full:
            await world.wait(lambda: "the spool is full" in server.log(), "the spool is full")
            await world.stand_still()
        if is_killed:
            world.kill()
            server.process.wait()
    finally:
        await asyncio.to_thread(way.give)
    if is_killed:
        await asyncio.to_thread(server.start)
    await world.be_back()
    await world.after(DELIVERIES, "when it is back")
    return "the database was away%s%s" % (", the spool full" if is_full else "", ", 1 kill" if is_killed else "")
