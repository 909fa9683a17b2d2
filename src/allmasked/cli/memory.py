"""Too little memory, told in one line: where it is limited, libraries may end a process that can't say why itself."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

WAY_OUT = "take fewer --workers or --threads, a smaller --batch-size, or allow more"
_SPEAK_OF_IT = (
    "memory",
    "alloc",
    "failed to map segment",
    "can't start new thread",
    "resource temporarily unavailable",
)
_ASKED_TO_END = {"SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGPIPE", "SIGUSR1", "SIGUSR2"}


def limits(root: Path = Path("/sys/fs/cgroup"), own_group: Path = Path("/proc/self/cgroup")) -> dict[str, int]:
    """The limits of memory that this process was given: who sets them -> bytes. Empty where none is, as on Windows."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        own = root / own_group.read_text().rpartition("0::/")[2].strip()
        files = [group / "memory.max" for group in (own, *own.parents) if group.is_relative_to(root)]
        for file in [*files, root / "memory" / "memory.limit_in_bytes"]:
            with contextlib.suppress(OSError, ValueError):  # no such file, or 'max'
                size = int(file.read_text())
                if size < 2**60:  # the older kind of groups has a number for none
                    found["the container's limit"] = min(size, found.get("the container's limit", size))
    try:
        import resource
    except ImportError:
        return found
    size = resource.getrlimit(resource.RLIMIT_AS)[0]
    return found if size == resource.RLIM_INFINITY else {**found, "ulimit -v": size}


def line(what: str = "") -> str:
    """The line that is shown: what happened, the limits, what to do."""
    under = ", ".join(
        f"{name}: {size / 1e9:.1f} GB" if size >= 1e9 else f"{name}: {size / 1e6:.0f} MB"
        for name, size in limits().items()
    )
    return f"error: not enough memory{what}{f' ({under})' if under else ''}; {WAY_OUT}"


def lacking(error: BaseException) -> bool:
    """Whether an error means that there was too little memory: libraries have many kinds for that."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (bool(limits()) and any(word in text for word in _SPEAK_OF_IT))


def watched(work: Callable[[], None]) -> None:
    """Do ``work``, which ends the process; where memory is limited, in a child process, whose violent end is told.

    The child gets the signals that are sent to this process, and ends with it.
    """
    if sys.platform != "linux" or not limits():
        work()
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread reserves address space, and all of them at import
    names = {name for name in _ASKED_TO_END if name != "SIGPIPE"}
    waited = {signal.SIGCHLD, *(getattr(signal, name) for name in names)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    ours, its = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _end_with(parent)
            work()
        finally:
            os.write(its, b"x")  # not where a library calls exit()
        return
    while True:
        told = signal.sigwaitinfo(waited)
        if told.si_signo != signal.SIGCHLD:
            if told.si_code <= 0:  # what a terminal sends goes to both
                os.kill(child, told.si_signo)
        elif (ended := os.waitpid(child, os.WNOHANG))[0]:
            break
    code = os.waitstatus_to_exitcode(ended[1])
    os.set_blocking(ours, False)
    with contextlib.suppress(BlockingIOError):
        if code >= 0 and os.read(ours, 1):
            sys.exit(code)
    name = signal.Signals(-code).name if code < 0 else "a library"
    if name in _ASKED_TO_END:
        signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.kill(parent, -code)
    print(line(f", as it seems: it was ended by {name}"), file=sys.stderr)
    sys.exit(2)


def _end_with(parent: int) -> None:
    """Have the system kill this process when its parent is killed."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
