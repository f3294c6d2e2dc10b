"""Errors that the user can mend. Each message says what is wrong, where, and how to mend it."""


class UserError(Exception):
    """A problem that the user can mend. The command line prints the message in one line and exits with code 2."""


class ConfigError(UserError):
    """An option, or a combination of options, that cannot work."""


class ShardError(UserError):
    """A shard that is damaged, has another format, or has parts that do not fit together."""


class ManifestError(UserError):
    """A data folder without a manifest, or one whose manifest does not fit its files."""


class DataError(UserError):
    """Sessions that cannot be used as asked: an unknown eid, different bins, no trials."""


class CheckpointError(UserError):
    """A checkpoint of another model or of other sessions, or a file that is no checkpoint of neuromtm."""


class TrainingError(UserError):
    """A training that cannot continue because its loss is not a finite number."""


class SourceError(UserError):
    """A recording that cannot be turned into a shard: no spikes, no trials left, no regions."""
