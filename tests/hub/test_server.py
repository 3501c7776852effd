"""The real clients on a Hub: plain behaviour, the same on loopback as on the Hub itself."""

import hashlib
from typing import Any

import pytest

from tests.hub.clients import Account
from tests.hub.scripts import shown


def test_a_name_is_taken_once(account: Account) -> None:
    code = """
        api.create_repo(repo, **where)
        show(refused(api.create_repo, repo, **where))
        show(api.create_repo(repo, **where, exist_ok=True).repo_id)
        show(refused(api.create_repo, 'huggingface/lopd-test', **where))
        api.delete_repo(repo, **where)
        show(api.repo_exists(repo, **where))
    """
    name = account.repository()
    again, exists, foreign, there = shown(account.client(), code, name)
    assert (again[0], exists, foreign[0], there) == (409, name, 403, False)


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_what_was_committed_comes_back_by_branch_tag_and_commit(
    account: Account, kind: Any
) -> None:
    """Also what is large, what was there before a tag, and what the client thinks of its copy."""
    code = """
        api.create_repo(repo, **where)
        small, large, many = b'# rows\\n', b'PAR1' + bytes(1000), bytes(range(256)) * 30_000
        one = commit({'README.md': small, 'data/a.zst': large})
        api.create_tag(repo, tag='v1', revision=one, **where)
        two = commit({'data/a.zst': None, 'data/b.bin': many}, parent_commit=one)
        for revision in ('main', 'v1', one):
            folder = Path(api.snapshot_download(repo, revision=revision, **where))
            files = sorted(folder.rglob('*'))
            show([folder.name in (one, two), *(p.name for p in files if p.is_file())])
            found = api.verify_repo_checksums(repo, revision=folder.name, **where)
            show([found.mismatches, found.missing_paths])
        show((Path(folder) / 'data/a.zst').read_bytes() == large)
        show(Path(api.hf_hub_download(repo, 'data/b.bin', **where)).read_bytes() == many)
        show([entry.title for entry in api.list_repo_commits(repo, **where)])
        refs = api.list_repo_refs(repo, **where)
        show([[ref.name, ref.target_commit == two] for ref in refs.branches + refs.tags])
    """
    found = shown(account.client(), code, account.repository(kind), KIND=kind)
    old = [True, ".gitattributes", "README.md", "a.zst"]
    assert found[0] == [True, ".gitattributes", "README.md", "b.bin"]
    assert (found[2], found[4]) == (old, old)
    assert [found[n] for n in (1, 3, 5)] == [[[], []]] * 3
    assert found[6:] == [
        True,
        True,
        ["files", "files", "initial commit"],
        [["main", True], ["v1", False]],
    ]


def test_a_commit_on_a_parent_that_is_not_the_head_any_more_changes_nothing(
    account: Account,
) -> None:
    code = """
        api.create_repo(repo, **where)
        old = api.dataset_info(repo).sha
        new = commit({'a.txt': b'a'}, parent_commit=old)
        show(refused(commit, {'b.txt': b'b', 'a.txt': None}, parent_commit=old))
        show(api.dataset_info(repo).sha == new)
        show(commit({'a.txt': b'a'}, parent_commit=new) == new)
        show(refused(commit, {'none.txt': None})[0])
    """
    stale, unmoved, same, absent = shown(account.client(), code, account.repository())
    assert (stale[0], unmoved, same, absent) == (412, True, True, 404)


def test_tags_are_made_once_and_branches_grow_by_themselves(account: Account) -> None:
    code = """
        api.create_repo(repo, **where)
        one = commit({'a.txt': b'a'})
        api.create_tag(repo, tag='v1', **where)
        show(refused(api.create_tag, repo, tag='v1', **where)[0])
        show(refused(api.create_tag, repo, tag='v2', revision='none', **where)[0])
        api.create_branch(repo, branch='other', **where)
        two = commit({'b.txt': b'b'}, revision='other')
        show([f.path for f in api.list_repo_tree(repo, revision='main', **where)])
        show([f.path for f in api.list_repo_tree(repo, revision='other', **where)])
        api.delete_tag(repo, tag='v1', **where)
        api.create_tag(repo, tag='v1', revision=two, **where)
        show(api.dataset_info(repo, revision='v1').sha == two)
        show(refused(api.dataset_info, repo, revision='v3'))
    """
    taken, nothing, main, other, moved, absent = shown(account.client(), code, account.repository())
    assert (taken, nothing) == (409, 404)
    assert main == [".gitattributes", "a.txt"]
    assert other == [".gitattributes", "a.txt", "b.txt"]
    assert moved
    assert absent == [404, "RevisionNotFoundError"]


