"""Accounts that are provably on different reactors: a stream lives where its account's home is (node.move_streams),
and the trace id of what it reads begins with the number of its reactor (the log has it, level debug)."""

import os
import re

import xmpp

MOST = 200  # accounts; that one of 4 reactors has still been missed happens once in 10^22 runs
TRACE_SHIFT = 52


async def home(server, client):
    """The number of the reactor, by a message to himself."""
    begun = os.path.getsize(os.path.join(server.dir, "server.log"))
    client.write("<message type='chat' id='spread' to='%s'><body>where am I</body></message>" % client.jid)
    while True:
        echo = next((e for e in client.inbox if getattr(e, "name", "") == "message" and e.get("id") == "spread"), None)
        if echo:
            break
        await client.wait_arrival("a message to himself")
    client.inbox.remove(echo)
    trace = re.search(r" pass %s: delivered to .*\[([0-9a-f]{16})\]" % re.escape(client.jid.partition("/")[0]),
                      server.log(begun))
    if not trace:
        raise xmpp.Failure("the log does not say that %s got a message" % client.jid)
    return int(trace.group(1), 16) >> TRACE_SHIFT


async def fill(server, enter, each=2):
    """Calls enter(number), which makes an account and returns its client, until every reactor has so many of these.
    Returns the clients."""
    clients, at = [], {}
    while len(clients) < MOST:
        clients.append(await enter(len(clients)))
        thread = await home(server, clients[-1])
        at[thread] = at.get(thread, 0) + 1
        if all(at.get(thread, 0) >= each for thread in range(server.reactors)):
            return clients
    raise xmpp.Failure("of %d accounts not each reactor has %d: %s" % (len(clients), each, at))
