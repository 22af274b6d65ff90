"""Every commit takes 50 ms: a home must not wait for its own commits, so one user's messages still flow, and
in their order."""

import asyncio
import time

from xmpp import Client, Failure

COMMIT_DELAY = "50ms"
COUNT = 5000
LEAST = 60     # messages a second, from one user: three times what it could be, one after the other
PATIENCE = 300


async def log_in(server, name):
    server.add_account(name, "verona.example", "rosemary")
    c = Client("verona.example", name, "rosemary", ca=server.ca, port=server.port, tls_port=server.tls_port,
               resource="r", tls="direct", mechanism="SCRAM-SHA-1")
    await c.login()
    c.send("<presence/>")
    await c.expect("jabber:client", "presence")
    return c


async def play(server):
    juliet, romeo = await log_in(server, "held-juliet"), await log_in(server, "held-romeo")
    got, is_complete = [], asyncio.Event()

    def on_stanza(e):
        if e.name != "message":
            return False
        got.append(int(e.get("id")))
        if len(got) == COUNT:
            is_complete.set()
        return True

    romeo.on_stanza = on_stanza
    begun = time.monotonic()
    for n in range(COUNT):
        juliet.write("<message to='held-romeo@verona.example' type='chat' id='%d'><body>%d</body></message>" % (n, n))
        await juliet.writable.wait()
        if n % 50 == 0:
            await asyncio.sleep(0)
    try:
        await asyncio.wait_for(is_complete.wait(), PATIENCE)
    except asyncio.TimeoutError:
        raise Failure("only %d of %d messages came within %d s" % (len(got), COUNT, PATIENCE)) from None
    rate = COUNT / (time.monotonic() - begun)
    for c in (juliet, romeo):
        await c.close()
    if got != list(range(COUNT)):
        wrong = next(i for i, n in enumerate(got) if i != n)
        raise Failure("message %d came in place of %d" % (got[wrong], wrong))
    if rate < LEAST:
        raise Failure("%.0f messages a second, fewer than %d" % (rate, LEAST))
    return "%.0f messages a second" % rate
