"""What a job would refuse is refused before it is submitted, without data and without leaving anything."""

import pytest
import yaml

from neuromtm.commands.checking import check
from neuromtm.commands.failures import users_own
from neuromtm.errors import UserError


def fit(root, tmp_path, *more):
    return [
        "--config",
        str(root / "conf" / "small.yaml"),
        "--data.root=nowhere",
        f"--run_dir={tmp_path / 'run'}",
        *more,
    ]


def test_a_training_gives_its_whole_configuration(root, tmp_path):
    found = yaml.safe_load(check("fit", fit(root, tmp_path, "--trainer.accumulate_grad_batches=3")))
    assert found["trainer"]["accumulate_grad_batches"] == 3
    assert found["data"]["sessions_per_batch"] >= 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--activity.n_val_neurons=0", "n_val_neurons is 0"),
        ("--data.batch_size=0", "batch_size 0"),
        ("--trainer.precision=17", "precision"),
        ("--model.lr=-1", "lr"),
        ("--no_such_option=1", "no_such_option"),
    ],
)
def test_a_wrong_value_is_found_without_data(root, tmp_path, more, said):
    with pytest.raises(Exception, match=said) as refused:
        check("fit", fit(root, tmp_path, more))
    assert users_own(refused.value) is not None


def test_a_baseline_is_checked_without_its_data(tmp_path, capsys):
    words = ["--data", "nowhere", "--out", str(tmp_path / "run")]
    assert not check("baseline", [*words, "--kind", "psth"])
    with pytest.raises(SystemExit):
        check("baseline", [*words, "--kind", "pssth"])
    assert "invalid choice: 'pssth'" in capsys.readouterr().err
    with pytest.raises(UserError, match="n_train_trials is 0"):
        check("baseline", [*words, "--kind", "psth", "--n_train_trials", "0"])
