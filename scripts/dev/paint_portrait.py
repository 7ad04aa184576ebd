"""Paint a photorealistic portrait: head and shoulders, modelled as solids and lit softly from the left.

Used by scripts/dev/paint_gallery.py. The solids are signed distance functions, rendered by sphere tracing (Hart 1996).
The height of a head is 1; x points right, y up and z to the viewer.
"""

import numpy as np
from paint_pictures import blur, fractal_noise, mix, sample, smoothstep
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 820, 1024
SCALE = 1.5  # painted larger than saved
COLUMNS, ROWS = int(WIDTH * SCALE), int(HEIGHT * SCALE)
EYE, TOP, VIEW = np.array([0.0, -0.16, 5.5]), 0.72, 1.66  # the camera, the upper edge at z = 0, and the visible height
YAW, NOD, LEAN = -0.36, 0.02, 0.09  # rotation of the head, in radians
KEY = np.array([-0.86, 0.46, 0.46])
SKIN, EYEBALL, HAIR, SCARF, COAT = range(5)


def unit(vector):
    return vector / np.linalg.norm(vector, axis=0)


def turned():
    """Return the rotation from the world to the head."""
    (a, b, c), (d, e, f) = np.cos([YAW, NOD, LEAN]), np.sin([YAW, NOD, LEAN])
    about_y = np.array([[a, 0, -d], [0, 1, 0], [d, 0, a]])
    about_x = np.array([[1, 0, 0], [0, b, e], [0, -e, b]])
    about_z = np.array([[c, f, 0], [-f, c, 0], [0, 0, 1]])
    return (about_x @ about_y @ about_z).astype(np.float32)


TO_HEAD = turned()


def ball(p, x, y, z, radius):
    return np.sqrt((p[0] - x) ** 2 + (p[1] - y) ** 2 + (p[2] - z) ** 2) - radius


def egg(p, centre, radii):
    """Return the approximate distance to an ellipsoid (Quilez's bound)."""
    q = [(p[axis] - centre[axis]) / radii[axis] for axis in range(3)]
    k0 = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
    k1 = np.sqrt((q[0] / radii[0]) ** 2 + (q[1] / radii[1]) ** 2 + (q[2] / radii[2]) ** 2)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-6)


def rod(p, a, b, thick_a, thick_b):
    """Return the distance to a round rod from a to b."""
    b = [b[axis] - a[axis] for axis in range(3)]
    q = [p[axis] - a[axis] for axis in range(3)]
    along = np.clip((q[0] * b[0] + q[1] * b[1] + q[2] * b[2]) / (b[0] ** 2 + b[1] ** 2 + b[2] ** 2), 0, 1)
    away = np.sqrt((q[0] - b[0] * along) ** 2 + (q[1] - b[1] * along) ** 2 + (q[2] - b[2] * along) ** 2)
    return away - thick_a - (thick_b - thick_a) * along


def join(a, b, soft):
    """Return the union of two solids, with a fillet of width `soft`."""
    h = np.clip(0.5 + 0.5 * (b - a) / soft, 0, 1)
    return b + (a - b) * h - soft * h * (1 - h)


def carve(a, b, soft):
    """Return the solid a without b."""
    return -join(-a, b, soft)


EYE_X, EYE_Y, EYE_Z, EYE_R = 0.126, 0.012, 0.264, 0.078


