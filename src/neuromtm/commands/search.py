"""`neuromtm search`: search for good options of a training, with Optuna."""

import argparse
import json
import logging
import math
import os
import socket
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuromtm.commands.failures import users_own
from neuromtm.commands.search_space import Space, read_space, space_from, space_text
from neuromtm.commands.stopping import end_stopped
from neuromtm.errors import ConfigError
from neuromtm.files import reason_of, table_text, write_whole
from neuromtm.regular_files import regular_text, require_regular
from neuromtm.training.slurm import has_left_the_queue, slurm_job
from neuromtm.training.stopping import Stopped, StopSignals

if TYPE_CHECKING:
    import optuna

SETTINGS_FILE, JOURNAL_FILE, TABLE_FILE = "search.json", "journal.log", "search.csv"
OWNER, REASON, METRIC, SCORE = (
    "owner",
    "reason",
    "metric",
    "score",
)  # what a trial keeps in the journal beside its values
NOT_CHOSEN = ("--run_dir", "--ckpt_path", "--auto_resume")


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Train some trials of a search. Other processes may train others of the same search at the same time.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.
    """
    options, fit = _read(arguments, parser)
    settings = _Settings.of(options.folder, _space_of(options), fit)
    study, me = _study(options.folder, seed=options.seed, prune=options.prune), _me()
    n_scored = 0
    for _ in range(options.n_trials):
        trial = _left_by_the_dead(study, options.folder, me) or study.ask()
        n_scored += _train(study, trial, options.folder, settings, me)
        _write_table(study, options.folder, settings.space)
    _say_the_best(study, options.folder)
    if not n_scored:
        raise ConfigError(f"{options.folder}: no trial of this process was trained. The reasons stand above.")


def search_settings(arguments: Sequence[str], parser: argparse.ArgumentParser) -> "_Settings":
    """What a search of this command line would do, without writing anything; arguments as of `run`.

    Raises:
        ConfigError: as `run`, before it trains anything.
    """
    options, fit = _read(arguments, parser)
    return _Settings.of(options.folder, _space_of(options), fit, keep=False)


def _space_of(options: argparse.Namespace) -> Space | None:
    return None if options.space is None else read_space(options.space)


def _read(arguments: Sequence[str], parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The command's own options, and those of `fit`."""
    parser.usage = (
        "neuromtm search DIR [--space FILE] [--n_trials N] [--prune | --no-prune] [--seed N] [-- FIT OPTIONS]"
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of the search; one that is there goes on")
    parser.add_argument("--space", metavar="FILE", type=Path, help="YAML file of options and the values they may take")
    parser.add_argument("--n_trials", metavar="N", type=int, default=1, help="trials of this process (default: 1)")
    parser.add_argument(
        "--prune",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="end a trial whose validation is worse than half of the others' at the same step (default: yes)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the choice of values (default: 0)")
    parser.epilog = "What follows -- are options of `neuromtm fit`, the same for all trials."
    own, fit = _divided(arguments)
    options = parser.parse_args(own)
    if options.n_trials < 1:
        raise ConfigError(f"--n_trials is {options.n_trials}, and must be at least 1.")
    if not 0 <= options.seed < 2**32:
        raise ConfigError(f"--seed is {options.seed}, not between 0 and {2**32 - 1}.")
    return options, fit


class _Settings:
    """What all trials of a search share."""

    def __init__(self, space: Space, fit: Sequence[str]):
        self.space, self.fit = space, list(fit)

    @classmethod
    def of(cls, folder: Path, space: Space | None, fit: Sequence[str], *, keep: bool = True) -> "_Settings":
        """Those of the folder; if it has none, or no trial yet, the given ones, which it keeps.

        Args:
            folder: of the search.
            space: of the command line; None if it has none.
            fit: options of `fit` in the command line.
            keep: whether the folder keeps them.

        Raises:
            ConfigError: if there are none, or others than the given ones.
        """
        path = folder / SETTINGS_FILE
        if space is not None and not path.exists():
            return cls._new(path, space, fit, keep=keep)
        try:
            content = json.loads(regular_text(path))
            if not isinstance(content["space"], dict) or not isinstance(content["fit"], list):
                raise TypeError
            kept = cls(space_from(content["space"]), [str(option) for option in content["fit"]])
        except FileNotFoundError as error:
            raise ConfigError(
                f"{folder}: no search yet. Begin one by --space FILE, and -- with options of fit."
            ) from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"{path}: damaged ({reason_of(error)}). Begin the search again in another folder."
            ) from error
        # a task adds to them where it runs, which a check before does not know
        of_kept = kept.fit if keep else kept.fit[: len(fit)]
        if (space is not None and space != kept.space) or (fit and list(fit) != of_kept):
            if space is not None and not _has_trials(folder):
                return cls._new(path, space, fit or kept.fit, keep=keep)
            raise ConfigError(
                f"{folder}: holds a search of another space or with other options of fit, which {SETTINGS_FILE} lists. "
                "Leave them out to go on with it, or choose another folder."
            )
        return kept

    @classmethod
    def _new(cls, path: Path, space: Space, fit: Sequence[str], *, keep: bool) -> "_Settings":
        """Begin a search, or begin one anew that has no trial."""
        _require_options(space, fit)
        text = json.dumps({"space": space_text(space), "fit": list(fit)}, indent=1)
        if keep and path.exists():
            write_whole(path, text)
        elif keep and not _write_new(path, text):
            return cls.of(path.parent, space, fit)  # another process was quicker, perhaps with another space
        return cls(space, fit)


