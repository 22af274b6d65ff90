"""TCP ports on 127.0.0.1 for servers of ours.

A port that is handed out stays so: no other test on this machine gets it while this process lives, and no
outgoing connection either, as it is none of those that the kernel takes by itself. So a server can be stopped
and started again on it."""

import random
import socket

HELD = {}  # port: the name that says so to other processes


def outgoing():
    """The ports that the kernel gives to connections."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
            first, last = map(int, f.read().split())
    except (OSError, ValueError):
        first, last = 32768, 60999
    return range(first, last + 1)


def hold(port):
    """False: somebody has it. The abstract socket ends with this process, however that ends."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            claim.bind("\0muster-test-port-%d" % port)
            s.bind(("127.0.0.1", port))
            s.listen()
        except OSError:
            claim.close()
            return False
    HELD[port] = claim
    return True


def hold_all(wanted):
    for n, port in enumerate(wanted):
        if not hold(port):
            for p in wanted[:n]:
                HELD.pop(p).close()
            return False
    return True


def free_ports(count, within=range(10000, 60000)):
    """So many, one behind the other."""
    taken = outgoing()
    rows = [range(p, p + count) for p in within if p + count - 1 in within]
    quiet = [row for row in rows if row[0] not in taken and row[-1] not in taken]
    for row in random.sample(quiet or rows, len(quiet or rows)):
        if hold_all(row):
            return list(row)
    raise OSError("there is no free port on 127.0.0.1")


def is_open(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0
