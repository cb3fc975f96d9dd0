"""In-context learning beside fine-tuning in a real language model: any causal one that Hugging Face transformers loads.

    pip install -e ".[lm]"
    python -m helpers.finetuning.real_models --model gpt2 --download        # fetches the model once, about 0.5 GB
    python -m helpers.finetuning.real_models --model PATH --data FILE.jsonl # a folder on this machine, your own data
    (a line of FILE.jsonl: {"text": "We laughed a lot.", "label": "Positive"}; without --data, 64 such sentences)

The same demonstrations are once a context and once training data, as in Dai et al. 2023: SGD on the projections of keys
and values, a step for each demonstration, in the context's order. Several sets of demonstrations give intervals (few
sets give narrow ones: of normal values, 8 hold the mean in 88 % of cases, 3 in 72 %). --untrained adds the same model
with random weights, and --keep goes on where it was stopped. In a notebook:

    model, tokenizer = hugging_face.load("gpt2")
    print(real_models.table(real_models.compare(model, tokenizer, sentences.sentiment(), k=8)))

What is measured of each set, and how, says `one_set`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from helpers import checks, kept, progress, shell
from helpers.finetuning import hugging_face, one_set, projections, sentences, similarity
from helpers.finetuning.sentences import Example


class Comparison(NamedTuple):
    """S sets of k demonstrations and R learning rates: who was right, and how alike the L layers are."""

    k: int
    rates: tuple[float, ...]
    zsl: Tensor  # (S, Q)
    icl: Tensor  # (S, Q)
    ft: Tensor  # (S, R, Q)
    alike: dict[str, Tensor]  # each (S, R, L)


def compare(
    model,
    tokenizer,
    examples: Sequence[Example],
    *,
    k: int = 8,
    rates: Sequence[float] = (0.01, 0.1),
    sets: int = 8,
    queries: int = 16,
    seed: int = 0,
    keep: str | Path | None = None,
) -> Comparison:
    """For each of several sets of k examples: some of the others zero-shot, after these, and fine-tuned on these.

    `keep` names a file in which each set is saved when it is done; the same call again goes on from there.
    """
    rates = _numbers(rates)
    labels = sorted({example.label for example in examples})
    plan = _plan(model, tokenizer, examples, labels, k, sets, queries, seed)
    file, done = None, []
    if keep:
        run = {"weights": _hash(model), "examples": [list(e) for e in examples], "rates": rates}
        run |= {"k": k, "queries": queries, "seed": seed, "tokens": _prompt(tokenizer, plan[0])}
        file = kept.Kept(keep, "comparison", run)
        done = (file.read() or {"done": []})["done"][:sets]
        if len(done) < sets:
            file.tried(done=done)
    for demos, asked in progress.through(plan[len(done) :], "demonstration sets"):
        done.append(one_set.measure(model, tokenizer, demos, asked, labels, rates))
        if file:
            file.write(done=done)
    found = {name: torch.stack([one[name] for one in done]) for name in done[0]}
    right = (found.pop(name) for name in ("zsl", "icl", "ft"))
    return Comparison(k, tuple(rates), *right, one_set.with_orders(found))


def _numbers(rates) -> list[float]:
    """Learning rates of any kind, as plain numbers."""
    try:
        each = list(rates)
    except TypeError:
        each = []
    if not each:
        raise ValueError(f"rates: expected some learning rates, such as (0.01, 0.1), got {rates!r}.")
    numbers = [float(checks.number("rates", lr)) for lr in each]
    if min(numbers) < 0:
        raise ValueError(f"rates: expected learning rates of at least 0, got {min(numbers)}.")
    return numbers


def _plan(model, tokenizer, examples, labels, k, sets, queries, seed) -> list[tuple[list[Example], list[Example]]]:
    """The demonstrations and the queries of each set. Whatever does not fit is said here, before the work begins."""
    for name, value, least in (("k", k, 2), ("sets", sets, 2), ("queries", queries, 1), ("seed", seed, 0)):
        checks.count(name, value, least=least)
    if len(labels) < 2:
        raise ValueError(f"examples: expected at least 2 labels, got {', '.join(labels) or 'none'}.")
    projections.key_value_weights(model)
    projections.query_projections(model)
    projections.attention_outputs(model)
    plan = [sentences.split(examples, k, int(seed) + s) for s in range(sets)]
    plan = [(demos, others[:queries]) for demos, others in plan]
    for demos, asked in plan:
        longest = max(asked, key=lambda query: len(query.text))
        hugging_face.prompts(model, tokenizer, hugging_face.context_of(demos), longest, labels)
    return plan


def _hash(model) -> str:
    found = hashlib.sha256()
    for W in model.state_dict().values():
        found.update(W.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def _prompt(tokenizer, one_set: tuple[list[Example], list[Example]]) -> list[int]:
    demos, queries = one_set
    return hugging_face.tokens_of(tokenizer, hugging_face.context_of(demos) + hugging_face.told(queries[0]))


# --- shown ------------------------------------------------------------------------------------------------------


def table(found: Comparison) -> str:
    """The comparison as text: means over the sets with 95 % intervals; of similarities, the mean over the layers.

    >>> right = torch.tensor([[True, False], [True, False]])
    >>> found = Comparison(2, (0.1,), right, ~right, ~right[:, None], {"SimAOU": torch.tensor([[[0.2]], [[0.4]]])})
    >>> print(table(found).splitlines()[-1])
    SimAOU                    0.30 [0.20, 0.40]
    """
    S, R, Q = found.ft.shape
    L = next(iter(found.alike.values())).shape[-1]
    counts = torch.stack([similarity.corrections(found.zsl, found.ft[:, r], found.icl) for r in range(R)])
    lines = [
        f"{S} sets of {found.k} demonstrations, {Q} queries each; means, with 95 % bootstrap intervals over the sets.",
        f"Similarities: means over {L} layers.",
        "",
        _line("accuracy, zero-shot", [found.zsl.double().mean(1)]),
        _line("accuracy, in context", [found.icl.double().mean(1)]),
        "",
        f"{'learning rate':26}" + "".join(f"{lr:<22g}" for lr in found.rates).rstrip(),
        _line("accuracy, fine-tuned", found.ft.double().mean(2).T),
        _line("Rec2FTP", counts, lambda drawn: similarity.rec2ftp(drawn).recall),
        _line("  by chance", counts, lambda drawn: similarity.rec2ftp(drawn).chance),
    ]
    return "\n".join(lines + [_line(name, values.mean(2).T) for name, values in found.alike.items()])


def _line(name: str, columns: Sequence[Tensor], statistic=None) -> str:
    spans = [similarity.bootstrap(values, statistic) for values in columns]
    return f"{name:26}" + "".join(f"{'{:.2f} [{:.2f}, {:.2f}]'.format(*span):22}" for span in spans).rstrip()


COMMAND = "python -m helpers.finetuning.real_models"


def main(arguments: Sequence[str] | None = None) -> None:
    given = None

    def goes_on() -> str:
        if given and given.keep:
            return "What is done is kept, and the same command goes on from there."
        return "Nothing is kept; with --keep FILE the same command would go on."

    with shell.command(COMMAND, goes_on):
        given = _parser().parse_args(arguments)
        options = {name: getattr(given, name) for name in ("k", "rates", "sets", "queries", "seed")}
        examples = sentences.read(given.data)
        model, tokenizer = hugging_face.load(given.model, download=given.download)
        print(given.model, table(compare(model, tokenizer, examples, keep=given.keep, **options)), sep="\n", flush=True)
        if given.untrained:
            keep = f"{given.keep} untrained" if given.keep else None
            model = hugging_face.untrained(model)
            print("", "with random weights", table(compare(model, tokenizer, examples, keep=keep, **options)), sep="\n")


def _parser() -> shell.Parser:
    parser = shell.Parser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a folder, or a model's name on the Hub")
    parser.add_argument("--download", action="store_true", help="fetch the model from the Hub if it is not here")
    parser.add_argument("--untrained", action="store_true", help="then the same with random weights, as a control")
    parser.add_argument(
        "--data", default=sentences.SENTIMENT, help='JSON lines {"text": …, "label": …}; else 64 sentences'
    )
    parser.add_argument("--k", type=int, default=8, help="demonstrations in a set")
    parser.add_argument("--sets", type=int, default=8, help="sets of demonstrations")
    parser.add_argument("--queries", type=int, default=16, help="at most so many queries for each set")
    parser.add_argument("--rates", type=float, nargs="+", default=(0.001, 0.01, 0.1), help="learning rates")
    parser.add_argument("--seed", type=int, default=0, help="which demonstrations")
    parser.add_argument("--keep", help="a file to save each set in, and to go on from")
    return parser


if __name__ == "__main__":
    main()
