"""Every module of `helpers.trained` is used in one way: untrained, train, load, main; and its files are safe."""

import inspect
import os
import pkgutil
import re
import subprocess
import sys
from importlib import import_module

import pytest
import torch

from helpers import kept, trained, training
from helpers.trained import copying_runs, filter_gpts, induction_runs, softmax_runs, word_gpts

OF = {  # what `untrained` and `load` need to be told, if anything
    "copying_runs": ((), ()),
    "deep_stacks": ((), ()),
    "depth_gpts": ((1,), (1,)),
    "filter_gpts": (("4 taps, learned",), ("4 taps, learned",)),
    "induction_runs": ((1,), ()),
    "regression_gpts": ((), ()),
    "sine_runs": (("attention",), ()),
    "softmax_runs": (("layer norm",), ("layer norm",)),
    "textbook_runs": ((), ()),
    "word_gpts": ((), ()),
}
MODULES = {name: import_module(f"helpers.trained.{name}") for name in OF}
each_module = pytest.mark.parametrize("name", OF)


def test_all_modules_are_held_to_it():
    modules = [import_module(f"helpers.trained.{module.name}") for module in pkgutil.iter_modules(trained.__path__)]
    names = {module.__name__.split(".")[-1] for module in modules}
    assert {module.__name__.split(".")[-1] for module in modules if hasattr(module, "train")} == set(OF)
    assert names - set(OF) == set(re.findall(r"`(\w+)`", trained.__doc__))  # it says why these are not
    assert all(
        f"    {function}" in trained.__doc__ for function in ("untrained(", "train(model", "load(", "main(folder")
    )


@each_module
def test_the_four_functions_are_called_in_the_same_way(name):
    untrained, train, load, main = (
        inspect.signature(getattr(MODULES[name], function)).parameters
        for function in ("untrained", "train", "load", "main")
    )
    assert untrained["seed"].default == 0
    assert list(train)[:2] == ["model", "iterations"] and train["seed"].default == 0
    assert train["seed"].kind is inspect.Parameter.KEYWORD_ONLY
    assert inspect.signature(MODULES[name].train).return_annotation == "training.History"
    assert load["folder"].kind is inspect.Parameter.KEYWORD_ONLY
    assert list(main) == ["folder"] and main["folder"].default == load["folder"].default == MODULES[name].FOLDER


def weights(model):
    return torch.cat([W.detach().flatten().double() for W in model.parameters()])


@each_module
def test_a_model_is_trained_in_place_and_a_run_that_was_stopped_goes_on(name, tmp_path, monkeypatch):
    monkeypatch.setattr(word_gpts, "progress", lambda model: [0.5, 0.25])
    module, fit, calls = MODULES[name], training.fit, []
    whole, before = module.untrained(*OF[name][0]), weights(module.untrained(*OF[name][0]))
    history = module.train(whole, 4)
    assert isinstance(history, training.History) and history.losses.shape == (4,)
    assert not torch.equal(weights(whole), before)

    def stops_at_the_third(model, loss, *arguments, **named):
        def stopping(seed):
            calls.append(seed)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return loss(seed)

        return fit(model, stopping, *arguments, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "fit", stops_at_the_third)
        module.train(module.untrained(*OF[name][0]), 4, keep=tmp_path / "run")
    resumed, other = (module.untrained(*OF[name][0]) for _ in range(2))
    assert torch.equal(module.train(resumed, 4, keep=tmp_path / "run").losses, history.losses)
    assert torch.equal(weights(resumed), weights(whole))
    module.train(other, 4, seed=1)
    assert not torch.equal(weights(other), weights(whole))


