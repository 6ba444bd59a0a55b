"""Errors that the command line tells apart without the import of what raises them."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and which checkpoint is good."""


class TrainingStopped(Exception):
    """Training was asked to stop (signal) and has saved its state."""
