"""What one sees of the server: metrics, status, top; and drain, during which one looks at them."""

import asyncio
import json
import os
import pty
import re
import signal
import socket
import sqlite3
import subprocess
import time

from prometheus_client.openmetrics import parser

import ports
from logs import PATIENCE, client, wait_for
from xmpp import PING, Client, Failure


class Metrics:
    """The server's metrics, read by a parser that knows the format, and by rules that it does not enforce."""

    def __init__(self, text):
        if not text.endswith("# EOF\n"):
            raise Failure("the text does not end with # EOF")
        self.values, self.families = {}, {}
        for f in parser.text_string_to_metric_families(text):
            if f.name in self.families or not f.documentation or (f.unit and not f.name.endswith("_" + f.unit)):
                raise Failure("this family is twice, without help, or without its unit: %s" % f.name)
            self.families[f.name] = f
            for s in f.samples:
                key = s.name, tuple(sorted(s.labels.items()))
                if key in self.values:
                    raise Failure("this sample is twice: %s %s" % key)
                self.values[key] = s.value
        for line in text.splitlines():
            if not line.startswith("# ") and not re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? [0-9.]+', line):
                raise Failure("that is no sample of ours: %s" % line)

    def get(self, name, **labels):
        try:
            return self.values[name, tuple(sorted(labels.items()))]
        except KeyError:
            raise Failure("there is no %s %s" % (name, labels)) from None

    def expect(self, value, name, **labels):
        if self.get(name, **labels) != value:
            raise Failure("%s %s is %s, not %s" % (name, labels, self.get(name, **labels), value))

    def expect_more(self, than, name, **labels):
        if self.get(name, **labels) <= than:
            raise Failure("%s %s is %s, not more than %s" % (name, labels, self.get(name, **labels), than))


def metrics(s):
    return Metrics(s.ctl("metrics"))


AT_REST = ("muster_mailbox_envelopes", "muster_outbox_envelopes", "muster_store_waiting_writes",
           "muster_store_waiting_reads", "muster_store_away", "muster_homes_waking", "muster_draining")


