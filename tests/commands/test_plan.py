"""The hit rate by the size of a store, beside a full simulation of real traces and a seeded one."""

import gzip
import json
import random
from statistics import fmean
from xml.etree import ElementTree

import pytest

from benchmarks.common import data_folder, retail, web12
from litcache import MemoryStore, SharedStore
from litcache.__main__ import main
from litcache.stores.base import NewEntry, Scope

ENTRY = NewEntry(b"f4", bytes(1_536))
POINT = 0.01


def entry_bytes():
    store = MemoryStore()
    store.set_many(Scope("test"), {b"k" * 16: ENTRY})
    return store.info().bytes


def zipf(requests, items, seed=7):
    chance = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(items)]
    return chance.choices(range(items), weights, k=requests)


def web_log():
    folder = data_folder()
    path = folder and folder / "traces" / "weblog-semicomplete-2015.tsv.gz"
    if not path or not path.exists():
        return None
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n").split("\t")[-1] for line in lines]


def sales():
    found = retail()
    return found and found.sold[:60_000]


def full_simulation(trace, max_bytes):
    """The hit rate of a MemoryStore of this size that sees every request."""
    numbers = {item: number for number, item in enumerate(dict.fromkeys(trace))}
    store, scope, hits = MemoryStore(max_bytes), Scope("test"), 0
    for item in trace:
        key = numbers[item].to_bytes(16, "big")
        if store.get_many(scope, [key]) == [None]:
            store.set_many(scope, {key: ENTRY})
        else:
            hits += 1
    return hits / len(trace)


@pytest.fixture
def plan(tmp_path, capsys):
    """Runs the command on a log of requests, and returns its exit code and what it tells."""

    def run(lines, *arguments):
        log = tmp_path / "requests.jsonl"
        log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        capsys.readouterr()
        code = main(["plan", str(log), *map(str, arguments), "--json"])
        told, errors = capsys.readouterr()
        return code, json.loads(told) if told else errors

    return run


def requests(trace):
    return [json.dumps({"text": f"text {item}"}) for item in trace]


# Real traces where they are; a law of how requests repeat always.
TRACES = {
    name: trace
    for name, trace in {
        "zipf": zipf(20_000, 8_000), "weblog": web_log(), "web12": web12(), "retail": sales(),
    }.items()
    if trace is not None
}  # fmt: skip


@pytest.mark.parametrize("name", TRACES)
def test_ten_sizes_are_within_a_point_of_full_simulation(plan, name):
    trace = TRACES[name]
    code, told = plan(requests(trace), "--item", "text", "--entry-bytes", entry_bytes())
    assert (code, told["requests"], told["items"]) == (0, len(trace), len(set(trace)))
    assert len(told["sizes"]) == 10
    for size in told["sizes"]:
        expected = full_simulation(trace, size["max_bytes"])
        assert size["hit_rate"] == pytest.approx(expected, abs=POINT)
        assert size["error"] == 0


@pytest.mark.parametrize("name", sorted(TRACES.keys() & {"zipf", "web12"}))
def test_a_sample_of_the_items_is_within_the_error_that_it_states(plan, name):
    trace = TRACES[name]
    most = len(set(trace)) // 2
    told = plan(
        requests(trace), "--item", "text", "--entry-bytes", entry_bytes(), "--sample", most
    )[1]
    assert told["sampled"] == most
    assert told["items"] == pytest.approx(len(set(trace)), rel=0.05)
    rates = [full_simulation(trace, size["max_bytes"]) for size in told["sizes"]]
    off = [abs(size["hit_rate"] - rate) for size, rate in zip(told["sizes"], rates, strict=True)]
    assert all(0 < size["error"] < 0.2 for size in told["sizes"])
    pairs = zip(off, told["sizes"], strict=True)
    assert all(each <= size["error"] + 0.25 * POINT for each, size in pairs)
    assert fmean(off) <= 1.5 * POINT  # of the items, half of some thousands are the sample


def test_a_larger_store_that_holds_everything_hits_all_but_the_first_requests(plan):
    told = plan(["a", "b", "a", "a"], "--entry-bytes", 2_000, "--seconds-per-item", "0.5")[1]
    assert told["sizes"][-1]["hit_rate"] == 0.5
    assert (told["sizes"][-1]["seconds_saved"], told["seconds"]) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("line", "place", "items"),
    [
        ({"text": "a"}, "text", 1),
        ({"texts": ["a", "b", "a"]}, "texts", 3),
        ({"input": [[1, 2], [3]]}, "input", 2),
        ({"input": [1, 2]}, "input", 1),
        ({"messages": [{"content": "a"}, {"content": "b"}]}, "messages.1.content", 1),
        ({"text": "a"}, ".", 1),
        (["a", "b"], ".", 2),
        ("a", ".", 1),
    ],
)
def test_items_are_found_at_their_place(plan, line, place, items):
    told = plan([json.dumps(line)], "--item", place, "--entry-bytes", 2_000)[1]
    assert (told["requests"], told["skipped"]) == (items, 0)


