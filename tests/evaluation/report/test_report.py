"""The page and its parts: text from outside is escaped, and missing or broken values cause no error."""

import json
import math
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from diffalign.evaluation.compare.run import compare
from diffalign.evaluation.report import training_curves
from diffalign.evaluation.report.sheet import Example, examples, save_sheet, sheet
from diffalign.evaluation.report.training_curves import charts, read_metrics
from diffalign.evaluation.report.verdict import verdict_of
from diffalign.evaluation.report.write import write_report
from diffalign.evaluation.samples.medium import data_uri
from diffalign.evaluation.stats.last_records import accuracy_by_level, noise_by_level
from tests.evaluation.fakes import PlainPolicy, RedHit, Redness

NASTY = "<script>alert('x')</script> & \"quotes\" {{ 7*7 }}"


class Balanced(HTMLParser):
    """Collects tags, addresses and visible text, and checks that every element is closed."""

    VOID = {"meta", "img", "br", "line", "circle", "path", "use", "rect", "link"}

    def __init__(self, page):
        super().__init__()
        self.stack, self.tags, self.addresses, self.text = [], set(), [], []
        self.feed(page)
        assert not self.stack, self.stack

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    scorers = {"trained": (Redness(), "trained-on"), f"held {NASTY}": (RedHit(), "held-out")}
    folder = tmp_path_factory.mktemp("compared")
    return compare(PlainPolicy(), [NASTY, *(f"prompt {i}" for i in range(9))], [0, 1], scorers, folder=folder)


def rows(count=50, **more):
    return [
        {"step": i, "loss": 0.7 - 0.001 * i, "rewards/accuracies": 0.5 + 0.005 * i, "rewards/margins": 0.01 * i,
         "error/chosen_change": -1e-4 * i, "error/rejected_change": 2e-4 * i, "accuracy/level_0.0-0.2": 0.4,
         "accuracy/level_0.2-0.4": 0.8, **more}
        for i in range(count)
    ]  # fmt: skip


def page_of(tmp_path, **parts):
    text = write_report(tmp_path, **parts).read_text(encoding="utf-8")
    return text, Balanced(text)


def test_the_page_is_self_contained_and_escapes_everything(tmp_path, comparison):
    header = {"model": NASTY, "recipe": {"beta": 2000, "seeds": [1, 2]}}
    text, page = page_of(tmp_path, comparison=comparison, metrics=rows(), header=header, health=[NASTY], title=NASTY)
    assert "script" not in page.tags and "<script" not in text
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"data:image/\w+;base64,[^\"]*", "", text))
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert page.text.count(NASTY) >= 3, "escaped text must still read as it was written"
    assert "recipe.beta" in page.text and "1, 2" in page.text
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text


def test_settings_hold_no_control_characters(tmp_path):
    text, page = page_of(tmp_path, header={"previews": {"prompts": ["a \x1b[31mfox\u202e"]}})
    assert "\x1b" not in text and "\u202e" not in text and r"a \x1b[31mfox\u202e" in page.text


def test_held_out_judges_come_before_trained_on_judges(tmp_path, comparison):
    text, _ = page_of(tmp_path, comparison=comparison)
    table = text[text.index("<table class") :]
    assert (
        0
        < table.index("Held out:")
        < table.index("held &lt;script")
        < table.index("Trained on:")
        < table.index("<th>trained")
    )


@pytest.mark.parametrize(
    "metrics", [None, [], "missing.jsonl", [{"step": 1}], [{"step": 1, "loss": math.nan}], [{"loss": "x"}]]
)
def test_a_page_without_metrics_reports_it(tmp_path, metrics):
    text, page = page_of(tmp_path, metrics=tmp_path / metrics if isinstance(metrics, str) else metrics)
    assert (
        "There are no logged metrics" in text and "Not compared with its base yet." in text and "img" not in page.tags
    )


def test_nan_rows_are_gaps_that_are_counted(tmp_path):
    broken = rows(20) + rows(3, loss=math.nan) + rows(1, loss=math.inf)
    text, _ = page_of(tmp_path, metrics=broken)
    assert "4 logged values were not finite" in text
    assert not re.search(r"\bnan\b|\binf\b", text)


def test_a_single_row_is_drawn(tmp_path):
    assert page_of(tmp_path, metrics=rows(1))[0].count('class="chart"') == 5


def test_metrics_are_read_and_a_truncated_line_is_skipped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows(3)) + '\n{"step": 3, "lo')
    assert [row["step"] for row in read_metrics(path)] == [0, 1, 2]
    assert len(charts(read_metrics(path))) == 5