def _divided(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own options, and those of `fit` after `--`."""
    given = list(arguments)
    place = given.index("--") if "--" in given else len(given)
    return given[:place], given[place + 1 :]


def _has_trials(folder: Path) -> bool:
    return (folder / JOURNAL_FILE).exists() and bool(_study(folder, seed=0, prune=True).get_trials(deepcopy=False))


def _require_options(space: Space, fit: Sequence[str]) -> None:
    """Refuse options that a search sets itself, and those that stand in both places."""
    named = {option.split("=")[0] for option in fit}
    for option in NOT_CHOSEN:
        if option in named:
            raise ConfigError(f"{option} is not an option of a search: each trial has a folder of its own.")
    for name in space:
        if f"--{name}" in named:
            raise ConfigError(f"--{name} stands in the space and among the options of fit. Leave it out of one.")


def _write_new(path: Path, text: str) -> bool:
    """Write a file, unless another process was quicker. Gives whether it was not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{_me()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    try:
        os.link(temporary, path)  # unlike a rename it replaces nothing
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _study(folder: Path, *, seed: int, prune: bool) -> "optuna.Study":
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    except ImportError as error:
        raise ConfigError("neuromtm search needs Optuna: pip install 'neuromtm[search]'.") from error
    optuna.logging.set_verbosity(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    journal = str(require_regular(folder / JOURNAL_FILE))
    # this lock is a file of its own, so that it also holds where the file system has no locks
    storage = optuna.storages.JournalStorage(JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal)))
    # processes that start at the same time must not draw the same values
    own_seed = zlib.crc32(f"{seed} {_me()}".encode())
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4) if prune else optuna.pruners.NopPruner()
    return optuna.create_study(
        study_name="search",
        storage=storage,
        sampler=optuna.samplers.TPESampler(seed=own_seed, constant_liar=True),
        pruner=pruner,
        direction="minimize",
        load_if_exists=True,
    )


def _me() -> str:
    """Who trains a trial: the Slurm task, which keeps its name when it is requeued, or the process."""
    if (job := slurm_job()) is not None:
        return f"slurm-{job}"
    return f"process-{socket.gethostname()}-{os.getpid()}"


def _is_dead(owner: str, me: str) -> bool:
    """Whether a trial's owner will not go on with it. One that cannot be asked counts as alive."""
    kind, _, name = owner.partition("-")
    host, _, number = name.rpartition("-")
    if owner == me:
        return True  # this task was requeued: the trial is from its former life
    if kind == "process" and host == socket.gethostname():
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, ValueError):
            return False
    return kind == "slurm" and has_left_the_queue(name)


