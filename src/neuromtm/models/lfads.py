"""LFADS: a sequential variational auto-encoder. Pandarinath et al. 2018; Keshtkaran et al. 2022."""

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from einops import einsum, rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from neuromtm.batch import Scheme
from neuromtm.errors import ConfigError
from neuromtm.masking.schemes import attends_causally
from neuromtm.models.blocks import LARGEST_SIZE, Prompts, size_problems
from neuromtm.models.dropout import Dropout, draw_kept
from neuromtm.models.factor_stitching import FactorStitcher, shared_components
from neuromtm.models.interface import Backbone, Output, SessionInput
from neuromtm.models.latents import AutoregressivePrior, Posterior, PosteriorHead, gaussian_kl
from neuromtm.models.recurrent import Bidirectional
from neuromtm.models.stitching import drive_of_all, read_out_of_all
from neuromtm.randomness import generator_for

INITIAL_VARIANCE = 0.1
"""Variance of the posteriors and of the inputs' prior, before training."""
INPUT_MEMORY_BINS = 10.0
"""Time constant of the inputs' prior, before training."""
MOST_BINS = 1024
"""Largest number of bins per trial with pcr."""
BINS_PER_PASS = 2**16
"""Leaving neurons out in turn works on so many bins at once, in all rows together, to fit in a CPU's memory."""


class Unrolled(NamedTuple):
    """The generator's output for some trials."""

    factors: Tensor
    """(sample, trial, bin, factor)"""
    kl: dict[str, Tensor]
    """posterior -> (trial,) its KL from the prior in nats, without weight; empty in evaluation. "initial" is absent
    under a causal scheme, and "inputs" without inputs."""


