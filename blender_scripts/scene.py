"""Build one object in Blender, then move its links and render views of it."""

from __future__ import annotations

import time
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

OPENCV_TO_BLENDER = np.diag([1.0, -1.0, -1.0, 1.0])


def srgb_to_linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def reset() -> None:
    """An empty scene with a camera and a white world."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(scene.camera)
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True


def configure(settings: dict[str, Any]) -> None:
    """Apply render settings (datagen.render_settings, with `device`, `threads` and `fov`)."""
    scene = bpy.context.scene
    render, cycles, camera = scene.render, scene.cycles, scene.camera.data
    cycles.device = use_device(settings["device"])
    render.threads_mode = "FIXED"
    render.threads = settings["threads"]
    render.use_persistent_data = True
    render.resolution_x = render.resolution_y = settings["resolution"]
    render.resolution_percentage = 100
    render.film_transparent = True
    render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
    render.image_settings.exr_codec = "NONE"
    render.image_settings.color_depth = "32"
    cycles.seed = 0
    cycles.samples = settings["samples"]
    cycles.use_adaptive_sampling = settings["adaptive_threshold"] > 0
    cycles.adaptive_threshold = settings["adaptive_threshold"]
    cycles.use_denoising = settings["denoiser"] != "none"
    if cycles.use_denoising:
        import _cycles  # bpy brings it

        if not _cycles.with_openimagedenoise:
            raise RuntimeError(
                "this Blender was built without OpenImageDenoise; use --denoiser none with more "
                "--samples, or another Blender"
            )
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.denoising_input_passes = "RGB"  # of a few samples, albedo and normal are no help
        if bpy.app.version >= (4, 2):  # older ones know one quality
            cycles.denoising_quality = settings["denoiser"].upper()
    bounces = settings["bounces"]
    cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = bounces
    cycles.transparent_max_bounces = 8
    cycles.caustics_reflective = cycles.caustics_refractive = False
    layer = bpy.context.view_layer
    layer.use_pass_z = layer.use_pass_object_index = True
    layer.pass_alpha_threshold = 0.05  # a glass door counts as a surface
    camera.sensor_fit = "VERTICAL"
    camera.angle = settings["fov"]
    camera.clip_start, camera.clip_end = 0.01, 100.0
    set_light(settings["light"])


def use_device(name: str) -> str:
    """Make Cycles render on `name`: CPU, or all GPUs of CUDA, OPTIX, HIP, METAL or ONEAPI.

    Raises:
        RuntimeError: this Blender or this machine has no such device.
    """
    if name == "CPU":
        return "CPU"
    preferences = bpy.context.preferences.addons["cycles"].preferences
    try:
        preferences.compute_device_type = name
    except TypeError as error:
        raise RuntimeError(f"this Blender does not render on {name}: {error}") from error
    preferences.refresh_devices()
    found = [d for d in preferences.devices if d.type == name]
    if not found:
        raise RuntimeError(
            f"no {name} device on this machine; choose another --device, such as CPU"
        )
    for device in preferences.devices:
        device.use = device.type == name
    return "GPU"


def set_light(name: str) -> None:
    """`studio`: a white sky and a soft sun from the front left above. `partdrag4d`: the published
    one, a white sky and a point light at (5, 5, 5)."""
    for light in list(bpy.data.lights):
        bpy.data.lights.remove(light)
    if name == "partdrag4d":
        sky, light = 1.0, bpy.data.lights.new("light", "POINT")
        light.energy = 10.0
    else:
        sky, light = 0.55, bpy.data.lights.new("light", "SUN")
        light.energy = 1.6
        light.angle = 0.35
    lamp = bpy.data.objects.new("light", light)
    lamp.location = (5, 5, 5) if name == "partdrag4d" else (-1.0, 0.6, 1.8)
    lamp.rotation_euler = lamp.location.to_track_quat("Z", "Y").to_euler()
    scene = bpy.context.scene
    scene.collection.objects.link(lamp)
    scene.world.node_tree.nodes["Background"].inputs["Strength"].default_value = sky
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (1, 1, 1, 1)


def add_surface(nodes: Any, links: Any, spec: dict[str, Any], uv_layer: str) -> Any:
    """The output of a Principled surface of an MTL's colour or texture, specular and opacity."""
    shader = nodes.new("ShaderNodeBsdfPrincipled")
    colour = [srgb_to_linear(c) for c in spec["colour"]]
    shader.inputs["Base Color"].default_value = (*colour, 1)
    shader.inputs["Roughness"].default_value = 1 - min(spec["shininess"] / 1000, 1) ** 0.5
    specular = "Specular IOR Level" if bpy.app.version >= (4, 0) else "Specular"
    shader.inputs[specular].default_value = spec["specular"]
    shader.inputs["Alpha"].default_value = spec["opacity"]
    if spec["texture"]:
        texture, uv = nodes.new("ShaderNodeTexImage"), nodes.new("ShaderNodeUVMap")
        texture.image = bpy.data.images.load(spec["texture"], check_existing=True)
        uv.uv_map = uv_layer
        links.new(uv.outputs["UV"], texture.inputs["Vector"])
        links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    return shader.outputs["BSDF"]


