"""slixmpp, libstrophe, aioxmpp, nbxmpp and Profanity on the journey that every client makes (journey.py)."""

import functools
import os

import journey
from program import Program, compile_c

HERE = os.path.dirname(os.path.abspath(__file__))
ALL = ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]


def script(name):
    return lambda directory: os.path.join(HERE, name)


def authority(server):
    return server.ca


# The program, what it trusts (Profanity: where it may write), and the mechanisms it has.
LIBRARIES = {
    "slixmpp": (script("slixmpp_user.py"), authority, ALL),
    "strophe": (lambda directory: compile_c(directory, "strophe", "libstrophe"), authority, ALL),
    "aioxmpp": (script("aio.py"), authority, ALL),
    "nbxmpp": (script("nb.py"), journey.certificate, ALL),
    "profanity": (script("prof.py"), lambda server: server.dir, ALL),
}


async def play(library, server, directory):
    program, trusted, mechanisms = LIBRARIES[library]

    def make():
        return Program(library, [program(directory), journey.address("juliet", library), journey.PASSWORD,
                                 str(server.port), trusted(server)], os.path.join(directory, library + ".err"))
    await journey.whole(server, library, mechanisms, make)


CHECKS = [("%s: %s" % (name, journey.ALL), functools.partial(play, name)) for name in LIBRARIES]
