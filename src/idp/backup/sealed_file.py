"""An encrypted, compressed stream of bytes: AES-256-GCM in frames, as the STREAM construction has them.

Each file has a key of its own, derived from the root secret and a salt. A frame's nonce is its number, and the last
frame is marked, so a frame that is changed, moved, repeated or missing at the end makes the file unreadable.
"""

import hashlib
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from idp.settings import Secret
from idp.signing.sealing import derive

_MAGIC = b"IDPBACK1"
_LABEL = "backup"
_FRAME = 1 << 20  # bytes of compressed data
_MAX_SEALED = _FRAME + 16  # and the tag
_LENGTH = struct.Struct(">I")
_NONCE = struct.Struct(">IQ")
_MORE, _LAST = b"more", b"last"


class UnreadableBackup(Exception):
    """The file is no backup, is damaged, or belongs to another root secret; the message says which."""


class SealedWriter:
    """Compresses and encrypts what is written.

    Args:
        write: receives the bytes of the file.
        root: the current root secret.
    """

    def __init__(self, write: Callable[[bytes], object], root: Secret) -> None:
        salt = secrets.token_bytes(16)
        self._write = write
        self._cipher = AESGCM(derive(root, _LABEL, salt=salt))
        self._compressor = zlib.compressobj(6)
        self._waiting = bytearray()
        self._number = 0
        write(_MAGIC + _name_of(root) + salt)

    def write(self, data: bytes) -> None:
        """Add data."""
        self._waiting += self._compressor.compress(data)
        while len(self._waiting) > _FRAME:
            self._seal(bytes(self._waiting[:_FRAME]), _MORE)
            del self._waiting[:_FRAME]

    def close(self) -> None:
        """Write the last frame; without it the file is unreadable."""
        self._waiting += self._compressor.flush()
        while len(self._waiting) > _FRAME:
            self._seal(bytes(self._waiting[:_FRAME]), _MORE)
            del self._waiting[:_FRAME]
        self._seal(bytes(self._waiting), _LAST)

    def _seal(self, frame: bytes, kind: bytes) -> None:
        sealed = self._cipher.encrypt(_NONCE.pack(0, self._number), frame, kind)
        self._number += 1
        self._write(_LENGTH.pack(len(sealed)) + sealed)


def open_sealed(file: BinaryIO, roots: Sequence[Secret]) -> Iterator[bytes]:
    """Yield the data of a file, in pieces.

    Args:
        file: at its beginning.
        roots: live root secrets.

    Raises:
        UnreadableBackup: it is no backup, damaged, or no live root secret opens it.
    """
    cipher = _cipher_of(file, roots)
    decompressor = zlib.decompressobj()
    number, is_last = 0, False
    while not is_last:
        sealed = _next_frame(file)
        try:
            frame, is_last = _open(cipher, number, sealed)
            yield decompressor.decompress(frame)
        except (InvalidTag, zlib.error):
            raise UnreadableBackup(f"The backup is damaged: frame {number} was changed.") from None
        number += 1
    yield decompressor.flush()
    if file.read(1):
        raise UnreadableBackup("The backup is damaged: more follows its end.")


def _open(cipher: AESGCM, number: int, sealed: bytes) -> tuple[bytes, bool]:
    """Decrypt a frame; return it, and whether it is the last one. Raises InvalidTag."""
    nonce = _NONCE.pack(0, number)
    try:
        return cipher.decrypt(nonce, sealed, _MORE), False
    except InvalidTag:
        return cipher.decrypt(nonce, sealed, _LAST), True


def _next_frame(file: BinaryIO) -> bytes:
    head = file.read(_LENGTH.size)
    size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    sealed = file.read(size) if 0 < size <= _MAX_SEALED else b""
    if not size or len(sealed) != size:
        raise UnreadableBackup("The backup is incomplete: its end is missing.")
    return sealed


def _cipher_of(file: BinaryIO, roots: Sequence[Secret]) -> AESGCM:
    head = file.read(len(_MAGIC) + 16 + 16)
    if not head.startswith(_MAGIC) or len(head) != len(_MAGIC) + 32:
        raise UnreadableBackup("The file is no backup of `idp backup`.")
    name, salt = head[len(_MAGIC) : -16], head[-16:]
    for root in roots:
        if _name_of(root) == name:
            return AESGCM(derive(root, _LABEL, salt=salt))
    raise UnreadableBackup(
        "The backup was made with another IDP_SECRET_KEY: put that one into IDP_PREVIOUS_SECRET_KEYS."
    )


def _name_of(root: Secret) -> bytes:
    """Return what identifies a root secret in the head of a file, 16 bytes."""
    return hashlib.sha256(derive(root, "backup-name")).digest()[:16]
