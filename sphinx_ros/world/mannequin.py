"""A pose and a place -> the parts and the 17 joints of a jointed mannequin. Knows no camera.

Body frame: x forward, y to the mannequin's left, z up; lengths are shares of its height.
Joints are in COCO order (:data:`sphinx_ros.types.COCO_KEYPOINTS`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sphinx_ros.types import COCO_KEYPOINTS
from sphinx_ros.world.postures import Posture
from sphinx_ros.world.shapes import Colour, Part, about_z, limb

# How deep a joint lies under the surface, in COCO order, as a share of the height; points of the
# head lie on it.
DEPTHS = np.array(
    [0.01, 0.015, 0.015, 0.02, 0.02]  # nose, eyes, ears
    + [0.06, 0.06, 0.04, 0.04, 0.035, 0.035]  # shoulders, elbows, wrists
    + [0.075, 0.075, 0.05, 0.05, 0.045, 0.045]  # hips, knees, ankles
)
TROUSERS = (
    (0.16, 0.18, 0.26),
    (0.22, 0.28, 0.42),
    (0.38, 0.39, 0.42),
    (0.20, 0.20, 0.21),
    (0.36, 0.31, 0.26),
)
SKIN = ((0.87, 0.68, 0.55), (0.78, 0.58, 0.44), (0.62, 0.43, 0.31), (0.92, 0.76, 0.64))

HAIR = ((0.16, 0.11, 0.08), (0.30, 0.20, 0.12), (0.45, 0.43, 0.40), (0.50, 0.38, 0.22))


def _rx(degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    return np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])


def _ry(degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    return np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])


DOWN = np.array([0.0, 0.0, -1.0])


def skeleton(pose: Posture) -> dict[str, np.ndarray]:
    """Body-frame points by joint name, plus pelvis, chest, neck, head, and "turn" of the head."""
    spine = _ry(pose.lean)
    p = {"pelvis": np.zeros(3)}
    p["chest"] = spine @ np.array([0, 0, 0.235])
    p["neck"] = spine @ np.array([0, 0, 0.30])
    head_turn = spine @ about_z(np.radians(pose.look[0])) @ _ry(pose.look[1])
    p["head"] = p["neck"] + head_turn @ np.array([0.012, 0, 0.105])
    face = {
        "nose": (0.098, 0, -0.012),
        "left eye": (0.082, 0.036, 0.022),
        "right eye": (0.082, -0.036, 0.022),
        "left ear": (0, 0.088, 0.0),
        "right ear": (0, -0.088, 0.0),
    }
    for name, at in face.items():
        p[name] = p["head"] + head_turn @ np.array(at)
    for i, (side, sign) in enumerate((("left", 1), ("right", -1))):
        shoulder = spine @ np.array([0, sign * 0.125, 0.255])
        arm = (
            spine
            @ _rx(sign * pose.lift[i])
            @ _ry(-pose.flex[i])
            @ about_z(-sign * np.radians(pose.twist[i]))
        )
        p[f"{side} shoulder"] = shoulder
        p[f"{side} elbow"] = shoulder + arm @ DOWN * 0.165
        p[f"{side} wrist"] = p[f"{side} elbow"] + arm @ _ry(-pose.elbow[i]) @ DOWN * 0.15
        p[f"{side} hand"] = p[f"{side} elbow"] + arm @ _ry(-pose.elbow[i]) @ DOWN * 0.185
        leg = _rx(sign * pose.splay[i]) @ _ry(-pose.hip[i])
        shin = leg @ _ry(pose.knee[i])
        p[f"{side} hip"] = np.array([0, sign * 0.07, -0.01])
        p[f"{side} knee"] = p[f"{side} hip"] + leg @ DOWN * 0.225
        p[f"{side} ankle"] = p[f"{side} knee"] + shin @ DOWN * 0.225
        p[f"{side} toe"] = p[f"{side} ankle"] + shin @ np.array([0.07, 0, -0.02])
    p["turn"] = head_turn
    return p


@dataclass(frozen=True)
class Looks:
    """Colours as (r, g, b) in 0..1; sleeves: whether the forearms are clothed."""

    shirt: Colour
    skin: Colour = SKIN[0]
    trousers: Colour = TROUSERS[0]
    hair: Colour = (0.2, 0.14, 0.1)
    sleeves: bool = True


def _head(w: dict, face: np.ndarray, h: float, looks: Looks) -> list[Part]:
    """Skull, hair, nose, eyes, ears. w: world points; face: the head's axes; h: body height."""
    skin = looks.skin
    parts = [
        Part("ellipsoid", (0.085 * h, 0.083 * h, 0.105 * h), w["head"], face, skin),
        Part(
            "ellipsoid",
            (0.083 * h, 0.088 * h, 0.085 * h),
            w["head"] + face @ np.array([-0.018, 0, 0.036]) * h,
            face,
            looks.hair,
        ),
        Part(
            "ellipsoid",
            (0.022 * h, 0.016 * h, 0.018 * h),
            w["nose"] - face[:, 0] * 0.012 * h,
            face,
            tuple(0.86 * c for c in skin),
        ),
    ]
    for side in ("left", "right"):
        parts += [
            Part(
                "sphere",
                (0.0145 * h,) * 3,
                w[f"{side} eye"] - face[:, 0] * 0.003 * h,
                face,
                (0.05,) * 3,
            ),
            Part(
                "ellipsoid",
                (0.02 * h, 0.014 * h, 0.03 * h),
                w[f"{side} ear"],
                face,
                tuple(0.9 * c for c in skin),
            ),
        ]
    return parts


