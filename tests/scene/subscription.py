"""The tables of RFC 6121 appendix A, and a scene for each of them.

In a scene juliet has one contact per row, in the row's state, made by SQL before the server starts. She sends
the stanza to each of them (A.2), or each of them sends it to her (A.3); then both sides have received what
the tables say and nothing else, and after a restart her contact list and the requests that wait are what the
tables say, too.

    tests/scene/run --build DIR --only rfc6121-A
    tests/scene/subscription.py rfc6121-A.2.1-subscribe     prints the scene
"""

import sys

# EXISTING STATE, then ROUTE? (A.2) or DELIVER? (A.3) and NEW STATE; "=" is "no state change".
TABLES = {
    "A.2.1 subscribe": """
        None                    MUST    None + Pending Out
        None + Pending Out      MUST    =
        None + Pending In       MUST    None + Pending Out+In
        None + Pending Out+In   MUST    =
        To                      MUST    =
        To + Pending In         MUST    =
        From                    MUST    From + Pending Out
        From + Pending Out      MUST    =
        Both                    MUST    =
        """,
    "A.2.2 unsubscribe": """
        None                    MUST    =
        None + Pending Out      MUST    None
        None + Pending In       MUST    =
        None + Pending Out+In   MUST    None + Pending In
        To                      MUST    None
        To + Pending In         MUST    None + Pending In
        From                    MUST    =
        From + Pending Out      MUST    From
        Both                    MUST    From
        """,
    "A.2.3 subscribed": """
        None                    M.N.    pre-approval
        None + Pending Out      M.N.    pre-approval
        None + Pending In       MUST    From
        None + Pending Out+In   MUST    From + Pending Out
        To                      M.N.    pre-approval
        To + Pending In         MUST    Both
        From                    M.N.    =
        From + Pending Out      M.N.    =
        Both                    M.N.    =
        """,
    "A.2.4 unsubscribed": """
        None                    S.N.    =
        None + Pending Out      S.N.    =
        None + Pending In       MUST    None
        None + Pending Out+In   MUST    None + Pending Out
        To                      S.N.    =
        To + Pending In         MUST    To
        From                    MUST    None
        From + Pending Out      MUST    None + Pending Out
        Both                    MUST    To
        """,
    "A.3.1 subscribe": """
        None                    MUST    None + Pending In
        None + Pending Out      MUST    None + Pending Out+In
        None + Pending In       S.N.    =
        None + Pending Out+In   S.N.    =
        To                      MUST    To + Pending In
        To + Pending In         S.N.    =
        From                    S.N.    =
        From + Pending Out      S.N.    =
        Both                    S.N.    =
        """,
    "A.3.2 unsubscribe": """
        None                    S.N.    =
        None + Pending Out      S.N.    =
        None + Pending In       MUST    None
        None + Pending Out+In   MUST    None + Pending Out
        To                      S.N.    =
        To + Pending In         MUST    To
        From                    MUST    None
        From + Pending Out      MUST    None + Pending Out
        Both                    MUST    To
        """,
    "A.3.3 subscribed": """
        None                    S.N.    =
        None + Pending Out      MUST    To
        None + Pending In       S.N.    =
        None + Pending Out+In   MUST    To + Pending In
        To                      S.N.    =
        To + Pending In         S.N.    =
        From                    S.N.    =
        From + Pending Out      MUST    Both
        Both                    S.N.    =
        """,
    "A.3.4 unsubscribed": """
        None                    S.N.    =
        None + Pending Out      MUST    None
        None + Pending In       S.N.    =
        None + Pending Out+In   MUST    None + Pending In
        To                      MUST    None
        To + Pending In         MUST    None + Pending In
        From                    S.N.    =
        From + Pending Out      MUST    From
        Both                    MUST    From
        """,
}

SUBSCRIPTIONS = ["None", "To", "From", "Both"]  # as the column `subscription` numbers them


