"""A scene: a script of who sends what and who receives what, played against a running server.

tests/scene/README describes the language. A script is parsed into steps once; play() makes accounts with
unique names, so that many scenes can play on one server at the same time. In the script `juliet` is
always juliet@verona.example; the names are exchanged on the way out and on the way in.
"""

import asyncio
import codecs
import itertools
import os
import re
import shlex

import match
import server
import xmpp
from match import BadScript
from xmpp import CLOSE, EOF, Client, Element, Failure

HOSTS = ["verona.example", "mantua.example"]
QUIET_HOSTS = ["mantua.example"]   # keep no record
LATER_HOSTS = ["padua.example"]    # have a certificate, but are not served unless a scene adds them
TAGS = itertools.count(1)
CLIENT_OPTIONS = {"tls", "mechanism", "binding", "password", "account", "lang"}


class Step:
    def __init__(self, line, text):
        self.line, self.text = line, text
        self.block_lines = []

    @property
    def block(self):
        return "\n".join(self.block_lines)


class Scene:
    """A parsed script. `clients` is name -> (local, host, resource, options)."""

    def __init__(self, path, text):
        self.path, self.text, self.name = path, text, os.path.basename(path).removesuffix(".scene")
        self.title, self.clients, self.steps = "", {}, []
        self.engine, self.own_server, self.not_prosody = None, False, None
        self.limits, self.store, self.modules, self.node = {}, {}, {}, {}
        self.tags = set()
        for number, line in enumerate(text.splitlines(), 1):
            self.parse_line(number, line.rstrip())
        if not self.title:
            raise BadScript("%s has no title" % path)

    def parse_line(self, number, line):
        if line.startswith("# tags:"):
            self.tags.update(line.partition(":")[2].split())
        if not line.strip() or line.startswith("#"):
            return
        if line[0] in " \t":
            if not self.steps or not self.steps[-1].text.endswith(":"):
                raise BadScript("%s:%d: an indented line belongs to a step that ends with a colon"
                                % (self.path, number))
            self.steps[-1].block_lines.append(line.strip())
            return
        key, _, value = line.partition(" ")
        if key == "title:":
            self.title = value
        elif key == "client":
            self.parse_client(number, value.split())
        elif key == "needs:":
            self.parse_need(number, value.strip())
        elif line.startswith("not on prosody:"):
            self.not_prosody = line.partition(":")[2].strip()
        else:
            self.steps.append(Step(number, line))

    def parse_client(self, number, words):
        name, (bare, _, resource) = words[0], words[1].partition("/")
        options = dict(w.split("=", 1) for w in words[2:])
        local, _, host = bare.partition("@")
        if host not in HOSTS + LATER_HOSTS or set(options) - CLIENT_OPTIONS:
            raise BadScript("%s:%d: a client is NAME LOCAL@HOST[/RESOURCE] [%s]=..., HOST one of %s"
                            % (self.path, number, "|".join(sorted(CLIENT_OPTIONS)), ", ".join(HOSTS + LATER_HOSTS)))
        self.clients[name] = (local, host, resource or None, options)

    def parse_need(self, number, need):
        self.own_server = self.own_server or not need.startswith("engine")
        section, dot, rest = need.partition(".")
        key, equals, value = (rest if dot else need).partition("=")
        if need == "own server":
            pass
        elif key == "engine" and equals:
            self.engine = value
        elif dot and equals and section in ("limits", "store", "modules", "node"):
            getattr(self, section)[key] = value
        else:
            raise BadScript("%s:%d: unknown need '%s'" % (self.path, number, need))

    def is_administered(self):
        return self.own_server or any(re.match("admin |database |server (is|st|re)", s.text) for s in self.steps)

    def why_not(self, engine):
        """Why it is not played there, or None."""
        if engine == "prosody":
            if self.not_prosody is not None or self.engine:
                return self.not_prosody or "it needs " + self.engine
            return "it needs musterctl or a server of its own" if self.is_administered() else None
        return "it needs " + self.engine if self.engine and self.engine != engine else None


