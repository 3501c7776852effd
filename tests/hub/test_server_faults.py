"""What the loopback Hub refuses, loses, slows and lies about, as the real client sees it."""

import hashlib
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hub.clients import Client
from tests.hub.scripts import BEGIN, shown
from tests.hub_server import READER, TOKEN, Fault, Hub, User, running

ROWS = b"PAR1" + bytes(range(256)) * 1000
LARGE = "/datasets/org/data/[0-9a-f]{64}"
FETCH = "show(Path(api.hf_hub_download(repo, 'a.parquet', **where)).read_bytes() == ROWS)"
FETCH = f"ROWS = b'PAR1' + bytes(range(256)) * 1000\n{FETCH}"
SEND = "ROWS = b'PAR1' + bytes(range(256)) * 1000\ncommit({'a.parquet': ROWS})\nshow(True)"


@pytest.fixture
def data(hub: Hub) -> str:
    """A dataset of one large file and a small one."""
    hub.commit("org/data", {"a.parquet": ROWS, "b.json": b"{}"})
    return "org/data"


def asked(hub: Hub, pattern: str) -> list[int | None]:
    return [request.status for request in hub.asked(pattern)]


def test_a_refusal_that_passes_is_tried_again_by_the_client(
    hub: Hub, client: Client, data: str
) -> None:
    hub.faults += [
        Fault(match="^POST .*/batch", status=429, headers={"Retry-After": "0"}),
        Fault(match="^PUT", status=503),
    ]
    code = "commit({'c.parquet': b'PAR1 more'})\nshow(True)"
    assert shown(client, code, data) == [True]
    assert asked(hub, "/batch") == [429, 200]
    assert asked(hub, "^PUT") == [503, 200]
    assert hub.files(data)["c.parquet"] == b"PAR1 more"


def test_the_nth_request_goes_wrong_and_what_came_before_is_kept(
    hub: Hub, client: Client, data: str
) -> None:
    hub.faults.append(Fault(match="^PUT", after=2, status=403, message="no more"))
    files = "commit({f'{n}.parquet': b'PAR1%d' % n for n in range(4)})"
    code = f"""
        try: {files}
        except RuntimeError as error: show('no more' in str(error.__cause__))
    """
    assert shown(client, code, data) == [True]
    kept = hub.repository(data).blobs
    assert sum(hashlib.sha256(b"PAR1%d" % n).hexdigest() in kept for n in range(4)) == 3
    assert "3.parquet" not in hub.files(data)
    shown(client, files, data)
    assert Counter(asked(hub, "^PUT")) == {200: 4, 403: 1}


def test_a_commit_whose_answer_is_lost_has_happened(hub: Hub, client: Client, data: str) -> None:
    hub.faults.append(Fault(match="/commit/", lost=True))
    code = """
        head = api.dataset_info(repo).sha
        try: commit({'c.txt': b'c'}, parent_commit=head)
        except Exception as error: show(type(error).__name__)
        show(refused(commit, {'c.txt': b'd'}, parent_commit=head)[0])
    """
    assert shown(client, code, data) == ["RemoteProtocolError", 412]
    assert hub.files(data)["c.txt"] == b"c"


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    hub: Hub, client: Client, data: str
) -> None:
    """The client writes 10 MiB at a time: what came of the next is asked for again."""
    rows = bytes(12 << 20)
    hub.commit(data, {"a.parquet": rows})
    hub.faults.append(Fault(match=f"^GET {LARGE}", cut=11 << 20))
    code = "show(Path(api.hf_hub_download(repo, 'a.parquet', **where)).stat().st_size)"
    assert shown(client, code, data) == [len(rows)]
    first, second = hub.asked(f"^GET {LARGE}")
    assert (first.status, first.sent) == (200, 11 << 20)
    assert (second.status, second.sent) == (206, 2 << 20)


def test_an_upload_that_breaks_off_leaves_nothing_and_is_sent_again(
    hub: Hub, client: Client
) -> None:
    hub.create("org/data")
    hub.faults.append(Fault(match="^PUT", cut=100_000))
    assert shown(client, SEND, "org/data") == [True]
    first, second = hub.asked("^PUT")
    assert (first.status, first.received) == (None, 100_000)
    assert (second.status, second.received) == (200, len(ROWS))


