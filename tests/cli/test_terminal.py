"""The border to the terminal: control characters from prompts, names, metadata and values stay behind it."""

import io
import json
import logging
import re
import sys
import warnings

import pytest
import yaml
from rich.console import Console

from diffalign.cli.app import run
from diffalign.cli.clean_terminal import CleanStream, clean_terminal
from diffalign.data.check.report import CheckFinding, CheckReport
from diffalign.errors import UserError
from diffalign.printable import one_line, printable, shown
from diffalign.training.report.progress import ProgressReport
from tests.tiny_text import tiny_llm

EVIL = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\x08\u202egnp\u2028\ud800"
FOUND = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff]")


def behind_the_border(monkeypatch):
    """Puts the border before a terminal; returns a function that returns what it received."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    clean_terminal()
    return lambda: out.getvalue() + err.getvalue()


def test_what_is_printed_logged_and_warned_of_is_printable(monkeypatch):
    terminal = behind_the_border(monkeypatch)
    print(EVIL, file=sys.stdout)
    sys.stderr.writelines([EVIL, "\n"])
    logger = logging.getLogger("hostile")
    logger.addHandler(logging.StreamHandler())
    logger.propagate = False  # a surrogate in the log that pytest keeps cannot be sent between its processes
    logger.warning("%s", EVIL)
    sys.stderr.write(warnings.formatwarning(EVIL, UserWarning, EVIL, 1))  # pytest keeps warnings to itself
    assert terminal().count("\\x1b[31mred") == 5 and not FOUND.search(terminal())


def test_a_progress_line_returns_to_its_beginning_and_nothing_else_moves(monkeypatch):
    terminal = behind_the_border(monkeypatch)
    sys.stderr.write(f"\rscore {EVIL}: 1 of 2")
    sys.stderr.write("\n\n\x1b[A\x1b[A")
    assert terminal().startswith("\rscore \\x1b[31m") and terminal().endswith("\n\n\x1b[A\x1b[A")
    assert not FOUND.search(terminal()[1:-6])


def test_bytes_do_not_pass_and_other_attributes_do(monkeypatch):
    behind_the_border(monkeypatch)
    with pytest.raises(TypeError):
        sys.stdout.write(b"\x1b")
    assert not hasattr(sys.stdout, "buffer") and sys.stdout.isatty() is False and sys.stdout.writable()
    clean_terminal()
    assert not isinstance(sys.stdout._raw, CleanStream)


def test_letters_that_the_terminal_cannot_show_are_escaped(monkeypatch):
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", raw)
    clean_terminal()
    print("für")
    raw.flush()
    assert raw.buffer.getvalue() == b"f\\xfcr\n"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_progress_report_and_a_check_show_texts_from_outside_as_they_are(is_terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, color_system=None, width=200)
    with ProgressReport(3, console=console) as progress:
        progress.say(f"data: {EVIL} [bold]x[/nothing]")
        progress.preparing(f"images {EVIL} [/nothing]", 1, 2)
        progress.step(1)
        progress.numbers(1, {"loss": 0.5})
    finding = CheckFinding("error", EVIL, 1, (EVIL, "[/nothing]"), EVIL)
    report = CheckReport({f"column [/nothing] {EVIL}": EVIL}, [finding])
    console.print(report)
    own = r"\x1b\[\??\d*[A-Zhl]|\x1b\[\d*(;\d+)*m|\r"  # moves and styles of rich itself
    text = re.sub(own, "", out.getvalue())
    assert not FOUND.search(text) and "\\x1b[31m" in text and "[/nothing]" in text
    assert not FOUND.search(report.render())


def test_errors_are_printable_and_of_bounded_length():
    message = str(UserError(f"there is no {EVIL}" + "x" * 10**6 + " Type: --set a=b"))
    assert not FOUND.search(message) and len(message) < 2000
    assert message.endswith("Type: --set a=b") and "characters left out" in message
    assert printable("a\tb\nc", 99) == "a\tb\nc" and one_line("a\tb\nc") == "a\\tb\\nc"
    assert len(shown(["x" * 999] * 999)) < 300 and shown(10**5000).startswith("a very large") and shown("x") == "'x'"
    loop = []
    loop.append(loop)
    assert len(shown(loop)) < 300


def test_commands_on_hostile_files_print_nothing_that_a_terminal_obeys(tmp_path, monkeypatch, capfd):
    tiny_llm(tmp_path / "model")
    folder = tmp_path / "a\x1b[31mred"
    folder.mkdir()
    evil = EVIL.replace("\ud800", "")
    rows = [{"prompt": f"{evil} {i}", "chosen": evil + "yes", "rejected": f"no {evil}", evil: i} for i in range(4)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "model": {"path": str(tmp_path / "model"), "adapter": {"rank": 2}},
        "data": {"train": str(folder / "pairs.jsonl")},
        "loss": {"name": "logistic", "beta": 0.1},
        "train": {"steps": 2, "batch_size": 2, "learning_rate": 1e-3, "mixed_precision": "no"},
        "evaluate": {"prompts": [evil], "scorers": ["length"], "max_new_tokens": 6},
        "output": str(folder / "run"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    model = ("--model", str(tmp_path / "model"))
    capfd.readouterr()
    for command in (
        ("data", "check", str(folder / "pairs.jsonl")),
        ("train", str(tmp_path / "recipe.yaml")),
        ("train", str(tmp_path / "recipe.yaml")),  # again: an error that names the folder
        ("train", str(folder / "missing.yaml")),
        ("info", str(folder / "run" / "result")),
        ("generate", *model, "--prompt", evil, "--setting", "max_new_tokens=3", "--output", str(folder / "texts")),
        ("score", str(folder / "pairs.jsonl"), "--scorer", "length"),
        ("methods", evil),
        ("data", evil),
        ("train", "x", f"--{evil}"),
        ("data", "check", evil, "--option", f"{evil}=1"),
    ):
        monkeypatch.setattr(sys, "argv", ["diffalign", *command])
        with pytest.raises(SystemExit):
            run()
        out, err = capfd.readouterr()
        assert out + err and not FOUND.search(out + err), (command, out + err)
        assert "Traceback" not in err, err
