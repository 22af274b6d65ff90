"""A client in a process of its own, told by lines what to do; what happens to it is a line each.

Commands: connect, disconnect, add JID, send JID TEXT, away TEXT, list, quit; where it has that also carbons,
keep DEFAULT, and archive JID [ID]: all with that address, or what is behind that message, in small pages.
It says: ready, signed-on, signed-off, error TEXT, message FROM TEXT, presence BARE SHOW (offline: unavailable),
authorized BARE (it was asked, and accepted), listed COUNT; carbons, sent FROM TEXT and received FROM TEXT (copies),
keeps DEFAULT JID... but JID..., keeps-error CONDITION; archived ID FROM TEXT, archive-end or archive-error TEXT."""

import asyncio
import os
import shlex
import subprocess

from xmpp import TIMEOUT, Failure

HERE = os.path.dirname(os.path.abspath(__file__))


def compile_c(directory, name, *packages):
    """Compiles NAME.c against those packages, once; returns the program."""
    program = os.path.join(directory, name)
    if not os.path.exists(program):
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", *packages], capture_output=True, text=True,
                               check=True).stdout
        subprocess.run(shlex.split(os.environ.get("CC", "cc")) +
                       ["-std=gnu11", "-o", program, os.path.join(HERE, name + ".c")] + shlex.split(flags), check=True)
    return program


class Program:
    """`lines` are those nobody has waited for yet."""

    def __init__(self, name, argv, log):
        self.name, self.argv, self.log, self.lines = name, argv, log, []

    async def __aenter__(self):
        with open(self.log, "a") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log)
        await self.until("ready")
        return self

    def tell(self, command):
        self.process.stdin.write(command.encode() + b"\n")

    async def until(self, wanted):
        """Waits for a line that begins so, takes it out and returns it."""
        while True:
            for line in self.lines:
                if line.startswith(wanted):
                    self.lines.remove(line)
                    return line
            try:
                line = await asyncio.wait_for(self.process.stdout.readline(), 2 * TIMEOUT)
            except asyncio.TimeoutError:
                raise Failure("%s said only %s, not '%s...'" % (self.name, self.lines, wanted)) from None
            if not line:
                raise Failure("%s ended while waiting for '%s'; it said %s" % (self.name, wanted, self.lines))
            self.lines.append(line.decode().rstrip("\n"))

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.tell("quit")
            try:
                await asyncio.wait_for(self.process.wait(), TIMEOUT)
            except asyncio.TimeoutError:
                self.process.kill()
