"""Files that are kept: plain values, written whole or not at all, and one reader that says in words what is wrong.

A file holds what `torch.save` makes of numbers, text, tensors, and lists, tuples and dicts of these; reading it runs no
code that it may bring along. Tables that people read, too, are JSON.
"""

from __future__ import annotations

import glob
import json
import os
import time
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (type(None), bool, int, float, complex, str, torch.dtype, torch.device)
POINTER = b"version https://git-lfs"  # what Git LFS leaves where it was not asked for the file itself


def plain(name: str, value: Any) -> Any:
    """A copy in plain types: numpy's numbers become Python's, its arrays tensors. What is left is refused by its place.

    >>> plain("run", {"rates": [np.float64(0.5)]})
    {'rates': [0.5]}
    >>> plain("watched", [1, {"model": nn.Linear(1, 1)}])
    Traceback (most recent call last):
    TypeError: watched[1]['model']: a Linear cannot be kept, only numbers, text, tensors, and lists or dicts of these.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        value = torch.from_numpy(value)
    if type(value) in PLAIN:
        return value
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {plain(f"{name}: a key", key): plain(f"{name}[{key!r}]", part) for key, part in value.items()}
    if type(value) in (list, tuple, torch.Size):
        each = [plain(f"{name}[{i}]", part) for i, part in enumerate(value)]
        return each if type(value) is list else tuple(each)
    for kind in (str, int, float):  # derived from one, as an enum is
        if isinstance(value, kind):
            return kind(value)
    what = type(value).__name__
    raise TypeError(f"{name}: a {what} cannot be kept, only numbers, text, tensors, and lists or dicts of these.")


def write(file: str | Path, content: Any, *, door: str = "file") -> None:
    """Written beside the file and moved over it, so that there is always a whole one; `door` names it in errors."""
    file = Path(file)
    content = plain(file.name, content)
    _moved_over(_written_beside(file, lambda out: torch.save(content, out), door), file, door)


def write_text(file: str | Path, text: str, *, door: str = "file") -> None:
    """The same of a text, in UTF-8."""
    file = Path(file)
    _moved_over(_written_beside(file, lambda out: out.write(text.encode()), door), file, door)


def _moved_over(beside: Path, file: Path, door: str) -> None:
    try:
        os.replace(beside, file)
    except OSError as error:  # a folder is there, or, on Windows, somebody has it open
        beside.unlink()
        raise OSError(f"{door}: {file} cannot be written: {first_line(error)}.") from error
    for old in file.parent.glob(f"{glob.escape(file.name)}.*.part"):
        if _left_behind(old):
            old.unlink(missing_ok=True)


def _left_behind(beside: Path) -> bool:
    """Its process was killed while it wrote."""
    if os.name != "posix":
        return beside.stat().st_mtime < time.time() - 60
    try:
        os.kill(int(beside.suffixes[-2][1:]), 0)  # asks only whether there is one of this number
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _written_beside(file: Path, save: Callable[[BinaryIO], Any], door: str) -> Path:
    beside = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as out:
            save(out)
            out.flush()
            os.fsync(out.fileno())
    except BaseException as error:
        if os.path.exists(beside):
            beside.unlink()
        if isinstance(error, (OSError, RuntimeError)):  # torch's own writer turns the first into the second
            raise OSError(f"{door}: {file} cannot be written: {first_line(error)}.") from error
        raise
    return beside


def clear(folder: str | Path, pattern: str) -> None:
    """Away with what was kept on the way, when all is done."""
    for file in Path(folder).glob(f"{pattern}*"):
        file.unlink()


def read(file: str | Path, remedy: str, *, holds: Collection = (), door: str = "file") -> Any:
    """What `write` wrote; in words, with the file and the remedy, if it is not there, not all there, or something else.

    `holds` are names that must be among its own.
    """
    file = Path(file)
    if _begins(file, remedy, door).startswith(b"PK") and _cut(file):
        raise _not_all_there(file, remedy, door)
    try:
        content = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a file of another kind makes torch stumble over; pickled code is not run
        raise ValueError(f"{door}: {file} holds something else, not plain values: {remedy}") from error
    if holds and not (isinstance(content, dict) and set(holds) <= set(content)):
        raise ValueError(f"{door}: {file} holds something else, not {', '.join(map(str, holds))}: {remedy}")
    return content


def read_json(file: str | Path, remedy: str, *, lines: bool = False, door: str = "file") -> Any:
    """What a file of JSON says; with `lines`, a list of what each of its lines says. Its errors are those of `read`."""
    file = Path(file)
    _begins(file, remedy, door)
    try:
        text = file.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n") if line] if lines else json.loads(text)
    except (ValueError, RecursionError) as error:  # of the encoding, or of brackets without end, too
        raise _not_all_there(file, remedy, door) from error


def _begins(file: Path, remedy: str, door: str) -> bytes:
    """The first bytes of a file that is there."""
    if not os.path.exists(file):
        raise FileNotFoundError(f"{door}: there is no {file}: {remedy}")
    if file.is_dir():
        raise ValueError(f"{door}: {file} is a folder: name a file.")
    with open(file, "rb") as there:
        begins = there.read(len(POINTER))
    if begins == POINTER:
        raise ValueError(f"{door}: {file} is only a pointer of Git LFS: `git lfs pull` fetches the file. Or {remedy}")
    if not begins:
        raise _not_all_there(file, remedy, door)
    return begins


def _not_all_there(file: Path, remedy: str, door: str) -> ValueError:
    size = file.stat().st_size
    return ValueError(f"{door}: {file} is not all there ({size} bytes, cut off or damaged): {remedy}")


def _cut(file: Path) -> bool:
    """The parts of the archive that torch writes are not as they were written."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is not None
    except Exception:  # a bit turned can make a part's name no UTF-8, its flag say "encrypted", its method unknown, …
        return True


