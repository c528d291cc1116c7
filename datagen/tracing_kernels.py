# mypy: ignore-errors
"""The tracer's kernels, in Warp's Python: types are Warp's, and variables that loops change are
declared with theirs.

A path starts at a camera, and at every surface is lit by the sun and sent on at random, until it
meets the sky. Functions get random states of their own, as Warp hands them over by value. Frames:
the world's, right-handed; colours are scene-linear.
"""

import warp as wp

wp.config.log_level = wp.LOG_ERROR  # else it greets, and misses GPUs
wp.set_module_options({"enable_backward": False})  # no gradients: to compile takes half as long

EPSILON = wp.constant(1e-4)
FARTHEST = wp.constant(1e4)
PANES = wp.constant(8)
"""So many see-through surfaces one ray passes."""
VISIBLE = wp.constant(0.05)
"""A surface more opaque than this has a depth."""
FILTER = wp.constant(0.9)
"""Half the width of a pixel's triangular filter, which spreads as much as Blender's default."""


@wp.struct
class Scene:
    """An object in the world, as kernels see it; a triangle's corners are never shared.

    front and back are sides of a face: their texture coordinates and materials.
    """

    mesh: wp.uint64
    normals: wp.array(dtype=wp.vec3)
    uvs: wp.array2d(dtype=wp.vec2)
    material: wp.array2d(dtype=int)
    link: wp.array(dtype=int)
    colour: wp.array(dtype=wp.vec3)
    opacity: wp.array(dtype=float)
    gloss: wp.array(dtype=wp.vec2)
    texture: wp.array(dtype=wp.vec3i)
    texels: wp.array(dtype=wp.vec3)
    sky: float
    sun: float
    towards: wp.vec3
    spread: float


@wp.struct
class Hit:
    """Where a ray meets a surface; face -1: nowhere.

    mirrored: share of the light from straight ahead that it reflects as a mirror does.
    width: of the lobe that this is blurred to, GGX's alpha.
    """

    face: int
    distance: float
    point: wp.vec3
    geometric: wp.vec3
    shading: wp.vec3
    colour: wp.vec3
    opacity: float
    mirrored: float
    width: float


@wp.func
def texel(scene: Scene, texture: wp.vec3i, column: int, row: int) -> wp.vec3:
    width, height = texture[1], texture[2]
    x = ((column % width) + width) % width
    y = ((row % height) + height) % height
    return scene.texels[texture[0] + y * width + x]


@wp.func
def textured(scene: Scene, texture: wp.vec3i, uv: wp.vec2) -> wp.vec3:
    """The texture's colour at uv, between its texels; it repeats, and v runs up."""
    u = uv[0] - wp.floor(uv[0])
    v = uv[1] - wp.floor(uv[1])
    x = u * float(texture[1]) - 0.5
    y = (1.0 - v) * float(texture[2]) - 0.5
    left, top = wp.floor(x), wp.floor(y)
    column, row = int(left), int(top)
    upper = wp.lerp(
        texel(scene, texture, column, row), texel(scene, texture, column + 1, row), x - left
    )
    lower = wp.lerp(
        texel(scene, texture, column, row + 1), texel(scene, texture, column + 1, row + 1), x - left
    )
    return wp.lerp(upper, lower, y - top)


@wp.func
def meet(scene: Scene, origin: wp.vec3, direction: wp.vec3) -> Hit:
    hit = Hit()
    hit.face = -1
    query = wp.mesh_query_ray(scene.mesh, origin, direction, FARTHEST)
    if query.result:
        face = query.face
        a, b = query.u, query.v
        c = 1.0 - a - b
        side, facing = int(0), float(1.0)
        if wp.dot(query.normal, direction) > 0.0:
            side, facing = 1, -1.0
        hit.face = face
        hit.distance = query.t
        hit.point = origin + query.t * direction
        hit.geometric = facing * query.normal
        smooth = wp.normalize(
            a * scene.normals[3 * face]
            + b * scene.normals[3 * face + 1]
            + c * scene.normals[3 * face + 2]
        )
        hit.shading = facing * smooth
        material = scene.material[side, face]
        hit.colour = scene.colour[material]
        hit.opacity = scene.opacity[material]
        hit.mirrored = scene.gloss[material][0]
        hit.width = scene.gloss[material][1]
        texture = scene.texture[material]
        if texture[1] > 0:
            uv = (
                a * scene.uvs[side, 3 * face]
                + b * scene.uvs[side, 3 * face + 1]
                + c * scene.uvs[side, 3 * face + 2]
            )
            hit.colour = textured(scene, texture, uv)
    return hit


