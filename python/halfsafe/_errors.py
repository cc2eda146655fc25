"""What halfsafe raises. The exit code is the one that the command line has for the same condition."""

from typing import ClassVar


class Error(Exception):
    """Whatever goes wrong in halfsafe. The message says what, where, expected and found."""

    exit_code: ClassVar[int] = 4


class UsageError(Error, ValueError):
    """An argument makes no sense."""

    exit_code: ClassVar[int] = 2


class InputError(Error, ValueError):
    """A model, a sample or a file is not what it has to be."""

    exit_code: ClassVar[int] = 3


class InternalError(Error, RuntimeError):
    """A bug in halfsafe."""

    exit_code: ClassVar[int] = 4


class UnavailableError(Error, RuntimeError):
    """This build or machine lacks what was asked for."""

    exit_code: ClassVar[int] = 5


class ModelWarning(UserWarning):
    """Something that a user of the model should know, which is not an error."""
