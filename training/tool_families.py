"""The kinds of tools that training shows: how they may be called, asked for and answered, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from story_words import words


@dataclass(frozen=True)
class Parameter:
    """One parameter: what its values are (a kind of `tool_values.py`), and the names that it can have."""

    kind: str
    names: tuple[str, ...]
    descriptions: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """Tools that do the same thing.

    In questions and answers `{0}` and `{1}` are the values of the parameters, and `{result}` is what the tool gave
    back. The last question is held out of training.
    """

    key: str
    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    questions: tuple[str, ...]
    results: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def trained(self) -> tuple[str, ...]:
        """The questions that training uses."""
        return self.questions[:-1]


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


def _parameter(kind: str, names: str, descriptions: str) -> Parameter:
    return Parameter(kind, words(names), _split(descriptions))


_PLACE = _parameter("place", "city location place", "The city.|Name of the city|The place to look up|A town")
_FIRST = _parameter("number", "a x first", "The first number|First number.|A number")
_SECOND = _parameter("number", "b y second", "The second number|Second number.|Another number")

FAMILIES = (
    Family(
        "weather",
        words("get_weather get_current_weather weather fetch_weather getWeather weather_report get_forecast forecast"),
        _split(
            "Get the weather.|Tells the weather in a city.|Current weather of a place|"
            "Get the current weather for a city"
        ),
        (_PLACE,),
        _split(
            "What is the weather in {0}?|How is the weather in {0}?|What's the weather like in {0}?|Weather in {0}|"
            "Is it raining in {0}?|Will it rain in {0} today?|What is the weather today in {0}?|"
            "Tell me the weather in {0}.|Is it cold in {0}?|How warm is it in {0}?|"
            "I am going to {0}. How is the weather?|Do I need an umbrella in {0}?|"
            "What is the weather like in {0} right now?"
        ),
        _split("{n} degrees and {sky}|{sky}, {n} degrees|{sky}|{n} degrees|{sky} and {n} degrees|{n} C, {sky}"),
        _split("The weather in {0}: {result}."),
    ),
    Family(
        "time",
        words("get_time get_current_time current_time time_in getTime local_time clock what_time"),
        _split("Get the time in a city.|Tells what time it is|The local time of a place|Current time"),
        (_PLACE,),
        _split(
            "What time is it in {0}?|Tell me the time in {0}.|What is the time in {0}?|Time in {0}|"
            "How late is it in {0}?|What's the time in {0} now?|Can you tell me what time it is in {0}?|"
            "Which time is it in {0}?"
        ),
        _split("{h}:{m}|{h} o'clock|{h}:{m} in the morning|{h}:{m} pm"),
        _split("In {0} it is {result}."),
    ),
    Family(
        "add",
        words("add add_numbers sum add_two_numbers addNumbers plus calculate_sum adder"),
        _split("Add two numbers.|Adds two numbers|Gives the sum of two numbers|Adds."),
        (_FIRST, _SECOND),
        _split(
            "What is {0} plus {1}?|Add {0} and {1}.|{0} + {1}|What is {0} + {1}?|How much is {0} plus {1}?|"
            "What is the sum of {0} and {1}?|Calculate {0} + {1}.|{0}+{1}?|Please add {0} and {1}.|"
            "Can you add {0} to {1}?"
        ),
        _split("{sum}"),
        _split("{0} plus {1} is {result}."),
    ),
    Family(
        "multiply",
        words("multiply times product multiply_numbers multiplyNumbers calculate_product"),
        _split("Multiply two numbers.|Multiplies two numbers|Gives the product of two numbers"),
        (_FIRST, _SECOND),
        _split(
            "What is {0} times {1}?|Multiply {0} and {1}.|{0} * {1}|How much is {0} times {1}?|Multiply {0} by {1}.|"
            "What is the product of {0} and {1}?|Calculate {0} times {1}."
        ),
        _split("{product}"),
        _split("{0} times {1} is {result}."),
    ),
    Family(
        "population",
        words("get_population population population_of countPeople people_in look_up_population"),
        _split("Get the population of a place.|How many people live in a place|Number of people in a city"),
        (_PLACE,),
        _split(
            "How many people live in {0}?|What is the population of {0}?|Population of {0}|How big is {0}?|"
            "Tell me the population of {0}.|How many people are there in {0}?"
        ),
        _split("{n} thousand|{n} million|{n}000|{n}{m}00"),
        _split("The number of people in {0}: {result}."),
    ),
    Family(
        "timer",
        words("set_timer timer start_timer setTimer start_countdown countdown"),
        _split("Set a timer.|Starts a timer for some minutes|A timer in minutes"),
        (_parameter("number", "minutes duration time", "The minutes|How many minutes|Time in minutes"),),
        _split(
            "Set a timer for {0} minutes.|Start a timer for {0} minutes.|Wake me in {0} minutes.|Timer for {0} minutes|"
            "Please set a {0} minute timer.|Remind me in {0} minutes.|Can you set a timer of {0} minutes?"
        ),
        _split("started|ok|done|running"),
        _split("Your timer for {0} minutes: {result}."),
    ),
    Family(
        "contact",
        words("find_contact look_up_person phone_number get_phone_number findPerson get_contact"),
        _split("Find the phone number of somebody.|Looks up a phone number|The phone number of a person"),
        (_parameter("name", "name person who", "The person|Name of the person|Who to look up"),),
        _split(
            "What is the phone number of {0}?|Find the number of {0}.|How can I call {0}?|Look up {0}.|"
            "I need the phone number of {0}.|Which phone number does {0} have?"
        ),
        _split("{n}-{m}{m}-{n}|0{n} {m}{n}{m}|{n}{m}{n}{m}"),
        _split("The phone number of {0}: {result}."),
    ),
    Family(
        "date",
        words("get_date today current_date getDate what_day get_today"),
        _split("Get the date of today.|Tells which day it is|The current date"),
        (),
        _split(
            "What day is it today?|Which day is it?|What is the date?|What is the date today?|Tell me the date.|"
            "Which date is it?|What day is it?"
        ),
        _split("{h} May 20{m}|20{m}-0{d}-{n}|Monday|Friday, {h} June|Sunday"),
        _split("Today is {result}."),
    ),
)
