"""Filters and orders mean what MLflow's run search means, and point at mistakes."""

import contextlib
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aqrec.errors import InvalidInputError
from aqrec.format._document import RunDocument, latest
from aqrec.format._records import MetricSummary
from aqrec.reading._filter import parse_filter, parse_order
from aqrec.reading._filter_patterns import like_pattern

INF, NAN = math.inf, math.nan


def run(run_id: str, metrics: dict[str, float] | None = None, **fields: Any) -> RunDocument:
    summaries = {key: MetricSummary(1, 0, 0, value, value, value) for key, value in (metrics or {}).items()}
    return RunDocument(run_id=run_id, metrics={"w": summaries}, **fields)


def found(text: str | None, *docs: RunDocument) -> str:
    """The ids of the runs that satisfy the filter."""
    condition = parse_filter(text)
    return "".join(doc.run_id for doc in docs if condition.matches(doc, latest(doc)))


def ordered(order_by: list[str], *docs: RunDocument) -> str:
    return "".join(doc.run_id for doc in parse_order(order_by).sort(docs))


# --- the table of what MLflow accepts -----------------------------------------------------------------------

# Of A, acc was logged twice, by two writers; the later step counts.
A = RunDocument(
    run_id="A",
    name="one",
    status="FINISHED",
    start_time=1_700_000_000_001,
    end_time=1_700_000_000_002,
    params={"lr": "0.01", "m": "LightGBM", "a.b": "x", "q": "it's"},
    tags={"t": "x", "mlflow.runName": "a", "mlflow.user": "ann"},
    metrics={
        "w2": {"acc": MetricSummary(1, 1, 0, 0.1, 0.1, 0.1)},
        "w1": {"acc": MetricSummary(1, 2, 0, 0.9, 0.9, 0.9)},
    },
)
B = run(
    "B", {"acc": 0.7, "val/loss": 0.1}, status="RUNNING", start_time=5, params={"lr": "0.1", "my-param": "1"}
)
C = run("C", {"acc": NAN}, status="FAILED", start_time=6, end_time=7)
D = run("D", {"acc": INF}, start_time=8)
E = run("E", {"acc": -INF})
FIVE = (A, B, C, D, E)

ACCEPTED = {
    "": "ABCDE",
    "metrics.acc > 0.8": "AD",
    "metric.acc>0.8": "AD",
    "metrics.`acc` > .8": "AD",
    "metrics.'acc' > 0.8": "AD",
    'metrics."acc" > 0.8': "AD",
    "metrics.acc != 0.9": "BCDE",
    "metrics.acc = 0.9": "A",
    "metrics.acc > -1": "ABD",
    "metrics.acc >= .7": "ABD",
    "metrics.acc > 1e-1": "ABD",
    "metrics.acc > 00.6": "ABD",
    "metrics.acc > 1.": "D",
    "metrics.acc < -1.5": "E",
    "metrics.acc <= .7": "BE",
    "metrics.nope != 1": "",
    "metrics.`val/loss` < 0.2": "B",
    "`metrics`.acc > 0": "ABD",
    "params.lr = '0.01'": "A",
    'params.lr = "0.01"': "A",
    "params.lr != '0.01'": "B",
    "param.lr='0.01'": "A",
    "parameter.lr = '0.01'": "A",
    "parameters.lr = '0.01'": "A",
    "params.m LIKE 'Light%'": "A",
    "params.m like 'light%'": "",
    "params.m ilike 'LIGHT%'": "A",
    "params.m LIKE 'Light'": "",
    "params.m LIKE '_ightGBM'": "A",
    "params.m LIKE '%GB%'": "A",
    "params.a.b = 'x'": "A",
    "params.`a.b` = 'x'": "A",
    "params.lr IS NULL": "CDE",
    "params.lr is not null": "AB",
    "params.`my-param` = '1'": "B",
    "params.date IS NULL": "ABCDE",
    "params.order IS NULL": "ABCDE",
    'params.q = "it\'s"': "A",
    "params.q = 'it''s'": "",
    "tags.t = 'x'": "A",
    "tag.t IS NULL": "BCDE",
    "tags.`mlflow.runName` = 'a'": "A",
    "tags.mlflow.runName = 'a'": "A",
    "status = 'FINISHED'": "A",
    "status = 'finished'": "",
    "status ILIKE 'fin%'": "A",
    "attributes.status = 'FINISHED'": "A",
    "attribute.status = 'FINISHED'": "A",
    "attr.status = 'FINISHED'": "A",
    "run.status = 'FINISHED'": "A",
    "run_name = 'one'": "A",
    "`run name` = 'one'": "A",
    "\"Run name\" = 'one'": "A",
    "attributes.`Run Name` = 'one'": "A",
    "user_id = 'ann'": "A",
    "user_id != 'bob'": "A",
    "artifact_uri LIKE '%/C/%'": "C",
    "run_id IN ('A','b')": "A",
    "run_id NOT IN ('A')": "BCDE",
    'run_id in ("A")': "A",
    "run_id IN ('A',)": "A",
    "run_id = 'A'": "A",
    "start_time > 1.7e12": "A",
    "start_time >= 5 and start_time < 8": "BC",
    "created = 5": "B",
    "Created = 5": "B",
    "end_time != 7": "A",
    "dataset.name IN ('a','b')": "",
    "dataset.name NOT IN ('a')": "",
    "datasets.context != 'train'": "",
    "dataset.digest LIKE '%'": "",
    "metrics.acc > 0.8 AND params.lr = '0.01'": "A",
    "metrics.acc > 0.8 and params.lr = '0.01'": "A",
    "metrics.acc > 0.8\nAND\tparams.lr = '0.01'": "A",
    # a missing or spare AND is forgiven
    "metrics.acc > 0.8 AND": "AD",
    "AND metrics.acc > 0.8": "AD",
    "metrics.acc > 0.8 AND AND params.lr = '0.01'": "A",
    "metrics.acc > 0.8 params.lr = '0.01'": "A",
    "params.lr = '0.01'params.m = 'LightGBM'": "A",
}

