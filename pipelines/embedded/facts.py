"""Writes what the images of the embedded test prompts have to show, in two published layouts.

    python -m pipelines.embedded.facts --assets assets/emoji

prompts/facts.jsonl     GenEval's layout (tag, include, exclude, prompt), with background, place and style beside it
prompts/questions.csv   DPG-Bench's layout: questions with yes as their right answer, and the questions they depend on

Both follow from `prompts/test.txt` alone, whose sentences `scenes.parse` reads. A question about the number, or about
the place of the objects, depends on the one that says that there are any.
"""

import argparse
import csv
import io
from pathlib import Path

from diffalign.files.json_lines import text_lines, write_json_lines
from pipelines.embedded import scenes

QUESTION_PROMPTS = 100
QUESTION_COLUMNS = ("item_id", "text", "keywords", "proposition_id", "dependency", "category_broad",
                    "category_detailed", "tuple", "question_natural_language")  # fmt: skip


def fact_row(prompt: str) -> dict:
    """Returns a prompt's row in GenEval's layout; attributes that the prompt omits are left out."""
    scene = scenes.parse(prompt)
    row: dict = {"tag": "counting" if scene.count > 1 else "single_object"}
    row["include"] = [{"class": scene.subject, "count": scene.count}]
    if scene.count > 1:
        row["exclude"] = [{"class": scene.subject, "count": scene.count + 1}]
    row["prompt"] = prompt
    named = {"background": scene.background, "place": scene.place, "style": scene.style}
    return {**row, **{name: value for name, value in named.items() if value}}


def questions(prompt: str) -> list[tuple[str, str, str]]:
    """Returns (number of the question it depends on, or 0; category; question) of each fact."""
    scene = scenes.parse(prompt)
    noun = scenes.BY_WORD[scene.subject]
    rows = [("0", "entity - whole", f"Is there {noun.article} {noun.word}?")]
    word = noun.word if scene.count == 1 else noun.plural
    verb = "Is" if scene.count == 1 else "Are"
    rows.append(("1", "other - count", f"{verb} there exactly {scenes.COUNTS[scene.count]} {word}?"))
    if scene.background:
        rows.append(("0", "attribute - color", f"Is the background {scene.background}?"))
    if scene.place:
        rows.append(("1", "relation - spatial", f"{verb} the {word} {scenes.PLACES[scene.place]}?"))
    return rows


def question_table(prompts: list[str]) -> str:
    """Returns the questions of prompts as DPG-Bench's CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(QUESTION_COLUMNS)
    for number, prompt in enumerate(prompts):
        for place, (parent, category, question) in enumerate(questions(prompt), 1):
            broad, detailed = category.split(" - ")
            cells = (f"emoji{number:03d}", prompt, "", place, parent, broad, detailed, f"{category} ({question})")
            writer.writerow([*cells, question])
    return text.getvalue()


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--assets", type=Path, default=Path("assets/emoji"))
    folder = parser.parse_args().assets / "prompts"
    prompts = text_lines(folder / "test.txt")
    write_json_lines(folder / "facts.jsonl", [fact_row(prompt) for prompt in prompts])
    (folder / "questions.csv").write_text(question_table(prompts[:QUESTION_PROMPTS]), encoding="utf-8")


if __name__ == "__main__":
    main()