def face(p):
    """Return the distance to the skin; p is in the frame of the head. The face is symmetric."""
    m = np.stack([np.abs(p[0]), p[1], p[2]])
    d = egg(m, (0, 0.13, -0.06), (0.325, 0.38, 0.42))
    d = join(d, egg(m, (0, -0.15, 0.085), (0.250, 0.315, 0.285)), 0.12)
    d = join(d, rod(m, (0, -0.405, 0.268), (0.035, -0.40, 0.258), 0.060, 0.055), 0.13)
    d = join(d, rod(m, (0.170, -0.20, 0.03), (0.075, -0.375, 0.19), 0.062, 0.055), 0.15)
    d = join(d, ball(m, 0.165, -0.10, 0.205, 0.088), 0.13)
    d = join(d, egg(m, (0, -0.27, 0.265), (0.13, 0.115, 0.105)), 0.08)
    d = join(d, rod(m, (0.055, 0.092, 0.322), (0.185, 0.092, 0.245), 0.038, 0.030), 0.07)
    d = carve(d, egg(m, (EYE_X - 0.004, EYE_Y + 0.004, 0.372), (0.084, 0.056, 0.075)), 0.06)
    # The lids are a shell around the eyeball, with a slit in front.
    lids = ball(m, EYE_X, EYE_Y, EYE_Z, EYE_R + 0.0075)
    d = carve(join(d, lids, 0.018), opening(m), 0.006)
    # The nose: bridge, tip and wings.
    nose = rod(m, (0, 0.085, 0.312), (0, -0.130, 0.425), 0.024, 0.030)
    nose = join(nose, rod(m, (0, 0.05, 0.27), (0, -0.140, 0.345), 0.045, 0.064), 0.05)
    nose = join(nose, ball(m, 0, -0.150, 0.428, 0.040), 0.035)
    nose = join(nose, egg(m, (0.044, -0.168, 0.378), (0.027, 0.026, 0.040)), 0.03)
    d = carve(join(d, nose, 0.055), egg(m, (0.022, -0.197, 0.400), (0.012, 0.014, 0.020)), 0.012)
    d = carve(d, rod(m, (0, -0.222, 0.405), (0, -0.248, 0.412), 0.010, 0.012), 0.03)
    # The lips.
    upper = join(
        rod(m, (0.018, -0.268, 0.372), (0.104, -0.288, 0.312), 0.022, 0.006), ball(m, 0, -0.274, 0.376, 0.015), 0.015
    )
    lower = rod(m, (0.0, -0.318, 0.366), (0.090, -0.294, 0.318), 0.028, 0.008)
    d = join(join(d, upper, 0.018), lower, 0.018)
    return join(d, rod(m, (0, -0.30, -0.10), (0, -0.95, -0.16), 0.155, 0.185), 0.07)


def opening(m):
    return egg(m, (EYE_X - 0.002, EYE_Y - 0.008 + 0.12 * (m[0] - EYE_X), EYE_Z + 0.075), (0.070, 0.0225, 0.060))


def eyeballs(p):
    return ball((np.abs(p[0]), p[1], p[2]), EYE_X, EYE_Y, EYE_Z, EYE_R)


def hair(p):
    """Return the distance to the hair: a parting on the left, and waves down to the shoulders."""
    wave = 0.028 * np.sin(13 * p[1] + 4 * p[0] + 2 * p[2]) * smoothstep(0.15, -0.3, p[1])
    part = p[0] + 0.10
    d = egg(p, (0, 0.135, -0.075), (0.365, 0.425, 0.450))
    d = join(d, egg(p, (0.275, -0.16, -0.08), (0.120, 0.50, 0.235)) - wave, 0.08)
    d = join(d, egg(p, (-0.265, -0.18, -0.09), (0.110, 0.48, 0.225)) + wave, 0.08)
    d = join(d, egg(p, (0, -0.16, -0.26), (0.34, 0.52, 0.24)), 0.10)
    d = join(d, rod(p, (-0.05, 0.46, 0.20), (0.26, 0.22, 0.22), 0.075, 0.085), 0.07)
    d = join(d, rod(p, (0.26, 0.22, 0.22), (0.305, -0.10, 0.13), 0.075, 0.06), 0.07)
    d = join(d, rod(p, (-0.13, 0.45, 0.20), (-0.285, 0.16, 0.16), 0.055, 0.07), 0.06)
    d = d - 0.35 * wave - 0.007 * np.sin(34 * part / (0.3 + np.abs(p[1] - 0.6)) + 3 * np.sin(5 * p[1]))
    # The opening for the face.
    d = carve(d, egg(p, (0.0, -0.15, 0.40), (0.205, 0.42, 0.38)), 0.09)
    return carve(d, rod(p, (-0.105, 0.62, 0.30), (-0.095, 0.60, -0.2), 0.065, 0.045), 0.03)