@wp.func
def around(axis: wp.vec3, x: float, y: float, z: float) -> wp.vec3:
    """x, y, z in a right-handed frame whose third direction is `axis`."""
    other = wp.vec3(1.0, 0.0, 0.0)
    if wp.abs(axis[0]) > 0.7:
        other = wp.vec3(0.0, 1.0, 0.0)
    first = wp.normalize(wp.cross(other, axis))
    return x * first + y * wp.cross(axis, first) + z * axis


@wp.func
def solid(scene: Scene, origin: wp.vec3, direction: wp.vec3, rng: wp.uint32) -> Hit:
    """The first surface that a ray does not pass; of panes, chance says which it passes."""
    hit = meet(scene, origin, direction)
    passed = int(0)
    travelled = float(0.0)
    while hit.face >= 0 and hit.opacity < 1.0 and passed < PANES:
        if wp.randf(rng) < hit.opacity:
            break
        travelled = travelled + hit.distance + EPSILON
        hit = meet(scene, origin + travelled * direction, direction)
        passed = passed + 1
    return hit


@wp.func
def mirrored(hit: Hit, cosine: float) -> float:
    """Share of a white sky that a rough surface mirrors at this angle (Karis's fit to GGX)."""
    roughness = wp.sqrt(hit.width)
    fade = wp.min((1.0 - roughness) * (1.0 - roughness), wp.pow(2.0, -9.28 * cosine))
    inner = fade * (1.0 - roughness) + 0.0425 - 0.0275 * roughness
    scale = -1.04 * inner + 1.04 - 0.572 * roughness
    shift = 1.04 * inner - 0.04 + 0.022 * roughness
    return wp.clamp(hit.mirrored * scale + shift, 0.0, 1.0)


@wp.func
def unmasked(hit: Hit, cosine: float) -> float:
    """Share of a rough surface's facets that are not in the shadow of others (Smith, GGX), over
    twice the cosine."""
    square = hit.width * hit.width
    return 1.0 / (cosine + wp.sqrt(square + (1.0 - square) * cosine * cosine))


@wp.func
def sunlight(scene: Scene, hit: Hit, ray: wp.vec3, matt: wp.vec3, rng: wp.uint32) -> wp.vec3:
    """What of the sun's light a surface sends back along a ray."""
    radius, angle = scene.spread * wp.sqrt(wp.randf(rng)), 2.0 * wp.pi * wp.randf(rng)
    towards = wp.normalize(
        around(scene.towards, radius * wp.cos(angle), radius * wp.sin(angle), 1.0)
    )
    cosine = wp.dot(hit.shading, towards)
    if cosine <= 0.0 or wp.dot(hit.geometric, towards) <= 0.0:
        return wp.vec3(0.0, 0.0, 0.0)
    shadow = solid(scene, hit.point + EPSILON * hit.geometric, towards, wp.randu(rng))
    if shadow.face >= 0:
        return wp.vec3(0.0, 0.0, 0.0)
    half = wp.normalize(towards - ray)
    rest = 1.0 - wp.clamp(wp.dot(half, towards), 0.0, 1.0)
    fresnel = hit.mirrored + (1.0 - hit.mirrored) * rest * rest * rest * rest * rest
    tilt = wp.dot(hit.shading, half)
    square = hit.width * hit.width
    spread = tilt * tilt * (square - 1.0) + 1.0
    across = wp.max(-wp.dot(ray, hit.shading), 1.0e-3)
    facets = square * unmasked(hit, cosine) * unmasked(hit, across) / (wp.pi * spread * spread)
    white = wp.vec3(1.0, 1.0, 1.0)
    return scene.sun * cosine * (matt / wp.pi + fresnel * facets * white)


@wp.func
def radiance(
    scene: Scene, first: Hit, along: wp.vec3, bounces: int, u: float, v: float, rng: wp.uint32
) -> wp.vec3:
    """Light that comes from a surface back along a ray, by one random path. What a surface mirrors
    of others, and of the sky, is taken to come from all sides alike.

    u and v: where the first bounce goes; spread evenly over a pixel's paths, they make less noise.
    """
    light = wp.vec3(0.0, 0.0, 0.0)
    share = wp.vec3(1.0, 1.0, 1.0)
    hit = first
    ray = along
    for bounce in range(bounces + 1):
        gloss = mirrored(hit, wp.max(-wp.dot(ray, hit.shading), 0.0))
        matt = (1.0 - gloss) * hit.colour
        light = light + wp.cw_mul(share, sunlight(scene, hit, ray, matt, wp.randu(rng)))
        share = wp.cw_mul(share, matt + wp.vec3(gloss, gloss, gloss))
        if bounce > 0:
            u, v = wp.randf(rng), wp.randf(rng)
        radius, angle = wp.sqrt(u), 2.0 * wp.pi * v
        ray = around(hit.shading, radius * wp.cos(angle), radius * wp.sin(angle), wp.sqrt(1.0 - u))
        if wp.dot(ray, hit.geometric) <= 0.0:
            return light
        hit = solid(scene, hit.point + EPSILON * hit.geometric, ray, wp.randu(rng))
        if hit.face < 0:
            return light + share * scene.sky
    return light


