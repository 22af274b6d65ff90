"""The attacks: each is a function with a sentence that says what must hold, and may return what else there is to say.

`memory` is how many MB the server may grow by meanwhile: the limits of one stream and its write queue, and what an
allocator keeps. `late` is how many ms neighbours whose messages go on record may have to wait more than usual: where
the database itself is gone, until the spool takes them."""

import base64
import re
import socket
import sqlite3
import statistics
import threading
import time

from peer import AUTH, BIND, HEADER, Gone

# The pace of a stream is lifted, and so is that of guesses at passwords: what is behind them must hold too.
LIMITS = {"login_time": "3s", "connections_per_address": 200, "stanzas_per_second": 1000000, "bytes_per_second": "1G",
          "failures_per_address": 100000, "failures_per_account": 100000}
STORE = {"timeout": "1s"}
MODULES = {"roster.items": 5000}
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
ALL = []


def attack(memory=8, late=None):
    def note(function):
        function.memory, function.late = memory, late
        ALL.append(function)
        return function
    return note


def refused(p, condition):
    """The stream ends with that error."""
    data = p.rest()
    assert re.search(rb"<stream:error><%s " % condition.encode(), data), "%s expected, got %r" % (condition, data[-300:])
    p.close()


# ---- XML


MESSAGE = "<message to='%s' id='m'><body>Wherefore art thou</body><x xmlns='urn:x' a='b'/></message>"


@attack()
def truncated_at_every_byte(w):
    """A stream that ends in the middle of its header, or of a stanza, ends alone."""
    header = HEADER % w.host
    for n in range(len(header)):
        p = w.peer(tls=False)
        p.send(header[:n])
        p.socket.shutdown(socket.SHUT_WR)
        p.rest()
        p.close()
    stanza = MESSAGE % ("bad@" + w.host)
    for n in range(0, len(stanza), 1 if w.is_whole else 7):
        p = w.login()
        p.send(stanza[:n])
        p.close()


@attack()
def malformed_at_every_byte(w):
    """A byte that is wrong, anywhere in a header or a stanza, gets an answer or the end, and nobody else notices."""
    header = HEADER % w.host
    for wrong in (b"<", b"\0", b"\xff", b"&"):
        for n in range(0, len(header), 1 if w.is_whole else 5):
            p = w.peer(tls=False)
            p.send(header[:n].encode() + wrong + header[n + 1:].encode())
            p.socket.shutdown(socket.SHUT_WR)
            p.rest()
            p.close()
    stanza = (MESSAGE % ("bad@" + w.host)).encode()
    for wrong in (b"<", b"\0", b"\xff", b"&"):
        for n in range(0, len(stanza), 1 if w.is_whole else 11):
            p = w.login()
            p.send(stanza[:n] + wrong + stanza[n + 1:] + b"</stream:stream>")
            p.rest()
            p.close()


FORBIDDEN = {
    "<!DOCTYPE x [<!ENTITY a 'b'>]>": "(?:restricted-xml|not-well-formed)",
    "<message><body>&lol;</body></message>": "(?:not-well-formed|restricted-xml)",
    "<!-- a comment -->": "restricted-xml",
    "<?php echo 1 ?>": "restricted-xml",
    "<message><![CDATA[<x>]]><q:y/></message>": "not-well-formed",
    "<message a='1' a='2'/>": "not-well-formed",
    "<message xmlns:a='u' xmlns:b='u' a:c='1' b:c='2'/>": "not-well-formed",
    "<message><body>\x01</body></message>": "not-well-formed",
    "<message><body>&#0;</body></message>": "not-well-formed",
    "<message><body>\uffff</body></message>": "not-well-formed",
    "<message><body></message>": "not-well-formed",
}


@attack()
def forbidden_xml(w):
    """DTDs, entities, comments, instructions, unbound prefixes, double attributes and forbidden characters end the stream."""
    for text, condition in FORBIDDEN.items():
        p = w.login()
        p.send(text)
        refused(p, condition)
    for bad in (b"<message><body>\xc0\xaf</body></message>", b"<message><body>\xed\xa0\x80</body></message>",
                b"<message><body>\xf8\x88\x80\x80\x80</body></message>"):
        p = w.login()
        p.send(bad)
        refused(p, "unsupported-encoding")


@attack()
def utf16(w):
    """A stream in another encoding is refused."""
    for encoding in ("utf-16", "utf-16-be", "utf-16-le", "utf-32"):
        p = w.peer(tls=False)
        p.send((HEADER % w.host).encode(encoding))
        p.socket.shutdown(socket.SHUT_WR)
        data = p.rest()
        assert b"<stream:error>" in data and b"<stream:features" not in data, data
        p.close()


