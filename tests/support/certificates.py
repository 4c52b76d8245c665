"""A certificate authority for the tests, and a proxy that terminates TLS for a plain server."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import services
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
DAY = timedelta(days=1)


class Authority:
    """Writes the certificates that it signs to `folder`; its own certificate is `ca`."""

    def __init__(self, folder: Path) -> None:
        self.ca = folder / "ca.pem"
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tests {folder.name}")])
        made = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, 0), critical=True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = made.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.ca.write_bytes(certificate.public_bytes(PEM))

    def server(self, address: str = "127.0.0.1", valid_until: datetime | None = None) -> ssl.SSLContext:
        """Return the TLS context of a server at this address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_file(address, valid_until))
        return context

    def server_file(self, address: str = "127.0.0.1", valid_until: datetime | None = None) -> Path:
        """Return a file with the key and the certificate of a server at this address."""
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        made = self._builder(name, key, valid_until).add_extension(alternative, critical=True)
        certificate = made.sign(self._key, hashes.SHA256())
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file = self._folder / f"{certificate.serial_number}.pem"
        file.write_bytes(private + certificate.public_bytes(PEM))
        return file

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, valid_until: datetime | None = None
    ) -> x509.CertificateBuilder:
        until = valid_until or datetime.now(UTC) + DAY
        return (
            x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(until - 2 * DAY)
            .not_valid_after(until)
        )


@contextmanager
def speaking_tls(context: ssl.SSLContext, port: int) -> Iterator[int]:
    """Yield a port that accepts only TLS and forwards to the plain server at `port`."""
    own = services.free_ports(1)
    with socket.create_server(("127.0.0.1", own)) as listener:
        threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
        yield own


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            threading.Thread(target=_serve, args=(listener.accept()[0], context, port), daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        suppress(OSError),
        client,
        context.wrap_socket(client, server_side=True) as outside,
        socket.create_connection(("127.0.0.1", port)) as inside,
    ):
        threading.Thread(target=_copy, args=(inside, outside), daemon=True).start()
        _copy(outside, inside)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