@each_module
def test_new_models_differ_by_their_seed_alone(name):
    one, again, other = (weights(MODULES[name].untrained(*OF[name][0], seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)


def parts(found):
    """All models and tensors in what `load` returned."""
    if isinstance(found, (torch.nn.Module, torch.Tensor)):
        yield found
    elif isinstance(found, (dict, tuple, list)):
        for part in found.values() if isinstance(found, dict) else found:
            yield from parts(part)


@each_module
def test_what_is_loaded_is_frozen_finite_and_small(name):
    found = list(parts(MODULES[name].load(*OF[name][1])))
    models = [part for part in found if isinstance(part, torch.nn.Module)]
    tensors = [part for part in found if isinstance(part, torch.Tensor)]
    assert found and all(part.isfinite().all() and not part.requires_grad for part in tensors)
    if name not in ("copying_runs", "induction_runs", "softmax_runs"):  # where models are frames of a film
        assert not any(W.requires_grad or not W.isfinite().all() for model in models for W in model.parameters())
    assert all(file.stat().st_size <= 1_000_000 for file in files(name))


def files(name):
    return sorted(MODULES[name].FOLDER.glob(f"{name}*.pt"))


def empty(file):
    file.write_bytes(b"")


def half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def pointer(file):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n")


def another(file):
    torch.save({"films": {0: {}}, "others": {}, "a": torch.zeros(3), 1: 1, 2: 2}, file)


class Harmful:
    def __reduce__(self):
        return print, ("a file ran code",)


def harmful(file):
    torch.save({"embed.weight": Harmful()}, file)


@pytest.mark.parametrize("damage", [None, empty, half, pointer, another, harmful])
@each_module
def test_a_file_that_is_not_as_it_should_be_is_named_with_the_remedy(name, damage, tmp_path, capsys):
    for file in files(name):
        if damage:
            (tmp_path / file.name).write_bytes(file.read_bytes())
            damage(tmp_path / file.name)
    with pytest.raises(ValueError if damage else FileNotFoundError) as caught:
        MODULES[name].load(*OF[name][1], folder=tmp_path)
    said = str(caught.value)
    assert str(tmp_path / name) in said and said.endswith(f"`python -m helpers.trained.{name}` makes it.")
    assert "\n" not in said and not capsys.readouterr().out


def quick(monkeypatch):
    """Scripts that do the same in a few iterations."""
    for name in OF:
        monkeypatch.setattr(MODULES[name], "ITERATIONS", 4, raising=False)
        monkeypatch.setattr(MODULES[name], "EVERY", 2, raising=False)
    for runs in (copying_runs, induction_runs):
        monkeypatch.setattr(runs, "AT", [0, 4])
    few = {name: softmax_runs.SETTINGS[name]._replace(at=(0, 20), seeds=range(4)) for name in ("linear", "layer norm")}
    monkeypatch.setattr(softmax_runs, "SETTINGS", few)
    monkeypatch.setattr(copying_runs, "OTHERS", {"B": [16]})
    monkeypatch.setattr(copying_runs, "USUAL", copying_runs.USUAL | {"B": 32})
    monkeypatch.setattr(word_gpts, "progress", lambda model: [0.5, 0.25])
    monkeypatch.setattr(filter_gpts, "FILTERS", {"4 taps, learned": None})
    monkeypatch.setattr(filter_gpts, "tried", lambda model: torch.zeros(2, 256, 3))
    monkeypatch.setattr(word_gpts, "RECIPES", ("Muon", "AdamW"))
    monkeypatch.setattr(word_gpts, "PER_KIND", 1)


@each_module
def test_a_script_that_was_stopped_goes_on_writes_what_load_reads_and_cleans_up(name, tmp_path, monkeypatch, capsys):
    quick(monkeypatch)
    module, write, saves = MODULES[name], kept.Kept.write, []
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "stopped").mkdir()
    with monkeypatch.context() as patch:  # its curves are for all iterations, and it has those of three seeds
        if name == "filter_gpts":
            patch.setattr(word_gpts, "curves", lambda seed: (torch.zeros(3, 2), torch.zeros(2)))
        module.main(tmp_path / "undisturbed")

        def stops(self, **now):
            saves.append(1)
            if len(saves) == (3 if name == "regression_gpts" else 6):  # which is of one run only
                raise KeyboardInterrupt
            write(self, **now)

        with patch.context() as inner, pytest.raises(KeyboardInterrupt):
            inner.setattr(kept.Kept, "write", stops)
            module.main(tmp_path / "stopped")
        assert list((tmp_path / "stopped").glob("*.run"))
        module.main(tmp_path / "stopped")
    written = {folder: sorted((tmp_path / folder).iterdir()) for folder in ("undisturbed", "stopped")}
    assert [file.name for file in written["undisturbed"]] == [file.name for file in files(name)]
    for one, other in zip(*written.values(), strict=True):
        assert one.name == other.name and same(*(kept.read(file, "?") for file in (one, other)))
    assert list(parts(module.load(*OF[name][1], folder=tmp_path / "stopped"))) and capsys.readouterr().out


def same(one, other):
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_a_script_called_wrongly_says_so_in_one_line(tmp_path):
    command = [sys.executable, "-m", "helpers.trained.induction_runs", str(tmp_path / "nowhere")]
    around = {"PYTHONPATH": str(MODULES["induction_runs"].FOLDER.parents[1])}
    done = subprocess.run(command, env=os.environ | around, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout and done.stderr.count("\n") == 1
    assert "python -m helpers.trained.induction_runs: error: keep: there is no folder" in done.stderr
