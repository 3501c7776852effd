"""`lopd-store sql`: its forms, its pipes, its prompt at a real terminal."""

import csv
import io
import json
import signal as signals
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from lopd_cli.store import main
from lopd_store.store import Store
from tests.building.chain import rows_in
from tests.cli.runner import run
from tests.cli.terminal import Terminal
from tests.verify.tamper import republish, rows_of_signal

PROGRAM = [sys.executable, "-c", "from lopd_cli.store import main; main()", "sql", "signal"]
LONG = "from range(1_000_000) a, range(20_000) b select max(hash(a.range + b.range))"


def test_people_get_a_table_and_programs_json_csv_or_parquet(signal: Store, tmp_path: Path) -> None:
    text = """select sample_id, len(response_ids) as length, response_ids, teacher_logprobs
              from signals order by length desc, sample_id limit 3"""
    rows = duckdb.arrow(rows_in(signal, "signal")).query("signals", text).fetchall()
    where = ("--store", signal.root)
    said = run("sql", "signal", text, *where)
    assert (said.code, said.err) == (0, "3 rows\n")
    heading, line, *table = said.out.splitlines()
    assert heading.split() == ["sample_id", "length", "response_ids", "teacher_logprobs"]
    assert set(line) == {"-", " "}
    assert [row.split()[:2] for row in table] == [[row[0], str(row[1])] for row in rows]
    assert all(f"… {row[1]} items" in each for row, each in zip(rows, table, strict=True))
    found = run("sql", "signal", text, "--json", *where).json
    assert [list(row.values())[:3] for row in found] == [list(row[:3]) for row in rows]
    assert found[0]["teacher_logprobs"] == pytest.approx(rows[0][3])
    names, *lines = csv.reader(io.StringIO(run("sql", "signal", text, "--csv", *where).out))
    assert names == ["sample_id", "length", "response_ids", "teacher_logprobs"]
    assert [[row[0], int(row[1]), json.loads(row[2])] for row in lines] == [
        list(row[:3]) for row in rows
    ]
    path = tmp_path / "rows.parquet"
    said = run("sql", "signal", text, "--parquet", path, *where)
    assert (said.code, said.out, said.err) == (0, "", "3 rows\n")
    assert [tuple(row.values()) for row in pq.read_table(path).to_pylist()] == rows
    assert run("sql", "signal", text, "--parquet", path, *where).code == 2
    assert run("sql", "signal", text, "--parquet", path, "--force", *where).code == 0


def test_numbers_that_json_lacks_are_null_and_large_ones_are_exact(signal: Store) -> None:
    text = """select 'nan'::double as a, 'inf'::float as b, [1.5, 'nan'::double] as c,
              sum(range) as d, 1.25::decimal(4, 2) as e, null as f, -0.1::float as g,
              {'x': '-inf'::double} as h, '\\xff'::blob as i, date '2026-01-02' as j
              from range(10_000_000_000, 10_000_000_010)"""

    def refuse(word: str) -> Any:
        raise AssertionError(word)

    out = run("sql", "signal", text, "--json", "--store", signal.root).out
    assert json.loads(out, parse_constant=refuse) == [
        {"a": None, "b": None, "c": [1.5, None], "d": 100_000_000_045, "e": 1.25}
        | {"f": None, "g": -0.1, "h": {"x": None}, "i": "ff", "j": "2026-01-02"}
    ]
    assert run("sql", "signal", "select 1 where false", "--json", "--store", signal.root).json == []


def test_two_columns_of_one_name_are_told_apart(signal: Store) -> None:
    said = run("sql", "signal", "select 1 as x, 2 as x", "--json", "--store", signal.root)
    assert said.json == [{"x": 1, "x_2": 2}]
    text = "select 1 as x, 2 as x_2, 3 as x, 4 as x_2, 5 as x"
    said = run("sql", "signal", text, "--json", "--store", signal.root)
    assert said.json == [{"x": 1, "x_2": 2, "x_3": 3, "x_2_2": 4, "x_4": 5}]


def test_a_plan_is_printed_whole(signal: Store) -> None:
    said = run("sql", "signal", "explain from disagreements()", "--store", signal.root)
    assert "Read Parquet" in said.out
    assert said.err == ""


