"""The walkthrough: every number is attention's or gradient descent's, every colour is true, every cell can be read."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from overlaps import unreadable

from helpers import attention, constructions, learners, tasks, walkthrough, walkthrough_sheet, widgets

EXACT, WRONG = 1e-12, 1e-3
given_any_controls = given(
    step=st.integers(0, walkthrough.LAST_STEP),
    x_q=st.floats(-9, 9),
    y_1=st.floats(-9, 9),
    eta=st.floats(-4, 4),
)


def gap(a, b):
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def prompt_and_layer(x_q, y_1, eta):
    x, y, x_query, W_0, _ = walkthrough.example(x_q, y_1, eta)
    prompt = tasks.Prompt(x[None], y[None], x_query)
    return prompt, W_0, constructions.gd_step(eta, N=3, d_x=2, W_0=W_0)


def of_attention(z, layer):
    """What `attention.linear` has in hand on its way, taken from its own projections and its own mixing."""
    found = {}

    def mix(q, k, v):
        found.update(q=q[0, 0, -1:], k=k[0, 0], v=v[0, 0], score=k[0, 0] @ q[0, 0, -1:].mT)
        found.update(product=torch.einsum("ij,ik->ik", found["score"], found["v"]), mixed=(q @ (k.mT @ v))[0, 0, -1:])
        return q @ (k.mT @ v)

    return found | {"after": attention._attend(z, layer, mix, include_query=False)[0, -1:]}


@given_any_controls
def test_each_number_is_the_one_in_attention(step, x_q, y_1, eta):
    now = walkthrough.compute(step, x_q, y_1, eta).numbers
    prompt, W_0, layer = prompt_and_layer(x_q, y_1, eta)
    z = tasks.tokens(prompt, W_0)
    theirs = of_attention(z, layer)
    assert all(gap(now[name], W) == 0 for name, W in layer._asdict().items())
    assert gap(now["z"], z[0]) == 0
    assert max(gap(now[name], theirs[name]) for name in ("q", "k", "v", "score", "product")) <= EXACT
    for n in (1, 2, 3):
        assert gap(now["sums"][n - 1], theirs["product"][:n].sum(0)) <= EXACT
    assert gap(now["sums"][-1:], theirs["mixed"]) <= 1e-11  # of numbers up to some hundreds
    assert (
        gap(now["after"], theirs["after"]) <= 1e-11 and gap(now["after"], attention.linear(z, layer)[0, -1:]) <= 1e-11
    )
    assert gap(now["update"], theirs["after"] - z[0, -1:]) <= 1e-11


controls = {
    "step": widgets.slider("step", 0, 0, walkthrough.LAST_STEP, 1),
    "x_q": widgets.slider("x_q", 1.0, -2.0, 2.0, 0.5),
    "y_1": widgets.slider("y₁", 2.0, -3.0, 3.0, 0.5),
    "eta": widgets.slider("η", 1.2, 0.0, 3.0, 0.3),
}
ENDS = list(itertools.product([-2.0, 0.0, 1.0, 1.5, 2.0], [-3.0, 0.5, 2.0, 3.0], [0.0, 0.3, 1.2, 3.0]))


@pytest.mark.parametrize("x_q, y_1, eta", ENDS)
def test_the_last_numbers_are_gradient_descents_and_every_partial_sum_is_shared(x_q, y_1, eta):
    prompt, W_0, _ = prompt_and_layer(x_q, y_1, eta)
    for step in range(walkthrough.LAST_STEP + 1):
        now = walkthrough.compute(step, x_q, y_1, eta).numbers
        y_gd, W = learners.gd(*prompt.shown, eta, W_0=W_0), learners.gd_weights(prompt.x, prompt.y, eta, W_0=W_0)
        assert gap(now["y_attn"], y_gd) <= EXACT and gap(now["y_gd"], y_gd) <= EXACT and gap(now["W"], W[0]) <= EXACT
        assert gap(now["v"][:, 2:], now["error"]) <= EXACT
        assert gap(now["sums"][:, 2:], now["gradient_seen"]) <= EXACT
        assert gap(now["update"][:, 2:], -now["delta_seen"]) <= EXACT


@given_any_controls
def test_the_last_number_is_gradient_descents_for_any_prompt(step, x_q, y_1, eta):
    prompt, W_0, _ = prompt_and_layer(x_q, y_1, eta)
    now, y_gd = walkthrough.compute(step, x_q, y_1, eta).numbers, learners.gd(*prompt.shown, eta, W_0=W_0)
    size = max(1.0, now["product"].abs().max().item())
    assert gap(now["y_attn"], y_gd) <= EXACT * size and gap(now["y_gd"], y_gd) <= EXACT * size


@pytest.mark.parametrize("spoil", ["W_Q", "W_K", "W_V", "P"])
def test_a_layer_with_one_matrix_wrong_is_noticed(monkeypatch, spoil):
    def wrong(*args, **kwargs):
        layer = constructions_gd_step(*args, **kwargs)
        return layer._replace(**{spoil: 1.1 * getattr(layer, spoil)})

    constructions_gd_step = constructions.gd_step
    prompt, W_0, _ = prompt_and_layer(1.0, 2.0, 1.2)
    monkeypatch.setattr(walkthrough.constructions, "gd_step", wrong)
    now = walkthrough.compute(9, 1.0, 2.0, 1.2).numbers
    assert gap(now["y_attn"], learners.gd(*prompt.shown, 1.2, W_0=W_0)) > WRONG


# --- what a number is made of ---------------------------------------------------------------------------------


def made_of(name, at, **controls):
    mask = walkthrough.compute(9, **{"x_q": 1.0, "y_1": 2.0, "eta": 1.2} | controls).origins[name][:, *at]
    return {source for source, here in zip(walkthrough.SOURCES, mask, strict=True) if here}


@pytest.mark.parametrize(
    "name, at, sources",
    [
        ("z", (0, 1), {"inputs"}),
        ("z", (1, 2), {"labels"}),
        ("z", (3, 2), {"query", "W₀"}),
        ("q", (0, 0), {"query"}),
        ("q", (0, 2), set()),
        ("k", (1, 1), {"inputs"}),
        ("v", (0, 0), set()),
        ("v", (2, 2), {"inputs", "labels", "W₀"}),
        ("score", (0, 0), {"inputs", "query"}),
        ("sums", (2, 2), {"inputs", "labels", "query", "W₀"}),
        ("after", (0, 0), {"query"}),
        ("y_attn", (0, 0), set(walkthrough.SOURCES)),
        ("delta_W", (0, 1), {"inputs", "labels", "W₀", "η"}),
        ("y_gd", (0, 0), set(walkthrough.SOURCES)),
    ],
)
def test_a_number_is_made_of_what_changes_it(name, at, sources):
    assert made_of(name, at) == sources


def test_both_predictions_are_made_of_the_same_and_with_no_step_of_less():
    assert made_of("y_attn", (0, 0)) == made_of("y_gd", (0, 0))
    assert made_of("y_attn", (0, 0), eta=0.0) == made_of("y_gd", (0, 0), eta=0.0) == {"query", "W₀", "η"}


def test_origins_agree_with_automatic_differentiation():
    """A number depends on a source where its derivative is not 0; among less round numbers none is by chance."""
    x, y, x_query, W_0, eta = walkthrough.example(1.37, 2.11, 1.2)
    x = x + 0.123
    found = walkthrough.origins((x, y, x_query, W_0, eta))
    for i, source in enumerate((x, y, x_query, W_0)):
        for name in ("z", "k", "v", "score", "sums", "update", "after", "outer", "delta_W", "W", "y_gd"):

            def number(given, i=i, name=name):
                return walkthrough.numbers(*[given if j == i else s for j, s in enumerate((x, y, x_query, W_0))], eta)[
                    name
                ]

            slope = torch.autograd.functional.jacobian(number, source).flatten(2).abs().sum(-1)
            assert torch.equal(found[name][i], slope > 1e-9), (name, i)


# --- the picture ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def widget():
    return widgets.explore(
        walkthrough_sheet.stage,
        walkthrough.compute,
        walkthrough_sheet.draw,
        controls,
        caption="Two tables.",
        size=walkthrough_sheet.SIZE,
    )


def show(widget, **values):
    for name, value in values.items():
        widget.controls[name].value = value
    return widget.picture.artists


@pytest.mark.parametrize("x_q, y_1, eta", [(1.0, 2.0, 1.2), *ENDS[::7]])
def test_every_text_can_be_read(widget, x_q, y_1, eta):
    for step in (0, 7, 9):
        show(widget, step=step, x_q=x_q, y_1=y_1, eta=eta)
        assert unreadable(widget.picture.figure) == []


def test_a_number_too_wide_for_its_cell_is_noticed(widget):
    artists = show(widget, step=9, x_q=1.0, y_1=2.0, eta=1.2)
    artists.cells[0].text.set_text("−1234.56")
    assert any("leaves its box" in fault for fault in unreadable(widget.picture.figure))
    show(widget, step=8)


@pytest.mark.parametrize("step", range(walkthrough.LAST_STEP + 1))
def test_cells_fill_step_by_step_and_hold_their_numbers(widget, step):
    artists = show(widget, x_q=1.0, y_1=2.0, eta=1.2, step=step)
    now = widget.compute(**widget.values())
    framed = [cell for cell in artists.cells if cell.frame.get_edgecolor() == to_rgba(cell.road)]
    assert bool(framed) == (step > 0)
    for cell in artists.cells:
        row = max(now.added - 1, 0) if cell.row == walkthrough_sheet.RUNNING else cell.row
        number = walkthrough.written(now.numbers[cell.name][row, cell.column].item())
        assert cell.text.get_text() == (number if cell.appears <= step else "")
        assert cell not in framed or cell.text.get_text()


def test_the_strokes_are_the_origins(widget):
    artists = show(widget, x_q=1.0, y_1=2.0, eta=1.2, step=9)
    now = widget.compute(**widget.values())
    colours = artists.strokes.get_facecolor().reshape(len(artists.cells), len(walkthrough.SOURCES), 4)
    for cell, strokes in zip(artists.cells, colours, strict=True):
        row = 2 if cell.row == walkthrough_sheet.RUNNING else cell.row
        assert (strokes[:, 3] > 0).tolist() == now.origins[cell.name][:, row, cell.column].tolist(), cell.name


def test_every_step_is_said_in_another_sentence(widget):
    said = []
    for step in range(walkthrough.LAST_STEP + 1):
        show(widget, x_q=1.0, y_1=2.0, eta=1.2, step=step)
        said.append(widget.readout.value)
    assert len(set(said)) == len(said) and all(f"Step {i} of 9" in text for i, text in enumerate(said))
