"""Files that are kept: what is damaged, missing or not ours is told apart, and nothing in a file is run."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from helpers import kept

CONTENT = {"W": torch.arange(400.0).view(20, 20), "told": [1, 2.5, "three", None, (True, 4j)], 7: torch.float64}
REMEDY = "ask for it."


@pytest.fixture
def file(tmp_path):
    kept.write(tmp_path / "some.pt", CONTENT)
    return tmp_path / "some.pt"


def test_what_is_written_is_read(file):
    found = kept.read(file, REMEDY, holds=("W", 7))
    assert torch.equal(found["W"], CONTENT["W"]) and found["told"] == CONTENT["told"] and found[7] is torch.float64
    assert list(file.parent.iterdir()) == [file]


class Harmful:
    def __reduce__(self):
        return print, ("a file ran code",)


def nothing(file):
    file.write_bytes(b"")


def half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def all_but_the_end(file):
    file.write_bytes(file.read_bytes()[:-1])


def one_bit(file):
    whole = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        (info,) = [info for info in archive.infolist() if info.filename.endswith("data/0")]
    whole[info.header_offset + 200] ^= 1
    file.write_bytes(whole)


def pointer(file):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n")


def words(file):
    file.write_text("my notes")


def another_archive(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "hello")


def old_pickle(file):
    torch.save(CONTENT, file, _use_new_zipfile_serialization=False)
    file.write_bytes(b"x" + file.read_bytes())


def code(file):
    torch.save({"W": Harmful()}, file)


def an_array(file):
    np.savez(file.with_suffix(""), W=np.zeros(3))
    os.replace(file.with_suffix(".npz"), file)


def other_names(file):
    torch.save({"V": torch.zeros(2)}, file)


def no_names(file):
    torch.save(torch.zeros(2), file)


@pytest.mark.parametrize(
    "damage, said",
    [
        (nothing, "is not all there (0 bytes, cut off or damaged): ask for it."),
        (half, "is not all there ("),
        (all_but_the_end, "is not all there ("),
        (one_bit, "is not all there ("),
        (pointer, "is only a pointer of Git LFS: `git lfs pull` fetches the file. Or ask for it."),
        (words, "holds something else, not plain values: ask for it."),
        (another_archive, "holds something else, not plain values: ask for it."),
        (old_pickle, "holds something else, not plain values: ask for it."),
        (code, "holds something else, not plain values: ask for it."),
        (an_array, "holds something else, not plain values: ask for it."),
        (other_names, "holds something else, not W: ask for it."),
        (no_names, "holds something else, not W: ask for it."),
    ],
    ids=lambda part: getattr(part, "__name__", None),
)
def test_what_is_wrong_with_a_file_is_said_with_its_name_and_the_remedy(damage, said, file, capsys):
    damage(file)
    with pytest.raises(ValueError) as caught:
        kept.read(file, REMEDY, holds=["W"])
    assert f"file: {file} {said}" in str(caught.value) and "\n" not in str(caught.value)
    assert not capsys.readouterr().out


def test_whatever_byte_is_wrong_it_is_said_in_words_or_does_not_matter(file):
    whole, refused = file.read_bytes(), 0
    for i in range(0, len(whole), 4):
        file.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        try:
            assert torch.equal(kept.read(file, REMEDY)["W"], CONTENT["W"])  # in the padding, say
        except ValueError as error:
            refused += 1
            assert str(error).startswith(f"file: {file} ") and str(error).endswith(REMEDY)
    assert refused > len(whole) / 16


def test_what_is_not_there_or_is_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="keep: there is no .*none.pt: ask for it."):
        kept.read(tmp_path / "none.pt", REMEDY, door="keep")
    with pytest.raises(ValueError, match="file: .* is a folder: name a file"):
        kept.read(tmp_path, REMEDY)


def test_whoever_is_stopped_while_writing_still_has_the_file_of_before(file, monkeypatch):
    def stops(what, out):
        out.write(b"half a")
        raise error

    monkeypatch.setattr(torch, "save", stops)
    for error in (KeyboardInterrupt(), OSError(28, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")):
        with pytest.raises((KeyboardInterrupt, OSError)) as caught:
            kept.write(file, {"W": 1})
        if isinstance(error, OSError):
            assert str(caught.value) == f"file: {file} cannot be written: No space left on device."
    monkeypatch.undo()
    assert torch.equal(kept.read(file, REMEDY)["W"], CONTENT["W"]) and list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere it is left for a minute")
def test_what_a_killed_process_left_beside_is_cleared_and_what_another_writes_is_not(file):
    over = subprocess.Popen([sys.executable, "-c", ""])
    over.wait()
    for pid in (over.pid, os.getppid()):
        file.with_name(f"{file.name}.{pid}.part").touch()
    kept.write(file, CONTENT)
    assert sorted(path.name for path in file.parent.iterdir()) == ["some.pt", f"some.pt.{os.getppid()}.part"]


def test_weights_of_another_model_are_said_to_be_that(file):
    weights = kept.read(file, REMEDY)
    for wrong in (weights, weights["W"], {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, None):
        with pytest.raises(ValueError, match="file: .*some.pt holds weights of something else: ask for it") as caught:
            kept.fill(torch.nn.utils.skip_init(torch.nn.Linear, 3, 2), wrong, file, REMEDY)
        assert "\n" not in str(caught.value)


def test_of_what_it_is_must_agree(tmp_path):
    one = kept.Kept(tmp_path / "one.pt", "run", {"seed": np.int64(1), "rates": (np.float64(0.5),)})
    assert one.read() is None
    one.tried(t=3)
    assert one.read() is None and not list(tmp_path.iterdir())
    one.write(t=3)
    assert kept.Kept(tmp_path / "one.pt", "run", {"seed": 1, "rates": (0.5,)}).read() == {"t": 3}
    with pytest.raises(
        ValueError, match=r"keep: .*one.pt holds another run \(it differs in seed, size\): delete it or"
    ):
        kept.Kept(tmp_path / "one.pt", "run", {"seed": 2, "rates": (0.5,), "size": 3}).read()
    with pytest.raises(ValueError, match="keep: .*one.pt holds a run, not a comparison: delete it or use a new name"):
        kept.Kept(tmp_path / "one.pt", "comparison", {"seed": 1}).read()
    with pytest.raises(TypeError, match=r"run\['loss'\]: a function cannot be kept"):
        kept.Kept(tmp_path / "one.pt", "run", {"loss": test_of_what_it_is_must_agree})
    with pytest.raises(FileNotFoundError, match="keep: there is no folder .*nowhere: make it first"):
        kept.Kept(tmp_path / "nowhere" / "one.pt", "run", {})
