#!/usr/bin/python3
"""nbxmpp, Gajim's library, told by lines what to do, as program.py has them.    nb.py JID PASSWORD PORT CERTIFICATE"""

import sys

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402
from nbxmpp.client import Client  # noqa: E402
from nbxmpp.const import ConnectionProtocol, ConnectionType  # noqa: E402
from nbxmpp.errors import StanzaError  # noqa: E402
from nbxmpp.protocol import JID, Iq, Message, Presence  # noqa: E402
from nbxmpp.structs import StanzaHandler  # noqa: E402


def say(*words):
    print(*words, flush=True)


class User:
    def __init__(self, jid, password, port, certificate):
        self.jid, self.password, self.port = JID.from_string(jid), password, port
        self.certificate = Gio.TlsCertificate.new_from_file(certificate)
        self.client = None

    def connect(self):
        c = self.client = Client(log_context="test")
        c.set_domain(self.jid.domain)
        c.set_username(self.jid.localpart)
        c.set_resource("nbxmpp")
        c.set_password(self.password)
        c.set_accepted_certificates([self.certificate])
        c.set_custom_host("127.0.0.1:%s" % self.port, ConnectionProtocol.TCP, ConnectionType.START_TLS)
        for signal, run in (("connected", self.on_connected), ("resume-failed", self.on_connected),
                            ("disconnected", self.on_disconnected), ("connection-failed", self.on_disconnected)):
            c.subscribe(signal, run)
        c.register_handler(StanzaHandler(name="message", callback=self.on_message, priority=60))
        c.register_handler(StanzaHandler(name="presence", callback=self.on_presence, priority=60))
        c.connect()

    def on_connected(self, *_):
        self.client.send_stanza(Presence())
        say("signed-on")

    def on_disconnected(self, *_):
        if self.client.has_error:
            say("error", *self.client.get_error())
        say("signed-off")

    def on_message(self, _client, stanza, properties):
        if not stanza.getBody():
            return
        how = ["message"]
        if properties.is_mam_message:
            how = ["archived", properties.mam.id]
        elif properties.is_carbon_message:
            how = [properties.carbon.type]
        say(*how, stanza.getFrom(), stanza.getBody())

    def read_archive(self, after):  # with everybody: it cannot make the field `with`
        own = self.client.get_bound_jid().new_as_bare()
        self.client.get_module("MAM").make_query(own, queryid="q1", after=after or None, max_=2, callback=self.on_page)

    def on_page(self, task):
        try:
            page = task.finish()
        except StanzaError as e:
            say("archive-error", e)
            return
        if page.complete:
            say("archive-end")
        else:
            self.read_archive(page.rsm.last)

    def keep(self, name):
        self.client.get_module("MAM").set_preferences(name, [], [JID.from_string("friar@verona.example")],
                                                      callback=self.on_kept)

    def on_kept(self, task):
        try:
            task.finish()
        except StanzaError as e:
            say("keeps-error", e.condition)
            return
        self.client.get_module("MAM").request_preferences(callback=self.on_preferences)

    def on_preferences(self, task):
        preferences = task.finish()
        say("keeps", preferences.default, *preferences.always, "but", *preferences.never)

    def on_presence(self, client, stanza, _properties):
        bare = stanza.getFrom().new_as_bare()
        if stanza.getType() == "subscribe":
            client.send_stanza(Presence(to=bare, typ="subscribed"))
            say("authorized", bare)
        else:
            say("presence", bare, stanza.getType() or stanza.getShow() or "available")

    def on_roster(self, task):
        say("listed", len(task.finish().items))

    def run(self, what, whom, text):
        if what == "connect":
            self.connect()
        elif what == "disconnect":
            self.client.disconnect()
        elif what == "list":
            self.client.get_module("Roster").request_roster(callback=self.on_roster)
        elif what == "add":
            self.client.send_stanza(Presence(to=whom, typ="subscribe"))
        elif what == "away":
            self.client.send_stanza(Presence(show="away", status=whom))
        elif what == "send":
            self.client.send_stanza(Message(to=whom, body=text, typ="chat"))
        elif what == "carbons":
            iq = Iq("set")
            iq.addChild("enable", namespace="urn:xmpp:carbons:2")
            self.client.send_stanza(iq, callback=lambda *_: say("carbons"))
        elif what == "archive":
            self.read_archive(text)
        elif what == "keep":
            self.keep(whom)


def main():
    user, loop = User(*sys.argv[1:]), GLib.MainLoop()

    def on_line(channel, _condition):
        line = channel.readline().rstrip("\n")
        if not line or line == "quit":
            loop.quit()
            return False
        user.run(*(line.split(" ", 2) + ["", ""])[:3])
        return True

    GLib.io_add_watch(GLib.IOChannel.unix_new(0), GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, on_line)
    say("ready")
    loop.run()


main()
