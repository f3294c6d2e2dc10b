"""`python -m data_prep simulate`: sessions with a known truth."""

import argparse
from functools import partial

from data_prep.commands.shared import follow, out_options, prepare_plan
from data_prep.folder import Job, Plan
from data_prep.options import PrepareOptions, binning_options
from data_prep.sources.simulation.recording import SimulationOptions, simulate_session
from data_prep.sources.simulation.size import require_room
from neuromtm.errors import ConfigError

DESCRIPTION = (
    "Simulate sessions of several animals with a known truth. All animals have the same brain; their neurons differ."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    default = SimulationOptions()
    out_options(parser)
    parser.add_argument(
        "--format",
        choices=("shards", "alf"),
        default="shards",
        help="what to write: shards, or files as the International Brain Laboratory stores them (without true rates)",
    )
    parser.add_argument(
        "--n-sessions", type=int, default=default.n_sessions, help="number of sessions, each of a different animal"
    )
    parser.add_argument(
        "--n-heldout", type=int, default=default.n_heldout, help="number of held-out sessions; they are the last ones"
    )
    parser.add_argument(
        "--n-neurons", type=int, default=default.n_neurons, help="number of neurons in a session, on average"
    )
    parser.add_argument("--n-trials", type=int, default=default.n_trials, help="number of good trials in a session")
    parser.add_argument("--n-regions", type=int, default=default.n_regions, help="number of brain regions, 3 to 12")
    binning_options(parser, window_s=PrepareOptions.window_s)


def run(args: argparse.Namespace) -> int:
    """Prepare the sessions.

    Returns:
        The exit code.
    """
    simulation = SimulationOptions(
        n_sessions=args.n_sessions,
        n_heldout=args.n_heldout,
        n_neurons=args.n_neurons,
        n_trials=args.n_trials,
        n_regions=args.n_regions,
        seed=args.seed,
    )
    options = PrepareOptions(window_s=tuple(args.window_s), bin_size_s=args.bin_size_s, seed=args.seed)
    require_room(
        options,
        n_sessions=simulation.n_sessions,
        n_trials=simulation.n_trials,
        n_neurons=simulation.n_neurons,
        n_regions=simulation.n_regions,
    )
    jobs = [
        Job(
            simulation.eid(number),
            simulation.role(number),
            partial(simulate_session, number, simulation=simulation, options=options),
        )
        for number in range(simulation.n_sessions)
    ]
    if args.format == "shards":
        return prepare_plan(Plan(jobs, options, simulation.as_json()), args)
    if args.jobs != 1:
        raise ConfigError("--jobs is for shards. The files of --format alf are written one session after the other.")
    if args.overwrite:
        raise ConfigError("--overwrite replaces shards only. Delete the old files, or choose another --out.")
    from data_prep.sources.ibl.alf_tree import write_tree

    outcomes = write_tree(jobs, out=args.out, options=options.as_json() | simulation.as_json())
    code = follow(outcomes, len(jobs), args.out)
    print(f"To make shards of these files: python -m data_prep ibl --mode local --cache-dir {args.out} --out DIR")
    return code
