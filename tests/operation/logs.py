"""The log: opened again after a rotation, as JSON, and with the trace id of the stanza a line is about."""

import json
import os
import re
import signal
import stat
import time

from xmpp import PING, Client, Failure

PATIENCE = 60


def wait_for(condition, sentence):
    give_up = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > give_up:
            raise Failure(sentence)
        time.sleep(0.02)


def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def opens_again(stage):
    """By SIGUSR1 and by reload; when that fails it goes on where it was."""
    s = stage.start(log_level="info")
    log = os.path.join(s.dir, "server.log")
    for again in (lambda: s.process.send_signal(signal.SIGUSR1), lambda: s.ctl("reload")):
        os.rename(log, log + ".1")
        again()
        wait_for(lambda: read(log), "there is no new log file")
        if stat.S_IMODE(os.stat(log).st_mode) & stat.S_IRWXO:
            raise Failure("the new log file is for everybody")
        before = read(log + ".1")
        s.ctl("host", "list")
        wait_for(lambda: "commands: host list" in read(log), "nothing is written into the new file")
        if read(log + ".1") != before:
            raise Failure("the old file goes on")
    os.rename(log, log + ".2")
    os.mkdir(log)
    s.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: "server.log cannot be opened" in read(log + ".2"), "nobody is told")
    os.rmdir(log)
    s.ctl("host", "list")
    wait_for(lambda: read(log + ".2").rstrip().endswith("commands: host list"), "the log does not go on")
    s.stop()


def client(s, user, resource):
    return Client("verona.example", user, "the secret of " + user, ca=s.ca, port=s.port, tls_port=s.tls_port,
                  resource=resource, tls="direct", mechanism="SCRAM-SHA-256")


async def is_json(stage):
    """Every line is an object with these members and no others, whatever a peer puts into it; and the lines of one
    stanza have one trace id, on its way through both homes."""
    s = stage.start(log_format="json")
    for user in ("juliet", "romeo"):
        s.add_account(user, "verona.example", "the secret of " + user)
    juliet, romeo = client(s, "juliet", "bal\"co\\nyé"), client(s, "romeo", "orchard")
    for c in (juliet, romeo):
        await c.login()
        c.send("<presence/>")
    await juliet.fence(PING, "juliet@verona.example")
    juliet.send("<message to='romeo@verona.example' type='chat' id='m1'><body>parting is such sweet</body></message>")
    juliet.send("<message to='nobody@verona.example' type='chat' id='m2'><body>sorrow</body></message>")
    while (await romeo.next()).name != "message":
        pass
    await juliet.fence(PING, "romeo@verona.example")
    await juliet.close()
    await romeo.close()
    s.stop()

    traces = {}
    for line in s.log().splitlines():
        o = json.loads(line)
        if list(o) != [k for k in ("time", "level", "module", "address", "trace", "message") if k in o]:
            raise Failure("these members were not expected: %s" % line)
        if not (re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", o["time"]) and "message" in o
                and o["level"] in ("error", "warn", "info", "debug") and re.fullmatch(r"[a-z0-9_]+", o["module"])
                and re.fullmatch(r"[0-9a-f]{16}", o.get("trace", "0" * 16))):
            raise Failure("that is no line of the log: %s" % line)
        if "trace" in o:
            traces.setdefault(o["trace"], []).append((o["address"], o["message"]))
        if "secret of" in line or "sweet" in line or "sorrow" in line:
            raise Failure("the log tells what it must not: %s" % line)
    if not any("bal\"co\\nyé" in message for lines in traces.values() for _, message in lines):
        raise Failure("juliet's resource is not in the log as it is")
    whole = [lines for lines in traces.values() if any("out message" in m and "> romeo" in m for _, m in lines)]
    if len(whole) != 1 or [a for a, _ in whole[0]] != ["juliet@verona.example", "romeo@verona.example", "romeo@verona.example"]:
        raise Failure("the way of the message is not told by its trace id: %s" % whole)
    refused = [lines for lines in traces.values() if any("refused with service-unavailable" in m for _, m in lines)]
    if len(refused) != 1 or not any("out message" in m for _, m in refused[0]):
        raise Failure("the refusal has not the trace id of what was refused: %s" % refused)


PLAYS = {
    "opens-its-log-again": ("sqlite", opens_again),
    "writes-json": ("sqlite postgresql", is_json),
}