def fill(model: nn.Module, weights: Any, file: str | Path, remedy: str) -> nn.Module:
    """The model with these weights, which were read from a file."""
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"file: {file} holds weights of something else: {remedy}") from error
    return model


def first_line(error: BaseException) -> str:
    """What an error says, in one line.

    >>> first_line(ValueError("k: too many.\\nDetails follow.")), first_line(KeyError())
    ('k: too many', 'KeyError')
    """
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return next(iter(said.splitlines()), type(error).__name__).rstrip(".")


class Kept:
    """The file that a long computation is kept in on the way, so that the same call goes on from there.

    `what` it is ("run"), and of what: the values that must be the same for the file to be this call's own.
    """

    REMEDY = "delete it or use a new name."

    def __init__(self, file: str | Path, what: str, of: dict[str, Any]):
        self.file, self.what, self.of = Path(file), what, plain(what, of)
        if not self.file.parent.is_dir():
            raise FileNotFoundError(f"keep: there is no folder {self.file.parent}: make it first, or name another.")

    def read(self) -> dict[str, Any] | None:
        """What was last kept; None if nothing was yet."""
        if not os.path.exists(self.file):
            return None
        saved = read(self.file, self.REMEDY, holds=("what", "of", "now"), door="keep")
        if saved["what"] != self.what:
            raise ValueError(f"keep: {self.file} holds a {saved['what']}, not a {self.what}: {self.REMEDY}")
        if differs := ", ".join(name for name in self.of if saved["of"].get(name) != self.of[name]):
            raise ValueError(f"keep: {self.file} holds another {self.what} (it differs in {differs}): {self.REMEDY}")
        return saved["now"]

    def write(self, **now: Any) -> None:
        write(self.file, self._content(now), door="keep")

    def tried(self, **now: Any) -> None:
        """Before the work starts: can this be written here, and read back? The file itself is left as it is."""
        content = self._content(now)
        beside = _written_beside(self.file, lambda out: torch.save(content, out), "keep")
        try:
            read(beside, "that is a mistake of `helpers.kept`.", door="keep")
        finally:
            beside.unlink()

    def _content(self, now: dict[str, Any]) -> dict[str, Any]:
        return {"what": self.what, "of": self.of, "now": plain("keep", now)}
