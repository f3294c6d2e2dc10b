"""`python -m data_prep lorenz`: neurons driven by the Lorenz system."""

import argparse

from data_prep.commands.shared import out_options, prepare_jobs
from data_prep.folder import Job
from data_prep.options import PrepareOptions
from data_prep.sources.lorenz import LorenzOptions, lorenz_session

DESCRIPTION = (
    "Simulate neurons driven by the Lorenz system. This is a classic test for models of dynamics: "
    "`neuromtm rates` compares the predicted rates with the true rates."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    default, add = LorenzOptions(), parser.add_argument
    out_options(parser)
    add(
        "--n-sessions",
        type=int,
        default=default.n_sessions,
        help="number of sessions; all have the same starting points, but different neurons",
    )
    add("--n-neurons", type=int, default=default.n_neurons, help="number of neurons in a session")
    add("--n-conditions", type=int, default=default.n_conditions, help="number of starting points on the attractor")
    add("--n-trials", type=int, default=default.n_trials, help="number of trials from each starting point")
    add(
        "--base-rate-hz",
        type=float,
        default=default.base_rate_hz,
        help="firing rate of every neuron when all variables are at their mean, in Hz",
    )
    add("--duration-s", type=float, default=1.0, help="length of a trial, in seconds")
    add("--bin-size-s", type=float, default=0.01, help="width of a bin, in seconds")


def run(args: argparse.Namespace) -> int:
    """Prepare the sessions.

    Returns:
        The exit code.
    """
    simulation = LorenzOptions(
        n_sessions=args.n_sessions,
        n_neurons=args.n_neurons,
        n_conditions=args.n_conditions,
        n_trials=args.n_trials,
        base_rate_hz=args.base_rate_hz,
        seed=args.seed,
    )
    options = PrepareOptions(window_s=(0.0, args.duration_s), bin_size_s=args.bin_size_s, seed=args.seed)
    jobs = [
        Job(
            simulation.eid(number),
            "pretrain",
            lambda number=number: lorenz_session(number, simulation=simulation, options=options),
        )
        for number in range(simulation.n_sessions)
    ]
    return prepare_jobs(jobs, args, options, simulation.as_json())
