"""What netc says about programs that are wrong, word for word.

In: ``tests/diagnostics``: programs, with the tables and files they name. Beside each stands the full rendering of what
is wrong with it. With NETC_UPDATE_GOLDENS=1 the renderings are written anew, to be read before they are kept.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

import netc
from netc.cli.main import run
from netc.grammar.catalogue import entries
from netc.grammar.render import Format, render

FOLDER = Path(__file__).parent / "diagnostics"
CASES = sorted({p.stem for p in FOLDER.iterdir() if p.suffix in (".net", ".txt")})
UPDATE = os.environ.get("NETC_UPDATE_GOLDENS") == "1"
FORMATS: list[Format] = ["concise", "json", "github"]


def found(case: str, form: Format = "full") -> str:
    return render(netc.check(Path(f"{case}.net")), form) + "\n"


def compare(path: Path, text: str) -> None:
    if UPDATE:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    text = found(case)
    assert "error[" in text
    assert str(FOLDER) not in text
    compare(FOLDER / f"{case}.txt", text)


@pytest.mark.parametrize("form", FORMATS)
def test_the_other_formats(form: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    compare(FOLDER / "formats" / f"several.{form}", found("several", form))


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_prints_them(
    form: Format, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(FOLDER)
    with pytest.raises(SystemExit) as stop:
        run(["check", "several.net", "--format", form])
    assert stop.value.code == 1
    streams = capsys.readouterr()
    assert (streams.out if form == "json" else streams.err) == found("several", form)


def test_several_files_are_checked_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(FOLDER)
    with pytest.raises(SystemExit):
        run(["check", "residual.net", "no_such_file.net", "target.net", "--format", "json"])
    files = {d["file"] for d in json.loads(capsys.readouterr().out)}
    assert files == {"residual.net", "no_such_file.net", "target.net"}


def test_every_code_of_programs_and_data_has_a_case() -> None:
    seen = {
        code for c in CASES for code in re.findall(r"error\[(E\d{4})\]", (FOLDER / f"{c}.txt").read_text())
    }
    wanted = {code for code in entries() if code < "E0700"} - {"E0005"}
    assert not wanted - seen, sorted(wanted - seen)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large.net"
    path.write_text("# a line of a file that is no program\n" * 30_000)
    assert [d.code for d in netc.check(path)] == ["E0005"]


def test_colour_marks_the_carets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    colored = render(netc.check(Path("target.net")), color=True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert plain == render(netc.check(Path("target.net")))
    assert "\x1b[1;31m^^^^^^^^^^ output" in colored