@wp.func
def srgb_byte(linear: float) -> wp.uint8:
    """A scene-linear channel in sRGB ("Standard" view transform)."""
    value = wp.clamp(linear, 0.0, 1.0)
    encoded = 12.92 * value
    if value > 0.0031308:
        encoded = 1.055 * wp.pow(value, 1.0 / 2.4) - 0.055
    return wp.uint8(255.0 * encoded + 0.5)


@wp.kernel
def place(
    corners: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    link: wp.array(dtype=int),
    poses: wp.array(dtype=wp.mat44),
    placed: wp.array(dtype=wp.vec3),
    turned: wp.array(dtype=wp.vec3),
) -> None:
    """Corners and normals from their links' frames to the world."""
    corner = wp.tid()
    pose = poses[link[corner // 3]]
    placed[corner] = wp.transform_point(pose, corners[corner])
    turned[corner] = wp.normalize(wp.transform_vector(pose, normals[corner]))


@wp.kernel
def draw(
    scene: Scene,
    cameras: wp.array(dtype=wp.mat44),
    focal: float,
    size: int,
    paths: int,
    bounces: int,
    colour: wp.array3d(dtype=wp.vec4ub),
    depth: wp.array3d(dtype=float),
    link: wp.array3d(dtype=int),
) -> None:
    """Every pixel's sRGB colour with straight alpha; and of what is in its middle the depth and the
    link."""
    view, row, column = wp.tid()
    camera = cameras[view]
    origin = wp.vec3(camera[0, 3], camera[1, 3], camera[2, 3])
    rng = wp.rand_init(1, (view * size + row) * size + column)
    turn_u, turn_v = wp.randf(rng), wp.randf(rng)

    middle = float(size) / 2.0
    towards = wp.vec3(
        (float(column) + 0.5 - middle) / focal, (float(row) + 0.5 - middle) / focal, 1.0
    )
    length = wp.length(towards)
    ahead = wp.transform_vector(camera, towards / length)
    seen = meet(scene, origin, ahead)
    travelled = seen.distance
    for _ in range(PANES):
        if seen.face >= 0 and seen.opacity <= VISIBLE:
            travelled = travelled + EPSILON
            seen = meet(scene, origin + travelled * ahead, ahead)
            travelled = travelled + seen.distance
    depth[view, row, column] = wp.inf
    link[view, row, column] = -1
    if seen.face >= 0:
        depth[view, row, column] = travelled / length
        link[view, row, column] = scene.link[seen.face]

    total = wp.vec3(0.0, 0.0, 0.0)
    hits = int(0)
    for path in range(paths):
        x = float(column) + 0.5 + FILTER * (wp.randf(rng) + wp.randf(rng) - 1.0)
        y = float(row) + 0.5 + FILTER * (wp.randf(rng) + wp.randf(rng) - 1.0)
        towards = wp.vec3((x - middle) / focal, (y - middle) / focal, 1.0)
        ray = wp.transform_vector(camera, wp.normalize(towards))
        hit = solid(scene, origin, ray, wp.randu(rng))
        if hit.face >= 0:
            # The sequence R2, shifted at random: it covers the square evenly.
            u = turn_u + float(path) * 0.7548776662466927
            v = turn_v + float(path) * 0.5698402909980532
            total = total + radiance(
                scene, hit, ray, bounces, u - wp.floor(u), v - wp.floor(v), wp.randu(rng)
            )
            hits = hits + 1
    colour[view, row, column] = wp.vec4ub(wp.uint8(0), wp.uint8(0), wp.uint8(0), wp.uint8(0))
    if hits > 0:
        mean = total / float(hits)
        colour[view, row, column] = wp.vec4ub(
            srgb_byte(mean[0]),
            srgb_byte(mean[1]),
            srgb_byte(mean[2]),
            wp.uint8(255.0 * float(hits) / float(paths) + 0.5),
        )
