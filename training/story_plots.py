"""What happens in the stories: wishes, what comes in between, and how it turns out well."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plot:
    """A wish, its obstacles (each with the one way round it) and what it looks like when it comes true."""

    key: str
    wish: str
    obstacles: tuple[tuple[str, str], ...]
    fulfilled: str


_LAND = (
    Plot(
        "sea",
        "to see the sea",
        (
            ("a wide river lay across the path", "found a row of stepping stones and hopped across"),
            ("thick fog covered all the hills", "followed the sound of the waves through the fog"),
        ),
        "{name} stood on the warm sand and watched the blue waves roll in",
    ),
    Plot(
        "pie",
        "to bake the biggest apple pie in the world",
        (
            ("every apple hung too high to reach", "shook the tree until the apples tumbled down"),
            ("there was no flour left in the kitchen", "ground some golden corn at the old mill"),
        ),
        "the pie came out of the oven, and its sweet smell filled the air",
    ),
    Plot(
        "star",
        "to find a fallen star",
        (
            ("dark clouds hid the sky", "waited on a hill until the wind blew the clouds away"),
            ("the night was too dark to see the path", "lit the way with a jar of fireflies"),
        ),
        "the little star lay glowing in the grass",
    ),
    Plot(
        "fiddle",
        "to play the fiddle at the summer fair",
        (
            ("a string of the fiddle snapped", "made a new string from strong spider silk"),
            ("{his} knees shook with fright", "practised the song again and again until it sounded right"),
        ),
        "{name} played so well that the whole fair danced",
    ),
    Plot(
        "treasure",
        "to find the treasure on an old map",
        (
            ("half of the map was missing", "pieced the rest together from an old song"),
            ("the treasure chest would not open", "searched under the moss until the key turned up"),
        ),
        "the chest creaked open, and it was full of shiny golden buttons",
    ),
    Plot(
        "sunflower",
        "to grow the tallest sunflower of all",
        (
            ("no rain fell for many days", "carried water from the well in two small buckets"),
            ("hungry snails nibbled at the leaves", "led the snails to a patch of juicy clover"),
        ),
        "the sunflower stood taller than the trees",
    ),
    Plot(
        "snow",
        "to build a castle out of snow",
        (
            ("the snow melted in the sun", "moved the castle to the cool shade of a hill"),
            ("the walls kept falling down", "patted the walls firm with cold water"),
        ),
        "the castle stood white and tall and sparkled in the moonlight",
    ),
    Plot(
        "kite",
        "to fly a kite as high as the clouds",
        (
            ("the wind would not blow", "climbed the highest hill, where the wind was strong"),
            ("the kite got stuck in a tall tree", "shook the branch gently until the kite came loose"),
        ),
        "the kite danced high up among the clouds",
    ),
    Plot(
        "party",
        "to have a birthday party with a hundred lanterns",
        (
            ("nobody knew about the party", "carried invitations to every door"),
            ("a gust of wind blew out every lantern", "lit the lanterns again, one by one"),
        ),
        "a hundred lanterns glowed, and everybody sang",
    ),
    Plot(
        "race",
        "to win the great summer race",
        (
            ("{he} took a wrong turn and got lost", "followed the red ribbons back to the path"),
            ("a fallen tree blocked the track", "pushed the tree aside with all their might"),
        ),
        "{name} crossed the finish line, and everybody cheered",
    ),
    Plot(
        "boat",
        "to sail across the lake in a little boat",
        (
            ("the boat had a hole in it", "patched the hole with sticky wax"),
            ("the sail was torn", "sewed a new sail from an old blanket"),
        ),
        "the little boat glided over the shining water",
    ),
    Plot(
        "book",
        "to read a real book",
        (
            ("the letters looked like tiny ants", "read the first page slowly, word by word"),
            ("the last page had gone missing", "found the page in a dusty old drawer"),
        ),
        "{name} read the whole book aloud, down to the very last word",
    ),
)

_WATER = (
    Plot(
        "pearl",
        "to find the white pearl of the old songs",
        (
            ("a dark cave blocked the way", "followed a trail of glowing jellyfish through the cave"),
            ("the shell was shut tight", "tickled the shell until it laughed and opened"),
        ),
        "the pearl lay there, as round and bright as the moon",
    ),
    Plot(
        "concert",
        "to sing in the great water concert",
        (
            ("{his} voice was far too quiet", "used a big seashell to make the song louder"),
            ("{he} could not remember the words", "turned the words into a little rhyme"),
        ),
        "{name} sang so beautifully that even the waves went still",
    ),
    Plot(
        "reef",
        "to plant a garden under the water",
        (
            ("the current washed the seeds away", "built a small wall of pebbles around the seeds"),
            ("it was too dark for anything to grow", "moved the garden to a sunny spot"),
        ),
        "the garden bloomed in every colour of the rainbow",
    ),
    Plot(
        "island",
        "to swim all the way around the world",
        (
            ("a storm made the waves as high as hills", "rested in a calm bay until the storm was over"),
            ("{he} lost the way in the fog", "followed the bright light of the lighthouse"),
        ),
        "{name} came home from the other side and felt very proud",
    ),
)

_SKY = (
    Plot(
        "cloud",
        "to fly above the highest cloud",
        (
            ("the wind was far too strong", "glided from hill to hill until the wind grew calm"),
            ("{his} wings grew tired", "rested on a warm rooftop and shared some berries"),
        ),
        "{name} looked down, and the whole world lay there like a quilt",
    ),
    Plot(
        "bed",
        "to make the softest bed in the world",
        (
            ("the rain made everything wet", "spread the moss out in the sun to dry"),
            ("there was not a feather to be found", "gathered soft wool from the fences"),
        ),
        "the bed was as soft as a summer cloud",
    ),
    Plot(
        "song",
        "to learn the oldest song of all",
        (
            ("nobody could remember how it went", "listened to the brook, which had never forgotten it"),
            ("the song was very hard", "sang it line by line until it was easy"),
        ),
        "the old song rang out over the treetops",
    ),
)

PLOTS: dict[str, tuple[Plot, ...]] = {
    "forest": _LAND,
    "farm": _LAND,
    "jungle": _LAND,
    "wonder": _LAND,
    "other": _LAND,
    "water": _WATER,
    "sky": (*_SKY, _LAND[2], _LAND[8]),
}