class State:
    """What one side knows of the other: a state of A.1, pre-approval, and whether there is a roster item."""

    def __init__(self, name, approved=False, in_roster=True):
        self.name, self.approved, self.in_roster = name, approved, in_roster
        self.base, _, pending = name.partition(" + Pending ")
        self.out, self.into = "Out" in pending, "In" in pending
        self.gives = self.base in ("From", "Both")  # the other one sees this one's presence
        self.takes = self.base in ("To", "Both")

    def __str__(self):
        return (self.name + (", pre-approved" if self.approved else "")
                + ("" if self.in_roster else ", not in the roster"))

    def become(self, name, **changes):
        now = dict(approved=self.approved, in_roster=self.in_roster)
        return State(name, **dict(now, **changes))

    def mirrored(self):
        """What the other side knows when both agree."""
        base = {"To": "From", "From": "To"}.get(self.base, self.base)
        pending = {(1, 1): "Out+In", (1, 0): "In", (0, 1): "Out"}.get((self.out, self.into))
        return State(base + (" + Pending " + pending if pending else ""), in_roster=True)

    def item(self, address):
        """The roster item that clients see, or None."""
        if not self.in_roster:
            return None
        ask = " ask='subscribe'" if self.out else ""
        approved = " approved='true'" if self.approved else ""
        return "<item jid='%s' subscription='%s'%s%s/>" % (address, self.base.lower(), ask, approved)

    def sql(self, owner, address):
        return ("insert into roster (owner, contact, subscription, ask, pending_in, approved, in_roster)"
                " select id, '%s', %d, %d, %d, %d, %d from account where name = '{%s.user}';"
                % (address, SUBSCRIPTIONS.index(self.base), self.out, self.into, self.approved,
                   self.in_roster, owner))


# The rows of every scene: the nine states, and what the footnotes and section 3.4 add to them.
NINE = ["None", "None + Pending Out", "None + Pending In", "None + Pending Out+In", "To", "To + Pending In",
        "From", "From + Pending Out", "Both"]
ROWS = {name.lower().replace(" + pending ", "").replace("+", ""): State(name) for name in NINE}
ROWS.update(approved=State("None", approved=True), approvedout=State("None + Pending Out", approved=True),
            approvedto=State("To", approved=True),
            stranger=State("None", in_roster=False), asking=State("None + Pending In", in_roster=False))


def look_up(table, state):
    """(is it passed on?, new state) by the table alone."""
    for line in TABLES[table].strip().splitlines():
        words = line.split()
        verb = next(i for i, w in enumerate(words) if w in ("MUST", "M.N.", "S.N."))
        if " ".join(words[:verb]) == state.name:
            return words[verb] == "MUST", " ".join(words[verb + 1:])
    raise KeyError(state.name)


def send(kind, state):
    """A.2 with its footnotes: (is it routed?, new state)."""
    table = next(t for t in TABLES if t.startswith("A.2") and t.endswith(" " + kind))
    passes, new = look_up(table, state)
    if new == "pre-approval":  # section 3.4.2: also who is not in the roster enters it
        return passes, state.become(state.name, approved=True, in_roster=True)
    if kind == "unsubscribed":  # footnote: this takes the pre-approval back
        state = state.become(state.name, approved=False)
    name = state.name if new == "=" else new
    enters = kind == "subscribe" or kind == "subscribed" and passes
    return passes, state.become(name, in_roster=state.in_roster or enters)


def receive(kind, state):
    """A.3 with its footnotes: (is it delivered?, new state, what is answered). Footnote 1 of A.3.2, that the
    server should answer `unsubscribed`, is not followed: it would cross and cancel a new request."""
    table = next(t for t in TABLES if t.startswith("A.3") and t.endswith(" " + kind))
    passes, new = look_up(table, state)
    if kind == "subscribe" and state.gives:
        return False, state, "subscribed"
    if kind == "subscribe" and state.approved:  # section 3.4.2
        name = {"None": "From", "None + Pending Out": "From + Pending Out", "To": "Both"}[state.name]
        return False, state.become(name), "subscribed"
    return passes, state.become(state.name if new == "=" else new), None


