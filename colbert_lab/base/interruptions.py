"""What a command is ended with from outside: a signal, the loss of a process, a limit of time."""

from __future__ import annotations

import signal


class Interrupted(KeyboardInterrupt):
    """A signal asks the command to end, as a cluster or ``kill`` sends it.

    It passes through the code as Ctrl-C does: what has begun is left so that the same command goes on with it.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class ProcessLost(Interrupted):
    """A process that works with this one has ended, so this one cannot go on.

    Args:
        rank: number of that process.
        code: its return code, as of ``subprocess.Popen``.
    """

    def __init__(self, rank: int, code: int) -> None:
        number = -code if code < 0 else code - 128
        by_signal = number in {each.value for each in signal.Signals}
        super().__init__(number if by_signal else signal.SIGTERM)
        self.status = 128 + number if by_signal else code
        hint = ", as the system does when memory is short" if number == signal.SIGKILL else ""
        named = f"was ended by {signal.Signals(self.number).name}{hint}"
        how = named if by_signal else f"ended with exit status {code}"
        self.by_signal = by_signal
        self.args = (f"the process with rank {rank} {how}",)


class TimeOver(Interrupted):
    """A setting limits how long a command works, and that time is over.

    Args:
        told: which setting, and where the work stands.
    """

    def __init__(self, told: str) -> None:
        super().__init__(signal.SIGTERM)
        self.args = (told,)
