"""The GPT of the toy language: it learns from demonstrations, its untrained twins do not, and its files are safe."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from helpers import metrics
from helpers.finetuning import side_by_side, small_gpt, toy_language
from helpers.finetuning.small_gpt import Recipe
from helpers.models.gpt import WordGPT
from helpers.trained import word_gpts

EXACT = 1e-12
WRONG = 1e-3
SHOTS = (0, 4, 32)


def small(**changed):
    return WordGPT(80, **({"d_model": 8, "n_layers": 2, "n_heads": 2} | changed)).double().requires_grad_(False)


def some_tokens(*shape, seed=0):
    return torch.randint(0, 80, shape, generator=torch.Generator().manual_seed(seed))


def unseen(C, *, meaning="fresh", B=64, Q=4):
    """B tasks with 32 demonstrations each, none of which training can have drawn."""
    return toy_language.few_shot(toy_language.draw(B, C, meaning=meaning, seed=11), 32, Q, seed=12)


# --- the model ------------------------------------------------------------------------------------------------------


def test_it_is_the_core_between_two_matrices():
    model, tokens = small(), some_tokens(3, 9)
    by_hand = model.core(model.embed.weight[tokens]) @ model.unembed.weight.T
    assert metrics.max_gap(model(tokens), by_hand) <= EXACT
    assert model(tokens).shape == (3, 9, 80) and model(some_tokens(3, 50)).shape == (3, 50, 80)


def test_no_token_reads_a_later_one_and_all_read_earlier_ones():
    model, tokens = small(), some_tokens(4, 12)
    other = torch.cat([tokens[:, :7], some_tokens(4, 5, seed=1)], dim=1)
    assert torch.equal(model(tokens)[:, :7], model(other)[:, :7])
    assert metrics.max_gap(model(tokens)[:, 7:], model(other)[:, 7:]) > WRONG
    other = torch.cat([(tokens[:, :1] + 1) % 80, tokens[:, 1:]], dim=1)
    assert metrics.max_gap(model(tokens)[:, -1], model(other)[:, -1]) > 1e-6


def test_the_same_seed_gives_the_same_weights():
    first, again, other = (word_gpts.untrained(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed.weight"], other["embed.weight"])


@pytest.mark.parametrize(
    "tokens, error, message",
    [
        (
            torch.zeros(2, 3),
            TypeError,
            r"tokens: expected \(B, T\) of dtype int64 with T >= 1, got torch.float32 \(2, 3\)",
        ),
        (torch.zeros(3, dtype=torch.long), TypeError, r"got torch.int64 \(3,\)"),
        (torch.zeros(2, 0, dtype=torch.long), TypeError, r"got torch.int64 \(2, 0\)"),
        ([[1, 2]], TypeError, "got list"),
        (torch.tensor([[0, 80]]), ValueError, "expected numbers from 0 to 79, got 0 to 80: is it the vocabulary"),
        (torch.tensor([[-1, 3]]), ValueError, "got -1 to 3"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(tokens, error, message):
    with pytest.raises(error, match=message):
        small()(tokens)


# --- its training ---------------------------------------------------------------------------------------------------


def test_a_batch_mixes_easy_and_hard_tasks_and_none_is_held_out(monkeypatch):
    drawn, draw = [], toy_language.draw

    def recorded(B, C, m, *, meaning, held_out, seed):
        drawn.append((B, C, m, meaning, held_out))
        return draw(B, C, m, meaning=meaning, held_out=held_out, seed=seed)

    monkeypatch.setattr(toy_language, "draw", recorded)
    tokens = word_gpts.sequences(seed=5)
    fresh = [(B, C, m) for B, C, m, meaning, _ in drawn if meaning == "fresh"]
    assert sorted(fresh) == [(3, C, m) for C in (2, 4) for m in (1, 2, 4, 8)]
    assert [(B, C) for B, C, _, meaning, _ in drawn if meaning == "fixed"] == [(2, 2), (2, 4)]
    assert not any(held_out for *_, held_out in drawn) and not any(kind[3] == "flipped" for kind in drawn)
    assert ((tokens >= toy_language.WORDS) == (torch.arange(160) % 5 == 4)).all()
    assert torch.equal(tokens, word_gpts.sequences(seed=5)) and not torch.equal(tokens, word_gpts.sequences(seed=6))


def test_the_loss_is_the_surprise_at_labels_plus_that_at_other_words():
    model, tokens = small(), word_gpts.sequences(seed=1)[:2, :20]
    log_p, of_labels, of_words = model(tokens).log_softmax(-1), [], []
    for b in range(2):
        for t in range(1, 20):
            kept = of_labels if t % 5 == 4 else of_words
            kept.append(-log_p[b, t - 1, tokens[b, t]].item())
    label, word = sum(of_labels) / len(of_labels), sum(of_words) / len(of_words)
    assert abs(word_gpts.loss(model, tokens, other_words=False).item() - label) < EXACT
    assert abs(word_gpts.loss(model, tokens).item() - label - word) < EXACT
    assert abs(sum(of_labels + of_words) / 38 - label) > WRONG


def test_two_optimizers_used_as_one_do_what_each_does_alone():
    def stepped(make):
        a, b = torch.ones(2, 2, requires_grad=True), torch.ones(2, requires_grad=True)
        steps = make(a, b)
        for _ in range(3):
            for optimizer in steps:
                optimizer.zero_grad()
            (a.sum() ** 2 + (b * a[0]).square().sum()).backward()
            for optimizer in steps:
                optimizer.step()
        return torch.cat([a.flatten(), b]).detach()

    def apart(a, b):
        return [torch.optim.SGD([a], 0.01, momentum=0.9), torch.optim.Adam([b], 0.1)]

    together = stepped(lambda a, b: [word_gpts.Both(*apart(a, b))])
    assert torch.equal(together, stepped(apart)) and not torch.equal(together, stepped(lambda a, b: apart(a, b)[:1]))


def test_muon_takes_the_matrices_of_the_core_and_adamw_all_else():
    model = WordGPT(80)
    muon, adam = word_gpts.optimizer(model, "Muon").parts
    groups = [[W for group in part.param_groups for W in group["params"]] for part in (muon, adam)]
    assert isinstance(muon, torch.optim.Muon) and len(groups[0]) == 12
    assert sum(W.numel() for W in groups[0]) == 3 * 12 * 64**2
    assert sum(W.numel() for group in groups for W in group) == sum(W.numel() for W in model.parameters())
    alone = word_gpts.optimizer(model, "AdamW, labels only")
    assert isinstance(alone, torch.optim.AdamW) and len(alone.param_groups[0]["params"]) == len(
        list(model.parameters())
    )


def test_another_recipe_trains_otherwise():
    models = {recipe: word_gpts.untrained() for recipe in word_gpts.RECIPES}
    for recipe, model in models.items():
        word_gpts.train(model, 3, recipe=recipe)
    weights = [model.core.blocks[0].W_QKV.weight for model in models.values()]
    assert not any(torch.equal(*pair) for pair in itertools.combinations(weights, 2))


def test_the_learning_rate_rises_stays_and_falls():
    rate = [word_gpts.warm_then_down(t / 300) for t in range(301)]
    assert rate[0] == 0.0 and rate[-1] == 0.0 and rate[6:200] == [1.0] * 194 and rate[250] == pytest.approx(0.5)


# --- what was trained ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", word_gpts.SEEDS)
def test_it_learns_unseen_tasks_from_its_demonstrations(seed):
    model = word_gpts.load(seed)
    for C in (2, 4):
        right = [word_gpts.score(model, unseen(C).first(k)) for k in SHOTS]
        assert right[-1] >= right[0] + 0.3
        assert abs(right[0] - 1 / C) < 0.1  # 64 tasks of 4 queries each
        assert right[0] < right[1] < right[2]


@pytest.mark.parametrize("seed", word_gpts.SEEDS)
@pytest.mark.parametrize("twin", [word_gpts.untrained, word_gpts.with_trained_embeddings])
def test_its_untrained_twins_do_not(seed, twin):
    for C in (2, 4):
        for k in (0, 32):
            assert abs(word_gpts.score(twin(seed), unseen(C).first(k)) - 1 / C) <= 0.07


@pytest.mark.parametrize("seed", word_gpts.SEEDS)
def test_it_knows_the_fixed_meanings_without_demonstrations(seed):
    model = word_gpts.load(seed)
    for C in (2, 4):
        assert word_gpts.score(model, unseen(C, meaning="fixed").first(0)) > 0.9
        assert word_gpts.score(model, unseen(C, meaning="flipped").first(0)) < 0.1


def finetuned(model, demos, lr):
    """One pass of SGD over the demonstrations (k, L), on keys and values only, one by one, by the label's loss."""
    W = {name: W for name, W in model.named_parameters() if name.endswith("W_QKV.weight")}
    for demo in demos:
        W = {name: weight.detach().requires_grad_(True) for name, weight in W.items()}
        logits = torch.func.functional_call(model, W, (demo[None, :-1],))[0, -1:]
        slopes = torch.autograd.grad(F.cross_entropy(logits, demo[-1:]), list(W.values()))
        keys_values = torch.arange(3 * 64)[:, None] >= 64
        W = {name: weight - lr * keys_values * slope for (name, weight), slope in zip(W.items(), slopes, strict=True)}
    return lambda tokens: torch.func.functional_call(model, W, (tokens,))


