"""A tested run's options beside its metrics in TensorBoard, so that the runs of a sweep can be sorted there."""

from collections.abc import Mapping
from pathlib import Path

import lightning
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from neuromtm.evaluation.results import METRICS_FILE, read_metrics
from neuromtm.report.options import Option, options_of

GROUPS = ("model.", "data.")
OF_TRAINER = (
    *("max_epochs", "max_steps", "precision", "accumulate_grad_batches", "gradient_clip_val", "devices", "num_nodes"),
    "limit_train_batches",
)
HOW_NOT_WHAT = ("cache", "n_workers", "pin_memory", "eval_batch_size")
"""options of the data that change no result"""


class HParams(lightning.Callback):
    """Writes the options of a run for TensorBoard's tab HParams at the end of its test, with the names of its metrics.

    The metrics themselves are the scalars `test/<key>`, which the callbacks that score have logged. The options are
    those of the training, if it ran in the same folder. Fit and test are two processes with a file of events each; a
    folder is one run in TensorBoard, and so one row of the tab.
    """

    def on_test_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        run_dir = Path(trainer.default_root_dir)
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if not trainer.is_global_zero or not loggers or not (run_dir / METRICS_FILE).exists():
            return
        metrics = {f"test/{key}": value for key, value in read_metrics(run_dir)["mean"].items()}
        parts = hparams(shown_options(options_of(run_dir)), metrics)
        for logger in loggers:
            for summary in parts:
                logger.experiment._get_file_writer().add_summary(summary)
            logger.experiment.flush()


def shown_options(options: Mapping[str, Option]) -> dict[str, Option]:
    """Those that decide what is learned: the model, the data, and a few of the Trainer."""
    left_out = {f"data.{name}" for name in HOW_NOT_WHAT}
    chosen = {"seed_everything", "ema_decay", *(f"trainer.{name}" for name in OF_TRAINER)}
    return {
        name: value
        for name, value in options.items()
        if value is not None and (name in chosen or (name.startswith(GROUPS) and name not in left_out))
    }
