"""Notebooks are kept without what a run leaves in them: `python -m tests.examples.stripped [NOTEBOOK ...]`.

The program strips those that are not, names them, and ends with exit code 1 if there were any.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
"""that of the environment a notebook is opened in"""


def stripped(text: str) -> str:
    """The notebook without outputs, execution counts, and what an editor notes of itself and its kernel."""
    notebook = json.loads(text)
    for number, cell in enumerate(notebook["cells"], start=1):
        cell["id"], cell["metadata"] = f"cell-{number:02d}", {}
        cell.pop("attachments", None)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notebook["metadata"] = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(paths: Sequence[Path]) -> int:
    """Strip notebooks in place.

    Args:
        paths: by default all of examples/.

    Returns:
        1 if any was not stripped, else 0.
    """
    left = 0
    for path in paths or sorted(EXAMPLES.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        if (short := stripped(text)) != text:
            path.write_text(short, encoding="utf-8")
            print(f"{path}: was not stripped, and is now")
            left = 1
    return left


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
