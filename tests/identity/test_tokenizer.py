import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from lopd_store.documents.tokenizer import TokenizerIdentity
from lopd_store.errors import FormatError, NotFoundError
from lopd_store.identity.probes import PROBES
from lopd_store.identity.tokenizer import (
    MAX_TOKENIZER_BYTES,
    identify,
    open_chat_template,
    open_tokenizer,
    read_tokenizer,
)
from tests.models import CHAT_TEMPLATE, save_tokenizer

SAME = ("core_digest", "vocab_digest", "probe_digest")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tokenizer(tmp_path / "model")


def identity_of(folder: Path) -> TokenizerIdentity:
    return read_tokenizer(folder).identity


def digests(identity: TokenizerIdentity) -> list[str]:
    return [str(getattr(identity, name)) for name in SAME]


def edited(folder: Path, change: Any) -> TokenizerIdentity:
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return identity_of(folder)


def test_a_tokenizer_transformers_loads_and_saves_keeps_its_identity(
    folder: Path, tmp_path: Path
) -> None:
    loaded = AutoTokenizer.from_pretrained(folder)
    loaded.save_pretrained(tmp_path / "again")
    live = identify(loaded.backend_tokenizer, folder=folder).identity
    assert digests(live) == digests(identity_of(folder))
    assert identity_of(tmp_path / "again") == identity_of(folder)


def test_truncation_and_padding_do_not_leak_and_stay_as_they_were(folder: Path) -> None:
    before = read_tokenizer(folder)
    live = Tokenizer.from_file(str(folder / "tokenizer.json"))
    live.enable_truncation(3)
    live.enable_padding(length=50)
    assert identify(live, folder=folder) == before
    assert (live.truncation or {})["max_length"] == 3
    assert (live.padding or {})["length"] == 50


def test_merges_as_text_and_as_pairs_are_one_tokenizer(folder: Path) -> None:
    before = identity_of(folder)

    def as_text(document: dict[str, Any]) -> None:
        merges = document["model"]["merges"]
        document["model"]["merges"] = [" ".join(pair) for pair in merges]

    assert edited(folder, as_text) == before


def test_a_changed_merge_is_another_tokenizer(folder: Path) -> None:
    before = identity_of(folder)
    after = edited(folder, lambda document: document["model"]["merges"].pop(0))
    assert after.core_digest != before.core_digest
    assert after.probe_digest != before.probe_digest
    assert after.vocab_digest == before.vocab_digest


def test_swapped_pieces_are_another_vocabulary(folder: Path) -> None:
    def swap(document: dict[str, Any]) -> None:
        vocab = document["model"]["vocab"]
        vocab["y"], vocab["z"] = vocab["z"], vocab["y"]

    before, after = identity_of(folder), edited(folder, swap)
    assert before.vocab_digest != after.vocab_digest
    assert before.core_digest != after.core_digest


def test_a_normalizer_changes_the_core_and_the_probes(folder: Path) -> None:
    live = Tokenizer.from_file(str(folder / "tokenizer.json"))
    before = identify(live, folder=folder).identity
    live.normalizer = normalizers.NFC()
    after = identify(live, folder=folder).identity
    assert after.core_digest != before.core_digest
    assert after.probe_digest != before.probe_digest


def test_the_order_of_added_tokens_in_the_file_does_not_count(folder: Path) -> None:
    before = identity_of(folder)
    assert edited(folder, lambda document: document["added_tokens"].reverse()) == before


def test_an_added_token_is_another_tokenizer(folder: Path) -> None:
    live = Tokenizer.from_file(str(folder / "tokenizer.json"))
    live.add_tokens([AddedToken("<tool>", special=True)])
    after = identify(live, folder=folder).identity
    assert digests(after) != digests(identity_of(folder))
    assert after.vocab_size == identity_of(folder).vocab_size + 1


def test_the_vocabulary_digest_is_the_published_one(folder: Path) -> None:
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    pairs = sorted(vocabulary.items(), key=lambda item: item[1])
    text = json.dumps(pairs, separators=(",", ":"), ensure_ascii=False).encode()
    tagged = b"lopd.tokenizer-vocab.v1\n" + len(text).to_bytes(8, "little") + text
    assert identity_of(folder).vocab_digest.hex == hashlib.sha256(tagged).hexdigest()


def test_the_probes_are_those_of_version_1() -> None:
    published = "cb49fedb122bc49c12b2118528105c3ddd9f80952fb62a721480f5d5e68d8b36"
    assert hashlib.sha256(json.dumps(PROBES).encode()).hexdigest() == published
    assert len(PROBES) == len(set(PROBES)) == 124


def test_scores_that_are_floats_count(tmp_path: Path) -> None:
    found = set()
    for score in (-1.5, -1.5000000001, -2.0):
        live = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", score)], unk_id=0))
        found.add(str(identify(live, folder=tmp_path).identity.core_digest))
    assert len(found) == 3


