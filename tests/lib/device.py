"""A device of somebody, as people carry it about: it keeps what it sends until the server has acknowledged it
(XEP-0198), resumes its session when its connection is lost, and where that cannot be, binds anew and catches up from
its archive (XEP-0313). It dials again by itself until it is told to stop.

Used by the crash test, against Muster and against others. What comes is told to `on_message(device, message,
stanza_id, how)`, where `how` is

    live      in the stream, as a stanza of its own
    carbon    a copy of what another device of the same account has sent or received (XEP-0280)
    archive   on a page of the archive

A message of its own has a key, which is its id. `acknowledged` are those that the server has acknowledged, or that
were found in the archive when a session was lost."""

import asyncio
import collections
from xml.sax.saxutils import quoteattr

from xmpp import (CLOSE, EOF, NS_CLIENT, NS_PING, NS_SASL, NS_STREAM_ERRORS, NS_STREAMS, Client, Element, Failure,
                  Refused, SaslFailure)

NS_SM = "urn:xmpp:sm:3"
NS_MAM = "urn:xmpp:mam:2"
NS_RSM = "http://jabber.org/protocol/rsm"
NS_SID = "urn:xmpp:sid:0"
NS_CARBONS = "urn:xmpp:carbons:2"
NS_FORWARD = "urn:xmpp:forward:0"
NS_DATA = "jabber:x:data"
NS_DISCO = "http://jabber.org/protocol/disco#info"

WINDOW = 40       # messages of ours that are not acknowledged
ASK_EVERY = 10    # <r/> behind so many
PAGE = 50
REDIAL = 0.05     # seconds
RETRY = 0.1       # seconds, when the archive cannot be read just now

ENABLE = "<enable xmlns='" + NS_SM + "' resume='true'/>"
QUERY = ("<iq type='set' id='%s'><query xmlns='" + NS_MAM + "' queryid='%s'><x xmlns='jabber:x:data' type='submit'>"
         "<field var='FORM_TYPE' type='hidden'><value>" + NS_MAM + "</value></field>%s</x>"
         "<set xmlns='" + NS_RSM + "'><max>%d</max>%s</set></query></iq>")
AFTER_ID = "<field var='after-id'><value>%s</value></field>"


class Lost(Exception):
    """The connection has ended."""


def is_for_now(failure):
    """Whether the server says: later."""
    if isinstance(failure, SaslFailure):
        return failure.element.find(NS_SASL, "temporary-auth-failure") is not None
    return isinstance(failure, Refused) and failure.is_for_now


