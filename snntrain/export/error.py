"""The errors of a net that cannot be exported, and of a graph that cannot be imported."""

from snntrain.graph import NetError

MAX_POOL_REMEDY = "callbacks.lava.max_pool=neurons (in Python max_pool='neurons'), which puts neurons in its place"


class ExportError(NetError):
    """A net, a part of it, or a file that cannot be exported or read; the text names the place and a way out."""

    owner, action = "export", "exported"


class ExportErrors(ExportError):
    """All the parts of a net that cannot be exported, one a line."""

    def __init__(self, *problems: NetError) -> None:
        super().__init__("", "parts of the net cannot be exported")
        self.args = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class NirImportError(ExportError):
    """A NIR graph, or a node of it, that cannot be imported."""

    owner, action = "import_nir", "imported"


class UnreadableLayer(ExportError):
    """A layer of a netx file that Lava may know, and the emulator does not."""

    action = "read"


class CExportError(ExportError):
    """An integer net, or an operation of it, that cannot be written as C, or a C compiler that fails."""

    owner, action = "export.c", "written as C"


class OnnxExportError(ExportError):
    """A net, or a part of it, that torch.export or ONNX cannot hold."""

    owner, action = "export.onnx", "exported"
