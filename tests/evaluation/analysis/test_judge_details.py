"""What a comparison says beyond win rates: sizes, exact tests, agreement of judges, and who wins on all of them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, wilcoxon

from diffalign.evaluation.analysis.judge_details import judge_details
from diffalign.evaluation.analysis.judge_scores import judge_scores
from diffalign.evaluation.analysis.judges_together import judges_together
from diffalign.evaluation.compare.result import Comparison, Judgement
from diffalign.evaluation.compare.run import compare
from diffalign.evaluation.report.verdict import verdict_of
from diffalign.evaluation.report.write import write_report
from diffalign.evaluation.samples.diversity import Diversity
from diffalign.evaluation.stats.rates.win_rate import win_rate
from tests.evaluation.fakes import PlainPolicy, Praise, Redness, TalkingPolicy


def compared(judges, prompts=None):
    """A comparison of given scores: by judge its role and its ``[base, aligned]`` of each row."""
    count = len(next(iter(judges.values()))[1])
    prompts = prompts or [f"p{k}" for k in range(count)]
    judgements = []
    for name, (role, pairs) in judges.items():
        win = win_rate([b for _, b in pairs], [a for a, _ in pairs], prompts)
        judgements.append(Judgement(name, role, name, "points", "", win, 0.0, 0.0))
    rows = [
        {"prompt": prompts[k], "seed": 0, "base": "", "aligned": "", "hits": {},
         "scores": {name: list(pairs[k]) for name, (_, pairs) in judges.items()}}
        for k in range(count)
    ]  # fmt: skip
    return Comparison(tuple(judgements), Diversity(1.0, 1.0, "none", 0), count, 1, 0, tuple(rows), medium="text")


GAPS = [3.0, 1.0, -0.5, 2.0, 0.0, 4.0, 1.5, 2.5]
TIED = [(0.0, gap) for gap in GAPS]


def test_sizes_and_tests_are_those_of_the_prompts():
    (detail,) = judge_details(compared({"held": ("held-out", TIED)}))
    assert (detail.won, detail.decided) == (6, 7)
    expected = binomtest(6, 7).proportion_ci(method="exact")
    assert detail.exact == pytest.approx((expected.low, expected.high))
    assert detail.difference.value == pytest.approx(sum(GAPS) / 8) and detail.difference.n == 8
    assert detail.wilcoxon_p == pytest.approx(wilcoxon([gap for gap in GAPS if gap]).pvalue)
    assert detail.sign_p == detail.holm_p == pytest.approx(binomtest(6, 7).pvalue)


def test_samples_of_a_prompt_count_once():
    alone = judge_details(compared({"held": ("held-out", TIED)}))[0]
    twice = judge_details(compared({"held": ("held-out", TIED * 2)}, [f"p{k}" for k in range(8)] * 2))[0]
    assert (twice.won, twice.decided, twice.wilcoxon_p) == (alone.won, alone.decided, alone.wilcoxon_p)
    assert twice.effect == alone.effect and twice.difference.low == pytest.approx(alone.difference.low)


def test_only_held_out_judges_are_corrected_for_their_number():
    strong, weak = [(0.0, 1.0)] * 12, [(0.0, 1.0)] * 10 + [(1.0, 0.0)] * 2
    found = judge_details(compared({"a": ("held-out", strong), "b": ("held-out", weak), "t": ("trained-on", strong)}))
    assert [detail.holm_p for detail in found[:2]] == pytest.approx([2 * found[0].sign_p, found[1].sign_p])
    assert math.isnan(found[2].holm_p)


def test_scores_that_are_not_finite_are_left_out_on_both_sides():
    comparison = compared({"held": ("held-out", [(0.0, 1.0), (math.nan, 1.0), (0.0, math.inf), (1.0, 0.0)])})
    base, aligned = judge_scores(comparison, "held")
    assert [math.isnan(x) for x in base] == [math.isnan(x) for x in aligned] == [False, True, True, False]
    assert judge_details(comparison)[0].difference.n == 2


def test_a_saved_comparison_has_the_same_details(tmp_path):
    judges = {"red": (Redness(nan_at=(1,)), "held-out"), "blue": (Redness(-1.0), "held-out")}
    made = compare(PlainPolicy(), ["a", "b", "c"], [0, 1], judges, folder=tmp_path)
    loaded = Comparison.load(tmp_path / "comparison.json")
    assert judge_details(loaded) == judge_details(made) and judges_together(loaded) == judges_together(made)
    assert loaded.diversity == made.diversity and 1 < made.diversity.base_vendi < 2


def test_two_judges_agree_as_their_tables_say():
    up = [(0.0, gap) for gap in GAPS]
    down = [(0.0, -gap) for gap in GAPS]
    same = judges_together(compared({"a": ("held-out", up), "b": ("held-out", [(5.0, 5 + 2 * g) for g in GAPS])}))
    assert same.agreements[0].kappa.value == 1.0 == pytest.approx(same.agreements[0].tau)
    assert (same.dominance.better, same.dominance.worse, same.dominance.equal) == (6, 1, 1)
    opposite = judges_together(compared({"a": ("held-out", up), "b": ("held-out", down)}))
    assert opposite.agreements[0].tau == pytest.approx(-1.0) and opposite.agreements[0].kappa.agreement == 1 / 8
    assert opposite.dominance.traded == 7
    assert judges_together(compared({"a": ("held-out", up)})) is None


def test_dominance_counts_held_out_judges_if_there_are_two():
    up, down = [(0.0, gap) for gap in GAPS], [(0.0, -gap) for gap in GAPS]
    judges = {"a": ("held-out", up), "b": ("held-out", up), "t": ("trained-on", down)}
    together = judges_together(compared(judges))
    assert together.judges == ("a", "b") and together.dominance.better == 6 and len(together.agreements) == 3
    one = judges_together(compared({"a": ("held-out", up), "t": ("trained-on", down)}))
    assert one.judges == ("a", "t") and one.dominance.traded == 7


def test_the_verdict_warns_of_a_finding_that_several_judges_explain():
    clear = [(0.0, 1.0)] * 12 + [(1.0, 0.0)] * 3  # p = 0.035
    none = [(0.0, 1.0)] * 8 + [(1.0, 0.0)] * 7
    alone = verdict_of(compared({"a": ("held-out", clear)}))
    assert alone.tone == "good" and not any("Holm" in sentence for sentence in alone.sentences)
    three = verdict_of(compared({"a": ("held-out", clear), "b": ("held-out", none), "c": ("held-out", none)}))
    assert any("3 held-out judges" in s and "the difference on a is not significant" in s for s in three.sentences)
    strong = [(0.0, 1.0)] * 15
    sure = verdict_of(compared({"a": ("held-out", strong), "b": ("held-out", none)}))
    assert not any("Holm" in sentence for sentence in sure.sentences)


def test_the_page_folds_the_details_away_and_escapes_names(tmp_path):
    judges = {"<b>red</b>": (Redness(), "held-out"), "blue": (Redness(-1.0), "trained-on")}
    comparison = compare(PlainPolicy(), [f"{k}" for k in range(8)], [0, 1], judges, folder=tmp_path)
    page = write_report(tmp_path, comparison=comparison).read_text(encoding="utf-8")
    folded = page[page.index("<details>") : page.index("</details>")]
    assert "More numbers: sizes, exact tests, agreement of judges" in folded
    assert "8 of 8" in folded and "exact: 63 % to 100 %" in folded and "+\u221e" in folded
    assert "&lt;b&gt;red&lt;/b&gt; and blue" in folded and "<b>red</b>" not in page
    assert "a trade-off in 100 %" in folded and "Vendi score" in folded


class Lists(Praise):
    """Number of list items."""

    name = "lists"

    def score(self, prompts, texts):
        import torch

        return torch.tensor([float(text.count("\n- ")) for text in texts])


class ListingPolicy(TalkingPolicy):
    """The aligned model writes five list items on average, its reference three, and both any number of words."""

    def sample(self, prompts, seeds, *, reference=False, **settings):
        texts = []
        for prompt in prompts:
            rng = np.random.default_rng([len(prompt), reference])
            items, words = rng.poisson(3 if reference else 5), rng.poisson(30)
            texts.append(prompt + " so" * words + "\n- item" * items)
        return texts


def test_texts_that_differ_in_formatting_have_a_rate_at_equal_style(tmp_path):
    prompts = ["x" * k for k in range(1, 41)]
    made = compare(ListingPolicy(), prompts, [0], {"lists": (Lists(), "held-out")}, folder=tmp_path)
    styled = made.lengths.styled["lists"]
    assert made.judgements[0].win.low > 0.5 and styled.low < 0.5 and styled.slopes["lists"] > 1
    assert Comparison.load(tmp_path / "comparison.json").lengths == made.lengths
    page = write_report(tmp_path, comparison=made).read_text(encoding="utf-8")
    assert "At equal length and formatting" in page
    plain = compare(TalkingPolicy(), prompts, [0], {"praise": (Praise(), "held-out")}, folder=tmp_path / "plain")
    page = write_report(tmp_path / "plain", comparison=plain).read_text(encoding="utf-8")
    assert plain.lengths.styled == {} and "formatting" not in page


def test_a_comparison_of_an_earlier_version_still_loads(tmp_path):
    judges = {"praise": (Praise(), "held-out")}
    made = compare(TalkingPolicy(), ["a", "b"], [0, 1], judges, folder=tmp_path)
    path = tmp_path / "comparison.json"
    content = json.loads(path.read_text())
    content["lengths"].pop("styled")
    content["diversity"] = {key: content["diversity"][key] for key in ("base", "aligned", "space", "prompts")}
    path.write_text(json.dumps(content))
    loaded = Comparison.load(path)
    assert math.isnan(loaded.diversity.base_vendi)
    assert replace(loaded.diversity, base_vendi=0, aligned_vendi=0) == replace(
        made.diversity, base_vendi=0, aligned_vendi=0
    )
    assert "Vendi" not in write_report(tmp_path, comparison=loaded).read_text(encoding="utf-8")