def test_charts_share_no_id_and_have_no_style_rules():
    result = charts(rows())
    names = [set(re.findall(r'id="([^"]+)"', chart.svg)) for chart in result]
    assert sum(map(len, names)) == len(set().union(*names))
    for chart in result:
        used = set(re.findall(r"url\(#([^)]+)\)", chart.svg)) | set(re.findall(r'href="#([^"]+)"', chart.svg))
        assert used <= set(re.findall(r'id="([^"]+)"', chart.svg))
        assert "<style" not in chart.svg and "xmlns" not in chart.svg and "currentColor" in chart.svg
        assert len(chart.svg) < 60_000
    assert charts(rows())[0].svg == result[0].svg, "a chart must not change between two calls"


def test_ten_thousand_rows_stay_small():
    assert all(len(chart.svg) < 100_000 for chart in charts(rows(10_000)))


def test_the_caption_has_the_final_value():
    assert "Mean of the last 10 records: 0.655." in charts(rows(50))[0].caption
    assert "Mean of the last 4 records: 0.699." in charts(rows(4))[0].caption
    accuracy = charts([{**row, "eval_rewards/accuracies": row["step"] / 50} for row in rows(50)])[1].caption
    assert "Mean of the last 10 records: training 0.723. Last evaluation: held out 0.98." in accuracy


def test_charts_and_diagnosis_speak_of_the_same_records():
    run = rows(40, **{"pairs/level_0.0-0.2": 40, "pairs/level_0.2-0.4": 4})
    for row in run[:-10]:  # what is before them counts in neither
        row.update({"accuracy/level_0.0-0.2": 1.0, "rewards/margins": -99.0})
    drawn = {chart.title: chart for chart in charts(run)}
    levels = accuracy_by_level(run)
    assert [str(level) for level in levels] == ["0.0-0.2: 0.40 of 400 pairs", "0.2-0.4: 0.80 of 40 pairs"]
    assert [level.verdict for level in levels] == ["lost", "learned"]
    assert ">400<" in drawn["Accuracy by noise level"].svg and ">0.40<" in drawn["Accuracy by noise level"].svg
    assert "Mean of the last 10 records: 0.345" in drawn["Reward margin"].caption
    assert "Over the last 10 records" in drawn["Accuracy by noise level"].caption


@pytest.mark.parametrize("steps", [1, 2, 7, 2_000_000])
@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e9])
def test_labels_of_axes_do_not_touch(monkeypatch, steps, scale):
    figures = []
    monkeypatch.setattr(training_curves, "as_svg", lambda figure, title: figures.append(figure) or "")
    run = rows(50, **{f"accuracy/level_{k / 5:.1f}-{(k + 1) / 5:.1f}": k / 4 for k in range(5)})
    run = [{**row, **{f"pairs/level_{k / 5:.1f}-{(k + 1) / 5:.1f}": 123_456 for k in range(5)}} for row in run]
    for number, row in enumerate(run):
        row.update(step=number * steps, loss=scale * row["loss"], **{"rewards/margins": scale * row["rewards/margins"]})
    charts(run[: max(1, min(50, steps))])
    assert len(figures) > 3
    for figure in figures:
        figure.draw_without_rendering()
        for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
            shown = [label for label in axis.get_ticklabels() if label.get_text() and label.get_visible()]
            boxes = [label.get_window_extent().expanded(1.05, 1.0) for label in [*shown, axis.get_offset_text()]]
            inside = [box for box in boxes if box.width and box.height]
            assert not [1 for i, box in enumerate(inside) for other in inside[:i] if box.overlaps(other)]


def test_examples_are_spread_evenly_and_their_images_match(comparison):
    result = examples(comparison, prompts=5, seeds=1)
    assert [example.prompt for example in result] == [NASTY, "prompt 1", "prompt 3", "prompt 5", "prompt 7"]
    base, aligned = Image.open(result[1].base[0]), Image.open(result[1].aligned[0])
    assert (base.getpixel((0, 0))[0], aligned.getpixel((0, 0))[0]) == (100, 140)


def test_the_sheet_shows_before_left_and_after_right(tmp_path):
    red, blue = Image.new("RGB", (64, 64), (255, 0, 0)), Image.new("RGB", (32, 64), (0, 0, 255))
    image = sheet([Example("a prompt that is far too long to fit the sheet " * 9, [red, red], [blue, blue])], side=64)
    colours = [image.getpixel((x, image.height - 40)) for x in range(image.width)]
    assert colours.index((255, 0, 0)) < image.width // 2 < colours.index((0, 0, 255))
    assert Image.open(save_sheet([Example("x", [], [blue])], tmp_path / "s.png")).size[0] > 64


