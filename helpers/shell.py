"""A module that is called as a command: what it prints can be printed, and what goes wrong is said in one line."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

WRONG = (ImportError, OSError, ValueError, TypeError, FloatingPointError)  # with a message for whoever called


class Parser(argparse.ArgumentParser):
    """A parser of arguments whose errors are one line, too."""

    def error(self, message: str):
        complain(self.prog, message)


def complain(command: str, message: str):
    """One line, and exit status 2."""
    print(f"{command}: error: {_in_one_line(message)}", file=sys.stderr)
    raise SystemExit(2)


def _in_one_line(message: object) -> str:
    return " ".join(str(message).split())


@contextlib.contextmanager
def command(name: str, goes_on: Callable[[], str]) -> Iterator[None]:
    """What is done within is a command: errors that have words end it in one line; `goes_on` says how after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console may know no Δ
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"{name}: note: {_in_one_line(message)}", file=sys.stderr)
            yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"\n{name}: stopped. {goes_on()}", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except WRONG as error:
        complain(name, str(error) or type(error).__name__)


def script(main: Callable[[str], None], folder: str) -> None:
    """A script that trains, `python -m helpers.trained.… [FOLDER]`: where it writes, and goes on if it was stopped."""
    module = sys.modules["__main__"]
    name = f"python -m {module.__spec__.name}"
    with command(name, lambda: "The same command goes on from here."):
        parser = Parser(prog=name, description=(module.__doc__ or "").splitlines()[0])
        parser.add_argument("folder", nargs="?", default=folder, help="where the files are written (here: %(default)s)")
        main(parser.parse_args().folder)


@contextlib.contextmanager
def workers(n: int) -> Iterator[Executor]:
    """n processes of one thread each, which end when this one is stopped."""
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("spawn"), initializer=_at_work)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise ChildProcessError("a process at work was ended, as for want of memory: take fewer.") from error
    except BaseException:
        for process in set(multiprocessing.active_children()) - set(others):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _at_work() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command itself
    torch.set_num_threads(1)
