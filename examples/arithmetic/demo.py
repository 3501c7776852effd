"""The whole chain on a small real task: teacher → sft → student → rollouts → signal → student.

    python -m examples.arithmetic.demo

Everything lands under `.demo/`. A second run finds what is there; a stage runs again when its
result is gone or was made from something else.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from examples.arithmetic.problems import Problem, ask, problems
from examples.arithmetic.shards import LOPD_STORE
from examples.arithmetic.stages import (
    Runner,
    Stage,
    file_digest,
    folder_digest,
    model_digest,
    module,
    sources_digest,
)
from lopd_store.digest import Digest
from lopd_store.store import Store

DEMO: Final = Path(".demo")
STORE: Final = DEMO / "store"
TEACHER: Final = DEMO / "teacher"
BASE: Final = DEMO / "student-base"
STUDENT: Final = DEMO / "student"
DISTILLED: Final = DEMO / "distilled"
SFT_PROMPTS: Final = DEMO / "prompts.jsonl"
ROLLOUT_PROMPTS: Final = DEMO / "rollout-prompts.jsonl"
ACCURACY: Final = DEMO / "accuracy.txt"
SFT_PROBLEMS: Final = 1500
ROLLOUT_PROBLEMS: Final = 1000
PRETRAINING: Final = ("problems", "tokenizer", "training", "pretrain")


def main() -> None:
    """Run every stage that is not done."""
    os.chdir(Path(__file__).parents[2])
    DEMO.mkdir(exist_ok=True)
    prompts = write_prompts()
    runner = Runner(DEMO / "stages")
    teacher = runner.run(pretraining("teacher", TEACHER))
    base = runner.run(pretraining("student", BASE))
    sft = runner.run(teacher_writes(teacher, prompts[SFT_PROMPTS]))
    student = runner.run(student_learns(base, sft))
    rollouts = runner.run(student_answers(student, prompts[ROLLOUT_PROMPTS]))
    signal = runner.run(teacher_scores(rollouts, teacher))
    runner.run(everything_is_checked(signal, teacher))
    for stage in shown():
        runner.run(stage)
    distilled = runner.run(student_is_distilled(student, signal))
    runner.run(models_are_compared(teacher, student, distilled))


def write_prompts() -> dict[Path, str]:
    """The two prompt files, of different problems, and their digests."""
    chosen = problems("prompts", seed=0, count=SFT_PROBLEMS + ROLLOUT_PROBLEMS)
    files = {SFT_PROMPTS: chosen[:SFT_PROBLEMS], ROLLOUT_PROMPTS: chosen[SFT_PROBLEMS:]}
    for file, part in files.items():
        file.write_text("".join(map(_prompt_line, part)))
    return {file: str(Digest.of_file(file)) for file in files}


def _prompt_line(problem: Problem) -> str:
    return json.dumps({"messages": ask(problem.question), "answer": problem.answer}) + "\n"


def pretraining(name: str, folder: Path) -> Stage:
    """Train a model from scratch."""
    return Stage(
        name=folder.name,
        title=f"Train the {name} from scratch on worked additions",
        command=module("pretrain", name, folder),
        inputs={"sources": sources_digest(*PRETRAINING)},
        result=lambda: folder_digest(folder),
    )


def teacher_writes(teacher: str, prompts: str) -> Stage:
    """Sample the teacher's solutions."""
    return Stage(
        name="sft",
        title=f"The teacher solves {SFT_PROBLEMS} problems (vLLM): the SFT data",
        command=_generate("sft", TEACHER, SFT_PROMPTS, n=1, temperature="0.8"),
        inputs={"teacher": teacher, "prompts": prompts},
        result=_ref("demo/sft"),
    )


def student_learns(base: str, sft: str) -> Stage:
    """Fine-tune the student on the teacher's solutions; `lopd-train` stamps it with its teacher."""
    recipe = ("--steps", 400, "--batch", 48, "--learning-rate", "1e-3", "--schedule", "constant")
    return Stage(
        name="student",
        title="Fine-tune the student on what the teacher wrote",
        command=_lopd_train("sft", "--data", "demo/sft", "--model", BASE, *recipe, "-o", STUDENT),
        inputs={"base": base, "sft": sft},
        result=lambda: model_digest(STUDENT),
        folder=STUDENT,
    )


