"""An XMPP client for tests: correct where it must be, and able to say anything.

Used by the scene runner and the crash test. It owns one TCP connection. What the server sends is put, in
its order, into `inbox` as events: an Element for each first-level element, CLOSE for </stream:stream>,
and EOF when the connection has ended. Whoever uses it takes the events out with next().

A *fence* is a ping or the like: when it is answered, everything which came before has been seen. Requests
and answers of fences never enter the inbox.
"""

import asyncio
import base64
import ctypes
import functools
import hashlib
import hmac
import os
import ssl
import xml.parsers.expat
from xml.sax.saxutils import escape, quoteattr

NS_CLIENT = "jabber:client"
NS_STREAMS = "http://etherx.jabber.org/streams"
NS_STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
NS_STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
NS_TLS = "urn:ietf:params:xml:ns:xmpp-tls"
NS_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
NS_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
NS_PING = "urn:xmpp:ping"
NS_SM = "urn:xmpp:sm:3"
NS_XML = "http://www.w3.org/XML/1998/namespace"

# What fences are made of.
FENCES = ((NS_CLIENT, "iq"), (NS_CLIENT, "message"))
PING = "<iq type='get' id='%s' to=%s><ping xmlns='" + NS_PING + "'/></iq>"
GROUPCHAT = "<message type='groupchat' id='%s' to=%s/>"

TIMEOUT = 60  # seconds for each single thing that is waited for: the machine may be slow

CLOSE = "</stream:stream>"
EOF = "end of connection"


class Failure(Exception):
    """The server did not do what it must."""


class Element:
    """An XML element; `children` holds elements and strings, in their order."""

    def __init__(self, ns, name, attributes=None):
        self.ns, self.name = ns, name
        self.attributes = attributes or {}
        self.children = []

    def elements(self):
        return [c for c in self.children if isinstance(c, Element)]

    def text(self):
        return "".join(c for c in self.children if isinstance(c, str))

    def find(self, ns, name):
        for c in self.elements():
            if (c.ns, c.name) == (ns, name):
                return c
        return None

    def get(self, attribute):
        return self.attributes.get(attribute)

    def map_strings(self, change):
        """Applies `change` to every attribute value and text, in place."""
        todo = [self]
        while todo:
            e = todo.pop()
            e.attributes = {k: change(v) for k, v in e.attributes.items()}
            e.children = [change(c) if isinstance(c, str) else c for c in e.children]
            todo += e.elements()

    def show(self, outer=NS_CLIENT):
        name = self.name
        if self.ns == NS_STREAMS and outer != NS_STREAMS:
            name, declare, inner = "stream:" + name, "", outer
        else:
            declare, inner = ("" if self.ns == outer else " xmlns=%s" % quoteattr(self.ns or "")), self.ns
        attributes = "".join(" %s=%s" % (k, quoteattr(v)) for k, v in self.attributes.items())
        content = "".join(escape(c) if isinstance(c, str) else c.show(inner) for c in self.children)
        if not content:
            return "<%s%s%s/>" % (name, declare, attributes)
        return "<%s%s%s>%s</%s>" % (name, declare, attributes, content, name)

    __str__ = show


class Refused(Failure):
    """A request was answered with an error."""

    def __init__(self, what, iq):
        super().__init__("%s: %s" % (what, iq))
        error = iq.find(NS_CLIENT, "error")
        self.is_for_now = error is not None and error.get("type") == "wait"


