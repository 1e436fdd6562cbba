"""Errors that a user can cause and fix: each message says what was given, what is allowed, and where."""


class HyperstemError(ValueError):
    """Base of every error that the command line reports as one line."""


class ConfigError(HyperstemError):
    """A setting is unknown, of the wrong type, or out of range."""


class AudioError(HyperstemError):
    """Audio cannot be read, written, or processed."""


class ExistsError(AudioError):
    """An output file exists already and may not be replaced."""


class ModelError(HyperstemError):
    """A model file is missing, damaged, not one of ours, or does not match its input."""


class DataError(HyperstemError):
    """Training or evaluation data is missing, inconsistent, or damaged."""


class ClusterError(HyperstemError):
    """A cluster cannot be reached or has no free worker, or an object store does not answer."""
