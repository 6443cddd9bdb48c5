"""What `paddock fit` and `paddock ps --verbose` print, from the server's answers."""

from paddock.cli.fit import describe, running_terms
from paddock.cli.render import bar

TERMS = {
    "weights": 4_000_000_000,
    "context": 1_000_000_000,
    "workspace": 500_000_000,
    "runtime": 400_000_000,
    "prefix_cache": 100_000_000,
    "loading": 0,
    "total": 6_000_000_000,
}
MEMORY = {"id": "cpu", "total": 16_000_000_000, "free": 8_000_000_000, "reserve": 500_000_000}


def answer(**changes):
    return {
        "model": "big:latest",
        "verdict": "evicts",
        "reason": "It would fit once small:latest had been unloaded.",
        "evicts": ["small:latest"],
        "is_loaded": False,
        "context_length": 4096,
        "parallel": 2,
        "kv_bits": 0,
        "is_packed": False,
        "is_lowered": False,
        "terms": TERMS,
        "memory": MEMORY,
        **changes,
    }


def test_a_dry_run_is_a_verdict_a_table_and_a_bar():
    assert describe(answer()) == (
        "big:latest fits after others have gone: It would fit once small:latest had been unloaded.\n"
        "context 4096, parallel 2\n"
        "\n"
        "TERM            SIZE\n"
        "weights         4 GB\n"
        "context         1 GB\n"
        "workspace       500 MB\n"
        "runtime         400 MB\n"
        "prefix cache    100 MB\n"
        "total           6 GB\n"
        "\n"
        "cpu  [#########################+++++++++++++++++++......]  16 GB\n"
        "# taken 8 GB, + this model 6 GB, . left 2 GB, of which 500 MB stay free\n"
    )


def test_a_lowered_context_is_told():
    assert "parallel 1 (lowered, so that it fits)" in describe(answer(parallel=1, is_lowered=True))
    told = describe(answer(parallel=1, kv_bits=8, is_packed=True, is_lowered=True))
    assert "context 4096 in 8 bits, parallel 1, weights as they are stored (lowered, so that it fits)" in told


def test_a_load_that_takes_more_than_the_work_is_a_term_of_its_own():
    assert "loading         9 GB" in describe(answer(terms={**TERMS, "loading": 9_000_000_000}))


def test_a_loaded_model_is_not_drawn_twice():
    assert "+ this model 0 B" in describe(answer(is_loaded=True))


def test_an_answer_without_a_memory_has_no_bar():
    assert "[" not in describe(answer(memory=None))


def test_the_terms_of_running_models_say_how_well_they_were_foreseen():
    model = {
        "name": "big:latest",
        "size": 5_000_000_000,
        "terms": TERMS,
        "promised": 6_000_000_000,
        "memory": "cpu",
        "peak": 5_000_000_000,
        "peak_foreseen": 5_250_000_000,
    }

    text = running_terms([model, {**model, "name": "new:latest", "peak": 0, "peak_foreseen": 0}], [MEMORY])

    assert "5.2 GB (+5.0%)" in text
    assert text.splitlines()[3].endswith("-")
    assert "= these models 10 GB, + promised to them 2 GB" in text


def test_a_bar_never_overflows_and_hides_nothing():
    assert bar(100, (("#", 50), ("+", 25)), cells=8) == "####++.."
    assert bar(100, (("#", 1), ("+", 0)), cells=8) == "#......."
    assert bar(100, (("#", 90), ("+", 90)), cells=8) == "#######+"
    assert bar(0, (("#", 5),), cells=4) == "####"


def test_fit_asks_for_what_was_said_and_fails_where_nothing_helps(server, paddock_command):
    server.failures["/api/fit"] = (200, answer(verdict="never", reason="It is too large."))

    result = paddock_command("fit", "big", "--ctx", "8192", "--parallel", "3")

    assert "big:latest does not fit: It is too large." in result.out
    assert result.exit_code == 1
    assert server.bodies("/api/fit") == [{"model": "big", "options": {"num_ctx": 8192, "parallel": 3}}]


def test_a_draft_model_is_a_term_where_there_is_one():
    told = describe(answer(terms={**TERMS, "draft": 700_000_000, "total": 6_700_000_000}))
    assert "draft           700 MB\n" in told
    plain = {**TERMS, "draft": 0}
    rows = [
        {"name": name, "terms": terms, "promised": 1, "size": 1, "peak": 0, "peak_foreseen": 0, "memory": "cpu"}
        for name, terms in (("with", {**plain, "draft": 700_000_000}), ("without", plain))
    ]
    assert "DRAFT" in running_terms(rows, [])
    assert "DRAFT" not in running_terms(rows[1:], [])


def test_of_an_image_model_the_pictures_are_told_in_place_of_the_context():
    pictures = {"pixels": 1_048_576, "references": 4, "tile": 512, "is_staged": True}
    told = describe(answer(pictures=pictures, is_packed=True, is_lowered=True))
    assert (
        "\npictures of up to 1048576 pixels, 2 at once, with up to 4 to look at, decoded in tiles of 512 x 512, "
        "its parts in memory in turn, weights as they are stored (lowered, so that it fits)\n"
    ) in told
    plain = describe(answer(pictures={**pictures, "references": 0, "is_staged": False}))
    assert "pictures of up to 1048576 pixels, 2 at once, decoded in tiles of 512 x 512\n" in plain


def test_the_size_of_a_picture_is_asked_about(server, paddock_command):
    server.failures["/api/fit"] = (200, answer())
    assert paddock_command("fit", "painter", "--width", "768", "--height", "512").exit_code == 0
    assert server.bodies("/api/fit") == [{"model": "painter", "options": {}, "width": 768, "height": 512}]
