"""What ends a trial before it is over."""


class TrialError(Exception):
    """The trial could not be completed. The text is one line."""