def test_images_are_framed_where_judges_decide_and_all_of_them_must_agree(tmp_path):
    white = Image.new("RGB", (64, 64), (255, 255, 255))
    plain = sheet([Example("x", [white], [white])], side=64)
    framed = sheet([Example("x", [white], [white], "", [False], [True])], side=64)
    new = {colour for _, colour in framed.getcolors(9999)} - {colour for _, colour in plain.getcolors(9999)}
    assert {(207, 34, 46), (26, 127, 55)} <= new
    never = RedHit()
    never.scores_and_hits = lambda prompts, images: (never.score(prompts, images), never.score(prompts, images) > 2)
    scorers = {"hit": (RedHit(), "held-out"), "other": (never, "held-out"), "b": (Redness(), "held-out")}
    shown = examples(compare(PlainPolicy(), ["p"], [0], {"hit": scorers["hit"]}, folder=tmp_path / "one"))
    assert (shown[0].base_right, shown[0].aligned_right) == ([False], [True])
    shown = examples(compare(PlainPolicy(), ["p"], [0], scorers, folder=tmp_path / "two"))
    assert (shown[0].base_right, shown[0].aligned_right) == ([False], [False])
    shown = examples(compare(PlainPolicy(), ["p"], [0], {"b": scorers["b"]}, folder=tmp_path / "none"))
    assert (shown[0].base_right, shown[0].aligned_right) == ((), ())


def test_images_without_a_base_are_shown_without_before(tmp_path):
    text, page = page_of(tmp_path, images=[Example("step 10", [], [Image.new("RGB", (300, 500))])])
    assert "before</span>" not in text and "data:image/jpeg" in text


def test_large_images_shrink_and_small_ones_stay_exact():
    small = data_uri(Image.new("RGB", (64, 64), (1, 2, 3)))
    assert small.startswith("data:image/png") and len(data_uri(Image.new("RGB", (4000, 3000)))) < 20_000


def made(tmp_path, policy, scorers, seeds=(0, 1)):
    return verdict_of(compare(policy, [f"p{i}" for i in range(12)], list(seeds), scorers, folder=tmp_path))


def test_only_held_out_judges_decide_the_verdict(tmp_path):
    up, down, even = Redness(), Redness(-1), "No clear difference from its base on a and b."
    cases = [
        (PlainPolicy(40), {"a": (up, "held-out"), "b": (down, "trained-on")}, "Better than its base on a.", "good"),
        (PlainPolicy(40), {"a": (down, "held-out"), "b": (up, "trained-on")}, "Worse than its base on a.", "bad"),
        (PlainPolicy(40), {"a": (up, "held-out"), "b": (down, "held-out")}, "Mixed: better on a, worse on b.", "open"),
        (PlainPolicy(0), {"a": (up, "held-out"), "b": (down, "held-out")}, even, "open"),
        (PlainPolicy(40), {"a": (up, "trained-on")}, "No held-out judge was used.", "open"),
    ]  # fmt: skip
    for number, (policy, scorers, headline, tone) in enumerate(cases):
        result = made(tmp_path / str(number), policy, scorers)
        assert (result.headline, result.tone) == (headline, tone)
    assert "over-optimisation" in " ".join(made(tmp_path / "1", *cases[1][:2]).sentences)


def test_the_verdict_mentions_lost_diversity_and_single_seeds(tmp_path):
    class Narrow(PlainPolicy):
        def sample(self, prompts, seeds, *, reference=False, **settings):
            return super().sample(prompts, seeds if reference else [0] * len(seeds), reference=reference, **settings)

    held = {"a": (Redness(), "held-out")}
    assert "diversity fell by 100 %" in " ".join(made(tmp_path / "a", Narrow(), held).sentences)
    assert "two seeds or more" in " ".join(made(tmp_path / "b", PlainPolicy(), held, seeds=[0]).sentences)


def test_a_run_at_inverted_latents_shows_their_noise_and_what_mends_a_lack_of_it(tmp_path):
    low = {"noise/level_0.0-0.2": 0.4, "noise/level_0.8-1.0": 0.9, "forward/error_change": 0.01}
    _, page = page_of(tmp_path, metrics=rows(**low))
    shown = " ".join(" ".join(page.text).split())
    assert "Noise of the inverted latents" in shown and "0.40" in shown and "unit_noise: fill" in shown
    assert "Error change under forward noising" in shown
    _, page = page_of(tmp_path, metrics=rows(**{"noise/level_0.0-0.2": 0.95}))
    assert "unit_noise" not in " ".join(page.text)
    _, page = page_of(tmp_path, metrics=rows())
    assert "inverted" not in " ".join(page.text)


def test_the_noise_by_level_is_a_mean_over_the_last_records_without_broken_values():
    records = [{"noise/level_0.2-0.4": value} for value in (9.0, *[0.5] * 8, 0.7, math.nan)]
    assert noise_by_level(records) == {"0.2-0.4": pytest.approx((8 * 0.5 + 0.7) / 9)}
    assert noise_by_level([{"loss": 1.0}]) == {}
