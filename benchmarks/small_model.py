"""A small next-token model, trained on the spot, for benchmarks that need real log-probs."""

import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn

VOCABULARY: Final = 8_192
WIDTH: Final = 64
STEPS: Final = 1_500  # of training: about three minutes on one core
BATCH, SPAN = 8, 64  # sequences and tokens of a step
CHARACTERS: Final = 8_000_000  # of text to learn from
SURE: Final = float(np.log(0.99))
SHARE: Final = 0.59  # of tokens with p > .99 in a reasoning model's output


@dataclass(frozen=True, slots=True)
class Scored:
    """Token ids, int32, and the log-prob of each, float32, nats, both of shape (tokens,)."""

    ids: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float32]


class Model(nn.Module):  # type: ignore[misc]  # torch is not followed
    """Embedding, one GRU, tied output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.recurrent = nn.GRU(WIDTH, 2 * WIDTH, batch_first=True)
        self.narrow = nn.Linear(2 * WIDTH, WIDTH)
        nn.init.normal_(self.embedding.weight, std=0.05)

    def forward(self, ids_BT: Tensor) -> Tensor:  # noqa: N803 - shapes in names
        """Logits for the next token, shape (B, T, vocabulary)."""
        hidden, _ = self.recurrent(self.embedding(ids_BT))
        logits: Tensor = self.narrow(hidden) @ self.embedding.weight.T
        return logits


def output(tokens: int) -> Iterator[tuple[str, Scored]]:
    """`text`: log-probs of unseen text; `sharp`: of tokens sampled from the sharpened model."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the same figures on every machine, and no waiting on a busy one
    ids = _corpus(tokens)
    model = Model()
    _train(model, ids[:-tokens])
    unseen = ids[-tokens:]
    yield "text", Scored(unseen, _score(model, unseen, beta=1.0, sampled=False))
    beta = _sharpness(model, unseen[: 20 * 256])
    yield "sharp", Scored(unseen, _score(model, unseen, beta=beta, sampled=True))


def _corpus(tokens: int) -> npt.NDArray[np.int32]:
    """The standard library as tokens of a BPE vocabulary learned from it."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(p for p in folder.rglob("*.py") if "site-packages" not in p.parts)
    texts = [path.read_text(encoding="utf-8", errors="ignore") for path in paths]
    np.random.default_rng(0).shuffle(texts)
    tokenizer = Tokenizer(models.BPE())
    byte_level: Any = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = byte_level
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    text = "\n".join(texts)[: CHARACTERS + 6 * tokens]
    pieces = [text[start : start + 100_000] for start in range(0, len(text), 100_000)]
    tokenizer.train_from_iterator(pieces[:30], trainer)
    found = [np.array(piece.ids, np.int32) for piece in tokenizer.encode_batch(pieces)]
    joined: npt.NDArray[np.int32] = np.concatenate(found)
    return joined


def _train(model: Model, ids: npt.NDArray[np.int32]) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    random = np.random.default_rng(0)
    losses = []
    for _ in range(STEPS):
        starts = random.integers(0, len(ids) - SPAN - 1, BATCH)
        batch = torch.from_numpy(np.stack([ids[s : s + SPAN + 1] for s in starts]).astype(np.int64))
        logits = model(batch[:, :-1]).reshape(-1, VOCABULARY)
        loss = nn.functional.cross_entropy(logits, batch[:, 1:].reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    last = np.mean(losses[-50:])
    print(f"trained {STEPS} steps; the last 50 lost {last:.2f} nats a token", file=sys.stderr)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not followed
def _score(
    model: Model, ids: npt.NDArray[np.int32], *, beta: float, sampled: bool
) -> npt.NDArray[np.float32]:
    """Log-prob of each token, or of one sampled in its place, under logits times `beta`."""
    found = np.zeros(len(ids), np.float32)
    torch.set_flush_denormal(True)  # a sharp softmax is full of them, and they are slow
    for start in range(0, len(ids) - 256, 256):
        chunk = torch.from_numpy(ids[start : start + 256].astype(np.int64))[None]
        logprobs = torch.log_softmax(model(chunk)[0] * beta, -1)
        following = torch.from_numpy(ids[start + 1 : start + 257].astype(np.int64))[:, None]
        if sampled:
            sums = logprobs.exp().cumsum(-1)
            following = torch.searchsorted(sums, torch.rand(len(sums), 1) * sums[:, -1:])
            following = following.clamp_max(VOCABULARY - 1)
        found[start + 1 : start + 257] = logprobs.gather(1, following)[:, 0].numpy()
    torch.set_flush_denormal(False)
    return found


def _sharpness(model: Model, ids: npt.NDArray[np.int32]) -> float:
    """The least factor on the logits that brings `SHARE` of the tokens over p = .99."""
    beta = 1.0
    while (_score(model, ids, beta=beta, sampled=True) > SURE).mean() < SHARE:
        beta *= 1.1
    return beta