def scarf(p):
    """Return the distance to the scarf: three folded turns around the neck."""
    angle = np.arctan2(p[0], p[2] + 0.10)
    crease = np.sin(3 * angle + 24 * p[1] + 1.8 * np.sin(2.3 * angle + 1) + 9 * p[2])
    crease = crease + 0.55 * np.sin(41 * p[1] - 6 * angle + 2.5 * np.sin(3 * angle))
    d = rod(p, (0, -0.60, -0.11), (0, -0.86, -0.11), 0.20, 0.30)
    for y, round_, tube, lean in (
        (-0.585, 0.215, 0.070, 0.07),
        (-0.685, 0.275, 0.095, -0.05),
        (-0.80, 0.33, 0.080, 0.09),
    ):
        ring = np.hypot(p[0] / 1.12, p[2] + 0.11) - round_
        height = p[1] - y - lean * np.sin(angle + 0.8) + 0.06 * np.cos(angle)
        d = join(d, np.sqrt(ring**2 + (0.8 * height) ** 2) - tube, 0.018)
    return d - 0.010 * crease


def coat(p):
    x = np.abs(p[0])
    m = np.stack([x, p[1], p[2]])
    d = join(egg(m, (0.0, -1.42, -0.14), (0.80, 0.62, 0.34)), ball(m, 0.56, -1.14, -0.14, 0.21), 0.18)
    lapel = egg(m, (0.20, -1.18, 0.10), (0.19, 0.46, 0.13))
    d = join(d, lapel, 0.02)
    return d - 0.006 * np.sin(22 * x + 30 * p[1] + 4 * np.sin(6 * x))


def solids(p):
    """Return the distance to each material, in the order SKIN to COAT."""
    h = TO_HEAD @ p
    return np.stack([face(h), eyeballs(h), hair(h), scarf(p), coat(p)])


def nearest(p):
    return solids(p).min(axis=0)


def march(origin, direction, near, far, steps, chunk=12000):
    """Return the distance of the solid along each ray; beyond `far` if a ray misses it."""
    reach = np.full(direction.shape[1], near, np.float32)
    alive = np.arange(reach.size)
    for _ in range(steps):
        for start in range(0, alive.size, chunk):
            part = alive[start : start + chunk]
            at = origin[:, part] if origin.shape[1] > 1 else origin
            reach[part] += 0.85 * nearest(at + direction[:, part] * reach[part]) - 0.0004
        alive = alive[(reach[alive] < far)]
        if not alive.size:
            break
    return reach


def in_chunks(function, *arrays, chunk=12000):
    return np.concatenate(
        [
            function(*(array[..., start : start + chunk] for array in arrays))
            for start in range(0, arrays[0].shape[-1], chunk)
        ],
        axis=-1,
    )


def normals(p):
    corners = np.array([(1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)], np.float32)
    total = sum(corner[:, None] * nearest(p + 0.0012 * corner[:, None]) for corner in corners)
    return unit(total)


def occlusion(p, normal):
    """Return the ambient occlusion of points: lower in creases."""
    hidden = 0
    for step, weight in ((0.015, 0.9), (0.05, 0.8), (0.12, 0.7), (0.25, 0.5)):
        hidden = hidden + weight * np.clip(step - nearest(p + normal * step), 0, None) / step
    return np.clip(1 - hidden / 2.9 * 1.15, 0.05, 1)


def shadow(p, toward):
    """Return the visible share of an area light (Quilez's soft shadows)."""
    reach, light = np.full(p.shape[1], 0.02, np.float32), np.ones(p.shape[1], np.float32)
    for _ in range(22):
        gap = nearest(p + toward * reach)
        light = np.minimum(light, 0.5 + 0.5 * np.clip(3.6 * gap / reach, -1, 1))
        reach = reach + np.clip(gap, 0.02, 0.12)
    return light * light * (3 - 2 * light)


