"""The commands `neuromtm fit | validate | test | predict`, by LightningCLI."""

import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import yaml
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer import Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from neuromtm.arguments import require_values
from neuromtm.callbacks.activity import ActivityTasks
from neuromtm.callbacks.averaging import AveragedWeights
from neuromtm.callbacks.behavior import BehaviorReadout
from neuromtm.callbacks.checkpoints import BestCheckpoint, BestScore, Criterion, LastCheckpoint, ValidatesLastEpoch
from neuromtm.callbacks.connectivity import RegionConnectivity
from neuromtm.callbacks.decoding import DecodingResults
from neuromtm.callbacks.hparams import HParams
from neuromtm.callbacks.multimodal import EncodingAndDecoding
from neuromtm.callbacks.plots import TaskPlots
from neuromtm.callbacks.progress import RunProgress
from neuromtm.callbacks.provenance import Provenance
from neuromtm.callbacks.ranks import WatchRanks
from neuromtm.callbacks.run_files import ActivityResults, EventsOnly, RatePredictions, RunConfig, TestResults
from neuromtm.callbacks.stopping import StopBetweenSteps
from neuromtm.callbacks.throughput import Throughput
from neuromtm.commands.class_paths import require_allowed_classes
from neuromtm.commands.failures import in_plain_words, users_own
from neuromtm.commands.nulls import require_no_nulls
from neuromtm.commands.recipes import config_texts, with_shipped_recipes
from neuromtm.commands.registry import LIGHTNING
from neuromtm.commands.starting import (
    Finished,
    chosen_start,
    is_first_process,
    named_checkpoint,
    require_writable,
)
from neuromtm.commands.trainer_options import require_trainer_options
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import ConfigError, UserError
from neuromtm.files import read_yaml
from neuromtm.training.checkpoint import glance_at_checkpoint, newest_checkpoint
from neuromtm.training.checkpoint_io import WholeFileCheckpointIO
from neuromtm.training.decoding import BehaviorDecoding
from neuromtm.training.distributed import SCORING, TRAINING, strategy_for
from neuromtm.training.lightning_habits import end_epochs_once, leave_signals_alone, watch_started_ranks
from neuromtm.training.masked_modeling import MaskedModeling
from neuromtm.training.precision import AutoTrainer
from neuromtm.training.run_lock import RunLock
from neuromtm.training.stopping import Stopped, StopSignals