@attack()
def deep_nesting(w):
    """Ten thousand elements inside each other are refused long before."""
    p = w.login()
    p.send("<message>" + "<a>" * 10000)
    refused(p, "policy-violation")


@attack()
def huge_attribute(w):
    """An attribute of a megabyte."""
    p = w.login()
    p.send("<message><x a='" + "y" * (1 << 20) + "'/></message>")
    refused(p, "policy-violation")


@attack()
def many_attributes(w):
    """Ten thousand attributes of one element."""
    p = w.login()
    p.send("<message><x " + " ".join("a%d='1'" % i for i in range(10000)) + "/></message>")
    refused(p, "policy-violation")


@attack()
def many_children(w):
    """A hundred thousand children of one element."""
    p = w.login()
    p.send("<message>" + "<a/>" * 100000 + "</message>")
    refused(p, "policy-violation")


@attack()
def endless_token(w):
    """A tag that never ends."""
    for text in ("<message " + "x" * 70000, "<" + "m" * (1 << 20), "<message a='" + "&amp;" * 200000):
        p = w.login()
        p.send(text)
        refused(p, "policy-violation")


@attack()
def endless_whitespace(w):
    """Whitespace between stanzas is a keepalive, however much of it: it costs nothing."""
    p = w.login()
    for _ in range(200 if w.is_long else 50):
        p.send(" " * 100000)
    p.ping()
    p.close()


@attack(memory=12)
def endless_distinct_names(w):
    """Names that were never seen before, for as long as the stream lives: nothing remembers them all."""
    p = w.login()
    for i in range(500 if w.is_long else 100):
        p.send("".join("<message to='%s' type='headline'><n%dx%d xmlns='urn:%d:%d' a%d='1'/></message>"
                       % (w.host, i, j, i, j, j) for j in range(200)))
        if i % 20 == 0:
            p.ping()
    p.ping()
    p.close()


@attack()
def stanza_at_the_limit(w):
    """A stanza as big as it may be is delivered, one that is bigger ends the stream."""
    p = w.login()
    p.send("<presence/>")
    limit, start = 262144, "<message to='%s' type='chat' id='big'><body>" % p.jid
    end = "</body></message>"
    p.send(start + "x" * (limit - len(start) - len(end)) + end)
    p.until(rb"id='big'[^>]*>(?:.|\n)*x</body></message>")
    p.send(start + "x" * (limit + 1 - len(start) - len(end)) + end)
    refused(p, "policy-violation")


# ---- before login


@attack()
def commands_behind_starttls(w):
    """What is sent in the clear behind <starttls/> ends the connection and gets no answer, however it is cut."""
    injected = HEADER % w.host + AUTH % base64.b64encode(("\0bad\0" + w.password).encode()).decode()
    starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    for gap in (0, 1, 1000, 65536 - len(starttls)):  # the last: it comes in the next read of the same turn
        for behind in (injected, " ", "<", "\0"):
            p = w.peer(tls=False)
            p.open()
            p.send(" " * gap + starttls + behind)
            data = p.rest()
            assert b"<stream:" not in data and b"<success" not in data, data
            p.close()


@attack()
def stanzas_before_login(w):
    """Whoever has not authenticated gets nothing but the refusal."""
    for stanza in ("<message to='bad@%s'><body>x</body></message>" % w.host, "<presence/>", BIND,
                   "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>"):
        p = w.peer()
        p.open()
        p.send(stanza)
        refused(p, "not-authorized")


@attack()
def wrong_namespaces(w):
    """A stream of another kind, and stanzas of another namespace."""
    for old, new, condition in (("jabber:client", "jabber:server", "invalid-namespace"),
                                ("http://etherx.jabber.org/streams", "http://example.org/streams", "invalid-namespace"),
                                ("jabber:client", "urn:else", "invalid-namespace")):
        p = w.peer(tls=False)
        p.send((HEADER % w.host).replace(old, new))
        refused(p, condition)
    p = w.login()
    p.send("<message xmlns='urn:else' to='good-romeo@%s'><body>x</body></message>" % w.host)
    refused(p, "unsupported-stanza-type")


