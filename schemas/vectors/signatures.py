"""Signatures for the golden vectors: evidence.md, with Ed25519 as RFC 8032 writes it down.

The arithmetic takes no care to hide secrets: its keys are the RFC's own tests.
"""

import hashlib
from typing import Any, Final

from schemas.vectors.spelling import base64, canonical, sha256

Json = dict[str, Any]
Point = tuple[int, int, int, int]

P: Final = 2**255 - 19
L: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, P - 2, P) % P
IN_TOTO: Final = "application/vnd.in-toto+json"
# RFC 8032, section 7.1: the secret keys of tests 1 and 2
SECRET: Final = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
OTHER: Final = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")


def add(one: Point, two: Point) -> Point:
    """Section 5.1.4: the sum of two points in extended homogeneous coordinates."""
    a = (one[1] - one[0]) * (two[1] - two[0]) % P
    b = (one[1] + one[0]) * (two[1] + two[0]) % P
    c = 2 * one[3] * two[3] * D % P
    d = 2 * one[2] * two[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(count: int, point: Point) -> bytes:
    """A multiple of a point, encoded as section 5.1.2 says."""
    total = (0, 1, 1, 0)
    while count:
        if count & 1:
            total = add(total, point)
        point = add(point, point)
        count >>= 1
    inverse = pow(total[2], P - 2, P)
    x, y = total[0] * inverse % P, total[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def base_point() -> Point:
    """Section 5.1: y = 4/5, and the even x that belongs to it."""
    y = 4 * pow(5, P - 2, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x & 1:
        x = P - x
    return x, y, 1, x * y % P


BASE: Final = base_point()


def expanded(secret: bytes) -> tuple[int, bytes]:
    """Section 5.1.5: the scalar of a secret key, and the prefix of what it hashes."""
    hashed = hashlib.sha512(secret).digest()
    scalar = int.from_bytes(hashed[:32], "little")
    return scalar & (1 << 254) - 8 | 1 << 254, hashed[32:]


def public(secret: bytes) -> bytes:
    """The public key as SubjectPublicKeyInfo in DER, as RFC 8410 says."""
    return bytes.fromhex("302a300506032b6570032100") + times(expanded(secret)[0], BASE)


def sign(secret: bytes, data: bytes) -> bytes:
    """Section 5.1.6."""
    scalar, prefix = expanded(secret)
    nonce = int.from_bytes(hashlib.sha512(prefix + data).digest(), "little") % L
    start = times(nonce, BASE)
    hashed = hashlib.sha512(start + times(scalar, BASE) + data).digest()
    rest = (nonce + int.from_bytes(hashed, "little") * scalar) % L
    return start + rest.to_bytes(32, "little")


def statement(artifact: str, **changes: Any) -> Json:
    """evidence.md: what is signed."""
    manifest = "application/vnd.oci.image.manifest.v1+json"
    digest = {"sha256": artifact.removeprefix("sha256:")}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": digest, "mediaType": manifest}],
        "predicateType": "urn:lopd:signature:v1",
        "predicate": {"artifactType": "application/vnd.lopd.signal.v1"},
        **changes,
    }


def envelope(
    said: Json, *, secret: bytes = SECRET, key: bytes = SECRET, kind: str = IN_TOTO
) -> Json:
    """evidence.md: the envelope; `key` is the one that it names."""
    payload = canonical(said)
    to_sign = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    return {
        "payloadType": IN_TOTO,
        "payload": base64(payload),
        "signatures": [{"keyid": sha256(public(key)), "sig": base64(sign(secret, to_sign))}],
    }


def signatures() -> Json:
    """One key, one artifact, and envelopes that are its signature or are not."""
    artifact = sha256(b"a manifest")
    honest = envelope(statement(artifact))
    beside = honest | {"signatures": [{"keyid": "another", "sig": ""}, *honest["signatures"]]}
    bare = honest | {"signatures": [honest["signatures"][0] | {"sig": base64(bytes(64))}]}
    two = [*statement(sha256(b"x"))["subject"], *statement(artifact)["subject"]]
    accepted = {"one": honest, "one beside another key's": beside}
    refused = {
        "another artifact": envelope(statement(sha256(b"another manifest"))),
        "two artifacts": envelope(statement(artifact, subject=two)),
        "another predicate": envelope(statement(artifact, predicateType="urn:x")),
        "signed as another type": envelope(statement(artifact), kind="text/plain"),
        "signed by another key": envelope(statement(artifact), secret=OTHER),
        "another key": envelope(statement(artifact), secret=OTHER, key=OTHER),
        "zeros": bare,
    }
    return {
        "public_key": base64(public(SECRET)),
        "keyid": sha256(public(SECRET)),
        "artifact": artifact,
        "accepted": [spelled(why, document) for why, document in accepted.items()],
        "refused": [spelled(why, document) for why, document in refused.items()],
    }


def spelled(why: str, document: Json) -> Json:
    """An envelope as a vector."""
    return {"why": why, "bytes": base64(canonical(document))}
