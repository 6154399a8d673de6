"""The verdict of the soak: what grows between the second and the last third is reported."""

from dataclasses import replace

import pytest

from bench.soak import Sample, verdict

FLAT = [Sample(10.0 * number, 200.0, 60, 13, 1000 * number) for number in range(30)]


def test_what_stays_the_same_is_flat() -> None:
    assert verdict(FLAT) is None


def test_growth_during_the_warm_up_is_flat() -> None:
    assert verdict([replace(each, megabytes=150.0) for each in FLAT[:10]] + FLAT[10:]) is None


@pytest.mark.parametrize(
    ("member", "words"), [("megabytes", "memory grew"), ("files", "open files"), ("connections", "connections")]
)
def test_growth_after_it_is_reported(member: str, words: str) -> None:
    grown = [replace(each, **{member: getattr(each, member) + number}) for number, each in enumerate(FLAT)]
    assert words in (verdict(grown) or "")


def test_two_samples_are_too_few() -> None:
    assert verdict(FLAT[:2]) == "too short for a verdict"
