"""Create the certificate by which SeaweedFS' servers authenticate each other.

Run `python -m storage.roles.seaweedfs_tls FOLDER`. SeaweedFS consists of a master, a volume server
and a filer behind the S3 server. Each serves every caller unless it requires a client certificate,
so all of them require one: a caller that cannot read FOLDER fails in the TLS handshake.
"""

import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storage.roles.credentials import write

GRPC = ("master", "volume", "filer", "s3", "admin", "worker", "client")
HTTPS = ("master", "volume", "filer", "admin", "client")
LOOPBACK = ip_address("127.0.0.1")
VALID = timedelta(days=36500)


def main(folder: Path, mounted: Path | None = None) -> None:
    """Write security.toml, the certificate and its key, unless security.toml exists.

    `mounted`: where the servers see the folder, if it is elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / "security.toml").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    write(folder / "key.pem", key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode())
    write(folder / "certificate.pem", certificate(key).public_bytes(pem).decode())
    write(folder / "security.toml", security_toml(mounted or folder))


def certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A self-signed certificate that all servers share; it is also their CA."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "segue-s3")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def security_toml(folder: Path) -> str:
    files = f'cert = "{folder}/certificate.pem"\nkey = "{folder}/key.pem"\n'
    ca = f'ca = "{folder}/certificate.pem"\n'
    grpc = [f"[grpc.{server}]\n{files}" for server in GRPC]
    https = [f"[https.{server}]\n{files}{ca}" for server in HTTPS]
    return "".join([f"[grpc]\n{ca}", *grpc, *https, "enabled = true\n"])


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
