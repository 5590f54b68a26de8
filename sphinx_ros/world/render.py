"""Parts, lights and a camera -> pixels, through MuJoCo's renderer without a screen (EGL).

There is no simulation: the renderer's list of solids is filled directly, so one compiled model
(textures and three turned meshes) serves every scene. A part carries a
number, which comes back in the identity image; what the part belongs to is not known here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from sphinx_ros.errors import BadRequest
from sphinx_ros.world.shapes import PROFILES, Part
from sphinx_ros.world.textures import library
from sphinx_ros.world.view import View

NEAR, FAR = 0.05, 12.0
BACKGROUND = 255
_GEOMS = {
    "box": "mjGEOM_BOX",
    "sphere": "mjGEOM_SPHERE",
    "ellipsoid": "mjGEOM_ELLIPSOID",
    "cylinder": "mjGEOM_CYLINDER",
    "capsule": "mjGEOM_CAPSULE",
}
"""A part's shape -> MuJoCo's name for it; the shapes of PROFILES are meshes."""


@cache
def _mujoco() -> ModuleType:
    """MuJoCo with its EGL part, loaded by the first canvas.

    Raises SphinxError where it is not installed.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ.setdefault("LP_NUM_THREADS", "1")  # threads of Mesa's software renderer
    # Mesa's software renderer and triton (torch loads it late) each bring an LLVM; with Mesa's
    # first, loading triton's ends the process. The other way round both live.
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")
    try:
        importlib.import_module("mujoco.egl")
    except Exception as error:  # PyOpenGL raises many kinds where a library is missing
        raise BadRequest(
            f"the simulated tabletop needs mujoco and EGL ({error}); "
            "pip install 'sphinx_ros[world]', and on Debian or Ubuntu "
            "apt install libegl1 libgl1-mesa-dri libopengl0"
        ) from error
    return importlib.import_module("mujoco")


def _revolve(
    profile: Sequence[tuple[float, float]], slices: int = 28
) -> tuple[np.ndarray, np.ndarray]:
    """An outline (radius, height) turned about z -> (vertices [n, 3], triangles [m, 3])."""
    angle = np.arange(slices) * 2 * np.pi / slices
    rings = [
        np.stack([r * np.cos(angle), r * np.sin(angle), np.full(slices, h)], 1) for r, h in profile
    ]
    vertices = np.concatenate([*rings, [[0, 0, profile[0][1]]], [[0, 0, profile[-1][1]]]])
    faces = []
    for k in range(len(profile) - 1):
        for i in range(slices):
            j = (i + 1) % slices
            a, b, c, d = (
                k * slices + i,
                k * slices + j,
                (k + 1) * slices + j,
                (k + 1) * slices + i,
            )
            faces += [(a, b, c), (a, c, d)]
    bottom, top, last = len(vertices) - 2, len(vertices) - 1, (len(profile) - 1) * slices
    for i in range(slices):
        j = (i + 1) % slices
        faces += [(bottom, j, i), (top, last + i, last + j)]
    return vertices, np.array(faces)


