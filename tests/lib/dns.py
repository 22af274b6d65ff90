"""A name server on this machine's own address, for one test: answers from a table, over UDP."""

import ipaddress
import socket
import struct
import threading

A, AAAA, SRV = 1, 28, 33


def name_bytes(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


class Server:
    """`records`: by (name, type) a list of addresses, or of (priority, weight, port, target)."""

    def __init__(self, records):
        self.records = records
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                question, peer = self.socket.recvfrom(4096)
                self.socket.sendto(self.answer(question), peer)
            except OSError:  # closed
                return

    def answer(self, question):
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
            at += 1 + question[at]
        kind = struct.unpack("!H", question[at + 1:at + 3])[0]
        name = ".".join(labels)
        found = self.records.get((name, kind), [])
        known = any(n == name for n, _ in self.records)
        head = struct.pack("!HHHHHH", struct.unpack("!H", question[:2])[0], 0x8180 | (0 if known else 3), 1,
                           len(found), 0, 0)
        return head + question[12:at + 5] + b"".join(self.record(kind, value) for value in found)

    @staticmethod
    def record(kind, value):
        if kind == SRV:
            data = struct.pack("!HHH", *value[:3]) + name_bytes(value[3])
        else:
            data = ipaddress.ip_address(value).packed
        return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data

    def close(self):
        self.socket.close()
