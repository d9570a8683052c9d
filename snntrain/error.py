"""The errors that users see: one sentence, no traceback."""


class UsageError(ValueError):
    """Something the user wrote or pointed at is wrong; the text names it and the remedy, and needs no traceback."""


class DamagedFile(UsageError):
    """A file that cannot be used as it is; the text names the file, what is wrong with it and what to do."""


class Diverged(RuntimeError):
    """Training cannot go on because numbers are no longer finite; the text says where, when and the likely cause."""
