"""A blocking connection that may send any bytes: the attacker's tool."""

import base64
import re
import socket
import ssl

HEADER = ("<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' to='%s'"
          " xmlns:stream='http://etherx.jabber.org/streams'>")
BIND = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>"


TIMEOUT = 60  # seconds


class Gone(Exception):
    """The server has ended the connection; .data is what it said last."""

    def __init__(self, data):
        super().__init__("the server ended the connection: %r" % data[-300:])
        self.data = data


class Peer:
    contexts = {}

    def __init__(self, server, host, tls=True):
        self.host = host
        self.socket = socket.create_connection(("127.0.0.1", server.tls_port if tls else server.port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            if server.ca not in self.contexts:
                self.contexts[server.ca] = ssl.create_default_context(cafile=server.ca)
            self.socket = self.contexts[server.ca].wrap_socket(self.socket, server_hostname=host)

    def send(self, data):
        """False: the server does not read on, because it has ended the connection."""
        try:
            self.socket.sendall(data.encode() if isinstance(data, str) else data)
            return True
        except OSError:
            return False

    def until(self, pattern):
        """What came, up to where the regular expression fits."""
        data = b""
        while not re.search(pattern, data):
            try:
                piece = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError):
                piece = b""
            if not piece:
                raise Gone(data)
            data += piece
        return data

    def drain(self):
        """What has come already; nobody waits for more."""
        data = b""
        self.socket.setblocking(False)
        try:
            while piece := self.socket.recv(65536):
                data += piece
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        self.socket.settimeout(TIMEOUT)
        return data

    def rest(self):
        """All that comes until the server ends the connection."""
        try:
            self.until(rb"(?!)")
        except Gone as e:
            return e.data

    def open(self):
        self.send(HEADER % self.host)
        return self.until(rb"</stream:features>")

    def login(self, user, password):
        self.open()
        self.send(AUTH % base64.b64encode(("\0%s\0%s" % (user, password)).encode()).decode())
        self.until(rb"<success")
        self.open()
        self.send(BIND)
        self.jid = re.search(rb"<jid>([^<]+)</jid>", self.until(rb"</iq>")).group(1).decode()
        return self

    def ping(self):
        """Returns when the server has handled all that was sent before."""
        self.send("<iq type='get' id='done' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>" % self.host)
        return self.until(rb"<iq[^>]* id='done'[^>]*>")

    def close(self):
        self.socket.close()
