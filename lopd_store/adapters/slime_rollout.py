r"""slime's rollout function for an exported file: samples come from it, nothing is generated.

    python train_async.py --debug-train-only --use-opd --opd-type sglang --opd-kl-coef 1.0 \
        --rollout-function-path lopd_store.adapters.slime_rollout.generate_rollout \
        --prompt-data signal.parquet --input-key prompt --n-samples-per-prompt 1 …

slime imports this by its path; it imports nothing of slime: what it fills are the samples it is
handed. Read against slime at 624b824.
"""

from typing import Any, Final

from lopd_store.errors import FormatError, UsageError

_FIELDS: Final = ("tokens", "response_length", "loss_mask", "teacher_log_probs")
_STATUS: Final = {
    "stop": "COMPLETED",
    "length": "TRUNCATED",
    "abort": "ABORTED",
    "unknown": "COMPLETED",  # slime has no word for it; its training reads `truncated` alone
}


def generate_rollout(
    args: Any,
    rollout_id: int,  # noqa: ARG001 - slime passes it by place
    data_source: Any,
    evaluation: bool = False,  # noqa: FBT001, FBT002 - slime's own signature
) -> list[list[Any]]:
    """The next `args.rollout_batch_size` samples of the file, filled from their metadata.

    Args:
        args: slime's options.
        rollout_id: slime's number of this call; samples come in the data source's own order.
        data_source: slime's `DataSource`.
        evaluation: must be False: stored rows are no evaluation.

    Returns:
        slime's nested list: one group a prompt, one sample a group.

    Raises:
        UsageError: an evaluation, or more than one sample a prompt, which would repeat rows.
        FormatError: a sample without the metadata of `lopd-store export --format slime`.
    """
    if evaluation:
        raise UsageError("expected training, found an evaluation: leave out --eval-interval")
    if args.n_samples_per_prompt != 1:
        raise UsageError(
            "expected --n-samples-per-prompt 1: a row is one sample, found"
            f" {args.n_samples_per_prompt}"
        )
    groups: list[list[Any]] = data_source.get_samples(args.rollout_batch_size)
    for group in groups:
        for sample in group:
            fill(sample)
    return groups


def fill(sample: Any) -> None:
    """Make a generated sample of one that has only been read.

    Raises FormatError on metadata of another file.
    """
    stored = sample.metadata
    if missing := [name for name in _FIELDS if stored.get(name) is None]:
        raise FormatError(
            f"expected metadata of `lopd-store export --format slime`, found no"
            f" {', '.join(missing)} in a sample"
        )
    for name in _FIELDS:
        setattr(sample, name, stored[name])
    sample.rollout_log_probs = stored.get("rollout_log_probs")
    sample.status = sample.Status[_STATUS[stored["finish_reason"]]]
    sample.reward = 0.0  # the advantage is the teacher's alone
    sample.metadata = {"sample_id": stored["sample_id"]}  # the lists need not be kept twice
