"""An export that is made again leaves one file a seed where the scorer of BrainWideBench looks."""

import torch
from safetensors.torch import load_file

from neuromtm.export.bwb_files import Submission, write_predictions


def test_an_earlier_file_is_kept_where_the_scorer_does_not_read_it(tmp_path):
    submission = Submission(tmp_path, "ours", 43)
    first, second = ({"pred_proba": torch.full((2, 10), value)} for value in (0.1, 0.2))
    path = write_predictions(submission, "ts3-unit_cosmos", first, further={"label_names": "CB"})
    before = path.stat().st_mtime_ns
    assert write_predictions(submission, "ts3-unit_cosmos", first, further={"label_names": "CB"}) == path
    assert path.stat().st_mtime_ns == before
    write_predictions(submission, "ts3-unit_cosmos", second, further={"label_names": "CB"})
    assert list(tmp_path.rglob("seed_*.safetensors")) == [path]
    assert torch.equal(load_file(path)["pred_proba"], second["pred_proba"])
    (earlier,) = (tmp_path / "ours-earlier").rglob("*.safetensors")
    assert torch.equal(load_file(earlier)["pred_proba"], first["pred_proba"])
    write_predictions(submission, "ts3-unit_cosmos", second, further={"label_names": "MB"})
    assert len([*(tmp_path / "ours-earlier").rglob("*.safetensors")]) == 2