async def counts(stage):
    """Every number is the right one, whichever reactors it happened on; and what falls falls back to nothing."""
    s = stage.start(reactors=3)
    for user in ("juliet", "romeo"):
        s.add_account(user, "verona.example", "the secret of " + user)
    juliet, romeo = client(s, "juliet", "balcony"), client(s, "romeo", "orchard")
    for c in (juliet, romeo):
        await c.login()
        c.send("<presence/>")
        await c.fence(PING, c.user + "@verona.example")
    first = await asyncio.to_thread(metrics, s)
    first.expect(2, "muster_sessions")
    first.expect(2, "muster_host_sessions", host="verona.example")
    expires = first.get("muster_host_certificate_expires_timestamp_seconds", host="verona.example")
    if not time.time() < expires < time.time() + 100 * 366 * 86400:
        raise Failure("the certificate expires at %s" % expires)
    first.expect(2, "muster_streams", kind="c2s", state="established")
    first.expect(2, "muster_tls_streams")
    first.expect(2, "muster_logins_total")
    first.expect(1, "muster_build_info", version=s.ctl("--version").split()[-1])
    for i in range(3):
        first.expect_more(0, "muster_reactor_cpu_seconds_total", reactor=str(i))
    for part in ("homes", "sessions"):
        first.expect_more(0, "muster_memory_bytes", part=part)
    first.expect_more(28000, "muster_memory_estimated_bytes", part="tls")
    for name in ("process_resident_memory_bytes", "muster_memory_allocated_bytes", "process_cpu_seconds_total",
                 "process_open_fds", "process_start_time_seconds"):
        first.expect_more(0, name)

    for i in range(10):
        juliet.send("<message to='romeo@verona.example' type='chat' id='%d'><body>Hist!</body></message>" % i)
    juliet.send("<message to='nobody@verona.example' type='chat' id='x'><body>Hist!</body></message>")
    juliet.send("<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='mercutio@verona.example'/></query></iq>")
    await juliet.fence(PING, "romeo@verona.example")
    stranger = Client("verona.example", "romeo", "guess", ca=s.ca, port=s.port, tls_port=s.tls_port, resource="r",
                      tls="direct", mechanism="PLAIN")
    try:
        await stranger.login()
        raise Failure("a wrong password is right")
    except Failure as e:
        if "not-authorized" not in str(e):
            raise
    romeo.write("<message><body></message>")
    await asyncio.to_thread(wait_for, lambda: metrics(s).get("muster_sessions") == 1, "romeo's session does not end")
    await asyncio.to_thread(wait_for, lambda: metrics(s).get("muster_stanzas_total", direction="out", kind="message") == 11,
                            "eleven messages were to be written")
    m = await asyncio.to_thread(metrics, s)
    m.expect(first.get("muster_stanzas_total", direction="in", kind="message") + 11, "muster_stanzas_total",
             direction="in", kind="message")
    m.expect(11, "muster_stanzas_total", direction="out", kind="message")
    m.expect(11, "muster_host_stanzas_total", host="verona.example", direction="out", kind="message")
    for direction in ("in", "out"):  # there is one domain
        for kind in ("message", "presence", "iq"):
            m.expect(m.get("muster_stanzas_total", direction=direction, kind=kind), "muster_host_stanzas_total",
                     host="verona.example", direction=direction, kind=kind)
    m.expect(1, "muster_refusals_total", condition="service-unavailable")
    m.expect(1, "muster_login_failures_total", condition="not-authorized")
    m.expect(1, "muster_stream_errors_total", condition="not-well-formed")
    m.expect_more(0, "muster_hold_seconds_count")
    m.expect_more(0, "muster_hold_seconds_sum")
    m.expect_more(9, "muster_store_writes_total")
    m.expect_more(0, "muster_commit_seconds_count")
    m.expect(m.get("muster_commit_seconds_count"), "muster_commit_seconds_bucket", le="+Inf")
    await juliet.close()
    stranger.transport.abort()
    await asyncio.to_thread(wait_for, lambda: s.status()["connections"]["open"] == 0, "connections do not end")
    await asyncio.to_thread(wait_for, lambda: metrics(s).get("muster_store_waiting_writes") == 0, "a write waits")
    m = await asyncio.to_thread(metrics, s)
    for (name, labels), value in m.values.items():
        if value and (name in AT_REST or name in ("muster_sessions", "muster_host_sessions", "muster_streams", "muster_tls_streams")):
            raise Failure("%s %s is left" % (name, value))
    m.expect(0, "muster_memory_bytes", part="write_queues")
    status = s.status()
    if status["connections"]["total"] != m.get("muster_connections_total") or status["stanzas"]["out"]["message"] != 11:
        raise Failure("status and metrics differ: %s" % status)
    if status["store"]["commit_ms"] <= 0 or status["state"] != "serving" or status["memory"] < 1e6:
        raise Failure("status is not whole: %s" % status)
    s.stop()


def counts_many_domains(stage):
    """With thousands of domains the text comes in pieces, and is whole."""
    s = stage.start()
    s.stop()
    with sqlite3.connect(os.path.join(s.dir, "muster.db")) as db:
        db.executemany("insert into host (name, created) values (?, 0)", [("h%d.example" % i,) for i in range(3000)])
    s.start()
    m = metrics(s)
    m.expect(3001, "muster_hosts")
    m.expect(0, "muster_host_stanzas_total", host="h2999.example", direction="out", kind="iq")
    m.expect(0, "muster_host_certificate_expires_timestamp_seconds", host="h2999.example")
    if json.loads(s.ctl("metrics", "--json"))["text"].count("muster_host_sessions{") != 3001:
        raise Failure("a domain is missing")
    s.stop()