def test_texts_of_strangers_cannot_reach_into_a_terminal(signal: Store) -> None:
    evil = "\x1b[2J\n\rforged  row\u202e\u0007" + "x" * 500
    rows = rows_of_signal(signal)
    columns = {name: rows.column(name) for name in rows.schema.names}
    republish(
        signal, pa.RecordBatch.from_pydict(columns | {"\u4e2d answer": [evil] * rows.num_rows})
    )
    text = 'select 1 as n, "\u4e2d answer" as answer from signals limit 2'
    where = ("--store", signal.root)
    table = run("sql", "bad", text, *where).out
    assert table.isprintable() or set(table) - {"\n"} == {c for c in table if c.isprintable()}
    assert len(table.splitlines()) == 4
    assert max(map(len, table.splitlines())) < 80
    said = run("sql", "bad", text, "--json", *where)
    assert "\x1b" not in said.out
    assert [row["answer"] for row in said.json] == [evil, evil]
    (_, *lines) = csv.reader(io.StringIO(run("sql", "bad", text, "--csv", *where).out, newline=""))
    assert [answer for _, answer in lines] == [evil, evil]


def test_a_query_may_come_through_a_pipe(signal: Store) -> None:
    words = ["sql", "signal", "--json", "--store", str(signal.root)]
    result = CliRunner().invoke(main, words, input="select count(*) as n\nfrom signals;\n")
    assert json.loads(result.stdout) == [{"n": 60}]
    result = CliRunner().invoke(main, words, input="")
    assert (result.exit_code, "expected one statement, found 0" in result.stderr) == (2, True)
    result = CliRunner().invoke(main, words, input="-" * (2 << 20))
    assert (result.exit_code, "at most 1,048,576 characters" in result.stderr) == (2, True)


