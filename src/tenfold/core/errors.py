"""Errors whose message is meant for the user: what failed, why, and what to do about it."""


class TenfoldError(Exception):
    """Base of all errors that end a command without a traceback."""

    exit_code = 1


class UsageError(TenfoldError):
    """The command, a name or a number in `params.yaml` is wrong."""

    exit_code = 2


class BadData(TenfoldError):
    """The user's data cannot be used as it is; trying again does not help."""


class Corrupt(TenfoldError):
    """A stored file is not what was written (its sha256 differs)."""


class Stopped(TenfoldError):
    """Stopped on request with everything saved; the same command goes on from here."""

    exit_code = 75
