"""Install snnTorch, Norse and sinabs beside this environment's torch, to read NIR graphs of ours in them.

python scripts/install_nir_readers.py .nir-readers
.nir-readers/bin/python -m pytest -n 0 tests/peers/test_nir.py tests/peers/test_nir_sinabs.py

sinabs 3.1.3 asks for nir ≤ 1.0.4, which has no v_reset, though it runs with later ones; pip therefore refuses it here.
The folder becomes a virtual environment that sees the packages of this one, with the readers without dependencies.
"""

import argparse
import site
import subprocess
import sys
import venv
from pathlib import Path

READERS = ("snntorch==1.0.0", "norse==1.1.0", "nirtorch==2.6", "sinabs==3.1.3", "pbr==7.1.3")
MODULES = ("snntorch.import_nir", "norse.torch", "sinabs.nir")


def install(folder: Path) -> Path:
    """Make the environment; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    here = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (Path(packages) / "beside.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *READERS], check=True)
    return python


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to put them")
    python = install(parser.parse_args().folder)
    for module in MODULES:
        if subprocess.run([python, "-W", "ignore", "-c", f"import {module}"], check=False).returncode:
            sys.exit(f"{module} cannot be imported.")
        print(f"{module} can be imported.")


if __name__ == "__main__":
    main()
