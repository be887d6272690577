"""The errors that reach the user: one sentence each, naming the file and the way out."""

from __future__ import annotations


class StudioError(Exception):
    """Something the user can understand and act on; its text is the whole message.

    Subclasses say which room it comes from. The command line prints the text as one line and
    exits with status 1, the window shows it in the message bar; neither shows a traceback.
    """


class Cancelled(StudioError):
    """The user (or a newer request) asked for the work to stop; nothing is broken."""

    def __init__(self, message: str = "Stopped on request.") -> None:
        super().__init__(message)