def test_a_listing_tells_sizes_and_digests_without_the_bytes(account: Account) -> None:
    code = """
        api.create_repo(repo, **where)
        commit({'data/train.parquet': b'PAR1 rows', 'data/deep/a.json': b'{}', 'b.json': b'[]'})
        tree = api.list_repo_tree(repo, recursive=True, **where)
        files = [entry for entry in tree if getattr(entry, 'lfs', 0) != 0][1:]
        show([[file.path, file.size, file.lfs and file.lfs.sha256] for file in files])
        show(sorted(f.path for f in api.list_repo_tree(repo, 'data', **where)))
        show([f.path for f in api.get_paths_info(repo, ['b.json', 'none', 'data'], **where)])
        info = api.dataset_info(repo, files_metadata=True)
        show([file.lfs.sha256 for file in info.siblings if file.lfs])
        show([api.file_exists(repo, path, **where) for path in ('b.json', 'c.json')])
        (file,) = api.get_paths_info(repo, ['b.json'], expand=True, **where)
        show([file.blob_id, file.last_commit.title])
    """
    digest = hashlib.sha256(b"PAR1 rows").hexdigest()
    files, below, asked, digests, there, dated = shown(account.client(), code, account.repository())
    assert sorted(files) == [
        ["b.json", 2, None],
        ["data/deep/a.json", 2, None],
        ["data/train.parquet", 9, digest],
    ]
    assert below == ["data/deep", "data/train.parquet"]
    assert sorted(asked) == ["b.json", "data"]
    assert (digests, there) == ([digest], [True, False])
    git = hashlib.sha1(b"blob 2\0[]", usedforsecurity=False).hexdigest()
    assert dated == [git, "files"]


def test_what_is_sent_ahead_is_not_seen_before_its_commit(account: Account) -> None:
    code = """
        api.create_repo(repo, **where)
        ahead = [Add('a.parquet', b'PAR1 rows')]
        api.preupload_lfs_files(repo, ahead, **where)
        show(api.list_repo_files(repo, **where))
        api.create_commit(repo, ahead, commit_message='rows', **where)
        show(api.list_repo_files(repo, **where))
        show(Path(api.hf_hub_download(repo, 'a.parquet', **where)).read_bytes().decode())
    """
    before, after, data = shown(account.client(), code, account.repository())
    assert (before, after) == ([".gitattributes"], [".gitattributes", "a.parquet"])
    assert data == "PAR1 rows"


def test_a_private_repository_is_none_for_others(account: Account) -> None:
    create = "api.create_repo(repo, private=True, **where)\ncommit({'a.txt': b'a'})\n"
    name = account.repository()
    shown(account.client(), create, name)
    look = """
        show(refused(api.dataset_info, repo))
        show(refused(api.hf_hub_download, repo, 'a.txt', **where))
        show(refused(commit, {'a.txt': b'b'}))
    """
    for status, kind in shown(account.client("stranger", token=False), look, name):
        assert status == 401
        assert kind == "RepositoryNotFoundError"
    publish = "api.update_repo_settings(repo, private=False, **where)\n"
    shown(account.client(), publish, name)
    assert shown(account.client("stranger", token=False), look, name)[0] is None


def test_a_gated_repository_is_listed_and_not_given(account: Account) -> None:
    create = """
        api.create_repo(repo, **where)
        commit({'a.txt': b'a'})
        api.update_repo_settings(repo, gated='auto', **where)
    """
    name = account.repository()
    shown(account.client(), create, name)
    look = """
        show(api.dataset_info(repo).gated)
        show(refused(api.hf_hub_download, repo, 'a.txt', **where))
    """
    assert shown(account.client("stranger", token=False), look, name) == [
        "auto",
        [401, "GatedRepoError"],
    ]
    assert shown(account.client(), look, name) == ["auto", None]


def test_six_writers_at_once_all_land_when_each_looks_again(account: Account) -> None:
    code = """
        api.create_repo(repo, **where)
        from concurrent.futures import ThreadPoolExecutor
        def write(number):
            while True:
                head = api.dataset_info(repo).sha
                try: return commit({f'{number}.parquet': b'%d' % number}, parent_commit=head)
                except HfHubHTTPError as error:
                    if error.response.status_code != 412: raise
        with ThreadPoolExecutor(6) as pool: made = set(pool.map(write, range(6)))
        show(len(made))
        show(sorted(api.list_repo_files(repo, **where)))
        show({entry.commit_id for entry in api.list_repo_commits(repo, **where)} >= made)
    """
    assert shown(account.client(), code, account.repository()) == [
        6,
        [".gitattributes", *(f"{number}.parquet" for number in range(6))],
        True,
    ]
