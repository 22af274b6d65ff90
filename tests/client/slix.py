"""slixmpp on what the common journey has not: see journey.py for that."""

import asyncio
import logging

import slixmpp

from xmpp import TIMEOUT, Failure

logging.getLogger("slixmpp").setLevel(logging.CRITICAL)


class User(slixmpp.ClientXMPP):
    """Keeps what it receives until somebody asks for it."""

    def __init__(self, server, jid, password):
        super().__init__(jid, password)
        self.server_port, self.ca_certs = server.port, server.ca
        self.auto_authorize = self.auto_subscribe = True
        self.seen, self.arrived = [], asyncio.Event()
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0199")
        self.register_plugin("xep_0203")
        self.add_event_handler("session_start", lambda _: self.note(("session",)))
        self.add_event_handler("failed_auth", lambda _: self.note(("failed",)))
        self.add_event_handler("disconnected", lambda _: self.note(("disconnected",)))
        self.add_event_handler("message", self.on_message)
        for event in ("presence_available", "presence_away", "presence_unavailable"):
            self.add_event_handler(event, self.on_presence)

    def note(self, event):
        self.seen.append(event)
        self.arrived.set()

    def on_message(self, m):
        self.note(("message", m["from"].bare, m["body"], bool(m["delay"].xml.get("stamp"))))

    def on_presence(self, p):
        if p["from"].bare != self.boundjid.bare:
            self.note(("presence", p["from"].bare, p["type"]))

    async def until(self, *event):
        """Waits for that event and takes it out."""
        while event not in self.seen:
            self.arrived.clear()
            try:
                await asyncio.wait_for(self.arrived.wait(), TIMEOUT)
            except asyncio.TimeoutError:
                raise Failure("%s waited for %s and saw only %s" % (self.boundjid, event, self.seen)) from None
        self.seen.remove(event)

    async def log_in(self):
        self.connect(("127.0.0.1", self.server_port))
        await self.until("session")
        self.send_presence()
        await self.get_roster()

    async def log_out(self):
        self.disconnect()
        await self.until("disconnected")


async def wrong_password(server, directory):
    server.add_account("slix-paris", "verona.example", "rosemary")
    paris = User(server, "slix-paris@verona.example", "rue")
    paris.connect(("127.0.0.1", server.port))
    await paris.until("failed")
    paris.abort()


async def profile(server, directory):
    """The host's capabilities are what their hash says, with its contact addresses in them, and a card."""
    if not hasattr(server, "ctl"):
        return  # Prosody sets the addresses in another way
    server.ctl("host", "set", "verona.example", "disco.admin-addresses", "xmpp:b@verona.example mailto:a@verona.example")
    server.add_account("slix-laura", "verona.example", "rosemary")
    laura = User(server, "slix-laura@verona.example", "rosemary")
    for plugin in ("xep_0004", "xep_0054", "xep_0115"):
        laura.register_plugin(plugin)
    told = asyncio.get_running_loop().create_future()

    def on_caps(p):
        if p["from"] == "verona.example" and not told.done():
            told.set_result((p["caps"]["node"], p["caps"]["ver"]))
    laura.add_event_handler("entity_caps", on_caps)
    await laura.log_in()
    node, version = await asyncio.wait_for(told, TIMEOUT)
    answer = await laura.plugin["xep_0030"].get_info(jid="verona.example", node="%s#%s" % (node, version))
    if "mailto:a@verona.example" not in str(answer):
        raise Failure("the contact addresses are not in %s" % answer)
    computed = laura.plugin["xep_0115"].generate_verstring(answer["disco_info"], "sha-1")
    if computed != version:
        raise Failure("the host says %s, its answer makes %s: %s" % (version, computed, answer))

    card = laura.plugin["xep_0054"].make_vcard()
    card["FN"] = "Laura"
    await laura.plugin["xep_0054"].publish_vcard(card)
    answer = await laura.plugin["xep_0054"].get_vcard("slix-laura@verona.example", cached=False)
    if answer["vcard_temp"]["FN"] != "Laura":
        raise Failure("the card is %s" % answer)
    await laura.log_out()


async def resumed(server, directory):
    """The network fails under somebody who writes and is written to: the session goes on, and nothing is lost."""
    users = []
    for name in ("slix-rosaline", "slix-tybalt"):
        server.add_account(name, "verona.example", "rosemary")
        users.append(User(server, name + "@verona.example", "rosemary"))
    rosaline, tybalt = users
    rosaline.register_plugin("xep_0198")
    for event in ("sm_enabled", "session_resumed"):
        rosaline.add_event_handler(event, lambda _, event=event: rosaline.note((event,)))
    await rosaline.log_in()
    await rosaline.until("sm_enabled")
    await tybalt.log_in()
    rosaline.transport.abort()
    await rosaline.until("disconnected")
    tybalt.send_message("slix-rosaline@verona.example", "Hist!", mtype="chat")
    rosaline.connect(("127.0.0.1", rosaline.server_port))
    await rosaline.until("session_resumed")
    await rosaline.until("message", "slix-tybalt@verona.example", "Hist!", True)
    rosaline.send_message("slix-tybalt@verona.example", "Who is there?", mtype="chat")
    await tybalt.until("message", "slix-rosaline@verona.example", "Who is there?", False)
    await rosaline.log_out()
    await tybalt.log_out()


CHECKS = [
    ("slixmpp: a session is resumed when the network has failed", resumed),
    ("slixmpp: a host's capabilities, a card", profile),
    ("slixmpp: a wrong password is refused", wrong_password),
]