REJECTED = [
    "metrics.acc > +1",
    "metrics.acc > 0x1",
    "metrics.acc > 1_000",
    "metrics.acc > nan",
    "metrics.acc > inf",
    "metrics.acc > '0.8'",
    "metrics.acc <> 1",
    "metrics.acc == 1",
    "metrics.acc LIKE '1%'",
    "metrics.val/loss < 0.2",
    "METRICS.acc > 0",
    '"metrics".acc > 0',
    "acc > 0.8",
    "0.8 < metrics.acc",
    "params.lr = `0.01`",
    "params.lr > '0.01'",
    "tags.t = 1",
    "tags.t > 'x'",
    "params.lr IS  NOT  NULL",
    "params.my-param = 'x'",
    "metrics.ic:mean > 0",
    "metrics.1 > 0",
    "params.from = 'x'",
    "params.a.in = 'x'",
    "params.q = 'it's'",
    "STATUS = 'x'",
    "run_id IN ()",
    "run_id IN (1,2)",
    "run_id IN ['a']",
    "run_id IN (abc)",
    "run_id IN ('a',,)",
    "run_id IN ('a'",
    "run_id > 'a'",
    "start_time > '17'",
    "lifecycle_stage = 'active'",
    "experiment_id = '1'",
    "datasets.source = 'x'",
    "dataset.name > 'x'",
    "metrics.a > 1, metrics.b > 1",
    "metrics.a > 1; metrics.b > 1",
    "metrics.a > 1;",
    "metrics.a > 1 && metrics.b > 1",
    "metrics.a > 1 -- c",
    "metrics.a > 1 /* c */ AND metrics.b > 1",
    "hello",
    "params.lr",
    "params.lr =",
    "1=1",
    "foo.bar = 'x'",
    "metrics.a>1metrics.b>2",
    "params.a = u'x'",
    "'params'.a = 'x'",
    "\"params.a\" = 'x'",
]


@pytest.mark.parametrize(("text", "runs"), ACCEPTED.items(), ids=list(ACCEPTED))
def test_what_mlflow_accepts_finds_the_same_runs(text: str, runs: str) -> None:
    assert found(text, *FIVE) == runs