def _trunk(w: dict, turn: np.ndarray, h: float, looks: Looks) -> list[Part]:
    """Neck, shoulders, chest, pelvis."""
    shirt = looks.shirt
    waist = (w["chest"] + w["pelvis"]) / 2
    up = w["neck"] - (w["left hip"] + w["right hip"]) / 2
    up /= np.linalg.norm(up)
    torso = np.stack([np.cross(turn[:, 1], up), turn[:, 1], up], axis=1)
    return [
        limb(w["chest"], w["neck"] + (w["head"] - w["neck"]) * 0.2, 0.042 * h, looks.skin),
        limb(w["left shoulder"], w["right shoulder"], 0.048 * h, shirt),
        Part(
            "ellipsoid", (0.078 * h, 0.128 * h, 0.155 * h), waist + [0, 0, 0.02 * h], turn, shirt
        ),
        limb(w["left hip"], w["right hip"], 0.066 * h, looks.trousers),
        Part("box", (0.058 * h, 0.105 * h, 0.115 * h), waist + [0, 0, 0.012 * h], torso, shirt),
    ]


def _limbs(w: dict, turn: np.ndarray, h: float, looks: Looks) -> list[Part]:
    """Arms, hands, legs, shoes."""
    parts = []
    for side in ("left", "right"):
        parts += [
            limb(w[f"{side} shoulder"], w[f"{side} elbow"], 0.042 * h, looks.shirt),
            limb(
                w[f"{side} elbow"],
                w[f"{side} wrist"],
                0.035 * h,
                looks.shirt if looks.sleeves else looks.skin,
            ),
            Part("sphere", (0.036 * h,) * 3, w[f"{side} hand"], turn, looks.skin),
            limb(w[f"{side} hip"], w[f"{side} knee"], 0.056 * h, looks.trousers),
            limb(w[f"{side} knee"], w[f"{side} ankle"], 0.046 * h, looks.trousers),
            limb(w[f"{side} ankle"], w[f"{side} toe"], 0.035 * h, (0.12, 0.11, 0.1)),
        ]
    return parts


def build_person(
    pose: Posture, height: float, x: float, y: float, yaw: float, looks: Looks
) -> tuple[list[Part], np.ndarray, np.ndarray, list[Part]]:
    """A mannequin whose lowest foot is on z = 0, above (x, y), turned by yaw radians.

    -> (parts, joints [17, 3] world metres in COCO order, centre [3], parts of the seat or []).
    """
    body = skeleton(pose)
    head_turn = body.pop("turn")
    lowest = min(float(v[2]) for k, v in body.items() if k.endswith(("toe", "ankle")))
    turn, lift = about_z(yaw), np.array([0, 0, 0.035 - lowest])
    w = {k: turn @ ((v + lift) * height) + [x, y, 0] for k, v in body.items()}
    parts = _head(w, turn @ head_turn, height, looks)
    parts += _trunk(w, turn, height, looks) + _limbs(w, turn, height, looks)
    middle = (w["left hip"] + w["right hip"]) / 2
    seat = []
    if pose.seat:
        half = max((float(middle[2]) - 0.06 * height) / 2, 0.01)
        at = middle - turn[:, 0] * 0.03 * height
        seat = [
            Part(
                "box",
                (0.11 * height, 0.12 * height, half),
                np.array([at[0], at[1], half]),
                turn,
                (0.42, 0.36, 0.31),
            )
        ]
    return (
        parts,
        np.stack([w[name] for name in COCO_KEYPOINTS]),
        middle + [0, 0, 0.06 * height],
        seat,
    )
