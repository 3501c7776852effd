"""Log-probs in chunks against log_softmax over everything, in values, gradients and memory."""

# ruff: noqa: N803, N806 - shape letters end a tensor's name
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lopd_store.errors import UsageError
from lopd_train import softmax
from lopd_train.logprobs import OutputLayer, output_layer, target_logprobs
from lopd_train.losses import LossOptions, opd_loss
from tests import models

SEEDS = st.integers(0, 2**32 - 1)
CAPS = st.sampled_from([None, 2.0])
QUICK = settings(deadline=None, max_examples=60)  # a busy machine is no failure
TENSORS: Final = ("hidden", "weight", "bias")


class Made:
    """Hidden states, an output layer and targets, of random shapes unless these are given."""

    def __init__(
        self,
        seed: int = 0,
        *,
        shape: tuple[int, int, int] | None = None,
        dtype: torch.dtype = torch.float64,
        cap: float | None = None,
    ) -> None:
        random = torch.Generator().manual_seed(seed)
        sizes = [int(torch.randint(1, high, (), generator=random)) for high in (12, 6, 20)]
        tokens, hidden, words = shape or sizes
        self.hidden_NH = torch.randn(tokens, hidden, generator=random, dtype=dtype)
        self.weight_VH = torch.randn(words, hidden, generator=random, dtype=dtype)
        self.bias_V = torch.randn(words, generator=random, dtype=dtype)
        self.targets_N = torch.randint(words, (tokens,), generator=random)
        self.scale, self.cap = 0.7, cap
        self.slopes_N = torch.randn(tokens, generator=random, dtype=dtype)
        for tensor in self.inputs:
            tensor.requires_grad_()

    @property
    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.hidden_NH, self.weight_VH, self.bias_V

    @property
    def layer(self) -> OutputLayer:
        return OutputLayer(
            weight_VH=self.weight_VH, bias_V=self.bias_V, scale=self.scale, cap=self.cap
        )

    def ours(self, **options: Any) -> torch.Tensor:
        return target_logprobs(self.hidden_NH, self.layer, self.targets_N, **options)

    def plain(self) -> torch.Tensor:
        logits_NV = (self.hidden_NH @ self.weight_VH.T + self.bias_V) * self.scale
        if self.cap is not None:
            logits_NV = self.cap * torch.tanh(logits_NV / self.cap)
        return logits_NV.log_softmax(-1).gather(1, self.targets_N[:, None])[:, 0]

    def gradients(self, logprobs_N: torch.Tensor, **options: Any) -> list[torch.Tensor]:
        return list(torch.autograd.grad(logprobs_N, self.inputs, self.slopes_N, **options))

    def foretold(self, _: torch.Tensor, rows: slice) -> torch.Tensor:
        return self.slopes_N[rows]


