"""When a command starts, for callbacks that write down what it is."""

import lightning


class AtStart(lightning.Callback):
    """Calls `started` when a training, validation, test or prediction starts.

    Not in `setup`, which may refuse data or a checkpoint that do not fit: the command has then not started.
    """

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.started(trainer, "fit")

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn == "validate":  # not while training
            self.started(trainer, "validate")

    def on_test_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.started(trainer, "test")

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.started(trainer, "predict")

    def started(self, trainer: lightning.Trainer, command: str) -> None:
        """Write down what has started, on every rank."""
        raise NotImplementedError
