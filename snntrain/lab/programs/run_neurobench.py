"""Run NeuroBench's own harness on a run folder, beside what the run counted itself."""

from pathlib import Path

from snntrain.installation import command_of
from snntrain.run.front import Parser
from snntrain.terminal import print_line, terminal

_NAME = command_of("run-neurobench")
_EXAMPLES = f"""\
  {_NAME} runs/2026-01-31/12-00-00_digits_csnn_lif"""


def main(arguments: list[str]) -> int:
    """Run it; the exit code."""
    parser = Parser(_NAME, __doc__, _EXAMPLES)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a finished run, or a checkpoint")
    asked = parser.read(arguments)
    from snntrain.lab.neurobench import harness_of_run
    from snntrain.run.folder import RunFolder
    from snntrain.run.results import exact_metrics

    found = harness_of_run(asked.folder)
    folder = RunFolder(asked.folder)
    counted = exact_metrics(folder.outcome()) if folder.results.is_file() else {}
    console = terminal()
    for name, value in found.items():
        own = counted.get(f"test/neurobench/{name}")
        shown = ["not defined" if number is None else f"{number:,.6g}" for number in (value, own)]
        print_line(console, f"{name:<20} harness {shown[0]:>14}   run {shown[1]:>14}")
    return 0
