"""Signatures of model versions.

A worker that has the operator's public key uses only versions signed with the private key.
The signature covers the card, which holds the SHA-256 of every file. It is stored with the version
as card.sig.
"""

import base64
import binascii
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CONTEXT = b"segue model card\n"  # a signature that this key makes for another purpose does not verify
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def make_key(file: Path) -> str:
    """Write a new private key and return the public key for MODEL_PUBLIC_KEY.

    The file is readable by its owner only. Raises OSError, also if the file exists.
    """
    key = Ed25519PrivateKey.generate()
    file.touch(mode=0o600, exist_ok=False)
    file.write_bytes(key.private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(card: bytes, file: Path) -> bytes:
    """Sign with the private key in `file`.

    Raises OSError or ValueError if it does not hold an Ed25519 key.
    """
    key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{file} is not an Ed25519 key")
    return base64.b64encode(key.sign(CONTEXT + card))


def public_key(text: str) -> Ed25519PublicKey:
    """Parse MODEL_PUBLIC_KEY. Raises ValueError."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error) as error:
        raise ValueError("MODEL_PUBLIC_KEY: the line that `segue models keygen` prints") from error


def is_signed(card: bytes, signature: bytes | None, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(base64.b64decode(signature or b"", validate=True), CONTEXT + card)
    except (InvalidSignature, ValueError):
        return False
    return True
