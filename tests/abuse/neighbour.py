#!/usr/bin/python3
"""Two well-behaved users who talk to each other while somebody else misbehaves: a process of its own, so that it
measures the server and not the attacker's script.

    neighbour.py CA PORT TLS_PORT HOST PASSWORD

juliet writes to romeo every 20 ms. Each line on standard input is answered with one of JSON: the worst and the median
time in milliseconds that a message took since the last line, and how many there were. End of input ends it."""

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
LOST = 30  # seconds without a message that was sent: it is lost


class Pair:
    def __init__(self):
        self.sent = {}  # id: when
        self.times = []
        self.problem = None

    def on_stanza(self, e):
        if e.name == "message" and e.get("id") in self.sent:
            self.times.append(time.monotonic() - self.sent.pop(e.get("id")))
        elif e.name == "message" and e.get("type") == "error":
            self.problem = "an error came back: %s" % e
        return True

    async def talk(self, juliet, romeo):
        number = 0
        while True:
            number += 1
            self.sent["n%d" % number] = time.monotonic()
            juliet.write("<message type='chat' id='n%d' to='%s'><body>Good night</body></message>" % (number, romeo.jid))
            await asyncio.sleep(EVERY)
            if juliet.is_over or romeo.is_over:
                self.problem = "a connection ended: %s %s" % (juliet.inbox, romeo.inbox)

    def report(self):
        """What is still on its way counts with the time it has waited."""
        now = time.monotonic()
        times = self.times + [now - t for t in self.sent.values()]
        if any(now - t > LOST for t in self.sent.values()):
            self.problem = self.problem or "a message was lost"
        self.times = []
        return {"worst": 1000 * max(times, default=0), "median": 1000 * statistics.median(times or [0]),
                "count": len(times), "problem": self.problem}


async def main(ca, port, tls_port, host, password):
    users = []
    for name in ("good-juliet", "good-romeo"):
        c = xmpp.Client(host, name, password, ca=ca, port=int(port), tls_port=int(tls_port), resource="r", tls="direct")
        await c.login()
        c.send("<presence/>")
        users.append(c)
    pair = Pair()
    for c in users:
        c.on_stanza = pair.on_stanza
    talking = asyncio.create_task(pair.talk(*users))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(json.dumps(pair.report()), flush=True)
    talking.cancel()


asyncio.run(main(*sys.argv[1:]))
