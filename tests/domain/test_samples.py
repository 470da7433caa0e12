"""The samples file."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.domain.samples import COLUMNS, Sample, SampleWriter, read_samples
from harness.errors import UsageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SECONDS = st.integers(0, 10**11).map(lambda us: us / 1_000_000)
SAMPLES = st.builds(
    Sample,
    window=TEXT,
    scope=st.sampled_from(["team", "user"]),
    key=st.integers(0, 10**6),
    replica=st.integers(0, 63),
    intended_s=SECONDS,
    sent_s=SECONDS,
    done_s=SECONDS,
    status=st.sampled_from([0, 200, 401]),
    error=TEXT,
    cost_micro=st.integers(0, 10**12),
    served=TEXT,
)
ONE = Sample("w", "team", 3, 1, 0.1, 0.2, 0.3, 200, "", 250, "key;memory;0a;15,team;redis;0b;-")


def write(path: Path, samples: list[Sample]) -> Path:
    with SampleWriter(path) as writer:
        for sample in samples:
            writer.write(sample)
    return path


@given(st.lists(SAMPLES, max_size=5))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]
) -> None:
    path = write(tmp_path_factory.mktemp("samples") / "s.csv.gz", samples)
    assert list(read_samples(path)) == samples


def test_the_file_is_plain_csv_with_times_to_the_microsecond(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv.gz", [ONE._replace(done_s=1 / 3)])
    with gzip.open(path, "rt", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == list(COLUMNS)
    assert (rows[0]["intended_s"], rows[0]["done_s"]) == ("0.100000", "0.333333")
    assert rows[0]["served"] == ONE.served


def test_the_same_samples_make_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, [ONE]).read_bytes() for name in ("a.gz", "b.gz"))
    assert first == second


def test_a_closed_writer_can_be_closed_again(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path / "s.csv.gz")
    writer.close()
    writer.close()
    assert list(read_samples(tmp_path / "s.csv.gz")) == []


def test_other_files_are_refused_with_their_name(tmp_path: Path) -> None:
    cut = write(tmp_path / "cut.csv.gz", [ONE] * 50)
    cut.write_bytes(cut.read_bytes()[:-12])
    plain = tmp_path / "plain.csv"
    plain.write_text("window,scope\n")
    with gzip.open(tmp_path / "other.csv.gz", "wt") as other:
        other.write("window,scope\r\n")
    with gzip.open(tmp_path / "row.csv.gz", "wt", newline="") as row:
        row.write(",".join(COLUMNS) + "\r\nw,team,x\r\n")
    for name in ("cut.csv.gz", "plain.csv", "other.csv.gz", "row.csv.gz", "absent.csv.gz"):
        with pytest.raises(UsageError, match=rf"\[{name}\]"):
            list(read_samples(tmp_path / name))