async def tops(stage):
    """Once, as lines of JSON, on a pipe, and on a terminal until q."""
    s = stage.start()
    s.add_account("juliet", "verona.example", "the secret of juliet")
    juliet = client(s, "juliet", "balcony")
    await juliet.login()

    async def talk():
        while True:
            juliet.send("<message to='juliet@verona.example' type='headline'><body>Ay me!</body></message>")
            await asyncio.sleep(0.01)

    talking = asyncio.create_task(talk())
    text = await asyncio.to_thread(s.ctl, "top", "--once")
    for word in ("Sessions", "Logins", "Messages", "Presence", "Queries", "Process", "Commit", "Queues", "verona.example"):
        if word not in text:
            raise Failure("%s is not on the page:\n%s" % (word, text))
    if "\033" in text:
        raise Failure("a page for a script has escape sequences")
    o = json.loads(await asyncio.to_thread(s.ctl, "top", "--once", "--json"))
    talking.cancel()
    if o["sessions"] != 1 or not 0 < o["in"]["message"] < 200 or o["hosts"][0]["name"] != "verona.example" \
            or o["memory"] < 1e6 or o["cpu_percent"] < 0 or o["state"] != "serving":
        raise Failure("top --json: %s" % o)
    await juliet.close()

    pipe = subprocess.Popen(s.ctl_command("top", "--json"), stdout=subprocess.PIPE, text=True)
    for _ in range(2):
        json.loads(pipe.stdout.readline())
    pipe.stdout.close()  # nobody reads any more: it ends by itself
    await asyncio.to_thread(pipe.wait, PATIENCE)
    interrupted = subprocess.Popen(s.ctl_command("top"), stdout=subprocess.PIPE, text=True)
    interrupted.stdout.readline()
    interrupted.send_signal(signal.SIGINT)
    if await asyncio.to_thread(interrupted.wait, PATIENCE) != 0:
        raise Failure("an interrupted top ended with %d" % interrupted.returncode)

    ours, its = pty.openpty()
    terminal = subprocess.Popen(s.ctl_command("top"), stdin=its, stdout=its, stderr=its)
    seen = b""
    while b"HOST" not in seen:
        seen += await asyncio.to_thread(os.read, ours, 4096)
    if b"\033[H" not in seen:
        raise Failure("the terminal's page is not drawn at its top")
    os.write(ours, b"q")
    if await asyncio.to_thread(terminal.wait, PATIENCE) != 0:
        raise Failure("top ended with %d" % terminal.returncode)
    os.close(ours)
    os.close(its)
    log = s.log()
    if "commands: top" in "".join(line for line in log.splitlines() if " info " in line):
        raise Failure("top fills the log")
    s.stop()


async def drains(stage):
    """Who is there stays; who comes is refused at the port; when all have gone it ends, if it is told to."""
    s = stage.make(reactors=3)
    s.set_up(["verona.example"])
    for user in ("juliet", "romeo"):
        s.add_account(user, "verona.example", "the secret of " + user)
    juliet = client(s, "juliet", "balcony")
    await juliet.login()

    def run(*arguments):
        return subprocess.run(s.ctl_command("drain", *arguments), capture_output=True, text=True, timeout=PATIENCE)

    answer = await asyncio.to_thread(run, "--timeout", "1")
    if answer.returncode != 4 or "1 connections are left" not in answer.stderr or "1 connections\n" not in answer.stdout:
        raise Failure("drain with somebody there: %s" % answer)
    if ports.is_open(s.port) or ports.is_open(s.tls_port) or s.status()["state"] != "draining":
        raise Failure("it does not drain")
    metrics(s).expect(1, "muster_draining")
    await juliet.fence(PING, "juliet@verona.example")
    s.ctl("reload")
    if ports.is_open(s.port):
        raise Failure("a reload opens the ports")

    # Somebody else has the port: it cannot be had again, and nothing is half open.
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", s.tls_port))
        other.listen()
        answer = await asyncio.to_thread(run, "--cancel")
        if answer.returncode != 1 or str(s.tls_port) not in answer.stderr or ports.is_open(s.port):
            raise Failure("a port that cannot be had: %s" % answer)
    answer = await asyncio.to_thread(run, "--cancel")
    if answer.returncode or s.status()["state"] != "serving":
        raise Failure("drain --cancel: %s" % answer)
    romeo = client(s, "romeo", "orchard")
    await romeo.login()
    for words, sentence in ((("--cancel", "--stop"), "stands alone"), (("--timeout", "soon"), "takes seconds")):
        answer = await asyncio.to_thread(run, *words)
        if answer.returncode != 2 or sentence not in answer.stderr:
            raise Failure("drain %s: %s" % (words, answer))

    waiting = subprocess.Popen(s.ctl_command("drain", "--stop"), stdout=subprocess.PIPE, text=True)
    await asyncio.to_thread(wait_for, lambda: not ports.is_open(s.port), "it does not drain")
    await romeo.close()
    await asyncio.sleep(1.2)
    if waiting.poll() is not None:
        raise Failure("it did not wait for juliet")
    await juliet.close()
    text, _ = await asyncio.to_thread(waiting.communicate, timeout=PATIENCE)
    if waiting.returncode or not text.endswith("Stopped.\n"):
        raise Failure("drain --stop: %d %s" % (waiting.returncode, text))
    if await asyncio.to_thread(s.process.wait, PATIENCE) != 0:
        raise Failure("it ended with %d" % s.process.returncode)


PLAYS = {
    "counts": ("sqlite postgresql", counts),
    "counts-many-domains": ("sqlite", counts_many_domains),
    "tops": ("sqlite", tops),
    "drains": ("sqlite postgresql", drains),
}