@pytest.mark.parametrize("text", REJECTED)
def test_what_mlflow_rejects_and_means_nothing_here_is_rejected(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_filter(text)


def test_no_filter_at_all_accepts_every_run() -> None:
    assert found(None, *FIVE) == "ABCDE"


# --- what typed params add ----------------------------------------------------------------------------------

TYPED = (
    run("a", params={"x": 0.01}),
    run("b", params={"x": 10}),
    run("c", params={"x": True}),
    run("d", params={"x": "10"}),
    run("e", params={"x": None}),
    run("f", params={"x": [1, 2]}),
    run("g", params={"x": NAN}),
    run("h", params={"x": 2**70 + 1}),
    run("i"),
)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("params.x > 0.005", "abh"),
        ("params.x >= 10", "bh"),
        ("params.x < 10.", "a"),
        ("params.x <= -1", ""),
        ("params.x = 10", "b"),
        ("params.x = 1", ""),
        ("params.x != 10", "acdefgh"),
        (f"params.x = {2**70 + 1}", "h"),
        (f"params.x = {2**70}", ""),
        ("params.x = true", "c"),
        ("params.x = FALSE", ""),
        ("params.x != False", "abcdefgh"),
        ("params.x = '0.01'", "a"),
        ("params.x = '10'", "bd"),
        ("params.x = 'True'", "c"),
        ("params.x = 'None'", "e"),
        ("params.x = '[1, 2]'", "f"),
        ("params.x = 'nan'", "g"),
        ("params.x != '10'", "acefgh"),
        ("params.x LIKE '1%'", "bdh"),
        ("params.x ILIKE 't%'", "c"),
        ("params.x IS NULL", "i"),
        ("params.x IS NOT NULL", "abcdefgh"),
    ],
)
def test_numbers_compare_with_numbers_and_quoted_text_with_the_text_form(text: str, runs: str) -> None:
    assert found(text, *TYPED) == runs


@pytest.mark.parametrize(
    "text", ["params.x > true", "params.x LIKE 1", "params.x = nan", "params.x BETWEEN 1 AND 'b'"]
)
def test_typed_values_take_no_other_operators(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_filter(text)


def test_an_integer_too_long_to_write_out_neither_breaks_nor_matches_text() -> None:
    huge = run("h", params={"x": 10**5000})
    assert not found("params.x = '1'", huge)
    assert found("params.x > " + "9" * 3990, huge) == "h"
    assert found("params.x LIKE '%'", run("l", params={"x": [10**5000]})) == "l"


def test_an_artifact_uri_is_that_of_the_store() -> None:
    condition = parse_filter("artifact_uri LIKE 's3://b/%'")
    assert condition.matches(A, {}, lambda run_id: f"s3://b/{run_id}")
    assert not condition.matches(A, {}, lambda run_id: f"s3://c/{run_id}")


def test_created_is_the_creation_of_a_run_that_has_not_started() -> None:
    assert found("created = 3", run("s", created=3), run("r", created=3, start_time=4)) == "s"


@pytest.mark.parametrize(
    ("text", "needed"),
    [("metrics.a > 1", True), ("status = 'x' AND metrics.a > 1", True), ("params.a = 'x'", False)],
)
def test_a_filter_tells_whether_it_needs_metrics(text: str, needed: bool) -> None:
    assert parse_filter(text).needs_metrics is needed


def test_items_of_a_list_have_escapes_that_other_texts_have_not() -> None:
    docs = (run("it's"), run("its"), run("ab"))
    assert found(r"run_id IN ('it\'s')", *docs) == "it's"
    assert found("run_id IN ('it''s')", *docs) == "its"
    assert found("run_id IN ('a' 'b')", *docs) == "ab"
    assert found(r"run_name = 'it\'s'", run("r", name=r"it\'s")) == "r"


@pytest.mark.parametrize("text", ["run_name LIKE 'a%b'", "run_name LIKE 'a_b'", "run_name ILIKE 'A%B'"])
def test_wildcards_stand_for_line_breaks_too(text: str) -> None:
    assert found(text, run("r", name="a\nb")) == "r"


# --- against a naive evaluator ------------------------------------------------------------------------------

KEYS = ("a", "b.c", "val/loss", "my key", "it's", "из", "AND")
TEXTS = ("", "x", "X", "xy", "a%b", "0.5", "1", "True", "None", "it's", "é\n_")
NUMBERS = (0, 1, -1, 0.5, 1e-3, 2**53 + 1, 1e308)
VALUES = st.sampled_from([*TEXTS, *NUMBERS, True, False, None, NAN, INF, -INF, [1], {"k": "v"}])
TIMES = st.none() | st.sampled_from([0, 1, 5, 10**12])


@st.composite
def documents(draw: st.DrawFn) -> RunDocument:
    keyed = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)
    points = st.sampled_from([*map(float, NUMBERS), NAN, INF, -INF])
    return run(
        draw(st.sampled_from("abc")),
        draw(st.dictionaries(st.sampled_from(KEYS), points, max_size=4)),
        name=draw(st.sampled_from(TEXTS)),
        status=draw(st.sampled_from(["RUNNING", "FINISHED"])),
        params=draw(keyed),
        tags=draw(keyed),
        start_time=draw(TIMES),
        end_time=draw(TIMES),
    )


