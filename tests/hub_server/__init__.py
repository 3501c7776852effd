"""A Hugging Face Hub on loopback: its HTTP, repositories with a history, and failures on demand.

It answers what huggingface_hub asks of models and datasets: whoami, create, commit (stale parents
refused), LFS in one piece or in parts, tags, branches, trees, ranges. Large files lie on another
host, here 127.0.0.2, as with the real one. Its clock counts commits, so names repeat run for run.
Clients read HF_ENDPOINT when they are imported: run them in processes of their own, with
`Hub.environment()`. Xet is left out: clients that ask for it get 404.

    with running(Hub()) as hub:
        hub.commit("org/data", {"README.md": b"# rows", "data/train.parquet": rows})
        hub.tag("org/data", "v1")
        hub.faults.append(Fault(match="PUT", after=2, status=503))
        subprocess.run(client, env=hub.environment(cache, token=TOKEN))
"""

from tests.hub_server.serving import running
from tests.hub_server.state import (
    READER,
    TOKEN,
    Commit,
    Fault,
    File,
    Hub,
    Kind,
    Repository,
    Request,
    User,
)

__all__ = [
    "READER",
    "TOKEN",
    "Commit",
    "Fault",
    "File",
    "Hub",
    "Kind",
    "Repository",
    "Request",
    "User",
    "running",
]
