from dataclasses import replace
from typing import Final

from lopd_store.digest import Digest
from lopd_store.documents.model import Adapter, HubSource, ModelIdentity
from lopd_store.documents.tokenizer import SpecialIds, TokenizerIdentity
from lopd_store.identity.compare import (
    compare_teachers,
    compare_tokenizers,
    same_teacher,
    same_tokenizer,
)


def digest(character: str) -> Digest:
    return Digest.from_hex(character * 64)


MODEL: Final = ModelIdentity(
    weights_digest=digest("1"),
    config_digest=digest("2"),
    vocab_size=151_936,
    files={"model.safetensors": digest("3")},
    source=HubSource(repo="org/teacher", commit="c" * 40),
)
ADAPTER: Final = Adapter(digest=digest("4"), rank=4, alpha="16", targets=("q_proj", "v_proj"))
TOKENIZER: Final = TokenizerIdentity(
    core_digest=digest("5"),
    vocab_digest=digest("6"),
    probe_digest=digest("7"),
    chat_template_digest=digest("8"),
    vocab_size=151_669,
    special_ids=SpecialIds(eos=(1,)),
    versions={"tokenizers": "0.23.3"},
    blob=digest("9"),
)


def test_files_source_and_padding_do_not_make_another_teacher() -> None:
    other = replace(MODEL, files={"a.safetensors": digest("a")}, source=None, vocab_size=152_064)
    assert same_teacher(MODEL, other) == []


def test_other_weights_are_another_teacher_and_both_sides_are_named() -> None:
    other = replace(MODEL, weights_digest=digest("a"), source=None)
    (problem,) = same_teacher(MODEL, other)
    assert problem.kind == "other-weights"
    assert problem.where == f"model (org/teacher@{'c' * 12} is named, a local folder is at hand)"
    assert (problem.expected, problem.found) == ("weights 111111111111", "weights aaaaaaaaaaaa")


def test_other_weights_and_config_are_two_problems() -> None:
    other = replace(MODEL, weights_digest=digest("a"), config_digest=digest("b"))
    kinds = [problem.kind for problem in same_teacher(MODEL, other)]
    assert kinds == ["other-weights", "other-config"]


def test_an_adapter_makes_another_teacher_whatever_the_order_of_its_targets() -> None:
    tuned = replace(MODEL, adapter=ADAPTER)
    shuffled = replace(MODEL, adapter=replace(ADAPTER, targets=("v_proj", "q_proj")))
    stronger = replace(MODEL, adapter=replace(ADAPTER, alpha="32"))
    assert same_teacher(tuned, shuffled) == []
    assert [each.found for each in same_teacher(tuned, stronger)] == [
        "adapter 444444444444 (rank 4, alpha 32)"
    ]
    assert [each.found for each in same_teacher(tuned, MODEL)] == ["no adapter"]


def test_an_assertion_is_honoured_from_either_side_and_noted() -> None:
    quantised = replace(
        MODEL,
        weights_digest=digest("a"),
        config_digest=digest("b"),
        asserted_same_as=MODEL.weights_digest,
    )
    for verdict in (compare_teachers(MODEL, quantised), compare_teachers(quantised, MODEL)):
        assert verdict.problems == ()
        assert {note.kind for note in verdict.notes} == {"asserted-same-teacher"}


def test_an_assertion_about_a_third_model_is_no_excuse() -> None:
    other = replace(MODEL, weights_digest=digest("a"), asserted_same_as=digest("d"))
    assert same_teacher(MODEL, other)


def test_an_equal_core_is_the_same_tokenizer() -> None:
    other = replace(TOKENIZER, vocab_digest=digest("a"), blob=digest("b"), versions={})
    assert same_tokenizer(TOKENIZER, other) == []


def test_equal_vocabulary_and_probes_are_the_same_tokenizer_with_a_note() -> None:
    verdict = compare_tokenizers(TOKENIZER, replace(TOKENIZER, core_digest=digest("a")))
    assert verdict.problems == ()
    assert [note.kind for note in verdict.notes] == ["other-core"]


def test_another_core_and_vocabulary_is_another_tokenizer() -> None:
    other = replace(TOKENIZER, core_digest=digest("a"), vocab_digest=digest("b"))
    assert [problem.kind for problem in same_tokenizer(TOKENIZER, other)] == ["other-vocabulary"]
    other = replace(TOKENIZER, core_digest=digest("a"), probe_digest=digest("b"))
    assert [problem.kind for problem in same_tokenizer(TOKENIZER, other)] == [
        "other-ids-for-probes"
    ]


def test_chat_template_and_special_ids_are_notes() -> None:
    other = replace(
        TOKENIZER, chat_template_digest=None, special_ids=SpecialIds(eos=(1, 2)), vocab_size=7
    )
    verdict = compare_tokenizers(TOKENIZER, other)
    assert verdict.problems == ()
    assert [(note.kind, note.found) for note in verdict.notes] == [
        ("other-chat-template", "None"),
        ("other-special-ids", "{'eos': [1, 2]}"),
    ]
