"""PostgreSQL is slow over a group when the server is killed, and would commit it when the next one is at work already:
what the next one has found would no longer be true. So the next one waits until the sessions of the one before are
over: nothing is left in transit, and nobody gets a message twice."""

import asyncio
import os
import signal

from server import PostgreSQL
from kill import BODY
from xmpp import Client, Failure

COUNT = 50
FROZEN = 2      # seconds that the old session stands still while the next server starts
SETTLED = 0.5   # seconds until the group has been sent
MARKED = 1.5    # seconds until what was received is not sent again
PATIENCE = 300
WRITERS = "select pid from pg_stat_activity where application_name = 'musterd writing'"


async def enter(server):
    """Both of them, and the list of what romeo gets."""
    clients, got = [], []
    for name in ("late-juliet", "late-romeo"):
        c = Client("verona.example", name, "rosemary", ca=server.ca, port=server.port, tls_port=server.tls_port,
                   resource="r", tls="direct", mechanism="SCRAM-SHA-1")
        c.on_stanza = lambda e: e.name == "message" and (got.append(int(e.get("id"))) or True)
        await c.login()
        c.send("<presence/>")
        clients.append(c)
    return clients, got


def say(juliet, first):
    juliet.write("".join("<message to='late-romeo@verona.example' type='chat' id='%d'><body>%d</body></message>"
                         % (n, n) for n in range(first, first + COUNT)))


async def received(got, number):
    give_up = asyncio.get_running_loop().time() + PATIENCE
    while number not in got:
        if asyncio.get_running_loop().time() > give_up:
            raise Failure("message %d did not come" % number)
        await asyncio.sleep(0.02)


def writers(server):
    return [int(row[0]) for row in PostgreSQL.query(server.conninfo, WRITERS)]


def let_go(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


async def over(server, old):
    give_up = asyncio.get_running_loop().time() + PATIENCE
    while set(old) & set(await asyncio.to_thread(writers, server)):
        if asyncio.get_running_loop().time() > give_up:
            raise Failure("a session of the server that was killed does not end")
        await asyncio.sleep(0.02)


async def leave(clients, got):
    for c in clients:
        await c.close()
    if len(set(got)) != len(got):
        raise Failure("received twice in one session: %s" % got)


async def play(server):
    for name in ("late-juliet", "late-romeo"):
        await asyncio.to_thread(server.add_account, name, "verona.example", "rosemary")
    clients, before = await enter(server)
    say(clients[0], 0)
    await received(before, COUNT - 1)
    old = await asyncio.to_thread(writers, server)
    for pid in old:
        os.kill(pid, signal.SIGSTOP)
    try:
        say(clients[0], COUNT)
        await asyncio.sleep(SETTLED)
        server.kill()
        for c in clients:
            c.drop()
        if len(before) != COUNT:
            raise Failure("delivered, and not committed: %s" % before[COUNT:])
        start = asyncio.create_task(asyncio.to_thread(server.start))
        await asyncio.wait([start], timeout=FROZEN)
        entered = await enter(server) if start.done() else None  # too early: this shows what comes of it
    finally:
        let_go(old)
    await over(server, old)
    await start
    clients, meanwhile = entered or await enter(server)
    say(clients[0], 2 * COUNT)
    await received(meanwhile, 3 * COUNT - 1)
    await asyncio.sleep(MARKED)
    await leave(clients, meanwhile)
    clients, after = await enter(server)
    say(clients[0], 3 * COUNT)
    await received(after, 4 * COUNT - 1)
    await leave(clients, after)
    on_record = {int(BODY.search(row[0]).group(1)) for row in server.query("select stanza from record")}
    lost = on_record - set(before + meanwhile + after)
    if lost:
        raise Failure("on record, and never received: %s" % sorted(lost))
    left = server.query("select count(*) from transit")[0][0]
    if int(left):
        raise Failure("%s rows are left in transit" % left)
    return "%d messages on record, all of them received" % len(on_record)
