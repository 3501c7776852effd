"""What sampling promises, with a sampler that is arithmetic."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lopd_store.artifacts import load
from lopd_store.building.options import EngineOptions, JobOptions
from lopd_store.building.outcome import Built
from lopd_store.documents.identity import Sampling
from lopd_store.engines.protocol import Samples
from lopd_store.errors import ConsistencyError, EngineError, FormatError, UsageError
from lopd_store.generate import generate
from lopd_store.identity.model import Fingerprint
from lopd_store.inputs.prompts import prompts_from_file
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import EOS, Arithmetic


class Sampler(Arithmetic):
    """Responses that follow from the seed and the prompt; breaks at a chunk if told to."""

    breaks_at: int = -1

    def sample(self, prompts: Any, *, sampling: Sampling, seeds: Sequence[int]) -> Samples:
        if len(self.calls) == self.breaks_at:
            raise EngineError("expected samples, found none")
        self.calls.append(len(prompts))
        assert len(seeds) == len(prompts) * sampling.n
        ids, logprobs = [], []
        for place, seed in enumerate(seeds):
            chance = np.random.default_rng([seed, *prompts[place // sampling.n].as_py()])
            length = int(chance.integers(1, sampling.max_tokens + 1))
            ids.append([*chance.integers(5, 267, length - 1).tolist(), EOS])
            logprobs.append((-chance.exponential(1.0, length)).astype(np.float32))
        return Samples(
            response_ids=pa.array(ids, pa.list_(pa.int32())),
            rollout_logprobs=pa.array(logprobs, pa.list_(pa.float32())),
            finish_reason=pa.array(["stop"] * len(ids)),
        )


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> Sampler:
    made = Sampler()
    monkeypatch.setattr(EngineOptions, "sampler", lambda *_: made)
    return made


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    lines: list[Any] = [{"prompt_ids": [5 + i, 6], "answer": i} for i in range(12)]
    lines[4]["prompt_ids"] = []
    lines[7]["prompt_ids"] = [5] * 512
    lines[8]["prompt_ids"] = [320]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(
    store: Store, prompts: Path, model: Fingerprint, *, kind: str = "rollouts", **options: Any
) -> Built:
    return generate(
        store,
        prompts_from_file(prompts, None),
        model,
        kind=kind,
        ref="out",
        sampling=Sampling(temperature="1", top_p="1", max_tokens=6, seed=3, n=2),
        engine=EngineOptions(),
        options=JobOptions(**({"chunk_tokens": 40} | options)),
    )


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "empty", create=True, sync=no_sync)


def rows_in(store: Store) -> pa.Table:
    batches = [b for shard in load(store, "out").open_shards() for b in shard.batches()]
    return pa.Table.from_batches(batches)


def test_each_usable_prompt_gets_n_responses_beside_its_own_columns(
    empty: Store, prompts: Path, student: Fingerprint, sampler: Sampler
) -> None:
    built = run(empty, prompts, student)
    assert built.skipped == {"empty-prompt": 1, "too-long": 1, "token-out-of-vocabulary": 1}
    rows = rows_in(empty)
    assert rows["answer"].to_pylist() == [i for i in range(12) if i not in {4, 7, 8} for _ in "ab"]
    assert all(ids[-1] == EOS for ids in rows["response_ids"].to_pylist())
    assert sum(sampler.calls) == 9
    assert verify_artifact(empty, "out", Depth()).problems == []


def test_responses_do_not_depend_on_chunks_or_on_prompts_left_out(
    empty: Store, prompts: Path, student: Fingerprint, tmp_path: Path, sampler: Sampler
) -> None:
    run(empty, prompts, student)
    other = Store.open(tmp_path / "other", create=True, sync=no_sync)
    run(other, prompts, student, chunk_tokens=1000)
    assert rows_in(other).equals(rows_in(empty))
    assert len(sampler.calls) > 2


def test_a_run_that_failed_goes_on_and_comes_to_the_same_artifact(
    empty: Store, prompts: Path, student: Fingerprint, tmp_path: Path, sampler: Sampler
) -> None:
    whole = Store.open(tmp_path / "whole", create=True, sync=no_sync)
    expected = run(whole, prompts, student).artifact
    sampler.calls.clear()
    sampler.breaks_at = 2
    with pytest.raises(EngineError):
        run(empty, prompts, student)
    sampler.breaks_at = -1
    assert run(empty, prompts, student).artifact == expected
    assert sum(sampler.calls) == 9


@pytest.mark.usefixtures("sampler")
def test_with_fail_a_bad_prompt_is_named_before_anything_is_sampled(
    empty: Store, prompts: Path, student: Fingerprint, sampler: Sampler
) -> None:
    with pytest.raises(FormatError, match="row 4: empty-prompt"):
        run(empty, prompts, student, on_error="fail")
    assert sampler.calls == []


@pytest.mark.parametrize(("kind", "role"), [("sft", "teacher"), ("rollouts", "policy")])
@pytest.mark.usefixtures("sampler")
def test_the_kind_says_whose_responses_they_are(
    empty: Store, prompts: Path, student: Fingerprint, kind: str, role: str
) -> None:
    run(empty, prompts, student, kind=kind)
    artifact = load(empty, "out")
    assert artifact.document.kind == kind
    assert list(artifact.identities[0].models) == [role]
    assert [signal.column for signal in artifact.identities[0].signals] == ["rollout_logprobs"]


@pytest.mark.usefixtures("sampler")
def test_a_kind_that_is_none_is_refused(empty: Store, prompts: Path, student: Fingerprint) -> None:
    with pytest.raises(UsageError, match="expected kind sft or rollouts, found 'signal'"):
        run(empty, prompts, student, kind="signal")


@pytest.mark.usefixtures("sampler")
def test_a_file_of_no_prompts_is_refused(
    empty: Store, tmp_path: Path, student: Fingerprint
) -> None:
    path = tmp_path / "none.jsonl"
    path.touch()
    with pytest.raises(FormatError, match="expected"):
        run(empty, path, student)


@pytest.mark.usefixtures("sampler")
def test_a_stamp_that_is_not_the_models_own_is_refused(
    empty: Store, prompts: Path, student: Fingerprint, tmp_path: Path
) -> None:
    import shutil
    from dataclasses import replace

    folder = Path(shutil.copytree(student.folder, tmp_path / "stamped"))
    (folder / "lopd.json").write_text("{}")
    with pytest.raises((FormatError, ConsistencyError)):
        run(empty, prompts, replace(student, folder=folder))
