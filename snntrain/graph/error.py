"""The error of a net with which something cannot be done, made of its parts."""

import contextlib
from collections.abc import Iterator


class NetError(ValueError):
    """A net, or a part of it, with which something cannot be done; the text names the part and a way out.

    A subclass names its package and what it tries to do. The text is composed from the parts when it is printed, so
    that a package that calls another one can raise an error of its own from the same parts, see `instead`.

    Args:
        place: the part, such as "layers.3 (GELU)"; '' where the net as a whole is meant, or a file.
        reason: what is wrong with it, a clause without a full stop.
        remedy: what to do, whole sentences; '' where nothing can be advised.

    Attributes:
        owner: the package or function that raises it.
        action: what it tries to do, as a participle: "cannot be traced".
    """

    owner = "graph"
    action = "traced"

    def __init__(self, place: str, reason: str, remedy: str = "") -> None:
        super().__init__(place, reason, remedy)
        self.place, self.reason, self.remedy = place, reason, remedy

    def __str__(self) -> str:
        what = f"{self.place} cannot be {self.action}: {self.reason}." if self.place else f"{self.reason}."
        return " ".join(part for part in (f"{self.owner}:", what, self.remedy) if part)

    @classmethod
    @contextlib.contextmanager
    def instead(cls) -> Iterator[None]:
        """Raise this class where the block raises another NetError."""
        try:
            yield
        except NetError as error:
            if isinstance(error, cls):
                raise
            raise cls(error.place, error.reason, error.remedy) from error


def first_line(error: BaseException) -> str:
    """What another library's error says, as a clause."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
