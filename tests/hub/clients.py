"""Clients of a Hub, each in a process of its own: a library reads its settings when it is imported.

person = Client(environment=hub.environment(folder / "cache", token=TOKEN), folder=folder)
said = person.lopd_store("push", "signal", "org/data", "--json")
said = person.python(code, "org/data")
said = person.hf("download", "org/data", "--repo-type", "dataset")
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cli.runner import Said
from tests.hub_server import TOKEN, Hub, Kind

REAL = ("LOPD_TEST_HUB_TOKEN", "LOPD_TEST_HUB_NAMESPACE")
_LOPD_STORE = "from lopd_cli.store import main; main()"
_HF = "from huggingface_hub.cli.hf import main; main()"


@dataclass(frozen=True)
class Client:
    """A person at a machine with a cache and a store of its own."""

    folder: Path
    environment: Mapping[str, str] = field(repr=False)  # holds their token

    @property
    def store(self) -> Path:
        """What `lopd-store` takes for its store."""
        return self.folder / "store"

    def lopd_store(self, *words: object, **environment: str) -> Said:
        return self._run("-c", _LOPD_STORE, *words, **environment)

    def hf(self, *words: object, **environment: str) -> Said:
        return self._run("-c", _HF, *words, **environment)

    def python(self, code: str, *words: object, **environment: str) -> Said:
        """What code prints: `sys.argv[1:]` are the words. A traceback fails the test."""
        said = self._run("-c", code, *words, **environment)
        assert said.code == 0, said.err
        return said

    def start(self, *words: object, **environment: str) -> subprocess.Popen[str]:
        """`lopd-store` under way, for a test to kill."""
        return self.start_python(_LOPD_STORE, *words, **environment)

    def start_python(self, code: str, *words: object, **environment: str) -> subprocess.Popen[str]:
        """Code under way, for a test to kill."""
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment(environment),
        )

    def _run(self, *words: object, **environment: str) -> Said:
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment(environment),
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def _environment(self, more: Mapping[str, str]) -> Mapping[str, str]:
        own = {"LOPD_STORE": str(self.store), "PYTHONPATH": os.pathsep.join(sys.path)}
        return {**self.environment, **own, **more}


@dataclass(frozen=True)
class Account:
    """A namespace where tests make repositories, on the loopback Hub or on the real one.

    Attributes:
        loopback: the server; None on the real Hub.
        made: the repositories asked for, which are deleted after a test.
    """

    namespace: str
    folder: Path
    loopback: Hub | None
    made: list[tuple[Kind, str]] = field(default_factory=list)

    def repository(self, kind: Kind = "dataset") -> str:
        """A name that nothing has yet."""
        name = f"{self.namespace}/lopd-test-{secrets.token_hex(6)}"
        self.made.append((kind, name))
        return name

    def client(self, name: str = "client", *, token: bool = True) -> Client:
        """Somebody who may write here, or whoever comes without a token."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        if self.loopback:
            given = TOKEN if token else None
            return Client(folder, self.loopback.environment(folder / "cache", token=given))
        return Client(folder, _real_environment(folder / "cache", token=token))

    def clean(self) -> None:
        """Delete what was made; on loopback it ends with the server."""
        if not self.loopback:
            code = (
                "import sys\n"
                "from huggingface_hub import delete_repo\n"
                "for kind, name in zip(sys.argv[1::2], sys.argv[2::2], strict=True):\n"
                "    delete_repo(name, repo_type=kind, missing_ok=True)\n"
            )
            self.client("cleaner").python(code, *(word for pair in self.made for word in pair))


def _real_environment(cache: Path, *, token: bool) -> Mapping[str, str]:
    """For a client of the real Hub; it speaks what it finds best there, Xet too."""
    hidden = ("HF_", "LOPD_TEST_HUB_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(hidden)},
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **({"HF_TOKEN": os.environ[REAL[0]]} if token else {}),
    }