def naive_like(value: str, pattern: str) -> bool:
    if not pattern:
        return not value
    if pattern[0] == "%":
        return any(naive_like(value[i:], pattern[1:]) for i in range(len(value) + 1))
    return bool(value) and pattern[0] in ("_", value[0]) and naive_like(value[1:], pattern[1:])


def naive_compare(value: Any, operator: str, wanted: Any) -> bool:
    match operator:
        case "=":
            return bool(value == wanted)
        case "!=":
            return not value == wanted  # noqa: SIM201 - the negation of the case above
        case ">":
            return bool(value > wanted)
        case ">=":
            return bool(value >= wanted)
        case "<":
            return bool(value < wanted)
        case "<=":
            return bool(value <= wanted)
        case "LIKE":
            return naive_like(value, wanted)
        case "ILIKE":
            return naive_like(value.lower(), wanted.lower())
    raise AssertionError(operator)


Judge = Callable[[RunDocument], bool]


def quoted(draw: st.DrawFn, text: str, quotes: str = "'\"") -> str:
    quote = draw(st.sampled_from([quote for quote in quotes if quote not in text]))
    return f"{quote}{text}{quote}"


@st.composite
def clauses(draw: st.DrawFn) -> tuple[str, Judge]:
    """A clause, and the function that says what it means."""

    def any_case(word: str) -> str:
        return draw(st.sampled_from([word, word.lower(), word.title()]))

    def gap() -> str:
        return draw(st.sampled_from(["", " ", "\n\t "]))

    kind = draw(st.sampled_from(["metrics", "params", "params", "tags", "text", "time", "list"]))
    if kind == "list":
        ids = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3))
        negated = draw(st.booleans())
        word = any_case("NOT") + " " + any_case("IN") if negated else any_case("IN")
        items = ", ".join(quoted(draw, item) for item in ids)
        return f"run_id {word}{gap()}({items})", lambda doc: (doc.run_id in ids) != negated
    name = draw(st.sampled_from(KEYS))
    shown = name if re.fullmatch(r"[\w.]+", name) and draw(st.booleans()) else quoted(draw, name, "`\"'")
    key = f"{kind}.{shown}"

    def read(doc: RunDocument) -> Any:
        return doc.params if kind == "params" else doc.tags

    if kind in ("params", "tags") and draw(st.booleans()) and draw(st.booleans()):
        negated = draw(st.booleans())
        word = any_case("NOT") + " " + any_case("NULL") if negated else any_case("NULL")
        return f"{key} {any_case('IS')} {word}", lambda doc: (name in read(doc)) == negated
    symbols = ["=", "!=", ">", ">=", "<", "<="]
    number = draw(st.sampled_from(NUMBERS))
    if kind == "metrics":
        symbol = draw(st.sampled_from(symbols))
        return (
            f"{key}{gap()}{symbol}{gap()}{number!r}",
            lambda doc: (
                name in doc.metrics["w"]
                and naive_compare(doc.metrics["w"][name].value, symbol, float(number))
            ),
        )
    if kind == "time":
        symbol, field = draw(st.sampled_from(symbols)), draw(st.sampled_from(["start_time", "end_time"]))
        return (
            f"{field}{gap()}{symbol}{gap()}{number!r}",
            lambda doc: (
                getattr(doc, field) is not None and naive_compare(getattr(doc, field), symbol, number)
            ),
        )
    if kind == "params" and draw(st.booleans()):
        if draw(st.booleans()):
            symbol, truth = draw(st.sampled_from(symbols[:2])), draw(st.booleans())
            return (
                f"{key} {symbol} {any_case(str(truth))}",
                lambda doc: name in doc.params and (doc.params[name] is truth) == (symbol == "="),
            )
        symbol = draw(st.sampled_from(symbols))
        return (
            f"{key}{gap()}{symbol}{gap()}{number!r}",
            lambda doc: (
                name in doc.params
                and (
                    naive_compare(doc.params[name], symbol, number)
                    if type(doc.params[name]) in (int, float)
                    else symbol == "!="
                )
            ),
        )
    symbol = draw(st.sampled_from(["=", "!=", "LIKE", "ILIKE"]))
    text = draw(st.sampled_from(TEXTS) | st.text("xX_%é\n", max_size=4))
    sign = f"{gap()}{symbol}{gap()}" if symbol in symbols else f" {any_case(symbol)}{gap()}"
    if kind == "text":
        field = draw(st.sampled_from(["name", "status"]))
        shown = {"name": "run_name", "status": "attributes.status"}[field]
        return f"{shown}{sign}{quoted(draw, text)}", lambda doc: naive_compare(
            getattr(doc, field), symbol, text
        )
    return (
        f"{key}{sign}{quoted(draw, text)}",
        lambda doc: name in read(doc) and naive_compare(str(read(doc)[name]), symbol, text),
    )


