"""Key files: ours are what others' tools read, and everything else is refused without a leak."""

import hashlib
import os
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519

from lopd_store import keys
from lopd_store.errors import FormatError, LopdError, NotFoundError, StoreError, UsageError
from tests.signing.pem import KEY_ID, PRIVATE, PRIVATE_BODY, PUBLIC, pem

ROOT = Path(__file__).parents[2]
# RFC 8032, section 7.1: secret key, message, signature of tests 1 to 3
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]

PKCS8 = serialization.PrivateFormat.PKCS8
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
OPENSSH = serialization.PrivateFormat.OpenSSH


def private_pem(
    key: object, *, passphrase: bytes | None = None, form: serialization.PrivateFormat = PKCS8
) -> str:
    """A private key of any kind as a PEM file."""
    hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        hidden = serialization.BestAvailableEncryption(passphrase)
    written: bytes = key.private_bytes(  # type: ignore[attr-defined] # of no common type
        serialization.Encoding.PEM, form, hidden
    )
    return written.decode()


def public_pem(key: object) -> str:
    """The public key of a private key of any kind as a PEM file."""
    written: bytes = key.public_key().public_bytes(  # type: ignore[attr-defined] # as above
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return written.decode()


ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(RFC_8032[0][0]))
RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
X25519 = x25519.X25519PrivateKey.generate()
ED448 = ed448.Ed448PrivateKey.generate()

BAD_PRIVATE = {
    "empty": ("", "found 0 PEM blocks: `lopd-store keygen` makes what is expected"),
    "text": ("hello", "found 0 PEM blocks"),
    "its public key": (PUBLIC, "'PUBLIC KEY': only the private key signs"),
    "RSA": (private_pem(RSA), "found one of another kind (RSA)"),
    "RSA as PKCS #1": (private_pem(RSA, form=PKCS1), "'RSA PRIVATE KEY'"),
    "P-256": (private_pem(P256), "found one of another kind (E"),
    "X25519": (private_pem(X25519), "found one of another kind (X25519)"),
    "Ed448": (private_pem(ED448), "found one of another kind (Ed448)"),
    "OpenSSH": (private_pem(ED25519, form=OPENSSH), "'OPENSSH PRIVATE KEY'"),
    "under a passphrase": (private_pem(ED25519, passphrase=b"x"), "takes it off"),
    "half of it": (PRIVATE.replace(PRIVATE_BODY, PRIVATE_BODY[:40]), "damaged or of an unknown"),
    "not base64": (pem("PRIVATE KEY", "\x00\xff~~~"), "damaged"),
    "no end": (PRIVATE.partition("-----END")[0], "damaged"),
    "two keys": (PRIVATE * 2, "found 2 PEM blocks"),
    "a certificate": (pem("CERTIFICATE", "AAAA"), "the label 'CERTIFICATE'"),
    "huge": (PRIVATE + "\n" * (17 << 10), "at most 16384 bytes"),
}
BAD_PUBLIC = {
    "empty": ("", "found 0 PEM blocks"),
    "a private key": (PRIVATE, "'PRIVATE KEY': keep it to yourself, and name its public key"),
    "OpenSSH private": (private_pem(ED25519, form=OPENSSH), "keep it to yourself"),
    "OpenSSH public": ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVK me@host\n", "found 0 PEM blocks"),
    "RSA": (public_pem(RSA), "found one of another kind (RSA)"),
    "P-256": (public_pem(P256), "found one of another kind (E"),
    "X25519": (public_pem(X25519), "found one of another kind (X25519)"),
    "another label": (pem("RSA PUBLIC KEY", "AAAA"), "the label 'RSA PUBLIC KEY'"),
    "damaged": (pem("PUBLIC KEY", "MCowBQYDK2VwAyEA11qY"), "damaged or of an unknown kind"),
    "huge": (PUBLIC + "\n" * (17 << 10), "at most 16384 bytes"),
}