class Parser(LightningArgumentParser):
    """Takes an option only by its full name: `--model.schedul` is an error, not `--model.schedule`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.allow_abbrev = False

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error for `main` to print. Without `exit_on_error` the parser itself catches its own error."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise users_own(ex) or ConfigError(in_plain_words(message)) from ex


class NeuromtmCLI(LightningCLI):
    """LightningCLI with one folder for all that a run writes, and with the evaluation always on.

    A configuration with `model.target` trains and tests a decoder of that behaviour; any other trains and tests a
    masked model.

    Args:
        args: the command line without the program's name; by default the process's own.
        callbacks: callbacks of the trainer beside those of the configuration.
    """

    def __init__(
        self,
        args: Sequence[str] | None = None,
        signals: StopSignals | None = None,
        *,
        callbacks: Sequence[Callback] = (),
    ):
        self._signals = StopSignals() if signals is None else signals
        self._stop: StopBetweenSteps | None = None
        self._resumes_from: str | None = None
        self._further_callbacks = callbacks
        self._lock: RunLock | None = None
        given = with_shipped_recipes(sys.argv[1:] if args is None else args)
        require_allowed_classes(given)
        self._given, self._decodes = given, names_a_target(given)
        try:
            super().__init__(
                BehaviorDecoding if self._decodes else MaskedModeling,
                SessionDataModule,
                args=given,
                trainer_class=AutoTrainer,
                parser_class=Parser,
                parser_kwargs={
                    "description": "Multi-task masked models of spiking neurons: train, fine-tune, test.",
                    **{name: {"description": text} for name, text in LIGHTNING.items()},
                },
                # the sampler divides the trials among the ranks itself
                trainer_defaults={"use_distributed_sampler": False},
                save_config_callback=None,
                auto_configure_optimizers=False,
                seed_everything_default=0,
            )
        finally:
            if self._lock is not None:
                self._lock.release()

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands. Each has the arguments of the Trainer's method that are not options."""
        # checkpoints are always read with weights_only
        skipped = {"weights_only", "return_predictions"}
        return {name: arguments | skipped for name, arguments in LightningCLI.subcommands().items()}

    def setup_parser(self, *args, **kwargs) -> None:
        super().setup_parser(*args, **kwargs)
        commands = self.parser._subcommands_action
        assert commands is not None
        for choice in commands._choices_actions:
            choice.help = LIGHTNING[choice.dest]  # Lightning gives its own docstrings, cut in mid-sentence

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run_dir",
            type=str,
            default="runs/default",
            help="Folder for the configuration, checkpoints, TensorBoard events, results and plots of this run.",
        )
        parser.add_argument(
            "--auto_resume",
            type=bool,
            default=False,
            help="Go on from the last checkpoint in run_dir if there is one, otherwise begin; do nothing if the "
            "training is done.",
        )
        parser.add_argument(
            "--checkpoint_every_n_minutes",
            type=float,
            default=10.0,
            help="Age in minutes at which last.ckpt is written anew after a step; it is also written after every "
            "validation and at the end.",
        )
        parser.add_argument(
            "--rank_timeout_s",
            type=float,
            default=60.0,
            help="On several ranks: seconds without a sign of life after which a rank is lost and the run ends.",
        )
        parser.add_argument(
            "--ema_decay",
            type=float | None,
            default=None,
            help="Average the weights over the steps of a training with this decay, e.g. 0.999; checkpoints and "
            "validations then have the averages. By default nothing is averaged.",
        )
        if not self._decodes:
            parser.add_argument(
                "--best_by",
                type=Criterion,
                default="val/loss",
                help="What best.ckpt is best in: the validation loss, where neurons that fire a lot count most, or the "
                "bits per spike of the same entries, where each neuron counts the same, as in a test.",
            )
            parser.add_lightning_class_args(ActivityTasks, "activity")
            parser.add_lightning_class_args(BehaviorReadout, "behavior")
            parser.add_lightning_class_args(TaskPlots, "figures")
        parser.link_arguments("run_dir", "trainer.default_root_dir")
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def _parse_ckpt_path(self) -> None:
        # Lightning would let options in a checkpoint override those of the command line. Ours stores none.
        pass

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        super().parse_arguments(parser, args)
        given = self.config[self.config["subcommand"]].as_dict()
        require_values(given)
        require_no_nulls(given)
        require_trainer_options(given["trainer"])
        seed = self.config[self.config["subcommand"]].get("seed_everything")
        if not 0 <= int(seed or 0) < 2**32:  # before Lightning sets it
            raise ConfigError(f"seed_everything is {seed}, not between 0 and {2**32 - 1}.")
        for option in ("checkpoint_every_n_minutes", "rank_timeout_s"):
            value = self.config[self.config["subcommand"]].get(option)
            if not value > 0:
                raise ConfigError(f"{option} is {value}, not a number above 0.")

    @property
    def _command(self) -> str:
        """The command that is carried out: the parser refuses a command line without one."""
        assert self.subcommand is not None
        return self.subcommand

    def before_instantiate_classes(self) -> None:
        run_dir = Path(self._get(self.config, "run_dir"))
        require_writable(run_dir)
        options = self.config[self._command]
        if self.subcommand == "fit":
            if is_first_process():
                self._lock = RunLock(run_dir)
                self._lock.acquire()
            self._resumes_from = chosen_start(
                run_dir,
                ckpt_path=options["ckpt_path"],
                auto_resume=options["auto_resume"],
                max_epochs=options["trainer"]["max_epochs"],
                max_steps=options["trainer"]["max_steps"],
            )
            # kept out of config.yaml: a later test with it must not use the checkpoint that training resumed from, and
            # a run has the same configuration however it was started
            options["ckpt_path"], options["auto_resume"] = None, False
        elif options.get("ckpt_path") in ("last", "best"):
            options["ckpt_path"] = str(named_checkpoint(options["ckpt_path"], run_dir))

    def instantiate_trainer(self, **kwargs) -> Trainer:
        run_dir = Path(self._get(self.config_init, "run_dir"))
        options = self._get(self.config_init, "trainer")
        if options["logger"] in (None, True):
            kwargs["logger"] = EventsOnly(run_dir, name="", version="")
        kwargs["plugins"] = [*_listed(options["plugins"]), WholeFileCheckpointIO()]
        callbacks = [
            AveragedWeights(self._get(self.config_init, "ema_decay")),  # first, so that others see the averages
            *_listed(options["callbacks"]),
            *self._further_callbacks,
            RunConfig(self._parser(self.subcommand), self.config[self._command]),
            Provenance(self._given, seed=self._get(self.config_init, "seed_everything")),
            Throughput(),
            ValidatesLastEpoch(),
        ]
        if options["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
            callbacks.insert(0, RunProgress())
        last = None
        if options["enable_checkpointing"] is not False:
            every_s = 60 * self._get(self.config_init, "checkpoint_every_n_minutes")
            last = LastCheckpoint(run_dir / "checkpoints", every_s=every_s)
            best_by = "val/loss" if self._decodes else self._get(self.config_init, "best_by")
            callbacks += [BestCheckpoint(run_dir / "checkpoints", by=best_by), last]
        self._stop = StopBetweenSteps(self._signals, last)
        callbacks += [self._stop, WatchRanks(timeout_s=self._get(self.config_init, "rank_timeout_s"))]
        if options["logger"] is not False and not options["fast_dev_run"]:
            callbacks.append(LearningRateMonitor(logging_interval="step"))
        kwargs["callbacks"] = callbacks
        if self._decodes:
            results = [DecodingResults()]
        else:
            # they run after the callbacks that score: activity, behavior and figures come first, in their order above
            activity, behavior = self._get(self.config_init, "activity"), self._get(self.config_init, "behavior")
            multimodal = EncodingAndDecoding()
            results = [multimodal, TestResults(activity, behavior, multimodal), RegionConnectivity(), RatePredictions()]
        self.trainer_defaults["callbacks"] = [*results, HParams()]
        try:
            if options["strategy"] == "auto":
                places = ("accelerator", "devices", "num_nodes", "plugins")
                timeout = TRAINING if self.subcommand == "fit" else SCORING
                kwargs["strategy"] = strategy_for(**{name: options[name] for name in places}, timeout=timeout)
            trainer = super().instantiate_trainer(**kwargs)
        except (UserError, MisconfigurationException):
            raise
        except Exception as error:  # an accelerator, strategy or precision that does not exist, devices of odd types
            raise ConfigError(f"trainer: {error or type(error).__name__}") from error
        if not self._decodes:
            # metrics.json is there before behaviour is decoded; Lightning's class does not declare its callbacks
            every: list[Callback] = trainer.callbacks  # ty: ignore[missing-attribute]
            every.insert(every.index(behavior), ActivityResults(activity))
        if isinstance(trainer.strategy, DDPStrategy):
            # a batch uses only the stitchers of its own sessions and the prompt of its own scheme; StitchedDDP knows
            trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
        if trainer.world_size > 1 and (self.subcommand == "predict" or self._further_callbacks):
            what = "predict" if self.subcommand == "predict" else "A trial of a search"
            raise ConfigError(f"{what} runs on one device: add --trainer.devices 1 --trainer.num_nodes 1.")
        leave_signals_alone(trainer)
        watch_started_ranks(trainer)
        end_epochs_once(trainer)
        return trainer

    def fit(self, **arguments) -> None:
        """Train, from a checkpoint if one was named."""
        self.trainer.ckpt_path = self._resumes_from  # this way the module knows it before its `setup`
        self.trainer.fit(**arguments)
        if self._stop is not None and self._stop.agreed:  # by a signal in the last step: what comes next must wait
            raise Stopped(self._stop.agreed, self._stop.done(self.trainer))

    def predict(self, **arguments) -> None:
        """Write predictions, and keep none of them in memory."""
        self.trainer.predict(**arguments, return_predictions=False)


def trained(
    arguments: Sequence[str], run_dir: Path, *, signals: StopSignals, callbacks: Sequence[Callback] = ()
) -> BestScore:
    """Carry out `fit` on one device, and return the score of its best checkpoint.

    A training that was begun in the folder goes on, and nothing is done for one that has ended.

    Args:
        arguments: options of `fit`, without those that choose the folder and the checkpoint.
        run_dir: folder of the training.
        signals: those that ask it to end.
        callbacks: further callbacks of the trainer.

    Raises:
        UserError: or an error that `neuromtm.commands.main.users_own` recognises.
        Stopped: if a signal ended it.
    """
    quieten()
    own = ("fit", *arguments, f"--run_dir={run_dir}", "--auto_resume=true")
    with suppress(Finished):
        NeuromtmCLI(own, signals, callbacks=callbacks)
    last = newest_checkpoint(run_dir)
    assert last is not None  # it is written at the end
    states = glance_at_checkpoint(last)["callbacks"]
    best = next(state for name, state in states.items() if name.startswith(BestCheckpoint.__name__))
    return BestScore(best["monitor"], float(best["best_model_score"]))


def names_a_target(arguments: Sequence[str]) -> bool:
    """Whether a command line or one of its configuration files sets `model.target`. The parser depends on it."""
    if any(argument.partition("=")[0] == "--model.target" for argument in arguments):
        return True
    for file in config_texts(arguments):
        try:
            config = read_yaml(Path(file))
            if config["model"].get("target") is not None:
                return True
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
            pass  # it has no such entry, or the parser will say what is wrong with it
    return False


def _listed(value: object) -> list:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def quieten() -> None:
    """Hide what Lightning says about its own products and its own code."""
    warnings.filterwarnings("ignore", message=".*LeafSpec", module="lightning")
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # where Slurm is, not all is a job
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # we look ourselves
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    if _is_no_tip not in logger.filters:
        logger.addFilter(_is_no_tip)


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip: For seamless cloud" not in record.getMessage()


def run(arguments: Sequence[str], signals: StopSignals | None = None) -> None:
    """Run a command of LightningCLI.

    Args:
        arguments: the command line, which begins with the command's name.
        signals: those that ask the command to end; by default none is heeded.

    Raises:
        UserError: or an error that `neuromtm.commands.main.users_own` recognises.
        Stopped: if a signal ended it.
    """
    quieten()
    try:
        NeuromtmCLI(arguments, signals)
    except Finished as finished:
        rank_zero_info(str(finished))
