"""Keys at rest: a client's keys in a file that only its passphrase opens.

The key of the file is made of the passphrase by scrypt; what it holds is encrypted and
authenticated by AES-GCM, the line before it included.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.envelope import Envelope
from secateur.errors import MismatchError, PassphraseError
from secateur.extras import needed_for
from secateur.files import write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_ENVELOPE = Envelope("file of a client's keys", "secateur-client-keys", version=1)


def write_keys(path: Path, keys: bytes, circuit: str, passphrase: str) -> None:
    """Write `keys` to `path`, encrypted; the file appears whole or not at all, to its owner.

    Raises:
        MissingExtraError: cryptography is not installed.
        OSError: the file cannot be written.
    """
    salt, nonce = os.urandom(16), os.urandom(12)
    line = _ENVELOPE.seal({"circuit": circuit, "salt": salt.hex(), "nonce": nonce.hex()})
    first = json.dumps(line).encode()
    write_whole(path, first + b"\n" + _cipher(passphrase, salt).encrypt(nonce, keys, first))
    path.chmod(0o600)


def read_keys(path: Path, circuit: str, passphrase: str) -> bytes:
    """Return the keys that `write_keys` wrote to `path`.

    Raises:
        MissingExtraError: cryptography is not installed.
        FileFormatError, FileVersionError: the file is none of ours.
        MismatchError: the keys were made for another circuit.
        PassphraseError: the passphrase is another, or the file was altered.
    """
    first, _, content = path.read_bytes().partition(b"\n")
    line = _ENVELOPE.read(first, path)
    with _ENVELOPE.reading(path):
        whose = str(line["circuit"])
        salt, nonce = bytes.fromhex(line["salt"]), bytes.fromhex(line["nonce"])
    if whose != circuit:
        raise MismatchError(
            f"{path} holds keys for circuit {whose[:12]}…, this is {circuit[:12]}…; "
            "each circuit has keys of its own",
            what="client keys",
            expected=circuit,
            found=whose,
        )
    cipher = _cipher(passphrase, salt)
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(nonce, content, first)
    except (InvalidTag, ValueError) as error:
        raise PassphraseError(
            f"{path} does not open: the passphrase is another, or the file was altered",
            path=str(path),
        ) from error


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    with needed_for("a file of a client's keys"):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    # 64 MiB and about a quarter of a second: OWASP's least for scrypt.
    key = Scrypt(salt=salt, length=32, n=1 << 16, r=8, p=1).derive(passphrase.encode())
    return AESGCM(key)
