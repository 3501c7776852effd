"""Ed25519 keys in PEM files: the one file that imports `cryptography`, and only when asked to.

Nothing here says a byte of a private key: not a message, not a `repr`.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from lopd_store.digest import Digest
from lopd_store.errors import FormatError, NotFoundError, UsageError
from lopd_store.store import durable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAX_KEY_BYTES: Final = 16 << 10  # an Ed25519 key is 119 bytes, an RSA key of 16,384 bits 12 KiB
PUBLIC_SUFFIX: Final = ".pub"
_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_PUBLIC: Final = "PUBLIC KEY"
_PRIVATE: Final = "PRIVATE KEY"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What tells whether a signature is its owner's.

    Attributes:
        der: the key as SubjectPublicKeyInfo, which says its type too.
    """

    der: bytes = field(repr=False)

    @property
    def id(self) -> Digest:
        """SHA-256 of the key's bytes: the `keyid` of its signatures."""
        return Digest.of(self.der)

    def signed(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` was made of `data` with the private key that belongs to this one."""
        _require_package()
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        key = load_der_public_key(self.der)
        assert isinstance(key, Ed25519PublicKey)  # noqa: S101 - `read_public` took no other
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What signs.

    Attributes:
        public: the key that tells whose signatures these are.
    """

    public: PublicKey
    _key: "Ed25519PrivateKey" = field(repr=False)

    @classmethod
    def of(cls, key: "Ed25519PrivateKey") -> Self:
        """A key of the package, with its public half."""
        return cls(PublicKey(_der(key.public_key())), key)

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the signature of `data`, the same each time."""
        return self._key.sign(data)


def generate(path: Path) -> PublicKey:
    """Make a key pair: the private key in `path`, for its owner's eyes, the public in `path`.pub.

    Raises:
        UsageError: one of the two files is there already, or `cryptography` is not installed.
        StoreError: they cannot be written.
    """
    _require_package()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = path.with_name(path.name + PUBLIC_SUFFIX)
    for file in (path, public_path):
        if os.path.lexists(file):
            raise UsageError(f"{file}: expected no file, found one: keys are never overwritten")
    private = Ed25519PrivateKey.generate()
    data = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write_new(path, data, mode=0o600)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write_new(public_path, public, mode=0o644)
    return PrivateKey.of(private).public


def read_private(path: Path) -> PrivateKey:
    """The private key in a PEM file, PKCS #8 without a passphrase.

    Raises:
        NotFoundError: no such file.
        FormatError: not an Ed25519 private key, or one with a passphrase.
        UsageError: the file cannot be read, or `cryptography` is not installed.
    """
    _require_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read_pem(path, _PRIVATE)
    key = _loaded(path, _PRIVATE, lambda: load_pem_private_key(data, password=None))
    if not isinstance(key, Ed25519PrivateKey):
        raise _unexpected(path, _PRIVATE, f"one of another kind ({_kind(key)})")
    return PrivateKey.of(key)


def read_public(path: Path) -> PublicKey:
    """The public key in a PEM file, as SubjectPublicKeyInfo.

    Raises:
        NotFoundError: no such file.
        FormatError: not an Ed25519 public key.
        UsageError: the file cannot be read, or `cryptography` is not installed.
    """
    _require_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read_pem(path, _PUBLIC)
    key = _loaded(path, _PUBLIC, lambda: load_pem_public_key(data))
    if not isinstance(key, Ed25519PublicKey):
        raise _unexpected(path, _PUBLIC, f"one of another kind ({_kind(key)})")
    return PublicKey(_der(key))


def _require_package() -> None:
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError("expected the package cryptography: pip install 'lopd[sign]'") from error


def _read_pem(path: Path, wanted: str) -> bytes:
    """A PEM file with one block, of the wanted label."""
    data = _read(path)
    labels = [label.decode() for label in _LABEL.findall(data)]
    if labels == [wanted]:
        return data
    found = f"the label {labels[0]!r}" if len(labels) == 1 else f"{len(labels)} PEM blocks"
    raise _unexpected(path, wanted, found + _advice(labels[0] if labels else "", wanted))


def _read(path: Path) -> bytes:
    try:
        if not path.exists():
            raise NotFoundError(f"expected a key in {path}, found no such file")
        if not path.is_file():
            raise FormatError(f"{path}: expected a file, found a folder, a pipe or a device")
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read the key {str(path)!r}: {reason}") from error
    if len(data) > MAX_KEY_BYTES:
        raise FormatError(f"{path}: expected a key of at most {MAX_KEY_BYTES} bytes, found more")
    return data


def _advice(label: str, wanted: str) -> str:
    if wanted == _PUBLIC and label.endswith(_PRIVATE):
        return f": keep it to yourself, and name its public key ({PUBLIC_SUFFIX})"
    if wanted == _PRIVATE and label.endswith(_PUBLIC):
        return f": only the private key signs; it is the file without {PUBLIC_SUFFIX}"
    if label == f"ENCRYPTED {_PRIVATE}":
        return ", under a passphrase: `openssl pkey -in KEY -out PLAIN` takes it off"
    return ": `lopd-store keygen` makes what is expected"


def _loaded(path: Path, wanted: str, load: Callable[[], Any]) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # from None: whatever the package says of the bytes, the bytes may be a private key
        raise _unexpected(path, wanted, "damaged or of an unknown kind") from None


def _unexpected(path: Path, wanted: str, found: str) -> FormatError:
    return FormatError(f"{path}: expected an Ed25519 {wanted.lower()} in PEM, found {found}")


def _kind(key: object) -> str:
    return type(key).__name__.removesuffix("PrivateKey").removesuffix("PublicKey")


def _der(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    der: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return der


def _write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that must not be there yet, durably; what stands there is never replaced."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with durable.explained("cannot write", path):
        with os.fdopen(os.open(path, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        durable.sync_folder(path.parent)
