#!/usr/bin/python3
"""Well-behaved users who talk to each other while somebody else misbehaves: a process of its own, so that it measures
the server and not the attacker's script.

    neighbour.py CA PORT TLS_PORT PASSWORD RECORDED UNRECORDED

Of each of the two hosts good-juliet writes to good-romeo every 20 ms; the first host keeps records. Each line on
standard input is a word, and is answered with one of JSON:

    report    for each pair the worst and the median time in milliseconds that a message took since the last report,
              those that were on their way when the word came included; and how many there were
    dying     the connections may end from now on: both come back by themselves, as soon as they can
    back      when both pairs have; no connection may end any more. The seconds from the end to the first message
    received  the numbers of all messages that have come to the pair with records

A message or a connection that is lost is in "problem". End of input ends it."""

import asyncio
import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
sys.dont_write_bytecode = True

import xmpp  # noqa: E402

EVERY = 0.02
LOST = 60  # seconds without a message that was sent: it is lost
xmpp.TIMEOUT = LOST


class Pair:
    def __init__(self, new_client):
        self.new_client = new_client
        self.sent = {}  # number: when
        self.times, self.received, self.newest = [], set(), 0
        self.may_end, self.ended, self.away = False, None, 0
        self.problem = None

    def on_stanza(self, e):
        if e.name != "message":
            return True
        if e.get("type") == "error":
            self.problem = self.problem or "an error came back: %s" % e
            return True
        number = int(next(c.text() for c in e.elements() if c.name == "body").rpartition(" ")[2])
        self.received.add(number)
        if number in self.sent:
            self.times.append(time.monotonic() - self.sent.pop(number))
            if self.ended:
                self.away, self.ended = time.monotonic() - self.ended, None
        return True

    async def log_in(self):
        users = []
        for name in ("good-juliet", "good-romeo"):
            c = self.new_client(name)
            users.append(c)
            try:
                await c.login()
            except (xmpp.Failure, OSError):
                for c in users:
                    c.drop()
                raise
            c.on_stanza = self.on_stanza
            c.send("<presence/>")
        return users

    async def talk(self, juliet, romeo):
        """Until a connection ends."""
        while not juliet.is_over and not romeo.is_over:
            self.newest += 1
            self.sent[self.newest] = time.monotonic()
            juliet.write("<message type='chat' id='n%d' to='%s'><body>Good night %d</body></message>"
                         % (self.newest, romeo.jid, self.newest))
            await asyncio.sleep(EVERY)

    async def live(self):
        users = await self.log_in()
        while True:
            await self.talk(*users)
            self.ended = time.monotonic()
            if not self.may_end:
                self.problem = self.problem or "a connection ended: %s %s" % tuple(c.inbox for c in users)
                return
            for c in users:
                c.drop()
            users = None
            while not users:
                try:
                    users = await self.log_in()
                except (xmpp.Failure, OSError):
                    await asyncio.sleep(EVERY)
            self.sent.clear()  # nobody has promised anything about those

    async def until(self, is_so, what):
        give_up = time.monotonic() + LOST
        while not is_so() and not self.problem:
            if time.monotonic() > give_up:
                self.problem = "%s: not within %d s" % (what, LOST)
            await asyncio.sleep(EVERY / 4)

    async def report(self):
        last = self.newest + 1
        await self.until(lambda: self.newest >= last and not any(n <= last for n in self.sent), "a message that was sent")
        times, self.times = self.times, []
        return {"worst": 1000 * max(times, default=0), "median": 1000 * statistics.median(times or [0]), "count": len(times)}

    async def back(self):
        await self.until(lambda: self.away, "both are back")
        self.may_end, away, self.away = False, self.away, 0
        return away


async def main(ca, port, tls_port, password, *hosts):
    def pair_of(host):
        return Pair(lambda name: xmpp.Client(host, name, password, ca=ca, port=int(port), tls_port=int(tls_port),
                                             resource="r", tls="direct"))

    pairs = {kind: pair_of(host) for kind, host in zip(("recorded", "unrecorded"), hosts)}
    living = [asyncio.create_task(p.live()) for p in pairs.values()]
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while word := (await reader.readline()).decode().strip():
        answer = {}
        if word == "dying":
            for p in pairs.values():
                p.may_end = True
        elif word == "received":
            answer["numbers"] = sorted(pairs["recorded"].received)
        else:
            said = await asyncio.gather(*(getattr(p, word)() for p in pairs.values()))
            answer = dict(zip(pairs, said))
        for task in living:
            if task.done() and task.exception():
                raise task.exception()
        answer["problem"] = next((p.problem for p in pairs.values() if p.problem), None)
        print(json.dumps(answer), flush=True)
    for task in living:
        task.cancel()


asyncio.run(main(*sys.argv[1:]))
