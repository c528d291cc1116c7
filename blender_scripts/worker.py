"""A Blender that stays alive: it loads an object once, then each state only moves its links.

Run as `python -m blender_scripts.worker` with the bpy wheel, or as
`blender -b --factory-startup -P blender_scripts/worker.py` with an installed Blender. It reads one
JSON command a line from stdin and answers with one JSON line on what was stdout when it started;
Blender's own chatter goes to stderr.

    {"command": "check", "device": "CPU"}
    {"command": "load", "scene": "scene.npz"}
    {"command": "configure", "settings": {…}}
    {"command": "render", "poses": [L][4][4], "cameras": [V][4][4], "files": [V]}
    {"command": "quit"}
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from blender_scripts import scene


def check(request: dict[str, Any], links: dict[int, Any]) -> dict[str, Any]:
    """Whether there is such a device to render on."""
    del links
    scene.reset()
    scene.use_device(request["device"])
    return {}


def load(request: dict[str, Any], links: dict[int, Any]) -> dict[str, Any]:
    """Replace the scene by the object in a npz file: faces of all links, and materials as JSON."""
    links.clear()
    scene.reset()
    with np.load(request["scene"]) as arrays:
        faces = dict(arrays)
    materials = json.loads(str(faces.pop("materials")))
    combined, material = np.unique(faces["material"], axis=1, return_inverse=True)
    faces["material"] = material.reshape(-1)
    blender_materials = [scene.add_material(materials[f], materials[b]) for f, b in combined.T]
    link = faces.pop("link")
    for index in np.unique(link):
        own = link == index
        of_link = {k: v[:, own] if k == "uvs" else v[own] for k, v in faces.items()}
        links[int(index)] = scene.add_link(int(index), of_link, blender_materials)
    return {}


def configure(request: dict[str, Any], links: dict[int, Any]) -> dict[str, Any]:
    """Apply render settings to the loaded scene."""
    scene.configure(request["settings"])
    return {}


def render(request: dict[str, Any], links: dict[int, Any]) -> dict[str, Any]:
    """Move the links (link frame to world) and render one multi-layer EXR a camera."""
    for index, obj in links.items():
        obj.matrix_world = scene.Matrix(request["poses"][index])
    seconds = 0.0
    for camera, file in zip(request["cameras"], request["files"], strict=True):
        seconds += scene.render_view(np.array(camera), file)
    return {"render_seconds": seconds}


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    links: dict[int, Any] = {}
    commands = {"check": check, "load": load, "configure": configure, "render": render}
    print(json.dumps({"ready": scene.bpy.app.version_string}), file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["command"] == "quit":
            break
        start = time.perf_counter()
        try:
            reply = commands[request["command"]](request, links)
        except Exception as error:
            reply = {"error": str(error), "trace": traceback.format_exc()}
        reply["seconds"] = time.perf_counter() - start
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
