"""Mistakes that the user can mend, and checks that fail."""


class InputError(ValueError):
    """Bad input: a setting, a file or a combination of them that cannot be worked with.

    The message is one line that names the config key, or the file and line, or the ids, and says what to
    do. The command line prints it without a traceback and exits with status 2.
    """


class CheckFailed(Exception):
    """What was asked to be checked does not hold.

    The message is one line that names what failed and which setting to change. The command line prints it without a
    traceback and exits with status 1.
    """


def some_ids(ids: list[str], limit: int = 5) -> str:
    """Say which ids are meant without flooding the screen.

    Args:
        ids: the ids to name.
        limit: how many of them to spell out.

    Returns:
        The count and the first ids, for example ``12 (first: a, b, c)``.
    """
    shown = ", ".join(ids[:limit])
    return f"{len(ids)} (first: {shown})" if len(ids) > limit else f"{len(ids)} ({shown})"