class Device(Client):
    """`uses_archive`: else it has what comes live, or is kept for it, and no more. `archive_first`: it catches up
    before it becomes available, and once more behind that."""

    def __init__(self, *arguments, on_message, uses_archive=True, archive_first=False, **options):
        super().__init__(*arguments, **options)
        self.on_message = on_message
        self.uses_archive, self.archive_first = uses_archive, archive_first
        self.bare = "%s@%s" % (self.user, self.host)
        self.requests, self.request_count = {}, 0
        self.lost, self.progress = asyncio.Event(), asyncio.Event()
        self.left_open = []           # connections that we have forgotten without a word
        self.is_ending = self.is_logging_in = False
        self.must_resume = False      # it is a failure when a session is lost
        self.task = None
        self.failure = None
        self.stream_errors = collections.Counter()
        # The session: gone when it cannot be resumed.
        self.session = None           # its name, once resumable
        self.began = 0.0              # when
        self.is_counting = False      # what we send counts
        self.taken = None             # stanzas that have come since <enabled/>
        self.answered = 0             # how many of them we have acknowledged
        self.unacked = collections.deque()   # what we have sent: (key or None, text, `newest` then)
        self.confirmed = 0            # how many the server has acknowledged
        self.since_asked = 0
        self.fresh = []               # ids of messages that have come since our last <a/>
        self.answers = collections.deque()   # what it named: (stanzas of ours that were in front of it, ids)
        self.has_set_up = self.is_available = self.is_caught_up = False
        self.is_ready = False         # connected, and what was doubtful has been settled
        # For good.
        self.offers = set()           # what the account can
        self.outbox = collections.deque()    # (key, text): to be sent
        self.doubtful = []            # sent in a session that was lost: (key, text, `newest` then)
        self.denied = set()           # keys of those that h of <failed/> did not count
        self.found = set()            # keys of our own that the archive has
        self.acknowledged, self.refused = set(), {}
        self.newest = None            # id in the archive up to which nothing is missing
        self.newest_live = None
        self.acked_at = {}            # id of a message: when it was certain that the server knows that we have it
        self.sent_at = {}             # key of a message: when it was written
        self.round_trips = []         # (when one of ours was acknowledged, how long after it was written)
        self.counts = collections.Counter()

    # ---- life

    def start(self):
        self.is_ending = False
        self.task = asyncio.create_task(self.live())

    async def live(self):
        try:
            while not self.is_ending:
                try:
                    await self.come()
                    await self.lost.wait()
                except Lost:
                    pass
                self.is_ready = False
                await asyncio.sleep(REDIAL)
        except Failure as e:
            self.fail(e)
        except Exception as e:  # our own mistake must not look like silence
            self.fail(Failure("%s: %s %r" % (self.name, type(e).__name__, e)))
            raise

    @property
    def name(self):
        return "%s/%s" % (self.user, self.resource)

    def fail(self, failure):
        self.failure = self.failure or failure
        self.progress.set()

    async def come(self):
        """Until all is as before, or as good."""
        self.lost.clear()
        try:
            self.inbox.clear()
            self.is_logging_in = True
            await self.login("auth")
            self.is_logging_in = False
            features = await self.expect(NS_STREAMS, "features")
            if not await self.resume():
                await self.begin(features)
            await self.settle_in()
        except (Failure, Lost) as e:
            self.is_logging_in = False
            if self.is_over or self.lost.is_set() or is_for_now(e):
                self.cut()
                raise Lost from None
            raise
        self.is_ready = True
        self.pump()
        self.progress.set()

    async def resume(self):
        if not self.session:
            return False
        self.send("<resume xmlns='%s' h='%d' previd=%s/>" % (NS_SM, self.taken, quoteattr(self.session)))
        e = await self.next("an answer to <resume/>")
        if not isinstance(e, Element) or e.ns != NS_SM:
            raise Failure("%s: <resume/> was answered with %s" % (self.name, e))
        if e.name == "resumed":  # on_sm has done the rest
            self.counts["resumed"] += 1
            return True
        if e.name != "failed":
            raise Failure("%s: <resume/> was answered with %s" % (self.name, e))
        if self.must_resume:
            raise Failure("%s: a session was not resumed: %s" % (self.name, e))
        self.counts["not resumed"] += 1
        if e.get("h") is not None:
            self.counts["not resumed, with h"] += 1
            self.on_ack(max(int(e.get("h")), self.confirmed))  # what was on disk: IQs and presence are not
            self.denied.update(key for key, _, _ in self.unacked if key)
        return False

    async def begin(self, features):
        """A new session; what the old one has left unacknowledged is doubtful."""
        self.doubtful += [m for m in self.unacked if m[0]]
        self.unacked.clear()
        self.session = self.taken = self.newest_live = None
        self.confirmed = self.answered = self.since_asked = 0
        self.fresh, self.is_counting = [], False
        self.answers.clear()
        self.has_set_up = self.is_available = self.is_caught_up = False
        await self.bind(features)
        self.counts["bound"] += 1
        self.began = asyncio.get_running_loop().time()
        self.is_counting = True
        self.write(ENABLE)
        e = await self.expect(NS_SM, "enabled")
        self.session = e.get("id") if e.get("resume") in ("true", "1") else None

    async def settle_in(self):
        """All that a new session needs, or that an older connection of it has not come to."""
        if not self.has_set_up:
            await self.set_up()
            self.has_set_up = True
        if self.archive_first and not self.is_available:
            await self.catch_up()
        if not self.is_available:
            self.say("<presence/>")
            self.is_available, self.is_caught_up = True, False
        if self.uses_archive and not self.is_caught_up:
            await self.catch_up()
        self.settle_doubts()

    async def set_up(self):
        if not self.offers:
            for who in (self.host, self.bare):
                answer = await self.ask("<iq type='get' id='%%s' to=%s><query xmlns='%s'/></iq>"
                                        % (quoteattr(who), NS_DISCO))
                self.offers |= {f.get("var") for f in answer.find(NS_DISCO, "query").elements()}
        if NS_CARBONS in self.offers and self.uses_archive:
            await self.ask("<iq type='set' id='%%s'><enable xmlns='%s'/></iq>" % NS_CARBONS)

    def settle_doubts(self):
        """What was sent and not acknowledged, and has not been found in the archive, is sent again in front of all.
        Who has no archive gives it up."""
        again = []
        for key, text, _ in self.doubtful:
            if key in self.found:
                self.acknowledged.add(key)
                self.counts["denied and found"] += key in self.denied
                self.counts["found in the archive"] += 1
            elif self.uses_archive:
                again.append((key, text))
                self.counts["sent again"] += 1
            else:
                self.counts["given up"] += 1
        self.outbox.extendleft(reversed(again))
        self.doubtful, self.found, self.denied = [], set(), set()

    # ---- the connection ends

    def on_lost(self):
        super().on_lost()
        self.end_requests()

    def end_requests(self):
        self.is_ready = False
        for future in self.requests.values():
            if not future.done():
                future.set_exception(Lost())
                future.exception()  # it may be that nobody waits any more
        self.requests.clear()
        self.inbox.append(EOF)
        self.arrived.set()
        self.lost.set()
        self.progress.set()

    def cut(self, silently=False):
        """The network fails, but not during a login. Silently: the server is not told and still has the old
        connection."""
        if self.is_logging_in and not self.is_over:
            return
        if silently and self.transport and not self.is_over:
            self.wire, self.is_over = None, True
            self.transport.pause_reading()
            self.left_open.append(self.transport)
        else:
            self.drop()
        self.end_requests()

    async def stop(self):
        """It is gone; its session stays until the server gives it up."""
        self.is_ending = True
        await self.end_task()
        self.is_logging_in = False
        self.cut()

    async def end_task(self):
        for transport in self.left_open:
            transport.abort()
        self.left_open.clear()
        while self.task and not self.task.done():
            self.task.cancel()  # asyncio.wait_for() of Python 3.11 may swallow one
            await asyncio.wait([self.task], timeout=1)

    async def leave(self):
        """Ends its stream in good order."""
        self.is_ending = True
        if not self.is_over:
            if self.taken is not None:
                self.answer()
            await self.close()
        await self.end_task()

    # ---- what comes

    def on_element(self, e):
        if e.ns == NS_SM:
            self.on_sm(e)
        elif (e.ns, e.name) == (NS_STREAMS, "error"):
            for condition in e.elements():
                if condition.ns == NS_STREAM_ERRORS and condition.name != "text":
                    self.stream_errors[condition.name] += 1
            self.drop()
            self.end_requests()
        elif not self.is_counting or e.ns != NS_CLIENT:
            super().on_element(e)
        else:
            if self.taken is not None:
                self.taken += 1
            self.on_bound_stanza(e)

    def on_bound_stanza(self, e):
        try:
            if e.name == "iq":
                self.on_iq(e)
            elif e.name == "message":
                self.take(e)
        except Failure as failure:
            self.fail(failure)

    def put(self, event):
        """What ends the connection, and what a login waits for."""
        if event == CLOSE:
            self.drop()
            self.end_requests()
        super().put(event)

    def on_sm(self, e):
        if e.name == "r":
            self.answer()
        elif e.name == "a":
            self.on_ack(int(e.get("h")))
            self.pump()
        elif e.name == "enabled":
            self.taken = 0
            self.put(e)
        elif e.name == "resumed":
            self.on_ack(int(e.get("h")))
            self.answers.append((-1, self.fresh))
            self.fresh = []
            self.see_answers()
            self.since_asked = 0
            for _, text, _ in self.unacked:
                self.counts["sent again on resume"] += 1
                self.write(text)
            if self.unacked:
                self.request_ack()
            self.put(e)
        else:
            self.put(e)

    def on_ack(self, h):
        count = h - self.confirmed
        if not 0 <= count <= len(self.unacked):
            self.fail(Failure("%s: the server acknowledges %d of %d..%d"
                              % (self.name, h, self.confirmed, self.confirmed + len(self.unacked))))
            return
        now = asyncio.get_running_loop().time()
        for _ in range(count):
            key, _, _ = self.unacked.popleft()
            if key:
                self.acknowledged.add(key)
                self.round_trips.append((now, now - self.sent_at[key]))
        self.confirmed = h
        self.see_answers()
        self.progress.set()

    def see_answers(self):
        """The server has handled all in front of what it has acknowledged."""
        now = asyncio.get_running_loop().time()
        while self.answers and self.answers[0][0] < self.confirmed:
            self.acked_at.update((key, now) for key in self.answers.popleft()[1])

    def answer(self):
        self.answers.append((self.confirmed + len(self.unacked), self.fresh))
        self.fresh = []
        self.answered = self.taken
        self.write("<a xmlns='%s' h='%d'/>" % (NS_SM, self.taken))

    def on_iq(self, e):
        if e.get("type") in ("result", "error"):
            future = self.requests.pop(e.get("id"), None)
            if future and not future.done():
                future.set_result(e)
        elif e.get("type") == "get" and e.find(NS_PING, "ping"):
            to = " to=%s" % quoteattr(e.get("from")) if e.get("from") else ""
            self.say("<iq type='result' id=%s%s/>" % (quoteattr(e.get("id")), to))

    def stanza_id(self, message):
        for s in message.elements():
            if (s.ns, s.name, s.get("by")) == (NS_SID, "stanza-id", self.bare):
                return s.get("id")
        return None

    @staticmethod
    def forwarded(e):
        f = e.find(NS_FORWARD, "forwarded")
        return f.find(NS_CLIENT, "message") if f else None

    def take(self, e):
        for c in e.elements():
            if (c.ns, c.name) == (NS_MAM, "result"):
                self.take_result(c)
                return
            if c.ns == NS_CARBONS and c.name in ("sent", "received"):
                if (e.get("from") or self.bare) != self.bare:
                    raise Failure("%s: a carbon copy that is not its account's: %s" % (self.name, e))
                self.take_live(self.forwarded(c), "carbon", is_ours=c.name == "sent")
                return
        if e.get("type") == "error":
            self.refused[e.get("id")] = e
            self.counts["refused"] += 1
            self.progress.set()
            return
        self.take_live(e, "live")

    def take_live(self, message, how, is_ours=False):
        """`is_ours`: a copy of what another device of ours has sent. It may come before older messages that a replay has
        not got to yet, so it does not say that nothing is missing up to it."""
        stanza_id = self.stanza_id(message)
        if stanza_id and not is_ours:
            self.newest_live = stanza_id
            if self.is_caught_up:
                self.newest = stanza_id
        self.fresh.append(message.get("id"))
        self.counts[how] += 1
        self.on_message(self, message, stanza_id, how)
        self.acked_at.pop(message.get("id"), None)  # it has come again

    def take_result(self, result):
        message = self.forwarded(result)
        if (message.get("from") or "").partition("/")[0] == self.bare:
            self.found.add(message.get("id"))
        self.counts["archive"] += 1
        self.on_message(self, message, result.get("id"), "archive")

    # ---- what goes

    def say(self, text, key=None):
        """A stanza."""
        if self.is_counting:
            self.unacked.append((key, text, self.newest))
            self.sent_at[key] = asyncio.get_running_loop().time()
        self.write(text)
        self.since_asked += 1
        if self.since_asked >= ASK_EVERY:
            self.request_ack()

    def request_ack(self):
        self.since_asked = 0
        self.write("<r xmlns='%s'/>" % NS_SM)

    def post(self, key, text):
        """A message: it goes when there is room for it."""
        self.outbox.append((key, text))
        self.pump()

    def pump(self):
        if not self.is_ready:
            return
        while self.outbox and len(self.unacked) < WINDOW:
            key, text = self.outbox.popleft()
            self.say(text, key)
        if self.unacked and self.since_asked:
            self.request_ack()

    @property
    def is_settled(self):
        """Nothing of ours is on its way."""
        return self.is_ready and not self.outbox and not any(key for key, _, _ in self.unacked)

    async def ask(self, text):
        """An IQ with its id as the only %s; the answer."""
        self.request_count += 1
        ident = "ask-%s-%d" % (self.resource, self.request_count)
        self.requests[ident] = future = asyncio.get_running_loop().create_future()
        if self.is_over:
            self.requests.pop(ident)
            raise Lost
        self.say(text % ident)
        answer = await future
        if answer.get("type") == "error":
            raise Refused("a request was refused", answer)
        return answer

    # ---- the archive

    async def catch_up(self):
        """All pages behind what it has, and behind what it had when it sent what is doubtful now."""
        after = self.newest
        if self.doubtful:
            after = self.doubtful[0][2]
        last = await self.walk(after)
        # Live ones that have come meanwhile are newer than the last page, or on it. Before we are available they are only
        # copies of what others got: what nobody could get is between them.
        has_all = self.is_available and self.is_newer(self.newest_live, last)
        self.newest = self.newest_live if has_all else last or self.newest
        self.is_caught_up = self.is_available
        self.counts["caught up"] += 1

    @staticmethod
    def is_newer(live, last):
        """Muster's ids are numbers that grow; of others we only take the last page's."""
        return bool(live and (not last or live.isdigit() and last.isdigit() and int(live) > int(last)))

    async def walk(self, after):
        """The id of the last entry; None when there is none behind `after`."""
        field, last = "", None
        if NS_MAM + "#extended" in self.offers and after:
            field = AFTER_ID % after
        else:
            last = after
        while True:
            behind = "<after>%s</after>" % last if last else ""
            try:
                answer = await self.ask(QUERY % ("%s", "catch-up", field, PAGE, behind))
            except Refused as e:
                if not e.is_for_now:
                    raise
                self.counts["archive away"] += 1
                await asyncio.sleep(RETRY)
                continue
            fin = answer.find(NS_MAM, "fin")
            rsm = fin.find(NS_RSM, "set") if fin else None
            end = rsm.find(NS_RSM, "last") if rsm else None
            last = end.text() if end else last
            self.counts["pages"] += 1
            if not fin or fin.get("complete") in ("true", "1") or not end:
                return last
