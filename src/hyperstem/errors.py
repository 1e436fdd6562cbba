"""Errors a user can cause and mend: each message says what was given, what is allowed, and where."""


class HyperstemError(ValueError):
    """Base of every error that the command line reports as one line."""


class ConfigError(HyperstemError):
    """A setting is unknown, of the wrong type, or out of range."""


class AudioError(HyperstemError):
    """Audio cannot be read, written, or processed."""


class ExistsError(AudioError):
    """A file that is to be written exists already and may not be replaced."""


class ModelError(HyperstemError):
    """A model file is missing, foreign, damaged, or does not fit its input."""


class DataError(HyperstemError):
    """Training or evaluation data is missing, inconsistent, or damaged."""


class ClusterError(HyperstemError):
    """A cluster cannot be reached or has no place to work, or an object store does not answer."""
