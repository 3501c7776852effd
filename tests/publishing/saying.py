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

    def begin_transfer(self, *, total_bytes: int, done_bytes: int) -> None:
        self.total, self.done = total_bytes, done_bytes

    def advance(self, amount: int, /) -> None:
        self.done += amount

    def say(self, message: str) -> None:
        self.says.append(message)