def add_material(front: dict[str, Any], back: dict[str, Any]) -> bpy.types.Material:
    """A material that shows `front` on a face's front and `back` on its back."""
    material = bpy.data.materials.new("material")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    output = nodes.new("ShaderNodeOutputMaterial").inputs["Surface"]
    surface = add_surface(nodes, links, front, "front")
    if front != back or front["texture"]:
        geometry, mix = nodes.new("ShaderNodeNewGeometry"), nodes.new("ShaderNodeMixShader")
        links.new(geometry.outputs["Backfacing"], mix.inputs[0])
        links.new(surface, mix.inputs[1])
        links.new(add_surface(nodes, links, back, "back"), mix.inputs[2])
        surface = mix.outputs[0]
    links.new(surface, output)
    return material


def add_link(index: int, faces: dict[str, np.ndarray], materials: Any) -> bpy.types.Object:
    """One link as one mesh object whose pass index is `index` + 1 (0 is the background).

    Args:
        index: link index.
        faces: `triangles` [F, 3, 3], `normals` [F, 3, 3], `uvs` [2, F, 3, 2], `material` [F].
        materials: Blender materials, to be indexed by `material`.
    """
    count = len(faces["triangles"])
    mesh = bpy.data.meshes.new(f"link_{index}")
    mesh.vertices.add(3 * count)
    mesh.vertices.foreach_set("co", faces["triangles"].astype(np.float32).ravel())
    mesh.loops.add(3 * count)
    mesh.loops.foreach_set("vertex_index", np.arange(3 * count, dtype=np.int32))
    mesh.polygons.add(count)
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
    for name, uvs in zip(("front", "back"), faces["uvs"], strict=True):
        layer = mesh.uv_layers.new(name=name)
        layer.data.foreach_set("uv", uvs.astype(np.float32).ravel())
    used, slots = np.unique(faces["material"], return_inverse=True)
    for material in used:
        mesh.materials.append(materials[material])
    mesh.polygons.foreach_set("material_index", slots.astype(np.int32))
    if bpy.app.version < (4, 1):
        mesh.polygons.foreach_set("loop_total", np.full(count, 3, dtype=np.int32))
        mesh.polygons.foreach_set("use_smooth", np.ones(count, dtype=bool))
        mesh.use_auto_smooth = True
    mesh.update()
    mesh.normals_split_custom_set(faces["normals"].astype(np.float32).reshape(-1, 3))
    obj = bpy.data.objects.new(mesh.name, mesh)
    obj.pass_index = index + 1
    bpy.context.scene.collection.objects.link(obj)
    return obj


def render_view(camera_to_world: np.ndarray, file: str) -> float:
    """Render one view to a multi-layer EXR; returns the seconds it took."""
    scene = bpy.context.scene
    scene.camera.matrix_world = Matrix(camera_to_world @ OPENCV_TO_BLENDER)
    scene.render.filepath = file
    start = time.perf_counter()
    bpy.ops.render.render(write_still=True)
    return time.perf_counter() - start
