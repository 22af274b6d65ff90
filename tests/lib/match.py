"""Templates of XML: how a script says what it sends, and what it wants to receive.

Sent text may contain {name} for a variable and the macros {base64 TEXT} (with \\0 for NUL), {repeat N TEXT}
and {count N TEXT} (where # is the number, from 1 on); the innermost is expanded first.

In a template of what is received, {name} stands for the variable's value if it has one and captures it
otherwise. {any} is any text, {optional} is any text of an attribute that may also be absent, {date} is
an XEP-0082 timestamp. `...` among the children of an element allows others (and other attributes) than
those listed.

What must agree: name and namespace; the listed attributes; the listed children, in any order; the text.
Attributes that are not listed may be there only on a stanza itself, and only id, to, from and xml:lang.
A message may have one <stanza-id/> (XEP-0359) that is not listed: all that are recorded have.
"""

import base64
import re

from xmpp import NS_CLIENT, Element

VARIABLE = re.compile(r"\{([a-z][a-z0-9_.]*)(?: ([^{}]*))?\}")
DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
FREE = {"id", "to", "from", "xml:lang"}


class BadScript(Exception):
    pass


def expand_one(name, argument, variables):
    if name == "base64":
        return base64.b64encode(argument.replace("\\0", "\0").encode()).decode()
    if name == "repeat":
        count, _, text = argument.partition(" ")
        return text * int(count)
    if name == "count":
        count, _, text = argument.partition(" ")
        return "".join(text.replace("#", str(i)) for i in range(1, int(count) + 1))
    if argument is None and name in variables:
        return variables[name]
    raise BadScript("unknown variable or macro {%s}" % name)


def expand(text, variables):
    """All variables and macros of a text that is sent."""
    while VARIABLE.search(text):
        text = VARIABLE.sub(lambda m: expand_one(m.group(1), m.group(2), variables), text)
    return text


def is_wild(template):
    return isinstance(template, str) and template.strip() == "..."


def pattern_of(template, variables, captures):
    """A regular expression for a string with variables, and the names of those it captures."""
    parts, names, at = [], [], 0
    for m in VARIABLE.finditer(template):
        parts.append(re.escape(template[at:m.start()]))
        at = m.end()
        name, argument = m.group(1), m.group(2)
        if argument is not None:
            parts.append(re.escape(expand_one(name, argument, variables)))
        elif name in ("any", "optional"):
            parts.append(".*")
        elif name == "date":
            parts.append(DATE)
        elif name in captures or name in variables:
            parts.append(re.escape(captures.get(name, variables.get(name))))
        else:
            parts.append("(.+)")
            names.append(name)
    return "".join(parts) + re.escape(template[at:]), names


def match_string(template, value, variables, captures):
    """None, or the captures with what this string adds to them."""
    pattern, names = pattern_of(template, variables, captures)
    m = re.fullmatch(pattern, value, re.S)
    return dict(captures, **dict(zip(names, m.groups()))) if m else None


def match_attributes(want, got, is_open, variables, captures):
    for name, template in want.attributes.items():
        if name not in got.attributes:
            if template == "{optional}":
                continue
            return None
        captures = match_string(template, got.attributes[name], variables, captures)
        if captures is None:
            return None
    allowed = FREE if got.ns == NS_CLIENT and got.name in ("message", "presence", "iq") else set()
    extra = set(got.attributes) - set(want.attributes) - allowed
    return None if extra and not is_open else captures


def match_children(wants, gots, is_open, variables, captures):
    """Finds for each wanted child its own received one; backtracks, as templates may overlap."""
    if not wants:
        return captures if is_open or not gots else None
    for i, got in enumerate(gots):
        found = match(wants[0], got, variables, captures)
        if found is not None:
            found = match_children(wants[1:], gots[:i] + gots[i + 1:], is_open, variables, found)
            if found is not None:
                return found
    return None


def is_stanza_id(element):
    return (element.ns, element.name) == ("urn:xmpp:sid:0", "stanza-id")


def unlisted_id_dropped(want, got):
    """The received children; without the first stanza-id of a message where the template lists none."""
    found = got.elements()
    ids = [e for e in found if is_stanza_id(e)]
    if (got.ns, got.name) != (NS_CLIENT, "message") or not ids or any(is_stanza_id(e) for e in want.elements()):
        return found
    return [e for e in found if e is not ids[0]]


def match(want, got, variables, captures=None):
    """The captures of new variables when the element agrees with the template, else None."""
    captures = {} if captures is None else captures
    if not isinstance(got, Element) or (want.ns, want.name) != (got.ns, got.name):
        return None
    texts = [c for c in want.children if isinstance(c, str)]
    is_open = any("..." in t for t in texts)
    captures = match_attributes(want, got, is_open, variables, captures)
    if captures is None:
        return None
    captures = match_children(want.elements(), unlisted_id_dropped(want, got), is_open, variables, captures)
    text = "".join(texts).strip()
    if captures is None or is_open and not text.replace("...", "").strip():
        return captures
    found = got.text() if text and not want.elements() else got.text().strip()
    return match_string(text, found, variables, captures)
