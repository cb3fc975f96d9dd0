"""In-context learning beside fine-tuning in a real language model: any causal one that Hugging Face transformers loads.

    pip install -e ".[lm]"
    python -m helpers.finetuning.real_models --model gpt2 --download        # fetches the model once, about 0.5 GB
    python -m helpers.finetuning.real_models --model PATH --data FILE.jsonl # a folder on this machine, your own data
    (a line of FILE.jsonl: {"text": "We laughed a lot.", "label": "Positive"}; without --data, 64 such sentences)

The same demonstrations are once a context and once training data, as in Dai et al. 2023: SGD on the projections of keys
and values, a step for each demonstration, in the context's order. Several sets of demonstrations give intervals (few
sets give narrow ones: of normal values, 8 hold the mean in 88 % of cases, 3 in 72 %). --untrained adds the same model
with random weights, and --keep goes on where it was stopped. In a notebook:

    model, tokenizer = pretrained.load("gpt2")
    print(language_models.table(language_models.compare(model, tokenizer, sentences.sentiment(), k=8)))

The measures are those of `similarity`. Attention's scores are taken as the logarithms of its weights, so each row of
them is known but for a constant: enough for the centred SimAM and for orders, which is why the raw SimAM, which such a
constant moves, is not among them. A query's own tokens are those that its prompts end in alike, but for the first of
the prompt without demonstrations, where many models leave attention that they do not need. Where positions are relative
(Llama, GPT-NeoX), a context changes no score of the first layer: its SimAM Δ is a cosine of rounding.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from helpers import checks
from helpers.finetuning import hugging_face, sentences, side_by_side, similarity
from helpers.finetuning.hugging_face import Reading
from helpers.finetuning.sentences import Example

OF_UPDATES = ("SimAOU", "SimAOU, normalised", "its floor", "SimAOU, per query")
OF_SCORES = ("SimAM, centred", "SimAM, before FT", "SimAM Δ, centred")
ORDERS = ("queries", "inputs")


class Comparison(NamedTuple):
    """S sets of k demonstrations and R learning rates: who was right, and how alike the L layers are."""

    k: int
    rates: tuple[float, ...]
    zsl: Tensor  # (S, Q)
    icl: Tensor  # (S, Q)
    ft: Tensor  # (S, R, Q)
    alike: dict[str, Tensor]  # each (S, R, L)


class Readings(NamedTuple):
    """The same queries, asked in three ways."""

    zsl: Reading
    ft: Reading
    icl: Reading

    def updates(self) -> tuple[Tensor, Tensor, Tensor]:
        """h_ICL, h_FT, h_ZSL, each (1, Q, L, d), as `side_by_side.METRICS` want them."""
        return self.icl.updates[None], self.ft.updates[None], self.zsl.updates[None]

    def scores(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each query, m_ICL, m_FT, m_ZSL, each (L, H, own): of the query's own tokens."""
        ends = zip(self.icl.tokens, self.zsl.tokens, strict=True)
        own = [min(_shared(few[::-1], alone[::-1]), len(alone) - 1) for few, alone in ends]
        rows = zip(*(part.scores for part in (self.icl, self.ft, self.zsl)), strict=True)
        return [tuple(m[..., -n:] for m in row) for row, n in zip(rows, own, strict=True)]


def _shared(tokens: list[int], other: list[int]) -> int:
    """With how many tokens both begin."""
    return len(os.path.commonprefix([tokens, other]))


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
    labels = sorted({example.label for example in examples})
    plan = _plan(model, tokenizer, examples, labels, k, rates, sets, queries, seed)
    done = []
    if keep:
        run = {"weights": _hash(model), "examples": [list(e) for e in examples], "rates": list(rates)}
        run |= {"k": k, "queries": queries, "seed": seed, "tokens": _prompt(tokenizer, plan[0])}
        done = _kept(keep, run)[:sets]
    for demos, asked in tqdm(plan[len(done) :], desc="demonstration sets"):
        done.append(_one_set(model, tokenizer, demos, asked, labels, rates))
        if keep:
            _keep(keep, run, done)
    found = {name: torch.stack([one[name] for one in done]) for name in done[0]}
    right = (found.pop(name) for name in ("zsl", "icl", "ft"))
    return Comparison(k, tuple(rates), *right, _with_orders(found))


def _plan(
    model, tokenizer, examples, labels, k, rates, sets, queries, seed
) -> list[tuple[list[Example], list[Example]]]:
    """The demonstrations and the queries of each set. Whatever does not fit is said here, before the work begins."""
    for name, value, least in (("k", k, 2), ("sets", sets, 2), ("queries", queries, 1)):
        checks.count(name, value, least=least)
    if not isinstance(rates, Sequence) or not rates:
        raise ValueError(f"rates: expected some learning rates, such as (0.01, 0.1), got {rates!r}.")
    for lr in rates:
        checks.number("rates", lr)
    if len(labels) < 2:
        raise ValueError(f"examples: expected at least 2 labels, got {', '.join(labels) or 'none'}.")
    hugging_face.key_value_weights(model)
    plan = [sentences.split(examples, k, seed + s) for s in range(sets)]
    plan = [(demos, others[:queries]) for demos, others in plan]
    for demos, asked in plan:
        longest = max(asked, key=lambda query: len(query.text))
        hugging_face.prompts(model, tokenizer, hugging_face.context_of(demos), longest, labels)
    return plan