class StreamParser:
    """Feeds on bytes; calls on_header(Element), on_element(Element), on_close()."""

    def __init__(self, on_header, on_element, on_close):
        self.on_header, self.on_element, self.on_close = on_header, on_element, on_close
        self.stack = []
        self.expat = xml.parsers.expat.ParserCreate(namespace_separator=" ")
        self.expat.buffer_text = True
        self.expat.StartElementHandler = self.start
        self.expat.EndElementHandler = self.end
        self.expat.CharacterDataHandler = self.characters

    def feed(self, data):
        self.expat.Parse(data, False)

    @staticmethod
    def split(name):
        ns, _, local = name.rpartition(" ")
        return ns, local

    def start(self, name, attributes):
        named = {}
        for k, v in attributes.items():
            ns, local = self.split(k)
            named["xml:" + local if ns == NS_XML else k] = v
        e = Element(*self.split(name), named)
        if len(self.stack) > 1:
            self.stack[-1].children.append(e)
        self.stack.append(e)
        if len(self.stack) == 1:
            self.on_header(e)

    def end(self, name):
        e = self.stack.pop()
        if len(self.stack) == 1:
            self.on_element(e)
        elif not self.stack:
            self.on_close()

    def characters(self, text):
        if len(self.stack) > 1:
            self.stack[-1].children.append(text)


def parse_elements(text):
    """The elements of a piece of XML as it would stand in a client's stream."""
    found = []
    p = StreamParser(lambda e: None, found.append, lambda: None)
    p.feed("<stream:stream xmlns='%s' xmlns:stream='%s'>" % (NS_CLIENT, NS_STREAMS))
    p.feed(text)
    p.expat.Parse("</stream:stream>", True)
    return found


@functools.lru_cache(4096)
def salted_password(function, password, salt, iterations):
    """Slow on purpose, and the same each time that somebody comes back."""
    return hashlib.pbkdf2_hmac(function, password, salt, iterations)


class Scram:
    """RFC 5802, 7677: the client's side. `binding` is (name, data) for the -PLUS mechanisms."""

    def __init__(self, mechanism, user, password, binding=None):
        self.hash = {"1": "sha1", "256": "sha256"}[mechanism.removesuffix("-PLUS").split("-")[2]]
        self.password = password.encode()
        name, data = binding or (None, b"")
        self.gs2 = "p=%s,," % name if name else "n,,"
        self.binding = base64.b64encode(self.gs2.encode() + data).decode()
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.first_bare = "n=%s,r=%s" % (user.replace("=", "=3D").replace(",", "=2C"), self.nonce)

    def first(self):
        return self.gs2 + self.first_bare

    def hmac(self, key, text):
        return hmac.new(key, text, self.hash).digest()

    def final(self, server_first):
        fields = dict(f.split("=", 1) for f in server_first.split(","))
        if not fields["r"].startswith(self.nonce) or fields["r"] == self.nonce:
            raise Failure("SCRAM: the server's nonce does not begin with ours: " + server_first)
        salted = salted_password(self.hash, self.password, base64.b64decode(fields["s"]), int(fields["i"]))
        without_proof = "c=%s,r=%s" % (self.binding, fields["r"])
        auth = ",".join((self.first_bare, server_first, without_proof)).encode()
        client_key = self.hmac(salted, b"Client Key")
        signature = self.hmac(hashlib.new(self.hash, client_key).digest(), auth)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.server_signature = self.hmac(self.hmac(salted, b"Server Key"), auth)
        return without_proof + ",p=" + base64.b64encode(proof).decode()

    def verify(self, server_final):
        if server_final != "v=" + base64.b64encode(self.server_signature).decode():
            raise Failure("SCRAM: the server's signature is wrong: " + server_final)


def tls_exporter(ssl_object):
    """RFC 9266's channel binding. Python's ssl module cannot do it, so OpenSSL is asked directly: the
    pointer stands behind the object header and one other pointer."""
    inner = ssl_object._sslobj
    pointer = ctypes.c_void_p.from_address(id(inner) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p))
    out = ctypes.create_string_buffer(32)
    label = b"EXPORTER-Channel-Binding"
    function = ctypes.CDLL("libssl.so.3").SSL_export_keying_material
    function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
                         ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    if function(pointer, out, 32, label, len(label), None, 0, 0) != 1:
        raise Failure("no key material to export from this TLS connection")
    return out.raw


