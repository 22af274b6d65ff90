"""Pidgin's library: purple.c as juliet, our own client as romeo."""

import asyncio
import os
import shlex
import shutil
import subprocess

from xmpp import TIMEOUT, Client, Element, Failure, fences

HERE = os.path.dirname(os.path.abspath(__file__))
JULIET, ROMEO = "purple-juliet@verona.example", "purple-romeo@verona.example"


def compile_program(directory):
    program = os.path.join(directory, "purple")
    if not os.path.exists(program):
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "purple", "glib-2.0"],
                               capture_output=True, text=True, check=True).stdout
        subprocess.run(shlex.split(os.environ.get("CC", "cc")) +
                       ["-std=gnu11", "-o", program, os.path.join(HERE, "purple.c")] + shlex.split(flags), check=True)
    return program


class Purple:
    """The running program; `lines` are those nobody has waited for yet."""

    def __init__(self, directory):
        self.directory, self.lines = directory, []

    async def start(self, server, tls="require_tls", trusted=True):
        own = os.path.join(self.directory, "purple-" + tls + ("" if trusted else "-untrusting"))
        shutil.rmtree(own, ignore_errors=True)
        peers = os.path.join(own, "certificates", "x509", "tls_peers")
        os.makedirs(peers)
        if trusted:  # under the name that is connected to
            shutil.copy(os.path.join(os.path.dirname(server.ca), "verona.example.crt"), os.path.join(peers, "127.0.0.1"))
        port = server.tls_port if tls == "old_ssl" else server.port
        self.process = await asyncio.create_subprocess_exec(
            compile_program(self.directory), own, JULIET, "rosemary", str(port), tls,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=open(os.path.join(self.directory, "purple.err"), "a"))
        await self.until("ready")

    def tell(self, command):
        self.process.stdin.write(command.encode() + b"\n")

    async def until(self, wanted):
        """Waits for a line that begins so, takes it out and returns it."""
        while True:
            for line in self.lines:
                if line.startswith(wanted):
                    self.lines.remove(line)
                    return line
            try:
                line = await asyncio.wait_for(self.process.stdout.readline(), 2 * TIMEOUT)
            except asyncio.TimeoutError:
                raise Failure("libpurple said only %s, not '%s...'" % (self.lines, wanted)) from None
            if not line:
                raise Failure("libpurple ended while waiting for '%s'; it said %s" % (wanted, self.lines))
            self.lines.append(line.decode().rstrip("\n"))

    async def stop(self):
        if self.process.returncode is None:
            self.tell("quit")
            try:
                await asyncio.wait_for(self.process.wait(), TIMEOUT)
            except asyncio.TimeoutError:
                self.process.kill()


async def receive(client, is_wanted, what):
    """The next element that is wanted; others are passed over."""
    while True:
        e = await client.next(what)
        if isinstance(e, Element) and is_wanted(e):
            return e
        if not isinstance(e, Element):
            raise Failure("waiting for %s, but %s" % (what, e))


def is_presence(e, kind=None, show=None):
    ours = e.name == "presence" and e.get("from").startswith(JULIET)
    return ours and e.get("type") == kind and (not show or any(c.text() == show for c in e.elements()))


async def say(client, ident, text):
    client.send("<message to='%s' type='chat' id='%s'><body>%s</body></message>" % (JULIET, ident, text))


async def become_friends(juliet, romeo):
    juliet.tell("add " + ROMEO)
    await receive(romeo, lambda e: is_presence(e, "subscribe"), "juliet's request")
    romeo.send("<presence type='subscribed' to='%s'/><presence type='subscribe' to='%s'/>" % (JULIET, JULIET))
    await juliet.until("authorized " + ROMEO)
    await receive(romeo, lambda e: is_presence(e, "subscribed"), "juliet's approval")
    await receive(romeo, lambda e: is_presence(e), "juliet's presence")
    await juliet.until("buddy-on " + ROMEO)


async def talk(juliet, romeo):
    await say(romeo, "m1", "Shall I hear more?")
    await juliet.until("message %s/orchard Shall I hear more?" % ROMEO)
    juliet.tell("send %s Thou knowest" % ROMEO)
    m = await receive(romeo, lambda e: e.name == "message" and e.find("jabber:client", "body"), "juliet's message")
    if m.get("from") != JULIET + "/pidgin" or m.find("jabber:client", "body").text() != "Thou knowest":
        raise Failure("romeo received %s" % m)
    romeo.send("<presence><show>away</show><status>in Mantua</status></presence>")
    await juliet.until("buddy-status %s away in Mantua" % ROMEO)
    juliet.tell("status away asleep")
    await receive(romeo, lambda e: is_presence(e, None, "away"), "juliet's away")


async def come_back(juliet, romeo):
    juliet.tell("disconnect")
    await juliet.until("signed-off")
    await receive(romeo, lambda e: is_presence(e, "unavailable"), "juliet's leave")
    for n in range(3):
        await say(romeo, "later%d" % n, "later %d" % n)
    await fences([romeo], [JULIET])
    juliet.tell("connect")
    await juliet.until("signed-on")
    got = [await juliet.until("message ") for _ in range(3)]
    if got != ["message %s/orchard later %d" % (ROMEO, n) for n in range(3)]:
        raise Failure("juliet received after her return: %s" % got)
    await juliet.until("buddy-on " + ROMEO)
    juliet.tell("list")
    await juliet.until("buddy %s Friends away" % ROMEO)
    await juliet.until("listed")
    await receive(romeo, lambda e: is_presence(e, None, "away"), "juliet's presence")


async def new_romeo(server, resource):
    romeo = Client("verona.example", "purple-romeo", "rosemary", ca=server.ca, port=server.port,
                   tls_port=server.tls_port, resource=resource)
    await romeo.login()
    romeo.send("<iq type='get' id='r1'><query xmlns='jabber:iq:roster'/></iq><presence/>")
    return romeo


async def play(server, directory):
    server.add_account("purple-juliet", "verona.example", "rosemary")
    server.add_account("purple-romeo", "verona.example", "rosemary")
    juliet = Purple(directory)
    await juliet.start(server)
    romeo = await new_romeo(server, "orchard")
    try:
        juliet.tell("connect")
        await juliet.until("signed-on")
        await become_friends(juliet, romeo)
        await talk(juliet, romeo)
        await come_back(juliet, romeo)
        romeo.drop()
        await juliet.until("buddy-off " + ROMEO)
        await asyncio.to_thread(server.stop)
        await juliet.until("error ")
        await asyncio.to_thread(server.start)
        juliet.tell("disconnect")
        juliet.tell("connect")
        await juliet.until("signed-on")
    finally:
        await juliet.stop()
        romeo.drop()


async def direct_tls(server, directory):
    juliet = Purple(directory)
    await juliet.start(server, "old_ssl")
    try:
        juliet.tell("connect")
        await juliet.until("signed-on")
    finally:
        await juliet.stop()


async def unknown_certificate(server, directory):
    juliet = Purple(directory)
    await juliet.start(server, trusted=False)
    try:
        juliet.tell("connect")
        await juliet.until("question ")
        await juliet.until("error ")
    finally:
        await juliet.stop()


CHECKS = [
    ("libpurple: login, roster, presence, messages, offline, reconnection", play),
    ("libpurple: direct TLS", direct_tls),
    ("libpurple: a certificate that nobody vouches for is refused", unknown_certificate),
]
