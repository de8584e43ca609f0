"""What is offered for a file makes it readable and never loses or changes a measured value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.learn.form import parse_study
from fednode.learn.tables.check import check_table
from fednode.learn.tables.kind import Tables
from fednode.learn.tables.schema import encode_table
from fednode.learn.tables.site_map import PLAIN, OtherUnit, SiteMap
from fednode.learn.tables.suggest import suggest
from fednode.learn.tables.table import Table
from tests.support.studies import choice, number, study_file

STUDY = parse_study(study_file(
    "liver", number("age", 0, 2000, unit="years"), number("bilirubin", 0, 4000, unit="mg/dl"),
    choice("category", "sex", "F", "M"), choice("label", "outcome", "alive", "died"), missing="NA",
))
assert isinstance(STUDY.data, Tables)
SPEC = STUDY.data
NAMES = ("age", "bilirubin", "sex", "outcome")


@dataclass(frozen=True)
class Style:
    """How an export writes things."""

    comma: bool
    unit: str
    header: str
    level: str
    code: str
    grouped: bool

    def number(self, value: float) -> str:
        text = f"{value:,.2f}" if self.grouped else f"{value:.2f}"
        if self.comma:
            text = text.translate(str.maketrans(",.", ".,"))
        return f"{text} {self.unit}".rstrip()

    def name(self, text: str) -> str:
        return getattr(text, self.header)() if self.header else text

    def word(self, text: str) -> str:
        return getattr(text, self.level)() if self.level else text


Styles = st.builds(
    Style, st.booleans(), st.sampled_from(["", "mg/dl", "mg/dL", "MG/DL"]), st.sampled_from(["", "upper", "title"]),
    st.sampled_from(["", "upper", "title"]), st.sampled_from(["NA", "", "N/A", "n.a.", "#N/A", "?", "null"]),
    st.booleans(),
)
Patients = st.lists(
    st.tuples(
        st.none() | st.integers(0, 1999), st.none() | st.integers(0, 399_900).map(lambda n: n / 100),
        st.sampled_from([None, "F", "M"]), st.sampled_from(["alive", "died"]),
    ),
    min_size=10, max_size=20,
)


@given(style=Styles, patients=Patients)
def test_exports_of_any_style_are_read_as_they_were_meant(
    style: Style, patients: list[tuple[int | None, float | None, str | None, str]]
) -> None:
    rows = tuple(
        (
            style.code if age is None else str(age), style.code if bilirubin is None else style.number(bilirubin),
            style.code if sex is None else style.word(sex), style.word(outcome),
        )
        for age, bilirubin, sex, outcome in patients
    )
    table = Table(tuple(style.name(name) for name in NAMES), rows)
    meant = Table(NAMES, tuple(tuple("" if cell is None else str(cell) for cell in row) for row in patients))
    site = suggest(SPEC, table, PLAIN) or PLAIN
    found, wanted = encode_table(SPEC, table, site), encode_table(SPEC, meant)
    is_wrong = ~np.isclose(found.rows.features, wanted.rows.features, equal_nan=True)
    # What cannot be told apart without a person (1,234 with and without decimals) stays a fault; nothing is misread.
    assert not (is_wrong & ~np.isnan(found.rows.features)).any()
    has_faults = any(column.faults for column in found.columns.values())
    assert not is_wrong.any() or has_faults
    if not style.grouped:
        assert not has_faults and not is_wrong.any()


@pytest.mark.parametrize(
    ("cell", "is_offered"),
    [("-", True), ("N/A", True), ("nil", False), ("n.d.", False), ("0", False), ("x", False), ("12", False),
     ("neg", False)],
)
def test_only_what_means_not_measured_everywhere_is_offered_as_missing(cell: str, is_offered: bool) -> None:
    rows = tuple((str(20 + n), cell if n == 3 else "5", "F", "alive") for n in range(12))
    site = suggest(SPEC, Table(NAMES, rows), PLAIN) or PLAIN
    assert (cell in site.missing) == is_offered
    levels = tuple((str(20 + n), "5", cell if n == 3 else "F", "alive") for n in range(12))
    assert ("-" in (suggest(SPEC, Table(NAMES, levels), PLAIN) or PLAIN).missing) is False


def test_a_dash_that_is_missing_in_one_column_does_not_take_findings_out_of_another() -> None:
    rows = tuple((str(20 + n), "-" if n == 3 else "5", "-" if n == 5 else "F", "alive") for n in range(12))
    site = suggest(SPEC, Table(NAMES, rows), PLAIN)
    assert site is not None and site.missing == () and not site.columns() - {"bilirubin"}
    read = encode_table(SPEC, Table(NAMES, rows), site)
    assert not read.columns["bilirubin"].faults and "level" in read.columns["sex"].faults


def test_a_value_beyond_a_limit_is_offered_as_half_of_it_and_an_upper_one_as_itself() -> None:
    cells = ("<0.2", "< 5", ">90", "\u22643")
    rows = tuple((str(20 + n), cells[n] if n < 4 else "5", "F", "alive") for n in range(12))
    site = suggest(SPEC, Table(NAMES, rows), PLAIN)
    assert site is not None
    assert [(o.cell, o.value) for o in site.values] == list(zip(cells, ("0.1", "2.5", "90", "1.5"), strict=True))
    assert check_table(SPEC, Table(NAMES, rows), site).rows is not None


Signs = st.sampled_from(["", "<", "> ", "\u2264"])
Thousands = st.sampled_from(["", ".", "'", "\u2019", "\u00a0", "\u202f", " "])


@given(
    sign=Signs, thousands=Thousands, unit=st.sampled_from(["", "mg/dl"]),
    values=st.lists(st.integers(0, 199_900).map(lambda n: n / 100), min_size=1, max_size=6),
)
def test_a_map_that_is_offered_for_decimal_commas_reads_what_stands_there(
    sign: str, thousands: str, unit: str, values: list[float]
) -> None:
    """Limits, separators of thousands and units beside decimal commas: read as meant, whatever the proposal says."""
    signs = str.maketrans({",": thousands, ".": ","})
    texts = [f"{sign}{f'{value:,.2f}'.translate(signs)} {unit}".rstrip() for value in values]
    rows = tuple((str(20 + n), (texts + ["1,5"] * 12)[n], "F", "alive") for n in range(12))
    site = suggest(SPEC, Table(NAMES, rows), PLAIN)
    assert site is not None and site.decimal == ","
    read = encode_table(SPEC, Table(NAMES, rows), site).columns["bilirubin"]
    assert not read.faults
    half = 0.5 if sign in ("<", "\u2264") else 1
    np.testing.assert_allclose(read.values[: len(values)], [value * half for value in values], rtol=1e-5)


def test_what_a_limit_of_thousands_means_is_asked_not_guessed() -> None:
    rows = tuple((str(20 + n), ">1.000" if n == 3 else "1,5", "F", "alive") for n in range(12))
    site = suggest(SPEC, Table(NAMES, rows), PLAIN)
    assert site == SiteMap(decimal=",")
    assert encode_table(SPEC, Table(NAMES, rows), site).columns["bilirubin"].faults["limit"][0].reading.hint == ""


def test_whole_numbers_with_points_of_thousands_do_not_hide_that_commas_are_decimal() -> None:
    rows = tuple((f"1.{100 + n}", "1,5", "F", "alive") for n in range(12))
    site = suggest(SPEC, Table(NAMES, rows), PLAIN)
    assert site == SiteMap(decimal=",")
    [verdict] = check_table(SPEC, Table(NAMES, rows), site).errors
    assert verdict.column == "age" and "of thousands" in verdict.text


def test_a_unit_in_the_header_is_read_if_it_is_the_studys_and_told_if_not() -> None:
    rows = tuple((str(20 + n), "5", "F", "alive") for n in range(12))
    same = Table(("Age", "Bilirubin [mg/dL]", "sex", "outcome"), rows)
    site = suggest(SPEC, same, PLAIN)
    assert site is not None and check_table(SPEC, same, site).rows is not None
    other = Table(("age", "bilirubin (\u00b5mol/l)", "sex", "outcome"), rows)
    assert suggest(SPEC, other, PLAIN) is None
    [verdict] = check_table(SPEC, other).errors
    assert "in another unit than mg/dl" in verdict.text and "mol/l" not in verdict.text


def test_another_unit_and_an_unknown_level_are_left_to_people() -> None:
    rows = tuple((str(20 + n), "5 umol/l", "3" if n == 2 else "F", "alive") for n in range(12))
    assert suggest(SPEC, Table(NAMES, rows), PLAIN) is None


def test_a_unit_with_a_factor_is_converted() -> None:
    site = SiteMap(units=(OtherUnit("bilirubin", "umol/l", "0.05848"),))
    rows = tuple((str(20 + n), "171 \u00b5mol/l" if n else "171 umol/l", "F", "alive") for n in range(12))
    read = encode_table(SPEC, Table(NAMES, rows), site)
    np.testing.assert_allclose(read.columns["bilirubin"].values, 10.0, atol=0.001)