class Side:
    """One of the two in a row, and what it has to receive."""

    def __init__(self, client, full, state):
        self.client, self.full, self.bare, self.state = client, full, full.partition("/")[0], state
        self.events = []

    def change(self, state, other):
        """To a new state: its clients are told what they see of it, the other one what it sees no more. What is
        left to be said, once the stanza itself has been: what the other one sees from now on."""
        before, self.state = self.state, state
        if before.item(other.bare) != state.item(other.bare):
            self.events.append("<iq type='set' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'>%s"
                               "</query></iq>" % state.item(other.bare))
        if before.gives and not state.gives:  # sections 3.2.2 and 3.3.3
            other.events.append("<presence type='unavailable' from='%s'/>" % self.full)
        return ["<presence from='%s'/>" % self.full] if state.gives and not before.gives else []

    def sends_to(self, other, kind):
        """And all that follows from it."""
        routed, state = send(kind, self.state)
        later = self.change(state, other)
        if routed:
            other.receives_from(self, kind)
        other.events += later  # section 3.1.5

    def receives_from(self, other, kind):
        delivered, state, answer = receive(kind, self.state)
        if delivered:
            self.events.append("<presence type='%s' from='%s'/>" % (kind, other.bare))
        later = self.change(state, other)
        if answer:
            other.receives_from(self, answer)
        other.events += later


def block(step, lines):
    return [step] + ["\t" + line for line in lines] if lines else []


def roster(client, ident, items):
    return (block("%s sends:" % client, ["<iq type='get' id='%s'><query xmlns='jabber:iq:roster'/></iq>" % ident])
            + block("%s receives:" % client, ["<iq type='result' id='%s'>" % ident,
                                              "<query xmlns='jabber:iq:roster' ver='{any}'>",
                                              *items, "</query>", "</iq>"]))


def presence_of(one, other):
    """What `one` receives at its initial presence, while `other` is available."""
    events = ["<presence from='%s'/>" % one.full]
    if one.state.takes and other.state.gives:
        events.append("<presence from='%s'/>" % other.full)
    if one.state.into:
        events.append("<presence type='subscribe' from='%s'/>" % other.bare)
    return events


def enter(pairs, ident):
    """juliet comes first, then the others: that way no probe meets somebody who is there."""
    text = ["juliet connects"]
    text += roster("juliet", ident, [i for i in (j.state.item(c.bare) for j, c in pairs) if i])
    text += ["juliet sends:", "\t<presence/>"]
    text += block("juliet receives in any order:",
                  ["<presence from='juliet@verona.example/balcony'/>"]
                  + ["<presence type='subscribe' from='%s'/>" % c.bare for j, c in pairs if j.state.into])
    text += ["juliet receives nothing", ", ".join(c.client for _, c in pairs) + " connect"]
    for j, c in pairs:
        text += roster(c.client, ident, [i for i in [c.state.item(j.bare)] if i])
        text += ["%s sends:" % c.client, "\t<presence/>"]
        text += block("%s receives in any order:" % c.client, presence_of(c, j))
        text += block("juliet receives:", ["<presence from='%s'/>" % c.full] if c.state.gives else [])
    return text


def scene(table):
    section, kind = table.split()
    is_out = section.startswith("A.2")
    pairs = []
    for key, state in ROWS.items():
        theirs = state.mirrored()
        if not is_out and kind in ("subscribed", "unsubscribed"):
            theirs = State("None + Pending In")  # they were asked, whatever juliet knows: it is routed
        pairs.append((Side("juliet", "juliet@verona.example/balcony", state),
                      Side(key, "%s@verona.example/orchard" % key, theirs)))

    text = ["title: %s \"%s\" in each state (RFC 6121 appendix %s)"
            % ("outbound" if is_out else "inbound", kind, section),
            "needs: own server", "client juliet juliet@verona.example/balcony"]
    text += ["client %s %s" % (c.client, c.full) for _, c in pairs]
    text += ["server stops"]
    text += block("database runs:", [s for j, c in pairs for s in (j.state.sql("juliet", c.bare),
                                                                   c.state.sql(c.client, j.bare))])
    text += ["server starts"] + enter(pairs, "r1")

    for j, c in pairs:
        sender, recipient = (j, c) if is_out else (c, j)
        text += ["# " + str(j.state)]
        sender.sends_to(recipient, kind)
        text += block("%s sends:" % sender.client, ["<presence type='%s' to='%s'/>" % (kind, recipient.bare)])
        text += block("juliet receives:", j.events) + block("%s receives:" % c.client, c.events)
    text += ["everyone receives nothing", "# All of it is stored.", "server is killed", "server starts"]
    return "\n".join(text + enter(pairs, "r2")) + "\n"


def scenes():
    """All of them: (name, text)."""
    return [("rfc6121-" + table.replace(" ", "-"), scene(table)) for table in TABLES]


if __name__ == "__main__":
    print("\n".join(text for name, text in scenes() if name in sys.argv[1:]))
