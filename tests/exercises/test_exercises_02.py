"""The checks of notebook 02's exercises accept right answers, refuse plausible wrong ones, and never raise."""

import pytest
import torch

from helpers.exercises import notebook_02 as exercises

RIGHT, WRONG = "✔ Right", "Not yet"


def one_by_one(V, K, Q):
    """Right, and slow."""
    return torch.stack([V @ K.T @ q for q in Q.T], dim=1)


def scores_first(V, K, Q):
    return V @ (K.T @ Q)


ATTENTION = {
    "right": (lambda V, K, Q: (V @ K.T) @ Q, RIGHT),
    "right, by einsum": (lambda V, K, Q: torch.einsum("vk,km->vm", torch.einsum("vn,kn->vk", V, K), Q), RIGHT),
    "right, query by query": (one_by_one, RIGHT),
    "right numbers, scores first": (scores_first, "Not yet: N x m scores are made"),
    "as the review prints it": (lambda V, K, Q: K @ V.T @ Q, "Not yet: your function raised RuntimeError"),
    "transposed": (lambda V, K, Q: ((V @ K.T) @ Q).T, "Not yet: expected a tensor of shape (3, 4)"),
    "divided by N": (lambda V, K, Q: (V @ K.T) @ Q / V.shape[1], "Not yet: the largest difference"),
    "softmax": (lambda V, K, Q: V @ torch.softmax(K.T @ Q, dim=0), WRONG),
    "right, in float32": (
        lambda V, K, Q: ((V @ K.T) @ Q).float(),
        "Not yet: right as far as torch.float32 goes, but the numbers you were given are torch.float64.",
    ),
    "wrong, in float32": (lambda V, K, Q: ((V @ K.T) @ Q).float() / 2, "Not yet: the largest difference"),
    "NaN": (lambda V, K, Q: (V @ K.T) @ Q * float("nan"), WRONG),
    "nothing": (lambda V, K, Q: ..., WRONG),
    "fails at length only": (lambda V, K, Q: (V @ K.T) @ Q if len(Q.T) < 10 else 1 / 0, "Not yet: your function"),
}


@pytest.mark.parametrize("case", ATTENTION)
def test_linear_attention_is_told_from_other_products(case, capsys):
    answer, verdict = ATTENTION[case]
    exercises.check_linear_attention(answer)
    said = capsys.readouterr().out
    assert said.startswith(verdict) and said.count("\n") == 1


@pytest.mark.parametrize(
    "answers, verdict",
    [
        ((0.5, 3, 3, 3), RIGHT),
        ((torch.tensor(0.5), 3.0, torch.tensor(3), 3), RIGHT),
        ((17 / 32, 3, 3, 3), "Not yet: look again at error_of_17."),
        ((0.5, 3, 4, 3), "Not yet: look again at rank_with_the_fourth."),
        ((0.5, 8, 3, 4), "Not yet: look again at rank_of_three, rank_with_the_first_twice."),
        ((0.5, ..., 3, 3), "Not yet: rank_of_three: expected one finite number, got Ellipsis."),
        ((None, None, None, None), "Not yet: error_of_17: expected one finite number"),
        (("½", 3, 3, 3), "Not yet: error_of_17: expected one finite number"),
        ((float("nan"), 3, 3, 3), "Not yet: error_of_17: expected one finite number"),
    ],
)
def test_the_four_numbers_are_right_or_named(answers, verdict, capsys):
    exercises.check_memories(*answers)
    assert capsys.readouterr().out.startswith(verdict)


OVERWRITE = {
    "right": (lambda W, k, v: W + torch.outer(v - W @ k, k) / (k @ k), RIGHT),
    "β = 1": (lambda W, k, v: W + torch.outer(v - W @ k, k), "Not yet: the largest difference"),
    "divided by the length, not its square": (lambda W, k, v: W + torch.outer(v - W @ k, k) / k.norm(), WRONG),
    "Hebb": (lambda W, k, v: W + torch.outer(v, k) / (k @ k), WRONG),
    "all else forgotten": (lambda W, k, v: torch.outer(v, k) / (k @ k), WRONG),
    "four entries off by a millionth": (
        lambda W, k, v: W + torch.outer(v - W @ k, k) / (k @ k) + 1e-6 * torch.eye(4, 6),
        "Not yet: the largest difference",
    ),
    "all else forgotten, in place": (
        lambda W, k, v: W.zero_() + torch.outer(v, k) / (k @ k),
        "Not yet: your function changed W",
    ),
    "right, in place": (
        lambda W, k, v: W.add_(torch.outer(v - W @ k, k) / (k @ k)),
        "Not yet: your function changed W",
    ),
    "right, in float32": (
        lambda W, k, v: (W + torch.outer(v - W @ k, k) / (k @ k)).float(),
        "Not yet: right as far as torch.float32 goes",
    ),
    "nothing": (lambda W, k, v: None, "Not yet: the function returns nothing"),
    "the reading instead of the matrix": (lambda W, k, v: v, "Not yet: expected a tensor of shape (4, 6)"),
    "a slip": (lambda W, k: W, "Not yet: your function raised TypeError"),
}


@pytest.mark.parametrize("case", OVERWRITE)
def test_overwriting_keeps_what_orthogonal_keys_read(case, capsys):
    answer, verdict = OVERWRITE[case]
    exercises.check_overwrite(answer)
    assert capsys.readouterr().out.startswith(verdict)


def test_stubs_that_nobody_touched_give_nothing_away(capsys):
    exercises.check_linear_attention(lambda V, K, Q: None)
    exercises.check_memories(..., ..., ..., ...)
    exercises.check_overwrite(lambda W, k, v: None)
    assert "Hint" not in capsys.readouterr().out
