"""Run the notebooks of examples/notebooks and keep what they give: python scripts/notebooks.py [NOTEBOOK ...]

Needs nbclient and ipykernel (pip install nbclient ipykernel), and minutes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "examples" / "notebooks"


def main(names: list[str]) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        began = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            client = NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": folder}})
            client.execute()
        nbformat.write(tidied(notebook), path)
        print(f"{path.name}: {time.monotonic() - began:.0f} s", flush=True)


def of_this_machine(output: Any) -> bool:
    """What libraries say on stderr or of themselves, and where the decoded photos lie."""
    text = output.get("text", "") or output.get("data", {}).get("text/plain", "")
    return output.get("name") == "stderr" or text.startswith(("decoded photos", "WARNING:tensorflow"))


def tidied(notebook: Any) -> Any:
    """Without what is of the machine that it was run on, and with each picture once."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not of_this_machine(output)]
            for output in cell.outputs:
                pictures = [kind for kind in ("image/jpeg", "image/png") if kind in output.get("data", {})]
                if pictures:
                    output.data = {pictures[0]: output.data[pictures[0]], "text/plain": "a picture"}
                else:
                    output.get("data", {}).pop("text/html", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


if __name__ == "__main__":
    main(sys.argv[1:])