def test_a_client_killed_in_the_middle_leaves_nothing_of_the_file(hub: Hub, client: Client) -> None:
    before = hub.create("org/data").blobs.copy()
    hub.faults.append(Fault(match="^PUT", pause=0.2))
    with client.start_python(BEGIN + SEND, "org/data") as process:
        while not any(request.received for request in hub.asked("^PUT")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert 0 < hub.asked("^PUT")[0].received < len(ROWS)
    assert hub.repository("org/data").blobs == before
    assert shown(client, SEND, "org/data") == [True]


def test_a_large_file_goes_in_parts_and_only_those_that_failed_again(
    hub: Hub, client: Client
) -> None:
    hub.create("org/data")
    hub.part = 100_000
    hub.faults.append(Fault(match="^PUT .*/2$", status=503))
    assert shown(client, SEND, "org/data") == [True]
    assert [request.path[-2:] for request in hub.asked("^PUT")] == ["/1", "/2", "/2", "/3"]
    assert hub.files("org/data") == {**hub.files("org/data"), "a.parquet": ROWS}
    assert not any(request.authorized for request in hub.asked("^PUT"))


def test_content_that_is_there_is_not_sent_again(hub: Hub, client: Client, data: str) -> None:
    code = SEND.replace("a.parquet", "elsewhere/b.parquet")
    assert shown(client, code, data) == [True]
    assert hub.asked("^PUT") == []
    assert hub.files(data)["elsewhere/b.parquet"] == ROWS


def test_changed_bytes_pass_the_client_that_looks_at_sizes(
    hub: Hub, client: Client, data: str
) -> None:
    """So who uses it has to look at digests."""
    hub.damage(data, "a.parquet")
    hub.damage(data, "b.json", b"[]")
    code = """
        import hashlib
        path = Path(api.hf_hub_download(repo, 'a.parquet', **where)).resolve()
        show([path.name, hashlib.sha256(path.read_bytes()).hexdigest()])
        show(Path(api.hf_hub_download(repo, 'b.json', **where)).read_text())
    """
    (name, digest), text = shown(client, code, data)
    assert name == hashlib.sha256(ROWS).hexdigest() != digest
    assert text == "[]"
    assert hub.files(data)["a.parquet"] == ROWS


def test_bytes_that_are_not_all_there_are_an_error(hub: Hub, client: Client, data: str) -> None:
    hub.damage(data, "a.parquet", ROWS[:-10])
    code = f"try:\n    {FETCH.splitlines()[1]}\nexcept OSError as error: show(str(error))"
    (message,) = shown(client, "ROWS = b''\n" + code, data)
    assert f"should be of size {len(ROWS)} but has size {len(ROWS) - 10}" in message


def test_an_etag_can_be_wrong(hub: Hub, client: Client, data: str) -> None:
    wrong = "0" * 64
    hub.faults.append(Fault(match="^HEAD .*a.parquet", headers={"X-Linked-Etag": f'"{wrong}"'}))
    code = "show(Path(api.hf_hub_download(repo, 'a.parquet', **where)).resolve().name)"
    assert shown(client, code, data) == [wrong]


def test_an_older_commit_can_be_served_for_any_revision(
    hub: Hub, client: Client, data: str
) -> None:
    old, new = hub.revision(data), hub.commit(data, {"b.json": b"[1]"})
    hub.tag(data, "v1")
    code = """
        for revision in ('main', 'v1', sys.argv[2]):
            path = Path(api.hf_hub_download(repo, 'b.json', revision=revision, **where))
            show([api.dataset_info(repo, revision=revision).sha, path.read_text()])
    """
    assert shown(client, code, data, new) == [[new, "[1]"]] * 3
    hub.repository(data).lies[new] = old
    stranger = replace(client, environment={**client.environment, "HF_HOME": str(client.store)})
    assert shown(stranger, code, data, new) == [[old, "{}"]] * 3
    hub.repository(data).lies.clear()
    hub.tag(data, "v1", old)
    code = "show(api.dataset_info(repo, revision='v1').sha)"
    assert shown(client, code, data) == [old]


def test_a_slow_hub_can_be_left_in_the_middle(hub: Hub, client: Client, data: str) -> None:
    hub.faults.append(Fault(match=f"^GET {LARGE}", pause=0.1))
    began = time.monotonic()
    assert shown(client, FETCH, data) == [True]
    assert time.monotonic() - began > 0.4  # four chunks


def test_each_kind_of_stranger_is_told_their_own_way(hub: Hub, client: Client, data: str) -> None:
    hub.users["hf_foreign"] = User("foreigner")
    hub.create("org/secret", private=True)
    hub.create("org/gated", gated="manual")
    hub.commit("org/gated", {"a.json": b"{}"})
    code = """
        show(refused(commit, {'c.txt': b'c'}))
        show(refused(api.dataset_info, 'org/secret'))
        show(refused(api.hf_hub_download, 'org/gated', 'a.json', **where))
        show(refused(api.create_repo, 'org/more', **where))
    """
    none, missing, gated = "HfHubHTTPError", "RepositoryNotFoundError", "GatedRepoError"
    expected = {
        TOKEN: [None, None, None, None],
        READER: [[403, none], None, None, [403, none]],
        "hf_foreign": [[403, none], [404, missing], [403, gated], [403, none]],
        "hf_nobody": [[401, none]] * 4,
        "": [[401, missing], [401, missing], [401, gated], [401, missing]],
    }
    for token, answers in expected.items():
        environment = {
            **client.environment,
            "HF_TOKEN": token,
            "HF_HOME": f"{client.folder}/{token}",
        }
        found = shown(replace(client, environment=environment), code, data)
        assert (token, found) == (token, answers)
    hub.repository("org/gated").admitted.add("foreigner")
    foreign = {"HF_TOKEN": "hf_foreign"}
    assert shown(client, code, data, **foreign)[2] is None


def test_a_full_namespace_takes_what_it_has_and_nothing_more(
    hub: Hub, client: Client, data: str
) -> None:
    hub.quotas["org"] = len(ROWS) + 10
    code = """
        commit({'c.parquet': b'PAR1'})
        try: commit({'d.parquet': b'PAR1 rows'})
        except HfHubHTTPError as error: show([error.response.status_code, str(error)])
        commit({'d.txt': b'a small file counts nothing'})
    """
    ((status, message),) = shown(client, code, data)
    assert status == 403
    assert "storage limit reached" in message
    assert set(hub.files(data)) == {".gitattributes", "a.parquet", "b.json", "c.parquet", "d.txt"}


def test_a_file_above_the_limit_is_refused_by_itself(hub: Hub, client: Client, data: str) -> None:
    hub.limit = 100
    code = """
        files = {'c.parquet': b'PAR1' * 100, 'd.parquet': b'PAR1'}
        try: commit(files)
        except ValueError as error: show('too large' in str(error))
    """
    assert shown(client, code, data) == [True]
    assert "d.parquet" not in hub.files(data)


def test_long_listings_come_in_pages(hub: Hub, client: Client, data: str) -> None:
    hub.page = 2
    code = """
        show([entry.path for entry in api.list_repo_tree(repo, recursive=True, **where)])
        show(len(api.list_repo_commits(repo, **where)))
    """
    files, commits = shown(client, code, data)
    assert (files, commits) == ([".gitattributes", "a.parquet", "b.json"], 2)
    assert len(hub.asked("/tree/")) == 2


def test_the_log_has_every_byte_and_who_came_with_a_token(
    hub: Hub, client: Client, data: str
) -> None:
    assert shown(client, FETCH, data) == [True]
    head, far = hub.asked("a.parquet")[0], hub.asked("[0-9a-f]{64}")[0]
    assert (str(head), head.status, head.sent) == (
        "HEAD /datasets/org/data/resolve/main/a.parquet",
        302,
        0,
    )
    assert (far.authorized, far.sent) == (False, len(ROWS))
    assert all(request.authorized for request in hub.asked("^(GET|HEAD) /api"))


def test_the_same_commits_have_the_same_names() -> None:
    names = set()
    for _ in range(2):
        hub = Hub()
        names.add(
            (hub.commit("org/data", {"a.txt": b"a"}), hub.commit("org/data", {"a.txt": None}))
        )
    assert len(names) == 1


def test_an_error_of_the_server_itself_is_no_answer_but_fails_the_test(tmp_path: Path) -> None:
    def use() -> None:
        with running(Hub()) as hub:
            client = Client(tmp_path, hub.environment(tmp_path / "cache", token=TOKEN))
            hub.commit("org/data", {"a.txt": b"a"})
            hub.repository("org/data").blobs.clear()
            code = "show(refused(api.hf_hub_download, repo, 'a.txt', **where))"
            client._run("-c", BEGIN + code, "org/data")

    with pytest.raises(KeyError):
        use()
