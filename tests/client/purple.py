"""Pidgin's library on the journey that every client makes (journey.py), and how it takes certificates."""

import os
import shutil

import journey
from program import Program, compile_c

MECHANISMS = ["SCRAM-SHA-1", "PLAIN"]


def make(server, directory, tls="require_tls", trusted=True):
    own = os.path.join(directory, "purple-" + tls + ("" if trusted else "-untrusting"))
    shutil.rmtree(own, ignore_errors=True)
    peers = os.path.join(own, "certificates", "x509", "tls_peers")
    os.makedirs(peers)
    if trusted:  # under the name that is connected to
        shutil.copy(journey.certificate(server), os.path.join(peers, "127.0.0.1"))
    port = server.tls_port if tls == "old_ssl" else server.port
    return Program("libpurple", [compile_c(directory, "purple", "purple", "glib-2.0"), own,
                                 journey.address("juliet", "purple"), journey.PASSWORD, str(port), tls],
                   os.path.join(directory, "purple.err"))


async def play(server, directory):
    await journey.whole(server, "purple", MECHANISMS, lambda: make(server, directory))


async def direct_tls(server, directory):
    async with make(server, directory, "old_ssl") as juliet:
        juliet.tell("connect")
        await juliet.until("signed-on")


async def unknown_certificate(server, directory):
    async with make(server, directory, trusted=False) as juliet:
        juliet.tell("connect")
        await juliet.until("question ")
        await juliet.until("error ")


CHECKS = [
    ("libpurple: " + journey.ALL, play),
    ("libpurple: direct TLS", direct_tls),
    ("libpurple: a certificate that nobody vouches for is refused", unknown_certificate),
]
