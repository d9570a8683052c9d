"""The errors that users see as one sentence, without a traceback."""

import re

# A URL's password, up to the last @: SQLAlchemy takes a / in it, which in a URL of the web begins the path.
_PASSWORD = re.compile(
    r"(https?://[^:/@\s]*:)[^/@\s]+(?=@)"
    r"|((?<!http)(?<!https)://[^:/@\s]*:)\S+(?=@)"
    r"|([?&](?:password|passwd|sslpassword)=)[^&\s]+"
)


class UsageError(ValueError):
    """Raised for something the user wrote or named that is wrong; the text names it and the remedy."""


class DamagedFile(UsageError):
    """Raised for a file that cannot be used; the text names it, what is wrong with it and what to do."""


class MissingFile(FileNotFoundError, UsageError):
    """Raised for a file that a run folder does not hold; the text names it and what to do."""


class Diverged(RuntimeError):
    """Raised when numbers in training are no longer finite; the text says where, when and the likely cause."""


def one_line(error: BaseException) -> str:
    """An error's text without line breaks; its type where it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def without_password(text: str) -> str:
    """A text with *** for the passwords of the URLs in it, for messages."""
    return _PASSWORD.sub(lambda found: f"{found[found.lastindex]}***", text)
