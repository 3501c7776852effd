"""A `Progress` that remembers what it is told."""

from dataclasses import dataclass, field


@dataclass
class Heard:
    """What a waiting person would have seen."""

    total: int = 0
    done: int = 0
    says: list[str] = field(default_factory=list)

    def begin(self, *, total_tokens: int, done_tokens: int) -> None:
        self.total, self.done = total_tokens, done_tokens

    def advance(self, tokens: int) -> None:
        self.done += tokens

    def say(self, message: str) -> None:
        self.says.append(message)