def test_dropout_makes_no_difference_to_who_a_tokenizer_is(folder: Path) -> None:
    before = identity_of(folder)
    after = edited(folder, lambda document: document["model"].update(dropout=0.5))
    assert digests(after) == digests(before)


def test_special_ids_come_from_the_generation_config_first(folder: Path) -> None:
    assert identity_of(folder).special_ids.to_json() == {"eos": [2], "bos": 1, "pad": 0}
    (folder / "config.json").write_text('{"eos_token_id": 7, "bos_token_id": 9}')
    assert identity_of(folder).special_ids.to_json() == {"eos": [7], "bos": 9, "pad": 0}
    (folder / "generation_config.json").write_text('{"eos_token_id": [8, 2], "pad_token_id": -1}')
    assert identity_of(folder).special_ids.to_json() == {"eos": [8, 2], "bos": 9}


def test_a_special_id_that_is_no_id_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"eos_token_id": "two"}')
    with pytest.raises(FormatError, match="eos_token_id"):
        identity_of(folder)


def test_the_chat_template_is_the_same_text_wherever_it_stands(folder: Path) -> None:
    expected = hashlib.sha256(CHAT_TEMPLATE.encode()).hexdigest()
    file, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    before = read_tokenizer(folder)
    assert before.identity.chat_template_digest is not None
    assert before.identity.chat_template_digest.hex == expected
    assert open_chat_template(before.blob) == CHAT_TEMPLATE
    file.unlink()
    assert identity_of(folder).chat_template_digest is None
    fields = json.loads(config.read_text())
    for spelling in (CHAT_TEMPLATE, [{"name": "default", "template": CHAT_TEMPLATE}]):
        config.write_text(json.dumps({**fields, "chat_template": spelling}))
        assert identity_of(folder) == before.identity
    file.write_bytes(b"a\r\nb")
    assert identity_of(folder).chat_template_digest == edited_template(folder, b"a\nb")


def edited_template(folder: Path, text: bytes) -> object:
    (folder / "chat_template.jinja").write_bytes(text)
    return identity_of(folder).chat_template_digest


def test_the_blob_gives_the_tokenizer_back(folder: Path) -> None:
    reading = read_tokenizer(folder)
    original = Tokenizer.from_file(str(folder / "tokenizer.json"))
    opened = open_tokenizer(reading.blob)
    for text in PROBES:
        assert opened.encode(text).ids == original.encode(text).ids
    assert opened.decode([2, 30, 31], skip_special_tokens=False) == original.decode(
        [2, 30, 31], skip_special_tokens=False
    )
    assert reading.identity.blob.hex == hashlib.sha256(reading.blob).hexdigest()


def test_another_process_makes_the_same_identity_and_blob(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from lopd_store.identity.tokenizer import read_tokenizer\n"
        "reading = read_tokenizer(Path(sys.argv[1]))\n"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)\n"
        "print(reading.identity.core_digest, reading.identity.blob)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True
    )
    here = identity_of(folder)
    assert found.stdout.split() == [str(here.core_digest), str(here.blob)]


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (b"", "JSON"),
        (b"not zstd", "expected zstd"),
        (zstd(b"{}")[:-3], "blob"),
        (zstd(b"[]"), "JSON object"),
        (zstd(b'{"format":"lopd.tokenizer.v2","tokenizer":"{}"}'), "lopd.tokenizer.v1"),
        (zstd(b'{"format":"lopd.tokenizer.v1","tokenizer":{}}'), "lopd.tokenizer.v1"),
        (zstd(b'{"format":"lopd.tokenizer.v1","tokenizer":"{}"}'), "expected a tokenizer"),
        (zstd(bytes(MAX_TOKENIZER_BYTES + 1)), "found more"),
    ],
    ids=["empty", "not-zstd", "cut", "list", "next-version", "object", "no-tokenizer", "bomb"],
)
def test_a_hostile_blob_is_refused(blob: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        open_tokenizer(blob)


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b"[]"], ids=["empty", "no", "latin", "list"])
def test_a_tokenizer_file_that_does_not_load_is_a_format_error(text: bytes, folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(text)
    with pytest.raises(FormatError):
        read_tokenizer(folder)


def test_a_folder_without_tokenizer_files_has_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"tokenizer\.json"):
        read_tokenizer(tmp_path)


def test_older_tokenizer_files_are_converted(tmp_path: Path) -> None:
    symbols = ["<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]
    (tmp_path / "vocab.json").write_text(json.dumps({each: n for n, each in enumerate(symbols)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nt h\n")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    reading = read_tokenizer(tmp_path)
    assert open_tokenizer(reading.blob).encode("th").ids == [symbols.index("th")]


def test_older_tokenizer_files_without_transformers_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(FormatError, match="pip install"):
        read_tokenizer(tmp_path)
