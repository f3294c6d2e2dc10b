"""What goes wrong on the user's side: one sentence that says what, where, and how to mend it."""


class UserError(Exception):
    """A problem the user can mend. The command line prints the one line and exits with code 2."""


class ConfigError(UserError):
    """An option, or a combination of options, that cannot work."""


class ShardError(UserError):
    """A shard that is damaged, of another format, or inconsistent with itself."""


class ManifestError(UserError):
    """A data folder without a manifest, or one whose manifest does not fit its files."""


class DataError(UserError):
    """Sessions that exist but cannot be used as asked: wrong eid, differing bins, no trials."""


class CheckpointError(UserError):
    """A checkpoint of another model, of other sessions, or not one of ours."""


class TrainingError(UserError):
    """A training that cannot go on: its loss is not a finite number."""


class SourceError(UserError):
    """A recording that cannot be turned into a shard: no spikes, no trials left, no regions."""
