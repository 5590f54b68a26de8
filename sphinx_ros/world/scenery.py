"""A random number generator -> table, walls, lights, clutter. Knows no renderer.

Everything here is of muted colour and of no named kind, so that nothing here is ever an answer.
"""

from __future__ import annotations

import numpy as np

from sphinx_ros.world.shapes import Colour, Part, about_z

MUTED = np.array(
    [
        (0.72, 0.60, 0.45),
        (0.55, 0.42, 0.30),
        (0.62, 0.62, 0.60),
        (0.45, 0.47, 0.50),
        (0.80, 0.74, 0.64),
        (0.50, 0.56, 0.52),
        (0.58, 0.50, 0.48),
        (0.66, 0.68, 0.72),
        (0.46, 0.42, 0.40),
        (0.72, 0.64, 0.60),
        (0.48, 0.52, 0.60),
        (0.60, 0.58, 0.48),
    ]
)
CLUTTER = np.array(
    [
        (0.45, 0.32, 0.22),
        (0.52, 0.52, 0.53),
        (0.82, 0.60, 0.64),
        (0.24, 0.50, 0.50),
        (0.60, 0.50, 0.40),
        (0.36, 0.36, 0.38),
    ]
)


def _muted(rng: np.random.Generator) -> Colour:
    colour = MUTED[rng.integers(len(MUTED))] * rng.uniform(0.85, 1.2)
    return tuple(float(c) for c in np.clip(colour, 0.34, 0.88))


def _material(rng: np.random.Generator, plain: float) -> int:
    return -1 if rng.random() < plain else int(rng.integers(24))


def table(rng: np.random.Generator, half: float, turn: float) -> list[Part]:
    """A slab whose top is z = 0, about `half` metres from its middle to its edges."""
    x, y = half * rng.uniform(0.9, 1.5), half * rng.uniform(0.9, 1.3)
    return [
        Part(
            "box",
            (x, y, 0.02),
            np.array([0, 0, -0.02]),
            about_z(turn),
            _muted(rng),
            _material(rng, 0.2),
            0.1,
        )
    ]


def room(rng: np.random.Generator, facing: float, far: float) -> list[Part]:
    """Floor, a back wall at `far` metres in the direction `facing`, two side walls."""
    parts = [
        Part(
            "box",
            (8, 8, 0.02),
            np.array([0, 0, -0.75]),
            about_z(rng.uniform(0, 3)),
            _muted(rng),
            _material(rng, 0.3),
            0.0,
        )
    ]
    colour, material = _muted(rng), _material(rng, 0.4)
    skew = rng.uniform(-0.3, 0.3)
    for angle, distance in ((0.0, far), (np.pi / 2, far + 1.2), (-np.pi / 2, far + 1.2)):
        a = facing + skew + angle
        out = np.array([np.cos(a), np.sin(a), 0.0])
        # The thin axis (local z) looks at the table, so that the texture lies in the wall.
        side = np.array([-np.sin(a), np.cos(a), 0.0])
        turn = np.stack([side, np.array([0.0, 0, 1]), -out], axis=1)
        turn[:, 0] *= np.sign(np.linalg.det(turn))
        parts.append(Part("box", (6, 4, 0.02), out * distance, turn, colour, material, 0.0))
    return parts


def lights(rng: np.random.Generator, forward: np.ndarray) -> list[dict]:
    """A fill light along the camera's `forward`, one or two others, warm or cold, maybe shadows.

    The fill carries all the ambient light: the renderer gives a shadow-casting light's ambient
    share to nothing that lies in its shadow, and black shadows would eat the colours.
    """
    warmth = rng.uniform(-1, 1)
    tone = np.array([1 + 0.05 * warmth, 1.0, 1 - 0.10 * warmth])
    fill, total = rng.uniform(0.14, 0.30), rng.uniform(0.36, 0.58)
    none = np.zeros(3)
    out = [
        {
            "pos": -forward * 1.5,
            "dir": forward,
            "ambient": rng.uniform(0.38, 0.50) * tone,
            "diffuse": fill * tone,
            "specular": none,
            "shadow": False,
        }
    ]
    count = 1 if rng.random() < 0.6 else 2
    for i in range(count):
        angle, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.95)
        away = np.array([np.sin(tilt) * np.cos(angle), np.sin(tilt) * np.sin(angle), np.cos(tilt)])
        share = 1.0 if count == 1 else (0.65, 0.35)[i]
        out.append(
            {
                "pos": away * 1.5,
                "dir": -away,
                "ambient": none,
                "diffuse": total * tone * share,
                "specular": tone * rng.uniform(0.1, 0.4),
                "shadow": i == 0 and rng.random() < 0.45,
            }
        )
    return out


def clutter(rng: np.random.Generator, half: float, facing: float) -> list[Part]:
    """Flat decals on the table and blocks far behind it; none hides anything on the table."""
    parts = []
    for i in range(int(rng.integers(0, 4))):
        # Each a little higher than the last: equal heights would flicker into one another.
        at = np.array([*rng.uniform(-half, half, 2), 0.0012 * i])
        colour = tuple(CLUTTER[rng.integers(len(CLUTTER))] * rng.uniform(0.85, 1.15))
        turn = about_z(rng.uniform(0, np.pi))
        if rng.random() < 0.5:
            r = rng.uniform(0.04, 0.14)
            parts.append(Part("cylinder", (r, r, 0.0015), at, turn, colour, _material(rng, 0.6)))
        else:
            parts.append(
                Part(
                    "box",
                    (rng.uniform(0.02, 0.16), rng.uniform(0.02, 0.12), 0.0015),
                    at,
                    turn,
                    colour,
                    _material(rng, 0.6),
                )
            )
    for _ in range(int(rng.integers(0, 3))):
        a = facing + rng.uniform(-0.6, 0.6)
        size = (rng.uniform(0.05, 0.4), rng.uniform(0.02, 0.1), rng.uniform(0.1, 0.6))
        at = np.array([np.cos(a), np.sin(a), 0.0]) * (half * 1.7 + 0.3)
        at[2] = -0.73 + size[2] + rng.uniform(0, 0.5)
        colour = tuple(CLUTTER[rng.integers(len(CLUTTER))] * rng.uniform(0.85, 1.15))
        parts.append(Part("box", size, at, about_z(a), colour, _material(rng, 0.5)))
    return parts
