"""Who gave the numbers of a live server: its owner says so, and nothing on the wire proves it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents.identity import Asserted, Identity, Imported
from lopd_store.identity.model import Fingerprint

READ_AS: Final = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """The model that a live server is said to run.

    Attributes:
        fingerprint: who it is; it must have tokenizer files.
        stated: settings it is said to run with, such as `dtype`; names are those of a scoring.
    """

    fingerprint: Fingerprint
    stated: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokenizer_blob(self) -> bytes:
        """The packed tokenizer. Raises FormatError where the folder has none."""
        return self.fingerprint.require_tokenizer().blob

    def identity(self, versions: Mapping[str, str]) -> Identity:
        """Who will have given the numbers: the teacher asserted, the rest unknown.

        Where an import names the digest of its file, this names what the server said of itself.

        Args:
            versions: engine → version, as the server says.
        """
        scoring = {"engine": next(iter(versions), READ_AS), **self.stated}
        if versions:
            scoring["versions"] = ", ".join(f"{name} {text}" for name, text in versions.items())
        return Identity.of(
            kind="signal",
            models={},
            tokenizer=self.fingerprint.require_tokenizer().identity,
            scorings={},
            signals=(),
            precision="exact",
            imported=Imported(
                digest=Digest.of(canonical.encode({"versions": dict(versions)})),
                retokenised=False,
                read_as=READ_AS,
                asserted=Asserted(models={"teacher": self.fingerprint.model}, scoring=scoring),
                not_known=("eos", "policy", "sampling"),
            ),
        )
