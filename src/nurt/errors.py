"""Operating failures. Expected bad data is a value (`model.refusal`), never one of these."""


class NurtError(Exception):
    """Base of every failure that nurt raises on purpose.

    The message has the form ``<doing what> <which>: <what was found> (<expected>); <next step>``.
    """

    exit_code = 1


class ConfigurationError(NurtError):
    """The settings or the mapping cannot be used as written; the message names file and line."""

    exit_code = 2


class ConnectionFailed(NurtError):
    """A service that nurt needs does not answer, after retries."""

    exit_code = 3


class OffsetLost(NurtError):
    """A position that nurt must resume from is no longer on the topic."""

    exit_code = 4


class Fenced(NurtError):
    """Another run owns the state, or the state went back behind this owner; this run must stop."""

    exit_code = 5


class StateTooNew(NurtError):
    """A stored value was written by a later version of nurt."""

    exit_code = 6


class SourceHalted(NurtError):
    """A source's order may have started again without a snapshot; an operator says whether it did."""

    exit_code = 8
