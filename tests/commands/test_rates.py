"""`neuromtm rates`: what it prints and draws, and what it refuses."""

import h5py
import pytest

from neuromtm.data.shards import read_shard
from tests.lorenz import EID, LATENTS, lorenz_folder, predict, true_rates
from tests.running import neuromtm, refusal


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return lorenz_folder(tmp_path_factory.mktemp("lorenz") / "data")


@pytest.fixture
def shard(data):
    return read_shard(data / f"{EID}.h5")


def test_the_command_prints_a_row_a_session_and_draws_it(data, shard, tmp_path, capsys):
    run = predict(tmp_path, shard, true_rates(shard))
    for latents in ((), ("--latents", *LATENTS)):
        neuromtm("rates", run, "--data", data, *latents)
        printed = capsys.readouterr().out
        assert f"| {EID} | " in printed
        assert printed.count("1.000") == 2 + 3 * bool(latents)
        assert (run / "figures" / f"truth-{EID}.png").stat().st_size > 10_000
    assert len(list((run / "figures").iterdir())) == 2  # the earlier one was renamed aside


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run, shard: (run / "predictions" / f"{EID}.h5").unlink(), "neuromtm predict --config"),
        (lambda run, shard: predict(run, shard, true_rates(shard), eid="other"), "no session other"),
        (lambda run, shard: predict(run, shard, true_rates(shard)[:, 1:]), "other bins"),
    ],
)
def test_what_does_not_belong_together_is_refused(data, shard, tmp_path, capsys, spoil, words):
    run = predict(tmp_path, shard, true_rates(shard))
    spoil(run, shard)
    assert words in refusal(capsys, "rates", run, "--data", data)


def test_a_session_without_truth_or_without_such_a_variable_is_refused(data, shard, tmp_path, capsys):
    run = predict(tmp_path / "run", shard, true_rates(shard))
    assert "no behaviour w. It has: lorenz_x" in refusal(capsys, "rates", run, "--data", data, "--latents", "w")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in data.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with h5py.File(copy / f"{EID}.h5", "a") as file:
        del file["truth"]
    assert "holds no true rates" in refusal(capsys, "rates", run, "--data", copy)
