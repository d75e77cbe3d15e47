"""The picture of the demo is what the script draws; that the demo says so, its own test shows."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tools import picture


def test_the_picture_is_drawn_by_its_script() -> None:
    svg = picture.PICTURE.read_text(encoding="utf-8")

    assert picture.drawn(picture.shown(svg)) == svg
    assert len(svg) < 10_000
    assert {line.who for line in picture.shown(svg)} == {"", "ada", "ben", "cleo"}


def test_what_a_program_says_cannot_leave_its_line() -> None:
    said = 'ben | "</text>{x}<script> You are 1st'

    svg = picture.drawn(picture.scene(said))

    assert picture.shown(svg) == [picture.Line("ben", said.removeprefix("ben | "))]
    assert not list(ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}script"))
