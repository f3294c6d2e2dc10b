"""Pictures of a page: PNG files as they are, and plots drawn for it."""

import base64
import io
import struct
from pathlib import Path

from matplotlib.figure import Figure

from neuromtm.errors import UserError
from neuromtm.plots.style import DPI
from neuromtm.report.view import Picture

CSS_PIXELS_PER_INCH = 96
SHARP = 2
"""pixels of a plot for each pixel of the page, so that it prints well"""


def picture_of(path: Path, caption: str) -> Picture | None:
    """A picture of a run's figures/; None if there is none of that name.

    Raises:
        UserError: if it is not a PNG.
    """
    if not path.is_file():
        return None
    return _picture(path.read_bytes(), path.name, caption, dpi=DPI, source=str(path))


def picture(plot: Figure, name: str, caption: str) -> Picture:
    """A plot as a picture."""
    buffer, dpi = io.BytesIO(), SHARP * CSS_PIXELS_PER_INCH
    plot.savefig(buffer, format="png", dpi=dpi)
    return _picture(buffer.getvalue(), name, caption, dpi=dpi, source=name)


def _picture(data: bytes, name: str, caption: str, *, dpi: int, source: str) -> Picture:
    # PNG 1.2, section 11.2.2: width and height stand at a fixed place
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or len(data) < 24:
        raise UserError(f"{source}: not a PNG picture. Delete it, or test the run again to draw it again.")
    width, height = struct.unpack(">II", data[16:24])
    return Picture(
        name=name,
        caption=caption,
        source=f"data:image/png;base64,{base64.b64encode(data).decode()}",
        width=max(1, round(width * CSS_PIXELS_PER_INCH / dpi)),
        height=max(1, round(height * CSS_PIXELS_PER_INCH / dpi)),
    )
