"""The pages of runs in a real browser: they load without a complaint, fit the window, and unfold."""

import matplotlib.image
import numpy as np
import pytest

from neuromtm.report.page import report_page
from tests.report.browser import Browser, browser, why_not
from tests.report.tested import add_read_outs, as_baseline, as_ceiling, as_decoder, as_scored, log

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")
WIDTHS = (1300, 400)
LONG = "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of a masked model with all there can be, of a decoder, and of a run without a test."""
    folder = tmp_path_factory.mktemp("pages")
    eids = (LONG, "s1")
    run = as_scored(folder / f"a_run_{LONG}_with_a_long_name", eids=eids)
    add_read_outs(run, LONG)
    (run / "figures").mkdir()
    wide, tall = np.zeros((300, 1700, 3)), np.zeros((900, 600, 3))
    for name, pixels in (("scores", wide), (f"{LONG}", wide), ("s1", wide), (f"{LONG}.co_smoothing", tall)):
        matplotlib.image.imsave(run / "figures" / f"{name}.png", pixels)
    (run / "config.yaml").write_text(f"data:\n  root: {'/long_folder' * 20}\n")
    log(run, train_loss=[3.0, 2.0], val_loss=[2.5])
    references = {
        "ceiling": as_ceiling(folder / "ceiling", eids=eids),
        "baselines": [as_baseline(folder / "base", eids=eids)],
    }
    decoder = as_decoder(folder / "decoder", eid=LONG)
    log(decoder, train_loss=[0.7, 0.6], val_choice_accuracy=[0.7], val_choice_chance=[0.5])
    untested = folder / "untested"
    untested.mkdir()
    (untested / "config.yaml").write_text("model:\n  lr: 0.001\n")
    texts = {
        "compared": report_page(run, **references),
        "alone": report_page(run),
        "decoder": report_page(decoder),
        "untested": report_page(untested),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["compared", "alone", "decoder", "untested"])
def test_a_page_loads_without_a_complaint_and_fits_the_window(chromium: Browser, pages, name, width):
    chromium.open(pages / f"{name}.html", width=width)
    assert chromium.messages() == []
    assert chromium.evaluate("window.innerWidth") == width
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    # once all that is folded is open too
    chromium.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    boxes = "[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll, .picture'))"
    assert chromium.evaluate(f"Math.max(...{boxes}.map(one => one.getBoundingClientRect().right))") <= width
    assert chromium.messages() == []


@pytest.mark.parametrize(("name", "n"), [("compared", 7), ("decoder", 2)])
def test_every_picture_is_loaded(chromium: Browser, pages, name, n):
    chromium.open(pages / f"{name}.html", width=1300)
    widths = chromium.evaluate("[...document.images].map(one => one.complete ? one.naturalWidth : 0)")
    assert len(widths) == n
    assert min(widths) > 0


def test_the_width_of_the_window_is_used(chromium: Browser, pages):
    chromium.open(pages / "compared.html", width=1300)
    first, second = chromium.evaluate(
        "[...document.images].slice(0, 2).map(one => [one.getBoundingClientRect().x, one.getBoundingClientRect().y])"
    )
    assert second[0] > first[0] + 500  # the tasks and behaviour stand side by side
    assert abs(second[1] - first[1]) < 5
    assert chromium.evaluate(f"document.querySelector('img[alt^=\"{LONG}.png\"]').clientWidth") > 1200
    chromium.open(pages / "compared.html", width=400)
    first, second = chromium.evaluate("[...document.images].slice(0, 2).map(one => one.getBoundingClientRect().y)")
    assert second > first + 100  # and below each other where there is no room


def test_a_wide_table_scrolls_in_its_own_box(chromium: Browser, pages):
    chromium.open(pages / "compared.html", width=400)
    wider = "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth)"
    assert chromium.evaluate(f"{wider}.length") > 0
    scrolled = f"(one => {{ one.scrollLeft = 50; return one.scrollLeft; }})({wider}[0])"
    assert chromium.evaluate(scrolled) == 50


def test_a_folded_definition_opens_by_a_click(chromium: Browser, pages):
    chromium.open(pages / "compared.html", width=1300)
    shown = "document.querySelector('.definitions dd').checkVisibility()"
    assert chromium.evaluate(shown) is False
    chromium.click(".definitions summary")
    assert chromium.evaluate(shown) is True
    chromium.click(".definitions summary")
    assert chromium.evaluate(shown) is False


# A4 on its side and upright, less the margins
@pytest.mark.parametrize("width", [1047, 710])
def test_what_is_folded_is_open_on_paper_and_no_table_is_cut_off(chromium: Browser, pages, width):
    chromium.open(pages / "compared.html", width=width)
    chromium.show_as("print")
    assert chromium.evaluate("document.querySelector('.definitions dd').checkVisibility()") is True
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    tables = "[...document.querySelectorAll('table, img')]"
    assert chromium.evaluate(f"Math.max(...{tables}.map(one => one.getBoundingClientRect().right))") <= width
    assert chromium.evaluate(f"{tables}.every(one => one.getBoundingClientRect().height > 0)") is True
    chromium.show_as("")


def test_what_the_driver_hears_of_a_page_that_is_wrong(chromium: Browser, tmp_path):
    page = tmp_path / "wrong.html"
    page.write_text('<script>null.x</script><img src="data:image/png;base64,AAAA"><p style="width: 2000px">wide</p>')
    chromium.open(page, width=1300)
    assert any("null" in message for message in chromium.messages())
    assert chromium.evaluate("document.images[0].naturalWidth") == 0
    assert chromium.evaluate("document.documentElement.scrollWidth") > 1300