def paint_background(rng, x, y):
    """Paint a street out of focus: soft shapes and discs of light."""
    soft = fractal_noise(rng, 512, 2.4, low=1)
    u, v = x / COLUMNS, y / ROWS
    shade = 0.5 + 0.22 * sample(soft, u * 150, v * 190)
    picture = mix((0.030, 0.052, 0.058), (0.16, 0.20, 0.17), np.clip(shade, 0, 1))
    picture = mix(picture, (0.34, 0.25, 0.15), 0.75 * np.exp(-(((u - 0.06) / 0.30) ** 2) - ((v - 0.30) / 0.5) ** 2))
    picture = mix(picture, (0.020, 0.035, 0.050), 0.8 * smoothstep(0.55, 1.0, u))
    for _ in range(46):
        middle, radius = rng.uniform((0, 0), (1, 0.85)), rng.uniform(0.018, 0.050)
        away = np.hypot(u - middle[0], (v - middle[1]) * ROWS / COLUMNS) / radius
        disc = smoothstep(1.15, 0.80, away) * (0.7 + 0.3 * smoothstep(0.5, 1.0, away))
        tone = np.array([(1.0, 0.62, 0.26), (0.90, 0.80, 0.55), (0.35, 0.62, 0.62), (0.95, 0.40, 0.22)])[
            rng.integers(4)
        ]
        picture = picture + disc[..., None] * tone * rng.uniform(0.02, 0.13) * (1.3 - u)[..., None]
    return picture


def colour_of_skin(h, tile):
    """Return the colour of the skin, redder at cheeks, nose and lips, with brows and lashes.

    h is in the frame of the head.
    """
    x, y, z = np.abs(h[0]), h[1], h[2]
    mottled = sample(tile, h[0] * 160 + 300, y * 160 + 300)
    skin = mix((0.56, 0.335, 0.235), (0.50, 0.265, 0.18), np.clip(0.35 + 0.30 * mottled, 0, 1))
    flush = np.exp(-(((x - 0.17) / 0.10) ** 2) - ((y + 0.13) / 0.085) ** 2) + 0.8 * np.exp(
        -((x / 0.06) ** 2) - ((y + 0.15) / 0.06) ** 2
    )
    skin = mix(skin, (0.56, 0.18, 0.13), 0.55 * np.clip(flush, 0, 1) * (z > 0.1))
    freckles = smoothstep(1.5, 2.2, sample(tile, h[0] * 900 + 77, y * 900)) * np.exp(
        -((x / 0.24) ** 2) - ((y + 0.08) / 0.09) ** 2
    )
    skin = mix(skin, (0.40, 0.20, 0.12), 0.40 * freckles)
    bow = (
        -0.262 - 0.060 * np.clip(x / 0.110, 0, 1) ** 1.5 * 0.42 + 0.016 * np.exp(-(((x - 0.024) / 0.016) ** 2)) - 0.004
    )
    below = -0.340 + 0.052 * np.clip(x / 0.108, 0, 1) ** 2
    lips = (
        smoothstep(0.006, -0.004, y - bow)
        * smoothstep(-0.006, 0.004, y - below)
        * smoothstep(0.114, 0.102, x)
        * (z > 0.2)
    )
    skin = mix(skin, (0.40, 0.085, 0.075), 0.85 * lips)
    skin = (
        skin
        * (1 - 0.75 * np.exp(-(((y + 0.2945 - 0.5 * x**2) / 0.0055) ** 2)) * smoothstep(0.118, 0.09, x) * (z > 0.2))[
            ..., None
        ]
    )
    arch = 0.098 + 0.030 * np.sin(np.clip((x - 0.05) / 0.16, 0, 1) * 2.6) - 0.010 * smoothstep(0.14, 0.22, x)
    brow = smoothstep(0.024, 0.004, np.abs(y - arch) * (1 + 0.9 * smoothstep(0.13, 0.22, x)))
    brow = brow * smoothstep(0.040, 0.062, x) * smoothstep(0.225, 0.19, x) * (z > 0.1)
    strands = 0.80 + 0.16 * sample(tile, (h[0] * 0.7 + y * np.sign(h[0]) * 0.5) * 1400, (y * 0.6 - x * 0.35) * 260)
    skin = mix(skin, (0.055, 0.028, 0.018), np.clip(0.92 * brow * strands, 0, 1))
    gap = opening(np.stack([x, y, z]))
    lash = smoothstep(0.014, 0.004, gap) * smoothstep(EYE_Y - 0.010, EYE_Y + 0.008, y)
    skin = mix(skin, (0.025, 0.014, 0.012), 0.95 * lash)
    skin = mix(skin, (0.42, 0.20, 0.16), 0.7 * smoothstep(0.010, 0.002, gap) * (y < EYE_Y))
    lid = smoothstep(0.036, 0.010, gap) * smoothstep(EYE_Y, EYE_Y + 0.02, y)
    return mix(skin, (0.30, 0.14, 0.10), 0.55 * lid)


