"""The tables that come with the series, in JSON: whatever is wrong with a file is said with its name and the remedy."""

import json

import pytest

from helpers import kept
from helpers.finetuning import published, scale
from helpers.trained import scaled_gpts
from helpers.verdicts import shipped
from helpers.verdicts.__main__ import measure_all

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"
TABLES = {published.load: published.FILE, scale.load: scale.FILE, shipped.load_table: shipped.TABLE}
each_table = pytest.mark.parametrize("load", TABLES, ids=lambda load: load.__module__.split(".")[-1])
DAMAGES = {
    "empty": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "pointer": lambda whole: POINTER,
    "UTF-16": lambda whole: whole.decode().encode("utf-16"),
    "cut in a letter": lambda whole: whole.replace("–".encode(), b"\xe2") if "–".encode() in whole else b"\xe2",
}


@each_table
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_named_with_the_remedy(load, damage, tmp_path):
    whole, file = TABLES[load].read_bytes(), tmp_path / "table"
    file.write_bytes(whole)
    assert load(file) == load()
    file.write_bytes(DAMAGES[damage](whole))
    with pytest.raises(ValueError) as caught:
        load(file)
    said = "is only a pointer of Git LFS" if damage == "pointer" else "is not all there ("
    assert str(caught.value).startswith(f"file: {file} {said}") and "\n" not in str(caught.value)
    assert "`git checkout helpers/" in str(caught.value)


@each_table
def test_a_table_that_is_not_there_or_another_one(load, tmp_path):
    with pytest.raises(FileNotFoundError, match="file: there is no .*nowhere: `git checkout"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a folder"):
        load(tmp_path)
    for other in ([1, 2], {"a": 1}, [{"a": 1}]):
        (tmp_path / "other").write_text(json.dumps(other))
        with pytest.raises(ValueError, match="holds something else"):
            load(tmp_path / "other")


def test_u2028_in_a_text_ends_no_line(tmp_path):
    scale.write([{"cases": "one\u2028line"}, {"cases": "the\x85next"}], tmp_path / "records")
    assert [each["cases"] for each in scale.load(tmp_path / "records")] == ["one\u2028line", "the\x85next"]


def test_a_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    kept.write_text(tmp_path / "table", "before")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="file: .* cannot be written: No space"):
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        kept.write_text(tmp_path / "table", "after")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_commands_that_go_on_from_records_read_them_before_they_work(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.shell.workers", lambda n: pytest.fail("it begins to work"))
    (tmp_path / "some.json").write_text('{"cases"')
    with pytest.raises(ValueError, match="some.json is not all there .*: delete it, and the same command"):
        scaled_gpts.run_all([scaled_gpts.Cell()], folder=tmp_path)
    for name in ("table.json", "table.2_draws.part"):
        (tmp_path / name).write_text("[{")
        with pytest.raises(
            ValueError, match=f"{name} is not all there .*: delete it, and `python -m helpers.verdicts`"
        ):
            measure_all(["03"], draws=2, processes=1, file=tmp_path / "table.json")
        (tmp_path / name).unlink()
