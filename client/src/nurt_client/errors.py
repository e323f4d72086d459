"""Errors that the client raises; nurt has the same ones, and more."""

from __future__ import annotations


class NurtError(Exception):
    """Base of every failure that nurt raises on purpose.

    The message has the form ``<doing what> <which>: <what was found> (<expected>); <next step>``.

    Attributes:
        exit_code: with which nurt's command line ends.
    """

    exit_code = 1


class ConfigurationError(NurtError):
    """Settings, a mapping or a question that cannot be used as written; the message names what to correct."""

    exit_code = 2


class ConnectionFailed(NurtError):
    """A service that does not answer, after retries."""

    exit_code = 3
