import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lopd_store.documents.scoring import Sampling
from lopd_store.engines import open_scorer
from lopd_store.engines.answers import checked
from lopd_store.engines.protocol import Sampler, Samples, Scorer, Sequences, request_seeds
from lopd_store.engines.vllm import read_flat, read_id_logprobs, read_samples
from lopd_store.engines.vllm_engine import VllmOptions, _recorded, dtype_of, token_id_logprobs
from lopd_store.errors import EngineError, UsageError
from tests.engines.laws import NOISE
from tests.engines.sequences import column, largest_difference, random_sequences, same_bits
from tests.models import EOS, save_model

PROMPTS = random_sequences(12, vocabulary=320, seed=9).prompt
SAMPLING = Sampling(temperature="0.8", top_p="0.95", max_tokens=60, seed=5, n=3)


def seeds_of(sampling: Sampling, prompts: int, *, first: int = 0) -> list[int]:
    return request_seeds(sampling.seed, first_prompt=first, prompts=prompts, n=sampling.n)


@pytest.fixture(scope="module")
def samples(sampler: Sampler) -> Samples:
    return sampler.sample(PROMPTS, sampling=SAMPLING, seeds=seeds_of(SAMPLING, 12))


IN_TURN = """
import sys
from lopd_store.engines import open_scorer
from tests.engines.sequences import random_sequences
for model in sys.argv[1:]:
    with open_scorer("vllm", model) as scorer:
        print(len(scorer.score(random_sequences(3, vocabulary=320))), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def small_steps(model: str) -> Iterator[Scorer]:
    arguments = {"max_num_batched_tokens": 128}
    with open_scorer("vllm", model, dtype="float32", engine_args=arguments) as scorer:
        yield scorer


@pytest.mark.engine
def test_vllm_and_transformers_agree_on_qwen2(
    vllm_scorer: Scorer, transformers_scorer: Scorer
) -> None:
    sequences = random_sequences(30, vocabulary=320, response=300)
    expected = transformers_scorer.score(sequences)
    assert largest_difference(vllm_scorer.score(sequences), expected) < NOISE


@pytest.mark.engine
@pytest.mark.parametrize("name", ["qwen3", "llama", "large"])
def test_vllm_and_transformers_agree(name: str, folders: dict[str, str]) -> None:
    with open_scorer("transformers", folders[name], dtype="float32") as other:
        sequences = random_sequences(8, vocabulary=other.vocab_size, response=80)
        expected = other.score(sequences)
    with open_scorer("vllm", folders[name], dtype="float32") as scorer:
        assert scorer.vocab_size == other.vocab_size
        assert largest_difference(scorer.score(sequences), expected) < NOISE
    scorer.close()
    with pytest.raises(EngineError, match="closed"):
        scorer.score(sequences)


@pytest.mark.engine
def test_steps_change_nothing_but_noise(vllm_scorer: Scorer, small_steps: Scorer) -> None:
    sequences = random_sequences(20, vocabulary=320, seed=6, response=300)
    assert small_steps.scoring["settings"]["max_num_batched_tokens"] == "128"
    assert largest_difference(small_steps.score(sequences), vllm_scorer.score(sequences)) < NOISE


@pytest.mark.engine
def test_closing_an_engine_leaves_the_other_as_it_was(model: str, vllm_scorer: Scorer) -> None:
    sequences = random_sequences(4, vocabulary=320)
    before = vllm_scorer.score(sequences)
    open_scorer("vllm", model).close()
    assert same_bits(vllm_scorer.score(sequences), before)


@pytest.mark.engine
def test_engines_can_follow_each_other_without_a_word_on_stdout(folders: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, folders["qwen2"], folders["llama"]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.split("\n").count("3") == 2


@pytest.mark.engine
def test_what_vllm_raises_keeps_its_cause(tmp_path: Path, model: str) -> None:
    save_model(tmp_path, "qwen2")
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(EngineError, match="cannot open") as caught:
        open_scorer("vllm", str(tmp_path))
    assert caught.value.__cause__ is not None
    with pytest.raises(EngineError, match="no_such_argument"):
        open_scorer("vllm", model, engine_args={"no_such_argument": 1})


@pytest.mark.engine
def test_a_cpu_has_the_first_model_runner(vllm_scorer: Scorer) -> None:
    settings = vllm_scorer.scoring["settings"]
    assert settings["enable_prefix_caching"] == "False"
    if vllm_scorer.scoring["device"] == "cpu":
        assert (settings["model_runner"], settings["prompt_path"]) == ("v1", "prompt_logprobs")


@pytest.mark.engine
def test_samples_are_n_per_prompt_and_within_max_tokens(samples: Samples) -> None:
    lengths = pa.compute.list_value_length(samples.response_ids).to_numpy()
    assert len(samples) == 36
    assert 1 <= lengths.min() <= lengths.max() == 60
    assert pa.compute.list_value_length(samples.rollout_logprobs).to_numpy().tolist() == (
        lengths.tolist()
    )


@pytest.mark.engine
def test_a_sampled_end_of_sequence_is_kept(samples: Samples) -> None:
    rows = list(
        zip(samples.response_ids.to_pylist(), samples.finish_reason.to_pylist(), strict=True)
    )
    assert {reason for _, reason in rows} == {"stop", "length"}
    for ids, reason in rows:
        assert (ids[-1] == EOS) == (reason == "stop")
        assert EOS not in ids[:-1]
        assert reason == "stop" or len(ids) == 60


@pytest.mark.engine
def test_the_samplers_logprobs_are_its_prefill_logprobs(
    samples: Samples, vllm_scorer: Scorer
) -> None:
    prompts = PROMPTS.take(pa.array(np.repeat(np.arange(12), 3)))
    scored = vllm_scorer.score(Sequences(prompts, samples.response_ids))
    own = [np.array(row, np.float32) for row in samples.rollout_logprobs.to_pylist()]
    assert largest_difference(scored, own) < NOISE


@pytest.mark.engine
def test_a_seed_gives_the_same_sample_in_other_company(sampler: Sampler, samples: Samples) -> None:
    seeds = seeds_of(SAMPLING, 4, first=5)
    part = sampler.sample(PROMPTS.slice(5, 4), sampling=SAMPLING, seeds=seeds)
    assert part.response_ids.to_pylist() == samples.response_ids.slice(15, 12).to_pylist()
    assert len({tuple(ids) for ids in samples.response_ids.to_pylist()}) > 30


@pytest.mark.engine
def test_temperature_zero_is_greedy_for_every_seed(sampler: Sampler, vllm_scorer: Scorer) -> None:
    greedy = Sampling(temperature="0", top_p="1", max_tokens=4, seed=0, n=2)
    ids = sampler.sample(
        PROMPTS.slice(0, 2), sampling=greedy, seeds=[1, 2, 3, 4]
    ).response_ids.to_pylist()
    assert ids[0] == ids[1]
    assert ids[2] == ids[3]
    others = [[token] for token in range(vllm_scorer.vocab_size)]
    first = PROMPTS.slice(0, 1).take(pa.array([0] * len(others)))
    scored = vllm_scorer.score(Sequences(first, column(others)))
    assert int(np.argmax(np.concatenate(scored))) == ids[0][0]


@pytest.mark.engine
def test_a_context_that_runs_out_ends_in_length(sampler: Sampler) -> None:
    long = column([[9] * (sampler.max_tokens - 2)])
    one = Sampling(temperature="1", top_p="1", max_tokens=50, seed=0, n=1)
    made = sampler.sample(long, sampling=one, seeds=[0])
    (ids,), (reason,) = made.response_ids.to_pylist(), made.finish_reason.to_pylist()
    assert len(ids) == 2 or ids[-1] == EOS
    assert reason == ("stop" if ids[-1] == EOS else "length")
    for prompt in ([9] * sampler.max_tokens, [], [sampler.vocab_size]):
        with pytest.raises(EngineError, match="cannot be run"):
            sampler.sample(column([prompt]), sampling=one, seeds=[0])


@pytest.mark.engine
@pytest.mark.parametrize(
    ("change", "seeds", "message"),
    [
        pytest.param({"temperature": "0.001"}, [1], "temperature", id="colder-than-vllm-can"),
        pytest.param({"temperature": "-1"}, [1], "temperature", id="negative"),
        pytest.param({"temperature": "inf"}, [1], "temperature", id="infinite"),
        pytest.param({"top_p": "0"}, [1], "top_p", id="no-mass"),
        pytest.param({}, [1, 2], "one seed per sample", id="too-many-seeds"),
        pytest.param({}, [-1], "seeds in", id="negative-seed"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(
    change: dict[str, Any], seeds: list[int], message: str, sampler: Sampler
) -> None:
    fields: dict[str, Any] = {
        "temperature": "1", "top_p": "1", "max_tokens": 3, "seed": 0, "n": 1,
    }  # fmt: skip
    with pytest.raises(UsageError, match=message):
        sampler.sample(column([[5]]), sampling=Sampling(**(fields | change)), seeds=seeds)


@pytest.mark.engine
def test_an_engine_cut_off_in_a_call_is_not_used_again(
    small_steps: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = small_steps._engine  # type: ignore[attr-defined] # the vLLM object inside

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.llm_engine, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_steps.score(random_sequences(3, vocabulary=320))
    monkeypatch.undo()
    with pytest.raises(EngineError, match="cut off"):
        small_steps.score(random_sequences(3, vocabulary=320))


# The shapes below were recorded from vLLM 0.32; the id path itself needs a GPU (V2 model runner).


def test_flat_prompt_logprobs_start_after_the_prompt() -> None:
    flat = SimpleNamespace(logprobs=[-1.0, -2.0, -3.0], token_ids=[6, 7, 8], ranks=[1, 2, 3])
    answer = checked(read_flat(flat, 1), np.array([7, 8], np.int32), sequence=0, engine="vllm")
    assert answer.tolist() == [-2.0, -3.0]


@pytest.mark.parametrize(
    "flat", [None, [None], SimpleNamespace(logprobs=[], token_ids=[], ranks=[])]
)
def test_a_runner_that_fills_in_nothing_is_found_out(flat: Any) -> None:
    with pytest.raises(EngineError, match="wrong-length"):
        checked(read_flat(flat, 1), np.array([7, 8], np.int32), sequence=0, engine="vllm")


def test_scores_of_given_ids_are_read() -> None:
    output = SimpleNamespace(
        prompt_token_ids=[5, 6, 7, 8],
        prompt_token_id_logprobs=np.array([[-2.5], [-0.5]], np.float32),
    )
    response = np.array([7, 8], np.int32)
    answer = checked(read_id_logprobs(output, 2), response, sequence=0, engine="vllm")
    assert answer.tolist() == [-2.5, -0.5]


@pytest.mark.parametrize(
    ("ids", "scores", "kind"),
    [
        pytest.param([5, 6, 7, 8], None, "wrong-length", id="nothing"),
        pytest.param([5, 6, 7, 8], np.zeros((2, 2), np.float32), "wrong-length", id="columns"),
        pytest.param([5, 6, 7, 8], np.zeros((1, 1), np.float32), "wrong-length", id="rows"),
        pytest.param([5, 6, 7, 9], np.zeros((2, 1), np.float32), "wrong-id", id="other-ids"),
        pytest.param(
            [5, 6, 7, 8], np.array([[-np.inf], [-1]], np.float32), "not-finite", id="padded"
        ),
    ],
)
def test_wrong_scores_of_given_ids_are_refused(ids: list[int], scores: Any, kind: str) -> None:
    output = SimpleNamespace(prompt_token_ids=ids, prompt_token_id_logprobs=scores)
    with pytest.raises(EngineError, match=kind):
        checked(read_id_logprobs(output, 2), np.array([7, 8], np.int32), sequence=0, engine="vllm")


@pytest.mark.parametrize(
    ("params", "config", "expected"),
    [
        pytest.param(["prompt_logprob_token_ids"], {"use_v2_model_runner": True}, "yes", id="v2"),
        pytest.param(["prompt_logprob_token_ids"], {"use_v2_model_runner": False}, "no", id="v1"),
        pytest.param([], {"use_v2_model_runner": True}, "no", id="vllm-before-0.31"),
        pytest.param([], {}, "no", id="vllm-without-a-second-runner"),
    ],
)
def test_the_id_path_needs_the_field_and_the_second_runner(
    params: list[str], config: dict[str, bool], expected: str
) -> None:
    sampling = SimpleNamespace(**dict.fromkeys(params))
    vllm = SimpleNamespace(SamplingParams=lambda: sampling)
    engine = SimpleNamespace(llm_engine=SimpleNamespace(vllm_config=SimpleNamespace(**config)))
    assert token_id_logprobs(vllm, engine) is (expected == "yes")


@pytest.mark.parametrize("reason", ["error", "repetition", None])
def test_an_unknown_finish_is_refused(reason: str | None) -> None:
    flat = SimpleNamespace(logprobs=[-1.0], token_ids=[3], ranks=[1])
    output = SimpleNamespace(token_ids=[3], logprobs=flat, finish_reason=reason)
    with pytest.raises(EngineError, match="finish reason"):
        read_samples([output])


def test_an_argument_that_could_hold_a_path_is_recorded_as_a_digest(model: str) -> None:
    assert _recorded("kv_cache_dtype", "fp8") == "fp8"
    assert _recorded("hf_overrides", {"a": "/home/someone"}).startswith("sha256:")
    assert _recorded("x", "/home/someone").startswith("sha256:")
    with pytest.raises(UsageError, match="JSON"):
        _recorded("worker_cls", object)
    with pytest.raises(UsageError, match="prefix"):
        VllmOptions(model=model, engine_args={"enable_prefix_caching": True})


@pytest.mark.parametrize(
    ("asked", "config", "handed_on"),
    [
        ("auto", {"dtype": "float32"}, "float32"),
        ("auto", {"torch_dtype": "bfloat16"}, "bfloat16"),
        ("auto", {}, "auto"),
        ("float16", {"dtype": "float32"}, "float16"),
    ],
    ids=["v5-spelling", "v4-spelling", "unstated", "asked-by-name"],
)
def test_auto_is_the_checkpoints_own_dtype(
    asked: str, config: dict[str, str], handed_on: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert dtype_of(VllmOptions(model=str(tmp_path), dtype=asked)) == handed_on
