"""What filters know beyond MLflow: OR, NOT, brackets, lists and ranges on any key, times in words, figures of metrics."""

import re
from random import Random

import pytest

from aqrec.errors import InvalidInputError
from aqrec.format._document import RunDocument, latest
from aqrec.format._records import MetricSummary
from aqrec.reading._filter import parse_filter, parse_order
from tests.reading.filters import NOW, document, expression, mutated

HOUR, DAY = 3_600_000, 86_400_000


def run(run_id: str, loss: tuple[float, ...] = (), **fields: object) -> RunDocument:
    metrics = {}
    if loss:
        metrics = {"loss": MetricSummary(len(loss), len(loss) - 1, 0, loss[-1], min(loss), max(loss))}
    return RunDocument(run_id=run_id, metrics={"w": metrics}, **fields)  # type: ignore[arg-type]


RUNS = (
    run(
        *("A", (3.0, 1.0, 2.0)),
        params={"lr": 0.01, "model": "LightGBM", "deep": True},
        tags={"stage": "dev"},
        status="FINISHED",
        start_time=NOW - 10 * DAY,
        end_time=NOW - 10 * DAY + 90_000,
    ),
    run(
        "B",
        (0.5,),
        params={"lr": 0.1, "model": "ridge", "deep": False},
        status="RUNNING",
        start_time=NOW - 2 * HOUR,
    ),
    run(
        "C",
        params={"lr": "0.1", "model": 7},
        tags={"stage": "live"},
        status="FAILED",
        parent="A",
        start_time=NOW - 3 * DAY,
        end_time=NOW - 3 * DAY + 2 * HOUR,
    ),
    run("D", name="later"),
)


def found(text: str) -> str:
    condition = parse_filter(text, now=NOW)
    return "".join(doc.run_id for doc in RUNS if condition.matches(doc, latest(doc)))


@pytest.mark.parametrize(
    ("text", "runs"),
    {
        # joining
        "run_id = 'A' OR run_id = 'C'": "AC",
        "(run_id = 'A')": "A",
        "NOT run_id = 'A'": "BCD",
        "not (run_id = 'A' or run_id = 'B')": "CD",
        "run_id = 'A' OR run_id = 'B' AND status = 'FAILED'": "A",
        "(run_id = 'A' OR run_id = 'B') AND status = 'RUNNING'": "B",
        "NOT run_id = 'A' AND status != 'RUNNING'": "CD",
        "NOT NOT run_id = 'A'": "A",
        "((run_id='A')OR(run_id='B'))": "AB",
        "NOT params.model = 'ridge'": "ACD",
        "params.model != 'ridge'": "AC",
        # lists
        "params.model IN ('ridge', 'LightGBM')": "AB",
        "params.model NOT IN ('ridge', 'LightGBM')": "C",
        "params.lr IN (0.1, 1)": "B",
        "params.lr IN ('0.1')": "BC",
        "params.lr IN (0.01, '0.1')": "ABC",
        "params.deep IN (true)": "A",
        "params.deep NOT IN (True, FALSE)": "",
        "metrics.loss IN (2, 0.5)": "AB",
        "tags.stage NOT IN ('dev')": "C",
        "status in ('FAILED', 'RUNNING')": "BC",
        "run_name IN ('later',)": "D",
        # ranges
        "params.lr BETWEEN 0.01 AND 0.05": "A",
        "params.lr NOT BETWEEN 0.01 AND 0.05": "B",
        "metrics.loss between 0.5 and 2 AND status = 'RUNNING'": "B",
        "tags.stage BETWEEN 'd' AND 'e'": "A",
        "run_id BETWEEN 'B' AND 'C'": "BC",
        "params.lr BETWEEN 1 AND 0": "",
        # missing keys
        "metrics.loss IS NULL": "CD",
        "metrics.loss IS NOT NULL": "AB",
        "end_time IS NULL": "BD",
        "start_time IS  NOT  NULL": "ABC",
        "parent IS NULL": "ABD",
        "duration IS NULL": "D",
        "status IS NULL": "",
        # patterns
        "params.model RLIKE '^L.*M$'": "A",
        "params.model RLIKE 'g'": "AB"[:0] + "AB",
        "params.model NOT RLIKE '[a-z]'": "C",
        "params.model RLIKE '(?i)RIDGE'": "B",
        "params.model NOT LIKE '%i%'": "C",
        "params.model NOT ILIKE 'LIGHT%'": "BC",
        "tags.stage RLIKE 'de|li'": "AC",
        # times and durations
        "start_time > '7 days ago'": "BC",
        "start_time < '1 week ago'": "A",
        "start_time >= '150 min ago' AND start_time <= 'now'": "B",
        "start_time BETWEEN '4 days ago' AND '2 d ago'": "C",
        "start_time < 'today'": "AC",
        "start_time > '2023-11-01'": "ABC",
        f"start_time = {NOW - 3 * DAY}": "C",
        "end_time > '2023-11-11T22:13:20.000+00:00'": "C",
        "end_time > '2023-11-12T00:13:21'": "",
        "duration > 60": "ABC",
        "duration = 90": "A",
        "duration > '1.5 hours'": "BC",
        "duration >= '2h' and duration < '3 hours'": "BC",
        "duration IN ('90 s', 1)": "A",
        # child and parent
        "parent = 'A'": "C",
        "parent IS NOT NULL": "C",
        # figures of metrics
        "min(metrics.loss) = 1": "A",
        "max(metrics.loss) >= 3": "A",
        "MIN(metrics.loss) < 1": "B",
        "last(metrics.loss) = 2": "A",
        "count(metrics.loss) > 1": "A",
        "step( metrics.`loss` ) = 0": "B",
        "min(metrics.loss) IS NULL": "CD",
        "max(metrics.loss) IN (3, 0.5)": "AB",
    }.items(),
)
def test_what_mlflow_rejects_finds_what_it_says(text: str, runs: str) -> None:
    assert found(text) == runs


