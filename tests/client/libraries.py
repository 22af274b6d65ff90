"""slixmpp, libstrophe, aioxmpp, nbxmpp and Profanity on the journey that every client makes (journey.py);
and those that can on the one of several devices (devices.py)."""

import functools
import os

import devices
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


# Those that read archives and take copies; whether they can be told to read on from an id.
DEVICES = {"slixmpp": True, "nbxmpp": True, "profanity": False}


def program(library, user, server, directory):
    make, trusted, _ = LIBRARIES[library]
    return Program(library, [make(directory), journey.address("juliet", user), journey.PASSWORD, str(server.port),
                             trusted(server)], os.path.join(directory, library + ".err"))


async def play(library, server, directory):
    await journey.whole(server, library, LIBRARIES[library][2],
                        functools.partial(program, library, library, server, directory))


async def play_devices(library, server, directory):
    user = library + "-devices"
    await devices.whole(server, user, functools.partial(program, library, user, server, directory),
                        DEVICES[library])


async def preferences(server, directory):
    """What is kept: refused where that is the host's to say, and set where it is not (XEP-0441)."""
    if not hasattr(server, "ctl"):
        return  # Prosody has no such policy
    server.add_account("nbxmpp-keeps-juliet", journey.HOST, journey.PASSWORD)
    async with program("nbxmpp", "nbxmpp-keeps", server, directory) as juliet:
        juliet.tell("connect")
        await juliet.until("signed-on")
        juliet.tell("keep never")
        await juliet.until("keeps-error not-allowed")
        server.ctl("host", "set", journey.HOST, "record.preferences", "users")
        try:
            juliet.tell("keep roster")
            await juliet.until("keeps roster but friar@verona.example")
        finally:
            server.ctl("host", "set", journey.HOST, "record.preferences")


CHECKS = [("%s: %s" % (name, journey.ALL), functools.partial(play, name)) for name in LIBRARIES]
CHECKS += [("%s: %s" % (name, devices.ALL), functools.partial(play_devices, name)) for name in DEVICES]
CHECKS += [("nbxmpp: what is kept", preferences)]
