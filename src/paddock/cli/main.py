"""The table of commands. Nothing heavy is imported here: each command brings what it needs when it runs."""

from __future__ import annotations

import io
import math
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from paddock.cli import keys, store
from paddock.config import settings_help
from paddock.errors import PaddockError


class _Commands(TyperGroup):
    """Turns the errors that users should read into a line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PaddockError as error:
            typer.echo(f"Error: {error.message}", err=True)
            raise typer.Exit(1) from None


class _RunCommand(TyperCommand):
    """Lets --think stand alone: it takes a value only after an equals sign, so it cannot swallow the model's name.

    Its help puts the options for texts and for pictures apart.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        flags = ["--think=true" if arg == "--think" else arg for arg in args[:end]]
        return super().parse_args(ctx, [*flags, *args[end:]])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            title = "Arguments" if parameter.param_type_name == "argument" else "Options"
            title = getattr(parameter, "rich_help_panel", None) or title
            if record := parameter.get_help_record(ctx):
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(keys.app, name="key")
app.add_typer(store.app, name="store")

Model = Annotated[str, typer.Argument(show_default=False)]
Source = Annotated[
    str,
    typer.Argument(
        show_default=False,
        help="ORG/REPO of the Hugging Face Hub, a short name such as qwen3, or HOST/NAMESPACE/MODEL of a registry.",
    ),
]
Target = Annotated[
    str, typer.Argument(show_default=False, help="HOST/NAMESPACE/MODEL; `paddock cp` gives a model such a name.")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Speak to the registry over plain http.")]
Prefix = Annotated[str, typer.Argument(help="Only names that begin with this.", show_default=False)]


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a model may write what the terminal's encoding does not have
    app(prog_name="paddock")


@app.callback(invoke_without_command=True)
def paddock(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-v", help="Show the server's version.")] = False,
) -> None:
    """The local model server that stays up."""
    if version:
        from paddock.cli import models

        models.version()
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("serve", epilog=settings_help())
@app.command("start", epilog=settings_help(), hidden=True)
def serve() -> None:
    """Run the server in the foreground (also: start)."""
    from paddock.cli.serve import serve as run_server

    run_server()


def _for_texts(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel="Texts", **settings)


def _finite(value: float | None) -> float | None:
    """JSON has no other numbers."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("it must be a number.")
    return value


def _for_pictures(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel="Pictures", show_default=False, **settings)


Pixels = Annotated[int, _for_pictures(metavar="PIXELS", help="The model's own size where it is not given.")]


@app.command("run", cls=_RunCommand)
def run(
    model: Model,
    prompt: Annotated[list[str] | None, typer.Argument(show_default=False)] = None,
    keepalive: Annotated[str | None, typer.Option(help="How long the model stays loaded, such as 5m.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show timings after the answer.")] = False,
    nowordwrap: Annotated[bool, _for_texts("--nowordwrap", help="Do not break lines between words.")] = False,
    format: Annotated[str | None, _for_texts(help="json, a JSON schema, or a file with one.")] = None,  # noqa: A002 - the flag's name
    think: Annotated[
        str | None, _for_texts(metavar="[=LEVEL]", help="Think first: true, false, high, medium, low or max.")
    ] = None,
    hidethinking: Annotated[bool, _for_texts("--hidethinking", help="Do not show the thinking.")] = False,
    width: Pixels = 0,
    height: Pixels = 0,
    steps: Annotated[
        int, _for_pictures(metavar="NUMBER", help="More take longer; the model knows how many it needs.")
    ] = 0,
    seed: Annotated[
        int | None, _for_pictures(metavar="NUMBER", min=0, help="The same one gives the same picture.")
    ] = None,
    negative: Annotated[str | None, _for_pictures(metavar="TEXT", help="What not to show.")] = None,
    guidance: Annotated[
        float | None, _for_pictures(metavar="NUMBER", callback=_finite, help="How closely to follow the prompt.")
    ] = None,
    n: Annotated[
        int | None, _for_pictures("--n", metavar="NUMBER", min=1, help="So many, with seeds that count up.")
    ] = None,
    image: Annotated[
        list[str] | None, _for_pictures(metavar="FILE", help="Work from this picture; may be given again.")
    ] = None,
    strength: Annotated[
        float | None, _for_pictures(metavar="NUMBER", callback=_finite, help="How much of it is made anew, up to 1.")
    ] = None,
    source: Annotated[
        str | None,
        _for_pictures("--from", metavar="FILE", help="Make this picture again, but for what other flags say."),
    ] = None,
    output: Annotated[
        str | None, _for_pictures("--output", "-o", metavar="FILE", help="Save to this file or folder; - is stdout.")
    ] = None,
) -> None:
    """Ask a model, or talk to it where no prompt is given; one that makes pictures makes what the prompt describes."""
    from paddock.cli import run as running
    from paddock.cli.picture_wish import Look, PictureFlags

    look = Look(width or None, height or None, steps or None, seed, negative, guidance, strength)
    options = running.RunOptions(
        keep_alive=running.parse_keepalive_flag(keepalive),
        format=running.parse_format_flag(format),
        think=running.parse_think_flag(think),
        hides_thinking=hidethinking,
        is_verbose=verbose,
        wraps=not nowordwrap,
        pictures=PictureFlags(look, n, output, tuple(image or ()), source),
    )
    running.run(model, prompt or [], options)


@app.command("create")
def create(
    model: Model,
    file: Annotated[str | None, typer.Option("--file", "-f", help="The Modelfile.", show_default="Modelfile")] = None,
    quantize: Annotated[
        str | None,
        typer.Option("--quantize", "-q", metavar="KIND", help="Store weights as int4, int8, mxfp4, mxfp8 or nvfp4."),
    ] = None,
) -> None:
    """Make a model from a Modelfile, or from the folder you are in."""
    from paddock.cli import create as creation

    creation.create(model, file, quantize)


@app.command("pull")
def pull(model: Source, insecure: Insecure = False) -> None:
    """Bring a model into the store. One that was stopped half way goes on where it stopped."""
    from paddock.cli import models

    models.pull(model, insecure)


@app.command("push")
def push(model: Target, insecure: Insecure = False) -> None:
    """Send a model to the registry that its name begins with."""
    from paddock.cli import models

    models.push(model, insecure)


@app.command("list")
@app.command("ls", hidden=True)
def list_models(prefix: Prefix = "") -> None:
    """List the models (also: ls)."""
    from paddock.cli import models

    models.list_models(prefix)


@app.command("ps")
def ps(
    prefix: Prefix = "",
    verbose: Annotated[bool, typer.Option("--verbose", help="Also their memory in terms, and what is free.")] = False,
) -> None:
    """List the models that are loaded."""
    from paddock.cli import models

    models.ps(prefix, verbose)


@app.command("fit")
def fit(
    model: Model,
    ctx: Annotated[int | None, typer.Option(min=1, help="Tokens of context.", show_default=False)] = None,
    parallel: Annotated[int | None, typer.Option(min=1, help="Sequences at once.", show_default=False)] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Of pictures, in pixels.", show_default=False)] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Of pictures, in pixels.", show_default=False)] = None,
) -> None:
    """Show what memory a model needs and whether it fits, without loading it."""
    from paddock.cli import fit as fitting

    if not fitting.fit(model, {"num_ctx": ctx, "parallel": parallel}, width, height):
        raise typer.Exit(1)


@app.command("show")
def show(
    model: Model,
    license: Annotated[bool, typer.Option("--license", help="Only its license.")] = False,  # noqa: A002 - as above
    modelfile: Annotated[bool, typer.Option("--modelfile", help="Only the Modelfile that would make it.")] = False,
    parameters: Annotated[bool, typer.Option("--parameters", help="Only its parameters.")] = False,
    template: Annotated[bool, typer.Option("--template", help="Only its prompt template.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Only its system message.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also its metadata and tensors.")] = False,
) -> None:
    """Show what a model is, what it is made of, and what memory it needs."""
    from paddock.cli import models

    chosen = {
        "license": license,
        "modelfile": modelfile,
        "parameters": parameters,
        "template": template,
        "system": system,
    }
    models.show(model, [part for part, is_chosen in chosen.items() if is_chosen], verbose)


@app.command("stop")
def stop(
    model: Annotated[str | None, typer.Argument(show_default=False)] = None,
    server: Annotated[bool, typer.Option("--server", help="Stop the server that runs in the background.")] = False,
) -> None:
    """Unload a model, or stop the server that `paddock run` started."""
    if server == (model is not None):
        raise typer.BadParameter("name a model, or say --server")
    if model is not None:
        from paddock.cli import models

        models.stop(model)
        return
    import os

    from paddock.cli import background
    from paddock.config import read_config

    background.stop_server(read_config(os.environ))


@app.command("cp")
def copy(
    source: Annotated[str, typer.Argument(show_default=False)],
    destination: Annotated[str, typer.Argument(show_default=False)],
) -> None:
    """Give a model a second name. What both are made of is stored once."""
    from paddock.cli import models

    models.copy(source, destination)


@app.command("rm")
def remove(model: Annotated[list[str], typer.Argument(show_default=False)]) -> None:
    """Delete models, each unloaded first."""
    from paddock.cli import models

    models.remove(model)