def _left_by_the_dead(study: "optuna.Study", folder: Path, me: str) -> "optuna.Trial | None":
    """A trial that was begun and whose process is gone; None if there is none. Nobody else gets it then."""
    from optuna.trial import Trial, TrialState

    for frozen in study.get_trials(states=(TrialState.RUNNING,)):
        owner = frozen.user_attrs.get(OWNER)
        if owner is None or not _is_dead(owner, me):
            continue
        trial = Trial(study, frozen._trial_id)
        if owner != me:
            claim = _run_dir(folder, frozen.number) / f"taken-from-{owner}"
            claim.parent.mkdir(parents=True, exist_ok=True)
            try:
                claim.open("x").close()
            except FileExistsError:
                continue
        return trial
    return None


def _run_dir(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:04d}"


def _train(study: "optuna.Study", trial: "optuna.Trial", folder: Path, settings: _Settings, me: str) -> bool:
    """Train one trial and tell the study; returns whether it has a score. A user's error ends this trial alone."""
    from optuna.trial import TrialState

    from neuromtm.callbacks.pruning import Pruning
    from neuromtm.commands.cli import trained

    trial.set_user_attr(OWNER, me)
    values = {name: allowed.draw(trial, name) for name, allowed in settings.space.items()}
    chosen = [f"--{name}={written(value)}" for name, value in values.items()]
    run_dir, pruning = _run_dir(folder, trial.number), Pruning(trial)
    print(f"trial {trial.number}: {' '.join(chosen)}", flush=True)
    try:
        with StopSignals() as signals:
            score = trained([*settings.fit, *chosen], run_dir, signals=signals, callbacks=[pruning])
    except Stopped as stopped:  # the trial stays begun: this task goes on with it, or another process takes it over
        end_stopped(stopped, "search")
    except Exception as error:
        problem = users_own(error)
        if problem is None:
            raise
        reason = " ".join(str(problem).split())
        trial.set_user_attr(REASON, reason)
        study.tell(trial, state=TrialState.FAIL)
        print(f"trial {trial.number}: failed. {reason}", flush=True)
        return False
    trial.set_user_attr(METRIC, score.metric)
    trial.set_user_attr(SCORE, score.value)
    if pruning.pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, score.cost)
    ended = " (ended early)" if pruning.pruned else ""
    print(f"trial {trial.number}: {score.metric} {score.value:.5g}{ended}", flush=True)
    return True


def written(value: object) -> str:
    """A value as an option of the command line."""
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def _write_table(study: "optuna.Study", folder: Path, space: Space) -> None:
    """Write `search.csv`, the trials in the order of their scores."""
    from optuna.trial import TrialState

    said = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }
    trials = sorted(study.get_trials(), key=_cost)
    rows = [
        (
            trial.number,
            said[trial.state],
            trial.user_attrs.get(METRIC),
            trial.user_attrs.get(SCORE),
            *(trial.params.get(name) for name in space),
            trial.user_attrs.get(REASON),
        )
        for trial in trials
    ]
    write_whole(folder / TABLE_FILE, table_text(("trial", "state", "metric", "score", *space, "reason"), rows))


def _cost(trial: "optuna.trial.FrozenTrial") -> float:
    """What a complete trial costs; infinite for others."""
    return math.inf if trial.value is None else trial.value


def _say_the_best(study: "optuna.Study", folder: Path) -> None:
    from optuna.trial import TrialState

    complete = study.get_trials(states=(TrialState.COMPLETE,))
    if complete:
        best = min(complete, key=_cost)
        score = f"{best.user_attrs[METRIC]} {best.user_attrs[SCORE]:.5g}"
        print(f"Best of {len(complete)} complete trials: {_run_dir(folder, best.number)}, {score}")
        print("  " + " ".join(f"--{name} {written(value)}" for name, value in best.params.items()))
    print(f"Trials: {folder / TABLE_FILE}")
