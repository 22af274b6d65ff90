"""A real Prosody, to show that a scene asks for what the RFC says and not for what we happen to do."""

import hashlib
import hmac
import os
import subprocess
import time

import certs
import ports

CONFIGURATION = """
daemonize = false
run_as_root = true
pidfile = "{dir}/prosody.pid"
data_path = "{dir}/data"
plugin_paths = {{ }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{ {tls_port} }}
network_backend = "epoll"
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "ping"; "presence"; "message"; "iq"; "offline"; "mam"; "carbons"; "csi"; "csi_simple"; "smacks" }}
modules_disabled = {{ "s2s" }}
c2s_require_encryption = true
allow_unencrypted_plain_auth = false
authentication = "internal_hashed"
storage = "internal"
archive_expires_after = "never"
log = {{ debug = "{dir}/server.log" }}
{hosts}
"""
HOST = """
VirtualHost "{host}"
	ssl = {{ key = "{certs}/{host}.key"; certificate = "{certs}/{host}.crt" }}
"""


def encoded(name):
    return "".join(c if c.isascii() and c.isalnum() else "%%%02x" % b for c in name for b in c.encode())


class Prosody:
    """Has the same face as server.Musterd as far as scenes without administrator need it."""
    engine = "prosody"

    def __init__(self, directory):
        self.dir = directory
        self.conf = os.path.join(directory, "prosody.cfg.lua")
        self.port, self.tls_port = ports.free_ports(2)
        self.process = None

    def set_up(self, hosts):
        cert_dir = os.path.join(self.dir, "certs")
        self.ca = certs.make(cert_dir, hosts)
        sections = "".join(HOST.format(host=h, certs=cert_dir) for h in hosts)
        with open(self.conf, "w") as f:
            f.write(CONFIGURATION.format(dir=self.dir, port=self.port, tls_port=self.tls_port, hosts=sections))
        for h in hosts:
            os.makedirs(os.path.join(self.dir, "data", encoded(h), "accounts"))
        self.start()

    def start(self):
        with open(os.path.join(self.dir, "out"), "w") as out:
            self.process = subprocess.Popen(["lua5.4", "/usr/bin/prosody", "--config", self.conf, "-F"],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.dir)
        for _ in range(300):
            if not self.is_running() or ports.is_open(self.port) and ports.is_open(self.tls_port):
                return
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        return self.process.wait(10)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def add_account(self, user, host, password):
        salt, rounds = os.urandom(12).hex(), 4096
        salted = hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), rounds)
        key = lambda name: hmac.new(salted, name, hashlib.sha1).digest()
        path = os.path.join(self.dir, "data", encoded(host), "accounts", encoded(user) + ".dat")
        with open(path, "w") as f:
            f.write('return {\n\t["iteration_count"] = %d;\n\t["salt"] = "%s";\n\t["server_key"] = "%s";\n'
                    '\t["stored_key"] = "%s";\n};\n' % (rounds, salt, key(b"Server Key").hex(),
                                                         hashlib.sha1(key(b"Client Key")).hexdigest()))

    def log(self, since=0):
        try:
            with open(os.path.join(self.dir, "server.log"), errors="replace") as f:
                f.seek(since)
                return f.read()
        except FileNotFoundError:
            return ""