@given(
    st.lists(clauses(), max_size=3),
    st.sampled_from([" AND ", " and ", "\nAnd\t", " AND AND ", " "]),
    st.lists(documents(), min_size=1, max_size=6),
)
def test_a_filter_finds_what_a_naive_evaluation_finds(
    parts: list[tuple[str, Judge]], joint: str, docs: list[RunDocument]
) -> None:
    text = joint.join(part for part, _ in parts)
    condition = parse_filter(text)
    assert [condition.matches(doc, latest(doc)) for doc in docs] == [
        all(judge(doc) for _, judge in parts) for doc in docs
    ]


@given(st.text("ab%_\n", max_size=8), st.text("ab_%\n", max_size=8))
def test_like_is_what_its_definition_says(value: str, pattern: str) -> None:
    assert bool(like_pattern(pattern).fullmatch(value)) == naive_like(value, pattern)


# --- mistakes -----------------------------------------------------------------------------------------------


def lines_of(error: InvalidInputError) -> list[str]:
    return str(error).split("\n")


@pytest.mark.parametrize(
    ("text", "wrong", "expected"),
    [
        ("acc > 0.8", "acc", "metrics.NAME"),
        ("metrics.acc <> 1", "<>", "=, !="),
        ("metrics.acc > 1 AND tags.m NOT > 'x'", "NOT", "LIKE, ILIKE, RLIKE, NOT LIKE"),
        ("metrics.acc > '1'", "'1'", "number without quotes"),
        ("tags.t = x", "x", "text in quotes"),
        ("params.lr > '1'", ">", "without quotes"),
        ("params.from = 'x'", "params.from", "params.`from`"),
        ("metrics.val/loss > 1", "/", "metrics.`val/loss`"),
        ("metrics.acc > 0x10", "0x10", "1e-3"),
        ("run_id IN ('a', b)", "b", "('a', 'b')"),
        ("foo.bar = 1", "foo.bar", "params.NAME"),
        ("params.lr =", " ", "text in quotes"),
        ("params.a\n= \t`x`", "`x`", "text in quotes"),
        ("params.ключ = '値' AND 中文 = 'x'", "中文", "metrics.NAME"),
    ],
)
def test_an_error_shows_the_text_with_carets_under_the_wrong_piece(
    text: str, wrong: str, expected: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_filter(text)
    problem, shown, carets, last = lines_of(caught.value)
    assert problem.startswith("filter_string: ")
    assert shown.strip() == text.replace("\n", " ").replace("\t", " ").strip()
    start = carets.index("^")
    assert (shown + " ")[start : start + carets.count("^")] == wrong
    assert set(carets[:start]) <= {" ", "\u3000"}
    assert expected in last


def test_an_error_in_a_long_text_shows_what_is_around_it() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_filter("metrics.a > 1 AND " * 100 + "metrics.b >< 1" + " AND metrics.c > 1" * 100)
    _, shown, carets, _ = lines_of(caught.value)
    start = carets.index("^")
    assert shown[start : start + carets.count("^")] == "><"
    assert len(shown) < 200


@pytest.mark.parametrize("text", [1, b"metrics.a > 1", ["metrics.a > 1"]])
def test_a_filter_that_is_not_text_is_an_error(text: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected text"):
        parse_filter(text)


PIECES = st.sampled_from(
    [
        *(
            "metrics.",
            "params",
            ".",
            "tags.a",
            "run_id",
            "start_time",
            "`",
            "'",
            '"',
            "''",
            "\\",
            "\\'",
            "a",
            "é",
            " ",
        ),
        *(
            "AND",
            "OR",
            "NOT",
            "IN",
            "IS",
            "NULL",
            "LIKE",
            "true",
            "=",
            "!=",
            ">",
            "(",
            ")",
            ",",
            "1",
            "-",
            ".5",
            "e5",
        ),
        *(";", "--", "/*", "\n", "\0", "\ud800", "9" * 5000, "%", "_", "\uff10", "²", "#", "[", "{"),
    ]
)


@given(st.text() | st.lists(PIECES, max_size=12).map("".join) | st.lists(PIECES, max_size=12).map(" ".join))
@example("params.a > " + "9" * 5000)
@example("metrics.² > ²")
@example("'\n'")
def test_any_text_is_a_filter_or_an_invalid_input(text: str) -> None:
    for parse in (parse_filter, lambda text: parse_order([text])):
        error: InvalidInputError | None = None
        try:
            parse(text)
        except InvalidInputError as caught:
            error = caught
        assert error is None or "^" in lines_of(error)[2]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        *(
            piece * 50_000
            for piece in ("'", '"', "`", "'\\", "\\'", "(", "AND ", "a.", "1.", "=", "-", " ", "`a`.")
        ),
        "params.a = '" + "\\'" * 50_000,
        "run_id IN (" + "'a'" * 50_000 + ")",
        "run_id IN (" + "'a'," * 50_000,
        "params.a = 'x' " * 20_000,
        "params.a LIKE '" + "%a" * 20_000 + "'",
    ],
    ids=lambda text: text[:14],
)
def test_no_text_takes_long_to_read(text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        parse_filter(text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "pattern", ["%a" * 50 + "b", "%a_%" * 50 + "b", "%" * 5000 + "b", "%" + "a" * 500 + "b%"]
)
def test_no_pattern_takes_long_to_match(pattern: str) -> None:
    assert not found(f"run_name ILIKE '{pattern}'", run("r", name="a" * 50_000))


# --- orders -------------------------------------------------------------------------------------------------


def test_missing_values_come_last_and_nan_before_them_in_both_directions() -> None:
    docs = (
        run("m"),
        *(run(key, {"x": value}) for key, value in zip("nipz", (NAN, -INF, INF, 0.0), strict=True)),
    )
    assert ordered(["metrics.x"], *docs) == "izpnm"
    assert ordered(["metrics.x DESC"], *docs) == "pzinm"


def test_by_default_the_latest_start_comes_first_then_the_lowest_id() -> None:
    docs = (run("c", start_time=1), run("b", start_time=2), run("a", start_time=1), run("d"))
    assert ordered([], *docs) == "bacd"
    assert ordered(["run_name"], *docs) == "bacd"
    assert ordered(["run_name DESC"], *docs) == "bacd"
    assert "".join(doc.run_id for doc in parse_order(None).sort(docs)) == "bacd"


def test_the_first_key_weighs_most() -> None:
    docs = [run(f"{a}{b}", {"a": a, "b": b}) for a in (1, 2) for b in (1, 2)]
    assert ordered(["metrics.a DESC", "metrics.b"], *docs) == "21221112"


def test_texts_are_ordered_by_code_point_and_numbers_by_value() -> None:
    texts = [run(key, params={"x": value}) for key, value in zip("abcd", ("10", "9", "é", "Z"), strict=True)]
    assert ordered(["params.x"], *texts) == "abdc"
    numbers = [run(key, params={"x": value}) for key, value in zip("abcd", (10, 9, 0.5, 2**70), strict=True)]
    assert ordered(["params.x"], *numbers) == "cbad"
    assert ordered(["params.x DESC"], *numbers, *texts[2:], run("e", params={"x": NAN})) == "cddabce"


@pytest.mark.parametrize(
    "item",
    [
        *(
            "metrics.acc desc",
            "metrics.`val/loss`",
            "metrics.'a b'  ASC",
            'tags."x"\tDESC',
            "`metrics`.acc",
            "params.a.b",
        ),
        *(
            "start_time",
            "end_time Desc",
            "attributes.status",
            "run_id",
            "run_name",
            "user_id",
            "artifact_uri",
        ),
        *(
            "created",
            "Created",
            "`start_time`",
            "params.date",
            "params.order",
            "tags.mlflow.runName",
            "metrics.desc",
        ),
    ],
)
def test_an_order_by_any_key_is_accepted(item: str) -> None:
    assert len(parse_order([item]).sort(FIVE)) == 5


@pytest.mark.parametrize(
    "item",
    [
        *(
            "metrics.val/loss",
            "-metrics.acc",
            "metrics.a, params.b",
            "metrics.a up",
            "metrics.a DESC NULLS FIRST",
            "acc",
        ),
        *(
            "dataset.name",
            "`run name`",
            "Run Name",
            "METRICS.a",
            '"metrics".a',
            "params.from",
            "metrics.1",
            "",
            "  ",
        ),
        *(
            "metrics.a DESC DESC",
            "metrics.a = 1",
            "experiment_id",
            "lifecycle_stage",
            "DESC",
            "metrics.a AND metrics.b",
        ),
    ],
)
def test_an_order_by_anything_else_is_rejected(item: str) -> None:
    with pytest.raises(InvalidInputError, match="order_by: "):
        parse_order(["start_time", item])


@pytest.mark.parametrize("order_by", ["metrics.a", [1], [None]])
def test_an_order_is_a_list_of_texts(order_by: Any) -> None:
    with pytest.raises(InvalidInputError, match="order_by"):
        parse_order(order_by)


def naive_sort(docs: list[RunDocument], terms: list[tuple[str, bool]]) -> list[RunDocument]:
    """Pick the run that no other one precedes, again and again."""

    def standing(value: Any) -> tuple[int, Any]:
        if value is None:
            return (3, 0)
        if isinstance(value, str):
            return (1, value)
        return (2, 0) if value != value else (0, value)  # noqa: PLR0124

    def precedes(one: RunDocument, other: RunDocument) -> bool:
        for field, descending in [*terms, ("start", True), ("id", False)]:
            a, b = (
                standing(
                    {
                        "id": doc.run_id,
                        "start": doc.start_time,
                        "x": doc.params.get("x"),
                        "y": doc.params.get("y"),
                    }[field]
                )
                for doc in (one, other)
            )
            if a != b:
                return (a > b) if descending and max(a[0], b[0]) < 2 else (a < b)
        return False

    rest, result = list(docs), []
    while rest:
        first = next(doc for doc in rest if not any(precedes(other, doc) for other in rest))
        rest.remove(first)
        result.append(first)
    return result


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            TIMES,
            st.dictionaries(
                st.sampled_from("xy"), st.sampled_from([1, 0.5, -INF, NAN, True, "", "a", "é", "B"])
            ),
        ),
        max_size=7,
        unique_by=lambda row: row[0],
    ),
    st.lists(st.tuples(st.sampled_from("xy"), st.booleans()), max_size=2),
)
def test_an_order_is_that_of_a_naive_sort(
    rows: list[tuple[str, int | None, Any]], terms: list[tuple[str, bool]]
) -> None:
    docs = [run(run_id, start_time=start, params=params) for run_id, start, params in rows]
    order = parse_order([f"params.{key}{' DESC' if descending else ''}" for key, descending in terms])
    assert [doc.run_id for doc in order.sort(docs)] == [doc.run_id for doc in naive_sort(docs, terms)]