@pytest.mark.parametrize("seed", word_gpts.SEEDS)
def test_fine_tuning_keys_and_values_on_the_same_demonstrations_teaches_it_too(seed):
    """At the rate that is best on 48 other tasks. Batched and plain fine-tuning are held together elsewhere."""
    model, others = word_gpts.load(seed), toy_language.few_shot(toy_language.draw(48, seed=2), 32, Q=8, seed=2)
    lr = side_by_side.best_rate([model], others, Recipe(), (0.03, 0.1, 0.3))
    episode, right = unseen(2, B=24, Q=16), []
    for b in range(24):
        only = toy_language.Episode(*(part[b : b + 1] for part in episode))
        right.append(word_gpts.score(finetuned(model, only.demos[0], lr), only.first(0)))
    assert sum(right) / 24 > word_gpts.score(model, episode.first(0)) + 0.2
    many = toy_language.few_shot(toy_language.draw(96, seed=21), 32, Q=16, seed=22)
    ft, zsl = side_by_side.after_finetuning(model, many, Recipe(lr)), small_gpt.in_context(model, many.first(0))
    assert side_by_side.accuracy(ft, many).mean() > side_by_side.accuracy(zsl, many).mean() + 0.2


@pytest.mark.parametrize("seed", word_gpts.SEEDS)
def test_shuffled_labels_teach_it_nothing(seed):
    episode = unseen(2)
    generator = torch.Generator().manual_seed(seed)
    names = episode.options.gather(1, torch.randint(0, 2, episode.demos.shape[:2], generator=generator))
    shuffled = episode._replace(demos=torch.cat([episode.demos[..., :-1], names[..., None]], dim=-1))
    assert abs(word_gpts.score(word_gpts.load(seed), shuffled) - 0.5) < 0.1


