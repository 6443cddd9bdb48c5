"""What `paddock show` makes of the server's answer: sizes, memory, origin."""

from __future__ import annotations

from paddock.cli.show import overview

GIGABYTE = 10**9


def need(verdict, context_length, total, **changes):
    return {"verdict": verdict, "context_length": context_length, "terms": {"total": total}, **changes}


def component(name, size, loaded, level="int4"):
    return {"name": name, "parameters": 2 * size, "size": size, "loaded": loaded, "quantization_level": level}


def test_the_size_of_each_part_and_what_of_it_is_loaded():
    parts = [
        component("text", 4 * GIGABYTE, 4 * GIGABYTE),
        component("vision", GIGABYTE, 0, "BF16"),
        component("text encoder", GIGABYTE, GIGABYTE // 2),
    ]
    assert overview({"components": parts, "size": 6 * GIGABYTE}) == (
        "  Size\n"
        "    PART            PARAMETERS    SIZE    FORMAT\n"
        "    text            8B            4 GB    int4\n"
        "    vision          2B            1 GB    BF16      not loaded\n"
        "    text encoder    2B            1 GB    int4      500 MB of it loaded\n"
        "    on disk                       6 GB\n"
        "\n"
    )


def test_memory_says_of_each_context_whether_it_fits():
    needs = [
        need("loaded", 4096, 5 * GIGABYTE, parallel=4, is_default=True),
        need("fits", 8192, 6 * GIGABYTE, parallel=4),
        need("evicts", 32_768, 9 * GIGABYTE, parallel=2, evicts=["a:latest", "b:7b"]),
        need("waits", 65_536, 12 * GIGABYTE, is_lowered=True),
        need("never", 131_072, 60 * GIGABYTE),
    ]
    pool = {"id": "main", "total": 16 * GIGABYTE, "free": 8 * GIGABYTE, "reserve": 1}
    assert overview({"memory": {"pool": pool, "needs": needs}}) == (
        "  Memory (8 GB of 16 GB free)\n"
        "    CONTEXT           AT ONCE    NEEDS    NOW\n"
        "    4096 (default)    4          5 GB     loaded\n"
        "    8192              4          6 GB     fits now\n"
        "    32768             2          9 GB     fits after eviction of a:latest, b:7b\n"
        "    65536             1          12 GB    fits once others are at rest, with less than the defaults\n"
        "    131072            1          60 GB    does not fit\n"
        "\n"
    )


def test_memory_of_pictures_is_told_by_their_size():
    needs = [{"verdict": "fits", "width": 1024, "height": 768, "terms": {"total": GIGABYTE}}]
    lines = overview({"memory": {"needs": needs}}).splitlines()
    assert lines[0] == "  Memory"
    assert [line.split() for line in lines[1:3]] == [
        ["PICTURE", "AT", "ONCE", "NEEDS", "NOW"],
        ["1024", "x", "768", "1", "1", "GB", "fits", "now"],
    ]


def test_where_a_model_comes_from_and_what_it_makes():
    model = {
        "model_info": {"general.architecture": "Pipe", "Pipe.width": 64, "Pipe.height": 32, "Pipe.steps": 8},
        "details": {"parent_model": "base:latest"},
        "origin": {"repository": "org/repo", "commit": "0123456789abcdef"},
        "template": "{{ messages }}",
    }
    assert overview(model) == (
        "  Model\n"
        "    architecture    Pipe\n"
        "    picture size    64 x 32\n"
        "    steps           8\n"
        "    template        Jinja, 14 characters\n"
        "    made from       base:latest\n"
        "    pulled from     org/repo at 0123456789ab\n"
        "\n"
    )


def test_how_weights_were_made_is_told():
    recipe = {"kind": "int4", "mode": "affine", "bits": 4, "group_size": 64, "adapter": "sha256:" + "ab" * 32}
    model = {
        "details": {"quantization_level": "int4"},
        "recipe": {**recipe, "layers": {"int8": ["lm_head", "layers.*.x"]}},
    }
    assert overview(model) == (
        "  Model\n"
        "    quantization    int4\n"
        "    made as         int4 in groups of 64; int8 for lm_head, layers.*.x; with an adapter\n"
        "\n"
    )