def colour_of_eyes(h):
    """Return the colour of the eyes: white, iris and pupil; they look a little past the viewer."""
    gaze = unit(TO_HEAD @ unit(EYE + (-1.0, 0.1, 0.0))[:, None].astype(np.float32))
    side = np.sign(h[0])
    out = unit(np.stack([h[0] - side * EYE_X, h[1] - EYE_Y, h[2] - EYE_Z]))
    turn = np.arccos(np.clip((out * gaze).sum(axis=0), -1, 1))
    around = np.arctan2(out[1] - gaze[1], out[0] - gaze[0])
    fibres = 0.5 + 0.25 * np.sin(23 * around) + 0.25 * np.sin(41 * around + 2)
    iris = mix((0.02, 0.035, 0.035), (0.10, 0.115, 0.08), fibres * smoothstep(0.14, 0.40, turn))
    iris = mix(iris, (0.18, 0.11, 0.04), np.exp(-(((turn - 0.22) / 0.07) ** 2)))
    iris = iris * (1 - 0.75 * smoothstep(0.40, 0.48, turn))[..., None]
    white = mix((0.50, 0.46, 0.44), (0.42, 0.27, 0.24), smoothstep(0.7, 1.2, turn))
    eye = mix(iris, white, smoothstep(0.46, 0.51, turn))
    eye = mix((0.006, 0.006, 0.008), eye, smoothstep(0.17, 0.20, turn))
    return eye * (1 - 0.75 * smoothstep(-0.006, 0.016, h[1] - EYE_Y))[..., None]  # the upper lid's shadow


def combed(texture, angle, length):
    """Return `texture` averaged along the directions `angle` (line integral convolution): strands."""
    y, x = np.mgrid[0 : texture.shape[0], 0 : texture.shape[1]].astype(np.float32)
    total = texture.copy()
    for sign in (-1, 1):
        u, v = x.copy(), y.copy()
        for _ in range(length):
            turn = angle[v.astype(int) % ROWS, u.astype(int) % COLUMNS]
            u, v = u + 1.5 * sign * np.cos(turn), v + 1.5 * sign * np.sin(turn)
            total += texture[v.astype(int) % ROWS, u.astype(int) % COLUMNS]
    return total / total.std()


def fall(h, normal):
    """Return the direction of the hair in the frame of the head: from the parting around it, then down in waves."""
    side = np.tanh((h[0] + 0.10) / 0.05)
    about = np.stack([side * (0.45 + np.abs(normal[1])), -side * normal[0] - 0.25, -0.25 + 0 * side])
    down = np.stack([0.18 * np.sin(13 * h[1] + 4 * h[0]), -1 + 0 * side, 0.12 * np.cos(9 * h[1])])
    share = smoothstep(0.42, 0.02, h[1])
    return unit(about * (1 - share) + down * share)


