#!/usr/bin/python3
"""prove.py - shows that a server does its main job: alice and bob log in over TLS, with the certificate
verified, alice writes to bob, and what bob received is printed.

usage: prove.py HOST PORT CERTIFICATE ALICE BOB     (passwords: two lines on standard input)

contrib/quickstart calls it. The client is slixmpp, a library that knows nothing of Muster."""

import asyncio
import logging
import secrets
import sys

logging.disable(logging.CRITICAL)  # the library's; what matters is said here
import slixmpp

SECONDS = 20


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password, certificate):
        super().__init__(jid + "/quickstart", password, sasl_mech="SCRAM-SHA-256")
        # Of channel bindings this library knows tls-unique alone, which TLS 1.3 does not have, and tries it
        # all the same.
        sasl = self["feature_mechanisms"]
        credentials = sasl.sasl_callback
        sasl.sasl_callback = lambda required, optional: dict(credentials(required, optional), channel_binding=None)
        self.ca_certs = certificate
        self.ssl_context.check_hostname = True
        self.ready = self.loop.create_future()
        self.inbox = asyncio.Queue()
        self.add_event_handler("session_start", self.on_start)
        self.add_event_handler("message", self.inbox.put_nowait)
        self.add_event_handler("failed_all_auth", lambda _: self.fail("the server refused the password"))
        self.add_event_handler("connection_failed", lambda why: self.fail("no connection: %s" % why))
        self.add_event_handler("ssl_invalid_chain", lambda why: self.fail("the certificate: %s" % why))
        self.add_event_handler("disconnected", lambda _: self.fail("the server closed the connection"))

    def fail(self, why):
        if not self.ready.done():
            self.ready.set_exception(RuntimeError("%s: %s" % (self.requested_jid.bare, why)))

    async def on_start(self, _):
        await self.get_roster()
        self.send_presence()
        if not self.ready.done():
            self.ready.set_result(None)


async def wait(future, what):
    try:
        return await asyncio.wait_for(future, SECONDS)
    except asyncio.TimeoutError:
        raise RuntimeError("%s within %d seconds" % (what, SECONDS)) from None


async def prove(host, port, certificate, names, passwords):
    clients = [Client(name, password, certificate) for name, password in zip(names, passwords)]
    alice, bob = clients
    for client in clients:
        client.connect((host, port))
    for client in clients:
        await wait(client.ready, "%s was not logged in" % client.requested_jid.bare)
        tls = client.transport.get_extra_info("ssl_object")
        print("  %s is logged in (%s, certificate verified)" % (client.boundjid.bare, tls.version()))

    text = "Hello Bob, this is Alice. (%s)" % secrets.token_hex(4)
    alice.send_message(mto=bob.boundjid.bare, mbody=text, mtype="chat")
    print("  alice wrote:      %s" % text)
    message = await wait(bob.inbox.get(), "bob received nothing")
    print("  bob received:     %s   from %s" % (message["body"], message["from"]))
    for client in clients:
        client.ready.cancel()
        client.disconnect()
        await wait(client.disconnected, "%s could not log out" % client.boundjid.bare)
    return message["body"] == text and message["from"].bare == alice.boundjid.bare


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    host, port, certificate, alice, bob = sys.argv[1:]
    passwords = [sys.stdin.readline().strip() for _ in range(2)]
    try:
        proved = asyncio.get_event_loop().run_until_complete(
            prove(host, int(port), certificate, (alice, bob), passwords))
    except RuntimeError as error:
        sys.exit("prove.py: %s" % error)
    sys.exit(0 if proved else "prove.py: bob received something else")


if __name__ == "__main__":
    main()