def student_answers(student: str, prompts: str) -> Stage:
    """Sample the student's rollouts."""
    return Stage(
        name="rollouts",
        title=f"The student tries {ROLLOUT_PROBLEMS} problems four times (vLLM): the rollouts",
        command=_generate("rollouts", STUDENT, ROLLOUT_PROMPTS, n=4, temperature="1"),
        inputs={"student": student, "prompts": prompts},
        result=_ref("demo/rollouts"),
    )


def teacher_scores(rollouts: str, teacher: str) -> Stage:
    """Build the signal."""
    return Stage(
        name="signal",
        title="The teacher scores every token of the rollouts (vLLM): the signal",
        command=_lopd_store("build", "demo/rollouts", "--teacher", TEACHER, "-o", "demo/signal"),
        inputs={"rollouts": rollouts, "teacher": teacher},
        result=_ref("demo/signal"),
    )


def everything_is_checked(signal: str, teacher: str) -> Stage:
    """Verify the signal to depth 3: its bytes, its teacher, and 32 rows scored again."""
    return Stage(
        name="verified",
        title="Verify the signal: bytes, teacher, and 32 rows scored again (vLLM)",
        command=_lopd_store("verify", "demo/signal", "--teacher", TEACHER, "--rescore", 32),
        inputs={"signal": signal, "teacher": teacher},
        result=_ref("demo/signal"),
    )


def student_is_distilled(student: str, signal: str) -> Stage:
    """Lightning OPD: the student learns from the stored signal; no teacher runs."""
    recipe = ("--steps", 90, "--batch", 128, "--learning-rate", "1e-5")
    return Stage(
        name="distilled",
        title="Distil the signal into the student: Lightning OPD, no teacher in sight",
        command=_lopd_train(
            "opd", "--signal", "demo/signal", "--model", STUDENT, *recipe, "-o", DISTILLED
        ),
        inputs={"student": student, "signal": signal},
        result=lambda: model_digest(DISTILLED),
        folder=DISTILLED,
    )


def models_are_compared(teacher: str, student: str, distilled: str) -> Stage:
    """Measure the accuracy of the three models."""
    return Stage(
        name="accuracy",
        title="How often is each model right on problems nobody trained on?",
        command=module("accuracy", ACCURACY, TEACHER, STUDENT, DISTILLED),
        inputs={
            "teacher": teacher,
            "student": student,
            "distilled": distilled,
            "sources": sources_digest("problems", "accuracy"),
        },
        result=lambda: file_digest(ACCURACY),
        report=ACCURACY,
    )


def shown() -> Sequence[Stage]:
    """What came out, for people; nothing here is kept."""
    return (
        Stage(
            name="disagreements",
            title="Where do teacher and student disagree most? (plain DuckDB)",
            command=module("show", STORE, "demo/signal", TEACHER),
        ),
        Stage(name="ls", title="What the store holds", command=_lopd_store("ls")),
    )


def _generate(kind: str, model: Path, prompts: Path, *, n: int, temperature: str) -> list[str]:
    output = ("--kind", kind, "-o", f"demo/{kind}")
    sampling = ("--n", n, "--temperature", temperature, "--max-tokens", 64, "--seed", 0)
    return _lopd_store("generate", "--model", model, "--prompts", prompts, *output, *sampling)


def _lopd_train(*arguments: object) -> list[str]:
    command = Path(LOPD_STORE).with_name("lopd-train")
    return [str(command), *map(str, arguments), "--store", str(STORE)]


def _lopd_store(*arguments: object) -> list[str]:
    return [LOPD_STORE, *map(str, arguments), "--store", str(STORE)]


def _ref(name: str) -> Callable[[], str | None]:
    def artifact_id() -> str | None:
        if not STORE.is_dir():
            return None
        named = Store.open(STORE).refs.get(name)
        return str(named.digest) if named else None

    return artifact_id


if __name__ == "__main__":
    main()