def channel_binding(name, ssl_object):
    if name == "tls-exporter":
        return tls_exporter(ssl_object)
    # RFC 5929 section 4: our test certificates are signed with SHA-256.
    return hashlib.sha256(ssl_object.getpeercert(True)).digest()


class Managed:
    """A client's half of stream management (XEP-0198). What it was sent counts from <enabled/> on."""

    def __init__(self):
        self.id = None         # for <resume/>
        self.is_on = False     # <enabled/> has come
        self.handled = 0       # stanzas that have come
        self.sent = []         # the text of those that were sent and not acknowledged
        self.acknowledged = 0  # by the server
        self.answers = True    # <r/> at once
        self.by_hand = False   # <r/> and <a/> are for the script

    def count_sent(self, text):
        try:
            self.sent += [str(e) for e in parse_elements(text) if e.ns == NS_CLIENT]
        except xml.parsers.expat.ExpatError:
            pass  # </stream:stream>, or what a script wants to see refused

    def take_h(self, h):
        more = (h - self.acknowledged) % 2 ** 32
        if more > len(self.sent):
            raise Failure("the server acknowledges %d stanzas of %d" % (h, self.acknowledged + len(self.sent)))
        self.acknowledged = h
        del self.sent[:more]


class Wire(asyncio.Protocol):
    """One connection of a client; what comes from one that the client has dropped is passed over."""

    def __init__(self, client):
        self.client = client

    def data_received(self, data):
        if self.client.wire is self:
            self.client.on_data(data)

    def connection_lost(self, error):
        if self.client.wire is self:
            self.client.on_lost()

    def pause_writing(self):
        self.client.writable.clear()

    def resume_writing(self):
        self.client.writable.set()


