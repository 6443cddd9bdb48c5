"""`paddock fit`: what a model would need and whether it fits, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from paddock.cli.client import connect
from paddock.cli.render import bar, human_bytes, table

VERDICTS = {"fits": "fits", "evicts": "fits after others have gone", "waits": "has to wait", "never": "does not fit"}
TERMS = ("weights", "context", "workspace", "runtime", "prefix_cache")
DRAFT = "draft"


def fit(model: str, options: Mapping[str, int | None], width: int | None, height: int | None) -> bool:
    """Print the answer of /api/fit. Whether the model can be loaded, now or later."""
    body: dict[str, Any] = {"model": model, "options": {name: value for name, value in options.items() if value}}
    body |= {name: value for name, value in (("width", width), ("height", height)) if value}
    answer = connect().call("POST", "/api/fit", body)
    typer.echo(describe(answer), nl=False)
    return bool(answer["verdict"] != "never")


def describe(answer: Mapping[str, Any]) -> str:
    """The verdict, the terms, and the memory as a bar."""
    lowered = " (lowered, so that it fits)" if answer["is_lowered"] else ""
    head = f"{answer['model']} {VERDICTS[answer['verdict']]}: {answer['reason']}\n"
    kept = f" in {answer['kv_bits']} bits" if answer["kv_bits"] else ""
    packed = ", weights as they are stored" if answer["is_packed"] else ""
    made = _pictures(answer) or f"context {answer['context_length']}{kept}, parallel {answer['parallel']}"
    head += f"{made}{packed}{lowered}\n\n"
    return head + terms_table(answer["terms"]) + _memory(answer)


def _pictures(answer: Mapping[str, Any]) -> str:
    """What an image model would be loaded for; empty for others."""
    pictures = answer.get("pictures")
    if not pictures:
        return ""
    count = answer["parallel"]
    looks = f", with up to {pictures['references']} to look at" if pictures["references"] else ""
    staged = ", its parts in memory in turn" if pictures["is_staged"] else ""
    return (
        f"pictures of up to {pictures['pixels']} pixels, {count} at once{looks}, "
        f"decoded in tiles of {pictures['tile']} x {pictures['tile']}{staged}"
    )


def terms_table(terms: Mapping[str, int]) -> str:
    """The terms of a need, a row each, and the larger of loading and working in the total."""
    rows = [(_word(name), human_bytes(terms[name])) for name in _terms_in([terms])]
    if terms["loading"] > terms["context"] + terms["workspace"] + terms["prefix_cache"]:
        rows.append(("loading", human_bytes(terms["loading"])))
    return table(("TERM", "SIZE"), [*rows, ("total", human_bytes(terms["total"]))])


def running_terms(models: Sequence[Mapping[str, Any]], memories: Sequence[Mapping[str, Any]]) -> str:
    """What `paddock ps --verbose` adds: the terms of each model, how well they were foreseen, and each memory's bar."""
    names = _terms_in([model["terms"] for model in models])
    heads = ("NAME", *(_word(name).upper() for name in names), "PROMISED", "PEAK", "FORESEEN")
    rows = [
        (
            model["name"],
            *(human_bytes(model["terms"].get(name, 0)) for name in names),
            human_bytes(model["promised"]),
            human_bytes(model["peak"]),
            _foreseen(model["peak"], model["peak_foreseen"]),
        )
        for model in models
    ]
    return "\n" + table(heads, rows) + "".join(_shared(memory, models) for memory in memories)


def _terms_in(needs: Sequence[Mapping[str, int]]) -> tuple[str, ...]:
    """Those to show: a draft's only where there is one."""
    return (*TERMS, DRAFT) if any(need.get(DRAFT) for need in needs) else TERMS


def _word(term: str) -> str:
    return term.replace("_", " ")


def _foreseen(peak: int, foreseen: int) -> str:
    """For as far as it has come; and by how much of the peak that was off."""
    return f"{human_bytes(foreseen)} ({(foreseen - peak) / peak:+.1%})" if peak and foreseen else "-"


def _shared(memory: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> str:
    held = sum(model["size"] for model in models if model["memory"] == memory["id"])
    promised = sum(max(0, model["promised"] - model["size"]) for model in models if model["memory"] == memory["id"])
    others = max(0, memory["total"] - memory["free"] - held)
    drawn = bar(memory["total"], (("#", others), ("=", held), ("+", promised)))
    return (
        f"\n{memory['id']}  [{drawn}]  {human_bytes(memory['total'])}\n"
        f"# others {human_bytes(others)}, = these models {human_bytes(held)}, + promised to them "
        f"{human_bytes(promised)}, . left {human_bytes(max(0, memory['free'] - promised))}\n"
    )


def _memory(answer: Mapping[str, Any]) -> str:
    memory = answer["memory"]
    if not memory:
        return ""
    taken = max(0, memory["total"] - memory["free"])
    wanted = 0 if answer["is_loaded"] else answer["terms"]["total"]
    left = max(0, memory["free"] - wanted)
    drawn = bar(memory["total"], (("#", taken), ("+", wanted)))
    return (
        f"\n{memory['id']}  [{drawn}]  {human_bytes(memory['total'])}\n"
        f"# taken {human_bytes(taken)}, + this model {human_bytes(wanted)}, . left {human_bytes(left)}, "
        f"of which {human_bytes(memory['reserve'])} stay free\n"
    )
