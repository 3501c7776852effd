"""A signal whose student is its teacher: both log-probs of every token are one model's own.

So log π_T - log π_θ is zero at every trained token, wherever a trainer looks for it, and nowhere
near zero one token further.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM

from lopd_store.engines.protocol import Floats, Sequences
from lopd_store.identity.model import fingerprint
from lopd_store.signals import Signal, open_signal
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import Arithmetic, build_signal, publish_rollouts, random_rows
from tests.models import save_model
from tests.train.signals_made import masked_rows

Array = npt.NDArray[Any]


class Model:
    """A tiny causal LM in float64, asked with NumPy arrays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()

    def logprobs(self, ids: Array, mask: Array | None = None, places: Array | None = None) -> Array:
        """[B, T] → [B, T, V]: what follows each id, given those before it that `mask` shows."""
        given = {"attention_mask": mask, "position_ids": places}
        tensors = {name: torch.from_numpy(one) for name, one in given.items() if one is not None}
        with torch.no_grad():
            logits = self.lm(input_ids=torch.from_numpy(ids), use_cache=False, **tensors).logits
        found: Array = logits.log_softmax(-1).numpy()
        return found

    def of_response(self, prompt: list[int], response: list[int]) -> Floats:
        """The log-prob of each response id, float32."""
        ids = np.array([prompt + response], np.int64)
        rows = self.logprobs(ids)[0, len(prompt) - 1 : -1]
        return rows[np.arange(len(response)), response].astype(np.float32)


@dataclass
class Scoring(Arithmetic):
    """A scorer that is a `Model`."""

    model: Model | None = field(default=None)

    def score(self, sequences: Sequences) -> list[Floats]:
        assert self.model is not None
        pairs = zip(sequences.prompt.to_pylist(), sequences.response.to_pylist(), strict=True)
        return [self.model.of_response(prompt, response) for prompt, response in pairs]


def make_alike(folder: Path, *, rows: int = 10, masked: bool = True) -> tuple[Signal, Model]:
    """A store below `folder`, its signal, and the model that is student and teacher."""
    model = Model(save_model(folder / "model"))
    who = fingerprint(str(model.folder))
    store = Store.open(folder / "store", create=True, sync=no_sync)
    batch = with_logprobs(random_rows(rows), model)
    publish_rollouts(store, who, [masked_rows(batch) if masked else batch])
    build_signal(store, who, scorer=Scoring(model=model))
    return open_signal("signal", root=store.root), model


def with_logprobs(batch: pa.RecordBatch, model: Model) -> pa.RecordBatch:
    """The same rows with the model's own rollout_logprobs."""
    pairs = zip(
        batch.column("prompt_ids").to_pylist(),
        batch.column("response_ids").to_pylist(),
        strict=True,
    )
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["rollout_logprobs"] = pa.array(
        [model.of_response(prompt, response).tolist() for prompt, response in pairs],
        pa.list_(pa.float32()),
    )
    return pa.RecordBatch.from_pydict(columns)
