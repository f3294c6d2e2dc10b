"""Multi-task masked pretraining of foundation models of spiking neural activity."""

__version__ = "0.1.0"
