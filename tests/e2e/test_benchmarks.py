"""The programs of benchmarks/ run, in small. No time is asserted."""

import importlib
import logging
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from data_prep.cli import run as prepare
from neuromtm.batch import SessionInfo
from neuromtm.errors import UserError
from neuromtm.evaluation.truth import ceiling
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel

QUIETENED = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


@pytest.fixture
def benchmark(root, monkeypatch):
    """Imports a program of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    names, levels = [], {name: logging.getLogger(name).level for name in QUIETENED}

    def load(name):
        names.append(name)
        return importlib.import_module(name)

    yield load
    for name, level in levels.items():  # a program keeps Lightning's messages out of its tables
        logging.getLogger(name).setLevel(level)
    for name in {*names, "measuring", "former"}:
        sys.modules.pop(name, None)


def test_the_former_step_has_the_product_s_weights_and_learns(benchmark):
    former_module = benchmark("former")
    regions = ["CA1", "CA1", "VISp", "VISp", "root"]
    infos = [SessionInfo(eid, tuple(f"{eid}-{i}" for i in range(5)), tuple(regions)) for eid in "ab"]
    model = StitchedModel(NDT1())
    for info in infos:
        model.add_session(info)
    means = {info.eid: torch.ones(5) for info in infos}
    former = former_module.Former(means, device=torch.device("cpu"), dtype=torch.float32)
    assert sum(p.numel() for p in former.parameters()) == sum(p.numel() for p in model.parameters())
    counts = torch.randint(0, 3, (2, 6, 5), dtype=torch.uint8)
    batch = [former_module.Trials(info.eid, counts, info.region_index().number) for info in infos]
    before = former.embed.weight.clone()
    schemes = {
        former_module.draw_scheme([b.region for b in batch], torch.Generator().manual_seed(s)) for s in range(40)
    }
    assert schemes == set(former_module.SCHEMES)
    for seed in range(12):
        former.step(batch, seed=seed)
    assert former.n_steps == 12
    assert not torch.equal(former.embed.weight, before)
    assert all(p.isfinite().all() for p in former.parameters())


def test_the_table_of_steps(root, sessions_dir):
    program = [sys.executable, str(root / "benchmarks" / "step.py"), "--data", str(sessions_dir), "--rounds", "1"]
    model = root / "conf" / "model" / "tiny.yaml"
    given = ["--models", str(model), "--batches", "8x2", "--precisions", "fp32", "--no-compile"]
    result = subprocess.run([*program, *given], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    last = [cell.strip() for cell in result.stdout.splitlines()[-1].strip("|").split("|")]
    assert last[:3] == ["8 x 2", "fp32", "tiny"]
    assert float(last[5].replace(",", "")) > 0
    assert last[10].endswith("%")


def test_dropout_is_timed_with_masks_of_both_kinds(root):
    program = [sys.executable, str(root / "benchmarks" / "dropout.py"), "--trials", "2", "--bins", "5"]
    small = ["--neurons", "7", "--width", "16", "--layers", "1", "--steps", "1"]
    result = subprocess.run([*program, *small], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    kinds = [line.partition(":")[0] for line in result.stdout.splitlines()[1:]]
    types, masks = ("torch.float32", "torch.bfloat16"), ("PyTorch", "random bytes")
    assert kinds == [f"{dtype}, masks of {mask}" for dtype in types for mask in masks]


def test_the_dropout_of_the_benchmark_is_that_of_torch(benchmark):
    step = benchmark("dropout").step_of(2, 5, 7, width=16, n_layers=1)
    drawn = []
    for context in (nullcontext, benchmark("dropout").torch_dropout):
        with context(), Drawn() as seen:
            step(torch.float32)
        drawn.append(seen.names)
    assert drawn == [{"random_"}, {"bernoulli_"}]


class Drawn(TorchDispatchMode):
    """Notes by which operations a step draws."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names |= {func.overloadpacket.__name__} & {"random_", "bernoulli_", "native_dropout"}
        return func(*args, **(kwargs or {}))


def test_results_are_written_anew_and_say_what_failed(benchmark, tmp_path, monkeypatch, capsys):
    run = benchmark("run")
    (tmp_path / "good.py").write_text("print('| a table |')")
    (tmp_path / "bad.py").write_text("raise SystemExit('no such thing')")
    (tmp_path / "slow.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)")
    monkeypatch.setattr(run, "HERE", tmp_path)
    good, bad, slow = (run.Program(name, (name,), 60.0) for name in ("good", "bad", "slow"))
    monkeypatch.setattr(run, "CPU", (good, bad, slow._replace(most_s=3.0), run.Program("absent", ("absent",), 1.0)))
    out = tmp_path / "results"
    monkeypatch.setattr(sys, "argv", ["run.py", "--out", str(out)])
    assert run.main() == 1
    (written,) = out.iterdir()
    text = written.read_text()
    assert written.name.endswith("-cpu.md")
    for part in ("- Machine: ", f"torch {torch.__version__}", "- Commit: ", "- Load ", "| a table |", "no such thing"):
        assert part in text
    assert "begun\n\nStopped: it did not end within 3 s." in text
    assert "absent" not in text
    monkeypatch.setattr(sys, "argv", ["run.py", "--out", str(out), "--only", "good"])
    assert run.main() == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_benchmark_for_one_says_so(benchmark, monkeypatch):
    run = benchmark("run")
    monkeypatch.setattr(sys, "argv", ["run.py", "--device", "cuda"])
    with pytest.raises(UserError, match="no CUDA GPU here"):
        run.main()