def test_muon_gets_there_and_in_as_many_iterations_adamw_on_labels_alone_does_not():
    curves = [word_gpts.curves("Muon", seed)[0] for seed in word_gpts.SEEDS]
    for accuracies in curves:
        assert (accuracies[0] - torch.tensor([0.5, 0.25])).abs().max() < 0.15
        assert (accuracies[-1] > torch.tensor([0.85, 0.65])).all()
    for seed, muon in enumerate(curves):
        on_labels, on_all = (word_gpts.curves(recipe, seed)[0][-1] for recipe in word_gpts.RECIPES[1:])
        assert (on_labels < torch.tensor([0.6, 0.35])).all()
        assert ((on_labels < on_all) & (on_all < muon[-1] - (0.1 if seed == 0 else 0.05))).all(), seed


def test_the_files_are_small_and_safe():
    for seed in word_gpts.SEEDS:
        file, model = word_gpts.FOLDER / f"word_gpts_{seed}.pt", word_gpts.load(seed)
        assert file.stat().st_size <= 1_000_000
        assert sum(W.numel() for W in model.parameters()) == 159_552
        assert not model.training and not any(W.requires_grad for W in model.parameters())
        assert all(type(W) is torch.Tensor and W.isfinite().all() for W in torch.load(file, weights_only=True).values())
    assert (word_gpts.FOLDER / "word_gpts_curves.pt").stat().st_size <= 100_000


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: word_gpts.load(3), r"seed: expected one of \(0, 1, 2\), got 3"),
        (lambda: word_gpts.train(word_gpts.untrained(), recipe="SGD"), "recipe: expected one of Muon; .*, got 'SGD'"),
        (lambda: word_gpts.curves("SGD"), "recipe, seed: expected one of Muon 0; .*, got SGD 0"),
    ],
)
def test_what_there_is_not_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_guess_is_as_good_as_chance_says():
    episode = unseen(4, B=200)
    logits = torch.randn(200 * 4, 80, generator=torch.Generator().manual_seed(0))
    right = (toy_language.answers(logits, episode) == episode.target).double().mean()
    assert abs(right - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 800)
