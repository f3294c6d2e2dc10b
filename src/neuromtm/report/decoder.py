"""The page of a decoder's test."""

from neuromtm.evaluation.results import read_metrics
from neuromtm.report.behavior import decoded_of
from neuromtm.report.run import RunFolder
from neuromtm.report.texts import DECODER
from neuromtm.report.verdict import decoder_verdict
from neuromtm.report.view import DecoderPage, Head, Training


def decoder_page(folder: RunFolder, head: Head, training: Training) -> DecoderPage:
    """What the page shows of a decoder's test.

    Raises:
        UserError: if a test did not write one of the files.
    """
    metrics = read_metrics(folder.path)
    return DecoderPage(
        head=head,
        training=training,
        verdict=decoder_verdict(metrics["sessions"]),
        explanation=[DECODER["what"], *_this_one(folder)],
        note=DECODER["scores"],
        behavior=decoded_of(folder.path, metrics),
    )


def _this_one(folder: RunFolder) -> list[str]:
    """How this decoder was made, as far as its configuration says."""
    if folder.target is None:
        return []
    pretrained = folder.option("model", "pretrained")
    kind = "scratch" if pretrained is None else "frozen" if folder.option("model", "frozen") else "tuned"
    heads = "own_heads" if folder.option("model", "own_heads") else "one_head"
    text = f"{DECODER[kind]} {DECODER[heads]}"
    return [text.format(target=folder.target, pretrained=pretrained)]
