"""How to load what is published, in trainers, in Python and in SQL, and how to verify it.

Only what works for these columns and these identities: every command here is one that people run.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from lopd_store.documents.identity import Identity
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.markdown import fenced
from lopd_store.publishing.card.refusal import RESCORED, reasons

_STUDENT: Final = "path/to/student"


def loading(facts: CardFacts) -> Iterator[str]:
    """Lines: in Python, on the command line, and what to know about trainers."""
    yield from fenced("python", _python(facts))
    yield ""
    if not facts.version:
        yield (
            "`load_dataset` and DuckDB read the main branch as it is now: `revision=`, or `@`"
            " behind the repository's name, and a commit pin them."
        )
        yield ""
    yield from fenced("console", (f"$ {line}" for line in _commands(facts)))
    yield ""
    yield from _notes(facts)


def _python(facts: CardFacts) -> Iterator[str]:
    place = facts.place
    revision = f', revision="{facts.version}"' if facts.version else ""
    yield "from datasets import load_dataset"
    yield "from lopd_store import open_signal  # lopd, which made this file"
    yield ""
    yield (
        f'rows = load_dataset("{facts.repo}", "{place.config}", split="{place.split}"{revision})'
    )
    yield "# the same rows once every byte was checked against their id"
    yield f'rows = open_signal("{facts.pinned}").open_rows()'


def _duckdb(facts: CardFacts) -> str:
    revision = f"@{quote(facts.version, safe='')}" if facts.version else ""
    shards = f"hf://datasets/{facts.repo}{revision}/{facts.place.shards}"
    return f"duckdb -c \"from '{shards}' select count(*), sum(len(response_ids))\""


def _trains(facts: CardFacts) -> bool:
    return facts.artifact.document.kind == "signal" and not reasons(facts)


def _commands(facts: CardFacts) -> Iterator[str]:
    name, kind = facts.name, facts.artifact.document.kind
    yield _duckdb(facts)
    yield f'lopd-store sql {name} "{_query(facts)}"'
    if kind == "rollouts":
        yield f"lopd-store pull {name} -o rollouts"
        yield "lopd-store build rollouts --teacher TEACHER -o signal"
    elif kind == "sft":
        yield f"lopd-store pull {name} -o sft"
        yield "lopd-train sft --data sft --model path/to/base -o student"
        yield f"lopd-store export {name} --format trl -o trl.parquet"
    else:
        if _trains(facts):
            yield f"lopd-train opd --signal {name} --model {_STUDENT} -o distilled"
        for trainer in ("verl", "slime"):
            yield f"lopd-store export {name} --format {trainer} -o {trainer}.parquet"


def _query(facts: CardFacts) -> str:
    """A question that these columns answer."""
    columns = {column.name for column in facts.artifact.document.columns}
    if "teacher_logprobs" not in columns:
        return "select count(*) from tokens"
    if "rollout_logprobs" in columns:
        return "from disagreements(5)"
    return "select avg(teacher_logprob) from tokens where trained"


def _notes(facts: CardFacts) -> Iterator[str]:
    kind = facts.artifact.document.kind
    if kind == "rollouts":
        yield "`build` lets a teacher score them, which makes a signal of them."
    elif kind == "sft":
        yield (
            "`lopd-train sft` stamps the student with who taught it; the exported file is for TRL's"
            " `SFTTrainer`."
        )
    else:
        yield from _notes_on_signal(facts)


def _notes_on_signal(facts: CardFacts) -> Iterator[str]:
    if _trains(facts):
        yield (
            "`lopd-train` asks first whether the teacher is the student's own; so does, in TRL,"
            f' `lopd_train.trl.SignalTrainer("{_STUDENT}", "{facts.name}",'
            ' args=SFTConfig("distilled", max_length=None))`. A file cannot: ask'
            f" `lopd-store verify {facts.name} --student {_STUDENT}` before you train from one."
        )
    else:
        yield "An exported file cannot refuse a student, as the trainers of lopd do."
    yield (
        "slime trains from its file with `--rollout-function-path"
        " lopd_store.adapters.slime_rollout.generate_rollout`; verl's own trainers start teachers"
        " themselves, so its batch goes into a loop of one's own"
        " (`lopd_store.adapters.verl.collate`)."
    )
    tokenizers = {identity.tokenizer_blob for identity in facts.artifact.identities}
    counted = facts.statistics
    if len(tokenizers) == 1 and None not in tokenizers and counted.trained == counted.tokens:
        yield (
            "`--format lightning-opd` holds prompts as text: where a text does not give back its"
            " prompt's ids, it stops and says so."
        )


def verifying(facts: CardFacts) -> Iterator[str]:
    """Lines: what each command proves, the pin, the keys."""
    yield from fenced("console", (f"$ lopd-store verify {words}" for words in _verifies(facts)))
    yield ""
    yield (
        "The first compares digests and sizes on the Hub with the manifest and downloads no rows;"
        " `--deep` reads every byte and value. A name that ends in the id is a pin: tags can be"
        " moved, the id cannot."
    )
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


def _verifies(facts: CardFacts) -> Iterator[str]:
    name = facts.name
    yield f"{name}"
    if facts.version:
        yield f"{facts.pinned}"
    yield f"{name} --deep"
    identities = facts.artifact.identities
    if facts.artifact.document.kind != "rollouts":
        numbers = any(identity.teacher is None for identity in identities)
        rescore = f" --rescore {RESCORED}" if numbers else ""
        yield f"{name} --teacher {_teacher(identities)}{rescore}"
    if facts.signed_by:
        yield f"{name} --key signer.pub"


def _teacher(identities: tuple[Identity, ...]) -> str:
    """The one teacher as it is named on the Hub, where it is one and came from there."""
    sources = [identity.teacher.source if identity.teacher else None for identity in identities]
    named = {f"{one.repo}@{one.commit}" if one else "TEACHER" for one in sources}
    return named.pop() if len(named) == 1 else "TEACHER"
