"""What reads a Hub besides us: `datasets`, the file system, `hf`; the same on either Hub."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hub.clients import Account
from tests.hub.scripts import shown

CARD = """---
configs:
- config_name: small
  data_files:
  - split: train
    path: data/small/train-*.parquet
- config_name: default
  data_files:
  - split: test
    path: data/default/test-*.parquet
---
# rows
"""


def parquet(values: list[int]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"value": values}), sink)
    return sink.getvalue()


def test_datasets_load_by_config_split_and_revision_plain_and_streaming(
    account: Account,
) -> None:
    files = {
        "README.md": CARD.encode(),
        "data/small/train-00000-aa.parquet": parquet([1, 2]),
        "data/small/train-00001-bb.parquet": parquet([3]),
        "data/default/test-00000-cc.parquet": parquet([9]),
    }
    folder = account.client().folder / "dataset"
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    code = """
        api.create_repo(repo, **where)
        one = api.upload_folder(repo_id=repo, folder_path=sys.argv[2], **where).oid
        api.create_tag(repo, tag='v1', **where)
        commit({'data/small/train-00001-bb.parquet': None})
        from datasets import load_dataset
        for revision in ('v1', one, 'main'):
            for streaming in (False, True):
                more = dict(revision=revision, streaming=streaming)
                rows = load_dataset(repo, 'small', split='train', **more)
                show([row['value'] for row in rows])
        show({split: rows['value'][:] for split, rows in load_dataset(repo).items()})
    """
    found = shown(account.client(), code, account.repository(), folder)
    assert found == [*[[1, 2, 3]] * 4, *[[1, 2]] * 2, {"test": [9]}]


def test_the_file_system_lists_finds_and_reads_ranges(account: Account) -> None:
    code = """
        api.create_repo(repo, **where)
        from huggingface_hub import HfFileSystem
        data = bytes(range(256)) * 400
        commit({'data/a.parquet': data, 'data/b.txt': data[:100]})
        api.create_tag(repo, tag='v1', **where)
        commit({'data/a.parquet': None})
        files, root = HfFileSystem(), f'datasets/{repo}'
        show([name.removeprefix(root) for name in files.ls(root + '/data', detail=False)])
        (found,) = files.glob(root + '@v1/**/*.parquet')
        with files.open(found, block_size=1000) as file:
            file.seek(70_000)
            show(file.read(300) == data[70_000:70_300])
        show(files.info(found)['size'])
        show(files.cat_file(root + '/data/b.txt', start=10, end=20) == data[10:20])
    """
    listed, some, size, range_of_small = shown(account.client(), code, account.repository())
    assert (listed, some, size, range_of_small) == (["/data/b.txt"], True, 102_400, True)


def test_the_hf_command_uploads_downloads_and_verifies(account: Account) -> None:
    client, name = account.client(), account.repository()
    shown(client, "api.create_repo(repo, **where)", name)
    folder = client.folder / "files"
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"PAR1 rows")
    (folder / "notes.txt").write_text("rows")
    dataset = ("--repo-type", "dataset")
    said = client.hf("upload", name, folder, ".", *dataset)
    assert said.code == 0, said.err
    said = client.hf("repos", "tag", "create", name, "v1", *dataset)
    assert said.code == 0, said.err
    copy = client.folder / "copy"
    said = client.hf("download", name, "--revision", "v1", "--local-dir", copy, *dataset)
    assert said.code == 0, said.err
    assert (copy / "a.parquet").read_bytes() == b"PAR1 rows"
    assert (copy / "notes.txt").read_text() == "rows"
    said = client.hf("cache", "verify", name, "--revision", "v1", "--local-dir", copy, *dataset)
    assert said.code == 0, said.err + said.out
