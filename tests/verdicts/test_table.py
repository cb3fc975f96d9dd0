"""The shipped table: that it is the claims' own, that it is whole, and that the script which makes it goes on."""

import inspect
import re

import pytest

from helpers import verdicts
from helpers.verdicts import EXACT, HOLDS, MEASURED, PROVED, REPORTED, RESTATED, UNCHECKED, VERDICTS
from helpers.verdicts.__main__ import measure_all
from helpers.verdicts.shipped import Line, load_table, save_table

ALL, TABLE = verdicts.all_claims(), verdicts.load_table()
PAIRS = list(zip(ALL, TABLE, strict=False))


def takes_shift(claim):
    return claim.measure is not None and "shift" in inspect.signature(claim.measure).parameters


# --- it is the claims' ----------------------------------------------------------------------------------------


def test_the_table_has_every_claim_once_and_in_order():
    assert [(line.notebook, line.name) for line in TABLE] == [(claim.notebook, claim.name) for claim in ALL]
    assert len({(line.notebook, line.name) for line in TABLE}) == len(TABLE) >= 40


@pytest.mark.parametrize("claim, line", PAIRS, ids=lambda each: each.name)
def test_a_line_says_what_its_claim_says(claim, line):
    assert (line.kind, line.paper) == (claim.kind, claim.paper)
    assert line.says == claim.says + (f" Instead: {claim.instead}" if line.verdict == RESTATED else "")
    assert re.fullmatch(r"[A-ZΔ].*[.]", claim.says) and (not claim.instead or claim.instead.endswith("."))
    assert line.kind in verdicts.KINDS and line.verdict in VERDICTS
    assert (line.verdict == UNCHECKED) == (line.kind == REPORTED) == (line.ours == "–")
    assert line.paper or line.kind != REPORTED  # what is only quoted has a source


@pytest.mark.parametrize("claim, line", PAIRS, ids=lambda each: each.name)
def test_the_draws_are_counted_where_there_are_any(claim, line):
    if takes_shift(claim):
        same, draws = map(int, re.fullmatch(r"(\d) of (\d)", line.robust).groups())
        assert 1 <= same <= draws
    else:
        assert line.robust == "–"


DRAW_NO_PROMPTS = {  # weights are looked at, or records of runs
    "at_five_sizes",
    "moattn_learns_more",
    "more_than_a_plain_mean",
    "one_hot_positions_drop_early",
    "the_learned_kernel",
    "two_heads_cancel",
}


def test_all_that_is_measured_on_prompts_can_be_measured_on_others():
    measured = [claim for claim in verdicts.all_claims() if claim.kind == MEASURED]
    assert {claim.name for claim in measured if not takes_shift(claim)} == DRAW_NO_PROMPTS


def test_what_is_exact_or_proved_holds_as_stated_or_in_another_form():
    assert all(line.verdict in (HOLDS, RESTATED) for line in TABLE if line.kind in (EXACT, PROVED))


def test_what_holds_without_a_control_would_be_marked_and_there_is_none():
    assert [line for line in TABLE if line.ours.endswith("no control")] == []
    for line in TABLE:
        if line.verdict == HOLDS:
            assert "control" in line.ours or "beyond" in line.ours, line.name


def test_another_form_is_measured_where_one_is_named():
    for claim in verdicts.claims_of("03") + verdicts.claims_of("12"):
        if claim.instead and claim.kind == EXACT:
            assert claim.measure().restated is not None, claim.name


CHEAP = [claim for notebook in ("03", "12") for claim in verdicts.claims_of(notebook) if claim.kind == EXACT]


@pytest.mark.parametrize("claim", CHEAP, ids=lambda claim: claim.name)
def test_what_is_quickly_measured_comes_out_as_shipped(claim):
    (shipped,) = [line for line in TABLE if (line.notebook, line.name) == (claim.notebook, claim.name)]
    assert verdicts.line(claim.notebook, claim.name) == shipped


# --- how it is made -------------------------------------------------------------------------------------------


def test_bad_claims_are_refused():
    with pytest.raises(ValueError, match="kind: expected one of ● exact, .*, got 'exact'"):
        verdicts.claim("exact", "?")
    with pytest.raises(ValueError, match="notebook: expected one of 01, 02, .*, got '99'"):
        verdicts.claims_of("99")


def small(measure, kind=MEASURED, **more):
    measure.__module__ = "helpers.verdicts.notebook_03"
    return verdicts.claim(kind, "1 < 2 & so on.", **more)(measure)


def test_the_table_in_html_is_whole_and_escaped_and_says_whose_the_sentence_is():
    def theirs():
        return verdicts.identity(0.0, broken=1.0)

    def ours():
        return verdicts.identity(0.0, broken=1.0)

    claims = small(theirs, EXACT, paper="<b>x</b>", instead="never shown"), small(ours, EXACT)
    page = verdicts.as_html([row.line("3 of 9") for row in verdicts.table(claims)])
    assert "1 &lt; 2 &amp; so on." in page and "<b>" not in page and "never shown" not in page
    assert page.count("<td>this series</td>") == 1 and page.count("<td>3 of 9</td>") == 2
    assert page.count("<tr>") == page.count("</tr>") == 4 and page.count("<th>") == 6


def test_robust_counts_the_draws_with_the_verdict_of_the_first(monkeypatch):
    def often(shift: int = 0):
        ours = verdicts.number(1.0 if shift in (0, 3, 4) else 9.0)
        return verdicts.Evidence(verdicts.Bounds(ours, at_most=2), control=verdicts.number(3.0))

    def always():
        return verdicts.identity(0.0, broken=1.0)

    monkeypatch.setattr(verdicts, "claims_of", lambda notebook: [small(often), small(always)])
    assert verdicts.line("03", "often", draws=9)[-2:] == (HOLDS, "3 of 9")
    assert verdicts.line("03", "often", draws=3)[-2:] == (HOLDS, "1 of 3")
    assert verdicts.line("03", "always", draws=9)[-2:] == (HOLDS, "–")


def test_the_claim_is_shown_with_its_numbers_and_its_verdict(capsys):
    def bad():
        return verdicts.Evidence(verdicts.Bounds(verdicts.Number(9.0, 8.0, 9.5, "n = 4"), at_most=2))

    verdicts.show(small(bad))
    assert capsys.readouterr().out == "◐ 1 < 2 & so on.\n  9.0 [8.0, 9.5], n = 4: does not reproduce here\n"


def test_the_script_goes_on_where_it_was_and_keeps_the_other_notebooks(tmp_path, capsys):
    file, first = tmp_path / "table.json", verdicts.claims_of("03")[0].name
    other, kept = TABLE[0], Line("03", first, EXACT, "Kept.", "", "1.0", HOLDS)
    save_table([other, Line("03", "gone", EXACT, "No claim any more.", "", "1.0", HOLDS)], file)
    save_table([kept], file.with_suffix(".2_draws.part"))
    measure_all(["03"], draws=2, processes=1, file=file)
    assert "Measured before: 1 claims." in capsys.readouterr().out
    made = load_table(file)
    assert made[:2] == [other, kept]
    assert made[2:] == [verdicts.line("03", claim.name) for claim in verdicts.claims_of("03")[1:]]
    assert [each.name for each in tmp_path.iterdir()] == ["table.json"]