def _one_set(model, tokenizer, demos, queries, labels, rates) -> dict[str, Tensor]:
    zsl, icl = (hugging_face.ask(model, tokenizer, queries, labels, context) for context in ((), demos))
    each, order = [], _listened(tokenizer, demos, icl)
    for lr in rates:
        with hugging_face.temporarily_finetuned(model, tokenizer, demos, lr) as heard:
            ft = hugging_face.ask(model, tokenizer, queries, labels)
        orders = {name: torch.einsum("qld,kld->qlk", getattr(ft, name), getattr(heard, name)) for name in ORDERS}
        each.append({"ft": ft.right} | _alike(Readings(zsl, ft, icl)) | orders)
    each = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    return {"zsl": zsl.right, "icl": icl.right, "order": order} | each


def _alike(asked: Readings) -> dict[str, Tensor]:
    """Each measure (L,), a mean over queries, and heads."""
    found = {name: side_by_side.METRICS[name](asked).mean((0, 1)) for name in OF_UPDATES}
    of_scores = [
        torch.stack([similarity.sim_am(*pair, centred=True) for pair in ((icl, ft), (icl, zsl), (icl, ft, zsl))])
        for icl, ft, zsl in asked.scores()
    ]  # Q of (3, L, H)
    return found | dict(zip(OF_SCORES, torch.stack(of_scores).mean((0, -1)), strict=True))


def _listened(tokenizer, demos: Sequence[Example], icl: Reading) -> Tensor:
    """How much of each query's attention each demonstration has (Q, L, k): its tokens' mean score, over all heads."""
    contexts = [hugging_face.tokens_of(tokenizer, hugging_face.context_of(demos[:i])) for i in range(len(demos) + 1)]
    found = []
    for m, tokens in zip(icl.scores, icl.tokens, strict=True):
        ends = [_shared(context, tokens) for context in contexts]
        each = [m[..., start:end] for start, end in zip(ends, ends[1:], strict=False)]
        if min(part.amax((1, 2)).min() for part in each) <= hugging_face.NOTHING:
            raise ValueError("k: attention to a demonstration is exactly 0: the model reads a window only; take fewer.")
        found.append(torch.stack([part.sum(1).mean(-1) for part in each], dim=-1))
    return torch.stack(found)


def _with_orders(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kendall's tau between the context's order of its demonstrations and fine-tuning's, of these and of another set.

    Fine-tuning's is how much each demonstration is like the query: in the inputs of attention, which is how a change of
    weights by SGD, a sum of e x^T, reads it; or in the queries (Dai et al.).
    """
    icl = found.pop("order")[:, None]  # (S, 1, Q, L, k)
    for name in ORDERS:
        ft = found.pop(name)  # (S, R, Q, L, k)
        for title, order in ((f"Kendall, {name}", ft), (f"  {name} of another set", ft.roll(1, dims=0))):
            found[title] = similarity.kendall(icl.expand_as(order), order).nanmean(2)
    return found


# --- kept on the way --------------------------------------------------------------------------------------------


def _hash(model) -> str:
    found = hashlib.sha256()
    for W in model.state_dict().values():
        found.update(W.detach().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def _prompt(tokenizer, one_set: tuple[list[Example], list[Example]]) -> list[int]:
    demos, queries = one_set
    return hugging_face.tokens_of(tokenizer, hugging_face.context_of(demos) + hugging_face.told(queries[0]))


def _keep(keep: str | Path, run: dict, done: list[dict[str, Tensor]]) -> None:
    beside = Path(f"{keep}.part")  # whoever stops it here still has the file of before
    torch.save({"run": run, "done": done}, beside)
    os.replace(beside, keep)


def _kept(keep: str | Path, run: dict) -> list[dict[str, Tensor]]:
    """What is done of this comparison; the file must agree in all of `run`."""
    if not Path(keep).exists():
        if not Path(keep).parent.is_dir():
            raise FileNotFoundError(f"keep: there is no folder {Path(keep).parent}: make it first, or name another.")
        return []
    try:
        saved = torch.load(keep, weights_only=True)
        differs = [name for name in run if saved["run"].get(name) != run[name]]
    except Exception as error:
        raise ValueError(f"keep: {keep} holds no comparison, or not all of it: use a new name.") from error
    if differs:
        raise ValueError(f"keep: {keep} holds another comparison ({', '.join(differs)} differ): use a new name.")
    return saved["done"]


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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.finetuning.real_models", description=__doc__.splitlines()[0]
    )
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
    given = parser.parse_args(arguments)
    options = {name: getattr(given, name) for name in ("k", "rates", "sets", "queries", "seed")}
    try:
        examples = sentences.read(given.data)
        model, tokenizer = hugging_face.load(given.model, download=given.download)
        print(given.model, table(compare(model, tokenizer, examples, keep=given.keep, **options)), sep="\n")
        if given.untrained:
            keep = f"{given.keep} untrained" if given.keep else None
            model = hugging_face.untrained(model)
            print("", "with random weights", table(compare(model, tokenizer, examples, keep=keep, **options)), sep="\n")
    except (ImportError, OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