def draw_wisps(rng, shown, angle, hairy, row, column, count=3600):
    """Draw single hairs over the picture, uint8, so that the outline of the hair is not smooth."""
    image = Image.fromarray(np.uint8(np.clip(shown * 255 + 0.5, 0, 255)))
    draw, inside = ImageDraw.Draw(image), np.zeros(angle.shape, bool)
    inside[row[hairy], column[hairy]] = True
    for k in rng.choice(np.flatnonzero(hairy), count):
        x, y = float(column[k]), float(row[k])
        tone = shown[row[k], column[k]] * rng.uniform(0.75, 1.45)
        turn, curl, path = angle[row[k], column[k]], rng.normal(0, 0.004), []
        left = rng.integers(2, 5 + 12 * (rng.random() < 0.15))
        turn = turn if np.sin(turn) > -0.2 else turn + np.pi  # hairs hang
        for _ in range(int(rng.uniform(14, 44) * SCALE)):
            path.append((x, y))
            x, y = x + 3 * np.cos(turn), y + 3 * np.sin(turn)
            i, j = int(x), int(y)
            if not (0 <= i < COLUMNS and 0 <= j < ROWS):
                break
            if inside[j, i]:
                new = angle[j, i] if np.cos(angle[j, i] - turn) > 0 else angle[j, i] + np.pi
                turn += 0.35 * np.arctan2(np.sin(new - turn), np.cos(new - turn)) + curl
            else:
                turn, left = turn + 2.5 * curl, left - 1
                if not left:
                    break
        draw.line(path, tuple(int(v) for v in np.clip(tone * 255, 0, 255)), 1)
    return np.asarray(image)


