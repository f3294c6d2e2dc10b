"""The scalars that a training left are read, the later value of a step that was logged twice."""

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from neuromtm.evaluation.curves import read_scalars


def log(folder, *, wall_time, losses):
    """Write an event file with a training loss a step."""
    writer = EventFileWriter(str(folder))
    for step, value in enumerate(losses):
        summary = Summary(value=[Summary.Value(tag="train/loss", simple_value=value)])
        writer.add_event(Event(wall_time=wall_time, step=step, summary=summary))
    writer.close()


def test_a_step_that_was_logged_twice_has_its_later_value(tmp_path):
    log(tmp_path, wall_time=2.0, losses=[5.0, 4.0])
    log(tmp_path / "moved", wall_time=1.0, losses=[9.0, 8.0, 7.0])
    for path in (tmp_path / "moved").iterdir():
        path.rename(tmp_path / f"{path.name}.earlier")
    assert read_scalars(tmp_path)["train/loss"].tolist() == [[0, 5.0], [1, 4.0], [2, 7.0]]


def test_a_folder_without_curves_has_none(tmp_path):
    assert read_scalars(tmp_path) == {}
