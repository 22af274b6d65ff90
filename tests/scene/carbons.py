"""XEP-0280 section 6, which messages are copied to a user's other clients, as a table, and scenes for each
direction.

juliet has a desk, which writes and is written to, and a phone, which wants copies. What the columns say, the
phone gets: of what the desk sends, and of what the desk receives from a full address. Those with a `!` are in
scenes of their own, as Prosody does otherwise there.

    tests/scene/run --build DIR --only xep0280-6
    tests/scene/carbons.py xep0280-6-sent     prints the scene
"""

import sys

BODY = "<body>Hist!</body>"
STATES = "<%s xmlns='http://jabber.org/protocol/chatstates'/>"
MUC = "<x xmlns='http://jabber.org/protocol/muc#user'%s"
PRIVATE, NO_COPY = "<private xmlns='urn:xmpp:carbons:2'/>", "<no-copy xmlns='urn:xmpp:hints'/>"
ENCRYPTED = "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>x</payload></encrypted>"

# what it is, its type, what is in it, whether what is sent is copied, whether what is received
ROWS = [
    ("a chat message", "chat", BODY, "yes", "yes"),
    ("one without anything in it", "chat", "", "yes", "yes"),
    ("one with language and thread", "chat", BODY + "<thread>t</thread>", "yes", "yes"),
    ("a normal message", None, BODY, "yes", "yes"),
    ("a normal one that says nothing", None, "<x xmlns='urn:example:x'/>", "no", "no"),
    ("a subject alone", None, "<subject>Hist!</subject>", "no", "no"),
    ("a headline", "headline", BODY, "no", "no"),
    ("to or from a room", "groupchat", BODY, "no", "no"),
    ("a typing notice", "chat", STATES % "composing", "yes", "yes"),
    ("a typing notice in a normal message", None, STATES % "active", "yes!", "yes!"),
    ("a receipt", None, "<received xmlns='urn:xmpp:receipts' id='r1'/>", "yes!", "yes!"),
    ("a marker", None, "<displayed xmlns='urn:xmpp:chat-markers:0' id='r1'/>", "yes!", "yes!"),
    ("an encrypted message", "chat", ENCRYPTED, "yes", "yes"),
    ("an encrypted normal message", None, ENCRYPTED, "yes!", "yes!"),
    ("an edit", "chat", BODY + "<replace xmlns='urn:xmpp:message-correct:0' id='r1'/>", "yes", "yes"),
    ("a reaction", None, "<reactions xmlns='urn:xmpp:reactions:0' id='r1'><reaction>x</reaction></reactions>",
     "yes!", "yes!"),
    ("a call that rings", None, "<propose xmlns='urn:xmpp:jingle-message:0' id='j1'/>", "yes", "yes"),
    ("an invitation by a friend", None, "<x xmlns='jabber:x:conference' jid='ball@rooms.example'/>", "yes!", "yes!"),
    ("an invitation by way of the room", None, MUC % "><invite to='nurse@verona.example'/></x>", "yes!", "yes!"),
    ("words aside with an occupant of a room", "chat", BODY + MUC % "/>", "yes!", "no"),
    ("a private one", "chat", BODY + PRIVATE + NO_COPY, "no", "no!"),
    ("a private one without the hint", "chat", BODY + PRIVATE, "no", "no!"),
    ("one with the hint alone", "chat", BODY + NO_COPY, "no", "no"),
    ("an error that answers nothing", "error", BODY, "no", "no"),
]


def message(number, row, addresses):
    kind = " type='%s'" % row[1] if row[1] else ""
    return "<message%s%s id='s%d'>%s</message>" % (addresses, kind, number, row[2])


def scene(direction, host, rows, on_prosody):
    is_sent = direction == "sent"
    away, desk = "romeo@%s/orchard" % host, "juliet@%s/desk" % host
    sender, receiver = ("desk", "romeo") if is_sent else ("romeo", "desk")
    origin, target = (desk, away) if is_sent else (away, desk)
    wrapper = ("\t<message type='%%s' from='juliet@%s'><%s xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
               "%%s</forwarded></%s></message>" % (host, direction, direction))
    text = ["title: which messages that a client %s are copied to another, at %s (XEP-0280 section 6)"
            % ("sends" if is_sent else "receives", host)]
    text += [] if on_prosody else ["not on prosody: it copies fewer kinds of message, and takes <private/> out"]
    text += ["client desk juliet@%s/desk" % host, "client phone juliet@%s/phone" % host,
             "client romeo romeo@%s/orchard" % host,
             "phone may receive:", "\t<presence>...</presence>", "desk may receive:", "\t<presence>...</presence>",
             "desk, phone and romeo connect", "phone sends:",
             "\t<iq type='set' id='e1'><enable xmlns='urn:xmpp:carbons:2'/></iq>",
             "phone receives:", "\t<iq type='result' id='e1'/>",
             "desk is available", "phone is available", "romeo is available"]
    for number, row in enumerate(rows, 1):
        copied = row[3 if is_sent else 4].startswith("yes")
        text += ["# %s" % row[0], sender + " sends:", "\t" + message(number, row, " to='%s'" % target),
                 receiver + " receives:", "\t" + message(number, row, " from='%s'" % origin)]
        inner = message(number, row, " xmlns='jabber:client' xml:lang='{optional}' from='%s' to='%s'"
                        % (origin, target))
        if copied:
            text += ["phone receives:", wrapper % (row[1] or "{optional}", inner)]
    return "\n".join(text + ["everyone receives nothing"]) + "\n"


def scenes():
    """All of them: (name, text)."""
    found, more = [], [row for row in ROWS if "!" in row[3] + row[4]]
    for direction in ("sent", "received"):
        name = "xep0280-6-" + direction
        found += [(name, scene(direction, "verona.example", [row for row in ROWS if row not in more], True)),
                  (name + "-more", scene(direction, "verona.example", more, False)),
                  (name + "-without-record", scene(direction, "mantua.example", ROWS, False))]
    return found


if __name__ == "__main__":
    print("\n".join(text for name, text in scenes() if name in sys.argv[1:]))
