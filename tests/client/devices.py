"""What a client library must be able to do as one of two devices: juliet's other one is ours, and romeo is ours too.

Copies of what the other device sends and gets (carbons), the archive in pages, with the ids that came with the
messages, and after an absence only what is new there."""

from journey import HOST, PASSWORD, address, is_body, log_in_ours, receive
from xmpp import NS_CLIENT, Failure, fences

ALL = "copies between two devices, the archive in pages, and what is new in it after an absence"
CARBONS, SID = "urn:xmpp:carbons:2", "urn:xmpp:sid:0"


def is_copy(how):
    return lambda e: e.name == "message" and e.find(CARBONS, how)


def stanza_id(message):
    return message.find(SID, "stanza-id").get("id")


async def ours(server, user):
    c = await log_in_ours(server, user)
    c.send("<iq type='set' id='c1'><enable xmlns='%s'/></iq><presence/>" % CARBONS)
    await receive(c, lambda e: e.name == "iq" and e.get("id") == "c1" and e.get("type") == "result", "carbons")
    return c


def write(client, to, text):
    client.send("<message to='%s' type='chat'><body>%s</body></message>" % (to, text))


async def converse(desk, romeo, library, juliet):
    """Returns the lines that the archive must have, each with its id. What goes to a full address reaches the other
    device as a copy only."""
    own, other = address("juliet", library), address("romeo", library)
    write(romeo, own + "/ours", "Lady, by yonder moon")
    came = await receive(desk, is_body, "romeo's message")
    await juliet.until("received %s/ours Lady, by yonder moon" % other)

    write(desk, other, "O, swear not by the moon")
    sent = await receive(romeo, is_body, "the desk's answer")
    if sent.get("from") != own + "/ours":
        raise Failure("romeo received %s" % sent)
    await juliet.until("sent %s/ours O, swear not by the moon" % own)

    juliet.tell("send %s Do not swear at all" % other)
    await receive(romeo, is_body, "juliet's message")
    copy = (await receive(desk, is_copy("sent"), "the copy of it")).find(CARBONS, "sent")
    mine = copy.find("urn:xmpp:forward:0", "forwarded").find(NS_CLIENT, "message")
    return [(stanza_id(came), other + "/ours Lady, by yonder moon"), (None, own + "/ours O, swear not by the moon"),
            (stanza_id(mine), mine.get("from") + " Do not swear at all")]


async def read_archive(juliet, other, known, wanted, after=""):
    """Returns the last id. An id that is not known is None."""
    juliet.tell("archive %s %s" % (other, after))
    last = None
    for id_, text in wanted:
        line = await juliet.until("archived ")
        _, last, rest = line.split(" ", 2)
        if rest != text or last in known or id_ not in (None, last):
            raise Failure("the archive has '%s' where '%s %s' should be" % (line, id_, text))
        known.add(last)
    end = await juliet.until("archive-")
    if end != "archive-end" or any(l.startswith("archived") for l in juliet.lines):
        raise Failure("after the last message of the archive: %s %s" % (end, juliet.lines))
    return last


async def be_away(desk, romeo, library, juliet):
    own = address("juliet", library)
    juliet.tell("disconnect")
    await juliet.until("signed-off")
    lines = ["farewell %d" % n for n in range(5)]
    for line in lines:
        write(romeo, own, line)
    for line in lines:
        await receive(desk, is_body, line)
    await fences([romeo], [own])
    juliet.tell("connect")
    await juliet.until("signed-on")
    return [(None, "%s/ours %s" % (address("romeo", library), line)) for line in lines]


async def speak(desk, romeo, library, juliet, is_asked_for_new):
    other = address("romeo", library)
    juliet.tell("connect")
    await juliet.until("signed-on")
    juliet.tell("carbons")
    await juliet.until("carbons")
    known = set()
    last = await read_archive(juliet, other, known, await converse(desk, romeo, library, juliet))
    missed = await be_away(desk, romeo, library, juliet)
    if is_asked_for_new:
        await read_archive(juliet, other, known, missed, last)
    again = [l for l in juliet.lines if l.startswith("message ")]
    if again:
        raise Failure("what the desk has taken was replayed: %s" % again)


async def whole(server, library, program, is_asked_for_new):
    """`is_asked_for_new`: the program can be told to read on from an id."""
    for who in ("juliet", "romeo"):
        server.add_account("%s-%s" % (library, who), HOST, PASSWORD)
    desk, romeo = [await ours(server, "%s-%s" % (library, who)) for who in ("juliet", "romeo")]
    try:
        async with program() as juliet:
            await speak(desk, romeo, library, juliet, is_asked_for_new)
    finally:
        desk.drop()
        romeo.drop()
