"""RFC 6121 section 8.5, what happens to a stanza for an account or for one of its sessions, as a table, and a
scene for each condition in it.

The columns normal to headline are the RFC's own table 1 (section 8.5.4), the others are what sections 8.5.1 to
8.5.3 say of the other stanzas in the same letters. In a scene romeo sends one stanza per cell, and everybody
receives what the letter says and nothing else.

    O  kept for later     E  returned as an error    S  nobody hears of it
    D  to that session    M  to the sessions with the highest priority
    A  to all sessions with a priority that is not negative     P  to all that are available

    tests/scene/run --build DIR --only rfc6121-8.5
    tests/scene/delivery.py rfc6121-8.5-no-account     prints the scene
"""

import sys

TABLE = """
                    normal  chat    groupchat  headline  error  presence  request  answer
    no account
      bare          S/E     S/E     E          S         S      S         E        S
      full          S/E     S/E     S/E        S/E       S      S         E        S
    no session
      bare          O/E     O/E     E          S         S      S         E        S
      no match      S/E *   O/E     S/E        S/E       S      S         E        S
    not available
      bare          O/E     O/E     E          S         S      S         E        S
      match         D       D       D          D         D      D         D        D
      no match      S/E *   O/E     S/E        S/E       S      S         E        S
    only negative
      bare          O/E     O/E     E          S         S      P         E        S
      match         D       D       D          D         D      D         D        D
      no match      S/E *   O/E     S/E        S/E       S      S         E        S
    one
      bare          D       D       E          D         S      P         E        S
      match         D       D       D          D         D      D         D        D
      no match      S/E *   D       S/E        S/E       S      S         E        S
    several
      bare          M/A     M/A     E          A         S      P         E        S
      match         D       D/A     D          D         D      D         D        D
      no match      S/E *   M/A     S/E        S/E       S      S         E        S
    """

# Where the RFC leaves a choice: what this server takes, by column. A session's address that is no session's
# any more gets a normal message like a chat message (*): RFC 6120 section 10.5.4 says so, RFC 6121 section
# 8.5.3.2.1 says otherwise, and whoever has written it does not want it to be lost.
CHOICE = {"normal": "ODM", "chat": "ODM", "groupchat": "E", "headline": "S"}
NOBODY = {"normal": "E", "chat": "E", "groupchat": "E", "headline": "S"}

# The sessions of each condition: resource and priority; None: connected, but not available.
SESSIONS = {"no account": {}, "no session": {}, "not available": {"garden": None},
            "only negative": {"garden": -1, "hall": -5},
            "one": {"garden": 0}, "several": {"garden": 5, "hall": 5, "tower": 0, "crypt": -1}}

# What is sent in each column; TO and ID are put in.
STANZAS = {
    "normal": ["<message to='TO' id='ID'><body>normal</body></message>"],
    "chat": ["<message to='TO' id='ID' type='chat'><body>chat</body></message>"],
    "groupchat": ["<message to='TO' id='ID' type='groupchat'><body>groupchat</body></message>"],
    "headline": ["<message to='TO' id='ID' type='headline'><body>headline</body></message>"],
    "error": ["<message to='TO' id='ID' type='error'><body>error</body></message>"],
    "presence": ["<presence to='TO' id='IDa'/>", "<presence to='TO' id='IDb' type='unavailable'/>"],
    "request": ["<iq to='TO' id='IDg' type='get'><q xmlns='urn:example:q'/></iq>",
                "<iq to='TO' id='IDs' type='set'><q xmlns='urn:example:q'/></iq>"],
    "answer": ["<iq to='TO' id='IDr' type='result'/>",
               "<iq to='TO' id='IDe' type='error'><error type='cancel'>"
               "<conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"],
}
ERROR = ("<%s type='error' id='%s' from='%s'><error type='cancel'>"
         "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error>...</%s>")


