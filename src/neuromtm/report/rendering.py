"""Pages as HTML, by their templates."""

from datetime import UTC, datetime

import jinja2

from neuromtm import __version__
from neuromtm.report.texts import PAGE
from neuromtm.report.view import ActivityPage, DataPage, DecoderPage, Page, UntestedPage

TEMPLATES: dict[type[Page], str] = {
    ActivityPage: "activity.html",
    DataPage: "data.html",
    DecoderPage: "decoder.html",
    UntestedPage: "untested.html",
}


def render(page: Page) -> str:
    """A page as HTML. All that the page holds is text: names are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("neuromtm.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATES[type(page)]).render(page=page, text=PAGE)


def made_by() -> str:
    """The version and the time of a page, for its foot."""
    return f"neuromtm {__version__}, page made {time_text(datetime.now(UTC))}"


def time_text(moment: datetime) -> str:
    """A time of UTC in words."""
    return moment.strftime("%Y-%m-%d %H:%M UTC")