def test_a_filter_of_one_figure_needs_metrics() -> None:
    assert parse_filter("status = 'x' OR NOT min(metrics.a) > 1").needs_metrics
    assert not parse_filter("status = 'x' OR NOT params.a > 1").needs_metrics


@pytest.mark.parametrize(
    ("order", "runs"),
    [
        (["min(metrics.loss)"], "BACD"),
        (["max(metrics.loss) DESC"], "ABCD"),
        (["count(metrics.loss)", "run_id"], "BACD"),
        (["duration"], "ABCD"),
        (["parent"], "CBAD"),
    ],
)
def test_runs_are_ordered_by_the_new_keys_too(order: list[str], runs: str) -> None:
    docs = [*RUNS[:1], run("B", (0.5,), start_time=NOW - 2 * HOUR, end_time=NOW - HOUR), *RUNS[2:]]
    assert "".join(doc.run_id for doc in parse_order(order).sort(docs)) == runs


@pytest.mark.parametrize(
    ("text", "wrong", "expected"),
    [
        ("run_id = 'a' OR", " ", "both sides of OR"),
        ("OR run_id = 'a'", "OR", "both sides of OR"),
        ("run_id = 'a' OR OR run_id = 'b'", "OR", "both sides of OR"),
        ("run_id = 'a' OR status = 'b' status = 'c'", "status", "AND or OR between clauses"),
        ("(run_id = 'a') AND AND status = 'c'", "AND", "both sides of AND"),
        ("(run_id = 'a' AND) OR status = 'c'", ")", "both sides of AND"),
        ("()", "(", "clause in the brackets"),
        ("(run_id = 'a'", " ", "closes a bracket"),
        ("run_id = 'a')", ")", "no bracket to close"),
        ("NOT", " ", "metrics.NAME"),
        ("params.a BETWEEN 1", " ", "BETWEEN low AND high"),
        ("params.a BETWEEN 1 OR 2", "OR", "BETWEEN low AND high"),
        ("params.a BETWEEN 1 AND 'b'", "1", "two numbers or two texts"),
        ("params.a BETWEEN true AND false", "true", "two numbers or two texts"),
        ("metrics.a IN ('x')", "'x'", "number without quotes"),
        ("metrics.a IN (true)", "true", "number without quotes"),
        ("tags.a IN (1)", "1", "text in quotes"),
        ("params.a IN (x)", "x", "('a', 'b')"),
        ("metrics.a IN ()", ")", "(1, 2)"),
        ("start_time > 'last week'", "'last week'", "7 days ago"),
        ("start_time > '2023-13-01'", "'2023-13-01'", "7 days ago"),
        ("duration > '3 fortnights'", "'3 fortnights'", "1.5 hours"),
        ("params.a RLIKE '('", "'('", "RE2"),
        ("params.a RLIKE '(?=a)'", "'(?=a)'", "RE2"),
        ("metrics.a RLIKE '1'", "RLIKE", "=, !="),
        ("params.a NOT = 'x'", "NOT", "NOT LIKE"),
        ("min(params.a) > 1", "params.a", "min(metrics.NAME)"),
        ("min(metrics.a > 1", ">", "min(metrics.NAME)"),
        ("best(metrics.a) > 1", "best", "min(metrics.NAME)"),
        ("params.a > true", ">", "before true and false"),
    ],
)
def test_an_error_points_at_the_place_and_says_what_was_expected(
    text: str, wrong: str, expected: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_filter(text)
    _, shown, carets, last = str(caught.value).split("\n")
    start = carets.index("^")
    assert (shown + " ")[start : start + carets.count("^")] == wrong
    assert expected in last


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "NOT " * 50_000 + "run_id = 'a'",
        "(" * 50_000 + "run_id = 'a'" + ")" * 50_000,
        "run_id = 'a' OR " * 20_000 + "run_id = 'b'",
        "min(" * 50_000,
        "params.a IN (" + "1," * 50_000 + ")",
        "run_id RLIKE '" + "(a*)*" * 2_000 + "b'",
        "run_id RLIKE '" + "((a{100}){100}){100}'",
    ],
    ids=lambda text: text[:14],
)
def test_no_text_takes_long_to_read_or_to_match(text: str) -> None:
    doc = run("a" * 1000)
    try:
        condition = parse_filter(text)
    except InvalidInputError as error:
        assert "^" in str(error)  # noqa: PT017 - either way is right
        return
    condition.matches(doc, {})


