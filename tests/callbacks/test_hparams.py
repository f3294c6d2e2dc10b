"""TensorBoard's tab HParams shows a tested run once, with its options and its test metrics."""

import json

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.api_pb2 import ListSessionGroupsRequest, Status
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from neuromtm.callbacks.hparams import shown_options
from neuromtm.report.options import options_of
from tests.running import EIDS, neuromtm, pretrain


def rows_of_the_tab(folder):
    """The rows of the tab HParams, as TensorBoard's own server would send them."""
    events = EventMultiplexer().AddRunsFromDirectory(str(folder))
    events.Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(events, str(folder))))
    request = RequestContext()
    asked = ListSessionGroupsRequest(slice_size=100, allowed_statuses=[Status.STATUS_SUCCESS, Status.STATUS_UNKNOWN])
    return Handler(request, context, "", asked).run().session_groups


@pytest.fixture(scope="module")
def run_dir(root, sessions_dir, tmp_path_factory):
    """A run that was trained and tested in one folder."""
    folder = tmp_path_factory.mktemp("sweep") / "one"
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", folder, "--model.lr", "0.003"))
    best = folder / "checkpoints" / "best.ckpt"
    sessions = ("--data.sessions", f"['{EIDS[0]}']", "--behavior.targets", "[]")
    neuromtm("test", "--config", folder / "config.yaml", "--ckpt_path", best, *sessions)
    return folder


def test_a_run_is_one_row_with_its_options_and_test_metrics(run_dir):
    (row,) = rows_of_the_tab(run_dir.parent)
    assert [session.name for session in row.sessions] == ["one"]
    assert row.hparams["model.lr"].number_value == 0.003
    assert row.hparams["seed_everything"].number_value == 0
    assert row.hparams["model.backbone.class_path"].string_value == "neuromtm.models.ndt1.NDT1"
    metrics = {value.name.tag: value.value for value in row.metric_values}
    mean = json.loads((run_dir / "metrics.json").read_text())["mean"]
    assert {key: metrics[f"test/{key}"] for key in mean} == pytest.approx(mean, rel=1e-5)


def test_the_options_are_some_dozens_and_no_path_of_the_run(run_dir):
    options = options_of(run_dir)
    chosen = shown_options(options)
    assert 20 < len(chosen) < 70
    assert {"model.lr", "data.batch_size", "trainer.max_epochs"} <= set(chosen)
    assert not {"data.n_workers", "trainer.default_root_dir", "trainer.log_every_n_steps", "run_dir"} & set(chosen)