def test_plain_text_lines_are_items(plan):
    told = plan(["how much?", "", "how much?", "{not json"], "--entry-bytes", 2_000)[1]
    assert (told["requests"], told["items"]) == (3, 2)


def test_lines_that_have_nothing_at_the_place_are_counted(plan):
    lines = ['{"text": "a"}', "no json", '{"other": 1}', '{"text": "b"}']
    told = plan(lines, "--item", "text", "--entry-bytes", 2_000)[1]
    assert (told["requests"], told["skipped"]) == (2, 2)


def test_a_log_without_items_says_where_it_looked(plan):
    code, errors = plan(['{"text": "a"}'], "--item", "txt", "--entry-bytes", 2_000)
    assert (code, "nothing at 'txt'" in errors) == (3, True)


def test_without_sizes_an_entry_is_a_vector_of_384_floats_and_told_as_assumed(plan):
    told = plan(["a"])[1]
    assert told["assumed"]
    assert abs(told["entry_bytes"] - entry_bytes()) <= 16
    assert not plan(["a"], "--entry-bytes", 2_000)[1]["assumed"]


def test_equal_numbers_and_texts_are_different_items(plan):
    told = plan(['{"x": 1}', '{"x": "1"}'], "--item", "x", "--entry-bytes", 2_000)[1]
    assert told["items"] == 2


def test_entries_are_measured_in_a_store(plan, tmp_path):
    store = SharedStore(tmp_path / "store", "8 MiB")
    store.set_many(Scope("shop"), {b"k" * 16: ENTRY})
    store.set_many(Scope("blog"), {b"b" * 16: NewEntry(b"", b"")})
    store.close()
    arguments = ["--entries-of", tmp_path / "store", "--namespace", "shop"]
    assert plan(["a"], *arguments)[1]["entry_bytes"] == entry_bytes()


def test_entries_are_measured_by_outputs(plan, tmp_path):
    (tmp_path / "outputs.jsonl").write_text(json.dumps("x" * 1_000) + "\n" + json.dumps(""))
    told = plan(["a"], "--outputs", tmp_path / "outputs.jsonl")[1]
    assert 500 < told["entry_bytes"] - entry_bytes() + 1_538 < 510


def test_an_entry_that_is_smaller_than_its_bookkeeping_is_refused(plan):
    code, errors = plan(["a"], "--entry-bytes", 20)
    assert (code, "bookkeeping" in errors) == (3, True)


def test_the_sizes_can_be_chosen_and_enough_is_where_more_adds_less_than_a_point(plan):
    lines = [f"item {n % 50}" for n in range(1_000)]
    sizes = "16KiB,1MiB,256KiB"
    told = plan(lines, "--entry-bytes", 2_048, "--sizes", sizes)[1]
    assert [size["max_bytes"] for size in told["sizes"]] == [16 << 10, 256 << 10, 1 << 20]
    assert told["sizes"][0]["hit_rate"] < 0.9 < told["sizes"][1]["hit_rate"] == 0.95
    assert told["enough"] == 256 << 10


def test_the_picture_shows_every_size(plan, tmp_path):
    svg = tmp_path / "out.svg"
    code, told = plan(["a", "<b>", "a"], "--entry-bytes", 2_000, "--svg", svg)
    root = ElementTree.fromstring(svg.read_text(encoding="utf-8"))
    assert code == 0
    assert len(root.findall("{*}circle")) == len(told["sizes"]) == 10


def test_people_are_shown_a_table(tmp_path, capsys):
    log = tmp_path / "log"
    log.write_text("a\nb\na\n")
    assert main(["plan", str(log), "--entry-bytes", "2000", "--seconds-per-item", "2"]) == 0
    head, columns, *rows, last = capsys.readouterr().out.splitlines()
    assert "3 requests for 2 items" in head
    assert columns.split("  ")[-1] == "model seconds saved"
    assert len(rows) == 10
    assert "saves 2 of 6 model seconds" in last


@pytest.mark.parametrize(
    "arguments",
    [["--entry-bytes", "0"], ["--entry-bytes", "1", "--outputs", "x"], ["--sample", "0"]],
)
def test_a_wrong_command_exits_with_2(tmp_path, arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["plan", str(tmp_path), *arguments])
    assert exit.value.code == 2
