"""How to load what is published, in trainers, in Python and in SQL, and how to verify it."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from lopd_store.documents.identity import Identity
from lopd_store.publishing.card.facts import CardFacts

_STUDENT: Final = "path/to/student"


def loading(facts: CardFacts) -> Iterator[str]:
    """Lines: plain `datasets`, ours, SQL, then what trainers take."""
    yield "### Load it"
    yield ""
    yield from _fenced("python", _datasets(facts))
    yield ""
    yield "With lopd (`pip install lopd`), every byte checked against the id:"
    yield ""
    yield from _fenced("python", _ours(facts))
    yield ""
    yield from _fenced("console", _sql(facts))
    yield ""
    yield "In [DuckDB](https://duckdb.org) alone:"
    yield ""
    yield from _fenced("sql", _duckdb(facts))
    yield ""
    yield from {"signal": _signal, "rollouts": _rollouts, "sft": _sft}[
        facts.artifact.document.kind
    ](facts)


def _fenced(language: str, lines: Iterator[str]) -> Iterator[str]:
    yield f"```{language}"
    yield from lines
    yield "```"


def _datasets(facts: CardFacts) -> Iterator[str]:
    place = facts.place
    revision = f', revision="{facts.version}"' if facts.version else ""
    yield "from datasets import load_dataset"
    yield ""
    yield (
        f'rows = load_dataset("{facts.repo}", "{place.config}", split="{place.split}"{revision})'
    )


def _ours(facts: CardFacts) -> Iterator[str]:
    yield "from lopd_store import open_signal"
    yield ""
    yield f'rows = open_signal("{facts.pinned}").open_rows()'


def _sql(facts: CardFacts) -> Iterator[str]:
    query = {"signal": "from disagreements(5)"}.get(
        facts.artifact.document.kind, "select count(*) from tokens"
    )
    yield f'$ lopd-store sql {facts.name} "{query}"'


def _duckdb(facts: CardFacts) -> Iterator[str]:
    revision = f"@{quote(facts.version, safe='')}" if facts.version else ""
    yield "select count(*) as rows, sum(len(response_ids)) as tokens"
    yield f"from 'hf://datasets/{facts.repo}{revision}/{facts.place.shards}';"


def _signal(facts: CardFacts) -> Iterator[str]:
    name = facts.name
    yield (
        "Trainers. `lopd-train` and `SignalTrainer` ask first whether the teacher is the student's"
        " own:"
    )
    yield ""
    yield from _fenced(
        "console", iter([f"$ lopd-train opd --signal {name} --model {_STUDENT} -o distilled"])
    )
    yield ""
    yield from _fenced(
        "python",
        iter(
            [
                "from lopd_train.trl import SignalTrainer  # TRL",
                "from trl import SFTConfig",
                "",
                "trainer = SignalTrainer(",
                f'    "{_STUDENT}", "{name}", args=SFTConfig("distilled", max_length=None)',
                ")",
                "trainer.train()",
            ]
        ),
    )
    yield ""
    yield (
        "The others take a file that their own loaders read; ask for the chain yourself:"
        f" `lopd-store verify {name} --student {_STUDENT}`."
    )
    yield ""
    yield from _fenced("console", _exports(facts))
    yield ""
    yield (
        "slime trains from its file with"
        " `--rollout-function-path lopd_store.adapters.slime_rollout.generate_rollout`; verl's"
        " stock trainers start teachers of their own, so its batch goes into a loop of one's own"
        " (`lopd_store.adapters.verl.collate`)."
    )


def _exports(facts: CardFacts) -> Iterator[str]:
    for trainer in ("verl", "slime"):
        yield f"$ lopd-store export {facts.name} --format {trainer} -o {trainer}.parquet"
    yield f"$ lopd-store pull {facts.name} -o signal  # brings the tokenizer, too"
    yield "$ lopd-store export signal --format lightning-opd -o lightning-opd.parquet"


def _rollouts(facts: CardFacts) -> Iterator[str]:
    yield "Let a teacher score them, which makes a signal that trainers take:"
    yield ""
    yield from _fenced(
        "console",
        iter(
            [
                f"$ lopd-store pull {facts.name} -o rollouts",
                "$ lopd-store build rollouts --teacher TEACHER -o signal",
            ]
        ),
    )


def _sft(facts: CardFacts) -> Iterator[str]:
    yield "Fine-tune a student on them, with a stamp that says so, or with TRL's `SFTTrainer`:"
    yield ""
    yield from _fenced(
        "console",
        iter(
            [
                f"$ lopd-store pull {facts.name} -o sft",
                "$ lopd-train sft --data sft --model path/to/base -o student",
                f"$ lopd-store export {facts.name} --format trl -o trl.parquet",
            ]
        ),
    )


def verifying(facts: CardFacts) -> Iterator[str]:
    """Lines: what each command proves, the pin, the keys."""
    yield "### Verify it"
    yield ""
    yield from _fenced("console", _commands(facts))
    yield ""
    yield (
        "The first compares digests and sizes on the Hub with the manifest and downloads no rows;"
        " `--deep` reads every byte and value. A name that ends in the id is a pin: tags can be"
        " moved, the id cannot."
    )
    yield ""
    if not facts.signed_by:
        yield (
            "It is not signed: digests say that its parts belong together, not who stands behind"
            " them."
        )
        return
    keys = ", ".join(f"`{key}`" for key in facts.signed_by)
    yield (
        f"Signed with {keys} (SHA-256 of the public key). Get the key from whoever signed, not"
        " from here."
    )


def _commands(facts: CardFacts) -> Iterator[str]:
    yield f"$ lopd-store verify {facts.name}"
    if facts.version:
        yield f"$ lopd-store verify {facts.pinned}"
    yield f"$ lopd-store verify {facts.name} --deep"
    identities = facts.artifact.identities
    if any(identity.teacher for identity in identities):
        yield f"$ lopd-store verify {facts.name} --teacher {_teacher(identities)}"
    if facts.signed_by:
        yield f"$ lopd-store verify {facts.name} --key signer.pub"


def _teacher(identities: tuple[Identity, ...]) -> str:
    """The one teacher as it is named on the Hub, where it is one and came from there."""
    sources = [identity.teacher.source for identity in identities if identity.teacher]
    named = {f"{one.repo}@{one.commit}" if one else "TEACHER" for one in sources}
    return named.pop() if len(named) == 1 else "TEACHER"
