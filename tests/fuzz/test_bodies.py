"""JSON that nobody should send, to every route that reads any: refused in a sentence, and nothing suffers."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given

from tests.fuzz.odd_json import odd_bodies
from tests.fuzz.sound import SOUND, WEIGHTS, Sound
from tests.fuzz.subject import Subject, campaign, share

BODIES = 0.75
"""Their share of all cases."""


@pytest.mark.parametrize("sound", SOUND, ids=lambda sound: sound.name)
def test_odd_bodies_are_refused_or_answered(subject: Subject, sound: Sound) -> None:
    statuses: Counter[int] = Counter()

    @campaign(share(BODIES * sound.weight / WEIGHTS))
    @given(body=odd_bodies(sound.body))
    def ask(body: bytes) -> None:
        statuses[subject.ask(sound.method, sound.path, body)] += 1

    ask()

    print(f"{sound.path}: {dict(statuses)}")
    assert set(statuses) - {200, 404}, "nothing was refused, so nothing was odd"


@pytest.mark.parametrize("sound", SOUND, ids=lambda sound: sound.name)
def test_the_sound_bodies_are_sound(subject: Subject, sound: Sound) -> None:
    status = subject.ask(sound.method, sound.path, json.dumps(sound.body).encode())

    assert status == sound.status, subject.last