@attack()
def forged_from(w):
    """A stanza in somebody else's name arrives in that of the session it came from."""
    victim = w.login("worse")
    victim.send("<presence/>")
    victim.ping()
    p = w.login()
    for name in ("good-romeo@" + w.host, w.host, "bad@elsewhere.example", "bad@%s/other" % w.host, "@@"):
        p.send("<message from='%s' to='worse@%s'><body>forged</body></message>" % (name, w.host))
    heard = victim.until(rb"(?s)(?:>forged<.*){5}")
    assert heard.count(b"<message from='%s'" % p.jid.encode()) == 5, heard
    p.close()
    victim.close()


BROKEN_SASL = [
    AUTH % "", AUTH % "=", AUTH % "!!!!", AUTH % "AAAA" * 2, AUTH % base64.b64encode(b"\0").decode(),
    AUTH % base64.b64encode(b"\0\0").decode(), AUTH % base64.b64encode(b"a\0b\0c\0d").decode(),
    AUTH % base64.b64encode(b"\0bad").decode(), AUTH % base64.b64encode(b"\0\xff\xfe\0x").decode(),
    AUTH % base64.b64encode(b"\0" + b"x" * 2000 + b"\0y").decode(), AUTH % base64.b64encode(b"\0bad\0" + b"y" * 5000).decode(),
    "<auth xmlns='%s'/>" % SASL, "<auth xmlns='%s' mechanism='X-NONE'>AA==</auth>" % SASL,
    "<auth xmlns='%s' mechanism='%s'/>" % (SASL, "S" * 3000),
    "<auth xmlns='%s' mechanism='DIGEST-MD5'/>" % SASL,
    "<response xmlns='%s'>AA==</response>" % SASL, "<abort xmlns='%s'/>" % SASL, "<success xmlns='%s'/>" % SASL,
    "<auth xmlns='%s' mechanism='SCRAM-SHA-1'>%s</auth>" % (SASL, base64.b64encode(b"n,,n=bad,r=").decode()),
    "<auth xmlns='%s' mechanism='SCRAM-SHA-1'>%s</auth>" % (SASL, base64.b64encode(b"n,a=other,n=bad,r=x").decode()),
    "<auth xmlns='%s' mechanism='SCRAM-SHA-1'>%s</auth>" % (SASL, base64.b64encode(b"n,,m=ext,n=bad,r=x").decode()),
    "<auth xmlns='%s' mechanism='SCRAM-SHA-1'>%s</auth>" % (SASL, base64.b64encode(b"n,,n=b=2Xad,r=x").decode()),
    "<auth xmlns='%s' mechanism='SCRAM-SHA-256'>%s</auth>" % (SASL, base64.b64encode(b"y" * 4000).decode()),
    "<auth xmlns='%s' mechanism='PLAIN'><x/>AA==</auth>" % SASL,
]


@attack()
def broken_sasl(w):
    """Every broken authentication is refused, and none of them succeeds."""
    for text in BROKEN_SASL:
        p = w.peer()
        p.open()
        p.send(text + "</stream:stream>")
        data = p.rest()
        assert b"<failure" in data or b"<stream:error>" in data or b"<challenge" in data, "%r: %r" % (text, data)
        assert b"<success" not in data, "%r: %r" % (text, data)
        p.close()


@attack()
def oversized_base64(w):
    """Credentials of a megabyte end the stream at the limit for what comes before login."""
    p = w.peer()
    p.open()
    p.send(AUTH % ("QUFB" * 262144))
    refused(p, "policy-violation")


def answer_to(w, auth, final=None):
    """What is said to credentials, and how long that takes. Nonce and salt, which are nobody else's, are left out."""
    p = w.peer()
    p.open()
    begun = time.monotonic()
    p.send(auth)
    data = p.until(rb"</failure>|</challenge>")
    seconds = time.monotonic() - begun
    if final:
        first = base64.b64decode(re.search(rb"<challenge[^>]*>([^<]*)", data).group(1)).decode()
        nonce, salt, count = first.split(",")
        p.send(final(nonce))
        data = ("%d %d %s " % (len(nonce), len(salt), count)).encode() + p.until(rb"</failure>")
    p.close()
    return data, seconds


def scram_final(nonce):
    text = "c=biws,%s,p=%s" % (nonce, base64.b64encode(b"p" * 20).decode())
    return "<response xmlns='%s'>%s</response>" % (SASL, base64.b64encode(text.encode()).decode())