def test_the_loader_and_synthetic_sessions(benchmark, tmp_path, monkeypatch, capsys):
    measuring = benchmark("measuring")
    sizes = measuring.session_sizes(3, n_neurons=30)
    assert sum(sizes) == 90
    measuring.write_sessions(tmp_path, sizes, n_train=8, n_val=2, n_test=2, n_bins=10)
    loader = benchmark("loader")
    arguments = ["loader.py", "--data", str(tmp_path), "--batch", "6x3", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    loader.main()
    rows = capsys.readouterr().out.splitlines()
    assert next(row.split("|")[1].strip() for row in rows if "1/" in row) == "gather in memory"
    assert any("`cache: none`" in row for row in rows)


def test_the_plan_counts_weights_and_traffic_as_by_hand(benchmark, monkeypatch, capsys):
    plan = benchmark("plan")
    weights = plan.count_weights(NDT1(width=8, n_layers=1, n_heads=2, mlp_width=8, max_bins=8), n_neurons=5)
    assert weights.of_session > 2 * 5 * 8  # read-in and read-out
    assert weights.of(3) == weights.shared + 3 * weights.of_session
    assert plan.sessions_used(10, each_rank=10, n_ranks=3) == 10
    assert plan.sessions_used(4, each_rank=2, n_ranks=2) == pytest.approx(3)  # either rank leaves out half
    assert plan.bytes_a_step(weights, 2) == 4 * weights.of(2)
    assert plan.exchange_s(1e9, n_ranks=2, gb_per_s=1) == pytest.approx(1)
    assert plan.exchange_s(1e9, n_ranks=1, gb_per_s=1) == 0
    speed = {10: 100.0, 1000: 400.0}
    assert [plan.trials_per_s(speed, batch) for batch in (5, 10, 100, 1000, 5000)] == pytest.approx(
        [50, 100, 200, 400, 400]
    )
    monkeypatch.setattr(sys, "argv", ["plan.py", "--sessions", "34", "--gpus", "1", "8"])
    plan.main()
    printed = capsys.readouterr().out
    assert "NDT1: 10,847,744 shared weights" in printed
    assert "| 34 | 8 | 272 | 6,250 | 34 |" in printed


def test_what_a_simulated_task_shows_predicts_less_than_the_true_rates(benchmark, tmp_path, monkeypatch, capsys):
    simulate = ["simulate", "--out", str(tmp_path), "--n-sessions", "2", "--n-heldout", "1", "--n-neurons", "24"]
    assert prepare([*simulate, "--n-trials", "300", "--bin-size-s", "0.1"]) == 0
    module = benchmark("reachable")
    (truth,) = ceiling(tmp_path)
    found = module.reachable(tmp_path / f"{truth.session.eid}.h5", 1)
    for task in ("forward_prediction", "inter_region"):
        shown, true = found[task]
        assert true == pytest.approx(getattr(truth.session, f"{task}_bps"), abs=1e-6)
        assert 0.2 * true < shown < 0.95 * true
    monkeypatch.setattr(sys, "argv", ["reachable.py", "--data", str(tmp_path)])
    module.main()
    assert capsys.readouterr().out.count("%") == 2


def test_what_grows_in_a_long_run_has_a_slope_whose_interval_leaves_0_out(benchmark):
    soak, steps, noise = (
        benchmark("soak"),
        range(0, 2000, 20),
        torch.randn(100, generator=torch.Generator().manual_seed(0)),
    )
    flat = soak.slope(steps, (500 + noise).tolist())
    assert flat.low < 0 < flat.high
    growing = soak.slope(
        steps, [value + 0.003 * step for value, step in zip((500 + noise).tolist(), steps, strict=True)]
    )
    assert 0 < growing.low < 3 < growing.high < 5


def test_the_parts_of_many_sessions_are_timed_each_in_a_process(benchmark, tmp_path):
    many = benchmark("many_sessions")
    many.write(tmp_path, 5)
    found = many.parts(tmp_path)
    assert len(found) == 7
    assert all(cost.seconds > 0 for cost in found.values())
