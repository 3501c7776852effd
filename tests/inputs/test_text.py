"""Text becomes ids by the tokenizer that the identity names, whatever else loads the folder."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from lopd_store.errors import FormatError
from lopd_store.identity.tokenizer import open_tokenizer, read_tokenizer
from lopd_store.inputs.text import ModelRenderer, with_prompt_ids
from tests.models import save_model

TALK = [{"role": "user", "content": "12+30= ?\n  tabs\tand 汉字"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("text") / "model")


@pytest.fixture(scope="module")
def renderer(folder: Path) -> ModelRenderer:
    return ModelRenderer(folder, read_tokenizer(folder).blob)


def test_a_conversation_is_written_by_the_template_and_read_by_the_named_tokenizer(
    folder: Path, renderer: ModelRenderer
) -> None:
    text = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        TALK, add_generation_prompt=True, tokenize=False
    )
    named = open_tokenizer(read_tokenizer(folder).blob)
    assert renderer.messages(TALK) == named.encode(text, add_special_tokens=False).ids


def test_a_prompt_and_a_response_decode_to_their_text(
    renderer: ModelRenderer, folder: Path
) -> None:
    named = open_tokenizer(read_tokenizer(folder).blob)
    for ids in (renderer.prompt("7 + 8"), renderer.response("7 + 8")):
        assert named.decode(ids) == "7 + 8"


def test_messages_for_a_model_without_a_chat_template_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("chat_template*"))
    with pytest.raises(FormatError, match="chat template"):
        ModelRenderer(bare, read_tokenizer(bare).blob).messages(TALK)


def test_a_column_of_text_that_holds_numbers_is_refused(renderer: ModelRenderer) -> None:
    batch = pa.record_batch({"prompt": [1, 2]})
    with pytest.raises(FormatError, match="column prompt: expected text, found int64"):
        with_prompt_ids(batch, renderer)