def cells():
    """condition -> [(address, column, letters)], from TABLE."""
    lines = TABLE.strip("\n").splitlines()
    columns, found, condition = lines[0].split(), {}, None
    for line in lines[1:]:
        words = line.replace(" *", "*").split()
        if len(words) < len(columns):
            condition = " ".join(words)
            found[condition] = []
            continue
        address, letters = " ".join(words[:-len(columns)]), words[-len(columns):]
        found[condition] += [(address, c, l) for c, l in zip(columns, letters)]
    found.pop("", None)
    return found


def letter(condition, column, letters, other):
    """The one that holds here. `other`: the letters for the account, which (*) takes."""
    if letters.endswith("*"):
        letters = other
    if "/" not in letters:
        return letters
    choice = NOBODY if condition == "no account" else CHOICE
    return next(x for x in letters.split("/") if x in choice[column])


def receivers(condition, what, address):
    """The resources that receive it at once."""
    sessions = SESSIONS[condition]
    available = {r: p for r, p in sessions.items() if p is not None}
    willing = {r: p for r, p in available.items() if p >= 0}
    return {"D": ["garden"], "P": list(available), "A": list(willing),
            "M": [r for r, p in willing.items() if p == max(willing.values())]}.get(what, [])


def block(step, lines):
    return [step] + ["\t" + line for line in lines] if lines else []


def scene(condition, rows):
    sessions = SESSIONS[condition]
    text = ["title: stanzas for an account and its sessions: %s (RFC 6121 section 8.5)" % condition,
            "client romeo romeo@verona.example/orchard", "client heir juliet@verona.example/heir"
            + (" account=none" if condition == "no account" else ""),
            "not on prosody: it takes other choices"]
    text += ["client %s juliet@verona.example/%s" % (r, r) for r in sessions]
    text += ["romeo connects", "romeo is available"]
    text += ["%s connects" % r for r in sessions]
    for r, priority in sessions.items():
        if priority is None:
            continue
        own = "<presence from='juliet@verona.example/%s'><priority>%d</priority></presence>"
        there = list(sessions)[:list(sessions).index(r)]
        text += block("%s sends:" % r, ["<presence><priority>%d</priority></presence>" % priority])
        text += block("%s receives in any order:" % r, [own % (x, sessions[x]) for x in [*there, r]])
        for x in there:
            text += block("%s receives:" % x, [own % (r, priority)])

    kept, bare = [], {column: letters for address, column, letters in rows if address == "bare"}
    for number, (address, column, letters) in enumerate(rows, 1):
        what = letter(condition, column, letters, bare[column])
        to = "juliet@verona.example" + {"bare": "", "match": "/garden"}.get(address, "/tomb")
        stanzas = [s.replace("TO", to).replace("ID", "s%d" % number) for s in STANZAS[column]]
        text += ["# %s, %s: %s" % (column, address, what)] + block("romeo sends:", stanzas)
        if what == "E":
            for s in stanzas:
                kind, ident = s[1:].split()[0], s.split("id='")[1].split("'")[0]
                text += block("romeo receives:", [ERROR % (kind, ident, to, kind)])
        for r in receivers(condition, what, address):
            text += block("%s receives:" % r, [s.replace(" to='", " from='romeo@verona.example/orchard' to='")
                                               for s in stanzas])
        kept += stanzas if what == "O" else []
    text += ["everyone receives nothing"]

    if condition == "no account":
        return "\n".join(text) + "\n"
    text += ["# What was kept comes to the next one.", "heir connects", "heir may receive:",
             "\t<presence>...</presence>", "heir is available"]
    text += block("heir receives:", [s.replace("</message>", "<delay xmlns='urn:xmpp:delay' from='{any}'"
                                                            " stamp='{date}'/></message>") for s in kept])
    for r, priority in sessions.items():
        if priority is not None:
            text += block("%s receives:" % r, ["<presence from='juliet@verona.example/heir'/>"])
    return "\n".join(text + ["heir receives nothing"]) + "\n"


def scenes():
    """All of them: (name, text)."""
    return [("rfc6121-8.5-" + condition.replace(" ", "-"), scene(condition, rows))
            for condition, rows in cells().items()]


if __name__ == "__main__":
    print("\n".join(text for name, text in scenes() if name in sys.argv[1:]))