class Client:
    """A client with at most one connection at a time.

    Options of the login: tls (starttls, direct or none), mechanism, binding, resource."""

    def __init__(self, host, user, password, *, ca, port, tls_port, resource=None, tls="starttls",
                 mechanism=None, binding="tls-exporter", note=lambda direction, text: None):
        self.host, self.user, self.password = host, user, password
        self.ca, self.port, self.tls_port = ca, port, tls_port
        self.resource, self.tls, self.mechanism, self.binding = resource, tls, mechanism, binding
        self.note = note
        self.change = lambda s: s   # what is done to every string that is received
        self.wire = self.transport = None
        self.jid = None             # the full address, once bound
        self.inbox = []
        self.arrived = asyncio.Event()
        self.writable = asyncio.Event()  # the server takes what we write
        self.header = None
        self.parser = None
        self.fences = {}
        self.fence_count = 0
        self.lang = None            # of stream headers
        self.is_over = True
        self.on_stanza = None       # sees every stanza first; true: it was taken
        self.sm = None              # Managed, when it has asked for that

    # ---- what the network does

    def on_data(self, data):
        if self.parser is None:
            self.put(EOF + ": bytes outside a stream: %r" % data[:200])
            return
        try:
            self.parser.feed(data)
        except xml.parsers.expat.ExpatError as e:
            self.drop()
            self.put(EOF + ": the server sent bad XML (%s): %r" % (e, data[:500]))

    def on_lost(self):
        self.is_over = True
        self.wire = None
        self.writable.set()
        self.put(EOF)

    def put(self, event):
        self.note("<", event)
        self.inbox.append(event)
        self.arrived.set()

    def on_header(self, e):
        e.map_strings(self.change)
        self.note("<", "stream header " + " ".join("%s=%r" % i for i in e.attributes.items()))
        self.header = e
        self.arrived.set()

    def on_sm(self, e):
        """<r/>, <a/> and <enabled/>; true: the script does not see it."""
        if e.name == "enabled":
            self.sm.is_on, self.sm.id = True, e.get("id")
        elif e.name == "a" and not self.sm.by_hand:
            try:
                self.sm.take_h(int(e.get("h")))
            except Failure as failure:
                self.put(EOF + ": %s" % failure)
            self.arrived.set()
            return True
        elif e.name == "r" and not self.sm.by_hand:
            if self.sm.answers:
                self.write("<a xmlns='%s' h='%d'/>" % (NS_SM, self.sm.handled % 2 ** 32))
            return True
        return False

    def on_element(self, e):
        if self.sm and e.ns == NS_SM and self.on_sm(e):
            return
        if self.sm and self.sm.is_on and e.ns == NS_CLIENT:
            self.sm.handled += 1
        if (e.ns, e.name) in FENCES and (e.get("id") or "").startswith("fence-"):
            self.on_fence(e)
            return
        e.map_strings(self.change)
        if self.on_stanza and self.on_stanza(e):
            return
        self.put(e)

    def on_fence(self, iq):
        """Also a message's error."""
        if iq.get("type") == "get":
            self.write("<iq type='result' id=%s to=%s/>" % (quoteattr(iq.get("id")), quoteattr(iq.get("from"))))
        elif iq.get("id") in self.fences:
            self.fences.pop(iq.get("id")).set_result(None)

    # ---- in and out

    def write(self, data):
        if isinstance(data, str):
            if self.sm:
                self.sm.count_sent(data)
            data = data.encode()
        if not self.is_over and not self.transport.is_closing():
            self.transport.write(data)

    def send(self, text):
        self.note(">", text)
        self.write(text)

    async def next(self, what="anything", timeout=None):
        """The next event; fails when none comes."""
        while not self.inbox:
            await self.wait_arrival(what, timeout)
        return self.inbox.pop(0)

    async def wait_arrival(self, what, timeout=None):
        self.arrived.clear()
        try:
            await asyncio.wait_for(self.arrived.wait(), timeout or TIMEOUT)
        except asyncio.TimeoutError:
            raise Failure("nothing came for %d s while waiting for %s" % (timeout or TIMEOUT, what)) from None

    async def expect(self, ns, name):
        e = await self.next("<%s xmlns='%s'/>" % (name, ns))
        if not isinstance(e, Element) or (e.ns, e.name) != (ns, name):
            raise Failure("expected <%s xmlns='%s'/>, got %s" % (name, ns, e))
        return e

    # ---- the steps of a login

    def context(self, alpn):
        c = ssl.create_default_context(cafile=self.ca)
        if alpn:
            c.set_alpn_protocols(["xmpp-client"])
        return c

    async def dial(self):
        self.parser = self.header = self.jid = None
        self.is_over = False
        self.writable.set()
        self.wire = wire = Wire(self)
        port, security = self.port, {}
        if self.tls == "direct":
            port, security = self.tls_port, {"ssl": self.context(True), "server_hostname": self.host}
        connecting = asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", port, **security)
        try:
            self.transport, _ = await asyncio.wait_for(connecting, TIMEOUT)
        except (OSError, asyncio.TimeoutError) as e:
            self.is_over = True
            raise Failure("no connection to port %d: %s" % (port, e or "time is over")) from e

    def new_parser(self):
        self.header = None
        self.parser = StreamParser(self.on_header, self.on_element, lambda: self.put(CLOSE))

    async def open_stream(self, attributes=None):
        self.new_parser()
        named = {"to": self.host, "version": "1.0", "xmlns": NS_CLIENT, "xmlns:stream": NS_STREAMS}
        if self.lang:
            named["xml:lang"] = self.lang
        named.update(attributes or {})
        self.send("<?xml version='1.0'?><stream:stream%s>"
                  % "".join(" %s=%s" % (k, quoteattr(v)) for k, v in named.items()))
        while self.header is None:
            if self.is_over:
                raise Failure("the connection ended before the server's stream header: %s" % [str(e) for e in self.inbox])
            await self.wait_arrival("the server's stream header")

    async def start_tls(self):
        """From the stream features to the new stream's header."""
        features = await self.expect(NS_STREAMS, "features")
        if not features.find(NS_TLS, "starttls"):
            raise Failure("STARTTLS is not offered: %s" % features)
        self.send("<starttls xmlns='%s'/>" % NS_TLS)
        await self.expect(NS_TLS, "proceed")
        await self.secure()
        await self.open_stream()

    async def secure(self):
        """On a connection that has ended already Python's start_tls waits for ever; where it ends meanwhile, there
        may be no error, and no transport either."""
        self.parser = None
        if self.is_over:
            raise Failure("the connection ended before TLS")
        starting = asyncio.get_running_loop().start_tls(self.transport, self.wire, self.context(False),
                                                        server_hostname=self.host, ssl_handshake_timeout=TIMEOUT)
        try:
            secured = await asyncio.wait_for(starting, TIMEOUT)
        except (OSError, asyncio.TimeoutError) as e:
            self.is_over = True
            raise Failure("the TLS handshake failed: %s" % (e or "the connection ended, or time is over")) from e
        if not secured:
            self.is_over = True
            raise Failure("the connection ended in the TLS handshake")
        self.transport = secured

    def choose(self, offered):
        if self.mechanism:
            return self.mechanism
        for m in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"):
            if m in offered:
                return m
        raise Failure("none of our SASL mechanisms is offered, but %s" % offered)

    async def authenticate(self):
        """From the stream features to <success/>. Raises SaslFailure with the <failure/>."""
        features = await self.expect(NS_STREAMS, "features")
        mechanisms = features.find(NS_SASL, "mechanisms")
        if not mechanisms:
            raise Failure("SASL is not offered: %s" % features)
        mechanism = self.choose([m.text() for m in mechanisms.elements()])
        if mechanism == "PLAIN":
            await self.authenticate_plain()
        else:
            await self.authenticate_scram(mechanism)

    def send_sasl(self, name, text, attributes=""):
        self.send("<%s xmlns='%s'%s>%s</%s>"
                  % (name, NS_SASL, attributes, base64.b64encode(text.encode()).decode(), name))

    async def sasl_answer(self, name):
        e = await self.next("<%s xmlns='%s'/>" % (name, NS_SASL))
        if isinstance(e, Element) and (e.ns, e.name) == (NS_SASL, "failure"):
            raise SaslFailure(e)
        if not isinstance(e, Element) or (e.ns, e.name) != (NS_SASL, name):
            raise Failure("expected SASL <%s/>, got %s" % (name, e))
        return base64.b64decode(e.text()).decode()

    async def authenticate_plain(self):
        self.send_sasl("auth", "\0%s\0%s" % (self.user, self.password), " mechanism='PLAIN'")
        await self.sasl_answer("success")

    async def authenticate_scram(self, mechanism):
        binding = None
        if mechanism.endswith("-PLUS"):
            binding = (self.binding, channel_binding(self.binding, self.transport.get_extra_info("ssl_object")))
        scram = Scram(mechanism, self.user, self.password, binding)
        self.send_sasl("auth", scram.first(), " mechanism='%s'" % mechanism)
        self.send_sasl("response", scram.final(await self.sasl_answer("challenge")))
        scram.verify(await self.sasl_answer("success"))

    async def bind(self, features=None):
        """From the stream features, here or already taken, to the bound resource."""
        features = features or await self.expect(NS_STREAMS, "features")
        if not features.find(NS_BIND, "bind"):
            raise Failure("binding is not offered: %s" % features)
        wish = "<resource>%s</resource>" % escape(self.resource) if self.resource else ""
        self.send("<iq type='set' id='bind'><bind xmlns='%s'>%s</bind></iq>" % (NS_BIND, wish))
        iq = await self.expect(NS_CLIENT, "iq")
        bound = iq.find(NS_BIND, "bind")
        jid = bound and bound.find(NS_BIND, "jid")
        if iq.get("type") != "result" or iq.get("id") != "bind" or not jid:
            raise Refused("binding was refused", iq)
        self.jid = jid.text()

    async def login(self, until="bind"):
        """The whole way, or up to `until`: stream (a secured one), auth (and the next stream), bind."""
        await self.dial()
        await self.open_stream()
        if self.tls == "starttls":
            await self.start_tls()
        if until == "stream":
            return
        await self.authenticate()
        await self.open_stream()
        if until == "bind":
            await self.bind()

    # ---- stream management

    async def enable(self, attributes):
        self.sm = Managed()
        self.send("<enable xmlns='%s'%s/>" % (NS_SM, attributes))
        await self.expect(NS_SM, "enabled")

    async def resume(self):
        """A new stream up to <resumed/>; what the server has not got is sent again."""
        sm, jid, self.sm = self.sm, self.jid, None
        await self.login("auth")
        await self.expect(NS_STREAMS, "features")
        self.send("<resume xmlns='%s' previd=%s h='%d'/>" % (NS_SM, quoteattr(sm.id), sm.handled % 2 ** 32))
        self.sm, self.jid = sm, jid
        resumed = await self.expect(NS_SM, "resumed")
        if resumed.get("previd") != sm.id:
            raise Failure("resumed was another session: %s" % resumed)
        sm.take_h(int(resumed.get("h")))
        again, sm.sent = sm.sent, []
        for text in again:
            self.write(text)

    async def acknowledged(self):
        """Until the server has acknowledged all that was sent."""
        self.write("<r xmlns='%s'/>" % NS_SM)
        while self.sm.sent:
            if EOF in self.inbox:
                raise Failure("the connection ended before all was acknowledged")
            await self.wait_arrival("the server to acknowledge %d stanzas more" % len(self.sm.sent))

    # ---- the end

    async def close(self):
        """Closes the stream in good order and waits until the server has done so too; what arrives
        meanwhile stays in the inbox."""
        self.send("</stream:stream>")
        seen = 0
        while not self.is_over:
            for event in self.inbox[seen:]:
                seen += 1
                if event == CLOSE and self.transport:
                    self.transport.close()
            if self.is_over:
                break
            await self.wait_arrival("the end of the stream")
        self.inbox = [e for e in self.inbox if e not in (CLOSE, EOF)]

    def drop(self):
        """The network fails: no </stream:stream>, no TLS close."""
        self.wire = None
        if not self.is_over:
            self.is_over = True
            self.transport.abort()

    # ---- fences

    def fence(self, text, to):
        """Sends `to` something that is always answered; the future is done when an answer has come."""
        self.fence_count += 1
        ident = "fence-%d" % self.fence_count
        future = asyncio.get_running_loop().create_future()
        self.fences[ident] = future
        self.write(text % (ident, quoteattr(to)))
        return future


