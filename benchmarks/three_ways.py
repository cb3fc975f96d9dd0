"""One figure with one slider, shown in three ways. The notebook of the benchmark has one cell for each."""

from __future__ import annotations

from types import SimpleNamespace

import ipywidgets
import matplotlib.pyplot as plt
import torch
from IPython.display import HTML, display

from helpers import constructions, learners, plotting, tasks, widgets

SIZE = (7.2, 3.2)  # inches of 100 page pixels
STEP = 0.02  # of the slider: what it shows is all of its value
LINE = tasks.linear_regression(B=1, N=20, d_x=1, noise=0.3, seed=1)
QUERIES = torch.linspace(-2.5, 2.5, 50, dtype=torch.float64)[:, None]  # (50, 1)
BATCH = tasks.linear_regression(B=256, N=20, d_x=10)


def stage(figure):
    left, right = figure.subplots(1, 2)
    left.set(xlim=(-2.6, 2.6), ylim=(-8, 8), xlabel="x, input", ylabel="y, label", title="One prompt, two learners")
    left.plot(LINE.x.flatten(), LINE.y.flatten(), **plotting.DATA)
    right.set(xlim=(-12, 12), ylim=(-12, 12), xlabel="ŷ, gradient descent", ylabel="ŷ, attention")
    right.set_title("256 prompts with 10-dimensional x")
    right.axline((0, 0), slope=1, **plotting.EXACT)
    artists = SimpleNamespace(
        gd=left.plot([], [], **plotting.GD, label="gradient descent")[0],
        attention=left.plot([], [], **plotting.ATTENTION, label="attention")[0],
        batch=right.plot([], [], ".", color=plotting.ATTENTION["color"])[0],
    )
    figure.legend(handles=[artists.gd, artists.attention], loc="outside lower center", ncols=2)
    return artists


def compute(eta):
    def both(x, y, x_query):
        attend = constructions.learner([constructions.gd_step(eta, N=20, d_x=x.shape[-1])])
        return learners.gd(x, y, x_query, eta).flatten(), attend(x, y, x_query).flatten()

    x, y = (t.expand(len(QUERIES), -1, -1) for t in LINE[:2])
    return SimpleNamespace(eta=eta, line=both(x, y, QUERIES), batch=both(*BATCH.shown))


def draw(artists, numbers):
    gd, attention = numbers.line
    artists.gd.set_data(QUERIES.flatten(), gd)
    artists.attention.set_data(QUERIES.flatten(), attention)
    artists.batch.set_data(*numbers.batch)
    gap = (numbers.batch[0] - numbers.batch[1]).abs().max()
    return f"η = {numbers.eta:.2f}: largest gap {gap:.1e}"


def step_size(positions: int) -> ipywidgets.FloatSlider:
    return widgets.slider("η step size", 0.0, 0.0, STEP * (positions - 1), STEP)


def ours(positions: int) -> widgets.Explorer:
    """`widgets.explore`."""
    return widgets.explore(stage, compute, draw, {"eta": step_size(positions)}, caption="One figure.", size=SIZE)


def interact(positions: int) -> None:
    """What most notebooks do: a new inline figure for each value."""

    @ipywidgets.interact(eta=step_size(positions))
    def show(eta):
        readout = draw(stage(plt.figure(figsize=SIZE)), compute(eta))
        plt.show()
        display(HTML(readout))


def floor(positions: int) -> ipywidgets.VBox:
    """Our pictures, made beforehand: what is left is the slider, the kernel's messages and the browser."""
    explorer, pictures = ours(positions), []
    for i in range(positions):
        readout = explorer.draw(explorer.picture.artists, compute(STEP * i))
        pictures.append((explorer.picture.png(), readout))
    slider, readout = step_size(positions), ipywidgets.HTML(layout=explorer.readout.layout)
    image = ipywidgets.Image(value=pictures[0][0], width=explorer.image.width, height=explorer.image.height)

    def show(change):
        image.value, readout.value = pictures[round(change.new / STEP)]

    slider.observe(show, names="value")
    return ipywidgets.VBox([slider, image, readout])
