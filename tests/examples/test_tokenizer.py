import unicodedata
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from examples.arithmetic.pretrain import new_tokenizer
from examples.arithmetic.problems import ask
from examples.arithmetic.tokenizer import prompt_ids, response_ids


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_encoding_and_decoding_but_for_nfc(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == unicodedata.normalize("NFC", text)


@given(number=st.integers(min_value=0))
def test_every_digit_is_one_token(tokenizer: Any, number: int) -> None:
    assert tokenizer.convert_ids_to_tokens(tokenizer(str(number))["input_ids"]) == [*str(number)]


def test_a_saved_tokenizer_renders_the_chat_template(tokenizer: Any, student_folder: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(student_folder)
    messages = [*ask("Add 1 and 2."), {"role": "assistant", "content": "Answer: 3"}]
    assert loaded.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>user\nAdd 1 and 2.<|im_end|>\n<|im_start|>assistant\nAnswer: 3<|im_end|>\n"
    )
    assert loaded.get_vocab() == tokenizer.get_vocab()


def test_prompt_ids_are_those_of_the_chat_template_and_responses_end_the_turn(
    tokenizer: Any,
) -> None:
    (prompt,) = prompt_ids(tokenizer, ["Add 481 and 952."])
    expected = tokenizer.apply_chat_template(
        ask("Add 481 and 952."), add_generation_prompt=True, return_dict=False
    )
    assert prompt == expected
    (response,) = response_ids(tokenizer, ["Answer: 3"])
    assert response[-1] == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_training_the_tokenizer_twice_gives_the_same_file(tokenizer: Any) -> None:
    assert new_tokenizer().backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_tokenizer_loaded_and_saved_again_is_the_same_one(
    tokenizer: Any, student_folder: Path, tmp_path: Path
) -> None:
    AutoTokenizer.from_pretrained(student_folder).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert (again.eos_token_id, again.pad_token_id) == (
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