class SaslFailure(Failure):
    def __init__(self, element):
        super().__init__("SASL failure: %s" % element)
        self.element = element


async def fences(clients, accounts):
    """Returns when everything that was on its way between these clients and accounts has arrived.

    A stanza and a ping between the same two addresses keep their order (RFC 6120 section 10.1). What an
    account keeps for later nobody sees arrive, and a ping need not wait until it is on record: behind it goes
    a groupchat message, which no account takes (RFC 6121 section 8.5.2.1.1); a host keeps nothing. An answer may cause further
    stanzas (a subscription's push, an error), so there are two rounds."""
    for _ in range(2):
        waiting = []
        for c in clients:
            waiting += [c.fence(PING, to) for to in accounts]
            waiting += [c.fence(GROUPCHAT, to) for to in accounts if "@" in to]
            waiting += [c.fence(PING, other.jid) for other in clients if other is not c]
        await answers(waiting)


async def passed(client, accounts):
    """Returns when all that this client has sent, and that went on to the accounts, has been there."""
    await answers([client.fence(PING, to) for to in accounts])


async def answers(waiting):
    if not waiting:
        return
    done, pending = await asyncio.wait(waiting, timeout=TIMEOUT)
    if pending:
        raise Failure("%d of %d pings that serve as fences got no answer within %d s"
                      % (len(pending), len(waiting), TIMEOUT))
