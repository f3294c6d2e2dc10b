"""A small Lorenz session and predictions of it, for the tests of true rates."""

import h5py
import numpy as np

LATENTS = ("lorenz_x", "lorenz_y", "lorenz_z")
EID = "lorenz-0-00"


def lorenz_folder(out):
    """Prepare a small Lorenz session."""
    from data_prep.__main__ import main

    sizes = ["--n-neurons", "6", "--n-conditions", "5", "--n-trials", "6", "--duration-s", "0.4"]
    assert main(["lorenz", "--out", str(out), *sizes]) == 0
    return out


def predict(run, shard, rates, neurons=slice(None), eid=EID):
    """Write predictions of the test trials as `neuromtm predict` does."""
    path = run / "predictions" / f"{eid}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["eid"] = eid
        file["rates"], file["trial"] = rates, shard.header.splits["test"]
        file.create_dataset("neurons/uuid", data=list(shard.header.neurons.uuid[neurons]), dtype=h5py.string_dtype())
    return run


def true_rates(shard):
    return shard.true_rates[shard.header.splits["test"]].astype(np.float32)
