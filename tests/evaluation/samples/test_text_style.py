"""Formatting of a text is counted where Markdown shows it, and not inside code."""

import pytest

from diffalign.evaluation.samples.text_style import FEATURES, text_style

ANSWER = """# A title

Some **bold words** and __more__ of them.

- first
* second
  + third
1. fourth

## Another one
```python
# no header
- no item **not bold**
```
2. fifth
"""


def test_an_answer_is_counted_by_feature():
    style = text_style(ANSWER)
    assert style == {"words": len(ANSWER.split()), "lists": 5, "bold": 2, "headers": 2}
    assert tuple(style) == FEATURES


@pytest.mark.parametrize(
    "text, feature, count",
    [
        ("3.5 is a number", "lists", 0),
        ("-5 degrees", "lists", 0),
        ("- item", "lists", 1),
        ("#hashtag", "headers", 0),
        ("####### seven", "headers", 0),
        ("2 ** 3 ** 4", "bold", 1),
        ("**never closed", "bold", 0),
        ("snake_case_name", "bold", 0),
        ("", "words", 0),
        ("```\n- code that never ends", "lists", 0),
        ("~~~\n# code\n~~~\n# header", "headers", 1),
    ],
)
def test_the_edges_of_markdown(text, feature, count):
    assert text_style(text)[feature] == count