@pytest.mark.parametrize(("secret", "message", "expected"), RFC_8032, ids=["1", "2", "3"])
def test_signatures_are_those_of_rfc_8032(secret: str, message: str, expected: str) -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    key = keys.PrivateKey.of(private)
    data = bytes.fromhex(message)
    assert key.sign(data).hex() == expected
    assert key.public.signed(bytes.fromhex(expected), data)
    assert not key.public.signed(bytes.fromhex(expected), data + b"\0")


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_none(length: int, key: keys.PrivateKey) -> None:
    assert not key.public.signed(bytes(length), b"data")


def test_a_key_is_named_by_the_digest_of_its_public_bytes(key_file: Path) -> None:
    assert str(keys.read_private(key_file).public.id) == KEY_ID
    public = key_file.with_name("release.pub")
    assert str(keys.read_public(public).id) == KEY_ID
    body = "".join(public.read_text().splitlines()[1:-1])
    assert hashlib.sha256(b64decode(body)).hexdigest() == KEY_ID.removeprefix("sha256:")


def test_a_new_pair_is_private_and_fits_together(tmp_path: Path) -> None:
    public = keys.generate(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "key").read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert keys.read_private(tmp_path / "key").public == public
    assert keys.read_public(tmp_path / "key.pub") == public
    assert keys.generate(tmp_path / "second") != public


@pytest.mark.parametrize("name", ["key", "key.pub"])
def test_a_key_is_never_overwritten(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"expected no file, found one: keys are never over"):
        keys.generate(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_key_in_a_folder_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*No such file"):
        keys.generate(tmp_path / "no" / "key")


@pytest.mark.parametrize(("text", "message"), BAD_PRIVATE.values(), ids=BAD_PRIVATE)
def test_what_is_no_private_key_is_refused(text: str, message: str, tmp_path: Path) -> None:
    _refused(keys.read_private, tmp_path, text, f"{message}")


@pytest.mark.parametrize(("text", "message"), BAD_PUBLIC.values(), ids=BAD_PUBLIC)
def test_what_is_no_public_key_is_refused(text: str, message: str, tmp_path: Path) -> None:
    _refused(keys.read_public, tmp_path, text, message)


def _refused(read: Callable[[Path], object], folder: Path, text: str, message: str) -> None:
    """Refused with this message, and nothing that was in the file is said again."""
    path = folder / "k"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError) as caught:
        read(path)
    assert message in str(caught.value)
    assert caught.value.__cause__ is None
    for line in text.splitlines():
        assert line.startswith("-----") or len(line) < 8 or line not in str(caught.value)


def test_a_key_says_nothing_of_itself(key: keys.PrivateKey) -> None:
    secret = b64decode(PRIVATE_BODY)
    for said in (repr(key), str(key), repr(key.public)):
        assert PRIVATE_BODY[30:40] not in said
        assert secret[-32:].hex() not in said


@pytest.mark.parametrize("read", [keys.read_private, keys.read_public], ids=["private", "public"])
def test_a_place_without_a_key_is_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    wrong: list[tuple[Path, type[LopdError], str]] = [
        (tmp_path / "none", NotFoundError, "no such file"),
        (tmp_path, FormatError, "found a folder, a pipe or a device"),
        (tmp_path / "pipe", FormatError, "found a folder, a pipe or a device"),
        (Path("/dev/zero"), FormatError, "found a folder, a pipe or a device"),
        (tmp_path / ("x" * 300), UsageError, "File name too long"),
    ]
    for path, error, message in wrong:
        with pytest.raises(error, match=re.escape(message)):
            read(path)


def test_one_file_imports_the_package() -> None:
    folders = (ROOT / "lopd_store", ROOT / "lopd_train", ROOT / "cli")
    found = [
        path.name
        for folder in folders
        for path in folder.rglob("*.py")
        if re.search(r"^\s*(?:from|import) cryptography", path.read_text(), re.MULTILINE)
    ]
    assert found == ["keys.py"]


def test_the_commands_load_it_only_for_keys() -> None:
    code = "import sys, lopd_cli.store; print('cryptography' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


@pytest.mark.parametrize("words", [("keygen", "k"), ("verify", "x", "--key", "k")], ids=" ".join)
def test_without_the_package_it_says_what_to_install(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from lopd_cli.store import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    said = "error: expected the package cryptography: pip install 'lopd[sign]'\n"
    assert (done.returncode, done.stderr) == (2, said)
