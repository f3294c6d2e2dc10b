"""The command line: `neuromtm fit | validate | test | predict` by LightningCLI, and tools beside them."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer import Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from neuromtm.callbacks.activity import ActivityTasks
from neuromtm.callbacks.behavior import BehaviorReadout
from neuromtm.callbacks.figures import TaskFigures
from neuromtm.callbacks.run_files import RatePredictions, RunConfig, TestResults
from neuromtm.callbacks.throughput import Throughput
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import ConfigError, UserError
from neuromtm.training.checkpoint import WholeFileCheckpointIO, newest_checkpoint
from neuromtm.training.masked_modeling import MaskedModeling


class Parser(LightningArgumentParser):
    """Takes an option only by its full name: `--model.schedul` is an error, not `--model.schedule`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.allow_abbrev = False


class NeuromtmCLI(LightningCLI):
    """LightningCLI with one place for all that a run leaves, and with the evaluation always on."""

    def __init__(self, args: Sequence[str] | None = None):
        super().__init__(
            MaskedModeling,
            SessionDataModule,
            args=args,
            parser_class=Parser,
            save_config_callback=None,
            auto_configure_optimizers=False,
            seed_everything_default=0,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run_dir",
            type=str,
            default="runs/default",
            help="Folder for the configuration, checkpoints, TensorBoard events, results and figures of this run.",
        )
        parser.add_lightning_class_args(ActivityTasks, "activity")
        parser.add_lightning_class_args(BehaviorReadout, "behavior")
        parser.add_lightning_class_args(TaskFigures, "figures")
        parser.link_arguments("run_dir", "trainer.default_root_dir")
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def _parse_ckpt_path(self) -> None:
        # Lightning would lay options stored in a checkpoint over those of the command line. Ours stores none.
        pass

    def before_instantiate_classes(self) -> None:
        run_dir = Path(self._get(self.config, "run_dir"))
        options = self.config[self.subcommand]
        if options.get("ckpt_path") in ("last", "best"):
            options["ckpt_path"] = self._named_checkpoint(options["ckpt_path"], run_dir)
        if self.subcommand == "fit" and rank_zero_only.rank == 0:
            _require_free(run_dir, resumes=options.get("ckpt_path") is not None)

    @staticmethod
    def _named_checkpoint(name: str, run_dir: Path) -> str | None:
        if name == "best":
            return str(run_dir / "checkpoints" / "best.ckpt")
        newest = newest_checkpoint(run_dir)
        if newest is None:
            rank_zero_info(f"{run_dir}: no checkpoint to go on from; training starts at the beginning.")
        return None if newest is None else str(newest)

    def instantiate_trainer(self, **kwargs) -> Trainer:
        run_dir = Path(self._get(self.config_init, "run_dir"))
        options = self._get(self.config_init, "trainer")
        logger = options["logger"]
        if logger in (None, True):
            kwargs["logger"] = TensorBoardLogger(run_dir, name="", version="")
        plugins = options["plugins"] or []
        kwargs["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), WholeFileCheckpointIO()]
        activity, behavior = self._get(self.config_init, "activity"), self._get(self.config_init, "behavior")
        callbacks = [
            *(options["callbacks"] or []),
            RunConfig(self._parser(self.subcommand), self._get_config()),
            Throughput(),
        ]
        if options["enable_checkpointing"] is not False:
            callbacks.append(_checkpoints(run_dir))
        if logger is not False:
            callbacks.append(LearningRateMonitor(logging_interval="step"))
        # behind those that score: activity, behavior and figures stand among the callbacks by their order here
        kwargs["callbacks"] = callbacks
        self.trainer_defaults["callbacks"] = [TestResults(activity, behavior), RatePredictions()]
        trainer = super().instantiate_trainer(**kwargs)
        if isinstance(trainer.strategy, DDPStrategy):
            # a batch uses the stitchers and the prompt of its own sessions and scheme only
            trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
        return trainer

    def _get_config(self):
        return self.config.get(str(self.subcommand), self.config)


def _checkpoints(run_dir: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=run_dir / "checkpoints",
        filename="best",
        monitor="val/loss",
        mode="min",
        save_last=True,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )


def _require_free(run_dir: Path, *, resumes: bool) -> None:
    if resumes:
        return
    used = [name for name in ("config.yaml", "checkpoints") if (run_dir / name).exists()]
    if used:
        raise ConfigError(
            f"{run_dir}: holds a run already ({' and '.join(used)}). Go on with it by --ckpt_path last, or choose "
            "another --run_dir."
        )


def _ceiling(args: Sequence[str]) -> None:
    from neuromtm.evaluation import truth

    truth.main(args)


def _compare(args: Sequence[str]) -> None:
    from neuromtm.evaluation import comparison

    comparison.main(args)


TOOLS: dict[str, Callable[[Sequence[str]], None]] = {"ceiling": _ceiling, "compare": _compare}
"""commands beside Lightning's; their modules are imported when called"""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; a user's error is one line and exit code 2.

    Args:
        args: the command line without the program's name; by default the process's own.
    """
    given = sys.argv[1:] if args is None else list(args)
    try:
        if given and given[0] in TOOLS:
            TOOLS[given[0]](given[1:])
        else:
            NeuromtmCLI(args)
    except UserError as error:
        print(f"neuromtm: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
