"""The experiment at any size: it reproduces a shipped record, keeps each run, and maps over any executor."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.finetuning import scale
from helpers.trained import scaled_gpts
from helpers.trained.scaled_gpts import Cell

TINY = Cell(width=16, layers=1, heads=2, seed=0, iterations=10)


@pytest.fixture(scope="module")
def record():
    return scaled_gpts.run(TINY)


def shipped(cell):
    (found,) = [each for each in scale.load() if all(each[name] == value for name, value in cell._asdict().items())]
    return found


def numbers(case):
    return [*(case[name] for name in ("zsl", "ft", "icl")), *case["FT beside FT"]] + [
        x for name in scale.MEASURES for side in ("same", "others", "shuffled") for x in case[name][side]
    ]


def test_a_shipped_record_is_made_again(record):
    before = shipped(TINY)
    assert record["weights"] == before["weights"] and record["cases"].keys() == before["cases"].keys()
    for name, case in record["cases"].items():
        assert case["rate"] == before["cases"][name]["rate"]
        assert numbers(case) == pytest.approx(numbers(before["cases"][name]), abs=0.01), name
    other = scaled_gpts.run(TINY._replace(seed=1))  # the twin: another seed is another record
    assert numbers(other["cases"]["trained, label"]) != pytest.approx(
        numbers(before["cases"]["trained, label"]), abs=0.01
    )


def test_runs_are_kept_one_by_one_and_merged(record, tmp_path, monkeypatch):
    made = []

    def run(model, cell, device):
        made.append(cell)

    monkeypatch.setattr(scaled_gpts, "fit", run)
    monkeypatch.setattr(scale, "measure", lambda *_, **__: {"SimAOU, per query": {"excess": [[0.0, 0.0, 0.0]]}})
    cells = [TINY, TINY._replace(seed=1)]
    with ThreadPoolExecutor(1) as threads:  # any executor will do
        first = scaled_gpts.run_all(cells[:1], folder=tmp_path, executor=threads)
        both = scaled_gpts.run_all(cells, folder=tmp_path, executor=threads)
    assert made == cells and len(first) == 1 and len(both) == 2  # the first was not run again
    lines = (tmp_path / "scale.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [0, 1]
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".json", ".jsonl"]  # nothing half written


def test_decay_changes_the_training_and_nothing_else():
    models = [scaled_gpts.untrained(TINY) for _ in range(3)]
    for model, decay in zip(models, (0.5, 0.5, 0.0), strict=True):
        scaled_gpts.fit(model, TINY._replace(decay=decay, iterations=3))
    a, b, c = (model.core.blocks[0].W_QKV.weight for model in models)
    assert (a == b).all() and not (a == c).all() and not a.requires_grad


def test_the_shipped_records_are_of_five_sizes_and_say_where_they_were_made():
    records = [each for each in scale.load() if each["machine"] == "NVIDIA H200"]
    runs = {}
    for each in records:
        runs.setdefault(each["weights"], []).append(each["seed"])
        assert each["date"] == "2026-11-27" and each["iterations"] == 1000
        for case in each["cases"].values():
            for measure in scale.MEASURES:
                same, others = case[measure]["same"], case[measure]["others"]
                assert len(same) == each["layers"]
                for s, o, (value, low, high) in zip(same, others, case[measure]["excess"], strict=True):
                    assert low <= value <= high and value == pytest.approx(s - o, abs=2e-3)
    assert {n: sorted(seeds) for n, seeds in runs.items()} == {
        159552: [0, 1, 2], 811776: [0, 1, 2], 4773888: [0, 1, 2], 25285632: [0, 1, 2], 151271424: [0, 1]
    }  # fmt: skip
    assert scale.FILE.stat().st_size < 100_000
