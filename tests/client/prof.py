#!/usr/bin/python3
"""Profanity, told by lines what to do, as program.py has them: it runs in a terminal of its own, types what a user
would, and says what Profanity's log says that it has received.    prof.py JID PASSWORD PORT DIRECTORY"""

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import xml.etree.ElementTree

ACCOUNT = """[juliet]
enabled=true
jid=%s
password=%s
server=127.0.0.1
port=%s
tls.policy=trust
resource=profanity
"""
PREFERENCES = "[connection]\nreconnect=0\n[ui]\nsplash=false\n[chatstates]\nenabled=false\n"


def say(*words):
    print(*words, flush=True)


class Profanity:
    def __init__(self, jid, password, port, directory):
        self.jid, self.own = jid, os.path.join(directory, "profanity-home")
        shutil.rmtree(self.own, ignore_errors=True)
        data, config = (os.path.join(self.own, d, "profanity") for d in ("data", "config"))
        os.makedirs(data)
        os.makedirs(config)
        with open(os.path.join(data, "accounts"), "w") as f:
            f.write(ACCOUNT % (jid, password, port))
        with open(os.path.join(config, "profrc"), "w") as f:
            f.write(PREFERENCES)
        self.log_path, self.at, self.rest = os.path.join(self.own, "log"), 0, ""
        self.roster, self.carbons = 0, None
        self.start()

    def start(self):
        self.terminal, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        environment = dict(os.environ, TERM="xterm", HOME=self.own, XDG_DATA_HOME=os.path.join(self.own, "data"),
                           XDG_CONFIG_HOME=os.path.join(self.own, "config"))
        # Without its terminal it would run for ever, where this program was killed.
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "profanity", "-l", "DEBUG", "-f",
                                         self.log_path], stdin=inner, stdout=inner, stderr=inner, env=environment,
                                        start_new_session=True)
        os.close(inner)

    def type(self, line):
        os.write(self.terminal, line.encode() + b"\r")

    def run(self, what, whom, text):
        if what == "connect":
            self.type("/connect juliet")
        elif what == "disconnect":
            self.type("/disconnect")
        elif what == "list":
            say("listed", self.roster)
        elif what == "add":
            self.type("/sub request " + whom)
        elif what == "away":
            self.type("/status set away " + whom)
        elif what == "send":
            self.type("/msg %s %s" % (whom, text))
        elif what == "carbons":
            self.type("/carbons on")
        elif what == "archive":  # of the last week, which it asks for when a window opens
            for line in "/mam on", "/close " + whom, "/msg " + whom:
                self.type(line)

    # ---- what its log says

    def read_log(self):
        if not os.path.exists(self.log_path):
            return
        with open(self.log_path, errors="replace") as f:
            f.seek(self.at)
            lines = (self.rest + f.read()).split("\n")
            self.at, self.rest = f.tell(), lines.pop()
        for line in lines:
            self.on_line(line)

    def on_line(self, line):
        if "Connection handler: XMPP_CONN_DISCONNECT" in line:
            say("signed-off")
        enables = re.search(r"SENT: <iq id=\"([^\"]+)\" type=\"set\"><enable xmlns=\"urn:xmpp:carbons:2\"/>", line)
        if enables:
            self.carbons = enables.group(1)
        received = re.search(r"RECV: (<(?:iq|message|presence)[ >].*)$", line)
        if not received:
            return
        try:
            self.on_stanza(xml.etree.ElementTree.fromstring(received.group(1)))
        except xml.etree.ElementTree.ParseError:
            pass

    def on_stanza(self, e):
        kind, bare = e.get("type"), (e.get("from") or "").partition("/")[0]
        copy = e[0] if len(e) and e[0].tag.startswith("{urn:xmpp:carbons:2}") else None
        archived = e.find("{urn:xmpp:mam:2}result")
        items = e.findall("{jabber:iq:roster}query/{jabber:iq:roster}item")
        if e.tag == "iq" and kind == "result" and e.find("{jabber:iq:roster}query") is not None:
            self.roster = len(items)
            say("signed-on")
        elif copy is not None:
            self.show_forwarded(copy, copy.tag.partition("}")[2])
        elif archived is not None:
            self.show_forwarded(archived, "archived", archived.get("id"))
        elif e.find("{urn:xmpp:mam:2}fin[@complete='true']") is not None:
            say("archive-end")
        elif e.tag == "iq" and kind == "result" and e.get("id") == self.carbons:
            say("carbons")
        elif e.tag == "message" and e.find("body") is not None:
            say("message", e.get("from"), e.findtext("body"))
        elif e.tag == "presence" and kind == "subscribe":
            self.type("/sub allow " + bare)
            say("authorized", bare)
        elif e.tag == "presence":
            say("presence", bare, kind or e.findtext("show") or "available")

    def show_forwarded(self, e, *words):
        message = e.find("{urn:xmpp:forward:0}forwarded/{jabber:client}message")
        if message.find("{jabber:client}body") is not None:
            say(*words, message.get("from"), message.findtext("{jabber:client}body"))

    def loop(self):
        say("ready")
        while True:
            ready, _, _ = select.select([0, self.terminal], [], [], 0.05)
            if self.terminal in ready:
                try:
                    os.read(self.terminal, 65536)
                except OSError:
                    return
            if 0 in ready:
                line = sys.stdin.readline().rstrip("\n")
                if not line or line == "quit":
                    return
                self.run(*(line.split(" ", 2) + ["", ""])[:3])
            self.read_log()


profanity = Profanity(*sys.argv[1:])
try:
    profanity.loop()
finally:
    profanity.process.terminate()
    profanity.process.wait(60)
