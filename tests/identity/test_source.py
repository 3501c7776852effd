"""The Hub's cache, laid out by hand and resolved by the real huggingface_hub, offline."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from huggingface_hub import errors

from lopd_store.errors import HubError, NotFoundError, UsageError
from lopd_store.identity.model import fingerprint
from lopd_store.identity.source import locate
from lopd_store.identity.weights import weights_digest
from tests.hub_server import Hub, running

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(qwen: Path, tmp_path: Path) -> Path:
    """A cache with org/tiny@main: small files under a git id, large ones under their SHA-256."""
    repo = tmp_path / "hub" / "models--org--tiny"
    snapshot, blobs = repo / "snapshots" / COMMIT, repo / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    for path in qwen.iterdir():
        data = path.read_bytes()
        kind = hashlib.sha256 if path.suffix == ".safetensors" else hashlib.sha1
        blob = blobs / kind(data).hexdigest()
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
    return tmp_path / "hub"


def offline(hub: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HF_HUB_CACHE": str(hub),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


PRINT_IDENTITY = (
    "import sys\n"
    "from lopd_store.identity.model import fingerprint\n"
    "model = fingerprint(sys.argv[1], cache=None).model\n"
    "print(model.source.repo, model.source.commit, model.weights_digest)"
)
PRINT_ERROR = (
    "import sys\n"
    "from lopd_store.errors import LopdError\n"
    "from lopd_store.identity.source import locate\n"
    "try:\n"
    "    locate(sys.argv[1])\n"
    "except LopdError as error:\n"
    "    print(type(error).__name__, error)"
)


@pytest.mark.parametrize("name", ["org/tiny", "org/tiny@main", f"org/tiny@{COMMIT}"])
def test_a_cached_model_is_found_offline_at_its_commit(name: str, hub: Path, qwen: Path) -> None:
    found = offline(hub, PRINT_IDENTITY, name)
    assert found.stdout.split() == ["org/tiny", COMMIT, str(weights_digest(qwen))], found.stderr


@pytest.mark.parametrize("name", ["org/absent", "org/tiny@v2"])
def test_what_is_not_cached_is_not_found_offline(name: str, hub: Path) -> None:
    found = offline(hub, PRINT_ERROR, name)
    assert found.stdout.startswith(f"NotFoundError {name}: not in the local cache"), found.stderr


def test_a_snapshot_folder_knows_its_repository(hub: Path, qwen: Path) -> None:
    snapshot = hub / "models--org--tiny" / "snapshots" / COMMIT
    found = fingerprint(str(snapshot), cache=None).model
    plain = fingerprint(str(qwen), cache=None).model
    assert found.source is not None
    assert (found.source.repo, found.source.commit) == ("org/tiny", COMMIT)
    assert (plain.source, plain.files) == (None, found.files)


def test_a_blobs_name_is_its_digest_until_a_rehash(hub: Path) -> None:
    snapshot = hub / "models--org--tiny" / "snapshots" / COMMIT
    claimed = "f" * 64
    link = snapshot / "model.safetensors"
    blob = link.resolve().rename(hub / "models--org--tiny" / "blobs" / claimed)
    link.unlink()
    link.symlink_to(f"../../blobs/{claimed}")
    true = hashlib.sha256(blob.read_bytes()).hexdigest()
    found = fingerprint(str(snapshot), cache=None).model.files["model.safetensors"]
    checked = fingerprint(str(snapshot), cache=None, rehash=True).model.files["model.safetensors"]
    assert (found.hex, checked.hex) == (claimed, true)


def test_a_file_named_by_64_hex_elsewhere_claims_nothing(qwen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(qwen, folder)
    target = tmp_path / ("f" * 64)
    (folder / "model.safetensors").rename(target)
    (folder / "model.safetensors").symlink_to(target)
    found = fingerprint(str(folder), cache=None).model
    assert found == fingerprint(str(qwen), cache=None).model


def test_a_folder_is_its_files(qwen: Path) -> None:
    found = locate(str(qwen))
    assert found.folder == qwen
    assert "config.json" in found.files
    assert found.hub is None


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "~/nothing-here-at-all"])
def test_a_path_that_is_not_there_is_not_looked_up_on_the_hub(name: str) -> None:
    with pytest.raises(NotFoundError, match="expected a model folder"):
        locate(name)


RESPONSE = httpx.Response(404, request=httpx.Request("GET", "https://example.com"))


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (errors.GatedRepoError("no", response=RESPONSE), NotFoundError, "accept its terms"),
        (errors.RevisionNotFoundError("no", response=RESPONSE), NotFoundError, "no such revision"),
        (errors.RepositoryNotFoundError("no", response=RESPONSE), NotFoundError, "private"),
        (errors.LocalEntryNotFoundError("no"), NotFoundError, "HF_HUB_OFFLINE"),
        (errors.OfflineModeIsEnabled("no"), NotFoundError, "HF_HUB_OFFLINE"),
        (errors.HfHubHTTPError("no", response=RESPONSE), HubError, "did not answer"),
        (ConnectionError("no"), HubError, "did not answer"),
        (errors.HFValidationError("no"), UsageError, "the Hub allows"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_the_hub_refuses_says_what_to_do(
    raised: Exception,
    kind: type[Exception],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise raised

    monkeypatch.setattr("huggingface_hub.utils.get_session", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(kind, match=rf"org/name@v1.*{said}"):
        locate("org/name@v1")


def test_bin_files_are_downloaded_only_where_there_are_no_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"the same"}
    with running(Hub()) as hub:
        hub.commit("org/both", both, kind="model")
        hub.commit("org/old", both | {"model.safetensors": None}, kind="model")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        assert locate("org/both").files == ("config.json", "model.safetensors")
        assert locate("org/old").files == ("config.json", "pytorch_model.bin")
        assert not hub.asked("GET /org/both/.*bin")


@pytest.mark.parametrize("name", ["", "one-word", "a/b/c", "org/name@", "org/na me", "org/x@a b"])
def test_what_is_neither_a_folder_nor_a_hub_name_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="org/name"):
        locate(name)
