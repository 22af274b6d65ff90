#!/usr/bin/python3
"""aioxmpp, told by lines what to do, as program.py has them.    aio.py JID PASSWORD PORT CA"""

import asyncio
import sys

import aioxmpp
import aioxmpp.dispatcher


def say(*words):
    print(*words, flush=True)


def show_of(presence):
    return presence.show.value or "available"


class User:
    def __init__(self, jid, password, port, ca):
        self.jid = aioxmpp.JID.fromstr(jid)
        self.password, self.port, self.ca = password, int(port), ca
        self.client = None

    def ssl_context(self):
        context = aioxmpp.security_layer.default_ssl_context()
        context.load_verify_locations(self.ca)
        return context

    def make(self):
        security = aioxmpp.make_security_layer(self.password, no_verify=True)
        security = security._replace(ssl_context_factory=self.ssl_context)
        self.client = aioxmpp.PresenceManagedClient(
            self.jid, security, max_initial_attempts=1,
            override_peer=[("127.0.0.1", self.port, aioxmpp.connector.STARTTLSConnector())])
        self.client.on_failure.connect(lambda e: say("error", e))
        self.client.on_stopped.connect(lambda: say("signed-off"))
        self.client.on_stream_suspended.connect(lambda _: say("signed-off"))
        self.client.on_stream_established.connect(lambda: say("signed-on"))
        messages = self.client.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
        messages.register_callback(aioxmpp.MessageType.CHAT, None, self.on_message)
        presences = self.client.summon(aioxmpp.dispatcher.SimplePresenceDispatcher)
        for kind in (aioxmpp.PresenceType.AVAILABLE, aioxmpp.PresenceType.UNAVAILABLE):
            presences.register_callback(kind, None, self.on_presence)
        self.roster = self.client.summon(aioxmpp.RosterClient)
        self.roster.on_subscribe.connect(self.on_subscribe)

    def on_message(self, m):
        if m.body:
            say("message", m.from_, m.body.any())

    def on_presence(self, p):
        is_there = p.type_ == aioxmpp.PresenceType.AVAILABLE
        say("presence", p.from_.bare(), show_of(p) if is_there else "unavailable")

    def on_subscribe(self, p):
        self.roster.approve(p.from_.bare())
        say("authorized", p.from_.bare())

    async def run(self, what, whom, text):
        if what == "connect":
            if self.client is None or not self.client.running:
                self.make()
                self.client.presence = aioxmpp.PresenceState(available=True)
        elif what == "disconnect":
            self.client.presence = aioxmpp.PresenceState(available=False)
        elif what == "list":
            say("listed", len(self.roster.items))
        elif what == "add":
            self.roster.subscribe(aioxmpp.JID.fromstr(whom))
        elif what == "away":
            self.client.set_presence(aioxmpp.PresenceState(available=True, show=aioxmpp.PresenceShow.AWAY), whom)
        elif what == "send":
            m = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=aioxmpp.JID.fromstr(whom))
            m.body[None] = text
            await self.client.send(m)


async def main(arguments):
    user = User(*arguments)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say("ready")
    while line := (await reader.readline()).decode().rstrip("\n"):
        if line == "quit":
            break
        what, whom, text = (line.split(" ", 2) + ["", ""])[:3]
        await user.run(what, whom, text)
    if user.client and user.client.running:
        user.client.stop()
        await asyncio.sleep(0.1)


asyncio.run(main(sys.argv[1:]))
