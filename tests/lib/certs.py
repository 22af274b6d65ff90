"""A certificate authority and certificates for the served domains, made with openssl(1)."""

import os
import subprocess


def openssl(*arguments, text=None):
    subprocess.run(("openssl",) + arguments, input=text, text=True, check=True, capture_output=True)


def make_key(path):
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def make(directory, domains):
    """Writes ca.pem, and DOMAIN.crt and DOMAIN.key for each domain. Returns the path of ca.pem."""
    os.makedirs(directory, exist_ok=True)
    at = lambda name: os.path.join(directory, name)
    make_key(at("ca.key"))
    openssl("req", "-x509", "-new", "-key", at("ca.key"), "-out", at("ca.pem"), "-days", "2", "-sha256",
            "-subj", "/CN=Tests", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for domain in domains:
        sign(directory, domain, at(domain))
    return at("ca.pem")


def sign(directory, name, path, extensions=None, days=2):
    """A certificate by the authority in `directory`, into PATH.crt, and its key into PATH.key."""
    at = lambda name: os.path.join(directory, name)
    make_key(path + ".key")
    openssl("req", "-new", "-key", path + ".key", "-subj", "/CN=" + name, "-out", at("request"))
    with open(at("extensions"), "w") as f:
        f.write(extensions or "subjectAltName=DNS:%s\nbasicConstraints=critical,CA:FALSE\n"
                "extendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n" % name)
    openssl("x509", "-req", "-in", at("request"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"),
            "-CAcreateserial", "-days", str(days), "-sha256", "-extfile", at("extensions"), "-out", path + ".crt")
