"""Figures, times and tables."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.cli.render import (
    go_duration,
    human_bytes,
    human_number,
    human_time,
    printable,
    processor,
    section,
    table,
    timings,
    until,
)
from paddock.config import parse_duration

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (4_200, "4.2 KB"),
        (12_900, "12 KB"),
        (292_400_000, "292 MB"),
        (1_500_000_000, "1.5 GB"),
        (2_000_000_000, "2 GB"),
        (2_019_393_189, "2.0 GB"),
        (40_000_000_000, "40 GB"),
        (3_000_000_000_000, "3 TB"),
    ],
)
def test_sizes_are_decimal_with_one_digit_below_ten(size, text):
    assert human_bytes(size) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (12, "12"),
        (83_400, "83K"),
        (124_439_808, "124.44M"),
        (7_000_000, "7M"),
        (1_543_714_304, "1.5B"),
        (8_000_000_000, "8B"),
    ],
)
def test_parameter_counts_are_rounded_as_people_say_them(count, text):
    assert human_number(count) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (0.2, "Less than a second ago"),
        (1.9, "1 second ago"),
        (42, "42 seconds ago"),
        (60, "About a minute ago"),
        (119, "About a minute ago"),
        (300, "5 minutes ago"),
        (3600, "About an hour ago"),
        (1.6 * 3600, "2 hours ago"),
        (47 * 3600, "47 hours ago"),
        (3 * 86400, "3 days ago"),
        (15 * 86400, "2 weeks ago"),
        (90 * 86400, "3 months ago"),
        (800 * 86400, "2 years ago"),
        (-240, "4 minutes from now"),
        (-0.5, "Less than a second from now"),
        (-292 * 365 * 86400, "Forever"),
    ],
)
def test_times_are_told_in_one_unit(ago, text):
    assert human_time(NOW - timedelta(seconds=ago), NOW) == text


def test_the_zero_time_is_never():
    assert human_time(datetime(1, 1, 1, tzinfo=UTC), NOW) == "Never"
    assert until(datetime(1, 1, 1, tzinfo=UTC), NOW) == "Never"


def test_a_model_past_its_time_is_stopping():
    assert until(NOW - timedelta(seconds=1), NOW) == "Stopping..."
    assert until(NOW + timedelta(minutes=4), NOW) == "4 minutes from now"


@pytest.mark.parametrize(
    ("size", "vram", "text"),
    [
        (100, 0, "100% CPU"),
        (100, 100, "100% GPU"),
        (100, 101, "Unknown"),
        (0, 5, "Unknown"),
        (0, 0, "100% CPU"),
        (200, 129, "36%/64% CPU/GPU"),
    ],
)
def test_the_processor_is_where_the_bytes_are(size, vram, text):
    assert processor(size, vram) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (800, "800ns"),
        (1500, "1.5µs"),
        (12_345_678, "12.345678ms"),
        (1_000_000_000, "1s"),
        (4_799_921_000, "4.799921s"),
        (62_500_000_000, "1m2.5s"),
        (3_723_000_000_000, "1h2m3s"),
        (3_600_000_000_000, "1h0m0s"),
    ],
)
def test_durations_are_written_as_go_writes_them(nanoseconds, text):
    assert go_duration(nanoseconds) == text


@given(st.integers(0, 10**15))
def test_a_written_duration_can_be_read_back(nanoseconds):
    assert parse_duration(go_duration(nanoseconds)) == pytest.approx(nanoseconds / 1e9, rel=1e-9, abs=1e-12)


def test_tables_are_left_aligned_with_four_spaces_between_columns():
    rows = [("demo:latest", "0123456789ab", "4.2 KB"), ("a", "b", "c")]
    assert table(("NAME", "ID", "SIZE"), rows) == (
        "NAME           ID              SIZE\n"
        "demo:latest    0123456789ab    4.2 KB\n"
        "a              b               c\n"
    )  # fmt: skip


def test_an_empty_table_is_its_header():
    assert table(("NAME", "ID"), []) == "NAME    ID\n"


def test_a_section_is_indented_below_its_title():
    assert section("Model", [["architecture", "llama"], ["parameters", "7B"]]) == (
        "  Model\n    architecture    llama\n    parameters      7B\n\n"
    )


def test_timings_have_a_line_for_every_figure():
    last = {
        "total_duration": 5_000_000_000,
        "load_duration": 12_500_000,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 130_000_000,
        "eval_count": 298,
        "eval_duration": 4_800_000_000,
    }
    assert timings(last) == (
        "total duration:       5s\n"
        "load duration:        12.5ms\n"
        "prompt eval count:    26 token(s)\n"
        "prompt eval duration: 130ms\n"
        "prompt eval rate:     200.00 tokens/s\n"
        "eval count:           298 token(s)\n"
        "eval duration:        4.8s\n"
        "eval rate:            62.08 tokens/s\n"
    )


def test_timings_leave_out_what_is_zero():
    assert timings({"total_duration": 1_000_000, "eval_count": 0}) == "total duration:       1ms\n"


def test_printable_drops_terminal_controls_but_keeps_lines_and_tabs():
    assert printable("a\x1b[2Jb\r\n\tc\x07\x9b1mä日") == "a[2Jb\n\tc1mä日"