class LFADS(Backbone[FactorStitcher]):
    """An initial condition and inputs are inferred from the counts; a recurrent generator turns them into rates.

    Two bidirectional GRUs read the trial. The first gives the posterior of the generator's initial condition. The
    controller reads the second; it is a GRU that also sees the factors of the bin before, and gives the posterior of
    the bin's input. The generator is a GRU. Factors are linear in its state, and log-rates are linear in the factors.
    The initial condition's prior is a standard normal; the linear map after it can turn it into any other normal. The
    inputs' prior is autoregressive, with learned time constants and variances.

    **Objective.** The training loss is a mean over target entries, which are all hidden from the model. The targets are
    drawn from the trial's entries, so this mean stands for the mean over all entries. The negative evidence lower
    bound of a trial, divided by its bins x neurons, is then this mean plus KL / (bins x neurons). `own_loss` is the
    second term, if the weights are 1. Several sessions pool their KL and their entries.

    **Causal scheme.** A bin may not depend on later bins. The initial condition is therefore the prior's mean, and the
    controller reads only the forward encoder. The counts enter through the inferred inputs alone. Without inputs
    (`n_inputs` 0) no counts enter, and all trials of a session get the same predicted time course.

    **Coordinated dropout** (Keshtkaran & Pandarinath 2019) keeps the auto-encoder from copying its input: entries that
    are shown are not scored. Masking already does this here, because a target is always hidden. The option hides a
    share of the shown entries in addition and scales up the rest, so that the model relies on no single spike. The
    targets stay those of the masking scheme.

    **Stitchers by principal-component regression** (`factor_stitching`, Pandarinath et al. 2018). Neurons are read into
    `width` numbers and out from `n_factors` factors; the first `min(width, n_factors)` of both are the components that
    the sessions' trial averages share. The factors of an untrained generator are then 0, so that the model still
    predicts mean rates. The components are kept. A session that is added to a trained model is regressed on them; its
    trials must have the same number of bins.

    **Evaluation** averages the rates over draws of the posterior. The draws are the same for each trial and each
    call, so that no result depends on what else is in the batch. The states are the factors of the posterior's mean:
    behaviour is decoded from what the model infers, not from draws.

    Args:
        width: numbers per bin that a session's neurons are read into.
        initial_encoder_size: state size, in each direction, of the GRU that infers the initial condition.
        input_encoder_size: state size, in each direction, of the GRU that infers the inputs.
        controller_size: state size of the controller.
        generator_size: state size of the generator.
        initial_size: components of the initial condition.
        n_inputs: inferred inputs per bin; 0 for an autonomous generator without controller.
        n_factors: numbers per bin that rates are read out from.
        dropout: dropout probability on the inputs and outputs of the encoders, and on the states of controller and
            generator that are read out.
        coordinated_dropout: share of the shown entries that is hidden in addition while training.
        kl_initial: weight of the initial condition's KL; 1 for both gives the evidence lower bound.
        kl_inputs: weight of the inputs' KL. With 1 the inputs, and with them nearly everything that the counts say of
            a trial, vanish from a training with multi-task masking.
        kl_warmup_fraction: share of the training over which both weights rise from 0. The checkpoint keeps how far
            they are, so that fine-tuning continues where the pretraining ended.
        kl_warmup_steps: a number of training batches instead of that share. Checkpoints of older versions have it.
        n_samples: posterior draws that are averaged in evaluation; 0 uses the posterior's mean instead.
        pcr: whether stitchers start from a principal-component regression.
        prompt: whether a learned vector of the masking scheme is added to what is read in.
        mask_input: whether the model also reads which entries are hidden.
        standardise: whether counts are standardised by the session's training trials before they are read in; a hidden
            entry then looks like the neuron's mean and not like silence.
        principal_axes: whether a new session's read-in starts along its principal axes, and not at random. With `pcr`
            this is so beyond the shared components.

    Raises:
        ConfigError: if an option is out of its range.
    """

    components: Tensor
    n_component_bins: Tensor
    n_steps: Tensor
    # those that lack the share of the warm-up have a number of steps, with which it does not apply
    former_options = MappingProxyType({"standardise": False, "principal_axes": False, "kl_warmup_fraction": 0.25})
    n_warmup_steps: Tensor

    def __init__(
        self,
        *,
        width: int = 64,
        initial_encoder_size: int = 100,
        input_encoder_size: int = 80,
        controller_size: int = 80,
        generator_size: int = 100,
        initial_size: int = 100,
        n_inputs: int = 4,
        n_factors: int = 40,
        dropout: float = 0.05,
        coordinated_dropout: float = 0.0,
        kl_initial: float = 1.0,
        kl_inputs: float = 0.01,
        kl_warmup_fraction: float = 0.25,
        kl_warmup_steps: int | None = None,
        n_samples: int = 8,
        pcr: bool = False,
        prompt: bool = True,
        mask_input: bool = False,
        standardise: bool = True,
        principal_axes: bool = True,
    ):
        super().__init__()
        sizes = {
            "width": width,
            "initial_encoder_size": initial_encoder_size,
            "input_encoder_size": input_encoder_size,
            "controller_size": controller_size,
            "generator_size": generator_size,
            "initial_size": initial_size,
            "n_factors": n_factors,
        }
        counts = {"n_inputs": n_inputs, "n_samples": n_samples}
        weights = {"kl_initial": kl_initial, "kl_inputs": kl_inputs, "kl_warmup_steps": kl_warmup_steps or 0}
        shares = {"dropout": dropout, "coordinated_dropout": coordinated_dropout}
        problems = size_problems(sizes)
        problems += [
            f"{name} is {n}, not from 0 to {LARGEST_SIZE}." for name, n in counts.items() if not 0 <= n <= LARGEST_SIZE
        ]
        problems += [f"{name} is {w}, not a number from 0." for name, w in weights.items() if not 0 <= w < math.inf]
        problems += [f"{name} is {s}, not from 0 to below 1." for name, s in shares.items() if not 0 <= s < 1]
        if not 0 <= kl_warmup_fraction <= 1:
            problems.append(f"kl_warmup_fraction is {kl_warmup_fraction}, not from 0 to 1.")
        if problems:
            raise ConfigError("model.backbone: " + " ".join(problems))
        self.width, self.n_factors, self.n_inputs, self.initial_size = width, n_factors, n_inputs, initial_size
        self.initial_encoder_size, self.input_encoder_size = initial_encoder_size, input_encoder_size
        self.controller_size, self.generator_size = controller_size, generator_size
        self.dropout, self.coordinated_dropout = dropout, coordinated_dropout
        self.kl_initial, self.kl_inputs = kl_initial, kl_inputs
        self.kl_warmup_fraction, self.kl_warmup_steps = kl_warmup_fraction, kl_warmup_steps
        self.n_samples, self.pcr, self.prompt, self.mask_input = n_samples, pcr, prompt, mask_input
        self.standardise, self.principal_axes = standardise, principal_axes
        self.drop = Dropout(dropout)
        self.initial_encoder = Bidirectional(width, initial_encoder_size)
        self.to_initial = PosteriorHead(2 * initial_encoder_size, initial_size, variance=INITIAL_VARIANCE)
        if n_inputs:
            self.input_encoder = Bidirectional(width, input_encoder_size)
            self.controller = nn.GRUCell(2 * input_encoder_size + n_factors, controller_size)
            self.controller_start = nn.Parameter(torch.zeros(controller_size))
            self.to_input = PosteriorHead(controller_size, n_inputs, variance=INITIAL_VARIANCE)
            self.input_prior = AutoregressivePrior(
                n_inputs, time_constant_bins=INPUT_MEMORY_BINS, variance=INITIAL_VARIANCE
            )
        self.to_generator = nn.Linear(initial_size, generator_size)
        # without inputs the generator is driven by a constant, its bias
        self.generator = nn.GRUCell(n_inputs, generator_size)
        self.to_factors = nn.Linear(generator_size, n_factors, bias=False)
        if pcr:
            # the size does not depend on the data, so that a checkpoint's weights fit
            self.register_buffer("components", torch.zeros(MOST_BINS, min(width, n_factors)))
            self.register_buffer("n_component_bins", torch.zeros((), dtype=torch.int64))
        if prompt:
            self.prompts = Prompts(width)
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))
        if kl_warmup_steps is None:
            self.register_buffer("n_warmup_steps", torch.zeros((), dtype=torch.int64))  # 0 until a training begins

    def begin_training(self, n_batches: int) -> None:
        if self.kl_warmup_steps is None and self.n_warmup_steps == 0:
            self.n_warmup_steps.fill_(max(1, round(self.kl_warmup_fraction * n_batches)))

    @property
    def reads_mask(self) -> bool:
        return self.mask_input or self.standardise

    @property
    def state_size(self) -> int:
        return self.n_factors

    def make_stitcher(self, mean_counts: Tensor, regions: Sequence[str]) -> FactorStitcher:
        return FactorStitcher(
            width=self.width,
            n_factors=self.n_factors,
            mean_counts=mean_counts,
            mask_input=self.mask_input,
            standardise=self.standardise,
        )

    @property
    def wants_averages(self) -> bool:
        return self.pcr

    def start_from_averages(self, stitchers: Sequence[FactorStitcher], averages: Sequence[Tensor]) -> None:
        n_bins, known = len(averages[0]), int(self.n_component_bins)
        if n_bins > MOST_BINS or known not in (0, n_bins):
            most = f"at most {MOST_BINS} bins" if known == 0 else f"{known} bins, as in the model's training"
            raise ConfigError(
                f"model.backbone: with pcr a trial must have {most}, but the data have {n_bins}. Prepare such trials, "
                "or train a model without pcr."
            )
        if known == 0:
            found = shared_components(averages, self.components.shape[1])
            self.components[:n_bins, : found.shape[1]] = found
            self.n_component_bins.fill_(n_bins)
            nn.init.zeros_(self.to_factors.weight)
        for stitcher, average in zip(stitchers, averages, strict=True):
            stitcher.start_from(average, self.components[:n_bins])

    def forward(self, inputs: Sequence[SessionInput[FactorStitcher]], scheme: Scheme) -> Output:
        n_trials = [len(session.visible) for session in inputs]
        # no autocast: a recurrence adds up the rounding of all bins, and its steps are too small to become faster
        with _full_precision(inputs[0].visible):
            drive = drive_of_all([self._shown(session) for session in inputs])
            factors, kl = self.unroll(drive, scheme, mean_first=not self.training)
            drawn = factors[1:] if len(factors) > 1 else factors
            by_trial = rearrange(drawn, "sample trial bin factor -> trial (sample bin) factor")
            of_sample = "trial (sample bin) neuron -> sample trial bin neuron"
            log_rates = [
                _log_of_mean(rearrange(own, of_sample, sample=len(drawn))) for own in read_out_of_all(inputs, by_trial)
            ]
        states = list(factors[0].split(n_trials))
        if not self.training:
            return Output(log_rates, states)
        n_entries, weights = sum(session.visible.numel() for session in inputs), self._kl_weights()
        terms = {f"kl/{name}": of_trial.sum() / n_entries for name, of_trial in kl.items()}
        own_loss = sum((weights[name] * term for name, term in terms.items()), start=drive.new_zeros(()))
        self.n_steps += 1
        return Output(log_rates, states, own_loss, terms)

    def _shown(self, session: SessionInput[FactorStitcher]) -> SessionInput[FactorStitcher]:
        """What coordinated dropout leaves to see."""
        if not self.training or self.coordinated_dropout == 0:
            return session
        # from the global stream, like dropout; the training step seeds it
        kept = draw_kept(session.visible, self.coordinated_dropout)
        hidden, visible = session.hidden | (kept.mask == 0), session.visible
        # what is kept is scaled up as the read-in sees it: standardised counts from their mean on
        standardise = session.stitcher.standardise
        rest = 0.0 if standardise is None else standardise.center
        visible = (rest + (visible - rest) * (kept.mask / kept.share)).masked_fill(hidden, 0)
        return session._replace(visible=visible, hidden=hidden)

    def _kl_weights(self) -> dict[str, Tensor]:
        """The weights that apply at this training step, by the terms' names."""
        own = self.kl_warmup_steps
        n_warmup = self.n_warmup_steps.clamp(min=1) if own is None else max(1, own)
        warmth = ((self.n_steps + 1).to(torch.float32) / n_warmup).clamp(max=1.0)
        return {"kl/initial": warmth * self.kl_initial, "kl/inputs": warmth * self.kl_inputs}

    def unroll(self, drive: Tensor, scheme: Scheme, *, mean_first: bool = False) -> Unrolled:
        """Compute the factors.

        Args:
            drive: (trial, bin, width) from the stitchers' `drive`.
            scheme: selects the prompt and whether only the past is read.
            mean_first: whether the first sample is the posterior's mean, before the draws.
        """
        n_trials, n_bins, _ = drive.shape
        causal = attends_causally(scheme)
        if self.prompt:
            drive = drive + self.prompts[scheme]
        drive = self.drop(drive)
        start_noise, input_noise = self._noise(drive, mean_first=mean_first)
        n_rows = len(start_noise) * n_trials
        kl: dict[str, Tensor] = {}
        if causal:
            start = drive.new_zeros(n_rows, self.initial_size)
        else:
            posterior = self.to_initial(self.drop(self.initial_encoder.ends(drive)))
            start = rearrange(posterior.draw(start_noise), "sample trial latent -> (sample trial) latent")
            kl["initial"] = gaussian_kl(posterior, 0.0, 1.0)
        state = self.to_generator(start)
        if self.n_inputs:
            factor = self.to_factors(state)
            encoded = self.drop(self.input_encoder(drive, causal=causal))
            encoded = repeat(encoded, "trial bin size -> bin (sample trial) size", sample=len(start_noise))
            control = self.controller_start.expand(n_rows, -1)
        means, variances, drawn, states = [], [], [], []
        drive_of_bin = drive.new_zeros(n_rows, 0)
        for t in range(n_bins):
            if self.n_inputs:
                control = self.controller(torch.cat((encoded[t], factor), dim=-1), control)
                given = self.to_input(self.drop(control))
                drive_of_bin = given.draw(input_noise[t])
                means.append(given.mean)
                variances.append(given.variance)
                drawn.append(drive_of_bin)
            state = self.generator(drive_of_bin, state)
            states.append(self.drop(state))
            if self.n_inputs:
                factor = self.to_factors(states[-1])
        factors = self.to_factors(torch.stack(states, dim=1))
        factors = rearrange(factors, "(sample trial) bin factor -> sample trial bin factor", trial=n_trials)
        if not self.training:
            return Unrolled(factors, {})
        if self.n_inputs:
            posterior = Posterior(torch.stack(means, dim=1), torch.stack(variances, dim=1))
            kl["inputs"] = self.input_prior.kl(posterior, torch.stack(drawn, dim=1))
        return Unrolled(factors, kl)

    def _noise(self, drive: Tensor, *, mean_first: bool) -> tuple[Tensor, Tensor]:
        """Standard normal noise of the initial condition (sample, trial, latent) and of the inputs (bin, row, latent).

        Rows are in the order of "(sample trial)". The posterior's mean is the sample without noise.
        """
        n_trials, n_bins, _ = drive.shape
        if self.training:  # from the global stream, like dropout
            return drive.new_empty(1, n_trials, self.initial_size).normal_(), drive.new_empty(
                n_bins, n_trials, self.n_inputs
            ).normal_()
        n_means = 1 if mean_first or self.n_samples == 0 else 0
        generator = generator_for("posterior draws")
        start = torch.randn(self.n_samples, 1, self.initial_size, generator=generator).to(drive)
        inputs = torch.randn(n_bins, self.n_samples, self.n_inputs, generator=generator).to(drive)
        start, inputs = functional.pad(start, (0, 0, 0, 0, n_means, 0)), functional.pad(inputs, (0, 0, n_means, 0))
        return start, repeat(inputs, "bin sample latent -> bin (sample trial) latent", trial=n_trials)

    def left_out(
        self, session: SessionInput[FactorStitcher], scheme: Scheme, trials: Tensor, neurons: Tensor
    ) -> Tensor:
        # The read-in is linear, so a neuron is left out by subtracting its share. Only its own output is computed.
        # Many rows are unrolled as one batch.
        stitcher, visible, hidden = session.stitcher, session.visible, session.hidden
        n_at_once = max(1, BINS_PER_PASS // (visible.shape[1] * max(1, self.n_samples)))
        predicted = []
        with _full_precision(visible):
            drive = stitcher.drive(visible, hidden)
            for trial, neuron in zip(trials.split(n_at_once), neurons.split(n_at_once), strict=True):
                without = drive[trial] - stitcher.share(visible[trial, :, neuron], hidden[trial, :, neuron], neuron)
                factors, _ = self.unroll(without, scheme)
                pattern = "sample row bin factor, row factor -> sample row bin"
                log_rates = einsum(factors, stitcher.read_out.weight[neuron], pattern)
                predicted.append(_log_of_mean(log_rates + stitcher.read_out.bias[neuron, None]))
        return torch.cat(predicted)


def _full_precision(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)


def _log_of_mean(log_rates: Tensor) -> Tensor:
    """The logarithm of the mean rate, from (sample, ...) log-rates."""
    return log_rates.logsumexp(dim=0) - math.log(len(log_rates)) if len(log_rates) > 1 else log_rates[0]
