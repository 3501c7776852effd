"""An honest chain whose signal is also a stranger's file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lopd_store.artifacts import load
from lopd_store.identity.model import Fingerprint
from lopd_store.importing import Claims, import_file
from lopd_store.stamping import read_stamp
from lopd_store.verify.consistency import Chain, check_chain
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import ArithmeticEngine
from tests.building.lineage import Lineage

COLUMNS = ("prompt_ids", "response_ids", "teacher_logprobs", "rollout_logprobs")


@dataclass
class Case:
    """An honest chain, and its signal again as a stranger's file."""

    lineage: Lineage
    path: Path

    def imported(self, **claims: Any) -> Chain:
        """What the gate says of the file with these claims."""
        self.keep(**claims)
        identities = load(self.lineage.store, "file").identities
        return check_chain(identities, self.lineage.fingerprint(), read_stamp(self.lineage.student))

    def keep(self, **claims: Any) -> None:
        import_file(
            self.lineage.store, self.path, format="jsonl", ref="file", claims=Claims(**claims)
        )

    def gives(self) -> dict[str, list[str]]:
        """Problem kinds of each depth of verify, without and with rows scored again."""
        teacher = self.teacher
        depths = {
            "bytes": Depth(),
            "teacher": Depth(teacher=teacher),
            "numbers": Depth(teacher=teacher, rescore=4, engine=ArithmeticEngine()),
        }
        return {
            name: [p.kind for p in verify_artifact(self.lineage.store, "file", depth).problems]
            for name, depth in depths.items()
        }

    teacher: Fingerprint
