"""Scripts for a process of huggingface_hub's own: what they show comes back."""

import json
from inspect import cleandoc
from typing import Any

from tests.hub.clients import Client

BEGIN = """
import json, os, sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd as Add, CommitOperationDelete as Delete, HfApi
from huggingface_hub.errors import HfHubHTTPError
api, repo, where = HfApi(), sys.argv[1], dict(repo_type=os.environ.get("KIND", "dataset"))
def show(value): print("shown", json.dumps(value))
def commit(files, **more):
    changes = [Delete(path) if data is None else Add(path, data) for path, data in files.items()]
    return api.create_commit(repo, changes, commit_message="files", **where, **more).oid
def refused(function, *words, **more):
    try: function(*words, **more)
    except HfHubHTTPError as error: return [error.response.status_code, type(error).__name__]
"""


def shown(client: Client, code: str, *words: object, **environment: str) -> list[Any]:
    """What the code gives to `show`, in order.

    It has `api`, `repo` (the first word), `where` (its type), `commit(files)` → the commit, and
    `refused(function, …)` → the status and the class of the client's error, or None.
    """
    said = client.python(BEGIN + cleandoc(code), *words, **environment)
    lines = said.out.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("shown ")]