class Failed(Exception):
    """A step failed; the text says all there is to say."""


class Player:
    """One performance of a scene."""

    def __init__(self, scene, host_server):
        self.scene, self.server = scene, host_server
        self.tag = "-s%dx%d" % (next(TAGS), os.getpid())
        self.variables, self.transcript = {}, []
        self.accounts = {(local, host): options for local, host, _, options in scene.clients.values()
                         if options.get("account") != "none"}
        locals_ = sorted({c[0] for c in scene.clients.values()}, key=len, reverse=True)
        self.name_pattern = re.compile(r"(?i)(?<![\w.-])(%s)@" % "|".join(map(re.escape, locals_)))
        self.log_start = 0
        self.let_commit = None  # ends what step_hold has begun
        self.clients = {}
        for name, (local, host, resource, options) in scene.clients.items():
            self.clients[name] = self.new_client(name, local, host, resource, options)

    # ---- names

    def to_server(self, text):
        return self.name_pattern.sub(lambda m: m.group(1) + self.tag + "@", text)

    def from_server(self, text):
        return text.replace(self.tag + "@", "@")

    def new_client(self, name, local, host, resource, options):
        password = options.get("password", "the secret of " + local)
        tls = options.get("tls", "starttls")
        c = Client(host, local + self.tag, password, ca=self.server.ca, port=self.server.port,
                   tls_port=self.server.tls_port, resource=resource, tls=tls,
                   mechanism=options.get("mechanism"), binding=options.get("binding", "tls-exporter"))
        c.lang = options.get("lang")
        c.name, c.bare = name, "%s@%s" % (c.user, host)
        c.change = self.from_server
        c.tolerated = []  # templates of what may come at any time
        c.note = lambda direction, what: self.transcript.append("%s %s %s" % (name, direction, what))
        self.variables[name + ".user"] = c.user
        self.variables[name + ".password"] = password
        return c

    # ---- playing

    async def play(self):
        step = None
        self.log_start = len(self.server.log())
        try:
            await self.make_accounts()
            for step in self.scene.steps:
                await self.run(step)
            step = Step("end", "nobody receives anything else")
            await self.nothing(self.bound())
            await self.leave()
        except Exception as e:  # also what a wrong answer does to our own code
            raise Failed(self.report(step, e)) from e
        finally:
            for c in self.clients.values():
                c.drop()
            if self.let_commit:
                self.let_commit()

    async def make_accounts(self):
        for local, host in self.accounts:
            await asyncio.to_thread(self.server.add_account, local + self.tag, host, "the secret of " + local)

    async def run(self, step):
        for c in self.clients.values():
            if c.sm:
                self.variables[c.name + ".h"] = str(c.sm.handled)
                self.variables[c.name + ".sent"] = str(c.sm.acknowledged + len(c.sm.sent))
                self.variables[c.name + ".previd"] = c.sm.id or ""
        for pattern, method in STEPS:
            m = pattern.fullmatch(step.text)
            if m:
                await method(self, step, *m.groups())
                return
        raise BadScript("no such step")

    async def leave(self):
        for c in self.bound():
            await c.close()

    def report(self, step, error):
        lines = ["%s:%s: %s" % (self.scene.path, step.line if step else "accounts", step.text if step else "")]
        lines += ["  %s: %s" % (type(error).__name__.lower(), line) for line in str(error).splitlines()]
        lines += ["  what was said last:"] + ["    " + t[:1000] for t in self.transcript[-12:]]
        log = [x for x in self.server.log(self.log_start).splitlines() if self.tag in x]
        lines += ["  the server's log about this scene:"] + ["    " + x[:300] for x in log[-8:]]
        if not self.server.is_running():
            lines += ["  THE SERVER IS NOT RUNNING; its log ends:"]
            lines += ["    " + x[:300] for x in self.server.log().splitlines()[-30:]]
        return "\n".join(lines)

    def named(self, names):
        """The clients of 'juliet', 'juliet and romeo', 'juliet, romeo and nurse'."""
        found = re.split(r", | and ", names)
        for n in found:
            if n not in self.clients:
                raise BadScript("there is no client '%s'" % n)
        return [self.clients[n] for n in found]

    def bound(self):
        return [c for c in self.clients.values() if c.jid and not c.is_over]

    def bare_jids(self):
        return sorted({c.bare for c in self.clients.values()})

    def templates(self, step):
        if not step.block:
            raise BadScript("a block of XML must follow")
        return xmpp.parse_elements(step.block)

    # ---- steps: coming and going

    async def step_connect(self, step, names):
        for c in self.named(names):
            said = len(self.transcript)
            await c.login()
            self.variables[c.name + ".jid"] = self.from_server(c.jid)
            self.transcript[said:] = ["%s is logged in as %s" % (c.name, self.variables[c.name + ".jid"])]

    async def step_part_way(self, step, names, until):
        for c in self.named(names):
            await c.login({"the first features": "stream", "login": "auth"}[until])

    async def step_dial(self, step, name):
        await self.named(name)[0].dial()

    async def step_open_stream(self, step, name, attributes):
        c = self.named(name)[0]
        given = dict(re.findall(r"([\w:.-]+)='([^']*)'", attributes or ""))
        await c.open_stream({k: self.outgoing(v) for k, v in given.items()})

    async def step_header(self, step, name, attributes):
        header = self.named(name)[0].header
        for key, template in re.findall(r"([\w:.-]+)='([^']*)'", attributes):
            value = header.get(key)
            if value is None or match.match_string(template, value, self.variables, {}) is None:
                raise Failure("the server's stream header has %s=%r" % (key, value))

    async def step_no_header(self, step, name, key):
        value = self.named(name)[0].header.get(key)
        if value is not None:
            raise Failure("the server's stream header has %s=%r" % (key, value))

    async def step_start_tls(self, step, name):
        await self.named(name)[0].start_tls()

    async def step_secure(self, step, name):
        await self.named(name)[0].secure()

    async def step_authenticate(self, step, name):
        c = self.named(name)[0]
        await c.authenticate()
        await c.open_stream()

    async def step_bind(self, step, name):
        c = self.named(name)[0]
        await c.bind()
        self.variables[c.name + ".jid"] = self.from_server(c.jid)

    async def step_bound(self, step, name):
        """The script has bound the resource by itself: {NAME.jid} was captured."""
        c = self.named(name)[0]
        c.jid = self.to_server(self.variables[c.name + ".jid"])

    async def step_cannot_login(self, step, name):
        """Up to the <failure/>; the stream stays open for another try."""
        c = self.named(name)[0]
        template = self.templates(step)[0]
        try:
            if c.is_over:
                await c.login("auth")
            else:
                await c.authenticate()
        except xmpp.SaslFailure as e:
            if match.match(template, e.element, self.variables) is None:
                raise Failure("expected %s\ngot      %s" % (template, e.element)) from e
            return
        raise Failure("the login succeeded")

    async def step_available(self, step, names):
        """Initial presence, one after the other; the server reflects it to the resource itself (RFC 6121 section
        4.2.2). The next one waits until it has been everywhere: else, with several reactors, the probe of the first
        may find the second there already, who is then seen twice."""
        for c in self.named(names):
            c.send("<presence/>")
            own = self.from_server(c.jid)
            is_own = lambda e: isinstance(e, Element) and e.name == "presence" and e.get("from") == own
            while not any(is_own(e) for e in c.inbox):
                if EOF in c.inbox:
                    raise Failure("the connection of %s ended" % c.name)
                await c.wait_arrival("the presence of %s to itself" % own)
            c.inbox.remove(next(e for e in c.inbox if is_own(e)))
            await xmpp.passed(c, self.bare_jids())

    async def step_disconnect(self, step, names):
        for c in self.named(names):
            await c.close()
            self.check_empty(c)

    async def step_drop(self, step, names):
        for c in self.named(names):
            self.check_empty(c)
            c.drop()
            c.inbox.clear()

    # ---- steps: stream management

    async def step_enable(self, step, name, attributes):
        await self.named(name)[0].enable(" " + attributes if attributes else " resume='true'")

    async def step_count(self, step, name):
        """The script has sent <enable/> and received <enabled/> by itself, or says all of it by hand."""
        c = self.named(name)[0]
        c.sm = xmpp.Managed()
        c.sm.by_hand = True

    async def step_resume(self, step, name):
        await self.named(name)[0].resume()

    async def step_resumed(self, step, name):
        """The script has resumed the session by itself."""
        c = self.named(name)[0]
        c.jid = self.to_server(self.variables[name + ".jid"])

    async def step_silent(self, step, name):
        self.named(name)[0].sm.answers = False

    async def step_acknowledge(self, step, name):
        sm = self.named(name)[0].sm
        sm.answers = True
        self.named(name)[0].write("<a xmlns='%s' h='%d'/>" % (xmpp.NS_SM, sm.handled % 2 ** 32))

    async def step_acknowledged(self, step, name):
        await self.named(name)[0].acknowledged()

    async def step_friends(self, step, one, other):
        a, b = self.named(one)[0], self.named(other)[0]
        await self.make_contacts(a, b, True)

    async def step_follows(self, step, one, other):
        a, b = self.named(one)[0], self.named(other)[0]
        await self.make_contacts(a, b, False)

    async def make_contacts(self, one, other, is_mutual):
        """Subscriptions, made by resources of their own before the scene begins."""
        a, b = (self.new_client(c.name, c.bare.partition("@")[0].removesuffix(self.tag), c.host, "set-up", {})
                for c in (one, other))
        try:
            for c in (a, b):
                await c.login()
                c.send("<presence/>")
            await xmpp.fences([a, b], [])
            for asks, grants in ((a, b), (b, a))[: 2 if is_mutual else 1]:
                asks.send("<presence type='subscribe' to='%s'/>" % grants.bare)
                await xmpp.fences([a, b], [])
                grants.send("<presence type='subscribed' to='%s'/>" % asks.bare)
                await xmpp.fences([a, b], [])
            for c in (a, b):
                c.send("<presence type='unavailable'/>")
            await xmpp.fences([a, b], [a.bare, b.bare])
            for c in (a, b):
                await c.close()
        finally:
            a.drop()
            b.drop()

    # ---- steps: sending and receiving

    def outgoing(self, text):
        return self.to_server(match.expand(text, self.variables))

    async def step_send(self, step, name):
        self.templates(step)  # a script with a slip says so
        self.named(name)[0].send(self.outgoing(step.block))

    async def step_send_raw(self, step, name, text):
        raw = codecs.decode(self.outgoing(text or "".join(step.block_lines)), "unicode_escape")
        c = self.named(name)[0]
        if c.parser is None:
            c.new_parser()
        c.note(">", raw[:300])
        c.write(raw.encode("latin-1"))

    async def step_send_utf8(self, step, name):
        """For text beyond ASCII that `sends raw` would read as escapes."""
        c = self.named(name)[0]
        c.send(self.outgoing(step.block))

    def take(self, templates, got):
        """The first of the templates that the element agrees with is done."""
        for t in templates:
            captures = match.match(t, got, self.variables)
            if captures is not None:
                self.variables.update(captures)
                templates.remove(t)
                return True
        return False

    def is_tolerated(self, c, got):
        return any(match.match(t, got, self.variables) is not None for t in c.tolerated)

    async def step_receive(self, step, name, any_order):
        c = self.named(name)[0]
        todo = self.templates(step)
        while todo:
            wanted = todo if any_order else todo[:1]
            got = await c.next("%s to receive %s" % (name, todo[0]))
            if self.take(wanted, got):
                if not any_order:
                    todo.pop(0)
            elif not self.is_tolerated(c, got):
                raise Failure("expected %s\ngot      %s" % ("\n      or ".join(map(str, wanted)), got))

    async def step_may_receive(self, step, on_prosody, name):
        if not on_prosody or self.server.engine == "prosody":
            self.named(name)[0].tolerated += self.templates(step)

    async def step_nothing(self, step, names):
        await self.nothing(self.bound() if names == "everyone" else self.named(names))

    async def nothing(self, clients):
        bound = self.bound()
        for c in clients:
            if c not in bound:
                raise BadScript("%s has no session: there is no way to know that nothing comes" % c.name)
        await xmpp.fences(bound, self.bare_jids())
        for c in clients if clients != bound else self.clients.values():
            self.check_empty(c)

    def check_empty(self, c):
        c.inbox = [got for got in c.inbox if not self.is_tolerated(c, got)]
        if c.inbox:
            raise Failure("%s received what nobody expected:\n%s" % (c.name, "\n".join(map(str, c.inbox))))

    async def step_closed(self, step, name, condition):
        """The server closes the stream (with an error) and then the connection."""
        c = self.named(name)[0]
        if condition or step.block:
            wanted = step.block or ("<stream:error>%s...</stream:error>"
                                    % condition.replace("/>", " xmlns='%s'/>" % xmpp.NS_STREAM_ERRORS))
            template = xmpp.parse_elements(wanted)[0]
            got = await c.next("%s to receive %s" % (name, template))
            while self.is_tolerated(c, got):
                got = await c.next("%s to receive %s" % (name, template))
            if match.match(template, got, self.variables) is None:
                raise Failure("expected %s\ngot      %s" % (template, got))
        got = await c.next("the server to close the stream of " + name)
        if got != CLOSE:
            raise Failure("expected </stream:stream>, got %s" % got)
        c.write("</stream:stream>")
        got = await c.next("the server to close the connection of " + name)
        if got != EOF:
            raise Failure("expected the end of the connection, got %s" % got)
        self.check_empty(c)

    # ---- steps: the administrator

    async def run_ctl(self, step, command):
        lexer = shlex.shlex(self.outgoing(command), punctuation_chars="", posix=True)
        lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
        words = list(lexer)
        if words[0] != "musterctl":
            raise BadScript("the administrator has only musterctl")
        text = None
        if "<<<" in words:
            at = words.index("<<<")
            words, text = words[:at], " ".join(words[at + 1:]) + "\n"
        p = await asyncio.create_subprocess_exec(
            *self.server.ctl_command(*words[1:]), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        out, _ = await asyncio.wait_for(p.communicate(text.encode() if text else None), 30)
        out = self.from_server(out.decode())
        self.transcript.append("admin: %s -> %d\n%s" % (command, p.returncode, out))
        return p.returncode, out

    async def step_admin(self, step, is_refused, command):
        status, out = await self.run_ctl(step, command)
        if (status == 0) == bool(is_refused):
            raise Failure("it ended with status %d and said:\n%s" % (status, out))
        lines = out.splitlines()
        for want in step.block_lines:
            for line in lines:
                found = match.match_string(want.replace("...", "{any}"), line.strip(), self.variables, {})
                if found is not None:
                    self.variables.update(found)
                    break
            else:
                raise Failure("no line agrees with '%s'; it said:\n%s" % (want, out))

    async def step_server(self, step, verb):
        if not self.scene.own_server:
            raise BadScript("say 'needs: own server' to do that")
        if verb in ("stops", "restarts"):
            status = await asyncio.to_thread(self.server.stop)
            if status != 0:
                raise Failure("musterd ended with status %d after SIGTERM" % status)
        if verb == "is killed":
            for c in self.clients.values():
                self.check_empty(c)
                c.drop()
            await asyncio.to_thread(self.server.kill)
        if verb in ("starts", "restarts"):
            await asyncio.to_thread(self.server.start)

    async def step_database(self, step):
        await asyncio.to_thread(self.server.execute, self.outgoing(step.block))

    async def step_hold(self, step):
        if not self.scene.own_server or self.let_commit:
            raise BadScript("say 'needs: own server' to do that, and do it once at a time")
        self.let_commit = await asyncio.to_thread(self.server.hold_commits)

    async def step_commit(self, step):
        if not self.let_commit:
            raise BadScript("it has not been told to hold commits")
        await asyncio.to_thread(self.let_commit)
        self.let_commit = None

    async def step_log_says(self, step, text):
        """What nobody receives anything of has happened."""
        text, waited = match.expand(text, self.variables), 0
        while text not in self.server.log(self.log_start):
            if waited > xmpp.TIMEOUT:
                raise Failure("the log does not say " + text)
            await asyncio.sleep(0.02)
            waited += 0.02

    async def step_is_told_to_stop(self, step):
        """SIGTERM; the scene then looks at what the clients receive."""
        self.server.process.terminate()

    async def step_has_ended(self, step):
        status = await asyncio.to_thread(self.server.process.wait, server.START_TIME)
        if status != 0:
            raise Failure("musterd ended with status %d after SIGTERM" % status)


def rule(pattern, method):
    return re.compile(pattern), method


P = Player
STEPS = [
    rule(r"(.+?) connects?", P.step_connect),
    rule(r"(.+?) connects? up to (the first features|login)", P.step_part_way),
    rule(r"(\S+) dials", P.step_dial),
    rule(r"(\S+) opens a stream(?: with (.+))?", P.step_open_stream),
    rule(r"(\S+) sees a stream header with (.+)", P.step_header),
    rule(r"(\S+) sees a stream header without (\S+)", P.step_no_header),
    rule(r"(\S+) starts TLS", P.step_start_tls),
    rule(r"(\S+) makes the TLS handshake", P.step_secure),
    rule(r"(\S+) logs in", P.step_authenticate),
    rule(r"(\S+) binds", P.step_bind),
    rule(r"(\S+) is bound", P.step_bound),
    rule(r"(\S+) cannot log in:", P.step_cannot_login),
    rule(r"(.+?) (?:is|are) available", P.step_available),
    rule(r"(.+?) disconnects?", P.step_disconnect),
    rule(r"(.+?) drops?", P.step_drop),
    rule(r"(\S+) enables stream management(?: with (.+))?", P.step_enable),
    rule(r"(\S+) acknowledges by hand", P.step_count),
    rule(r"(\S+) resumes", P.step_resume),
    rule(r"(\S+) has resumed", P.step_resumed),
    rule(r"(\S+) acknowledges nothing", P.step_silent),
    rule(r"(\S+) acknowledges all", P.step_acknowledge),
    rule(r"all that (\S+) has sent is acknowledged", P.step_acknowledged),
    rule(r"(\S+) and (\S+) are friends", P.step_friends),
    rule(r"(\S+) follows (\S+)", P.step_follows),
    rule(r"(\S+) sends:", P.step_send),
    rule(r"(\S+) sends raw:(?: (.+))?", P.step_send_raw),
    rule(r"(\S+) sends as it is:", P.step_send_utf8),
    rule(r"(\S+) receives:()", P.step_receive),
    rule(r"(\S+) receives( in any order):", P.step_receive),
    rule(r"(.+?) receives? nothing", P.step_nothing),
    rule(r"(on prosody )?(\S+) may receive:", P.step_may_receive),
    rule(r"server closes (\S+?)(?: with (<.+>)|:|)", P.step_closed),
    rule(r"admin (?:runs|is (refused)): (.+?):?", P.step_admin),
    rule(r"database runs:", P.step_database),
    rule(r"database holds commits", P.step_hold),
    rule(r"database commits", P.step_commit),
    rule(r"server's log says: (.+)", P.step_log_says),
    rule(r"server is told to stop", P.step_is_told_to_stop),
    rule(r"server has ended", P.step_has_ended),
    rule(r"server (stops|starts|restarts|is killed)", P.step_server),
]
