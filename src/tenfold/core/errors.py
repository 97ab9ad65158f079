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


class Superseded(TenfoldError):
    """Another run of the same partition has replaced what this one rests on."""


class Unwritable(TenfoldError):
    """A disk is full, read-only or closed to this user. What was finished before is whole."""


class OutOfMemory(TenfoldError):
    """The memory ran out; the message names the numbers that decide how much is needed."""


class Stopped(TenfoldError):
    """Stopped on request with everything saved; the same command goes on from here."""

    exit_code = 75


def of_kind(kind: str) -> type[TenfoldError]:
    """The class of that name, TenfoldError where there is none: between processes an error travels as its kind and text."""
    return next((each for each in TenfoldError.__subclasses__() if each.__name__ == kind), TenfoldError)
