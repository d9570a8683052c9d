"""C compilers: whether there is one, programs and libraries built with it, and what the net needs of a chip."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snntrain.export.error import CExportError

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
NOT_INSTALLED = (
    "there is no C compiler here, so the program was not compiled and compared. Install one (Debian and Ubuntu: "
    "apt install gcc; macOS: xcode-select --install), or name it in the environment variable CC."
)
#: What to do where a program that was just built does not start, as on a file system that is mounted noexec.
ELSEWHERE = "Temporary files must lie where programs may run; name another folder in the environment variable TMPDIR."
_SECONDS = 600  # that a compiler or a program may take: one that hangs must not hang the run
_ANOTHER = "Name another compiler in CC."
_CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb")


@dataclass(frozen=True)
class Compiler:
    """A compiler and the program beside it that tells the size of objects.

    Args:
        command: the compiler, with what always follows it.
        size: the program `size`.
    """

    command: tuple[str, ...]
    size: str

    def build(self, folder: Path, output: Path, *flags: str, sources: Sequence[str] = ("net.c", "main.c")) -> Path:
        """Compile sources of a folder, as strictly as the Makefile there does.

        Raises: CExportError with the compiler's first words.
        """
        command = [*self.command, *STRICT, *flags, "-o", str(output), *(str(folder / name) for name in sources)]
        output_of(command, remedy=_ANOTHER)
        return output

    def sizes(self, folder: Path, output: Path) -> dict[str, int] | None:
        """Bytes of flash and of RAM of net.c, compiled for size into `output`; None if `size` cannot tell."""
        self.build(folder, output, "-Os", "-c", sources=("net.c",))
        if shutil.which(self.size) is None:
            return None
        words = output_of([self.size, str(output)]).decode(errors="replace").split()
        if words[:3] != ["text", "data", "bss"]:  # not the program of the GNU binutils, or of LLVM
            return None
        text, data, bss = map(int, words[6:9])
        return {"flash_bytes": text + data, "ram_bytes": data + bss}


def native_compiler() -> Compiler | None:
    """The machine's own C compiler: CC, or else cc; None if there is none."""
    command = tuple(shlex.split(os.environ.get("CC") or "cc"))
    return Compiler(command, "size") if command and shutil.which(command[0]) else None


def cortex_m4_compiler() -> Compiler | None:
    """GCC for Cortex-M4 (Debian's gcc-arm-none-eabi); None if it is not installed."""
    name = "arm-none-eabi-gcc"
    return Compiler((name, *_CORTEX_M4), "arm-none-eabi-size") if shutil.which(name) else None


def output_of(command: Sequence[str], *, given: bytes = b"", remedy: str = "") -> bytes:
    """What a command writes to stdout.

    Args:
        given: to its stdin.
        remedy: what to do if it does not start or does not end.

    Raises: CExportError, also for an exit code that is not 0, with its first words.
    """
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CExportError("", f"{command[0]} could not be run ({error})", remedy) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[:5]
        reason = f"{command[0]} ended with code {done.returncode}"
        raise CExportError("", f"{reason}: {' / '.join(said)}" if said else reason)
    return done.stdout
