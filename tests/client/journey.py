"""What every client library must be able to do here: its user is juliet, ours is romeo.

Login by each mechanism it has (the host offers one at a time), roster, presence, messages, offline, reconnection when
the server comes back, and a roster of a thousand."""

import asyncio
import os

from xmpp import Client, Element, Failure, fences

HOST, PASSWORD, CONTACTS = "verona.example", "rosemary", 1000
ALL = "every mechanism, a roster of a thousand, presence, messages, offline, reconnection"


def address(who, library):
    return "%s-%s@%s" % (library, who, HOST)


def certificate(server):
    return os.path.join(os.path.dirname(server.ca), HOST + ".crt")


async def receive(client, is_wanted, what):
    """The next element that is wanted; others are passed over."""
    while True:
        e = await client.next(what)
        if isinstance(e, Element) and is_wanted(e):
            return e
        if not isinstance(e, Element):
            raise Failure("waiting for %s, but %s" % (what, e))


def is_presence_of(jid, kind=None, show=None):
    def is_it(e):
        return (e.name == "presence" and e.get("from").startswith(jid) and e.get("type") == kind and
                (not show or any(c.text() == show for c in e.elements())))
    return is_it


def is_body(e):
    return e.name == "message" and e.find("jabber:client", "body")


async def log_in_ours(server, user, contacts=0):
    c = Client(HOST, user, PASSWORD, ca=server.ca, port=server.port, tls_port=server.tls_port, resource="ours")
    await c.login()
    for i in range(contacts):
        c.send("<iq type='set' id='a%d'><query xmlns='jabber:iq:roster'><item jid='contact%d@%s' name='Contact %d'/>"
               "</query></iq>" % (i, i, HOST, i))
    for i in range(contacts):
        await receive(c, lambda e: e.name == "iq" and e.get("type") == "result", "the answer to a roster set")
    return c


async def mechanisms(server, library, names, program):
    """`program`: a function that makes one, not started yet."""
    if not hasattr(server, "ctl"):  # Prosody, where no host has policies
        return
    def sessions():
        return [s for s in server.sessions() if s["jid"].startswith(address("juliet", library))]

    def logins():
        return [s["login"] for s in sessions()]

    async def end_all():
        """Of the program before, which has ended: one that asked for it may still be resumed."""
        while sessions():
            for s in sessions():
                if not s["connected"]:
                    server.ctl("session", "kick", s["jid"])
            await asyncio.sleep(0.05)

    try:
        for name in names:
            server.ctl("host", "set", HOST, "mechanisms", name)
            await end_all()
            async with program() as juliet:
                juliet.tell("connect")
                await juliet.until("signed-on")
                if not all(l.startswith(name + ",") for l in logins() or [""]):
                    raise Failure("the login was by %s, not by %s" % (logins(), name))
        await end_all()
    finally:
        server.ctl("host", "set", HOST, "mechanisms")


async def befriend(juliet, romeo, library):
    own = address("juliet", library)
    juliet.tell("add " + address("romeo", library))
    await receive(romeo, is_presence_of(own, "subscribe"), "juliet's request")
    romeo.send("<presence type='subscribed' to='%s'/><presence type='subscribe' to='%s'/>" % (own, own))
    await juliet.until("authorized " + address("romeo", library))
    await receive(romeo, is_presence_of(own, "subscribed"), "juliet's approval")
    await receive(romeo, is_presence_of(own), "juliet's presence")
    await juliet.until("presence %s available" % address("romeo", library))


async def talk(juliet, romeo, library):
    own, other = address("juliet", library), address("romeo", library)
    romeo.send("<message to='%s' type='chat' id='m1'><body>Shall I hear more?</body></message>" % own)
    await juliet.until("message %s/ours Shall I hear more?" % other)
    juliet.tell("send %s Thou knowest <the> mask & night" % other)
    m = await receive(romeo, is_body, "juliet's message")
    if not m.get("from").startswith(own + "/") or m.find("jabber:client", "body").text() != "Thou knowest <the> mask & night":
        raise Failure("romeo received %s" % m)
    romeo.send("<presence><show>away</show><status>in Mantua</status></presence>")
    await juliet.until("presence %s away" % other)
    juliet.tell("away asleep")
    await receive(romeo, is_presence_of(own, None, "away"), "juliet's away")


async def come_back(juliet, romeo, library):
    own, other = address("juliet", library), address("romeo", library)
    juliet.tell("disconnect")
    await juliet.until("signed-off")
    await receive(romeo, is_presence_of(own, "unavailable"), "juliet's leave")
    for n in range(3):
        romeo.send("<message to='%s' type='chat' id='l%d'><body>later %d</body></message>" % (own, n, n))
    await fences([romeo], [own])
    juliet.tell("connect")
    await juliet.until("signed-on")
    got = [await juliet.until("message ") for _ in range(3)]
    if got != ["message %s/ours later %d" % (other, n) for n in range(3)]:
        raise Failure("juliet received after her return: %s" % got)


async def reconnect(server, juliet):
    await asyncio.to_thread(server.stop)
    await juliet.until("signed-off")
    await asyncio.to_thread(server.start)
    juliet.tell("connect")
    await juliet.until("signed-on")


async def whole(server, library, names, program):
    for who in ("juliet", "romeo"):
        server.add_account("%s-%s" % (library, who), HOST, PASSWORD)
    await mechanisms(server, library, names, program)
    helper = await log_in_ours(server, "%s-juliet" % library, CONTACTS)
    await helper.close()
    romeo = await log_in_ours(server, "%s-romeo" % library)
    romeo.send("<iq type='get' id='r1'><query xmlns='jabber:iq:roster'/></iq><presence/>")
    try:
        async with program() as juliet:
            juliet.tell("connect")
            await juliet.until("signed-on")
            juliet.tell("list")
            if await juliet.until("listed ") != "listed %d" % CONTACTS:
                raise Failure("the roster of a thousand: %s" % juliet.lines)
            await befriend(juliet, romeo, library)
            await talk(juliet, romeo, library)
            await come_back(juliet, romeo, library)
            romeo.drop()
            await juliet.until("presence %s unavailable" % address("romeo", library))
            await reconnect(server, juliet)
    finally:
        romeo.drop()
