"""What the server tells a service manager: that it is ready, reloads, lives, and ends (sd_notify(3))."""

import ctypes
import os
import signal
import socket
import time

from xmpp import Failure

PATIENCE = 60


class Manager:
    """The manager's end of the socket; `name` begins with @ for an abstract one."""

    def __init__(self, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name[0] == "@" else name)
        self.socket.settimeout(PATIENCE)

    def next(self):
        """The next datagram, as a dict."""
        text = self.socket.recv(4096).decode()
        assert text.endswith("\n"), text
        return dict(line.split("=", 1) for line in text.splitlines())

    def forget(self):
        """What has come until now."""
        self.socket.setblocking(False)
        try:
            while True:
                self.socket.recv(4096)
        except BlockingIOError:
            pass
        self.socket.settimeout(PATIENCE)

    def expect(self, **lines):
        """The next datagram has these; a heartbeat in between does not count."""
        while True:
            said = self.next()
            if said != {"WATCHDOG": "1"}:
                break
        for key, value in lines.items():
            if said.get(key) != value:
                raise Failure("%s=%s was expected, not %s" % (key, value, said))
        return said


def thread_named(s, name):
    for tid in os.listdir("/proc/%d/task" % s.process.pid):
        with open("/proc/%d/task/%s/comm" % (s.process.pid, tid)) as f:
            if f.read().strip() == name:
                return int(tid)
    raise Failure("there is no thread \"%s\"" % name)


class Stopped:
    """A thread that stands still meanwhile, and no other of its process."""

    ATTACH, DETACH = 16, 17  # of ptrace(2)

    def __init__(self, tid):
        self.tid, self.libc = tid, ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]

    def __enter__(self):
        if self.libc.ptrace(self.ATTACH, self.tid, None, None) != 0:
            raise PermissionError("ptrace: %s" % os.strerror(ctypes.get_errno()))
        os.waitpid(self.tid, 0x40000000)  # __WALL: threads too

    def __exit__(self, *_):
        self.libc.ptrace(self.DETACH, self.tid, None, None)


def tells_its_manager(stage):
    s = stage.make()
    manager = Manager(os.path.join(s.dir, "notify"))
    s.environment = {"NOTIFY_SOCKET": manager.name}
    s.set_up(["verona.example"])
    manager.expect(READY="1", STATUS="Serving 0 hosts")

    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    s.ctl("reload")
    said = manager.expect(RELOADING="1")
    if not before <= int(said["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000:
        raise Failure("MONOTONIC_USEC is not the time of the reload: %s" % said)
    manager.expect(READY="1", STATUS="Serving 1 hosts")

    s.process.send_signal(signal.SIGHUP)
    manager.expect(RELOADING="1")
    manager.expect(READY="1", STATUS="Serving 1 hosts")

    with open(s.conf, "a") as f:
        f.write("nonsense: 1\n")
    s.process.send_signal(signal.SIGHUP)
    manager.expect(RELOADING="1")
    manager.expect(READY="1", STATUS="Reload refused, see the log; everything is as before")

    s.process.send_signal(signal.SIGTERM)
    manager.expect(STOPPING="1")
    if s.stop() != 0:
        raise Failure("it ended with %d" % s.process.returncode)


def six_beats(manager):
    """How long they take."""
    manager.forget()
    begun = time.monotonic()
    for _ in range(6):
        if manager.next() != {"WATCHDOG": "1"}:
            raise Failure("that is no beat")
    return time.monotonic() - begun


def fall_silent(manager):
    """No beat comes for four times as long as between two; some may have been on their way."""
    manager.socket.settimeout(2)
    try:
        for _ in range(10):
            manager.next()
    except socket.timeout:
        manager.socket.settimeout(PATIENCE)
        return
    raise Failure("it goes on beating while a reactor stands still")


def beats_for_its_watchdog(stage):
    """A beat each half period, from an abstract socket; none once a reactor stands still."""
    s = stage.make(reactors=3)
    manager = Manager("@muster-test-%d" % os.getpid())
    s.environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1000000"}
    s.set_up(["verona.example"])
    manager.expect(READY="1")
    for _ in range(8):  # a busy machine is late at times
        took = six_beats(manager)
        if 2 < took < 4.5:  # timers are 50 ms coarse
            break
    else:
        raise Failure("six beats of 0.5 s took %.1f s" % took)
    try:
        with Stopped(thread_named(s, "reactor 2")):
            fall_silent(manager)
    except PermissionError as e:
        print("      passed over: what it does while a reactor stands still (%s)" % e)
    if manager.next() != {"WATCHDOG": "1"}:
        raise Failure("it does not beat again")
    if s.stop() != 0:
        raise Failure("it ended with %d" % s.process.returncode)


def is_anothers_watchdog(stage):
    """WATCHDOG_PID names another process, and NOTIFY_SOCKET is no socket: it runs all the same."""
    s = stage.make()
    manager = Manager("@muster-test-other-%d" % os.getpid())
    s.environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
    s.set_up(["verona.example"])
    manager.expect(READY="1")
    manager.socket.settimeout(1)
    try:
        raise Failure("it said %s" % manager.next())
    except socket.timeout:
        pass
    s.stop()
    for name, sentence in (("nowhere", "is no path of a socket"), ("/nowhere/notify", "is not reached")):
        s.environment = {"NOTIFY_SOCKET": name}
        s.start()
        s.stop()
        if sentence not in s.log():
            raise Failure("nothing is said of NOTIFY_SOCKET=%s" % name)


PLAYS = {
    "tells-its-manager": ("sqlite postgresql", tells_its_manager),
    "beats-for-its-watchdog": ("sqlite", beats_for_its_watchdog),
    "is-anothers-watchdog": ("sqlite", is_anothers_watchdog),
}