def _model(mujoco: Any, width: int, height: int, textures: list[np.ndarray]) -> Any:
    """Compile the one model: materials "m0".. and the meshes of PROFILES."""
    spec = mujoco.MjSpec()
    spec.stat.extent = 1.0
    spec.stat.center = [0, 0, 0]
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = width, height
    visual.quality.shadowsize, visual.quality.offsamples = 512, 0
    visual.quality.numslices, visual.quality.numstacks = 24, 12
    visual.map.shadowclip = 0.7
    for i, picture in enumerate(textures):
        side = picture.shape[0]
        spec.add_texture(
            name=f"t{i}",
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            width=side,
            height=side,
            nchannel=3,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        )
        material = spec.add_material(name=f"m{i}", texuniform=True)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"t{i}"
        material.texrepeat = [(1.5, 2.5, 4.0)[i // 8 % 3]] * 2
    for name, profile in PROFILES.items():
        vertices, faces = _revolve(profile)
        spec.add_mesh(
            name=name,
            uservert=vertices.ravel(),
            userface=faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name)
    model = spec.compile()
    for start, picture in zip(model.tex_adr, textures, strict=True):
        model.tex_data[start : start + picture.size] = picture.ravel()
    return model


class Canvas:
    """Draws lists of parts at one picture size. To be used from the thread that made it."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self._mujoco: Any = _mujoco()
        mujoco = self._mujoco
        self.model = _model(mujoco, width, height, library())
        try:
            self._gl = mujoco.egl.GLContext(width, height)
        except Exception as error:  # PyOpenGL raises many kinds
            raise BadRequest(
                f"no OpenGL context without a screen (EGL): {error}; on Debian or "
                "Ubuntu install libegl1 libgl1-mesa-dri libopengl0"
            ) from error
        self._gl.make_current()
        self._context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(self.model, maxgeom=400)
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._rgb = np.zeros((height, width, 3), np.uint8)
        self._depth = np.zeros((height, width), np.float32)
        self._meshes: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}
        for name in PROFILES:
            i = self.model.mesh(name).id
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, self.model.mesh_quat[i])
            self._meshes[name] = (i, self.model.mesh_pos[i].copy(), turn.reshape(3, 3))

    def load(self, parts: list[tuple[Part, int]], lights: list[dict], view: View) -> None:
        """Take over the scene: parts with their numbers (0..254), lights and the camera."""
        self._gl.make_current()
        scene = self._scene
        scene.ngeom = min(len(parts), scene.maxgeom)
        for slot, (part, number) in enumerate(parts[: scene.ngeom]):
            self._place(scene.geoms[slot], part, number)
        self._light(lights)
        tangent = np.tan(view.fovy / 2)
        for camera in scene.camera:
            camera.pos, camera.forward, camera.up = view.eye, view.axes[2], -view.axes[1]
            camera.frustum_near, camera.frustum_far = NEAR, FAR
            camera.frustum_bottom, camera.frustum_top = -NEAR * tangent, NEAR * tangent
            camera.frustum_center, camera.frustum_width = 0.0, NEAR * tangent * view.aspect
            camera.orthographic = 0

    def _place(self, geom: Any, part: Part, number: int) -> None:
        mujoco = self._mujoco
        at, turn, size = part.at, part.turn, np.array(part.size, float)
        if part.shape in _GEOMS:
            shape = getattr(mujoco.mjtGeom, _GEOMS[part.shape])
            if part.shape in ("capsule", "cylinder"):
                size = np.array([part.size[0], part.size[2], 0.0])
        else:
            # The renderer keeps a mesh about its own centre and axes, and draws it unscaled.
            mesh, centre, axes = self._meshes[part.shape]
            shape = mujoco.mjtGeom.mjGEOM_MESH
            at, turn = at + turn @ (centre * part.size), (turn * part.size) @ axes
        place, frame = np.asarray(at, float), np.ascontiguousarray(turn, float).ravel()
        colour = np.array([*part.colour, 1.0], np.float32)
        mujoco.mjv_initGeom(geom, shape, size, place, frame, colour)
        if part.shape in self._meshes:
            geom.dataid = 2 * mesh
        geom.matid, geom.segid = part.material, number
        geom.specular, geom.shininess = part.shine, 0.5
        geom.emission, geom.reflectance = 0.0, 0.0
        geom.category = mujoco.mjtCatBit.mjCAT_DYNAMIC

    def _light(self, lights: list[dict]) -> None:
        mujoco = self._mujoco
        self._scene.nlight = len(lights)
        for slot, light in zip(self._scene.lights, lights, strict=False):
            slot.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
            slot.pos, slot.dir = light["pos"], light["dir"]
            slot.ambient, slot.diffuse = light["ambient"], light["diffuse"]
            slot.specular = light["specular"]
            slot.castshadow, slot.headlight = int(light["shadow"]), 0
            slot.attenuation, slot.cutoff, slot.exponent = (1, 0, 0), 45.0, 10.0
            slot.texid = -1
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = any(x["shadow"] for x in lights)
        for flag in ("SKYBOX", "REFLECTION", "FOG", "HAZE"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0

    def colours(self) -> np.ndarray:
        """[H, W, 3] uint8 RGB of the loaded scene."""
        self._draw(None, identities=False)
        return self._rgb[::-1].copy()

    def identities(self) -> tuple[np.ndarray, np.ndarray]:
        """([H, W] uint8 number of the nearest part, BACKGROUND where none; [H, W] depth m)."""
        self._draw(self._depth, identities=True)
        numbers = self._rgb[::-1, :, 0] - np.uint8(1)
        z = self._depth[::-1]
        return numbers, (NEAR * FAR / (FAR - z * (FAR - NEAR))).astype(np.float32)

    def _draw(self, depth: np.ndarray | None, identities: bool) -> None:
        """Colours, or the parts' numbers as colours, into self._rgb, and the depth."""
        mujoco = self._mujoco
        self._gl.make_current()
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            self._scene.flags[flag] = identities
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._rgb, depth, self._rect, self._context)

    def close(self) -> None:
        """Give the OpenGL objects back. May be called twice."""
        if getattr(self, "_gl", None) is None or sys.is_finalizing():
            return
        # Names of textures and buffers are per context: freed under another canvas's context
        # they would be that one's.
        self._gl.make_current()
        self._context.free()
        self._gl.free()
        self._gl = None

    def __del__(self) -> None:
        self.close()