# --- against a naive evaluator ------------------------------------------------------------------------------


def compare_with_naive(seed: int, count: int) -> None:
    """Judge random filters twice, and read random wrong ones."""
    random = Random(seed)
    docs = [document(random) for _ in range(40)]
    summaries = [latest(doc) for doc in docs]
    for number in range(count):
        text, judge = expression(random, random.choice((0, 0, 1, 1, 2)))
        condition = parse_filter(text, now=NOW)
        some = random.sample(range(len(docs)), 6)
        answers = [condition.matches(docs[at], summaries[at]) for at in some]
        assert answers == [judge(docs[at]) for at in some], (seed, number, text)
        wrong = mutated(random, text)
        try:
            parse_filter(wrong, now=NOW).matches(docs[some[0]], summaries[some[0]])
        except InvalidInputError as error:
            assert re.search(r"^ +\u3000*\^+$", str(error), re.MULTILINE), wrong  # noqa: PT017 - either way is right


@pytest.mark.parametrize("seed", range(4))
def test_a_filter_finds_what_a_naive_evaluation_finds(seed: int) -> None:
    compare_with_naive(seed, 500)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(100, 150))
def test_a_million_filters_find_what_a_naive_evaluation_finds(seed: int) -> None:
    """Fifty times twenty thousand."""
    compare_with_naive(seed, 20_000)
