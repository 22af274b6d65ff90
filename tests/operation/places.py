"""Files that are not as they were: what a killed server leaves, the database's password, renewed certificates."""

import os
import socket
import ssl
import subprocess
import time

import certs
import server
from xmpp import Failure

HOOK = os.path.join(server.TREE, "contrib", "renew-hook")


def starts_after_a_kill(stage):
    """Lock and socket that a killed server left are no hindrance; those of a running one are."""
    s = stage.start()
    for _ in range(2):
        second = subprocess.run([s.programs.musterd, "--config", s.conf], capture_output=True, text=True, timeout=server.START_TIME)
        if second.returncode != 1 or "is locked by musterd, process %d" % s.process.pid not in s.log():
            raise Failure("a second server: %d\n%s" % (second.returncode, s.tail()))
        s.kill()
        for name in ("lock", "control.sock"):
            if not os.path.exists(os.path.join(s.dir, "run", name)):
                raise Failure("%s was to be left behind" % name)
        answer = subprocess.run(s.ctl_command("status"), capture_output=True, text=True)
        if answer.returncode != 3 or "No server listens" not in answer.stderr:
            raise Failure("musterctl said: %s" % answer.stderr)
        s.start()
        s.ctl("status")
    s.stop()
    if os.path.exists(s.socket):
        raise Failure("it left its socket")


def reads_the_password_again(stage):
    """store.password_file: for each connection; one that everybody may read is refused with a sentence."""
    name, admin = "muster_password_test", stage.postgresql.conninfo
    query = server.PostgreSQL.query
    query(admin, "create role %s login password 'capulet'" % name)
    database = stage.postgresql.new_database()
    query(database, "grant all on schema public to %s" % name)
    path = os.path.join(os.path.dirname(stage.dir), "password")

    def write(text, mode):
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)

    # This cluster wants no password of anybody: that the file is read is seen by what is refused.
    s = stage.make(conninfo=database + " user=" + name,
                   store={"password_file": path}, log_level="info")
    write("capulet\n", 0o644)
    try:
        s.set_up(["verona.example"])
        raise Failure("it takes a password that everybody may read")
    except server.Broken:
        if "can be read by everybody" not in s.log():
            raise
    write("capulet\n", 0o640)
    s.start()
    write("montague\n", 0o604)
    query(admin, "select pg_terminate_backend(pid) from pg_stat_activity where usename = '%s'" % name)
    give_up = time.monotonic() + 60
    while "can be read by everybody" not in s.log().split(" is ready")[-1]:
        if time.monotonic() > give_up:
            raise Failure("it does not read the file again")
        time.sleep(0.1)
    write("montague\n", 0o600)
    while "PostgreSQL is back for writing" not in s.log():
        if time.monotonic() > give_up:
            raise Failure("it does not come back")
        time.sleep(0.1)
    if "capulet" in s.log() or "montague" in s.log():
        raise Failure("the log tells the password")
    s.stop()


def shown_serial(s):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", s.tls_port)) as tcp:
        with context.wrap_socket(tcp, server_hostname="verona.example") as tls:
            return tls.getpeercert(binary_form=True)


def takes_renewed_certificates(stage):
    """contrib/renew-hook, as certbot calls it: the new certificate is shown from the next connection on. One whose
    key is another's is refused, and the old one stays."""
    s = stage.start()
    first = shown_serial(s)
    lineage = os.path.join(s.dir, "lineage")
    other = os.path.join(s.dir, "other")
    for directory in (lineage, other):
        certs.make(directory, ["verona.example"])
        os.rename(os.path.join(directory, "verona.example.crt"), os.path.join(directory, "fullchain.pem"))
        os.rename(os.path.join(directory, "verona.example.key"), os.path.join(directory, "privkey.pem"))

    def hook(**more):
        environment = dict(os.environ, MUSTER_CERTS=os.path.join(s.dir, "certs"), MUSTER_GROUP=str(os.getgid()),
                           MUSTERCTL=" ".join(s.ctl_command()), RENEWED_DOMAINS="verona.example *.verona.example", **more)
        return subprocess.run([HOOK], env=environment, capture_output=True, text=True)

    answer = hook(RENEWED_LINEAGE=lineage)
    if answer.returncode:
        raise Failure("renew-hook: %s%s" % (answer.stdout, answer.stderr))
    second = shown_serial(s)
    if second == first:
        raise Failure("the old certificate is shown still")
    if os.stat(os.path.join(s.dir, "certs", "verona.example.key")).st_mode & 0o7:
        raise Failure("the key is for everybody")
    os.rename(os.path.join(other, "privkey.pem"), os.path.join(lineage, "privkey.pem"))
    answer = hook(RENEWED_LINEAGE=lineage)
    if answer.returncode == 0 or "is not the key of" not in answer.stderr:
        raise Failure("a wrong key is taken: %s" % answer.stderr)
    if shown_serial(s) != second:
        raise Failure("the certificate is another one now")
    s.stop()


PLAYS = {
    "starts-after-a-kill": ("sqlite", starts_after_a_kill),
    "reads-the-password-again": ("postgresql", reads_the_password_again),
    "takes-renewed-certificates": ("sqlite", takes_renewed_certificates),
}