@attack()
def unknown_accounts_and_wrong_passwords(w):
    """Who guesses is not told whether there is such an account: neither by the words nor by the time."""
    names = ("bad", "bud")  # the second is nobody's
    scram = "<auth xmlns='%s' mechanism='SCRAM-SHA-1'>%s</auth>"
    said = [answer_to(w, scram % (SASL, base64.b64encode(b"n,,n=%s,r=rOprNGfwEbeRWgbN" % n.encode()).decode()),
                      scram_final)[0] for n in names]
    assert said[0] == said[1] and b"<not-authorized" in said[0], said
    plain = [AUTH % base64.b64encode(("\0%s\0wrong" % n).encode()).decode() for n in names]
    for is_last in (False, False, True):  # somebody else may be busy
        answers = [[answer_to(w, p) for p in plain] for _ in range(15)]  # in turns, so that both meet the same machine
        assert all(one[0] == other[0] and b"<not-authorized" in one[0] for one, other in answers), answers
        known, unknown = (statistics.median(pair[i][1] for pair in answers) for i in (0, 1))
        if known / 3 < unknown < known * 3:
            return "a wrong password takes %.1f ms, an unknown account %.1f ms" % (known * 1000, unknown * 1000)
        assert not is_last, "%.2f ms and %.2f ms" % (known * 1000, unknown * 1000)
    return None


@attack(memory=16)
def slowloris(w):
    """A hundred connections that send a byte now and then are closed when their time to log in is over."""
    peers = [w.peer(tls=False) for _ in range(100)]
    header = HEADER % w.host
    for n in range(0, 60):
        if not any([p.send(header[n]) for p in peers]):
            break
        threading.Event().wait(0.1)
    for p in peers:
        assert b"policy-violation" in p.rest() or n < 59
        p.close()


@attack(memory=40)
def a_thousand_connections(w):
    """Beyond limits.connections_per_address (200 here) connections from one address are closed at once."""
    served, closed, sockets = 0, 0, []
    for _ in range(1000):
        try:
            s = socket.create_connection(("127.0.0.1", w.server.port), 60)
            sockets.append(s)
        except OSError:
            closed += 1
    for s in sockets:
        try:
            s.settimeout(60)
            s.sendall((HEADER % w.host).encode())
            served += b"<stream:features>" in s.recv(4096)
        except OSError:
            pass
    for s in sockets:
        s.close()
    assert 150 <= served <= 200 * w.server.reactors, "%d were served" % served
    p = w.peer(tls=False)  # and when they have gone there is room again
    for _ in range(100):
        try:
            p.open()
            break
        except Gone:
            threading.Event().wait(0.05)
            p = w.peer(tls=False)
    p.close()


# ---- after login


@attack()
def half_closed(w):
    """Clients that close their side still get the end of the stream, and their sessions end."""
    peers = [w.login() for _ in range(15)]
    for p in peers:
        p.socket.shutdown(socket.SHUT_WR)
    for p in peers:
        p.rest()


@attack(memory=60)
def a_reader_that_does_not_read(w):
    """A client that never reads while others send it 50 MB costs its write queue and no more."""
    deaf = w.login("worse")
    deaf.send("<presence/>")
    talker = w.login()
    body = "x" * 50000
    for i in range(1000):
        talker.send("<message type='chat' to='%s' id='d%d'><body>%s</body></message>" % (deaf.jid, i, body))
    talker.ping()
    talker.close()
    deaf.close()


UNRECORDED_FLOOD = "<message type='headline' to='worse@%s/nobody'><body>%d</body></message>"
RECORDED_FLOOD = "<message type='chat' to='worse@%s'><body>%d</body></message>"