def paint_portrait(rng):
    y, x = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float32)
    picture = paint_background(rng, x, y)
    tile, wool = fractal_noise(rng, 1024, 1.0, low=8), fractal_noise(rng, 1024, 1.4, low=4)

    target = np.stack([(x - COLUMNS / 2) * VIEW / ROWS, TOP - y * VIEW / ROWS, 0 * x]).reshape(3, -1)
    direction = unit(target - EYE[:, None]).astype(np.float32)
    origin = EYE[:, None].astype(np.float32)
    reach = march(origin, direction, 4.4, 6.6, 60)
    hit = np.flatnonzero(reach < 6.6)
    p = origin + direction[:, hit] * reach[hit]
    material = in_chunks(lambda q: solids(q).argmin(axis=0), p)
    normal = in_chunks(normals, p)
    toward = unit(KEY).astype(np.float32)[:, None]
    seen, lit = in_chunks(occlusion, p, normal), in_chunks(lambda a, b: shadow(a + 0.01 * b, toward), p, normal)
    h, view = TO_HEAD @ p, -direction[:, hit]
    column, row = hit % COLUMNS, hit // COLUMNS

    # Strands and threads, drawn on the picture along the projected direction of the hair.
    strand = TO_HEAD.T @ fall(h, TO_HEAD @ normal)
    strand = unit(strand - normal * (strand * normal).sum(axis=0))
    angle = np.full((ROWS, COLUMNS), np.pi / 2, np.float32)
    angle[row, column] = np.arctan2(-strand[1], strand[0])
    noise = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    combs = combed(noise, angle, 34)[row, column], combed(blur(noise, 2.5), angle, 50)[row, column]

    colour = np.zeros((hit.size, 3), np.float32)
    gloss, tight = np.zeros((2, hit.size), np.float32)
    for kind in range(5):
        mine = material == kind
        if kind == SKIN:
            colour[mine], gloss[mine], tight[mine] = colour_of_skin(h[:, mine], tile), 0.16, 22
            bump = sample(tile, h[0, mine] * 1500, h[1, mine] * 1500) * 0.020
            normal[0, mine] += bump
            lips = np.exp(-(((h[1, mine] + 0.305) / 0.035) ** 2) - (h[0, mine] / 0.09) ** 2) * (h[2, mine] > 0.2)
            gloss[mine] += 0.10 * lips
        elif kind == EYEBALL:
            colour[mine], gloss[mine], tight[mine] = colour_of_eyes(h[:, mine]), 2.6, 420
        elif kind == HAIR:
            streak = np.clip(0.42 + 0.20 * combs[0][mine] + 0.22 * combs[1][mine], 0, 1)
            colour[mine] = mix((0.014, 0.0065, 0.004), (0.115, 0.046, 0.019), streak)
        elif kind == SCARF:
            around = np.arctan2(p[0, mine], p[2, mine] + 0.1)
            rows = p[1, mine] - 0.07 * np.sin(around + 0.8)
            stitch = np.sin(58 * around + 1.4 * np.sin(260 * rows)) * (0.6 + 0.4 * np.sin(260 * rows))
            rib = np.sin(87 * rows)
            fuzz = sample(wool, p[0, mine] * 900, p[1, mine] * 900)
            base = mix((0.25, 0.050, 0.030), (0.42, 0.105, 0.050), np.clip(0.5 + 0.35 * rib + 0.06 * fuzz, 0, 1))
            colour[mine] = base * np.clip(1 + 0.30 * stitch + 0.05 * fuzz, 0.25, 2)[:, None]
            normal[1, mine] += 0.45 * np.cos(87 * rows) + 0.04 * fuzz
            normal[0, mine] += 0.22 * stitch
        else:
            weave = sample(wool, p[0, mine] * 500, p[1, mine] * 500)
            colour[mine] = np.array((0.040, 0.062, 0.095)) * np.clip(1 + 0.25 * weave, 0.3, 2)[:, None]
            normal[:2, mine] += 0.06 * weave
    normal = unit(normal)

    facing = (normal * toward).sum(axis=0)
    key = np.array((2.30, 1.95, 1.55))
    # Subsurface scattering: red light extends furthest into the shadow.
    scatter = np.where(material == SKIN, 1.0, 0.0)[:, None] * (0.17, 0.09, 0.06) + 0.05
    wrapped = np.clip((facing[:, None] + scatter) / (1 + scatter), 0, None) * lit[:, None] ** np.array(
        (0.88, 1.0, 1.05)
    )
    fill = seen[:, None] * (
        mix((0.060, 0.075, 0.095), (0.17, 0.195, 0.235), 0.5 + 0.5 * normal[1])
        + 0.20 * np.clip(normal[0], 0, 1)[:, None] * (0.5, 0.75, 1.0)
    )
    fill += (seen * np.clip(0.25 - normal[1], 0, 1))[:, None] * (0.13, 0.055, 0.035)  # light reflected by the scarf
    fill[material == SKIN] *= (1.25, 0.95, 0.80)
    halfway = unit(toward + view)
    window = unit(unit(np.array([[-0.50], [0.17], [0.80]])) + view)  # the highlight in the eyes
    mirrored = np.where(material == EYEBALL, (normal * window).sum(axis=0), (normal * halfway).sum(axis=0))
    shine = (
        gloss
        * np.clip(mirrored, 0, 1) ** np.maximum(tight, 1)
        * np.where(material == EYEBALL, 1, seen)
        * np.where(material == EYEBALL, 1, lit)
    )
    light = colour * (wrapped * key + fill) + shine[:, None] * key * 0.5
    edge = np.clip(1 - (normal * view).sum(axis=0), 0, 1) ** 3 * np.clip(normal[0] + 0.25, 0, 1) * seen
    light += edge[:, None] * (0.16, 0.22, 0.27) * (0.4 + colour)

    mine = material == HAIR  # highlights of strands (Kajiya and Kay 1989)
    shift = unit(strand + normal * (0.10 + 0.07 * combs[0]))
    along = np.sqrt(np.clip(1 - (shift * halfway).sum(axis=0) ** 2, 0, 1))
    sheen = (0.085 * along**70 + 0.045 * along**14 * (0.6 + 0.3 * combs[0])).clip(0) * np.clip(0.2 + facing, 0, 1) * lit
    light[mine] += sheen[mine, None] * key * (0.95, 0.62, 0.36)

    picture[row, column] = light
    picture = 1.05 * (picture / (1 + np.clip(picture, 0, None) ** 2.2) ** (1 / 2.2))
    shown = np.clip(picture, 0, 1) ** (1 / 2.2)
    shown = shown * (1 - 0.22 * (((x / COLUMNS - 0.5) / 0.7) ** 2 + ((y / ROWS - 0.5) / 0.8) ** 2))[..., None]
    shown = draw_wisps(rng, shown, angle, material == HAIR, row, column)
    image = Image.fromarray(shown).resize((WIDTH, HEIGHT), Image.LANCZOS)
    return np.asarray(image, np.float32) / 255 + rng.normal(0, 0.008, (HEIGHT, WIDTH, 1))
