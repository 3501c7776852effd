"""The policy: a causal LM that answers with the log-probs of the tokens it is asked for."""

# ruff: noqa: N806 - shape letters end a tensor's name: docs/notation.md

from typing import Any, Final

import torch

from lopd_store.errors import UsageError
from lopd_train.collate import Batch
from lopd_train.logprobs import output_layer, target_logprobs
from lopd_train.softmax import Slopes

PROBE_TOKENS: Final = 17
PROBE_NATS: Final = 1e-3
"""Rounding of two float32 paths; a logit transform that was missed is off by far more."""


class Policy(torch.nn.Module):  # type: ignore[misc] # torch has no types here
    """log π_θ of chosen tokens, with no array of [positions, vocabulary] in between.

    The model is taken apart into its body and its output layer, and the output layer is applied
    to the positions that are trained, in blocks. Dropout is off: the log-probs are the policy's.
    """

    def __init__(self, model: Any) -> None:
        """Take a causal LM of transformers, also one that peft has put adapters into.

        Raises UsageError for a model that cannot be taken apart without changing its numbers.
        """
        super().__init__()
        self.model = model
        for module in model.modules():
            _stop_dropping(module)
        self._check_against_full_logits()

    @property
    def causal_lm(self) -> Any:
        """The model without peft's shell around it."""
        unwrap = getattr(self.model, "get_base_model", None)
        return unwrap() if unwrap else self.model

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The decoder's blocks: what FSDP2 cuts one by one."""
        names = set(self.causal_lm._no_split_modules or ())  # noqa: SLF001 - no public name
        return [module for module in self.modules() if type(module).__name__ in names]

    def forward(self, batch: Batch, slopes: Slopes | None = None) -> torch.Tensor:
        """Natural log-probs [N] of `batch.targets_N`, float32; for `slopes`: target_logprobs."""
        body = self.causal_lm.base_model
        hidden_BTH = body(
            input_ids=batch.input_ids_BT, position_ids=batch.position_ids_BT, use_cache=False
        ).last_hidden_state
        hidden_NH = hidden_BTH.flatten(0, 1)[batch.before_N]
        layer = output_layer(self.causal_lm)
        return target_logprobs(hidden_NH, layer, batch.targets_N, slopes=slopes)

    def check_packing(self) -> None:
        """Raise UsageError unless rows in one line leave each other's log-probs as they are.

        State-space layers and some positions read on across the rows, and nothing else would tell.
        """
        one, other = self._probe(), self._probe().flip(0)
        with torch.no_grad():
            alone_N = torch.cat([self(_packed(one)), self(_packed(other))])
            gap = float((self(_packed(one, other)) - alone_N).abs().max())
        if not gap <= PROBE_NATS:
            raise UsageError(
                f"{type(self.causal_lm).__name__}: expected rows that do not read each other when"
                f" packed, found log-probs {gap:.3g} nats apart: train with --layout padded"
            )

    def _check_against_full_logits(self) -> None:
        """A probe must agree with the model's own logits."""
        ids_T = self._probe()
        with torch.no_grad():
            own_N = self(_packed(ids_T))
            logits_TV = self.model(input_ids=ids_T[None], use_cache=False).logits[0, :-1].float()
            full_N = logits_TV.log_softmax(-1).gather(1, ids_T[1:, None]).squeeze(1)
            gap = float((own_N - full_N).abs().max())
        if not gap <= PROBE_NATS:
            raise UsageError(
                f"{type(self.causal_lm).__name__}: expected log-probs within {PROBE_NATS} nats of"
                f" the model's own logits, found {gap:.3g}: this architecture is not supported"
            )

    def _probe(self) -> torch.Tensor:
        """Ids that any vocabulary has, in no order that a model could know."""
        vocabulary = self.causal_lm.config.get_text_config().vocab_size
        device = next(self.model.parameters()).device
        return (torch.arange(PROBE_TOKENS, device=device) * 7919 + 11) % vocabulary


def _stop_dropping(module: torch.nn.Module) -> None:
    """Set every rate of a layer to 0, be it a Dropout or a number beside attention."""
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
    for name, value in list(vars(module).items()):
        if "drop" in name and isinstance(value, float):
            setattr(module, name, 0.0)


def _packed(*rows: torch.Tensor) -> Batch:
    """Whole rows one after another; all of each is to be learnt but its first id."""
    ids_T = torch.cat(rows)
    places_T = torch.cat([torch.arange(len(row_T), device=ids_T.device) for row_T in rows])
    targets_N = places_T.nonzero().squeeze(1)
    return Batch(
        input_ids_BT=ids_T[None],
        position_ids_BT=places_T[None],
        before_N=targets_N - 1,
        targets_N=ids_T[targets_N],
        lengths_N=torch.zeros_like(targets_N),
        rows_N=torch.zeros_like(targets_N),
        teacher_N=None,
        rollout_N=None,
        rows=len(rows),
    )