@QUICK
@given(SEEDS, CAPS, st.integers(1, 13))
def test_values_and_gradients_are_those_of_log_softmax(
    seed: int, cap: float | None, chunk: int
) -> None:
    made = Made(seed, cap=cap)
    plain_N = made.plain()
    expected = made.gradients(plain_N)
    for slopes in (None, made.foretold):
        found_N = made.ours(chunk=chunk, slopes=slopes)
        torch.testing.assert_close(found_N, plain_N, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(made.gradients(found_N), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cap", [None, 2.0], ids=["uncapped", "capped"])
@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_gradients_are_those_of_finite_differences(chunk: int, cap: float | None) -> None:
    made = Made(shape=(5, 4, 11), cap=cap)

    def logprobs(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        layer = OutputLayer(weight_VH=weight, bias_V=bias, scale=made.scale, cap=made.cap)
        return target_logprobs(hidden, layer, made.targets_N, chunk=chunk)

    assert torch.autograd.gradcheck(logprobs, made.inputs)


def test_figures_worked_by_hand() -> None:
    """Logits log(1), log(2), log(5): a target has 1/8, 2/8 or 5/8 of the mass."""
    weight_VH = torch.tensor([[1.0], [2.0], [5.0]]).log()
    layer = OutputLayer(weight_VH=weight_VH)
    found_N = target_logprobs(torch.ones(3, 1), layer, torch.tensor([2, 0, 1]))
    assert found_N.exp().tolist() == pytest.approx([5 / 8, 1 / 8, 2 / 8])


@QUICK
@given(SEEDS, st.sampled_from([1.0, -0.25, 3e-9, 0.0]))
def test_a_gradient_that_was_foretold_up_to_a_factor_is_scaled(seed: int, factor: float) -> None:
    made = Made(seed)
    expected = [factor * gradient for gradient in made.gradients(made.plain())]
    loss = factor * (made.slopes_N * made.ours(slopes=made.foretold, chunk=4)).sum()
    found = list(torch.autograd.grad(loss, made.inputs))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda logprobs_N, _: logprobs_N * 0,
        lambda logprobs_N, _: logprobs_N,
        lambda logprobs_N, _: logprobs_N * float("nan"),
        lambda logprobs_N, _: logprobs_N * float("inf"),
    ],
    ids=["zero", "another", "nan", "infinite"],
)
def test_a_gradient_that_was_not_foretold_is_right_all_the_same(wrong: Any) -> None:
    made = Made(shape=(7, 4, 11))
    found = made.gradients(made.ours(slopes=wrong, chunk=3))
    torch.testing.assert_close(found, made.gradients(made.plain()), rtol=1e-9, atol=1e-12)


def test_one_token_whose_slope_is_other_than_foretold_is_noticed() -> None:
    made = Made(shape=(7, 4, 11))

    def slopes(_: torch.Tensor, rows: slice) -> torch.Tensor:
        off_N = made.slopes_N.clone()
        off_N[5] *= 1 + 1e-9
        return off_N[rows]

    found = made.gradients(made.ours(slopes=slopes, chunk=3))
    torch.testing.assert_close(found, made.gradients(made.plain()), rtol=1e-13, atol=1e-13)


def test_a_second_backward_pass_gives_the_same_gradients() -> None:
    made = Made(shape=(7, 4, 11))
    found_N = made.ours(slopes=made.foretold)
    first = made.gradients(2 * found_N, retain_graph=True)
    torch.testing.assert_close(made.gradients(2 * found_N), first, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("foretold", [False, True], ids=["made again", "made along"])
@pytest.mark.parametrize("frozen", TENSORS)
def test_what_needs_no_gradient_gets_none(frozen: str, foretold: bool) -> None:  # noqa: FBT001
    made = Made(shape=(7, 4, 11))
    place = TENSORS.index(frozen)
    made.inputs[place].requires_grad_(False)
    rest = [tensor for tensor in made.inputs if tensor.requires_grad]
    expected = torch.autograd.grad(made.plain(), rest, made.slopes_N)
    made.ours(slopes=made.foretold if foretold else None).backward(made.slopes_N)
    assert made.inputs[place].grad is None
    for tensor, gradient in zip(rest, expected, strict=True):
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-9, atol=1e-12)


def test_no_array_of_tokens_by_vocabulary_is_ever_made() -> None:
    tokens, hidden, words, chunk = 96, 8, 500, 16
    made = Made(shape=(tokens, hidden, words), dtype=torch.float32, cap=30.0)
    for slopes in (None, made.foretold):
        with Watch() as mode:
            made.ours(slopes=slopes, chunk=chunk).backward(made.slopes_N)
        assert max(mode.sizes) == max(chunk * words, words * hidden)
    with Watch() as mode:
        made.plain().backward(made.slopes_N)
    assert max(mode.sizes) == tokens * words  # so the gauge sees what it is to see


def test_foretelling_spares_the_fourth_of_four_products() -> None:
    """By tokens, vocabulary and width: logits, hidden states, weight; and logits again."""
    made = Made(shape=(8, 4, 11))
    for slopes, products in ((None, 4), (made.foretold, 3)):
        with Watch() as mode:
            made.ours(slopes=slopes).backward(made.slopes_N)
        assert sum("mm" in name for name in mode.names) == products


def test_without_gradients_slopes_are_not_asked_for() -> None:
    made = Made(shape=(7, 4, 11))

    def never(_: torch.Tensor, rows: slice) -> torch.Tensor:
        raise AssertionError(rows)

    with torch.no_grad():
        assert torch.equal(made.ours(slopes=never), made.ours())


def test_the_weight_is_read_and_not_written() -> None:
    made = Made(shape=(7, 4, 11))
    before = [(tensor.detach().clone(), tensor._version) for tensor in made.inputs]
    made.ours(slopes=made.foretold).backward(made.slopes_N)
    made.ours().backward(made.slopes_N)
    for tensor, (values, version) in zip(made.inputs, before, strict=True):
        assert torch.equal(tensor, values)
        assert tensor._version == version


def test_logits_far_beyond_the_range_of_exp_are_exact() -> None:
    """Float32: logits 0, 500 and 1,000 per unit of hidden state."""
    layer = OutputLayer(weight_VH=torch.tensor([[0.0], [500.0], [1000.0]]))
    hidden_NH = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    found_N = target_logprobs(hidden_NH, layer, torch.tensor([0, 1, 2]))
    assert found_N.tolist() == pytest.approx([-1000.0, -500.0, -float(np.log(3))])
    found_N.sum().backward()
    assert hidden_NH.grad is not None
    assert hidden_NH.grad.isfinite().all()


def test_vocabulary_beyond_the_tokenizer_is_part_of_the_softmax() -> None:
    layer = OutputLayer(weight_VH=torch.zeros(8, 1))  # 5 words of a tokenizer, padded to 8
    assert target_logprobs(torch.ones(1, 1), layer, torch.tensor([4])).exp().item() == 1 / 8


def test_no_tokens_have_no_logprobs_and_gradients_of_zero() -> None:
    made = Made(shape=(1, 4, 11))
    none_N = target_logprobs(made.hidden_NH[:0], made.layer, made.targets_N[:0])
    assert none_N.shape == (0,)
    none_N.sum().backward()
    assert all(tensor.grad is not None and not tensor.grad.any() for tensor in made.inputs)


@pytest.mark.parametrize("target", [-1, 11, 10**12])
def test_a_target_outside_the_vocabulary_is_refused(target: int) -> None:
    made = Made(shape=(2, 4, 11))
    made.targets_N[1] = target
    with pytest.raises(UsageError, match=r"expected targets in \[0, 11\), found .*" + str(target)):
        made.ours()


@pytest.mark.parametrize("piece", [7, 300], ids=["in pieces", "whole"])
@pytest.mark.parametrize("foretold", [False, True], ids=["made again", "made along"])
def test_under_autocast_only_the_products_are_in_bfloat16(
    foretold: bool,  # noqa: FBT001
    piece: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(softmax, "MIXED_WORDS", piece)
    made = Made(shape=(40, 16, 300), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found_N = made.ours(slopes=made.foretold if foretold else None, chunk=7)
    assert found_N.dtype == torch.float32
    rounded = [tensor.detach().bfloat16() for tensor in made.inputs]
    products = torch.nn.functional.linear(*rounded).double().numpy() * made.scale
    exact = products - np.log(np.exp(products).sum(1, keepdims=True))
    exact_N = exact[np.arange(40), made.targets_N]
    np.testing.assert_allclose(found_N.detach(), exact_N, rtol=0, atol=1e-5)
    for ours, full in zip(made.gradients(found_N), made.gradients(made.plain()), strict=True):
        assert ours.dtype == torch.float32
        assert cosine(ours, full) > 0.999


def test_autocast_leaves_float64_alone_as_it_does_in_a_linear_layer() -> None:
    made = Made(shape=(5, 4, 11))
    with torch.autocast("cpu", torch.bfloat16):
        found_N = made.ours()
    torch.testing.assert_close(found_N, made.plain(), rtol=1e-12, atol=1e-12)


def test_a_bfloat16_model_has_gradients_in_bfloat16_added_up_in_float32() -> None:
    """4,000 equal tokens: adding up in bfloat16 would stall where steps vanish, after 256."""
    tokens = 4000
    hidden_NH = torch.ones(tokens, 1, dtype=torch.bfloat16, requires_grad=True)
    weight_VH = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    layer = OutputLayer(weight_VH=weight_VH)
    found_N = target_logprobs(hidden_NH, layer, torch.zeros(tokens, dtype=torch.int64), chunk=1)
    found_N.sum().backward()
    assert found_N.dtype == torch.float32
    assert weight_VH.grad is not None
    assert weight_VH.grad.dtype == torch.bfloat16
    assert weight_VH.grad.tolist() == [[2000.0], [-2000.0]]


def test_a_model_under_autocast_learns_as_it_does_in_float32(tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        models.save_model(tmp_path, "qwen3", tokenizer=False)
    )
    random = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(models.VOCABULARY, (2, 24), generator=random)
    teacher_N = torch.full((2 * 23,), -3.0)

    def gradient(*, autocast: bool) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            hidden_BTH = model.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
            logprobs_N = target_logprobs(
                hidden_BTH[:, :-1].flatten(0, 1),
                output_layer(model),
                ids_BT[:, 1:].flatten(),
            )
            loss = opd_loss(
                logprobs_N,
                teacher_N,
                torch.full_like(teacher_N, 1 / len(teacher_N)),
                options=LossOptions(importance="none"),
            ).loss
        assert logprobs_N.dtype == torch.float32
        found = torch.autograd.grad(loss, list(model.parameters()))
        assert {part.dtype for part in found} == {torch.float32}
        return torch.cat([part.flatten() for part in found])

    assert cosine(gradient(autocast=True), gradient(autocast=False)) > 0.99


HEADS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Qwen2": {},
    "Qwen3": {"tie_word_embeddings": True},
    "Llama": {},
    "Gemma2": {"final_logit_softcapping": 3.0, "query_pre_attn_scalar": 32},
    "Cohere": {"logit_scale": 0.25},
    "Granite": {"logits_scaling": 4.0},
    "Phi": {},
}
"""Models whose output layers differ: tied, capped, scaled up, scaled down, with a bias."""


@pytest.mark.parametrize("name", HEADS)
def test_the_output_layer_gives_the_logprobs_of_the_models_own_logits(name: str) -> None:
    model = tiny(name)
    ids_BT = (torch.arange(17)[None] * 7919 + 11) % 64
    with torch.no_grad():
        logits_TV = model(input_ids=ids_BT, use_cache=False).logits[0, :-1]
        hidden_TH = model.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state[0, :-1]
        found_N = target_logprobs(hidden_TH, output_layer(model), ids_BT[0, 1:])
    expected_N = logits_TV.log_softmax(-1).gather(1, ids_BT[0, 1:, None])[:, 0]
    torch.testing.assert_close(found_N, expected_N, rtol=1e-5, atol=1e-5)
    layer = output_layer(model)
    assert layer.weight_VH is model.get_output_embeddings().weight
    facts = (layer.scale, layer.cap, layer.bias_V is not None)
    assert facts == {
        "Gemma2": (1.0, 3.0, False),
        "Cohere": (0.25, None, False),
        "Granite": (0.25, None, False),
        "Phi": (1.0, None, True),
    }.get(name, (1.0, None, False))


def test_an_output_layer_that_is_not_linear_is_refused() -> None:
    model = tiny("Llama")
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(
        UsageError, match=r"LlamaForCausalLM: expected a linear .* found Sequential"
    ):
        output_layer(model)


def tiny(name: str) -> Any:
    """One layer of width 64, 64 words, weights wide enough for scales and caps to show."""
    config = getattr(transformers, f"{name}Config")(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        initializer_range=0.5,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **HEADS[name],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
        if (bias := model.get_output_embeddings().bias) is not None:
            torch.nn.init.normal_(bias)
    return model


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


class Watch(TorchDispatchMode):  # type: ignore[misc] # torch has no types here
    """Notes the names of operations and the number of elements of every tensor they return."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        made = func(*args, **(kwargs or {}))
        tensors = made if isinstance(made, (tuple, list)) else [made]
        self.names.append(str(func))
        self.sizes += [tensor.numel() for tensor in tensors if isinstance(tensor, torch.Tensor)]
        return made
