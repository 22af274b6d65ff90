#!/usr/bin/python3
"""slixmpp, as Poezio and many bots use it, told by lines what to do, as program.py has them.

    slixmpp_user.py JID PASSWORD PORT CA"""

import asyncio
import sys

import slixmpp


def say(*words):
    print(*words, flush=True)


class User(slixmpp.ClientXMPP):
    def __init__(self, jid, password, port, ca):
        super().__init__(jid, password)
        self.own_port, self.ca_certs = int(port), ca
        self.auto_authorize, self.auto_subscribe = None, False
        self.task = None
        for name in ("xep_0030", "xep_0199", "xep_0203", "xep_0280", "xep_0313"):
            self.register_plugin(name)
        self.add_event_handler("session_start", self.on_session)
        self.add_event_handler("failed_auth", lambda _: say("error failed to authenticate"))
        self.add_event_handler("disconnected", lambda _: say("signed-off"))
        self.add_event_handler("message", self.on_message)
        self.add_event_handler("carbon_sent", lambda m: self.on_copy("sent", m["carbon_sent"]))
        self.add_event_handler("carbon_received", lambda m: self.on_copy("received", m["carbon_received"]))
        self.add_event_handler("presence_subscribe", self.on_subscribe)
        for event in ("presence_available", "presence_unavailable", "changed_status"):
            self.add_event_handler(event, self.on_presence)

    async def on_session(self, _):
        self.send_presence()
        await self.get_roster()
        say("signed-on")

    def on_message(self, m):
        if m["body"]:
            say("message", m["from"], m["body"])

    def on_copy(self, how, m):
        if m["body"]:
            say(how, m["from"], m["body"])

    async def enable_carbons(self):
        await self.plugin["xep_0280"].enable()
        say("carbons")

    async def read_archive(self, whom, after):
        options = {"max": 2, "after": after} if after else {"max": 2}
        try:
            async for m in self.plugin["xep_0313"].iterate(with_jid=whom, rsm=options):
                result = m["mam_result"]
                message = result["forwarded"]["stanza"]
                say("archived", result["id"], message["from"], message["body"])
            say("archive-end")
        except slixmpp.exceptions.XMPPError as e:
            say("archive-error", e)

    def on_subscribe(self, p):
        self.send_presence(pto=p["from"].bare, ptype="subscribed")
        say("authorized", p["from"].bare)

    def on_presence(self, p):
        say("presence", p["from"].bare, p["type"])

    def run_command(self, what, whom, text):
        if what == "connect":
            self.connect(("127.0.0.1", self.own_port))
        elif what == "disconnect":
            self.disconnect()
        elif what == "list":
            say("listed", len([j for j in self.client_roster if j != self.boundjid.bare]))
        elif what == "add":
            self.send_presence(pto=whom, ptype="subscribe")
        elif what == "away":
            self.send_presence(pshow="away", pstatus=whom)
        elif what == "send":
            self.send_message(mto=whom, mbody=text, mtype="chat")
        elif what == "carbons":
            self.task = asyncio.create_task(self.enable_carbons())
        elif what == "archive":
            self.task = asyncio.create_task(self.read_archive(whom, text))


async def main(arguments):
    user = User(*arguments)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say("ready")
    while line := (await reader.readline()).decode().rstrip("\n"):
        if line == "quit":
            break
        user.run_command(*(line.split(" ", 2) + ["", ""])[:3])
    user.abort()


asyncio.get_event_loop().run_until_complete(main(sys.argv[1:]))