def test_several_artifacts_stand_side_by_side(signal: Store) -> None:
    where = ("--store", signal.root)
    text = "from compare('a', 'again') select samples, differing"
    said = run("sql", "signal", text, "--attach", "again=signal", "--json", *where)
    assert said.json == [{"samples": 60, "differing": 0}]
    text = "from r.signals join signals using (sample_id) select count(*) as n"
    assert run("sql", "signal", text, "--attach", "r=rollouts", "--json", *where).json == [
        {"n": 60}
    ]
    shard = next(iter(signal.root.glob("blobs/sha256/*")))
    for wrong in ("rollouts", "a=rollouts", "=rollouts", "B=rollouts", f"x{shard}"):
        assert run("sql", "signal", "select 1", "--attach", wrong, *where).code == 2
    twice = ("--attach", "b=signal", "--attach", "b=rollouts")
    assert run("sql", "signal", "select 1", *twice, *where).code == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("signal", "selec 1"), 2, "Parser Error"),
        (("signal", "select nothing from tokens"), 2, "Binder Error"),
        (("signal", "from lengths"), 2, "Catalog Error"),
        (("signal", "select error('mine')"), 2, "mine"),
        (("signal", "copy signals to 'x'"), 2, "sql only reads"),
        (("signal", "from read_text('/etc/passwd')"), 2, "Permission Error"),
        (("signal", "select date 'infinity' as d"), 2, "d: expected dates of the years"),
        (("signal", "select 1", "--json", "--csv"), 2, "expected one of --json"),
        (("signl", "select 1"), 4, "did you mean signal?"),
        (("signal", "select 1", "--attach", "b=signl"), 4, "did you mean signal?"),
        (("none.parquet", "select 1"), 4, "no such file"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_went_wrong_is_said_in_one_message_and_a_code(
    signal: Store, words: tuple[str, ...], code: int, message: str
) -> None:
    said = run("sql", *words, "--store", signal.root)
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith("error: ")
    assert message in said.err


def test_damage_is_found_before_a_query_runs(signal: Store, tmp_path: Path) -> None:
    (shard, *_) = [layer for layer in signal.root.glob("blobs/sha256/*") if is_shard(layer)]
    copied = tmp_path / "stray.parquet"
    copied.write_bytes(shard.read_bytes())
    assert run("sql", copied, "select count(*) from signals", "--store", tmp_path).code == 0
    copied.write_bytes(shard.read_bytes()[:-20])
    assert run("sql", copied, "select 1", "--store", tmp_path).code == 5
    data = bytearray(shard.read_bytes())
    data[500] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(data)
    assert run("sql", "signal", "select 1", "--store", signal.root).code == 3


def is_shard(path: Path) -> bool:
    data = path.read_bytes()
    return data[:4] == b"PAR1" and b"teacher_logprobs" in data


def test_rows_are_printed_while_they_are_found(signal: Store) -> None:
    """An answer without an end: who asks for its head gets it."""
    for form in ((), ("--json",), ("--csv",)):
        words = [*PROGRAM, "from range(1_000_000_000_000)", *form, "--store", str(signal.root)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert len(process.stdout.read(1000)) == 1000
            process.stdout.close()
            assert process.wait(60) == 0


@pytest.mark.parametrize(("number", "code"), [(signals.SIGINT, 130), (signals.SIGTERM, 143)])
def test_a_query_is_stopped_at_once(signal: Store, number: int, code: int) -> None:
    words = [*PROGRAM, LONG, "--store", str(signal.root)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        time.sleep(2)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, b"", b"stopped\n")


def at_the_prompt(signal: Store, folder: Path) -> Terminal:
    folder.mkdir()
    return Terminal("sql", "signal", "--store", signal.root, folder=folder)


def test_the_prompt_answers_until_one_leaves(signal: Store, tmp_path: Path) -> None:
    with at_the_prompt(signal, tmp_path / "here") as terminal:
        terminal.wait_for("lopd> ")
        terminal.type("select count(*) as n\n")
        terminal.wait_for(" ...> ")
        terminal.type("from signals; -- all\n")
        assert "60" in terminal.wait_for("1 row")
        terminal.wait_for("lopd> ")
        terminal.type("select ';' as a; select 2 as second;\n")
        assert "second" in terminal.wait_for("1 row") + terminal.wait_for("1 row")
        for command, answer in (
            (".help", ".macros"),
            (".macros", "position_profile(width := 1)"),
            (".tables", "a.tokens"),
            (".nonsense", "expected .help"),
            ("select nothing;", "error: Binder Error"),
            ("copy signals to 'x';", "sql only reads"),
            ("selec 1;", "error: Parser Error"),
        ):
            terminal.wait_for("lopd> ")
            terminal.type(command + "\n")
            terminal.wait_for(command)
            terminal.wait_for(answer)
        terminal.wait_for("lopd> ")
        terminal.type("\x1b[A\x1b[A\n")  # twice up: the line before the last
        terminal.wait_for("sql only reads")
        terminal.wait_for("lopd> ")
        terminal.type("\x04")
        assert terminal.end()[0] == 0
    assert list((tmp_path / "here").iterdir()) == []


def test_ctrl_c_ends_a_query_or_a_line_and_never_the_prompt(signal: Store, tmp_path: Path) -> None:
    with at_the_prompt(signal, tmp_path / "here") as terminal:
        terminal.wait_for("lopd> ")
        terminal.type(f"{LONG};\n")
        terminal.wait_for("(a.range + b.range));")
        time.sleep(1)
        terminal.interrupt("stopped")
        terminal.wait_for("lopd> ")
        terminal.type("select 'half\n")
        terminal.wait_for(" ...> ")
        terminal.interrupt("lopd> ")
        terminal.type("select 40 + 2 as n;\n")
        assert "42" in terminal.wait_for("1 row")
        terminal.type(".quit\n")
        assert terminal.end()[0] == 0


def test_a_long_table_goes_through_a_pager_on_a_terminal(signal: Store, tmp_path: Path) -> None:
    words = ("sql", "signal", "from range(500)", "--store", signal.root)
    with Terminal(*words, folder=tmp_path) as terminal:
        code, shown = terminal.end()
    assert code == 0
    assert [int(word) for word in shown.split() if word.isdigit()][:500] == [*range(500)]
    assert "500 rows" in shown


def test_a_form_for_programs_needs_a_query(signal: Store, tmp_path: Path) -> None:
    with Terminal("sql", "signal", "--json", "--store", signal.root, folder=tmp_path) as terminal:
        code, shown = terminal.end()
    assert (code, "expected a query" in shown) == (2, True)
