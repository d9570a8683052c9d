"""The base class of the sections of a run's report."""

import inspect
import pathlib
from abc import ABC, abstractmethod
from typing import Any

from snntrain.run.folder import RunFolder
from snntrain.run.report.run_files import RunFiles


class Section(ABC):
    """One section of the page. Register it under a name, which is also its id on the page:

        @register("report section", "weights")
        class Weights(Section):
            title = "Weights"

            def content(self, run):
                return {"largest": …}

    and write weights.html.j2 beside the file of the class, also in a plugin; or write its text into `template`. It
    shows `content`; its filters are percent, number, whole, metric and dotted. A section that raises, or whose template
    does, costs the page nothing else.

    Attributes:
        title: its heading.
        place: sections stand in ascending order: 10 learning curves, 50 fit-end callbacks, 60 layers, 80 config.
        template: its text, Jinja2; None: it is in a file.
        callback: the callback that it reports on, by its key in `callbacks` of the config; other runs do not have the
            section. None: every run.
    """

    title: str
    place: float = 55
    template: str | None = None
    callback: str | None = None

    @abstractmethod
    def content(self, run: RunFiles) -> dict[str, Any]:
        """What the template shows, from the files of the run folder.

        Raises: Unavailable for a file that is missing or damaged; its sentence takes the section's place.
        """

    def is_shown(self, run: RunFiles) -> bool:
        """Whether this run has the section."""
        callbacks = run.read_or(RunFolder.config, {}).get("callbacks")
        return self.callback is None or (isinstance(callbacks, dict) and self.callback in callbacks)

    def folder(self) -> pathlib.Path:
        """Where its template lies."""
        return pathlib.Path(inspect.getfile(type(self))).parent
