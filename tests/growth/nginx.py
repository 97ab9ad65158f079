"""A real nginx with deploy/nginx.conf, its folders, ports and certificate replaced by those of a test."""

import crypt
import datetime
import ipaddress
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from growth.client import Client
from growth.deployment import DEPLOY, SECRETS, Deployment

HOST = "tenfold.example.com"
# MLflow's own user: nginx passes the log-in on
LOGIN = ("admin", SECRETS["TENFOLD_MLFLOW_PASSWORD"])


@contextmanager
def running(deployed: Deployment, folder: Path) -> Iterator[Client]:
    """A client that knows the certificate and the log-in."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        reason = "nginx is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    certify(folder)
    (folder / "htpasswd").write_text(f"{LOGIN[0]}:{crypt.crypt(LOGIN[1], crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=2**5))}\n")
    text = deployed.here((DEPLOY / "nginx.conf").read_text()).replace("/etc/nginx/tls", str(folder)).replace("/etc/nginx", str(folder))
    # where a server that is not Debian's service may write
    places = [f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    (folder / "nginx.conf").write_text(text.replace("http {", f"http {{ access_log {folder}/access.log; {' '.join(places)}"))
    log = folder / "error.log"
    outer = f"daemon off; pid {folder}/pid; error_log {log};" + (" user root;" if os.geteuid() == 0 else "")
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(log), "-g", outer])
    port = deployed.ports["8443"]
    client = Client(f"https://127.0.0.1:{port}", f"{HOST}:{port}", LOGIN, folder / "fullchain.pem")
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                client.ask("/server_info")
                break
            except ConnectionError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield client
    finally:
        process.terminate()
        process.wait(30)


def certify(folder: Path) -> None:
    """A certificate that signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
    certificate = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "privkey.pem").write_bytes(secret)