def flood(w, count, stanza):
    """So many of one client, as fast as the server takes them; returns when all have been handled."""
    p = w.login()
    piece = "".join(stanza % (w.host, i) for i in range(1000))
    for _ in range(count // 1000):
        assert p.send(piece), "the stream was closed"
        p.drain()  # with several reactors an address may be told more than it can take, which is said
    p.ping()
    p.close()


@attack(memory=24)
def a_flood_of_stanzas(w):
    """A hundred thousand stanzas as fast as the server takes them: all are handled, in order, and the others wait little."""
    flood(w, 100000 if w.is_whole else 30000, UNRECORDED_FLOOD)


@attack(memory=24)
def a_flood_of_messages_on_record(w):
    """The same with messages that go on record: the flooder waits for the disk, nobody else does for him."""
    flood(w, 20000 if w.is_whole else 5000, RECORDED_FLOOD)


@attack(memory=24)
def twenty_thousand_contacts(w):
    """A contact list has its bound (5,000 here); what is beyond it is refused, and the list is still there."""
    p = w.login()
    refusals = 0
    for i in range(20000 if w.is_whole else 6000):
        p.send("<iq type='set' id='r%d'><query xmlns='jabber:iq:roster'><item jid='c%d@elsewhere.example'/></query></iq>" % (i, i))
        if i % 100 == 99:
            refusals += p.ping().count(b"type='error'")
    assert refusals >= 1000, "%d were refused" % refusals
    p.send("<iq type='get' id='done2'><query xmlns='jabber:iq:roster'/></iq>")
    items = p.until(rb"id='done2'(?:.|\n)*</iq>").count(b"<item ")
    assert items == 5000, "%d items" % items
    p.close()


@attack()
def a_huge_vcard(w):
    """A profile of 10 MB ends the stream at the limit of a stanza."""
    p = w.login()
    p.send("<iq type='set' id='v'><vCard xmlns='vcard-temp'><PHOTO><BINVAL>" + "QUFB" * (10 << 18))
    refused(p, "policy-violation")


@attack()
def to_another_host(w):
    """Stanzas for domains that are not served, for nobody and for nonsense are answered with errors, and only that."""
    p = w.login()
    for to, kind in (("x@elsewhere.example", "remote-server-not-found"), ("nobody@" + w.host, "service-unavailable"),
                     ("@@", "jid-malformed"), ("a" * 1500 + "@" + w.host, "jid-malformed")):
        p.send("<iq type='get' id='t' to='%s'><ping xmlns='urn:xmpp:ping'/></iq>" % to)
        assert kind.encode() in p.until(rb"</iq>"), to
    p.close()


@attack()
def sessions_that_bind_and_leave(w):
    """Two hundred logins of one account one after the other, each with presence, none with a good-bye."""
    for _ in range(200 if w.is_long else 60):
        p = w.login()
        p.send("<presence/>")
        p.close()


# ---- who is killed


class Held:
    """SQLite: another process holds the file."""

    def __init__(self, w):
        self.path = w.server.store["path"]

    def take(self):
        self.db = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        self.db.execute("begin exclusive")

    def give(self):
        self.db.execute("rollback")
        self.db.close()


class Killed:
    """PostgreSQL: all its processes get SIGKILL; it is started again."""

    def __init__(self, w):
        self.postgresql = w.postgresql

    def take(self):
        self.postgresql.kill()

    def give(self):
        self.postgresql.start()


def wait_until(is_so, what, seconds=60):
    give_up = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up, "%s: not within %d s" % (what, seconds)
        time.sleep(0.05)


@attack(memory=24, late=20000)
def the_database_is_killed(w):
    """Without its database the server delivers what needs none as ever, and the rest by way of its spool, which it
    empties when the database is back."""
    def store():
        return w.server.status()["store"]

    way, p = (Killed if w.postgresql else Held)(w), w.login()
    spooled = 0
    way.take()
    try:
        wait_until(lambda: store()["spool_bytes"] > 20000, "the neighbours' messages are in the spool")
        p.send("<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='x@elsewhere.example'/></query></iq>")
        assert b"type='wait'" in p.until(rb"<iq[^>]* id='r'(?:.|\n)*</iq>"), "a change was taken"
        assert b"<temporary-auth-failure" in answer_to(w, AUTH % "AGJhZAB4")[0], "a password could be looked at"
        spooled = store()["spool_bytes"]
    finally:
        way.give()
    p.close()
    begun = time.monotonic()
    wait_until(lambda: not store()["away"] and store()["spool_bytes"] == 0, "the spool is empty")
    return "%d KB in the spool, emptied in %.1f s" % (spooled // 1024, time.monotonic() - begun)


@attack(memory=24)
def the_server_is_killed(w):
    """After a SIGKILL in the middle of a flood the neighbours are back within seconds, nothing on record is lost to
    them, and the new process is as small as the first."""
    p = w.login()
    p.send("".join("<message type='chat' to='worse@%s'><body>%d</body></message>" % (w.host, i) for i in range(5000)))
    w.ask("dying")
    w.server.kill()
    p.close()
    w.server.start()
    back = w.ask("back")
    bodies = w.server.query("select stanza from record where stanza like '%<body>Good night %'")
    on_record = {int(re.search(r"<body>Good night (\d+)</body>", row[0]).group(1)) for row in bodies}
    wait_until(lambda: on_record <= set(w.ask("received")["numbers"]), "all that is on record is received")
    grown = (w.rss() - w.rss_at_start) / 1048576
    assert grown < 24 or w.is_instrumented, "after the restart it has %.1f MB more than after the first start" % grown
    return "back in %.1f s, %d messages on record, memory %+.1f MB to the first start" % (
        max(back["recorded"], back["unrecorded"]), len(on_record), grown)
