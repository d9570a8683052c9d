"""The front of all programs: one line for any error, exit codes, signals, options."""

import errno
import os
import signal
from pathlib import Path

import pytest
from hydra.errors import HydraException

from snntrain.error import UsageError
from snntrain.run.front import Parser, describe, key_values, run_program, whole_number
from snntrain.run.interruption import Interrupted
from snntrain.terminal import terminal


def raising(error: BaseException):
    def main(arguments: list[str]) -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("T must be [1, 8]:\n got [/x]"), 2, "error: T must be [1, 8]: got [/x]"),
        (HydraException("no such key"), 2, "error: no such key"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a[b]"), 2, "error: a[b]: No such file."),
        (PermissionError(errno.EACCES, "Permission denied", b"a"), 2, "error: a: Permission denied."),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 1, "error: x: No space left on device. Make room"),
        (OSError("the server hung up"), 1, "error: the server hung up"),
        (ValueError("two\nlines"), 1, "error: ValueError: two lines (debug.traceback=true shows where)"),
        (KeyError("x"), 1, "error: KeyError: 'x' (debug"),
        (MemoryError(), 1, "error: MemoryError (debug"),
        (RecursionError("too deep"), 1, "error: RecursionError: too deep (debug"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), 1, "error: UnicodeDecodeError"),
        (UsageError("name \udcff of a file"), 2, "error: name \\udcff of a file"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (Interrupted(signal.SIGTERM), 143, "Interrupted."),
        (SystemExit(3), 3, None),
        (SystemExit("gone"), 1, "error: gone"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_any_error_is_one_line_and_an_exit_code(capsys, error, code, said):
    assert run_program(raising(error), []) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == (said is not None) and err.startswith(said or "")


def test_a_traceback_is_shown_when_asked_for_and_the_key_is_taken_away(capsys):
    given = []

    def main(arguments: list[str]) -> int:
        given.extend(arguments)
        raise ValueError("here")

    assert run_program(main, ["a", "debug.traceback=true", "b=1"]) == 1 and given == ["a", "b=1"]
    assert "Traceback" in capsys.readouterr().err
    assert run_program(main, ["debug.traceback=false"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert run_program(main, ["debug.traceback=maybe"]) == 2
    assert "debug.traceback must be true or false" in capsys.readouterr().err


def test_sigterm_ends_with_its_number_after_the_running_code_cleaned_up(capsys):
    cleaned = []

    def main(arguments: list[str]) -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            cleaned.append(True)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert run_program(main, []) == 143 and cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) is before and capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.parametrize("show", [print, lambda text: terminal().print(text)], ids=["print", "rich"])
def test_a_closed_pipe_ends_the_program_silently(tmp_path, show):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # as `program | head` once head has ended
        os.close(reader)
        os.dup2(writer, 1)
        os.dup2(os.open(tmp_path / "err", os.O_WRONLY | os.O_CREAT), 2)
        import sys

        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        code = run_program(lambda arguments: show("text") or 0, [])
        sys.stderr.flush()
        os._exit(code)
    os.close(reader)
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGPIPE
    assert (tmp_path / "err").read_text() == ""


def test_only_an_error_of_the_run_folder_says_how_to_choose_another():
    folder = Path("runs/a")
    advice = "hydra.run.dir"
    for name in ("runs/a/config.yaml", "runs/a", "runs"):
        assert advice in describe(PermissionError(errno.EACCES, "Permission denied", name), folder)
    assert "hydra.sweep.dir" in describe(PermissionError(errno.EACCES, "no", "runs/a"), folder, is_sweep=True)
    assert advice not in describe(PermissionError(errno.EACCES, "Permission denied", "data/x"), folder)
    assert advice not in describe(PermissionError(errno.EACCES, "Permission denied", "runs/a"))


def parser() -> Parser:
    made = Parser("x.py", "What it does.")
    made.add_argument("folders", nargs="+", metavar="FOLDER")
    made.add_argument("--seed", type=whole_number)
    made.add_argument("--table", action="store_true")
    return made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "--sed", "1"], "--sed is not an option of x.py. Did you mean --seed?"),
        (["a", "--se=1"], "--se is not an option of x.py."),
        (["a", "--seed"], "--seed needs a value."),
        (["a", "--seed", "one"], "--seed must be a whole number ≥ 0, got 'one'."),
        (["a", "--table=1"], "--table takes no value, got '1'."),
        ([], "FOLDER is missing."),
    ],
)
def test_a_wrong_option_is_refused_in_words(arguments, said):
    with pytest.raises(UsageError) as error:
        parser().read(arguments)
    assert str(error.value).startswith(said) and "argument" not in str(error.value)


def test_options_may_stand_anywhere_and_help_is_one_of_them(capsys):
    read = parser().read(["a", "--seed", "3", "b"])
    assert (read.folders, read.seed) == (["a", "b"], 3)
    for option in ("-h", "--help"):
        assert run_program(lambda arguments: parser().read(arguments) and 1, [option]) == 0
        assert "What it does." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nmae=x"], "'nmae=x' is not a setting of x.py. Did you mean name? Write name=… or paths.data=…."),
        (["name"], "'name' is not a setting"),
        (["name=a", "name=a"], "name is given twice"),
    ],
)
def test_a_wrong_setting_is_refused(words, said):
    with pytest.raises(UsageError, match="^" + said.replace("?", r"\?")):
        key_values(words, ("name", "paths.data"), "x.py")
