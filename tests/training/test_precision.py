"""`--trainer.precision auto`: what is chosen on which machine, what is said, and what the run's configuration keeps."""

import pytest
import torch
import yaml
from lightning.pytorch.accelerators import CPUAccelerator

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.training.precision import AutoTrainer, precision_for
from tests.running import neuromtm, pretrain

NATIVE = [
    ({"_is_avx512_bf16_supported": True, "_is_amx_tile_supported": False}, "bf16-mixed", "AVX512-BF16"),
    ({"_is_avx512_bf16_supported": True, "_is_amx_tile_supported": True}, "bf16-mixed", "AMX"),
    ({"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": False}, "32-true", "does not multiply"),
    ({}, "32-true", "does not multiply"),  # another version of torch has no such questions
]


def pretend(monkeypatch, answers, *, gpu=None):
    """Be a machine whose processor, or whose GPU, answers so."""
    for question in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, question, raising=False)
    for question, answer in answers.items():
        monkeypatch.setattr(torch.cpu, question, lambda answer=answer: answer, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(gpu is not None))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu)


@pytest.mark.parametrize(("answers", "precision", "reason"), NATIVE)
@pytest.mark.parametrize("accelerator", ["cpu", "auto", CPUAccelerator()])
def test_a_cpu_takes_bf16_if_it_multiplies_it_itself(answers, precision, reason, accelerator, monkeypatch):
    pretend(monkeypatch, answers)
    chosen = precision_for(accelerator)
    assert chosen.name == precision
    assert reason in chosen.reason


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "auto"])
def test_a_gpu_takes_bf16_if_it_multiplies_it_itself(supported, precision, accelerator, monkeypatch):
    answers, other, _ = NATIVE[2 if supported else 0]  # the processor would choose the other
    assert other != precision
    pretend(monkeypatch, answers, gpu=supported)
    assert precision_for(accelerator).name == precision
    assert precision_for("cpu").name == other


def test_other_accelerators_stay_in_single_precision(monkeypatch):
    pretend(monkeypatch, NATIVE[0][0])
    assert precision_for("mps").name == "32-true"


@pytest.mark.parametrize("given", ["64-true", "bf16-mixed", 32, None])
def test_a_precision_that_is_given_is_lightning_s(given, monkeypatch):
    pretend(monkeypatch, NATIVE[2][0])
    expected = {32: "32-true", None: "32-true"}.get(given, given)
    assert AutoTrainer(accelerator="cpu", precision=given, logger=False).precision == expected


@pytest.mark.parametrize(("answers", "precision"), [(NATIVE[0][0], "bf16-mixed"), (NATIVE[2][0], "32-true")])
def test_a_run_says_what_it_chose_and_its_configuration_chooses_anew(
    root, sessions_dir, tmp_path, monkeypatch, caplog, answers, precision
):
    pretend(monkeypatch, answers)
    used = []
    # noted when the data are set up: autocast is on or off in the training that follows
    monkeypatch.setattr(SessionDataModule, "prepare_data", lambda self: used.append(self.trainer.precision))
    options = ("--config", root / "conf" / "trainer" / "cpu.yaml", "--trainer.max_steps", "1")
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        neuromtm(*pretrain(root, sessions_dir, *options, "--run_dir", tmp_path / "run"))
    assert used == [precision]
    (said,) = [line for line in caplog.messages if "precision auto" in line]
    assert said.startswith(f"trainer.precision auto: {precision}, because this processor ")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["trainer"]["precision"] == "auto"
