"""The whole chain in a small store: base → sft → student → rollouts → signal, by our commands."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lopd_cli.training import commands
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.stamping import read_stamp
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import build_signal, identity_of, publish, random_rows
from tests.cli.runner import Said
from tests.models import save_model

QUICK = ("--batch", 4, "--micro-batch-tokens", 64, "--learning-rate", "1e-3")


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A store at `root` with refs `sft`, `rollouts` and `signal`, and the models."""

    root: Path
    teacher: Fingerprint
    base: Path
    student: Path

    @property
    def store(self) -> Store:
        return Store.open(self.root)


def lopd_train(*words: object) -> Said:
    """Run `lopd-train WORDS` in this process."""
    result = CliRunner().invoke(commands, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


def sft(chain_root: Path, base: Path, output: Path, *more: object) -> Said:
    """`lopd-train sft` on the ref `sft`."""
    return lopd_train(
        "sft", "--data", "sft", "--model", base, "-o", output, "--store", chain_root, *QUICK, *more
    )


def opd(chain: Chain, output: Path, *more: object) -> Said:
    """`lopd-train opd` on the ref `signal`."""
    words = ("--signal", "signal", "--model", chain.student, "-o", output, "--store", chain.root)
    return lopd_train("opd", *words, *QUICK, *more)


def make_chain(folder: Path, *, rows: int = 12) -> Chain:
    """Everything up to the signal; the scores are arithmetic, the models random."""
    teacher = fingerprint(str(save_model(folder / "teacher", seed=1)))
    base, root, student = save_model(folder / "base", seed=2), folder / "store", folder / "student"
    store = Store.open(root, create=True, sync=no_sync)
    assert teacher.tokenizer_blob is not None
    written = [random_rows(rows, seed=1)]
    publish(
        store, "sft", identity_of("sft", teacher), written, tokenizer_blob=teacher.tokenizer_blob
    )
    assert sft(root, base, student, "--steps", 2).code == 0
    publish_policy_rollouts(store, student, rows=rows)
    build_signal(store, teacher)
    return Chain(root=root, teacher=teacher, base=base, student=student)


def publish_policy_rollouts(
    store: Store, student: Path, *, rows: int = 12, ref: str = "rollouts"
) -> None:
    """Rollouts of a stamped student, as `generate` would make them."""
    policy = fingerprint(str(student))
    assert policy.tokenizer_blob is not None
    identity = identity_of("rollouts", policy, policy_stamp=read_stamp(student))
    publish(store, ref, identity, [random_rows(rows)], tokenizer_blob=policy.tokenizer_blob)


def metrics(output: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    text = (output / "run" / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]
