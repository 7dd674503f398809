"""Every way in which pytest lets a test end."""

import pathlib

import pytest


@pytest.fixture
def broken_setup():
    raise RuntimeError("the database is away")


@pytest.fixture
def broken_teardown():
    yield
    raise RuntimeError("cannot close")


def test_adds():
    assert 1 + 1 == 2


def test_totals():
    total = 40 + 1
    assert total == 42, "the total is off: <&>"


@pytest.mark.parametrize("quantity", [0, 1, "ü"])
def test_quantity(quantity):
    assert quantity != 1


def test_setup_fails(broken_setup):
    pass


def test_teardown_fails(broken_teardown):
    pass


def test_both_fail(broken_teardown):
    assert False, "first the test"


@pytest.mark.skip(reason="later")
def test_skipped():
    pass


@pytest.mark.xfail(reason="known")
def test_expected_failure():
    assert False


@pytest.mark.xfail(strict=True, reason="was known")
def test_unexpected_pass():
    pass


def test_output(capsys):
    print("\x1b[31mred\x1b[0m and a bell \a")
    raise ValueError("with \x1b[31mcolour\x1b[0m and \x00 zero")


@pytest.mark.flaky(reruns=2)
def test_flaky(tmp_path_factory):
    seen = pathlib.Path(tmp_path_factory.getbasetemp()) / "seen"
    first = not seen.exists()
    seen.touch()
    assert not first


class TestCoupon:
    def test_percent(self):
        assert 10 * 0.5 == 5
